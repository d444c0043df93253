package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPiece: a piece comes as it was asked for, by one connection that is kept; a server
// that sends another part says where its body ends.
func TestPiece(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	size := int64(len(content))
	whole := func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(content) }
	rest := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 4096-%d/%d", size-1, size))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(content[4096:])
	}
	crumbs := func(w http.ResponseWriter, r *http.Request) {
		var first, last int64
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); err != nil {
			t.Errorf("Range %q", r.Header.Get("Range"))
		}
		last = min(last, first+2047)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(content[first : last+1])
	}
	served := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	for _, c := range []struct {
		name       string
		answer     http.HandlerFunc
		offset     int64
		from, end  int64
		keepsAlive bool
	}{
		{"ranges", served, 4096, 4096, 12288, true},
		{"ranges from the start", served, 0, 0, 12288, true},
		{"no ranges", whole, 4096, 0, size, false},
		{"no ranges from the start", whole, 0, 0, size, false},
		{"ranges without an end", rest, 4096, 4096, size, false},
		{"less at a time", crumbs, 4096, 4096, 12288, true},
	} {
		s := httptest.NewUnstartedServer(c.answer)
		n := &counted{Listener: s.Listener}
		s.Listener = n
		s.Start()
		m := newMux(t, Config{})
		if c.keepsAlive {
			if err := m.Prepare(context.Background(), parseURL(t, s.URL+"/f")); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			b, err := m.Open(context.Background(), Request{URL: parseURL(t, s.URL+"/f"), Offset: c.offset, End: 12288,
				Size: size, Verified: true})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got, err := ReadAll(b, size)
			if err != nil || b.Offset != c.from || b.End != c.end || b.Size != size || c.keepsAlive && b.Told != size ||
				!bytes.Equal(got, content[c.from:c.end]) {
				t.Errorf("%s: %d bytes of %d to %d of %d (%d told), %v", c.name, len(got), b.Offset, b.End, b.Size, b.Told, err)
			}
			b.Close()
			b.Close() // does not give the connection back twice
		}
		if c.keepsAlive && n.n.Load() > 2 {
			t.Errorf("%s: %d connections", c.name, n.n.Load())
		}
		s.Close()
	}
}

// TestPieceBeside: what a server says of a piece beside others keeps nobody from asking
// it, and no piece is replaced by the whole file.
func TestPieceBeside(t *testing.T) {
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1); r.Header.Get("Range") == "" || r.Header.Get("Peerload-Download") != "one" {
			t.Error("asks without a range, or does not say for which download")
		}
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	m := newMux(t, Config{})
	for range 2 {
		_, err := m.Open(context.Background(), Request{URL: parseURL(t, s.URL+"/f"), End: 4096, Size: 1 << 20,
			Download: "one", Beside: true})
		if !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
	}
	if n.Load() != 2 {
		t.Errorf("%d requests", n.Load())
	}
	if _, err := m.Open(context.Background(), Request{URL: parseURL(t, s.URL+"/f"), Offset: 4096, End: 4096,
		Size: 1 << 20}); err == nil {
		t.Error("an empty piece is asked for")
	}
}

// TestAhead: to a server that is far connections are made for the pieces to come while
// the first is asked for; to a near one none is.
func TestAhead(t *testing.T) {
	for _, c := range []struct {
		name string
		trip time.Duration
		want int32
	}{{"near", time.Millisecond, 1}, {"far", far, 4}} {
		t.Run(c.name, func(t *testing.T) {
			var opened, asked atomic.Int32
			all := make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				if c.want > 1 {
					<-all // the answer takes as long as the others
				}
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, 1<<16)))
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew && opened.Add(1) == 4 {
					close(all)
				}
			}
			s.Start()
			defer s.Close()
			m := newMux(t, Config{})
			u := parseURL(t, s.URL+"/f")
			if err := m.Prepare(t.Context(), u); err != nil {
				t.Fatal(err)
			}
			m.http.conns.ahead.trip[connectionKey(u)] = c.trip
			b, err := m.Open(t.Context(), Request{URL: u, End: 1 << 12, Size: -1, Others: 3})
			if err != nil {
				t.Fatal(err)
			}
			b.Close()
			if n := opened.Load(); n != c.want {
				t.Errorf("%d connections", n)
			}
			if n := asked.Load(); n != 1 {
				t.Errorf("%d requests: the others were not made ahead", n)
			}
		})
	}
}

// TestMade: connections that were made ahead are told of, with how soon one came after the
// other; not those of a download in the background.
func TestMade(t *testing.T) {
	for _, background := range []bool{false, true} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, 1<<16)))
		}))
		defer s.Close()
		m := newMux(t, Config{Background: background})
		u := parseURL(t, s.URL+"/f")
		if err := m.Prepare(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		m.http.conns.ahead.trip[connectionKey(u)] = far
		told := make(chan Made, 1)
		b, err := m.Open(t.Context(), Request{URL: u, End: 1 << 12, Size: -1, Others: 3, Made: func(m Made) { told <- m }})
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
		if background {
			if len(told) > 0 {
				t.Error("the background asks early")
			}
			continue
		}
		if m := <-told; m.Connections < 1 || m.Connections > 3 || m.Spread < 0 || m.Spread > time.Minute ||
			m.Trip <= 0 || m.Trip > time.Minute {
			t.Errorf("%+v", m)
		}
	}
}

// TestCount: those that are made together count, with when the first and the last came,
// whatever the order in which they tell.
func TestCount(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		came := make(chan shake, 4)
		for i, after := range []time.Duration{5 * ms, 2 * ms, 9 * ms} {
			came <- shake{began.Add(after), time.Duration(100+i) * ms}
		}
		m := count(t.Context(), came, 4) // the fourth was lost
		if want := (Made{Trip: 100 * ms, Connections: 3, Spread: 7 * ms}); m != want || time.Since(began) != together {
			t.Errorf("%+v after %v", m, time.Since(began))
		}
	})
}
