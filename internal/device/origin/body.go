package origin

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// reader is what stands between a server's body and its reader: it counts,
// paces, and gives up on silence.
type reader struct {
	body  io.ReadCloser
	ctx   context.Context
	pacer *pacer
	stall time.Duration
	left  int64 // bytes that may still come
	want  int64 // bytes that must still come, -1 if unknown
	err   error
}

// staller is a body that can be told to give up a Read under way.
type staller interface{ giveUp(error) }

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	p, err := r.pacer.before(r.ctx, p)
	if err == nil {
		err = r.ctx.Err()
	}
	if err != nil {
		r.err = context.Cause(r.ctx)
		return 0, r.err
	}
	n, err := r.readInTime(r.room(p))
	r.pacer.after(n)
	return r.count(n, err)
}

// room cuts p to what may come and one byte more, by which too much is known.
func (r *reader) room(p []byte) []byte {
	most := r.left
	if r.want >= 0 {
		most = min(most, r.want)
	}
	return p[:min(int64(len(p)), most+1)]
}

func (r *reader) count(n int, err error) (int, error) {
	most := r.left
	if r.want >= 0 {
		most = min(most, r.want)
	}
	if int64(n) > most {
		n, err = int(most), fmt.Errorf("%w: the body goes on after its end", ErrTooMuch)
	}
	r.left -= int64(n)
	if r.want >= 0 {
		r.want -= int64(n)
	}
	if err == io.EOF && r.want > 0 {
		err = fmt.Errorf("%w: %d bytes are missing", ErrTruncated, r.want)
	}
	r.err = classify(r.ctx, err, reading)
	return n, r.err
}

// readInTime reads, and ends the body if nothing comes.
func (r *reader) readInTime(p []byte) (int, error) {
	if s, ok := r.body.(staller); ok {
		timer := time.AfterFunc(r.stall, func() {
			s.giveUp(fmt.Errorf("%w: no byte for %v", ErrStalled, r.stall))
		})
		defer timer.Stop()
	}
	return r.body.Read(p)
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

// pacer keeps all bodies together below a rate. A nil pacer has no limit.
type pacer struct {
	rate int64 // bytes in a second

	mu   sync.Mutex
	free time.Time // when what was read has been paid for
}

// before waits until bytes may be read, and cuts p to what a tenth of a second
// brings, so that bytes come evenly.
func (c *pacer) before(ctx context.Context, p []byte) ([]byte, error) {
	if c == nil {
		return p, nil
	}
	c.mu.Lock()
	wait := time.Until(c.free)
	c.mu.Unlock()
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p[:min(int64(len(p)), max(1, c.rate/10))], nil
}

// after notes that n bytes were read.
func (c *pacer) after(n int) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.free.Before(now) {
		c.free = now
	}
	c.free = c.free.Add(time.Duration(float64(n) / float64(c.rate) * float64(time.Second)))
}
