package fetch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/target"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// lingerMost is how long a device serves peers that wait for it if
// Request.Linger is nil.
const lingerMost = time.Minute

// Run does what the request asks for; Fetch of package peerload says what and when.
func Run(ctx context.Context, r Request) ([]report.Final, error) {
	return r.fetch(ctx, (*fetching).load)
}

// Files is Run for a request of files. It links nothing that loads take, and refuses them.
func Files(ctx context.Context, r Request) ([]report.Final, error) {
	return r.fetch(ctx, func(f *fetching, _ context.Context) ([]report.Final, error) {
		return nil, failure.WithKind(failure.Request, fmt.Errorf("%s is a load: this program fetches files alone",
			target.Name(f.list.Sources[0][0])))
	})
}

// howLoads is what to do if the request is for a load.
type howLoads func(*fetching, context.Context) ([]report.Final, error)

func (r Request) fetch(ctx context.Context, loads howLoads) ([]report.Final, error) {
	list, err := r.targets()
	if err != nil {
		return nil, err
	}
	finals, err := r.run(ctx, list, loads)
	var s *failure.Stopped
	err = failure.Classify(err)
	switch {
	case errors.As(err, &s):
		s.Context = ctx.Err()
	case isContext(err):
		err = late{err}
	}
	return finals, err
}

func (r Request) run(ctx context.Context, list *target.List, loads howLoads) ([]report.Final, error) {
	if err := list.MakeDir(); err != nil {
		return nil, err
	}
	if r.Slots {
		if err := slot.CanSwitch(slot.OS{}, list.Output); err != nil {
			return nil, err
		}
	}
	state, err := status.Open(r.State)
	if err != nil {
		return nil, err
	}
	f := &fetching{req: &r, list: list, state: state, loads: loads}
	return f.place(ctx)
}

// fetching is a request on its way.
type fetching struct {
	req   *Request
	list  *target.List
	state *status.Dir
	dev   *device
	loads howLoads
	mu    sync.Mutex // one event at a time
	over  bool       // a failure was told
	// finals are of the files that are in place.
	finals []report.Final
}

// tell passes an event to the program. Both the loop of the device and Fetch
// itself call it. That a file or load has failed is the last of them.
func (f *fetching) tell(e report.Event) {
	if f.req.Events == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return // the device's loop has not ended yet
	}
	f.over = e.Event == report.KindFailed
	f.req.Events(e)
}

// paths returns where the files go, in the order of the URLs, if the file system
// tells them apart.
func (f *fetching) paths() (paths []string, err error) {
	for _, sources := range f.list.Sources {
		path, err := f.list.Path(sources[0])
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, slot.CheckNames(slot.OS{}, paths)
}

// files fetches one file after the other, but starts all their elections
// together.
func (f *fetching) files(ctx context.Context) ([]report.Final, error) {
	var files []*engine.File
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	paths, err := f.paths()
	if err != nil {
		return nil, err
	}
	first := len(f.finals) // the others are in place
	for i, sources := range f.list.Sources[first:] {
		u := sources[0]
		file, err := f.dev.Fetch(engine.Spec{
			Name: target.Name(u), Model: f.req.Model, Group: policy.Builtin().Group(f.req.Model), Sources: sources,
			Target: paths[first+i],
			Size:   load.UnknownSize, Digest: f.req.Proof.expected(), Key: u.Redacted(),
		})
		if err != nil {
			return nil, f.failed(ctx, target.Name(u), err, nil)
		}
		files = append(files, file)
	}
	for _, file := range files {
		err := file.Wait(ctx)
		if err == nil {
			err = ctx.Err() // if both are ready, Wait may return either
		}
		if err == nil {
			err = file.Commit()
		}
		if err != nil {
			return f.finals, f.failed(ctx, file.Final().File, err, file.Final())
		}
		f.done(file.Final())
		f.finals = append(f.finals, *file.Final())
	}
	f.linger(ctx, files)
	for i, file := range files {
		f.finals[first+i] = *file.Final() // with what was passed on since
	}
	return f.finals, nil
}

func (f *fetching) load(ctx context.Context) ([]report.Final, error) {
	sources := f.list.Sources[0]
	begin := f.dev.FetchLoad
	if f.list.Classic {
		begin = f.dev.FetchClassic
	}
	run, err := begin(ctx, engine.LoadSpec{
		URLs: sources, Trust: f.req.Proof.trust, Model: f.req.Model, Group: policy.Builtin().Group(f.req.Model),
		Dir: f.list.Output, Slots: f.req.Slots, Scratch: f.state.Path(),
	})
	if err != nil {
		run.Close()
		var t *engine.TrustError
		switch {
		case errors.As(err, &t):
			err = failure.WithKind(failure.Trust, err)
		case errors.Is(err, engine.ErrModel):
			err = failure.WithKind(failure.Request, err)
		}
		return nil, f.failed(ctx, target.Name(sources[0]), err, run.Final())
	}
	defer run.Close()
	f.done(run.Final())
	f.linger(ctx, run.Files)
	return []report.Final{*run.Final()}, nil
}

// linger serves the peers: for the time that was asked for, so that a late
// device finds a peer, or else until nobody waits.
func (f *fetching) linger(ctx context.Context, files []*engine.File) {
	if f.req.Linger == nil {
		f.dev.Linger(ctx, files, lingerMost)
		return
	}
	timer := time.NewTimer(*f.req.Linger)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// done reports a file or load in place.
func (f *fetching) done(fin *report.Final) {
	e := f.event(report.KindDone, fin.File)
	e.URL, e.Role, e.Source, e.Message, e.Final = fin.URL, fin.Role, fin.Source, fin.Path, fin
	e.Bytes, e.Size, e.Percent = fin.Size, fin.Size, 100
	f.tell(e)
}

// failed reports and returns why a file could not be fetched.
func (f *fetching) failed(ctx context.Context, name string, err error, fin *report.Final) error {
	if errors.Is(context.Cause(ctx), errMoved) {
		return errMoved // it begins again elsewhere
	}
	if ctx.Err() != nil && isContext(err) {
		err = &failure.Stopped{Cause: context.Cause(ctx)}
	}
	e := f.event(report.KindFailed, name)
	e.Reason, e.Message, e.Final = string(failure.Reason(err)), err.Error(), fin
	e.MessageJA = failure.InJapanese(err)
	f.tell(e)
	return err
}

// event is an event of Fetch itself.
func (f *fetching) event(kind, file string) report.Event {
	return report.Event{Schema: report.Schema, Time: status.Stamp(time.Now()), Event: kind,
		Device: fmt.Sprintf("%016x", f.dev.id), File: file}
}

// late is an error of a server that took too long. Packages net and net/http
// call their timeouts context.DeadlineExceeded; the context of the caller has
// not ended.
type late struct{ err error }

func (e late) Error() string { return e.err.Error() }

// Is matches what the wrapped error matches, except the end of a context. There
// is no Unwrap, because that would match it.
func (e late) Is(target error) bool { return !isContext(target) && errors.Is(e.err, target) }

func (e late) As(target any) bool { return errors.As(e.err, target) }

// isContext reports whether an error is the end of a context.
func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
