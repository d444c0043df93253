package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
)

// ErrNotFound: there is no such rollout, or no such device in it.
var ErrNotFound = errors.New("not found")

// Store keeps rollouts and their devices.
type Store interface {
	// Update runs fn in a transaction, as if no other ran at the same time. When
	// it returns nil, what fn has written is durable and its jobs are in the
	// queue; when fn returns an error there is nothing of either. fn may be run
	// more than once.
	Update(ctx context.Context, fn func(Tx) error) error
}

// Tx is a transaction. It ends when fn returns.
type Tx interface {
	// Rollout and Device return a record and a row; an error matches ErrNotFound.
	Rollout(ctx context.Context, id string) (rollout.Record, error)
	Device(ctx context.Context, id, device string) (rollout.Row, error)
	// PutRollout and PutDevice add them or take the place of what is there.
	PutRollout(ctx context.Context, r rollout.Record) error
	PutDevice(ctx context.Context, id string, row rollout.Row) error
	// PutDevices is PutDevice for many, each once.
	PutDevices(ctx context.Context, id string, rows []rollout.Row) error
	// Drop removes all devices of a rollout.
	Drop(ctx context.Context, id string) error
	// Holder is the active rollout that has a device. Without one it is the one
	// that has granted it something last, and active is false; "" is none.
	Holder(ctx context.Context, device string) (id string, active bool, err error)
	// Due lists devices of a rollout whose Due has come, those first that wait
	// longest.
	Due(ctx context.Context, id string, now time.Time, limit int) ([]rollout.Row, error)
	// Heard is when a device was last heard of; zero: never.
	Heard(ctx context.Context, device string) (time.Time, error)
	// Known is what is known of devices, by the device.
	Known(ctx context.Context, devices []string) (map[string]Known, error)
	// PutVerdict adds a load that was judged bad for a device. It stays when a rollout
	// is removed.
	PutVerdict(ctx context.Context, v rollout.Verdict) error
	// Enqueue puts a job into the queue. A job that is there already, but for its
	// time, is there once, at the earlier of the two.
	Enqueue(ctx context.Context, j Job) error
}

// Known is what a store knows of a device.
type Known struct {
	// Claimed is the active rollout that has it, "" for none.
	Claimed string
	// Bad are the loads that were judged bad for it.
	Bad []string
	// Heard is when it was last heard of; zero: never.
	Heard time.Time
}

// Tell adds it to a candidate.
func (k Known) Tell(c *rollout.Candidate) {
	c.Claimed, c.Heard = k.Claimed, k.Heard
	c.Bad = append(append([]string{}, c.Bad...), k.Bad...)
}

// Kind of a job.
type Kind string

// The kinds of jobs. There are a few for each rollout, never one for each device.
const (
	KindList Kind = "list" // list the target: Relist, List for each part of it, Listed
	KindAsk  Kind = "ask"  // ask the external check, and tell the answer by Order
	KindTick Kind = "tick" // Order with Tick
	KindLook Kind = "look" // Look
)

// Job is work to be done for a rollout, not before At.
type Job struct {
	Kind    Kind
	Rollout string
	At      time.Time
	// Wave and Number are those of a question.
	Wave, Number int
}
