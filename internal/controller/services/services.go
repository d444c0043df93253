// Package services puts the use cases of a controller together, over one store: the
// domain, and what is built on it.
//
// What lives here: who is told by whom, and what works by itself in the background.
// What must not: use cases, SQL, HTTP, the layout of the data directory.
//
// Read first: New.
package services

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/files/cnf"
	"github.com/peerload/peerload/internal/controller/filesets"
	"github.com/peerload/peerload/internal/controller/forecast"
	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/controller/rollouts/jobs"
	"github.com/peerload/peerload/internal/controller/summary"
	"github.com/peerload/peerload/internal/controller/webhooks"
	"github.com/peerload/peerload/internal/order"
)

// Config configures Services.
type Config struct {
	// Domain configures the controller. Its Store is required; Removed, Reported and
	// Failed must be nil, because New sets them.
	Domain domain.Config
	// Keys are the directory of the controller's keys. Required.
	Keys string
	// Shared keeps the keys of several replicas the same. nil: there are none.
	Shared orders.Shared
	// Beat is that of orders.Config.
	Beat time.Duration
	// Templates are those of cnf.Maker.
	Templates string
	// Live is the directory of livesite.Config.
	Live string
	// Log is told of what goes wrong in the background. nil: nobody is.
	Log *slog.Logger
}

// Validate says what is missing, or must not be given.
func (c Config) Validate() error {
	switch {
	case c.Keys == "":
		return errors.New("services: no directory of keys")
	case c.Domain.Removed != nil || c.Domain.Reported != nil || c.Domain.Failed != nil:
		return errors.New("services: Removed, Reported and Failed are set here")
	case c.Beat < 0:
		return errors.New("services: a negative time")
	}
	return c.Domain.Validate()
}

// Services are the use cases. They may be used by several goroutines.
type Services struct {
	Controller *domain.Controller
	Orders     *orders.Service
	Rollouts   *rollouts.Service
	Jobs       *bulk.Service
	FileSets   *filesets.Service
	Forecast   *forecast.Service
	Summary    *summary.Service
	Webhooks   *webhooks.Service
	Live       *livesite.Service
	// Files are what devices are provisioned by.
	Files cnf.Maker

	queue *jobs.Queue
	// news tells what other controllers do; nil: nobody does.
	news listener
	log  *slog.Logger
}

// listener tells of the orders of all controllers of a database.
type listener interface {
	Listen(ctx context.Context, changed, lost func())
}

// New returns the use cases over the store, which it does not close.
func New(ctx context.Context, cfg Config) (s Services, err error) {
	if err := cfg.Validate(); err != nil {
		return s, err
	}
	if s.log = cfg.Log; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.queue, err = jobs.Open(ctx, cfg.Domain.Store); err != nil {
		return s, err
	}
	s.news, _ = cfg.Domain.Store.(listener)
	kept := rollouts.New(cfg.Domain.Store, s.queue, time.Now)
	var roll *rollouts.Service
	cfg.Domain.Removed = kept.Removed
	cfg.Domain.Reported = func(ctx context.Context, tx domain.Tx, devices []string) error {
		return roll.Reported(ctx, tx, devices)
	}
	var hooks *webhooks.Service
	cfg.Domain.Failed = func(ctx context.Context, tx domain.Tx, failed []domain.FailedDevice) error {
		return hooks.DevicesFailed(ctx, tx, failed)
	}
	kept.Told = func(ctx context.Context, tx domain.Tx, before rollout.State, r domain.Rollout) error {
		return hooks.RolloutChanged(ctx, tx, before, r)
	}
	if s.Controller, err = domain.New(cfg.Domain); err != nil {
		return s, err
	}
	s.Forecast = forecast.New(s.Controller)
	if hooks, err = webhooks.New(webhooks.Config{Controller: s.Controller, Queue: s.queue, Log: s.log}); err != nil {
		return s, err
	}
	s.Webhooks = hooks
	if roll, err = rollouts.NewService(rollouts.Config{Controller: s.Controller, Kept: kept, Forecast: s.Forecast,
		Log: s.log}); err != nil {
		return s, err
	}
	s.Rollouts, s.FileSets, s.Summary = roll, filesets.New(s.Controller), summary.New(s.Controller)
	s.Files = cnf.Maker{Controller: s.Controller, Told: roll.Told, Templates: cfg.Templates}
	if s.Live, err = livesite.New(livesite.Config{Controller: s.Controller, Dir: cfg.Live, Log: s.log}); err != nil {
		return s, err
	}
	if s.Orders, err = orders.New(orders.Config{Controller: s.Controller, Keys: cfg.Keys, Shared: cfg.Shared,
		Random: rand.Reader, Beat: cfg.Beat, Stamp: s.stamp, Watched: s.Live.Watched}); err != nil {
		return s, err
	}
	s.Jobs, err = bulk.New(bulk.Config{Controller: s.Controller, Now: cfg.Domain.Now, Log: s.log})
	return s, err
}

// stamp is that of the file which a device would get now.
func (s Services) stamp(ctx context.Context, device string) (order.Stamp, error) {
	file, err := s.Files.Known(ctx, device)
	return order.StampOf(file), err
}

// Run does what goes on in the background, until ctx ends: orders are handed out,
// jobs and rollouts go on, messages are delivered.
func (s Services) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.work(ctx) })
	wg.Go(func() { s.Orders.Run(ctx, s.log) })
	wg.Go(func() { s.Jobs.Run(ctx) })
	wg.Go(func() { s.Live.Run(ctx) })
	if s.news != nil {
		wg.Go(func() { s.news.Listen(ctx, s.Orders.Told, s.Orders.Untold) })
	}
	wg.Wait()
}

// workAgain is how long the jobs of rollouts and webhooks rest once they could not be
// worked: a database that restarts is back by then.
const workAgain = 10 * time.Second

// work works the jobs of rollouts and webhooks until ctx ends. What it needs may be away:
// devices get their files all the same.
func (s Services) work(ctx context.Context) {
	for {
		err := errors.Join(s.Rollouts.Rebuild(ctx), s.Webhooks.Rebuild(ctx))
		if err == nil {
			err = s.queue.Run(ctx, s.Rollouts.Work, s.Webhooks.Deliver, s.log)
		}
		if ctx.Err() != nil {
			return
		}
		s.log.Error("rollouts and webhooks are not worked, and are begun again", "error", err)
		again := time.NewTimer(workAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
		}
	}
}
