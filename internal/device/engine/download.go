package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"time"

	crand "crypto/rand"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/spread"
	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// prepare connects to the origin without asking for a body.
func (j *job) prepare() {
	u := j.origin()
	if j.spec.Fetch != nil || u == nil {
		return
	}
	go func() { _ = j.dev.cfg.Origin.Prepare(j.ctx, u) }()
}

// download asks the origin for the body from a chunk on.
func (j *job) download(from int) {
	ctx, cancel := context.WithCancel(j.ctx)
	j.stopDownload()
	j.dl = cancel
	part, gen := j.content()
	d := &download{job: j, ctx: ctx, from: from, part: part, gen: gen, root: j.machine.IsRoot()}
	go d.run()
}

func (j *job) stopDownload() {
	if j.dl != nil {
		j.dl()
		j.dl = nil
	}
}

// download is one body that is being received from the origin.
type download struct {
	job  *job
	ctx  context.Context
	from int
	part *slot.Partial
	gen  uint64
	root bool // whoever is not root shares the line with one
	got  int64
	told time.Time
	// begun says that the source in use has answered with a body.
	begun bool
	// until is when the sources that are left must have answered, 0 for no
	// bound.
	until time.Duration
	// piece is where the piece ends that is asked for first, in bytes; 0: all is
	// asked for.
	piece int64
	took  time.Duration // until the last answer came
	name  string        // by which a server knows the pieces
	early *spread.Early // pieces beside the first; nil before that is asked for
}

// run downloads and tells how it ended, unless it was stopped.
func (d *download) run() {
	size, err := d.attempt()
	if d.ctx.Err() != nil {
		return
	}
	why := wire.ReasonNone
	if err != nil {
		var disk diskError
		if errors.As(err, &disk) {
			d.job.diskFailed(d.gen, disk.error)
			return
		}
		why = originReason(err)
	}
	d.tell(pdp.OriginEnded{Reason: why, Size: size})
}

// attempt asks the sources one after the other until one has given the rest of
// the file: another source is not a retry. Servers that failed lately come
// last. The attempt fails if all have failed, with the error that says most.
func (d *download) attempt() (size int64, err error) {
	j := d.job
	order := j.dev.servers.order(j.dev.now(), j.spec.Sources)
	if len(order) == 0 {
		return d.body()
	}
	var tried []error
	for n := 0; ; {
		u := j.spec.Sources[order[n]]
		j.source.Store(uint32(order[n]))
		var failed error
		var disk diskError
		if size, failed = d.body(); failed == nil || d.ctx.Err() != nil || errors.As(failed, &disk) {
			if failed == nil {
				j.dev.servers.serve(u)
			}
			return size, failed
		}
		why := originReason(failed)
		if tried = append(tried, failed); err == nil ||
			why != wire.ReasonOriginUnreachable && telling(why) >= telling(originReason(err)) {
			err = failed
			j.mu.Lock()
			j.originURL = origin.Shown(u)
			j.mu.Unlock()
		}
		j.mu.Lock()
		j.originErr = withOthers(err, tried)
		j.mu.Unlock()
		if why != wire.ReasonOriginNotFound && why != wire.ReasonOriginForbidden {
			j.dev.servers.fail(j.dev.now(), u)
		}
		for n++; n < len(order) && d.sameServer(u, j.spec.Sources[order[n]], failed); n++ {
		}
		if n == len(order) || !d.timeLeft(why) {
			break
		}
		d.goesOn(why, j.spec.Sources[order[n]])
	}
	return size, err
}

// withOthers is the error of one source with what the others said: people who
// wrote one HOST/PATH see each way that was tried.
func withOthers(err error, tried []error) error {
	for _, other := range tried {
		if other != err {
			err = &triedError{err, other}
		}
	}
	return err
}

// triedError is an error of one source and, as text alone, that of another.
type triedError struct {
	error
	other error
}

func (e *triedError) Error() string { return e.error.Error() + "; " + e.other.Error() }
func (e *triedError) Unwrap() error { return e.error }

// sameServer reports whether nothing else can be expected of a source than of
// the one that failed: another scheme of a host that asks for a later attempt, has
// metadata that is not trusted, or has begun to send this file.
func (d *download) sameServer(failed, u *url.URL, err error) bool {
	return failed.Hostname() == u.Hostname() &&
		(d.begun || errors.Is(err, origin.ErrBusy) || errors.As(err, new(*TrustError)))
}

