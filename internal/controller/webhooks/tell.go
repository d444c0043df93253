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

// DeviceFailed tells of the failures that a report has brought; it is domain.Config's
// Failed.
func (s *Service) DeviceFailed(ctx context.Context, tx domain.Tx, d domain.Device, state domain.DeviceState) error {
	for _, f := range summary.Of(d, state) {
		if !f.Since.Equal(state.Reported) {
			continue // it was told when it happened
		}
		if err := s.tell(ctx, tx, webhook.DeviceFailed, f); err != nil {
			return err
		}
	}
	return nil
}

// RolloutChanged tells of a rollout; it is what rollouts.Store tells.
func (s *Service) RolloutChanged(ctx context.Context, tx domain.Tx, before rollout.State, r domain.Rollout) error {
	c := r.Record
	told := Rollout{ID: c.ID, State: c.State, Before: before, By: c.By, Why: c.Why, Load: r.Ask.Load,
		Release: r.Ask.Release, Open: c.Open, Waves: len(c.Waves), Counts: c.Totals()}
	return s.tell(ctx, tx, webhook.RolloutChanged, told)
}

// tell puts a message for each webhook that wants it into the queue, in the
// transaction of what happened.
func (s *Service) tell(ctx context.Context, of domain.Tx, event string, data any) error {
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
	body, err := json.Marshal(Message{event, now, data})
	if err != nil {
		return err
	}
	for _, w := range hooks {
		waiting, err := count(ctx, tx, w.Name, webhook.Pending)
		if err != nil {
			return err
		}
		if waiting >= MaxPending {
			w.Dropped++
			if err := tx.Webhooks().Put(ctx, &w); err != nil {
				return err
			}
			continue
		}
		d := domain.Delivery{Delivery: webhook.Delivery{ID: s.id(now), Webhook: w.Name, Event: event, At: now,
			Body: string(body), State: webhook.Pending, Next: now}}
		d.Created, d.Changed = now, now
		if err := tx.Deliveries().Put(ctx, &d); err != nil {
			return err
		}
		if err := s.cfg.Queue.Deliver(ctx, tx, d.ID, now); err != nil {
			return err
		}
	}
	return nil
}

// id orders messages by time.
func (s *Service) id(now time.Time) string {
	return fmt.Sprintf("msg_%016x%s", now.UnixMicro(), s.ctl.Random(8))
}
