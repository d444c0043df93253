package origin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/testkit/oneconn"
)

// TestHandshakeUnderWay: a request takes the connection whose handshake began before
// it, unless that one is lost and its own is there first; the connections for the
// pieces to come are made once it is known that the server is far.
func TestHandshakeUnderWay(t *testing.T) {
	const trip = 200 * time.Millisecond
	for _, c := range []struct {
		name        string
		first, rest time.Duration // of the first handshake, and of each other
		want        time.Duration // when the request has a connection
		made        int32         // by then or later
	}{
		{"far", trip, trip, trip, 5},
		{"near", far / 2, far / 2, far / 2, 2},
		{"the first is lost", time.Second + trip, trip, far/4 + trip, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var made atomic.Int32
				transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					took := c.rest
					if made.Add(1) == 1 {
						took = c.first
					}
					time.Sleep(took) // in the bubble
					conn, _ := net.Pipe()
					return conn, nil
				}}
				a := newAhead(transport.NewClientConn)
				defer a.close()
				u := parseURL(t, "http://server.test/f")
				began := time.Now()
				go a.prepare(ctx, u)
				time.Sleep(far / 4) // in the bubble
				a.more(ctx, u, 4, nil)
				conn, err := a.take(ctx, u)
				if took := time.Since(began); err != nil || conn == nil || took != c.want {
					t.Errorf("connected after %v, not %v: %v", took, c.want, err)
				}
				time.Sleep(2 * time.Second) // in the bubble
				synctest.Wait()
				if n := made.Load(); n != c.made {
					t.Errorf("%d connections, not %d", n, c.made)
				}
				if conn != nil {
					conn.Close()
				}
			})
		})
	}
}

// TestAheadGivesWay: a connection that was made ahead, and that a server with one
// connection at a time has taken, keeps no request over another one waiting.
func TestAheadGivesWay(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("firmware"))
	}))
	s.Listener = oneconn.New(s.Listener)
	s.Start()
	defer s.Close()
	m := newMux(t, Config{StallTimeout: time.Minute})
	m.http.conns.silence = 10 * time.Millisecond
	u := parseURL(t, s.URL+"/f")
	if err := m.Prepare(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	later, err := m.http.conns.ahead.dial(t.Context(), u.Scheme, serverOf(u))
	if err != nil {
		t.Fatal(err)
	}
	m.http.conns.ahead.keep(connectionKey(u), later) // the next request takes it
	b, err := m.Open(t.Context(), Request{URL: u, Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := ReadAll(b, 100); err != nil || string(got) != "firmware" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestSharedLine: in the background, a download beside that of another device goes over a
// new connection: the one that was made ahead has offered the server more than may come
// at once. Any other download goes over that one.
func TestSharedLine(t *testing.T) {
	for _, c := range []struct {
		background, shared bool
		want               int32
	}{{true, true, 2}, {true, false, 1}, {false, true, 1}} {
		var made atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte("firmware"))
		}))
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				made.Add(1)
			}
		}
		s.Start()
		m := newMux(t, Config{Background: c.background})
		u := parseURL(t, s.URL+"/f")
		if err := m.Prepare(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		b, err := m.Open(t.Context(), Request{URL: u, Size: -1, Shared: c.shared})
		if err != nil {
			t.Fatal(err)
		}
		b.Close()
		if n := made.Load(); n != c.want {
			t.Errorf("background %v, shared %v: %d connections, not %d", c.background, c.shared, n, c.want)
		}
		s.Close()
	}
}