// telling ranks why sources failed. One that may have the file later keeps a
// device from giving up because another lacks it, and one that answers tells
// more than one that cannot be reached.
func telling(why wire.Reason) int {
	switch why {
	case wire.ReasonOriginUnreachable:
		return 0
	case wire.ReasonOriginNotFound:
		return 1
	case wire.ReasonOriginForbidden:
		return 2
	}
	return 3
}

// elsewhere is how long an attempt looks for a source that answers after one
// did not. Together with origin.RootStallTimeout it is less than the followers
// of a root wait for progress, so that the root can say why it fails. The next
// attempt begins with another source, and has all the time for it.
const elsewhere = 2 * time.Second

// timeLeft bounds the time until the next sources answer if one did not, and
// reports whether any is left.
func (d *download) timeLeft(why wire.Reason) bool {
	now := d.job.dev.now()
	if d.until == 0 && (why == wire.ReasonOriginUnreachable || why == wire.ReasonOriginStalled) {
		d.until = now + elsewhere
	}
	return d.until == 0 || now < d.until
}

// goesOn tells that the next source is asked, and begins there with what is
// lacking now.
func (d *download) goesOn(why wire.Reason, next *url.URL) {
	d.job.dev.call(func(time.Duration) {
		if d.ctx.Err() == nil {
			d.job.note(pdp.Note{Kind: report.KindFallback, Reason: why, What: note.NextServer{URL: origin.Shown(next)}})
		}
	})
	d.begun = false
	d.rest()
}

// rest begins with what is lacking now.
func (d *download) rest() {
	d.from = 0
	d.part, d.gen = d.job.content()
	if d.part.Geometry().Known() {
		d.from = d.part.Prefix()
	}
}

// tell hands an event to the machine unless this download was stopped, and
// waits until it is carried out.
func (d *download) tell(e pdp.Event) {
	d.job.dev.call(func(now time.Duration) {
		if d.ctx.Err() == nil {
			d.job.step(now, e)
		}
	})
}

// body opens the body, stores it chunk by chunk and returns the file's size. What
// cannot be had in pieces comes in one stream.
func (d *download) body() (int64, error) {
	size, err := d.once()
	if !errors.Is(err, spread.ErrOneStream) || d.ctx.Err() != nil {
		return size, err
	}
	d.job.stream.Store(true)
	if errors.Is(err, spread.ErrRefused) {
		select {
		case <-time.After(endingTime):
		case <-d.ctx.Done():
		}
	}
	d.rest()
	return d.once()
}

// once is body for one answer of the server, or pieces of one content.
func (d *download) once() (int64, error) {
	defer func() { d.early.Close() }()
	b, err := d.open()
	if err != nil {
		return 0, err
	}
	defer b.Close()
	epoch := d.epoch(b)
	if b.Offset > 0 && !d.job.spec.keyed() && epoch != d.job.currentEpoch() {
		// Not the content to be resumed: start again.
		b.Close()
		d.from = 0
		if b, err = d.open(); err != nil {
			return 0, err
		}
		defer b.Close()
		epoch = d.epoch(b)
	}
	d.begun, d.until = true, 0
	if d.piece > 0 && b.End > d.piece {
		// It knows no range that ends, but may know one that does not: the next
		// request goes on by one.
		d.job.dev.servers.narrowed(d.job.dev.now(), d.job.origin())
	}
	d.opened(b, epoch)
	if d.piece > 0 && b.End == d.piece && b.Size > d.piece {
		return d.inPieces(b)
	}
	return d.store(b, epoch)
}

// endingTime is what a server is given to notice that connections have ended, where it
// may have refused one because of them.
const endingTime = time.Second

func (d *download) opened(b *origin.Body, epoch uint64) {
	first := int(b.Offset / int64((load.Geometry{Size: b.Size}).ChunkSize()))
	j := d.job
	j.dev.call(func(now time.Duration) {
		if d.ctx.Err() != nil {
			return
		}
		if part, _ := j.content(); !j.spec.keyed() && part.Prefix() == 0 && part.Epoch() != epoch {
			// So that the next run knows which content its partial file belongs
			// to.
			j.reset(pdp.Reset{Epoch: epoch, Size: part.Geometry().Size})
		}
		whole := d.piece > 0 && (b.End > d.piece || b.End == load.UnknownSize)
		j.step(now, pdp.OriginOpened{Size: b.Size, Epoch: epoch, From: first, Whole: whole})
	})
	// The machine may have begun another content for it.
	d.part, d.gen = j.content()
	j.mu.Lock()
	j.epoch, j.validator = epoch, b.Validator
	j.originErr = nil // it answers again: what it said before is over
	j.mu.Unlock()
}

