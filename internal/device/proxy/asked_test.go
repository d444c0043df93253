package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
)

// TestAnew: of what nothing proves, a copy is handed out only as long as the origin says
// that it is meant, and that this client may have it.
func TestAnew(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]struct {
		head   int // status of HEAD, 0: as GET
		fields []string
	}{
		"without a tag":           {0, nil},
		"HEAD is refused":         {http.StatusForbidden, []string{"ETag", `"a"`}},
		"HEAD is not known":       {http.StatusMethodNotAllowed, []string{"Last-Modified", "Sat, 01 Aug 2026 10:00:00 GMT"}},
		"refused, without a tag":  {http.StatusForbidden, nil},
		"refused, and a weak tag": {http.StatusForbidden, []string{"ETag", `W/"a"`}},
	} {
		var version, denied atomic.Int64
		o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case denied.Load() > 0:
				w.WriteHeader(http.StatusForbidden)
				return
			case s.head > 0 && r.Method == http.MethodHead:
				w.WriteHeader(s.head)
				return
			}
			for i := 0; i < len(s.fields); i += 2 {
				w.Header().Set(s.fields[i], s.fields[i+1])
			}
			if version.Load() > 0 && len(s.fields) > 0 {
				w.Header().Set(s.fields[0], map[string]string{"ETag": `"b"`,
					"Last-Modified": "Sun, 02 Aug 2026 10:00:00 GMT"}[s.fields[0]])
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content(100_000, uint64(version.Load()))))
		}))
		h := newHosts(t, 1, o.URL+"/** unsigned")[0]
		for v := range int64(2) {
			version.Store(v)
			if _, got, err := get(h.via(t), "GET", o.URL+"/f"); err != nil || !bytes.Equal(got, content(100_000, uint64(v))) {
				t.Errorf("%s: version %d: %d bytes, %v", name, v, len(got), err)
			}
		}
		if n := h.Status().BytesShared; n != 200_000 {
			t.Errorf("%s: %d bytes were shared", name, n)
		}
		denied.Store(1)
		if resp, got, err := get(h.via(t), "GET", o.URL+"/f"); err != nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: denied: %v, %d bytes, %v", name, resp, len(got), err)
		}
		h.stop()
		o.Close()
	}
}

// TestIdle: peers get a file for some time after its last client, and for less where
// nothing tells which content it is.
func TestIdle(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	h := newHosts(t, 1, f.URL+"/** unsigned")[0]
	tagged := f.put("/tagged", content(100_000, 23), "ETag", `"a"`)
	for _, u := range []string{tagged, f.put("/other", content(100_000, 24))} {
		r := httptest.NewRequest(http.MethodGet, u, nil)
		r.RemoteAddr = "127.0.0.1:1234"
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	h.busy.Wait()
	for _, c := range []struct {
		later time.Duration
		open  int
	}{{0, 2}, {unnamed + time.Second, 1}, {idle - time.Second, 1}, {idle + time.Second, 0}} {
		h.trim(time.Now().Add(c.later))
		if n := h.Status().Open; n != c.open {
			t.Errorf("%s later: %d files are open, want %d", c.later, n, c.open)
		}
	}
}

// TestOwnTags: the tag and the date of a file are not those that another server, or
// another path, has for the same bytes: a client compares them with what it has.
func TestOwnTags(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	b := content(100_000, 25)
	const date = "Wed, 01 Jan 2020 00:00:00 GMT"
	a := f.put("/a", b, "Repr-Digest", reprDigest(b), "ETag", `"1"`, "Last-Modified", date)
	other := f.put("/components/"+load.DigestOf(b).String()+".app.bin", b)
	h := newHosts(t, 1)[0]
	if resp, _, err := get(h.via(t), "GET", a); err != nil || resp.Header.Get("ETag") != `"1"` {
		t.Fatal(resp, err)
	}
	for _, fields := range [][]string{{"If-Modified-Since", "Wed, 01 Jan 2025 00:00:00 GMT"}, {"If-None-Match", `"1"`}} {
		for _, method := range []string{"GET", "HEAD"} {
			if resp, _, err := get(h.via(t), method, other, fields...); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %v, %v", method, fields[0], resp, err)
			}
			if resp, _, err := get(h.via(t), "GET", a, fields...); err != nil || resp.StatusCode != http.StatusNotModified {
				t.Errorf("%s of its own: %v, %v", fields[0], resp, err)
			}
		}
	}
}

// TestReplaced: an answer does not go on from the origin with bytes of another content.
func TestReplaced(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	for name, c := range map[string]struct {
		rule  string
		tags  [2]string // before and after
		byte  bool      // the client asks for a part
		whole bool      // it gets all
	}{
		"the same":         {"unsigned", [2]string{`"a"`, `"a"`}, false, true},
		"another tag":      {"unsigned", [2]string{`"a"`, `"b"`}, false, false},
		"no tag":           {"unsigned", [2]string{}, false, false},
		"a part, a digest": {"stream sha256=" + load.DigestOf(content(1<<20, 19)).String(), [2]string{}, true, false},
	} {
		put := func(i int, seed uint64) string {
			if c.tags[i] == "" {
				return f.put("/f", content(1<<20, seed))
			}
			return f.put("/f", content(1<<20, seed), "ETag", c.tags[i])
		}
		u := put(0, 19)
		f.gate = make(chan struct{})
		h := newHosts(t, 1, f.URL+"/f "+c.rule)[0]
		req, err := http.NewRequest(http.MethodGet, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.byte {
			req.Header.Set("Range", "bytes=0-999999")
		}
		resp, err := h.via(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(resp.Body, first); err != nil {
			t.Fatal(err)
		}
		if !c.whole {
			put(1, 20)
		}
		h.Proxy.end() // nothing comes from the engine any more
		close(f.gate)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if whole := err == nil && len(got) == 1<<20-1; whole != c.whole || !whole && err == nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		h.stop()
	}
}

// TestInside: what the proxy asks for a client elsewhere does not lead to this device
// itself.
func TestInside(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.put("/f", content(100_000, 21))
	f.put("/f.sha256", []byte(load.DigestOf(content(100_000, 21)).String()))
	h := newHosts(t, 1, f.URL+"/** sidecar=.sha256")[0]
	for want, from := range []string{"192.0.2.7:1234", "127.0.0.1:1234"} {
		r := httptest.NewRequest(http.MethodGet, f.URL+"/f", nil)
		r.RemoteAddr = from
		x := &exchange{w: httptest.NewRecorder(), r: r, url: r.URL}
		clear(h.asked)
		before := f.requests("GET", "/f.sha256")
		h.serve(x)
		if n := f.requests("GET", "/f.sha256") - before; n != want {
			t.Errorf("%s: the sidecar was asked for %d times", from, n)
		}
	}
}

// TestInsideKept: nor does a connection that was made for a client of this device.
func TestInsideKept(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	u := f.put("/f", content(100, 22))
	h := newHosts(t, 1)[0]
	if _, _, err := get(h.client(), "GET", u); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.WithValue(t.Context(), others{}, true), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.client().Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, errInside) {
		t.Errorf("%v, %v", resp, err)
	}
}

// TestUpgrade: a client that goes on with another protocol does so through the proxy.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	o := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		_, _ = io.WriteString(c, line)
	}))
	defer o.Close()
	h := newHosts(t, 1)[0]
	c, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n", o.URL)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	fmt.Fprintln(c, "hello")
	if line, err := in.ReadString('\n'); line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}
