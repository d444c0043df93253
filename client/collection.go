package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Filter narrows a list: every field that is not zero must match. The comment
// of a field names the lists that take it; the others refuse it.
type Filter struct {
	// Text is part of the name or description: devices, profiles, users, loads.
	Text string
	// Site: devices, and what is told of them or sent to them: history, audit,
	// enrolments, rollouts, orders, bulk jobs.
	Site string
	// Devices: Model in any spelling; NoProfile finds devices without a
	// profile; Load and Release are those assigned at the level of the device; State and
	// Active (the load that runs) are as last reported; Registration is
	// "administrator", "auto-registered" or "enrolled".
	Model, Profile, Registration, Load, Release, State, Active string
	NoProfile                                                  bool
	// Failed finds devices that tell of a failure: devices. About is a load that they
	// run or are to run, as last reported: devices and failures.
	Failed bool
	About  string
	// Rollouts take State too, and Active "true" for those that hold their devices.
	// Silent is how long a device must be silent to count as silent, in whole
	// seconds, 0 for an hour: sites. Devices are those that are silent for so long, 0
	// for all.
	Silent time.Duration
	// Retired lists retired loads too: loads.
	Retired bool
	// Open leaves out what is cancelled or has expired: orders, which take Kind too.
	Open bool
	// Standing of the device: devices of an order or a rollout.
	Standing string
	// User is the owner, "" for the caller, "*" for all: tokens.
	User string
	// Device in any spelling of its name, and Kind of the entry: history.
	Device, Kind string
	// Actor, Action and Target of the entry; PartOf is the id of the one that it is
	// a part of: audit.
	Actor, Action, Target, PartOf string
	// Since selects entries at that time or later, Before earlier ones: history
	// and audit.
	Since, Before time.Time
	// Bad lists rows with a problem only: rows of jobs.
	Bad bool
	// Limit is how many things to list at most, 0 for all: every list.
	Limit int
}

const (
	historyPath = "/history"
	// pageSize is how many things are requested at a time.
	pageSize = 1000
)

// query writes all but Limit, and Device where the path has it.
func (f Filter) query() url.Values {
	q := url.Values{}
	for name, v := range map[string]string{"text": f.Text, "model": f.Model, "profile": f.Profile, "site": f.Site,
		"origin": f.Registration, "load": f.Load, "release": f.Release, "state": f.State, "active": f.Active, "user": f.User,
		"device": f.Device, "kind": f.Kind, "actor": f.Actor, "action": f.Action, "target": f.Target, "part_of": f.PartOf,
		"standing": f.Standing, "about": f.About} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for name, v := range map[string]bool{"no_profile": f.NoProfile, "retired": f.Retired, "bad": f.Bad, "open": f.Open,
		"failed": f.Failed} {
		if v {
			q.Set(name, "true")
		}
	}
	for name, v := range map[string]time.Time{"since": f.Since, "before": f.Before} {
		if !v.IsZero() {
			q.Set(name, v.Format(time.RFC3339Nano))
		}
	}
	if s := int64(f.Silent / time.Second); s > 0 {
		q.Set("silent_s", strconv.FormatInt(s, 10))
	}
	return q
}

// Lister lists things.
type Lister[T any] struct {
	c     *Client
	path  string
	paged bool
}

// page is a part of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
	Total int    `json:"total"`
}

// List yields the things that match, in the order of the API, and reads page
// after page as it goes. After an error it yields nothing more.
func (l Lister[T]) List(ctx context.Context, f Filter) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		path, f := l.path, f // copies: the sequence can be used again
		if path == historyPath && f.Device != "" {
			path, f.Device = at("/devices", f.Device)+path, ""
		}
		q := f.query()
		asked := map[string]bool{}
		for n := 0; ; {
			if l.paged {
				size := pageSize
				if f.Limit > 0 {
					size = min(size, f.Limit-n)
				}
				q.Set("limit", strconv.Itoa(size))
			}
			var p page[T]
			if err := l.c.get(ctx, path, q, &p); err != nil {
				yield(*new(T), err)
				return
			}
			for _, v := range p.Items {
				if n++; !yield(v, nil) || n == f.Limit {
					return
				}
			}
			if p.Next == "" {
				return
			}
			if asked[p.Next] || len(p.Items) == 0 {
				yield(*new(T), errors.New("client: the list has no end: its pages come again"))
				return
			}
			asked[p.Next] = true
			q.Set("after", p.Next)
		}
	}
}

// Set lists, creates and deletes things.
type Set[T, Order any] struct{ Lister[T] }

// Create makes a thing with that name; order has its other properties.
func (s Set[T, Order]) Create(ctx context.Context, name string, o Order) (v T, err error) {
	in, err := named(name, o)
	if err != nil {
		return v, err
	}
	err = s.c.write(ctx, http.MethodPost, s.path, AnyVersion, in, &v)
	return v, err
}

// Delete removes a thing for good; v is the version that the caller has read,
// AnyVersion of Tokens and Enrolments, which have none.
func (s Set[T, Order]) Delete(ctx context.Context, key string, v Version) error {
	return s.c.write(ctx, http.MethodDelete, at(s.path, key), v, nil, nil)
}

// named puts the name before the fields of n.
func named(name string, n any) (json.RawMessage, error) {
	head, err := json.Marshal(struct {
		Name string `json:"name"`
	}{name})
	if err != nil {
		return nil, err
	}
	rest, err := json.Marshal(n)
	if err != nil || bytes.Equal(rest, []byte("{}")) {
		return head, err
	}
	head[len(head)-1] = ','
	return append(head, rest[1:]...), nil
}

// Collection has things of one kind, which are identified by name and may be
// changed.
type Collection[T, Change any] struct{ Set[T, Change] }

func collection[T, Change any](c *Client, path string) Collection[T, Change] {
	return Collection[T, Change]{Set[T, Change]{Lister[T]{c, path, true}}}
}

// Get returns a thing. The error is NotFound if there is none of that name. The
// devices of a site count as silent after an hour.
func (s Collection[T, Change]) Get(ctx context.Context, key string) (v T, err error) {
	err = s.c.get(ctx, at(s.path, key), nil, &v)
	return v, err
}

// Update changes a thing and returns the result. Nil fields of the change stay
// as they were. version is the one that the caller has read.
func (s Collection[T, Change]) Update(ctx context.Context, key string, c Change, version Version) (v T, err error) {
	err = s.c.write(ctx, http.MethodPatch, at(s.path, key), version, c, &v)
	return v, err
}
