package main

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// errTrust marks errors of the signed metadata for the exit code.
var errTrust = errors.New("trust")

// trustFailure is an error of the signed metadata.
type trustFailure struct{ error }

func (e trustFailure) Is(target error) bool { return target == errTrust }
func (e trustFailure) Unwrap() error        { return e.error }

// getter runs what was asked for on a device.
type getter struct {
	f     *getFlags
	r     *request
	dev   *engine.Device
	out   *output
	state *status.Dir
}

func (g *getter) fetch(ctx context.Context) error {
	if g.r.load {
		return g.fetchLoad(ctx)
	}
	return g.fetchFiles(ctx)
}

// fetchFiles fetches one file after the other, with their elections together.
func (g *getter) fetchFiles(ctx context.Context) error {
	var files []*engine.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, sources := range g.r.urls {
		u := sources[0]
		target, err := g.r.target(u)
		if err != nil {
			return err
		}
		f, err := g.dev.Fetch(engine.Spec{
			Name: nameOf(u), Model: g.f.model, Group: g.group(), Sources: sources, Target: target,
			Size: load.UnknownSize, Digest: g.r.digest, Key: u.Redacted(),
		})
		if err != nil {
			return g.failed(ctx, nameOf(u), err, nil)
		}
		files = append(files, f)
	}
	for _, f := range files {
		err := f.Wait(ctx)
		if err == nil {
			err = f.Commit()
		}
		if err != nil {
			return g.failed(ctx, f.Final().File, err, f.Final())
		}
		g.out.done(f.Final())
	}
	g.linger(ctx, files)
	for _, f := range files {
		g.out.result(f.Final())
	}
	return nil
}

func (g *getter) fetchLoad(ctx context.Context) error {
	sources := g.r.urls[0]
	fetch := g.dev.FetchLoad
	if g.f.trust == "" {
		fetch = g.dev.FetchClassic
	}
	run, err := engine.FirstOf(ctx, sources, func(u *url.URL) (*engine.LoadRun, error) {
		run, err := fetch(ctx, engine.LoadSpec{
			URL: u, Trust: g.f.trust, Model: g.f.model, Group: g.group(), Dir: g.r.output, Slots: g.f.slots, Scratch: g.state.Path(),
		})
		if err != nil {
			run.Close()
		}
		return run, err
	})
	defer run.Close()
	if err != nil {
		var t *engine.TrustError
		switch {
		case errors.As(err, &t):
			err = trustFailure{err}
		case errors.Is(err, engine.ErrModel):
			err = usageError{err}
		}
		return g.failed(ctx, nameOf(sources[0]), err, run.Final())
	}
	g.out.done(run.Final())
	g.linger(ctx, run.Files)
	g.out.result(run.Final())
	return nil
}

// lingerMost is how long a device serves those that wait for it, unless it was
// told.
const lingerMost = time.Minute

// linger serves the peers: for the time that was asked for, so that a late
// device finds somebody, else until nobody waits.
func (g *getter) linger(ctx context.Context, files []*engine.File) {
	if !g.f.stay {
		g.dev.Linger(ctx, files, lingerMost)
		return
	}
	timer := time.NewTimer(g.f.linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// group is the model group that this device shares with.
func (g *getter) group() string {
	if g.f.model == "" {
		return ""
	}
	return policy.Builtin().Group(g.f.model)
}

// stopped is a run that ended before its file: the user, the system or
// --max-time would not have it longer.
type stopped struct{ cause error }

func (e stopped) Error() string {
	return e.cause.Error() + "; the same command continues where it stood"
}
func (e stopped) Unwrap() error { return e.cause }

// failed reports and returns why a file is not coming.
func (g *getter) failed(ctx context.Context, name string, err error, fin *report.Final) error {
	if ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		err = stopped{context.Cause(ctx)}
	}
	g.out.failed(name, err, fin)
	return err
}
