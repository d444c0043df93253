// Package livesite has the use cases of looking at the upgrades of a site while they go
// on: what devices tell, one stream for all who look, and the last upgrade of each site
// for those who come later.
//
// What lives here: whom a device may speak for, who may see what, how much devices are
// to tell, and how the stream goes on after an interruption. What must not: the form of
// what devices tell (package live), their orders (package orders), HTTP.
//
// It is kept in this process's memory, and over an orderly restart in a file. It decides
// nothing: whoever needs to know how a device is asks the domain.
//
// Read Service first, then site.go, and kept.go for what outlives a restart.
package livesite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/internal/order"
)

const (
	// maxRate is how many bytes a second the devices of a site tell at most while
	// somebody looks, and share how much of the site's line that may be.
	maxRate, share = 4000, 50
	// minRate keeps the picture moving on any line.
	minRate = 20
	// usual is how many bytes a second a device tells at most while nobody looks.
	usual = 100
	// homeTime is how long it is believed which site a device belongs to.
	homeTime = time.Minute
	// carrierTime is how long a device that has told something counts as one that shares
	// the rate.
	carrierTime = 2 * time.Minute
	// followTime is how long one request may last: who looks asks again, and shows again
	// who he is.
	followTime = 15 * time.Minute
	// maxFollowers bounds those who look in this process.
	maxFollowers = 2000
)

// Config configures a Service.
type Config struct {
	// Controller has the devices and the sites. Required.
	Controller *domain.Controller
	// Dir keeps the last upgrade of each site over a restart. "": it is forgotten.
	Dir string
	// Log is told of what goes wrong. nil: nobody is.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Controller == nil {
		return errors.New("livesite: no controller")
	}
	return nil
}

// Service has the use cases. Its methods may be called by several goroutines.
type Service struct {
	cfg   Config
	ctl   *domain.Controller
	epoch string

	mu        sync.Mutex
	sites     map[string]*site
	homes     map[string]home
	followers int
	news      chan struct{} // closed when somebody begins or ceases to look
}

// home is where a device belongs.
type home struct {
	site string
	at   time.Time
	// line is the rate of its line in bytes a second, 0 if it is not known.
	line int64
}

// New returns the use cases.
func New(cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	epoch := strconv.FormatInt(cfg.Controller.Time().UnixMicro(), 36)
	return &Service{cfg: cfg, ctl: cfg.Controller, epoch: epoch, sites: map[string]*site{}, homes: map[string]home{},
		news: make(chan struct{})}, nil
}

// Take takes what a device tells of itself and of those that it carries for, packed by
// package live. What it says of others is left out.
func (s *Service) Take(ctx context.Context, a domain.Actor, carries []string, packed []byte) error {
	if a.Kind != domain.ActorDevice || a.Role != domain.RoleDevice {
		return fmt.Errorf("%w: only a device tells of its upgrade", domain.ErrForbidden)
	}
	states, err := live.Unpack(packed)
	if err != nil {
		return fmt.Errorf("%w: %w", domain.ErrInvalid, err)
	}
	may := map[string]bool{a.Name: true}
	for _, d := range carries {
		may[d] = true
	}
	states = slices.DeleteFunc(states, func(st live.State) bool { return !may[st.Device] })
	if err := s.locate(ctx, states); err != nil {
		return err
	}
	by := map[string][]live.State{}
	s.mu.Lock()
	for _, st := range states {
		if h := s.homes[st.Device]; h.site != "" {
			by[h.site] = append(by[h.site], st)
		}
	}
	s.mu.Unlock()
	for name, of := range by {
		if st := s.site(name); st != nil {
			st.take(a.Name, of)
		}
	}
	s.bound()
	return nil
}

// locate finds out where devices belong, if that is not known or long ago.
func (s *Service) locate(ctx context.Context, states []live.State) error {
	now := s.ctl.Time()
	var ask []string
	s.mu.Lock()
	for _, st := range states {
		if h, ok := s.homes[st.Device]; !ok || now.Sub(h.at) >= homeTime {
			ask = append(ask, st.Device)
		}
	}
	s.mu.Unlock()
	if len(ask) == 0 {
		return nil
	}
	var found map[string]string
	var rows map[string]domain.Site
	err := s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) (err error) {
		if found, err = homesOf(ctx, tx, ask); err != nil {
			return err
		}
		sites := slices.Collect(maps.Values(found))
		slices.Sort(sites)
		rows, err = tx.Sites().GetAll(ctx, slices.Compact(sites))
		return err
	})
	if err != nil {
		return err
	}
	var moved []string
	s.mu.Lock()
	for _, d := range ask {
		if before, ok := s.homes[d]; ok && before.site != found[d] {
			moved = append(moved, d)
		}
	}
	for _, d := range moved {
		if st := s.sites[s.homes[d].site]; st != nil {
			st.forget(d)
		}
	}
	for _, d := range ask {
		s.homes[d] = home{found[d], now, rows[found[d]].WANRate}
	}
	s.mu.Unlock()
	return nil
}

