package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// File is a file that is being fetched, or that was and is served to others.
type File struct{ j *job }

// ErrTwice says that this device fetches the same content already.
var ErrTwice = errors.New("this device fetches the same content already")

// Fetch begins to fetch a file through the peers and returns at once; Wait
// waits for the end. Run must be running. It resumes a partial file of an
// earlier run.
func (d *Device) Fetch(spec Spec) (*File, error) {
	f, err := d.open(spec)
	if err != nil {
		return nil, err
	}
	if err := d.begin(f, true); err != nil {
		return nil, err
	}
	return f, nil
}

// open prepares the content and the machine of a file.
func (d *Device) open(spec Spec) (*File, error) {
	j := &job{dev: d, spec: spec}
	part, held, err := j.openContent()
	if err != nil {
		return nil, err
	}
	return d.newFile(spec, part, held), nil
}

// newFile makes the job and the machine of content that is open.
func (d *Device) newFile(spec Spec, part *slot.Partial, held bool) *File {
	ctx, cancel := context.WithCancel(context.Background())
	j := &job{
		dev: d, spec: spec, ctx: ctx, stop: cancel, links: map[pdp.Link]*link{}, part: part, epoch: part.Epoch(), held: held,
		finished: make(chan struct{}), settle: make(chan struct{}, 1), verify: make(chan struct{}, 1),
	}
	if order := d.servers.order(d.now(), spec.Sources); len(order) > 0 {
		j.source.Store(uint32(order[0]))
	}
	j.count.start, j.count.children = time.Now(), map[string]bool{}
	size := spec.Size
	if g := part.Geometry(); g.Known() {
		size = g.Size // learned by an earlier run
	}
	j.machine = pdp.New(d.cfg.Protocol, d.self, pdp.File{
		Hierarchy: spec.Hierarchy(), Name: spec.Name, Model: spec.Model, Size: size,
		Signed: spec.signed(), Keyed: spec.keyed(),
	}, rand.New(rand.NewPCG(d.rnd.Uint64(), d.rnd.Uint64())))
	return &File{j}
}

// openContent opens the file that is in place already, if its digest is right,
// else the partial file.
func (j *job) openContent() (part *slot.Partial, held bool, err error) {
	s, cfg := j.slotSpec(0, j.spec.Size), j.dev.cfg
	if j.spec.keyed() {
		if part, err = slot.OpenHeld(cfg.Files, j.spec.Target, s, cfg.Slot); err == nil {
			return part, true, nil
		}
	}
	s.AnyEpoch = !j.spec.keyed() // the server tells whether it is still that
	part, err = slot.OpenPartial(cfg.Files, j.spec.Target, s, cfg.Slot)
	return part, false, err
}

// begin passes a file to the loop, or closes its content. Without gate it waits for its turn
// at the origin.
func (d *Device) begin(f *File, gate bool) error {
	j := f.j
	var err error
	d.call(func(now time.Duration) {
		h := j.spec.Hierarchy()
		if d.jobs[h] != nil {
			err = fmt.Errorf("%s: %w", j.spec.Name, ErrTwice)
			return
		}
		d.jobs[h] = j
		part, _ := j.content()
		prefix := 0
		if g := part.Geometry(); g.Known() {
			// Without a size nothing can be continued yet.
			prefix = part.Prefix()
			j.mu.Lock()
			for i := range g.Chunks() {
				if part.Has(i) {
					_, n := g.Span(i)
					j.count.fromCache += int64(n)
				}
			}
			j.mu.Unlock()
		}
		go j.disk()
		e := j.statusEvent()
		e.Event = report.KindStart
		d.event(e)
		if j.held {
			j.mu.Lock()
			j.complete, j.count.end = true, time.Now()
			j.count.digest, _ = j.spec.Digest.Given()
			j.mu.Unlock()
			close(j.finished)
		}
		j.step(now, pdp.Yield{On: d.yields})
		j.step(now, pdp.Start{Prefix: prefix, Complete: j.held, Epoch: part.Epoch()})
		j.tellRest(now, prefix)
		if !gate {
			j.step(now, pdp.Gate{})
		}
	})
	if err != nil { // nobody else would let go of the lock
		j.stop()
		_ = j.part.Close()
	}
	return err
}

