package bulk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Run carries out jobs, one after the other, until ctx ends: those that are made
// here, those whose time has come, and those that another process has left. Two
// processes may run at the same time.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for {
		if err := s.work(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Log.Warn("a bulk job cannot go on now; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// work takes each job that is due as far as it goes.
func (s *Service) work(ctx context.Context) error {
	var due []domain.Job
	err := s.view(ctx, func(tx domain.Tx) error {
		l, err := tx.Jobs().List(ctx, domain.JobFilter{DueBy: s.now()}, domain.Page{Limit: domain.MaxPage})
		due = l.Items
		return err
	})
	if err != nil {
		return err
	}
	for _, j := range due {
		for more := true; more; {
			if more, err = s.Step(ctx, j.ID); err != nil {
				return fmt.Errorf("job %s: %w", j.ID, err)
			}
		}
	}
	return nil
}

// Step does the next piece of a job, and reports whether there is more to do now.
// It is what a queue of jobs has to call. A piece that is cut off is done again.
func (s *Service) Step(ctx context.Context, id string) (more bool, err error) {
	var j domain.Job
	err = s.view(ctx, func(tx domain.Tx) error {
		j, err = find(ctx, tx, id)
		return err
	})
	if err != nil {
		return false, err
	}
	switch j.State {
	case domain.JobWaiting:
		return s.change(ctx, id, j.State, s.begin)
	case domain.JobChecking:
		return s.check(ctx, j)
	case domain.JobRunning:
		return s.goOn(ctx, j)
	case domain.JobUndoing:
		return s.change(ctx, id, j.State, s.takeBack)
	}
	return false, nil
}

// errWrong says that rows were read back as something else than what was written.
var errWrong = errors.New("read back as something else")

// goOn writes the next step of a job while it reads back the one before, and commits it
// only if that was right: the database and this process work at the same time.
func (s *Service) goOn(ctx context.Context, j domain.Job) (more bool, err error) {
	var wrong map[int]string
	var lost error
	read := make(chan struct{})
	go func() {
		defer close(read)
		wrong, lost = s.readAround(ctx, j)
	}()
	var written *domain.JobStep
	more, err = s.change(ctx, j.ID, domain.JobRunning, func(ctx context.Context, tx domain.Tx,
		now *domain.Job) (err error) {
		if now.Next != j.Next {
			return nil // another process was faster
		}
		now.Verified = now.Next
		if now.Next == now.Steps {
			now.State = domain.JobDone
		} else if written, err = s.write(ctx, tx, now); err != nil {
			return err
		}
		if <-read; len(wrong) > 0 {
			return errWrong
		}
		return lost
	})
	<-read
	switch {
	case err == nil && written != nil:
		s.written.keep(written.Key(), *written)
	case errors.Is(err, errWrong):
		return s.change(ctx, j.ID, domain.JobRunning, func(ctx context.Context, tx domain.Tx, now *domain.Job) error {
			if now.Next != j.Next {
				return nil
			}
			return s.found(ctx, tx, now, wrong)
		})
	}
	return more, err
}

// readAround reads back what was written before the next step of a job, and says what is
// wrong. Then it reads and judges the step after the next one.
func (s *Service) readAround(ctx context.Context, j domain.Job) (wrong map[int]string, err error) {
	err = s.view(ctx, func(tx domain.Tx) error {
		if j.Verified < j.Next {
			var err error
			key := domain.JobStepKey(j.ID, j.Next-1)
			step, ok := s.written.take(key)
			if !ok {
				step, err = tx.JobSteps().Get(ctx, key)
			}
			if err == nil {
				wrong, err = readBack(ctx, tx, step)
			}
			if err != nil {
				return err
			}
		}
		if j.Next+1 >= j.Steps {
			return nil
		}
		step, err := tx.JobSteps().Get(ctx, domain.JobStepKey(j.ID, j.Next+1))
		if err != nil {
			return err
		}
		coming, err := s.ahead(ctx, tx, j, step)
		if err == nil {
			s.coming.keep(step.Key(), coming)
		}
		return err
	})
	return wrong, err
}

// change changes a job that is still in a state, in one transaction with what fn
// writes.
func (s *Service) change(ctx context.Context, id string, in domain.JobState,
	fn func(context.Context, domain.Tx, *domain.Job) error) (more bool, err error) {
	err = s.update(ctx, func(tx domain.Tx) error {
		j, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		if more = j.State.Active(); j.State != in {
			return nil
		}
		if err := fn(ctx, tx, &j); err != nil {
			return err
		}
		j.Changed = s.now()
		// What waits for its time is found when it has come.
		more = j.State.Active() && j.State != domain.JobWaiting
		return tx.Jobs().Put(ctx, &j)
	})
	return more, err
}

// begin begins a job whose time has come.
func (s *Service) begin(_ context.Context, _ domain.Tx, j *domain.Job) error {
	switch {
	case j.At.After(s.now()):
	case j.SkipBad:
		j.State = domain.JobRunning
	default:
		j.State = domain.JobChecking
	}
	return nil
}

// checkers is how many judge the steps of a job at the same time: while one asks the
// database, the other judges.
const checkers = 2

// check judges all rows before the first is written: if one is bad, none is.
func (s *Service) check(ctx context.Context, j domain.Job) (more bool, err error) {
	var each [checkers]struct {
		bad       []domain.JobStep
		lost, err error
	}
	var wg sync.WaitGroup
	for i := range each {
		wg.Go(func() { each[i].bad, each[i].lost, each[i].err = s.checkSome(ctx, j, i) })
	}
	wg.Wait()
	var bad []domain.JobStep
	var lost error
	for _, x := range each {
		bad = append(bad, x.bad...)
		lost, err = cmp.Or(lost, x.lost), cmp.Or(err, x.err)
	}
	if err == nil && lost != nil && !own(lost) {
		err = lost
	}
	if err != nil {
		return false, err
	}
	return s.change(ctx, j.ID, domain.JobChecking, func(ctx context.Context, tx domain.Tx, now *domain.Job) error {
		switch {
		case lost != nil:
			now.State, now.Problem = domain.JobRefused, problem(lost)
			return nil
		case len(bad) == 0:
			now.State = domain.JobRunning
			return nil
		}
		now.State = domain.JobRefused
		for _, step := range bad {
			for _, r := range step.Rows {
				now.Counts.Add("", r.Outcome)
			}
		}
		now.Problem = fmt.Sprintf("rows refused: %d of %d, so none was written", now.Counts.Refused, now.Counts.Rows)
		return tx.JobSteps().PutAll(ctx, bad)
	})
}

// checkSome judges the steps of a job from one on, each after as many as there are checkers,
// and returns those with bad rows; lost says that who has asked for the job may no more.
func (s *Service) checkSome(ctx context.Context, j domain.Job, first int) (bad []domain.JobStep, lost, err error) {
	err = s.view(ctx, func(tx domain.Tx) error {
		bad, lost = nil, nil
		batch, err := s.cfg.Controller.ResumeBatch(ctx, tx, j.By)
		if err != nil {
			lost = err
			return nil
		}
		for n := first; n < j.Steps; n += checkers {
			step, err := tx.JobSteps().Get(ctx, domain.JobStepKey(j.ID, n))
			if err != nil {
				return err
			}
			if _, _, err := judged(ctx, batch, batch.Allow, step.Rows, j.JobOptions); err != nil {
				return err
			}
			if forget(step.Rows) {
				bad = append(bad, step)
			}
		}
		return nil
	})
	return bad, lost, err
}

// forget takes the verdicts of good rows back, which were not carried out, and
// reports whether there are bad ones.
func forget(rows []domain.JobRow) (bad bool) {
	for i := range rows {
		if rows[i].Outcome == domain.RowRefused {
			bad = true
		} else {
			rows[i].Outcome, rows[i].Changes = "", nil
		}
	}
	return bad
}

// write writes the rows of the next step, which it returns as it is written; nil: the job
// was given up instead.
func (s *Service) write(ctx context.Context, tx domain.Tx, j *domain.Job) (*domain.JobStep, error) {
	batch, err := s.cfg.Controller.ResumeBatch(ctx, tx, j.By)
	if err != nil {
		if own(err) {
			giveUp(j, problem(err))
			return nil, nil
		}
		return nil, err
	}
	step, err := s.next(ctx, tx, batch, j)
	if err != nil {
		return nil, err
	}
	for _, r := range step.Rows {
		if r.Outcome == domain.RowRefused && !j.SkipBad { // since it was checked
			giveUp(j, fmt.Sprintf("line %d: %s", r.Line, r.Problem))
			return nil, nil
		}
	}
	if err := batch.Write(ctx, j.ID, step.all); err != nil {
		return nil, err
	}
	for n, i := range step.of {
		step.Rows[i].Version = step.all[n].Device.Version
	}
	for _, r := range step.Rows {
		j.Counts.Add("", r.Outcome)
	}
	j.Next++
	return &step.JobStep, tx.JobSteps().Put(ctx, &step.JobStep)
}

// giveUp ends a job that cannot go on: what it has written is taken back, or stays
// if bad rows are skipped.
func giveUp(j *domain.Job, why string) {
	j.Problem = why
	switch {
	case j.SkipBad:
		j.State = domain.JobDone
	case j.Next == 0:
		j.State = domain.JobRefused
	default:
		j.State = domain.JobUndoing
	}
}

// readBack compares what a step has written with what it was asked for
// (CSCsh98792), and returns what is wrong, by the row. What somebody else has
// changed since is his.
func readBack(ctx context.Context, tx domain.Tx, step domain.JobStep) (map[int]string, error) {
	var names []string
	for _, r := range step.Rows {
		if r.Version > 0 {
			names = append(names, r.Device)
		}
	}
	stored, err := tx.Devices().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	wrong := map[int]string{}
	for i, r := range step.Rows {
		d, ok := stored[r.Device]
		switch {
		case r.Version == 0 || ok && d.Version > r.Version:
		case !ok:
			wrong[i] = "written, and not there when it was read back"
		default:
			if err := d.Differs(r.Change); err != nil {
				wrong[i] = problem(err)
			}
		}
	}
	return wrong, nil
}

// found tells of rows that were read back as something else.
func (s *Service) found(ctx context.Context, tx domain.Tx, j *domain.Job, wrong map[int]string) error {
	step, err := tx.JobSteps().Get(ctx, domain.JobStepKey(j.ID, j.Next-1))
	if err != nil {
		return err
	}
	for i := range step.Rows {
		if text, ok := wrong[i]; ok {
			step.Rows[i].Problem = text
			j.Problem = fmt.Sprintf("line %d: %s", step.Rows[i].Line, text)
		}
	}
	j.Verified = j.Next
	if !j.SkipBad {
		j.State = domain.JobUndoing
	}
	return tx.JobSteps().Put(ctx, &step)
}
