package engine

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// Spec says which file to fetch and how to know that it is right.
type Spec struct {
	// Name is the file's name for people; Model the device's model, if any.
	Name, Model string
	// Group is the model group, empty for files that belong to no model.
	Group string
	// Sources are the URLs that the file may be downloaded from, in the order
	// to try.
	Sources []*url.URL
	// Header is sent to the servers of Sources with each request; nil: nothing.
	// Peers are not told of it.
	Header http.Header
	// Target is the path that the file will have.
	Target string
	// Size in bytes, or load.UnknownSize.
	Size int64
	// Digest of the whole file, or that none was given (unsigned content).
	Digest slot.Expected
	// Table is the signed chunk table, nil if there is none.
	Table load.Table
	// Key identifies the content if no digest was given: what was asked for,
	// such as the URL.
	Key string
	// Fetch replaces the download from Sources for content that this device
	// makes itself, such as a bundle of metadata. It is given the source in use,
	// nil if there is none.
	Fetch func(ctx context.Context, from *url.URL) ([]byte, error)
}

func (s Spec) signed() bool { return s.Table != nil }

// keyed reports whether the content is identified by its digest.
func (s Spec) keyed() bool {
	_, given := s.Digest.Given()
	return given
}

// key returns the key of the hierarchy and of the partial file.
func (s Spec) key() load.Digest {
	if d, given := s.Digest.Given(); given {
		return d
	}
	return load.DigestOf([]byte("peerload unsigned 1\x00" + s.Key))
}

// Hierarchy returns the hierarchy that the file is shared in.
func (s Spec) Hierarchy() wire.Hierarchy {
	k := s.key()
	return wire.HierarchyOf(s.Group, k[:])
}

// job is one file that is being fetched or served: a machine, its content, its
// links, its download.
type job struct {
	dev  *Device
	spec Spec
	ctx  context.Context
	stop context.CancelFunc

	// Owned by the loop.
	machine  *pdp.Machine
	links    map[pdp.Link]*link
	nextLink pdp.Link
	actions  []pdp.Action
	dl       context.CancelFunc // ends the download under way
	ended    bool
	progress time.Duration // when progress was last reported
	told     int           // chunks held then
	next     *job          // may use the origin once this one needs it no more

	held   bool                  // the file was in place from the start
	source atomic.Uint32         // of spec.Sources, the one in use
	proven atomic.Pointer[int64] // the size by the digest, nil while it is not known
	stream atomic.Bool           // the file is asked for in one stream, and not in pieces

	finished chan struct{} // closed when complete or failed
	settle   chan struct{} // wakes the disk goroutine
	verify   chan struct{}

	mu        sync.Mutex
	part      *slot.Partial
	gen       uint64 // of the content: another one after each reset
	epoch     uint64
	validator string // of the origin, for that epoch
	recent    recent
	wanted    transfer.Set // what children want, as of the last step
	err       error
	originErr error  // what the origin said last
	originURL string // which source said it
	complete  bool
	changed   chan struct{} // closed at the next step, nil if nobody waits
	count     counters
}

// post and call hand an event to the machine.
func (j *job) post(e pdp.Event) { j.dev.post(func(now time.Duration) { j.step(now, e) }) }
func (j *job) call(e pdp.Event) { j.dev.call(func(now time.Duration) { j.step(now, e) }) }

// postAt is post for an event about content of generation gen; it is dropped
// if the content has been reset since.
func (j *job) postAt(gen uint64, e pdp.Event) {
	j.dev.post(func(now time.Duration) {
		if _, g := j.content(); g == gen {
			j.step(now, e)
		}
	})
}

// content returns what is stored, nil after release, and its generation.
func (j *job) content() (*slot.Partial, uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.part, j.gen
}

func (j *job) chunkSize() int {
	if part, _ := j.content(); part != nil {
		return part.Geometry().ChunkSize()
	}
	return 0
}

func (j *job) deadline() (time.Duration, bool) {
	if j.ended {
		return 0, false
	}
	return j.machine.Deadline()
}

// step gives the machine an event and carries out its actions.
func (j *job) step(now time.Duration, e pdp.Event) {
	if j.ended {
		return
	}
	j.actions = j.machine.Step(now, e, j.actions[:0])
	_, before := j.content()
	for i, a := range j.actions {
		j.carryOut(a)
		j.actions[i] = nil
	}
	if _, gen := j.content(); gen != before {
		for _, l := range j.links {
			l.gen.Store(gen) // the machine kept it: it goes on with the new content
		}
	}
	j.reportStatus(now)
	j.stir()
	if j.machine.Status().Ended {
		j.release()
	}
	j.openNext(now)
}

// openNext lets the next file of the load have the origin.
func (j *job) openNext(now time.Duration) {
	if n := j.next; n != nil && j.machine.OriginDone() {
		j.next = nil
		n.step(now, pdp.Gate{Open: true})
	}
}

