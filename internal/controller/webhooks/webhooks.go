// Package webhooks has the use cases of webhooks: who is told of failures and
// rollouts, and how a message reaches its receiver.
//
// What lives here: which webhooks there may be, who may make them, what a message
// says, and when it is given up. What must not: the signature and the nouns, which
// package webhook has; SQL; HTTP of the API; a queue: a Queue puts jobs where it
// likes, in the transaction that it is handed.
//
// Read Service.Add, then tell.go (what makes a message) and deliver.go.
package webhooks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/webhook"
)

const (
	// MaxHooks bounds the webhooks, MaxPending the messages of one that wait, and
	// maxDead those that are kept although they were given up.
	MaxHooks   = 32
	MaxPending = 1000
	maxDead    = 1000
	maxURL     = 1000
)

// Queue takes messages.
type Queue interface {
	// Deliver has a message delivered at that time, in this transaction: one that comes
	// to nothing is not in the queue.
	Deliver(ctx context.Context, tx domain.Tx, id string, at time.Time) error
}

// Config configures a Service.
type Config struct {
	// Controller has the store, the clock and the audit log. Required.
	Controller *domain.Controller
	// Queue is where messages wait. Required.
	Queue Queue
	// HTTP delivers messages. nil: a client that follows no redirects and reaches no
	// address that only the host itself can mean.
	HTTP *http.Client
	// Pauses are the times between the tries of a message. nil: those of package
	// webhook.
	Pauses []time.Duration
	// Log is told of messages that are given up. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Controller == nil || c.Queue == nil {
		return errors.New("webhooks: no controller or no queue")
	}
	for _, p := range c.Pauses {
		if p < 0 {
			return errors.New("webhooks: a negative time")
		}
	}
	return nil
}

// Service has the use cases. It may be used by several goroutines.
type Service struct {
	cfg Config
	ctl *domain.Controller
}

// New returns the use cases.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.HTTP == nil {
		cfg.HTTP = client()
	}
	if cfg.Pauses == nil {
		cfg.Pauses = webhook.Pauses()
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg, cfg.Controller}, nil
}

// NewWebhook asks for a webhook.
type NewWebhook struct {
	Name string `json:"name"`
	URL  string `json:"url" maxLength:"1000" doc:"where messages are posted: https, or http with allow_http"`
	// Events are all if there are none.
	Events    []string `json:"events,omitempty" maxItems:"8" enum:"device.failed,rollout.changed" doc:"what to be told of; none means all of it"`
	AllowHTTP bool     `json:"allow_http,omitempty" doc:"send over http: whoever is on the way can read the messages"`
}

// Webhook is a webhook as people see it. Only Add shows the secret.
type Webhook struct {
	webhook.Hook
	Created time.Time `json:"created"`
	// Pending counts the messages that are tried or tried again, Dead those that were
	// given up.
	Pending int `json:"pending"`
	Dead    int `json:"dead"`
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", domain.ErrInvalid, fmt.Sprintf(format, args...))
}

// check refuses a webhook that cannot be.
func (r NewWebhook) check() error {
	if r.Name == "" || len(r.Name) > domain.MaxNameLen ||
		strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.Trim(r.Name, "-_.") == "" {
		return invalid("the name of a webhook has 1 to %d lower-case letters, digits and -_.: %.70q does not",
			domain.MaxNameLen, r.Name)
	}
	u, err := url.Parse(r.URL)
	if err != nil || len(r.URL) > maxURL || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" ||
		u.User != nil || u.Fragment != "" {
		return invalid("a webhook has a URL such as https://chat.example/hooks/peerload, without a user and #")
	}
	if u.Scheme == "http" && !r.AllowHTTP {
		return invalid("over http whoever is on the way can read the messages: give an https URL, or allow http " +
			"explicitly (--allow-http)")
	}
	for _, e := range r.Events {
		if err := choice.Check("event", e, webhook.Events()); err != nil {
			return fmt.Errorf("%w: %w", domain.ErrInvalid, err)
		}
	}
	return nil
}

// hidden is a webhook without its secret.
func hidden(w domain.Webhook) domain.Webhook {
	w.Secret = ""
	return w
}

func target(name string) string { return "webhook " + name }

// find reads a webhook, and names it in the error if it is not there.
func find(ctx context.Context, tx domain.Tx, name string) (domain.Webhook, error) {
	w, err := tx.Webhooks().Get(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		err = fmt.Errorf("%w: webhook %.60q", domain.ErrNotFound, name)
	}
	return w, err
}

