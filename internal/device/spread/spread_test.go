package spread

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// memory is a Sink that keeps what it gets.
type memory struct {
	mu    sync.Mutex
	chunk [][]byte
}

func (m *memory) Missing() (all []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, b := range m.chunk {
		if b == nil {
			all = append(all, i)
		}
	}
	return all
}

func (m *memory) Store(i int, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.chunk[i] = bytes.Clone(b)
	return nil
}

func (m *memory) Came(int) {}

func (m *memory) Failed(*url.URL) {}

// TestFirstStalls: when the others have brought all, nothing waits for the connection
// with which the download began.
func TestFirstStalls(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 2<<20/16)
	g := load.Geometry{Size: int64(len(want))}
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		if r.Header.Get("Range") == "bytes=0-262143" {
			w = &stalling{ResponseWriter: w, left: g.ChunkSize(), until: release}
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(want))
	}))
	defer s.Close()
	defer close(release)
	mux, err := origin.New(origin.Config{StallTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer mux.Close()
	u, err := url.Parse(s.URL + "/f")
	if err != nil {
		t.Fatal(err)
	}
	first, err := mux.Open(ctx, origin.Request{URL: u, End: 4 * int64(g.ChunkSize()), Size: load.UnknownSize})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	m := &memory{chunk: make([][]byte, g.Chunks())}
	_, err = Run(ctx, Config{Connections: 4, Geometry: g, Source: u, Open: mux.Open}, first, nil, m)
	if err != nil || !bytes.Equal(bytes.Join(m.chunk, nil), want) {
		t.Errorf("%d chunks are missing: %v", len(m.Missing()), err)
	}
	if ctx.Err() != nil {
		t.Error("it waited for the first connection till the end of the test")
	}
}

// stalling is an answer that brings so many bytes of its body and then nothing.
type stalling struct {
	http.ResponseWriter
	left  int
	until chan struct{}
}

func (s *stalling) Write(b []byte) (int, error) {
	if len(b) <= s.left {
		s.left -= len(b)
		return s.ResponseWriter.Write(b)
	}
	n, err := s.ResponseWriter.Write(b[:s.left])
	_ = http.NewResponseController(s.ResponseWriter).Flush()
	s.left = 0
	if err == nil {
		<-s.until
	}
	return n, http.ErrHandlerTimeout
}
