package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	crand "crypto/rand"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
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
	d := &download{job: j, ctx: ctx, from: from, part: part, gen: gen}
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
	got  int64
	told time.Time
	// begun says that the source in use has answered with a body.
	begun bool
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

// attempt asks the sources one after the other, beginning with the one in use,
// until one has a body: trying another source is not a retry. The attempt ends
// when one has a body, or none has. Its error is the last one that a server
// gave, rather than that another could not be reached.
func (d *download) attempt() (size int64, err error) {
	j := d.job
	for range max(len(j.spec.Sources), 1) {
		var failed error
		var disk diskError
		if size, failed = d.body(); failed == nil || d.ctx.Err() != nil || errors.As(failed, &disk) {
			return size, failed
		}
		why := originReason(failed)
		if err == nil || why != wire.ReasonOriginUnreachable {
			err = failed
			j.mu.Lock()
			j.originErr, j.originURL = failed, j.url()
			j.mu.Unlock()
		}
		if n := uint32(len(j.spec.Sources)); n > 1 && why != wire.ReasonOriginWrong {
			j.source.Store((j.source.Load() + 1) % n)
		}
		// the server asked to wait; another of its addresses must not be used to avoid that
		if d.begun || why == wire.ReasonOriginBusy {
			break
		}
	}
	return size, err
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

// body opens the body, stores it chunk by chunk and returns the file's size.
func (d *download) body() (int64, error) {
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
	d.begun = true
	d.opened(b, epoch)
	return d.store(b, epoch)
}

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
		j.step(now, pdp.OriginOpened{Size: b.Size, Epoch: epoch, From: first})
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
		raw, err := j.spec.Fetch(d.ctx)
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
	b, err := j.dev.cfg.Origin.Open(d.ctx, origin.Request{
		URL: j.origin(), Offset: off, Validator: validator, Size: j.spec.Size,
	})
	if err == nil && b.Offset != off && b.Offset != 0 {
		b.Close()
		return nil, errors.New("the origin resumes where it was not asked to")
	}
	return b, err
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

// store reads the body into chunks.
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
		if err == io.EOF && !geo.Known() {
			geo.Size = at
			d.tell(pdp.OriginOpened{Size: at, Epoch: epoch, From: i})
			if n == 0 {
				return at, nil
			}
			return at, d.chunk(i, buf[:n])
		}
		if err != nil {
			if err == io.EOF {
				err = origin.ErrTruncated
			}
			return 0, err
		}
		if !geo.Known() && at > load.MinChunkSize*load.MaxChunks {
			return 0, origin.ErrTooMuch
		}
		if err := d.chunk(i, buf[:n]); err != nil {
			return 0, err
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
		d.got += int64(m)
		d.job.originBytes(m)
		if now := time.Now(); now.Sub(d.told) >= activeEvery {
			d.told = now
			e := pdp.OriginBytes{Bytes: d.got}
			d.job.dev.post(func(now time.Duration) {
				if d.ctx.Err() == nil {
					d.job.step(now, e)
				}
			})
		}
	}
	if n == len(b) {
		err = nil
	}
	return n, err
}

// chunk stores a chunk from the origin. What is held already is not written
// again: a server that cannot resume sends it nevertheless.
func (d *download) chunk(i int, b []byte) error {
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	if d.part.Has(i) {
		d.job.postAt(d.gen, pdp.Stored{Index: i}) // it may not know, see link.chunk
		return nil
	}
	err := d.part.WriteChunk(i, b)
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
	case "forbidden":
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

// readBounded reads a whole body of at most most bytes.
func readBounded(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = origin.ErrTooMuch
	}
	return b, err
}