// Add makes a webhook. What it returns has the secret, which is not shown again.
func (s *Service) Add(ctx context.Context, a domain.Actor, r NewWebhook) (v Webhook, err error) {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return v, err
	}
	if err := r.check(); err != nil {
		return v, err
	}
	if len(r.Events) == 0 {
		r.Events = webhook.Events()
	}
	slices.Sort(r.Events)
	random, err := hex.DecodeString(s.ctl.Random(webhook.SecretBytes))
	if err != nil {
		return v, err
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		all, err := tx.Webhooks().List(ctx, domain.None{}, domain.Page{Limit: 1})
		if err != nil {
			return err
		}
		if all.Total >= MaxHooks {
			return fmt.Errorf("%w: there are %d webhooks, and no more may be", domain.ErrRefused, MaxHooks)
		}
		w := domain.Webhook{Hook: webhook.Hook{Name: r.Name, URL: r.URL, Events: slices.Compact(r.Events),
			AllowHTTP: r.AllowHTTP, Secret: webhook.NewSecret(random), By: a.Name}}
		w.Created = s.ctl.Time()
		w.Changed = w.Created
		if err := tx.Webhooks().Put(ctx, &w); errors.Is(err, domain.ErrExists) {
			return fmt.Errorf("%w: webhook %q", domain.ErrExists, r.Name)
		} else if err != nil {
			return err
		}
		note("webhook.create", target(r.Name), nil, hidden(w).Hook)
		v = Webhook{Hook: w.Hook, Created: w.Created}
		return nil
	})
	return v, err
}

// List lists webhooks by name, without their secrets.
func (s *Service) List(ctx context.Context, a domain.Actor, p domain.Page) (l domain.List[Webhook], err error) {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		all, err := tx.Webhooks().List(ctx, domain.None{}, p)
		if err != nil {
			return err
		}
		l = domain.List[Webhook]{Items: []Webhook{}, Next: all.Next, Total: all.Total}
		for _, w := range all.Items {
			v := Webhook{Hook: hidden(w).Hook, Created: w.Created}
			if v.Pending, err = count(ctx, tx, w.Name, webhook.Pending); err != nil {
				return err
			}
			if v.Dead, err = count(ctx, tx, w.Name, webhook.Dead); err != nil {
				return err
			}
			l.Items = append(l.Items, v)
		}
		return nil
	})
	return l, err
}

// count counts the messages of a webhook, "" for all, in a state.
func count(ctx context.Context, tx domain.Tx, name string, state webhook.State) (int, error) {
	l, err := tx.Deliveries().List(ctx, domain.DeliveryFilter{Webhook: name, State: state}, domain.Page{Limit: 1})
	return l.Total, err
}

// Remove removes a webhook and its messages.
func (s *Service) Remove(ctx context.Context, a domain.Actor, name string) error {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return err
	}
	return s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		w, err := find(ctx, tx, name)
		if err != nil {
			return err
		}
		note("webhook.delete", target(name), hidden(w).Hook, nil)
		return tx.Webhooks().Delete(ctx, name, 0) // its messages go with it
	})
}

// Messages lists the messages of a webhook that wait or were given up, the oldest
// first.
func (s *Service) Messages(ctx context.Context, a domain.Actor, name string, state webhook.State,
	p domain.Page) (l domain.List[webhook.Delivery], err error) {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return l, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if _, err := find(ctx, tx, name); err != nil {
			return err
		}
		all, err := tx.Deliveries().List(ctx, domain.DeliveryFilter{Webhook: name, State: state}, p)
		if err != nil {
			return err
		}
		l = domain.List[webhook.Delivery]{Items: []webhook.Delivery{}, Next: all.Next, Total: all.Total}
		for _, d := range all.Items {
			l.Items = append(l.Items, d.Delivery)
		}
		return nil
	})
	return l, err
}

// Retry tries the dead messages of a webhook anew, and returns how many.
func (s *Service) Retry(ctx context.Context, a domain.Actor, name string) (n int, err error) {
	if err := a.Check(domain.ScopeAccess); err != nil {
		return 0, err
	}
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, note domain.Note) error {
		n = 0
		if _, err := find(ctx, tx, name); err != nil {
			return err
		}
		dead, err := domain.Collect(ctx, tx.Deliveries(), domain.DeliveryFilter{Webhook: name, State: webhook.Dead})
		if err != nil {
			return err
		}
		for _, d := range dead {
			d.State, d.Tries, d.Next = webhook.Pending, 0, s.ctl.Time()
			if err := tx.Deliveries().Put(ctx, &d); err != nil {
				return err
			}
			if err := s.cfg.Queue.Deliver(ctx, tx, d.ID, d.Next); err != nil {
				return err
			}
		}
		if n = len(dead); n > 0 {
			note("webhook.retry", target(name), struct {
				Dead int `json:"dead"`
			}{n}, struct {
				Dead int `json:"dead"`
			}{})
		}
		return nil
	})
	return n, err
}

// Counts are those of all webhooks.
type Counts struct {
	Webhooks, Pending, Dead int
	Sent, Dropped           int64
}

// Count counts for metrics.
func (s *Service) Count(ctx context.Context) (c Counts, err error) {
	err = s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) (err error) {
		c = Counts{}
		for w, err := range domain.Each(ctx, tx.Webhooks(), domain.None{}) {
			if err != nil {
				return err
			}
			c.Webhooks++
			c.Sent += w.Sent
			c.Dropped += w.Dropped
		}
		if c.Pending, err = count(ctx, tx, "", webhook.Pending); err != nil {
			return err
		}
		c.Dead, err = count(ctx, tx, "", webhook.Dead)
		return err
	})
	return c, err
}