// carryOut does one action. It must not block.
func (j *job) carryOut(a pdp.Action) {
	switch a := a.(type) {
	case pdp.Broadcast:
		_ = j.dev.cfg.Net.Broadcast(wire.Marshal(j.envelope(), a.Msg))
	case pdp.Send:
		_ = j.dev.cfg.Net.Send(a.To, wire.Marshal(j.envelope(), a.Msg))
	case pdp.Dial:
		j.dial(a)
	case pdp.SendFrame:
		if l := j.links[a.Link]; l != nil {
			l.send(outgoing{frame: a.Frame})
		}
	case pdp.SendChunk:
		if l := j.links[a.Link]; l != nil {
			_, gen := j.content()
			l.send(outgoing{chunk: a.Index, gen: gen})
		}
	case pdp.Close:
		if l := j.links[a.Link]; l != nil {
			j.dropLink(l)
		}
	case pdp.Prepare:
		j.prepare()
	case pdp.OpenOrigin:
		j.download(a.From)
	case pdp.StopOrigin:
		j.stopDownload()
	case pdp.Reset:
		j.reset(a)
	case pdp.Drop:
		j.drop(a.Indices)
	case pdp.SendTable:
		if l := j.links[a.Link]; l != nil {
			go j.sendTable(l) // it may have to read the file
		}
	case pdp.SetSize:
		part, gen := j.content()
		if err := part.SetSize(a.Size); err != nil {
			j.diskFailed(gen, err)
		}
	case pdp.Verify:
		signal(j.verify)
	case pdp.Complete:
		j.mu.Lock()
		j.complete = true
		j.mu.Unlock()
		close(j.finished)
	case pdp.Fail:
		j.fail(a.Reason)
	case pdp.Note:
		j.note(a)
	}
}

func (j *job) envelope() wire.Envelope {
	return wire.Envelope{Hierarchy: j.spec.Hierarchy(), From: j.dev.self.Peer, TCPPort: j.dev.self.Addr.Port()}
}

// dropLink forgets a link and closes it once what was queued is sent.
func (j *job) dropLink(l *link) {
	delete(j.links, l.id)
	close(l.dropped)
	if l.conn != nil {
		// The writer may wait for a device that is gone.
		_ = l.conn.SetWriteDeadline(time.Now().Add(lastFramesTimeout))
	}
}

// fail ends the job without the file.
func (j *job) fail(why wire.Reason) {
	j.mu.Lock()
	if j.err == nil {
		j.err = &Error{File: j.spec.Name, URL: j.url(), Reason: why}
	} else if e := (*Error)(nil); !errors.As(j.err, &e) {
		j.err = &Error{File: j.spec.Name, URL: j.url(), Reason: why, Err: j.err}
	}
	done := j.complete
	j.mu.Unlock()
	if !done {
		close(j.finished)
	}
}

// release ends everything that belongs to the job but the file itself.
func (j *job) release() {
	if j.ended {
		return
	}
	j.ended = true
	j.stopDownload()
	for _, l := range j.links {
		j.dropLink(l)
	}
	j.stop()
}

// diskFailed keeps the error and tells the machine.
func (j *job) diskFailed(gen uint64, err error) {
	j.mu.Lock()
	stale := gen != j.gen
	if j.err == nil && !stale {
		j.err = err
	}
	j.mu.Unlock()
	if !stale {
		j.post(pdp.DiskFailed{})
	}
}

// reset drops the content and begins another one.
func (j *job) reset(a pdp.Reset) {
	// Writes to the old content fail, because they have its old generation, and
	// no reader gets old content as the new one.
	j.mu.Lock()
	j.gen++
	gen := j.gen
	j.epoch = a.Epoch
	j.recent.clear()
	err := j.part.Discard()
	if err == nil {
		var fresh *slot.Partial
		if fresh, err = slot.OpenPartial(j.dev.cfg.Files, j.spec.Target, j.slotSpec(a.Epoch, a.Size),
			j.dev.cfg.Slot); err == nil {
			j.part = fresh
		}
	}
	j.mu.Unlock()
	if err != nil {
		j.diskFailed(gen, err)
	}
}

func (j *job) slotSpec(epoch uint64, size int64) slot.Spec {
	return slot.Spec{Key: j.spec.key(), Epoch: epoch, Geometry: load.Geometry{Size: size}, Table: j.spec.Table,
		Digest: j.spec.Digest}
}

// size returns the file's size where something certain says it, or
// load.UnknownSize.
func (j *job) size() int64 {
	if n := j.proven.Load(); n != nil {
		return *n
	}
	return j.spec.Size
}

// origin returns the source in use, nil if there is none.
func (j *job) origin() *url.URL {
	if len(j.spec.Sources) == 0 {
		return nil
	}
	return j.spec.Sources[j.source.Load()]
}

// url returns the source in use, for people.
func (j *job) url() string {
	u := j.origin()
	if u == nil {
		return ""
	}
	return origin.Shown(u)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Error says why a file cannot be had.
type Error struct {
	File, URL string
	Reason    wire.Reason
	// Err is what the disk or the server said, if anything did.
	Err error
}

// Error says what happened and what to do.
func (e *Error) Error() string { return e.Say(false) }

// Say is Error in English or Japanese; what the disk or the server said stays as
// it is.
func (e *Error) Say(ja bool) string {
	s := e.File + ": " + wording.Failed(ja, e.Code(), e.URL)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Code is the reason for reports. It says more than the protocol's, which other
// devices are told, where the origin's error does.
func (e *Error) Code() reason.Code {
	switch {
	case e.Reason == wire.ReasonOriginForbidden && errors.Is(e.Err, origin.ErrTLS):
		return reason.TLS
	case e.Reason == wire.ReasonOriginOther && errors.Is(e.Err, origin.ErrAnswer):
		return reason.Answer
	}
	return reason.Of(e.Reason)
}

// Unwrap returns what the disk or the server said.
func (e *Error) Unwrap() error { return e.Err }
