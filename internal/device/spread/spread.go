package spread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/load"
)

// Errors of Run that do not come from a server or from the caller.
var (
	// ErrOneStream: the file does not come in pieces, or these are not all of one
	// content.
	ErrOneStream = errors.New("the file does not come in pieces")
	// ErrRefused is an ErrOneStream: the server refuses a piece, perhaps because of
	// connections whose end it has not noticed yet.
	ErrRefused = fmt.Errorf("%w: the server refuses one", ErrOneStream)

	errNoPiece = errors.New("the server does not send the piece that was asked for")
)

// Config is what to download, and how.
type Config struct {
	// Connections is the most connections, 1 to pieces.Most; 0 is 1.
	Connections int
	// Limit is the rate that Open's bodies are limited to together, in bytes per
	// second; 0: none.
	Limit float64
	// Geometry of the file, with its size. Required.
	Geometry load.Geometry
	// Verified says that the caller compares the bytes with a digest.
	Verified bool
	// Source is the server in use. Required.
	Source *url.URL
	// Others are used beside it; a caller that names some checks each chunk.
	Others []*url.URL
	// Download is the name of the download, as in origin.Request.
	Download string
	// Took is how long the first answer took.
	Took time.Duration
	// Open asks a server. Required.
	Open func(context.Context, origin.Request) (*origin.Body, error)
}

// Validate says what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Connections < 0 || c.Connections > pieces.Most:
		return fmt.Errorf("spread: Connections is 0 to %d, not %d", pieces.Most, c.Connections)
	case !c.Geometry.Known() || c.Source == nil || c.Open == nil:
		return errors.New("spread: Geometry, Source and Open are required")
	}
	return nil
}

// Sink is the caller's side.
type Sink interface {
	// Missing returns the chunks that are lacking, in the order of need.
	Missing() []int
	// Store takes a chunk. Once it returns, Missing does not name it. Several
	// goroutines call it.
	Store(index int, b []byte) error
	// Came is told of bytes as they come, by one goroutine at a time. It must not
	// block.
	Came(n int)
	// Failed is told that one of Others is not used any more.
	Failed(u *url.URL)
}

// spread is a download under way.
type spread struct {
	Config
	sink  Sink
	ctx   context.Context
	first *origin.Body  // the first answer: all pieces are of its content
	urls  []*url.URL    // the servers that are used
	turn  int           // of the servers
	begun time.Time     // 0 of the times that pieces is told
	ended chan ending   // by each goroutine
	wake  chan struct{} // there is room for another connection

	running int // goroutines that will tell their end
	buffers [][]byte

	mu    sync.Mutex // guards these
	fetch *pieces.Fetch
	stop  map[int]context.CancelFunc // of asks, by ID
}

// ending is how an ask ended.
type ending struct {
	id       int
	from     *url.URL
	answered bool
	buffer   []byte
	err      error
}

// storeError is an error of the caller's.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// Run downloads what sink lacks. The first piece comes by first, which stays the
// caller's to close, and others by early, unless that is nil. It returns nil once
// nothing lacks, else the first error after which nothing comes any more: of a server,
// of sink, ErrOneStream, or that of ctx. narrow reports that the server turned out to want no second connection.
func Run(ctx context.Context, cfg Config, first *origin.Body, early *Early, sink Sink) (
	narrow bool, err error) {
	if err := cfg.Validate(); err != nil {
		return false, err
	}
	size, chunk := cfg.Geometry.Size, int64(cfg.Geometry.ChunkSize())
	if first.Size != size || first.Told != size || first.Offset%chunk != 0 || first.End%chunk != 0 ||
		!cfg.Verified && first.Validator == "" {
		return false, ErrOneStream
	}
	s := &spread{
		Config: cfg, sink: sink, ctx: ctx, first: first, urls: append([]*url.URL{cfg.Source}, cfg.Others...),
		begun: time.Now(), ended: make(chan ending), wake: make(chan struct{}, 1), stop: map[int]context.CancelFunc{},
		fetch: pieces.New(pieces.Config{Connections: cfg.Connections, Chunk: int(chunk), Chunks: cfg.Geometry.Chunks(),
			Limit: cfg.Limit}),
	}
	return s.run(int(first.Offset/chunk), int(first.End/chunk), early)
}

func (s *spread) now() time.Duration { return time.Since(s.begun) }

// run asks for pieces until nothing lacks.
func (s *spread) run(from, end int, early *Early) (narrow bool, err error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer s.finish(cancel)
	s.launch(ctx, s.fetch.Begin(s.now(), from, end, s.Took), s.Source, nil)
	s.adopt(ctx, early)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		asks, look, whole := s.decide()
		if whole || s.ctx.Err() != nil {
			return s.fetch.Narrow(), s.ctx.Err()
		}
		for _, a := range asks {
			u := s.nextServer()
			s.launch(ctx, a, u, func(ctx context.Context) (*origin.Body, error) { return s.ask(ctx, a, u) })
		}
		timer.Reset(max(0, look-s.now()))
		select {
		case e := <-s.ended:
			if err := s.judge(e); err != nil {
				return s.fetch.Narrow(), err
			}
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			return false, s.ctx.Err()
		}
	}
}

// finish ends what is under way and waits for it.
func (s *spread) finish(cancel context.CancelFunc) {
	cancel()
	for ; s.running > 0; s.running-- {
		<-s.ended
	}
}