// homesOf are the sites of devices, without those that have none.
func homesOf(ctx context.Context, tx domain.Tx, names []string) (map[string]string, error) {
	devices, err := tx.Devices().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	states, err := tx.States().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	homes := map[string]string{}
	for name, d := range devices {
		if homes[name] = d.Site; d.Site == "" {
			homes[name] = states[name].Site
		}
	}
	return homes, nil
}

// Watched is how much the device that keeps a connection is to tell, and what is closed
// when that may have changed.
func (s *Service) Watched(ctx context.Context, device string) (order.Watch, <-chan struct{}) {
	// Without an answer of the database nobody looks, as far as is known.
	_ = s.locate(ctx, []live.State{{Device: device}})
	s.mu.Lock()
	defer s.mu.Unlock()
	var w order.Watch
	if line := s.homes[device].line; line > 0 && line/share < usual {
		w.Kept = int(max(minRate, line/share))
	}
	if st := s.sites[s.homes[device].site]; st != nil {
		w.Rate = st.rate(s.ctl.Time())
	}
	return w, s.news
}

// site returns a site, which is read from what was kept when it is first asked for.
func (s *Service) site(name string) *site {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.sites[name]; st != nil {
		return st
	}
	st := newSite(name, s.epoch, s.ctl.Time)
	if err := s.read(st); err != nil {
		s.cfg.Log.Warn("the last upgrade of a site is forgotten", "site", name, "error", err)
	}
	s.sites[name] = st
	return st
}

// maxKept bounds what is kept of all sites for those who come later, in files and
// devices that were told of.
const maxKept = 300_000

// bound forgets the last upgrades of the sites that have been quiet for longest, where
// all together are too much.
func (s *Service) bound() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		all := 0
		var oldest *site
		for _, st := range s.sites {
			weight, last := st.weight()
			if all += weight; weight > 0 && (oldest == nil || last.Before(oldest.lastChange())) {
				oldest = st
			}
		}
		if all <= maxKept || oldest == nil {
			return
		}
		oldest.drop()
	}
}

// enter has somebody look at a site.
func (s *Service) enter(st *site, rate int64) (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers >= maxFollowers {
		return nil, fmt.Errorf("%w: too many look at sites here", domain.ErrUnavailable)
	}
	s.followers++
	w, first := st.enter(rate)
	if first {
		s.flip()
	}
	return w, nil
}

func (s *Service) leave(st *site, w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followers--
	if st.leave(w) {
		s.flip()
	}
}

func (s *Service) flip() {
	close(s.news)
	s.news = make(chan struct{})
}

// Follow sends how a site stands, and what changes, until ctx ends or the request is old
// enough to be made anew. After is the id of the last event that the caller has seen, ""
// for none: the stream goes on there if that is still known, else it begins with a
// snapshot. send hands over one event, nil as a sign of life; its error ends the stream.
func (s *Service) Follow(ctx context.Context, a domain.Actor, name, after string, send func(*Event) error) error {
	st, rate, err := s.see(ctx, a, name)
	if err != nil {
		return err
	}
	w, err := s.enter(st, rate)
	if err != nil {
		return err
	}
	defer s.leave(st, w)
	return st.follow(ctx, w, after, send)
}

// follow sends what somebody who looks lacks, and what comes.
func (s *site) follow(ctx context.Context, w *watcher, after string, send func(*Event) error) error {
	if err := send(nil); err != nil { // so that the caller knows that it is there
		return err
	}
	for _, e := range s.since(w, after) {
		if err := send(&e); err != nil {
			return err
		}
	}
	end := time.NewTimer(followTime)
	defer end.Stop()
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return nil
		case e, ok := <-w.events:
			if !ok {
				return nil // too slow: it asks again, and goes on where it was
			}
			if err := send(&e); err != nil {
				return err
			}
		case <-alive.C:
			if err := send(nil); err != nil {
				return err
			}
		}
	}
}

// aliveEvery is how often a stream in which nothing happens shows that it lives.
const aliveEvery = 20 * time.Second

// Last is the last upgrade of a site, or the one under way, from its beginning on.
func (s *Service) Last(ctx context.Context, a domain.Actor, name string) (Replay, error) {
	st, _, err := s.see(ctx, a, name)
	if err != nil {
		return Replay{}, err
	}
	return st.replay(), nil
}

// see returns a site that somebody may see, with the rate of its line. Devices that
// belong there no more are dropped.
func (s *Service) see(ctx context.Context, a domain.Actor, name string) (st *site, rate int64, err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return nil, 0, err
	}
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if err := domain.CheckSite(ctx, tx, name); err != nil {
			return err
		}
		row, err := tx.Sites().Get(ctx, name)
		rate = row.WANRate
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	st = s.site(name)
	var homes map[string]string
	err = s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) (err error) {
		homes, err = homesOf(ctx, tx, st.devices())
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	for _, d := range st.devices() {
		if homes[d] != name {
			st.forget(d)
		}
	}
	return st, rate, nil
}
