package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/summary"
	"github.com/peerload/peerload/internal/controller/webhook"
)

// Message is the body of a message. Readers must ignore fields and types that they do
// not know.
type Message struct {
	// Type is the event, Timestamp when it happened.
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	// Data is a summary.Failure, a Rollout or a Trial.
	Data any `json:"data"`
}

// Rollout is what is told of a rollout that came into another state.
type Rollout struct {
	ID     string        `json:"id"`
	State  rollout.State `json:"state"`
	Before rollout.State `json:"before,omitempty"`
	// By is who did it, "" for the rollout itself; Why says why.
	By  string `json:"by,omitempty"`
	Why string `json:"why,omitempty"`
	// Load or Release that it brings.
	Load    string         `json:"load,omitempty"`
	Release string         `json:"release,omitempty"`
	Open    int            `json:"open"`
	Waves   int            `json:"waves"`
	Counts  rollout.Counts `json:"counts"`
}

// Trial is what a test says.
type Trial struct {
	Webhook string `json:"webhook"`
	By      string `json:"by"`
}

// DevicesFailed tells of the failures that reports have brought; it is domain.Config's
// Failed.
func (s *Service) DevicesFailed(ctx context.Context, tx domain.Tx, failed []domain.FailedDevice) error {
	var all []any
	for _, d := range failed {
		for _, f := range summary.Of(d.Device, d.State) {
			if f.Since.Equal(d.State.Reported) { // else it was told when it happened
				all = append(all, f)
			}
		}
	}
	return s.tell(ctx, tx, webhook.DeviceFailed, all...)
}

// RolloutChanged tells of a rollout; it is what rollouts.Store tells.
func (s *Service) RolloutChanged(ctx context.Context, tx domain.Tx, before rollout.State, r domain.Rollout) error {
	c := r.Record
	told := Rollout{ID: c.ID, State: c.State, Before: before, By: c.By, Why: c.Why, Load: r.Ask.Load,
		Release: r.Ask.Release, Open: c.Open, Waves: len(c.Waves), Counts: c.Totals()}
	return s.tell(ctx, tx, webhook.RolloutChanged, told)
}

// tell puts messages for each webhook that wants them into the queue, in the
// transaction of what happened.
func (s *Service) tell(ctx context.Context, of domain.Tx, event string, all ...any) error {
	if len(all) == 0 {
		return nil
	}
	tx := domain.Whole(of)
	hooks, err := domain.Collect(ctx, tx.Webhooks(), domain.None{})
	if err != nil {
		return err
	}
	hooks = slices.DeleteFunc(hooks, func(w domain.Webhook) bool { return !slices.Contains(w.Events, event) })
	if len(hooks) == 0 {
		return nil
	}
	now := s.ctl.Time()
	for _, data := range all {
		body, err := json.Marshal(Message{event, now, data})
		if err != nil {
			return err
		}
		for i := range hooks {
			if err := s.put(ctx, tx, &hooks[i], webhook.Delivery{Event: event, At: now, Body: string(body)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// put puts a message for a webhook into the queue, or drops it.
func (s *Service) put(ctx context.Context, tx domain.Tx, w *domain.Webhook, told webhook.Delivery) error {
	waiting, err := count(ctx, tx, w.Name, webhook.Pending)
	if err != nil {
		return err
	}
	if waiting >= MaxPending {
		w.Dropped++
		return tx.Webhooks().Put(ctx, w)
	}
	told.ID, told.Webhook, told.State, told.Next = s.id(told.At), w.Name, webhook.Pending, told.At
	d := domain.Delivery{Delivery: told}
	d.Created, d.Changed = told.At, told.At
	if err := tx.Deliveries().Put(ctx, &d); err != nil {
		return err
	}
	return s.cfg.Queue.Deliver(ctx, tx, d.ID, told.At)
}

// id orders messages by time.
func (s *Service) id(now time.Time) string {
	return fmt.Sprintf("msg_%016x%s", now.UnixMicro(), s.ctl.Random(8))
}
