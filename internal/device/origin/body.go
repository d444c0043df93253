package origin

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/peerload/peerload/internal/ratelimit"
)

// reader is what stands between a server's body and its reader: it counts,
// paces, and gives up on a server that sends nothing, or next to nothing.
type reader struct {
	body   io.ReadCloser
	ctx    context.Context
	limit  *ratelimit.Limiter
	piece  int // bytes to read at a time, 0 for no bound
	budget waitBudget
	left   int64 // bytes that may still come
	want   int64 // bytes that must still come, -1 if unknown
	skip   int64 // bytes that come first and are not the caller's
	err    error
}

// staller is a body that can be told to give up a Read under way.
type staller interface{ giveUp(error) }

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for {
		n, err := r.take(p)
		passed := int(min(int64(n), r.skip))
		r.skip -= int64(passed)
		n = copy(p, p[passed:n])
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// take reads what comes next, the caller's or not.
func (r *reader) take(p []byte) (int, error) {
	if r.err != nil || len(p) == 0 {
		return 0, r.err
	}
	// This waits for what was read before; how much arrives now is not known
	// yet.
	if !r.limit.Wait(r.ctx.Done(), 0) || r.ctx.Err() != nil {
		r.err = context.Cause(r.ctx)
		return 0, r.err
	}
	if r.piece > 0 {
		p = p[:min(len(p), r.piece)]
	}
	n, err := r.readInTime(r.room(p))
	r.limit.Take(time.Now(), n)
	return r.count(n, err)
}

// room limits p to what may come and one byte more, which shows whether there
// is too much.
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

// readInTime reads, and ends the body if too little comes. Only the wait for
// the server counts, not what the limit or the caller takes between two reads.
func (r *reader) readInTime(p []byte) (int, error) {
	began := time.Now()
	if s, ok := r.body.(staller); ok {
		before := r.budget // Read returns and changes it while the timer ends
		timer := time.AfterFunc(before.left, func() { s.giveUp(before.spent()) })
		defer timer.Stop()
	}
	n, err := r.body.Read(p)
	if !r.budget.after(time.Since(began), n) && err == nil && int64(n) != r.want {
		err = r.budget.spent()
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

// ReadAll reads a small body to its end. ErrTooMuch: it has more than most bytes.
func ReadAll(body io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooMuch, most)
	}
	return b, err
}
