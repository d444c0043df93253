// Package jobs is the queue of rollouts, and of messages to webhooks: River, in
// tables of the controller's own database, SQLite or PostgreSQL.
//
// What lives here: how a job is put into River, in the transaction of what it
// follows from, and how River hands it to whoever works it. What must not: what a
// job does, which is package rollouts' or webhooks'; when one is due, which package
// keeper says, or the message.
//
// River has no earlier time for a job that is there already. So a rollout may have
// several of one kind, at different times: one that finds nothing due costs a
// look. Those of the same time are one. The tables are no part of a backup: what
// follows from a rollout's state is put into the queue at each start.
package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
)

const (
	// longest bounds one try of a job: a listing of a large fleet.
	longest = 30 * time.Minute
	// attempts is how often a job is tried: while the database is away it fails each
	// time, and must not be given up.
	attempts = 10_000
	// pause bounds the time before the next try, which grows by step each time.
	pause, step = time.Minute, 2 * time.Second
	// kept is how long River keeps what is done, for who looks into its tables.
	kept = time.Hour
	// workers are how many jobs are worked at a time: they wait for one another in
	// the database anyway.
	workers = 4
)

// Queue is a queue in a controller's database. It implements rollouts.Queue.
type Queue struct {
	insert *river.Client[*sql.Tx]
	driver func(ctx context.Context) (riverdriver.Driver[*sql.Tx], func(), error)
}

// job is what River keeps of one. What is equal in two of them makes them one.
type job struct {
	What    keeper.Kind `json:"what"`
	Rollout string      `json:"rollout"`
	Wave    int         `json:"wave,omitempty"`
	Number  int         `json:"number,omitempty"`
	// At is when it is due, rounded to what matters for its kind.
	At time.Time `json:"at"`
}

// Kind implements river.JobArgs.
func (job) Kind() string { return "rollout" }

// message is what River keeps of a message to a webhook.
type message struct {
	ID string `json:"id"`
	// At is when it is due, so that a later try is another job.
	At time.Time `json:"at"`
}

// Kind implements river.JobArgs.
func (message) Kind() string { return "webhook" }

// messages are worked in a queue of their own: a receiver that does not answer must
// not keep rollouts waiting.
const messages = "webhooks"

// inQueue are the states of jobs that River may still work.
func inQueue() []rivertype.JobState {
	return []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled}
}

// Open returns the queue in the database of a store, and brings its tables to the
// newest version.
func Open(ctx context.Context, s domain.Store) (*Queue, error) {
	q := &Queue{}
	var plain, reads riverdriver.Driver[*sql.Tx]
	locked := func(_ context.Context, fn func() error) error { return fn() }
	switch s := s.(type) {
	case *sqlite.Store:
		plain, reads = riversqlite.New(s.Writes), riversqlite.New(s.Reads)
		q.driver = func(context.Context) (riverdriver.Driver[*sql.Tx], func(), error) {
			return riversqlite.New(s.Writes), func() {}, nil
		}
	case *postgres.Store:
		plain, locked = riverdatabasesql.New(s.Writes), s.Locked
		reads = plain
		q.driver = func(ctx context.Context) (riverdriver.Driver[*sql.Tx], func(), error) {
			listener, err := s.Listener(ctx)
			if err != nil {
				return nil, nil, err
			}
			return riverdatabasesql.NewWithPgxListener(s.Writes, listener), listener.Close, nil
		}
	default:
		return nil, fmt.Errorf("jobs: a store of type %T has no queue", s)
	}
	quiet := slog.New(slog.DiscardHandler)
	if err := migrate(ctx, plain, reads, locked, quiet); err != nil {
		return nil, err
	}
	var err error
	if q.insert, err = river.NewClient(plain, &river.Config{Logger: quiet}); err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return q, nil
}

// migrate brings River's tables to the version of this program. Where they are, it reads
// only: a command that shows something does not wait for who writes.
func migrate(ctx context.Context, d, reads riverdriver.Driver[*sql.Tx],
	locked func(ctx context.Context, fn func() error) error, log *slog.Logger) error {
	look, err := rivermigrate.New(reads, &rivermigrate.Config{Logger: log})
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	if done, err := look.Validate(ctx, nil); err == nil && done.OK {
		return nil
	}
	m, err := rivermigrate.New(d, &rivermigrate.Config{Logger: log})
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	return locked(ctx, func() error {
		if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
			return fmt.Errorf("the tables of jobs: %w", err)
		}
		return nil
	})
}

