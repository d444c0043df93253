package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/internal/testkit/oneconn"
	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
)

func TestMain(m *testing.M) {
	parallel.Tests(12)
	os.Exit(m.Run())
}

// wide is a device that does not share, with several connections to its servers.
func wide(t *testing.T, connections int) *Device {
	t.Helper()
	mux, err := origin.New(origin.Config{StallTimeout: origin.RootStallTimeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mux.Close)
	d, err := NewDevice(Config{ID: 1, Net: NoPeers{}, Origin: mux, Protocol: pdp.NoPeers(), Connections: connections,
		Slot: slot.Config{NoSync: true}})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.Run(t.Context()) }()
	return d
}

// farAway is an Origin to whose servers connections are made that show a long line which
// is not thin, as soon as somebody asks for a first piece.
type farAway struct{ *origin.Mux }

// Open implements Downloader.
func (f farAway) Open(ctx context.Context, r origin.Request) (*origin.Body, error) {
	if r.Made != nil {
		r.Made(origin.Made{Trip: 200 * time.Millisecond, Connections: r.Others})
	}
	return f.Mux.Open(ctx, r)
}

// random is content in which no two parts are the same.
func random(size int, seed uint64) []byte {
	b, r := make([]byte, size), rand.New(rand.NewPCG(seed, 3))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// proof is what a test's device knows of a file.
type proof int

const (
	byTable proof = iota
	byDigest
	byNothing
)

// fetchFrom fetches a file and returns its bytes.
func fetchFrom(t *testing.T, d *Device, content []byte, p proof, servers ...string) ([]byte, error) {
	t.Helper()
	spec := Spec{Name: "app.bin", Target: filepath.Join(t.TempDir(), "app.bin"), Size: load.UnknownSize,
		Digest: slot.Expect(load.DigestOf(content)), Key: fmt.Sprint(servers)}
	for _, s := range servers {
		u, err := url.Parse(s + "/app.bin")
		if err != nil {
			t.Fatal(err)
		}
		spec.Sources = append(spec.Sources, u)
	}
	switch p {
	case byTable:
		c, err := load.Describe(spec.Name, bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		spec.Size, spec.Table = c.Size, c.Table
	case byNothing:
		spec.Digest = slot.ExpectAny()
	}
	f, err := d.Fetch(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := f.Wait(ctx); err != nil {
		return nil, err
	}
	if err := f.Commit(); err != nil {
		return nil, err
	}
	return os.ReadFile(spec.Target)
}

// answer is what a pieceServer does with a request.
type answer func(s *pieceServer, w http.ResponseWriter, r *http.Request)

// pieceServer is a server whose requests a test watches.
type pieceServer struct {
	*httptest.Server
	content  []byte
	tag      string
	requests atomic.Int32
	bytes    atomic.Int64

	mu   sync.Mutex
	now  int // requests being answered
	most int // at the same time
	more *sync.Cond
}

// newPieceServer starts a server that answers with ranges by other, or by itself if
// that is nil.
func newPieceServer(t *testing.T, content []byte, other answer) *pieceServer {
	s := &pieceServer{content: content, tag: `"one"`}
	s.more = sync.NewCond(&s.mu)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		s.now++
		s.most = max(s.most, s.now)
		s.more.Broadcast()
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.now--
			s.more.Broadcast()
			s.mu.Unlock()
		}()
		counted := &countedWriter{w, &s.bytes}
		if other != nil {
			other(s, counted, r)
			return
		}
		s.serve(counted, r)
	}))
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			_ = c.(*net.TCPConn).SetWriteBuffer(buffered / 4)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// buffered bounds what a server of these tests has written to a connection and nobody
// has read, in bytes: the kernel would take megabytes on loopback. A client that begins
// to read lets the other side send more, but not one that closes.
const buffered = 512 << 10

