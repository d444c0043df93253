package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"syscall"
)

// rangeless remembers the servers that end the connection instead of answering
// a request with Range. The zero value is ready.
type rangeless struct {
	mu     sync.Mutex
	silent map[string]bool // by HOST:PORT, whose last answer that was
}

// maxSilent bounds the servers that are remembered.
const maxSilent = 64

// useless reports whether a request with Range failed in a way that one without
// it need not. A connection that ends may also be a bad line, where all that
// came so far is worth keeping: the second in a row counts.
func (l *rangeless) useless(u *url.URL, err error) bool {
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || Reason(err) == "other"
	l.mu.Lock()
	ended = ended && !errors.As(err, new(*uselessError))
	again := ended && l.silent[serverOf(u)]
	if l.silent == nil || len(l.silent) >= maxSilent {
		l.silent = map[string]bool{}
	}
	l.silent[serverOf(u)] = ended && !again
	l.mu.Unlock()
	return again || errors.As(err, new(*uselessError))
}

// minSpan is the fewest bytes of an answer that does not reach the end of the
// file: a server may cut a range, but not into crumbs.
const minSpan = 1 << 10

// spans reads a file from several answers of a server that sends less than it
// was asked for (RFC 9110 section 15.3.7 lets it).
type spans struct {
	h      *httpOrigin
	ctx    context.Context
	cancel context.CancelCauseFunc
	ask    Request // for the rest, once Offset is set
	size   int64   // of the whole file
	until  int64   // where in it to stop
	at     int64   // where in the file the next byte is
	end    int64   // where the answer under way ends
	begin  int64   // and where it began

	mu  sync.Mutex // guards now against giveUp
	now io.ReadCloser
}

// goOn returns a body that asks on where b ends. Only a digest or a validator
// says that the rest is of the same content.
func (h *httpOrigin) goOn(ctx context.Context, r Request, b *Body, until int64) (*Body, error) {
	if !r.Verified {
		if r.Validator == "" {
			r.Validator = b.Validator
		}
		if r.Validator == "" {
			b.Close()
			return nil, fmt.Errorf("the server sends bytes %d to %d of %d, and no validator by which to ask for the rest: "+
				"give the digest (--sha256)", b.Offset, b.end-1, b.Size)
		}
	}
	inner, cancel := context.WithCancelCause(ctx)
	at := b.Offset - b.skip
	b.ReadCloser = &spans{
		h: h, ctx: inner, cancel: cancel, ask: r, size: b.Size, until: until, at: at, begin: at, end: b.end,
		now: b.ReadCloser,
	}
	return b, nil
}

// Read implements io.Reader.
func (s *spans) Read(p []byte) (int, error) {
	if s.at == s.until {
		return 0, io.EOF
	}
	if s.at == s.end {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.now.Read(p[:min(int64(len(p)), s.end-s.at)])
	s.at += int64(n)
	if err == io.EOF {
		err = nil
		if s.at < s.end {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// next asks for the rest.
func (s *spans) next() error {
	if s.end-s.begin < minSpan {
		return fmt.Errorf("%w: the server sends %d bytes of a range at a time", ErrTruncated, s.end-s.begin)
	}
	s.ask.Offset = s.at
	b, err := s.h.ask(s.ctx, s.ask)
	if err == nil && (b.Offset != s.at || b.skip != 0 || b.Size != s.size) {
		b.Close()
		err = errors.New("another part of the file comes")
	}
	if err != nil && s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	if err != nil {
		// Only the text of err: its own reason would count before this one.
		return fmt.Errorf("%w: the rest from byte %d on: %v", ErrTruncated, s.at, err) //nolint:errorlint // see above
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Close()
	s.now, s.begin, s.end = b.ReadCloser, s.at, b.end
	return nil
}

func (s *spans) giveUp(why error) {
	s.cancel(why)
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := s.now.(staller); ok {
		now.giveUp(why)
	}
}

// Close implements io.Closer.
func (s *spans) Close() error {
	s.cancel(context.Canceled)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now.Close()
}