// tellRest tells the machine of chunks that an earlier run left after a gap:
// they will not be stored again.
func (j *job) tellRest(now time.Duration, prefix int) {
	part, _ := j.content()
	if j.held || !part.Geometry().Known() {
		return
	}
	for i := prefix; i < part.Geometry().Chunks(); i++ {
		if part.Has(i) {
			j.step(now, pdp.Stored{Index: i})
		}
	}
}

// Wait returns when every byte is verified, or with the reason why the file
// cannot be had. Nothing has its name yet: see Commit.
func (f *File) Wait(ctx context.Context) error {
	select {
	case <-f.j.finished:
	case <-ctx.Done():
		return ctx.Err()
	case <-f.j.dev.done:
		return context.Canceled
	}
	f.j.mu.Lock()
	defer f.j.mu.Unlock()
	if f.j.complete {
		return nil
	}
	return f.j.failure()
}

// Changed returns a channel that is closed when more of the file may have come, or
// none will. Whoever reads a file while it arrives gets the channel first, then looks
// at Partial and Ended, and waits.
func (f *File) Changed() <-chan struct{} {
	j := f.j
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return j.changed
}

// stir wakes those that wait for a change.
func (j *job) stir() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// Ended reports whether all of the file is here and verified, or why it is not coming.
func (f *File) Ended() (complete bool, err error) {
	select {
	case <-f.j.finished:
	default:
		return false, nil
	}
	f.j.mu.Lock()
	defer f.j.mu.Unlock()
	if f.j.complete {
		return true, nil
	}
	return false, f.j.failure()
}

// Commit puts the verified file in place.
func (f *File) Commit() error {
	part, _ := f.j.content()
	if !f.j.held {
		if err := part.Commit(); err != nil {
			return err
		}
	}
	f.Committed()
	return nil
}

// Committed reports that the file is in place, by Commit or as part of a set.
func (f *File) Committed() {
	f.j.mu.Lock()
	f.j.count.end = time.Now()
	f.j.mu.Unlock()
	fin := f.Final()
	f.j.dev.event(report.Event{Event: report.KindCommitted, File: fin.File, URL: fin.URL, Bytes: fin.Size, Size: fin.Size,
		Percent: 100,
		Role:    fin.Role, Source: fin.Source, Hierarchy: f.j.spec.Hierarchy().String(), Message: fin.Path})
}

// Final returns the report of the file.
func (f *File) Final() *report.Final { return f.j.final() }

// Held reports whether the file was in place, verified, before.
func (f *File) Held() bool { return f.j.held }

// Partial returns where the file's bytes are, for a commit of several.
func (f *File) Partial() *slot.Partial { part, _ := f.j.content(); return part }

// ReadAll returns the verified content of a small file.
func (f *File) ReadAll(most int64) ([]byte, error) {
	part, _ := f.j.content()
	g := part.Geometry()
	if !g.Known() || g.Size > most {
		return nil, fmt.Errorf("%s has %d bytes, at most %d were expected", f.j.spec.Name, g.Size, most)
	}
	out := make([]byte, 0, g.Size)
	for i := range g.Chunks() {
		b, err := part.ReadChunk(i, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// Close tells the peers that this device leaves, and closes the file. A partial
// file stays for the next run.
func (f *File) Close() error {
	f.leave()
	part, _ := f.j.content()
	return part.Close()
}

// Discard is Close for a file that is not wanted any more: nothing of it stays.
func (f *File) Discard() error {
	f.leave()
	part, _ := f.j.content()
	return part.Discard()
}

// leave removes the file from the loop.
func (f *File) leave() {
	j := f.j
	j.dev.call(func(now time.Duration) {
		j.step(now, pdp.Stop{})
		j.release()
		if j.dev.jobs[j.spec.Hierarchy()] == j {
			delete(j.dev.jobs, j.spec.Hierarchy())
		}
	})
	j.stop()
}

// Linger serves until no peer needs these files from this device, at most for
// the given time.
func (d *Device) Linger(ctx context.Context, files []*File, most time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		idle := true
		d.call(func(time.Duration) {
			for _, f := range files {
				idle = idle && (f.j.ended || f.j.machine.Idle())
			}
		})
		if idle {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-d.done:
			return
		}
	}
}

// failure returns the error of a job that failed, with what the origin said.
// The caller holds mu.
func (j *job) failure() error {
	var e *Error
	if errors.As(j.err, &e) && e.Err == nil && e.Reason.Origin() && j.originErr != nil {
		e.Err, e.URL = j.originErr, j.originURL // the next one may be in use already
	}
	return j.err
}