func (s *pieceServer) serve(w http.ResponseWriter, r *http.Request) {
	if s.tag != "" {
		w.Header().Set("ETag", s.tag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
}

// await waits until so many requests are answered at the same time, or have been.
func (s *pieceServer) await(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.most < n {
		s.more.Wait()
	}
}

// asked waits until there were so many requests.
func (s *pieceServer) asked(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for int(s.requests.Load()) < n {
		s.more.Wait()
	}
}

type countedWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countedWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// TestSpread: whatever the server does with pieces and second connections, the bytes
// are right, and hardly any come twice.
func TestSpread(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	content := random(4<<20+1234, 1)
	// busy answers the first request in part, and every other one at the same time with
	// a status.
	busy := func(status int) answer {
		return func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			second := s.now > 1
			s.mu.Unlock()
			if second {
				w.WriteHeader(status)
				return
			}
			s.slowly(w, r)
		}
	}
	for _, c := range []struct {
		name        string
		answer      answer
		untagged    bool
		connections int
		least       int // requests at the same time
		alone       bool
	}{
		{name: "ranges", answer: (*pieceServer).slowly, connections: 8, least: 2},
		{name: "one connection", answer: nil, connections: 1, least: 1, alone: true},
		{name: "no tags", answer: (*pieceServer).slowly, untagged: true, connections: 8, least: 1},
		{name: "no ranges", connections: 8, least: 1, alone: true,
			answer: func(s *pieceServer, w http.ResponseWriter, r *http.Request) { _, _ = w.Write(s.content) }},
		{name: "429 to a second", answer: busy(http.StatusTooManyRequests), connections: 8, least: 2},
		{name: "503 to a second", answer: busy(http.StatusServiceUnavailable), connections: 8, least: 2},
		{name: "403 to a second", answer: busy(http.StatusForbidden), connections: 8, least: 2},
		{name: "the whole file to a second", connections: 8, least: 2,
			answer: func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
				s.mu.Lock()
				second := s.now > 1
				s.mu.Unlock()
				if second {
					_, _ = w.Write(s.content)
					return
				}
				s.slowly(w, r)
			}},
	} {
		for p := byTable; p <= byNothing; p++ {
			t.Run(fmt.Sprintf("%s, proof %d", c.name, p), func(t *testing.T) {
				t.Parallel()
				if p != byTable {
					tiers.Long(t, "a short run has one proof")
				}
				s := newPieceServer(t, content, c.answer)
				if c.untagged {
					s.tag = ""
				}
				got, err := fetchFrom(t, wide(t, c.connections), content, p, s.URL)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				// A server sees the end of a request after its client does, and so one
				// more at a time. Each connection may be closed with bytes in it.
				twice := s.bytes.Load() - int64(len(content))
				if c.alone && (s.most != 1 || twice != 0) ||
					s.most > c.connections+1 || s.most < c.least || twice > int64(c.connections*buffered) {
					t.Errorf("%d requests at a time, %d bytes more than %d", s.most, twice, len(content))
				}
			})
		}
	}
}

// TestSpreadEarly: to a server that is far pieces are asked for before the first answer
// is there. Whatever it does with them, and however large the file turns out to be, the
// bytes are right.
func TestSpreadEarly(t *testing.T) {
	t.Parallel()
	const early = 12
	first := fmt.Sprintf("bytes=0-%d", pieces.FirstPiece*load.MinChunkSize-1)
	refuse := func(status int) answer {
		return func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == first {
				s.asked(early + 1)
			} else if s.requests.Load() <= early+1 {
				w.WriteHeader(status)
				return
			}
			s.serve(w, r)
		}
	}
	for _, c := range []struct {
		name   string
		size   int
		answer answer
	}{
		{"ranges", 4<<20 + 1234, func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == first {
				s.asked(early + 1) // it is the last to be answered
			}
			s.serve(w, r)
		}},
		{"a small file", 700 << 10, nil},
		{"no more than the first piece", 10 << 10, nil},
		{"no ranges", 8 << 20, func(s *pieceServer, w http.ResponseWriter, r *http.Request) { _, _ = w.Write(s.content) }},
		{"503 to a second", 8 << 20, refuse(http.StatusServiceUnavailable)},
		{"404 to a second", 8 << 20, refuse(http.StatusNotFound)},
	} {
		for p := byTable; p <= byNothing; p++ {
			t.Run(fmt.Sprintf("%s, proof %d", c.name, p), func(t *testing.T) {
				t.Parallel()
				if p != byTable {
					tiers.Long(t, "a short run has one proof")
				}
				content := random(c.size, 1)
				s := newPieceServer(t, content, c.answer)
				d := wide(t, pieces.Most)
				d.cfg.Origin = farAway{d.cfg.Origin.(*origin.Mux)}
				got, err := fetchFrom(t, d, content, p, s.URL)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
	}
}

// TestRangesWithoutEnd: a server that sends all where a piece is asked for, and breaks
// off, may still know a range without an end: the download goes on by that.
func TestRangesWithoutEnd(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	content := random(3<<20, 2)
	s := newPieceServer(t, content, func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("Range"), "-") {
			s.serve(w, r)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:len(content)/2])
		panic(http.ErrAbortHandler)
	})
	got, err := fetchFrom(t, wide(t, 8), content, byDigest, s.URL)
	if err != nil || !bytes.Equal(got, content) || s.requests.Load() != 2 {
		t.Errorf("%d bytes of %d after %d requests, %v", len(got), len(content), s.requests.Load(), err)
	}
}

