package spread

import (
	"context"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/load"
)

// Early are pieces that are asked for before the first answer is there, since the
// handshakes have shown a long line that is not thin. Run takes what fits the first
// answer; Close ends the others. The zero Early is ready.
type Early struct {
	mu     sync.Mutex
	pieces []*earlyPiece
	over   bool // nothing is asked for any more
}

// earlyPiece is one of them: bytes of the file from off to before end.
type earlyPiece struct {
	off, end int64
	asked    time.Time
	cancel   context.CancelFunc
	done     chan struct{} // closed when the answer is there
	body     *origin.Body
	err      error
}

// Ask asks the server of a request for pieces, in chunks of a file of that geometry. The
// request is that for the first piece.
func (e *Early) Ask(ctx context.Context, open func(context.Context, origin.Request) (*origin.Body, error),
	r origin.Request, g load.Geometry, asks []pieces.Ask) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return
	}
	for _, a := range asks {
		from, _ := g.Span(a.First)
		off, n := g.Span(a.End - 1)
		r.Offset, r.End, r.Beside, r.Others, r.Made = from, off+int64(n), true, 0, nil
		e.pieces = append(e.pieces, ask(ctx, open, r))
	}
}

func ask(ctx context.Context, open func(context.Context, origin.Request) (*origin.Body, error),
	r origin.Request) *earlyPiece {
	ctx, cancel := context.WithCancel(ctx)
	p := &earlyPiece{off: r.Offset, end: r.End, asked: time.Now(), cancel: cancel, done: make(chan struct{})}
	go func() {
		p.body, p.err = open(ctx, r)
		close(p.done)
	}()
	return p
}

// wait returns the answer, or ends the ask with ctx.
func (p *earlyPiece) wait(ctx context.Context) (*origin.Body, error) {
	select {
	case <-p.done:
		return p.body, p.err
	case <-ctx.Done():
		p.drop()
		return nil, ctx.Err()
	}
}

// drop ends an ask whose answer nobody wants.
func (p *earlyPiece) drop() {
	p.cancel()
	go func() {
		if <-p.done; p.err == nil {
			p.body.Close()
		}
	}()
}

// Close ends what Run has not taken. The nil Early has none.
func (e *Early) Close() {
	for _, p := range e.take() {
		p.drop()
	}
}

// take returns all pieces, after which there are none.
func (e *Early) take() (all []*earlyPiece) {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all, e.pieces, e.over = e.pieces, nil, true
	return all
}

// adopt has the pieces go on as asks of the download. Those that are not of whole chunks
// of a file of its size are ended.
func (s *spread) adopt(ctx context.Context, e *Early) {
	chunk, chunks := int64(s.Geometry.ChunkSize()), s.Geometry.Chunks()
	for _, p := range e.take() {
		first, end := int(p.off/chunk), min(int(p.end/chunk), chunks)
		if p.off%chunk != 0 || p.end%chunk != 0 && p.end != s.Geometry.Size || first >= chunks {
			p.drop()
			continue
		}
		if p.end == s.Geometry.Size {
			end = chunks
		}
		s.mu.Lock()
		a := s.fetch.Early(s.now(), first, end, time.Since(p.asked))
		s.mu.Unlock()
		s.launch(ctx, a, s.Source, func(ctx context.Context) (*origin.Body, error) {
			b, err := p.wait(ctx)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, p.cancel)
			return s.check(a, s.Source, b)
		})
	}
}