// open asks the origin, or makes the content.
func (d *download) open() (*origin.Body, error) {
	j := d.job
	if j.spec.Fetch != nil {
		raw, err := j.spec.Fetch(d.ctx, j.origin())
		if err != nil {
			return nil, err
		}
		return &origin.Body{ReadCloser: io.NopCloser(bytes.NewReader(raw)), Size: int64(len(raw))}, nil
	}
	off := int64(0)
	if g := d.part.Geometry(); d.from > 0 && d.from < g.Chunks() {
		off, _ = g.Span(d.from)
	}
	j.mu.Lock()
	validator := j.validator
	j.mu.Unlock()
	ctx, answered := d.bounded()
	d.early.Close() // of the answer before
	d.early = nil
	r := origin.Request{URL: j.origin(), Offset: off, Validator: validator, Size: j.size(), Verified: j.spec.keyed(),
		Header: j.spec.Header, Shared: !d.root}
	if d.piece = d.firstPiece(off); d.piece > 0 {
		d.name = fmt.Sprintf("%016x", rand.Uint64())
		r.End, r.Download, r.Others = d.piece, d.name, j.dev.cfg.Connections-1
		r.Made = d.asksEarly(r)
	}
	asked := j.dev.now()
	b, err := j.dev.cfg.Origin.Open(ctx, r)
	d.took = j.dev.now() - asked
	answered()
	if err == nil && b.Offset > 0 && b.Size < 0 {
		b.Size = d.part.Geometry().Size // the server does not repeat it
	}
	if err == nil && b.Offset != off && b.Offset != 0 {
		b.Close()
		return nil, errors.New("the origin resumes where it was not asked to")
	}
	return b, err
}