// Enqueue implements rollouts.Queue.
func (q *Queue) Enqueue(ctx context.Context, of domain.Tx, j keeper.Job) error {
	tx, ok := store.SQL(domain.Whole(of))
	if !ok {
		return errors.New("jobs: a transaction of another store")
	}
	round := time.Second
	if j.Kind == keeper.KindLook {
		round = time.Minute
	}
	args := job{j.Kind, j.Rollout, j.Wave, j.Number, j.At.UTC().Truncate(round)}
	opts := &river.InsertOpts{MaxAttempts: attempts, ScheduledAt: j.At}
	if j.Kind != keeper.KindList { // one that is under way may have begun before what this one is for
		opts.UniqueOpts = river.UniqueOpts{ByArgs: true, ByState: inQueue()}
	}
	if _, err := q.insert.InsertTx(ctx, tx, args, opts); err != nil {
		return fmt.Errorf("a job of rollout %s: %w", j.Rollout, err)
	}
	return nil
}

// Deliver implements webhooks.Queue.
func (q *Queue) Deliver(ctx context.Context, of domain.Tx, id string, at time.Time) error {
	tx, ok := store.SQL(domain.Whole(of))
	if !ok {
		return errors.New("jobs: a transaction of another store")
	}
	opts := &river.InsertOpts{MaxAttempts: attempts, Queue: messages,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: inQueue()}}
	if at.After(time.Now()) { // else River works it at once, and looks for what has become due later
		opts.ScheduledAt = at
	}
	if _, err := q.insert.InsertTx(ctx, tx, message{id, at.UTC()}, opts); err != nil {
		return fmt.Errorf("a message to a webhook: %w", err)
	}
	return nil
}

// sender implements river.Worker, of messages.
type sender struct {
	river.WorkerDefaults[message]
	deliver func(ctx context.Context, id string) error
}

// Work implements river.Worker.
func (s *sender) Work(ctx context.Context, j *river.Job[message]) error {
	return s.deliver(ctx, j.Args.ID)
}

// NextRetry implements river.Worker.
func (s *sender) NextRetry(j *river.Job[message]) time.Time { return again(j.Attempt) }

// again is when a job that failed is tried once more.
func again(attempt int) time.Time {
	return time.Now().Add(min(pause, time.Duration(attempt)*step))
}

// worker implements river.Worker.
type worker struct {
	river.WorkerDefaults[job]
	do func(ctx context.Context, j keeper.Job) error
}

// Work implements river.Worker.
func (w *worker) Work(ctx context.Context, j *river.Job[job]) error {
	a := j.Args
	return w.do(ctx, keeper.Job{Kind: a.What, Rollout: a.Rollout, At: a.At, Wave: a.Wave, Number: a.Number})
}

// Timeout implements river.Worker.
func (w *worker) Timeout(*river.Job[job]) time.Duration { return longest }

// NextRetry implements river.Worker.
func (w *worker) NextRetry(j *river.Job[job]) time.Time {
	return again(j.Attempt)
}

// failures tells of jobs that fail.
type failures struct{ log *slog.Logger }

// HandleError implements river.ErrorHandler.
func (f failures) HandleError(ctx context.Context, j *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if ctx.Err() == nil {
		f.log.Error("a job failed, and is tried again", "job", string(j.EncodedArgs), "error", err)
	}
	return nil
}

// HandlePanic implements river.ErrorHandler.
func (f failures) HandlePanic(_ context.Context, j *rivertype.JobRow, value any,
	trace string) *river.ErrorHandlerResult {
	f.log.Error("a job failed, and is tried again", "job", string(j.EncodedArgs), "panic", value,
		"trace", trace)
	return nil
}

// Run works jobs until ctx ends: do those of rollouts, deliver messages by their ids.
// Several controllers may work the queue of one database.
func (q *Queue) Run(ctx context.Context, do func(ctx context.Context, j keeper.Job) error,
	deliver func(ctx context.Context, id string) error, log *slog.Logger) error {
	d, done, err := q.driver(ctx)
	if err != nil {
		return err
	}
	defer done()
	all := river.NewWorkers()
	river.AddWorker(all, &worker{do: do})
	river.AddWorker(all, &sender{deliver: deliver})
	// What River says itself is of no use to who runs a controller; failures tells
	// what fails.
	c, err := river.NewClient(d, &river.Config{
		Logger: slog.New(slog.DiscardHandler), ErrorHandler: failures{log}, Workers: all,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: workers},
			messages: {MaxWorkers: workers}},
		CompletedJobRetentionPeriod: kept, MaxAttempts: attempts,
	})
	if err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("jobs: %w", err)
	}
	<-ctx.Done()
	<-c.Stopped()
	return nil
}