// slowly serves, but does not end a first answer before others were asked for.
func (s *pieceServer) slowly(w http.ResponseWriter, r *http.Request) {
	s.serve(&held{ResponseWriter: w, release: func() {
		if s.tag != "" {
			s.await(2)
		}
	}}, r)
}

// held is an answer whose last bytes wait.
type held struct {
	http.ResponseWriter
	release func()
	n       int
}

func (h *held) Write(b []byte) (int, error) {
	if h.n += len(b); h.n > 32<<10 {
		h.ResponseWriter.(http.Flusher).Flush()
		h.release()
	}
	return h.ResponseWriter.Write(b)
}

// Flush implements http.Flusher.
func (c *countedWriter) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// TestSpreadChanges: a file that becomes another while its pieces come is fetched anew,
// and never is a mix of the two.
func TestSpreadChanges(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	old, young := random(4<<20, 1), random(3<<20+77, 2)
	for _, next := range [][]byte{young, random(len(old), 2)} {
		var once sync.Once
		s := newPieceServer(t, old, nil)
		var mu sync.Mutex
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			content, tag := s.content, s.tag
			if !strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
				once.Do(func() { s.content, s.tag = next, `"two"` })
				content, tag = s.content, s.tag
			}
			mu.Unlock()
			w.Header().Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		})
		got, err := fetchFrom(t, wide(t, 8), next, byNothing, s.URL)
		if err != nil || !bytes.Equal(got, next) {
			t.Errorf("%d bytes of %d (%d before), %v", len(got), len(next), len(old), err)
		}
	}
}

// TestSpreadOverServers: several servers of one file are used together where each chunk
// is checked, and one that has other bytes or fails does no harm.
func TestSpreadOverServers(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	content, wrong := random(4<<20, 1), random(4<<20, 9)
	for name, second := range map[string]answer{
		"well": nil,
		"other bytes": func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(wrong))
		},
		"absent":  func(s *pieceServer, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"aborted": func(s *pieceServer, w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := newPieceServer(t, content, nil)
			two := newPieceServer(t, content, second)
			// The first does not end before the second was asked.
			one.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				one.serve(&held{ResponseWriter: w, release: func() { two.await(1) }}, r)
			})
			other := strings.Replace(two.URL, "127.0.0.1", "localhost", 1) // another host
			got, err := fetchFrom(t, wide(t, 8), content, byTable, one.URL, other)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if name != "well" && two.requests.Load() > 2*pieces.Start {
				t.Errorf("asked %d times", two.requests.Load())
			}
			// Without a table nobody would know whose bytes are wrong.
			three := newPieceServer(t, content, nil)
			other = strings.Replace(three.URL, "127.0.0.1", "localhost", 1)
			got, err = fetchFrom(t, wide(t, 8), content, byDigest, one.URL, other)
			if err != nil || !bytes.Equal(got, content) || three.requests.Load() > 0 {
				t.Errorf("%d bytes, %d requests to the other server, %v", len(got), three.requests.Load(), err)
			}
		})
	}
}

// TestSpreadOneAtATime: a server that takes one connection at a time sends all.
func TestSpreadOneAtATime(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	content := random(4<<20, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}))
	s.Listener = oneconn.New(s.Listener)
	s.Start()
	defer s.Close()
	got, err := fetchFrom(t, wide(t, 16), content, byDigest, s.URL)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestSpreadStalls: where the server sends nothing more over any connection the
// download fails, as it does over one.
func TestSpreadStalls(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	content := random(4<<20, 1)
	over := make(chan struct{})
	s := newPieceServer(t, content, func(s *pieceServer, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", s.tag)
		s.serve(&held{ResponseWriter: w, release: func() { <-over }}, r)
	})
	defer close(over)
	mux, err := origin.New(origin.Config{StallTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	proto := pdp.NoPeers()
	proto.Transfer.Attempts, proto.Transfer.Outage = 1, time.Millisecond
	d, err := NewDevice(Config{ID: 1, Net: NoPeers{}, Origin: mux, Protocol: proto, Connections: 8})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.Run(t.Context()) }()
	_, err = fetchFrom(t, d, content, byTable, s.URL)
	if e := (*Error)(nil); !errors.As(err, &e) || e.Code() != "origin-stalled" {
		t.Errorf("%v", err)
	}
}