// decide begins and ends asks, and returns when to look again, or that nothing lacks.
// It holds the lock while the caller is asked: what comes meanwhile counts as under
// way until what is lacking is known.
func (s *spread) decide() (asks []pieces.Ask, look time.Duration, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := s.sink.Missing()
	if len(missing) == 0 {
		return nil, 0, true
	}
	now := s.now()
	asks, stop := s.fetch.Next(now, missing)
	for _, id := range stop {
		if end, ok := s.stop[id]; ok {
			end()
		}
	}
	look, ok := s.fetch.Deadline(now)
	if !ok {
		look = now + time.Hour
	}
	return asks, look, false
}

// nextServer is the server that is asked next.
func (s *spread) nextServer() *url.URL {
	s.turn++
	return s.urls[s.turn%len(s.urls)]
}

// launch has an ask fetched from a server, whose answer open returns; the first if that is
// nil.
func (s *spread) launch(ctx context.Context, a pieces.Ask, u *url.URL,
	open func(context.Context) (*origin.Body, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var buf []byte
	if n := len(s.buffers); n > 0 {
		buf, s.buffers = s.buffers[n-1], s.buffers[:n-1]
	} else {
		buf = make([]byte, s.Geometry.ChunkSize())
	}
	s.mu.Lock()
	s.stop[a.ID] = cancel
	s.mu.Unlock()
	s.running++
	go func() {
		defer cancel()
		e := ending{id: a.ID, from: u, buffer: buf}
		b := s.first
		if open != nil {
			b, e.err = open(ctx)
		} else { // it was not opened with this ctx
			defer context.AfterFunc(ctx, func() { b.Close() })()
		}
		if e.answered = e.err == nil; e.answered {
			e.err = s.take(ctx, a, b, buf)
			b.Close()
		}
		s.ended <- e
	}()
}

// ask opens the body of a piece, and makes sure that it is that of the same content.
func (s *spread) ask(ctx context.Context, a pieces.Ask, u *url.URL) (*origin.Body, error) {
	from, _ := s.Geometry.Span(a.First)
	off, n := s.Geometry.Span(a.End - 1)
	end := off + int64(n)
	b, err := s.Open(ctx, origin.Request{URL: u, Offset: from, End: end, Validator: s.first.Validator,
		Size: s.Geometry.Size, Verified: s.Verified, Download: s.Download, Beside: true})
	if err != nil {
		return nil, err
	}
	return s.check(a, u, b)
}

// check closes a body that is not that of a piece of the same content.
func (s *spread) check(a pieces.Ask, u *url.URL, b *origin.Body) (*origin.Body, error) {
	from, _ := s.Geometry.Span(a.First)
	off, n := s.Geometry.Span(a.End - 1)
	end := off + int64(n)
	// Other servers have tags of their own, and the caller checks each chunk.
	other := u == s.Source && b.Validator != s.first.Validator
	if other || b.Offset != from || b.End != end || b.Size != s.Geometry.Size {
		b.Close()
		if other {
			return nil, ErrOneStream
		}
		return nil, errNoPiece
	}
	return b, nil
}

// take stores what comes by the body of a piece.
func (s *spread) take(ctx context.Context, a pieces.Ask, b *origin.Body, buf []byte) error {
	s.came(a.ID, 0)
	for i := a.First; ; i++ {
		_, n := s.Geometry.Span(i)
		for got := 0; got < n; {
			m, err := b.Read(buf[got:n])
			s.came(a.ID, m)
			if got += m; got < n && err != nil {
				if err == io.EOF {
					err = origin.ErrTruncated
				}
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := s.sink.Store(i, buf[:n]); err != nil {
			return &storeError{err}
		}
		s.mu.Lock()
		goesOn := s.fetch.Chunk(a.ID, i)
		s.mu.Unlock()
		if !goesOn {
			return nil
		}
	}
}

// came counts bytes of an ask.
func (s *spread) came(id, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetch.Bytes(s.now(), id, n)
	s.sink.Came(n)
	if s.fetch.Wants() {
		select {
		case s.wake <- struct{}{}:
		default: // it will look
		}
	}
}

// judge takes the end of an ask, and returns an error if the whole download ends with
// it. Where other connections bring bytes, one that does not is no reason to end.
func (s *spread) judge(e ending) error {
	s.running--
	s.buffers = append(s.buffers, e.buffer)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.stop, e.id)
	before := s.fetch.Active()
	second := e.from != s.Source
	s.fetch.Ended(s.now(), e.id, e.err == nil || second)
	stopped := s.fetch.Active() == before // it was of no use any more
	var kept *storeError
	switch {
	case e.err == nil || stopped:
		return nil
	case errors.Is(e.err, ErrOneStream):
		return e.err
	case second && (!errors.As(e.err, &kept) || errors.Is(e.err, origin.ErrWrong)):
		s.without(e.from)
		return nil
	case errors.As(e.err, &kept):
		return kept.error
	case e.answered, errors.Is(e.err, origin.ErrStalled),
		errors.Is(e.err, origin.ErrUnreachable) && !errors.Is(e.err, syscall.ECONNREFUSED):
		if s.fetch.Active() == 0 {
			return e.err
		}
		return nil
	}
	// It is the server's answer to a second connection, or to a piece.
	s.fetch.Only()
	if s.fetch.Active() > 0 {
		return nil
	}
	return ErrRefused // one stream may be had, or fails with the server's own word
}

// without uses a server no more that is not the source in use.
func (s *spread) without(u *url.URL) {
	s.sink.Failed(u)
	for i, o := range s.urls {
		if o == u {
			s.urls = append(s.urls[:i:i], s.urls[i+1:]...)
			return
		}
	}
}
