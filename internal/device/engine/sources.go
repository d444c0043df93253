package engine

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/spread"
	"github.com/peerload/peerload/internal/pieces"
)

// demoted is how long a server that failed is asked after the others: long enough
// for a load of several files, short enough that the order of the configuration
// holds again soon.
const demoted = 5 * time.Minute

// narrowFor is how long a server is asked over one connection that wanted no second.
const (
	narrowFor  = time.Hour
	mostNarrow = 64
)

// servers remembers which servers have failed this device lately, for all of
// its files: what one file has found out is not found out again by the next.
type servers struct {
	mu     sync.Mutex
	failed map[string]time.Duration // when, by server
	narrow map[string]time.Duration // when a server wanted no second connection
}

// serverOf names the server of a URL: a scheme is a server of its own, since
// it is another program that answers.
func serverOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// fail notes that a server failed.
func (s *servers) fail(now time.Duration, u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = map[string]time.Duration{}
	}
	for at, since := range s.failed {
		if now-since > demoted {
			delete(s.failed, at)
		}
	}
	s.failed[serverOf(u)] = now
}

// narrowed notes that a server wants no second connection of this device, or sends no
// pieces.
func (s *servers) narrowed(now time.Duration, u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.narrow == nil || len(s.narrow) >= mostNarrow {
		s.narrow = map[string]time.Duration{}
	}
	s.narrow[serverOf(u)] = now
}

// isNarrow reports whether a server wanted no second connection lately.
func (s *servers) isNarrow(now time.Duration, u *url.URL) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.narrow[serverOf(u)]
	return ok && now-at <= narrowFor
}

// failing reports whether a server has failed lately.
func (s *servers) failing(now time.Duration, u *url.URL) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.failed[serverOf(u)]
	return ok && now-at <= demoted
}

// serve notes that a server served.
func (s *servers) serve(u *url.URL) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failed, serverOf(u))
}

// order returns the indices of sources in the order to ask them: those of
// servers that have not failed lately as they stand, then those whose failure
// is the longest ago.
func (s *servers) order(now time.Duration, sources []*url.URL) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	since := make([]time.Duration, len(sources))
	order := make([]int, len(sources))
	for i, u := range sources {
		since[i] = -1
		if at, ok := s.failed[serverOf(u)]; ok && now-at <= demoted {
			since[i] = at
		}
		k := i // there are few, and a sort would be 2 KB of a small program
		for ; k > 0 && since[order[k-1]] > since[i]; k-- {
			order[k] = order[k-1]
		}
		order[k] = i
	}
	return order
}

// firstPiece returns where the piece ends that is asked for first, 0 if all is to come
// in one stream.
func (d *download) firstPiece(off int64) int64 {
	j := d.job
	u, g := j.origin(), d.part.Geometry()
	if j.dev.cfg.Connections < 2 || j.stream.Load() || !inRanges(u) || j.dev.servers.isNarrow(j.dev.now(), u) {
		return 0
	}
	n := int64(pieces.FirstPiece * g.ChunkSize())
	if !g.Known() {
		return off + n
	}
	from := int(off / int64(g.ChunkSize()))
	switch run := pieces.Run(from, g.Chunks(), d.part.Has); {
	case from+run < g.Chunks():
		n = min(n, int64(run*g.ChunkSize())) // what peers have brought behind it need not come again
	case g.Size-off < 2*n:
		return 0
	}
	return off + n
}

// inRanges reports whether a server can send pieces.
func inRanges(u *url.URL) bool { return u != nil && (u.Scheme == "http" || u.Scheme == "https") }

// inPieces fetches the rest of the file in pieces, of which the first comes by b.
func (d *download) inPieces(b *origin.Body) (int64, error) {
	j := d.job
	if !d.part.Geometry().Known() {
		return 0, spread.ErrOneStream
	}
	narrow, err := spread.Run(d.ctx, spread.Config{
		Connections: j.dev.cfg.Connections, Limit: float64(j.dev.cfg.OriginRate), Geometry: d.part.Geometry(),
		Verified: j.spec.keyed(), Source: j.origin(), Others: d.others(), Download: d.name, Took: d.took,
		Open: d.openPiece,
	}, b, d.early, sink{d})
	if narrow {
		j.dev.servers.narrowed(j.dev.now(), j.origin())
	}
	return d.part.Geometry().Size, err
}

// asksEarly returns what asks for pieces beside the first one before its answer is there, if
// the connections that are made meanwhile show that the line needs them.
func (d *download) asksEarly(first origin.Request) func(origin.Made) {
	e := &spread.Early{}
	d.early = e
	part, g := d.part, d.part.Geometry()
	cfg := pieces.Config{Connections: d.job.dev.cfg.Connections, Chunk: g.ChunkSize(), Chunks: g.Chunks(),
		Limit: float64(d.job.dev.cfg.OriginRate)}
	return func(m origin.Made) {
		h := pieces.Handshakes{Trip: m.Trip, Made: m.Connections, Spread: m.Spread}
		e.Ask(d.ctx, d.openPiece, first, g, pieces.Early(cfg, h, int(first.End/int64(cfg.Chunk)), part.Has))
	}
}

// openPiece asks for a piece.
func (d *download) openPiece(ctx context.Context, r origin.Request) (*origin.Body, error) {
	r.Header = d.job.spec.Header
	return d.job.dev.cfg.Origin.Open(ctx, r)
}

// others are the servers that are asked beside the one in use: where each chunk is
// checked as it comes, those of other hosts that have not failed lately.
func (d *download) others() (urls []*url.URL) {
	j := d.job
	if j.spec.Table == nil {
		return nil
	}
	hosts, now := map[string]bool{j.origin().Hostname(): true}, j.dev.now()
	for _, u := range j.spec.Sources {
		if inRanges(u) && !hosts[u.Hostname()] && !j.dev.servers.failing(now, u) && !j.dev.servers.isNarrow(now, u) {
			hosts[u.Hostname()] = true
			urls = append(urls, u)
		}
	}
	return urls
}

// sink takes what comes in pieces.
type sink struct{ *download }

// Missing implements spread.Sink: the machine says what is needed most.
func (s sink) Missing() (indices []int) {
	s.job.dev.call(func(time.Duration) {
		if s.ctx.Err() == nil {
			indices = s.job.machine.Missing(nil)
		}
	})
	return indices
}

// Store implements spread.Sink.
func (s sink) Store(i int, b []byte) error { return s.chunk(i, b) }

// Came implements spread.Sink.
func (s sink) Came(n int) { s.bytes(n) }

// Failed implements spread.Sink.
func (s sink) Failed(u *url.URL) { s.job.dev.servers.fail(s.job.dev.now(), u) }