// bounded is the context of one request, which ends unless the server has
// answered in time.
func (d *download) bounded() (ctx context.Context, answered func()) {
	if d.until == 0 {
		return d.ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(d.ctx)
	timer := time.AfterFunc(d.until-d.job.dev.now(), func() {
		cancel(fmt.Errorf("%w: another server failed before, and this one does not answer soon", origin.ErrUnreachable))
	})
	return ctx, func() { timer.Stop() }
}

// epoch distinguishes this content from others of the same name: 0 if the
// digest identifies it, else from the origin's strong validator, else random.
func (d *download) epoch(b *origin.Body) uint64 {
	if d.job.spec.keyed() {
		return 0
	}
	raw := make([]byte, 8, 128)
	if b.Validator == "" {
		_, _ = crand.Read(raw)
	} else {
		binary.BigEndian.PutUint64(raw, uint64(b.Size))
		raw = append(raw, b.Validator...)
	}
	h := load.DigestOf(raw)
	return binary.BigEndian.Uint64(h[:]) | 1
}

// store reads the body into chunks. A size that is not signed counts once the
// body has borne it out.
func (d *download) store(b *origin.Body, epoch uint64) (int64, error) {
	geo := d.part.Geometry()
	buf := make([]byte, geo.ChunkSize())
	at := b.Offset
	if at%int64(len(buf)) != 0 {
		return 0, errors.New("the origin resumes in the middle of a chunk")
	}
	for i := int(at / int64(len(buf))); ; i++ {
		want := len(buf)
		if geo.Known() {
			if i >= geo.Chunks() {
				return geo.Size, nil
			}
			_, want = geo.Span(i)
		}
		n, err := d.fill(b, buf[:want])
		at += int64(n)
		if err != nil && d.endsHere(b, i, buf[:n], err) {
			d.tell(pdp.OriginOpened{Size: at, Epoch: epoch, From: i})
			if n == 0 {
				return at, nil
			}
			return at, d.chunk(i, buf[:n])
		}
		if geo.Known() && d.goesBeyond(b, at, err) {
			if d.job.size() < 0 {
				d.tell(pdp.OriginOpened{Size: load.UnknownSize, Epoch: epoch})
			}
			return 0, origin.ErrTooMuch // if the machine does not start over
		}
		if err == nil && !geo.Known() && at > load.MinChunkSize*load.MaxChunks {
			err = origin.ErrTooMuch
		}
		if err == io.EOF {
			err = origin.ErrTruncated
		}
		if err != nil {
			return 0, err
		}
		if err := d.chunk(i, buf[:n]); err != nil {
			return 0, err
		}
	}
}

// endsHere reports whether the file ends where the body did, in chunk i with the
// bytes of tail, though another size may have been told: the digest says so, or,
// where there is none, a server that told none itself.
func (d *download) endsHere(b *origin.Body, i int, tail []byte, err error) bool {
	spec := &d.job.spec
	switch {
	case !d.part.Geometry().Known():
		return err == io.EOF
	case spec.Size >= 0 || spec.Fetch != nil:
		return false
	case !spec.keyed():
		return err == io.EOF && b.Size < 0
	}
	ended := err == io.EOF || errors.Is(err, origin.ErrTruncated) || errors.Is(err, origin.ErrStalled)
	if !ended || !d.part.EndsWith(i, tail) {
		return false
	}
	off, _ := d.part.Geometry().Span(i)
	size := off + int64(len(tail))
	d.job.proven.Store(&size)
	return true
}

// goesBeyond reports whether the body goes on after the file's end, as far as that
// is known. What comes there is looked at before the last chunk is stored, unless
// the size is certain and the server told the same.
func (d *download) goesBeyond(b *origin.Body, at int64, err error) bool {
	size := d.part.Geometry().Size
	if d.job.size() >= 0 && (b.Told < 0 || b.Told == size) {
		return false
	}
	if err != nil || at < size {
		return errors.Is(err, origin.ErrTooMuch)
	}
	// A server that does not end the body told the truth all the same.
	var more [1]byte
	for {
		n, err := b.Read(more[:])
		if n > 0 || err != nil {
			return n > 0 || errors.Is(err, origin.ErrTooMuch)
		}
	}
}

// fill reads a whole chunk, telling now and then how many bytes have come.
// io.EOF means that the body ended, after n bytes of this chunk.
func (d *download) fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
		d.bytes(m)
	}
	if n == len(b) {
		err = nil
	}
	return n, err
}

// bytes counts bytes that have come, and tells now and then how many these are in all.
func (d *download) bytes(n int) {
	d.got += int64(n)
	d.job.originBytes(n)
	now := time.Now()
	if now.Sub(d.told) < activeEvery {
		return
	}
	d.told = now
	e := pdp.OriginBytes{Bytes: d.got}
	d.job.dev.post(func(now time.Duration) {
		if d.ctx.Err() == nil {
			d.job.step(now, e)
		}
	})
}

// chunk stores a chunk from the origin. What is held already is not written
// again, a server that cannot resume sends it nevertheless; but what differs is
// replaced where there is no table, since a peer may have sent it.
func (d *download) chunk(i int, b []byte) error {
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	if d.job.spec.Table != nil && d.part.Has(i) {
		d.job.postAt(d.gen, pdp.Stored{Index: i}) // it may not know, see link.chunk
		return nil
	}
	err := d.part.ReplaceChunk(i, b)
	switch {
	case err == nil:
		d.job.keep(d.gen, i, b)
		d.job.postAt(d.gen, pdp.Stored{Index: i})
		return nil
	case errors.Is(err, slot.ErrBadChunk), errors.Is(err, slot.ErrSize):
		return origin.ErrWrong
	}
	return diskError{err}
}

// diskError sets the disk's errors apart from the origin's.
type diskError struct{ error }

// originReason translates an origin's error into the code that peers are told.
func originReason(err error) wire.Reason {
	switch origin.Reason(err) {
	case "not-found":
		return wire.ReasonOriginNotFound
	case "forbidden", "tls": // trying again is useless with both
		return wire.ReasonOriginForbidden
	case "unreachable":
		return wire.ReasonOriginUnreachable
	case "stalled":
		return wire.ReasonOriginStalled
	case "truncated":
		return wire.ReasonOriginTruncated
	case "too-much":
		return wire.ReasonOriginTooMuch
	case "busy":
		return wire.ReasonOriginBusy
	case "wrong":
		return wire.ReasonOriginWrong
	}
	return wire.ReasonOriginOther
}
