package proxy

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/load"
)

// reprDigest is a field of an answer with the digest of a file.
func reprDigest(b []byte) string {
	d := load.DigestOf(b)
	return "sha-256=:" + base64.StdEncoding.EncodeToString(d[:]) + ":"
}

// rootsOf is how many of the hosts have won an election for a URL: one, but for devices
// that get no processor for longer than an election takes and do not hear each other.
// Only they take from the origin. peers is how much came from peers.
func rootsOf(t *testing.T, hosts []*host, u string) (roots, peers int64) {
	t.Helper()
	for i, h := range hosts {
		h.mu.Lock()
		for _, e := range h.entries {
			if e.from.String() != u {
				continue
			}
			f := e.file.Final()
			if peers += f.BytesFromPeers; f.Elections > 0 {
				roots++
			} else if f.BytesFromOrigin > 0 {
				t.Errorf("%s: host %d, never root, took %d bytes from the origin", u, i, f.BytesFromOrigin)
			}
		}
		h.mu.Unlock()
	}
	return roots, peers
}

// TestShare: on whatever word a file is shared, the origin sends one copy of it to each
// root, in whichever form clients ask.
func TestShare(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	body := func(seed uint64) []byte { return content(300_000, seed) }
	sum := func(seed uint64) string { return load.DigestOf(body(seed)).String() }
	archive := "/debian/dists/stable/main/binary-arm64/"
	index := fmt.Sprintf("Package: a\nFilename: pool/a.deb\nSize: 300000\nSHA256: %s\n", sum(5)) +
		strings.Repeat("Description: x\n", 4000)
	indexSum := load.DigestOf([]byte(index)).String()
	f.put(archive+"by-hash/SHA256/"+indexSum, []byte(index))
	f.put("/fw/SHA256SUMS", []byte(sum(3)+"  three.bin\n"))
	hosts := newHosts(t, 3, f.URL+"/unsigned/** unsigned", f.URL+"/fw/** sidecar=SHA256SUMS")
	shared := int64(0)
	for _, c := range []struct {
		path string
		body []byte
		want reason.Code
	}{
		{"/unsigned/one.bin", body(1), reason.ProxyUnsigned},
		{"/two.bin", body(2), reason.ProxyByHeader},
		{"/fw/three.bin", body(3), reason.ProxyBySidecar},
		{"/v2/app/blobs/sha256:" + sum(4), body(4), reason.ProxyByURL},
		{archive + "by-hash/SHA256/" + indexSum, []byte(index), reason.ProxyByURL},
		{"/debian/pool/a.deb", body(5), reason.ProxyByIndex},
	} {
		u := f.put(c.path, c.body)
		if c.want == reason.ProxyByHeader {
			f.put(c.path, c.body, "Repr-Digest", reprDigest(c.body))
		}
		before := f.sent.Load()
		all(t, hosts, u, c.body)
		// What was under way when the headers of an answer told a digest was sent, too.
		roots, peers := rootsOf(t, hosts, u)
		most := roots*int64(len(c.body)) + 1000
		shared += peers
		if c.want == reason.ProxyByHeader {
			most += 3 * int64(len(c.body))
		}
		if sent := f.sent.Load() - before; sent > most {
			t.Errorf("%s: the origin sent %d bytes for a file of %d to %d roots, in %d answers", c.path, sent, len(c.body),
				roots, f.requests("GET", c.path))
		}
		for i, h := range hosts {
			if h.Status().Requests[c.want] == 0 {
				t.Errorf("%s: host %d did %v", c.path, i, h.Status().Requests)
			}
		}
	}
	if shared == 0 {
		t.Error("nothing came from peers")
	}
	if r := f.requests("GET", "/fw/SHA256SUMS"); r > 3 {
		t.Errorf("the sidecar was asked for %d times", r)
	}
}

// TestRanges: readers at any offsets, side by side, get what is there while it still
// arrives, and a client that goes and comes back continues.
func TestRanges(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	want := content(2<<20+77, 9)
	u := f.put("/fw/big.bin", want, "ETag", `"v1"`)
	h := newHosts(t, 1, f.URL+"/fw/** unsigned")[0]
	c := h.via(t)
	var wg sync.WaitGroup
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 24 {
		from := rnd.IntN(len(want))
		to := min(from+rnd.IntN(200_000), len(want)-1)
		wg.Go(func() {
			resp, got, err := get(c, "GET", u, "Range", fmt.Sprintf("bytes=%d-%d", from, to))
			if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, want[from:to+1]) {
				t.Errorf("%d to %d: %v, %v, %d bytes", from, to, resp, err, len(got))
			}
		})
	}
	wg.Wait()
	if sent := f.sent.Load(); sent != int64(len(want)) {
		t.Errorf("the origin sent %d bytes of %d", sent, len(want))
	}
	req, _ := http.NewRequest("GET", u, nil)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 100_000); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for _, r := range []struct {
		fields []string
		status int
		want   []byte
	}{
		{[]string{"Range", "bytes=100000-", "If-Range", `"v1"`}, 206, want[100_000:]},
		{[]string{"Range", "bytes=100000-", "If-Range", `"v0"`}, 200, want},
		{[]string{"Range", "bytes=-5"}, 206, want[len(want)-5:]},
		{[]string{"Range", "bytes=99999999-"}, 416, nil},
		{[]string{"If-None-Match", `"v1"`}, 304, nil},
	} {
		resp, got, err := get(c, "GET", u, r.fields...)
		if err != nil || resp.StatusCode != r.status || r.want != nil && !bytes.Equal(got, r.want) {
			t.Errorf("%v: %v, %v, %d bytes", r.fields, resp, err, len(got))
		}
	}
	if resp, got, err := get(c, "GET", u, "Range", "bytes=0-9,1000000-1000009"); err != nil || resp.StatusCode != 206 ||
		!bytes.Contains(got, want[1_000_000:1_000_010]) {
		t.Errorf("two ranges: %v, %v", resp, err)
	}
	// Another content of the name is another file.
	fresh := content(100_000, 10)
	f.put("/fw/big.bin", fresh, "ETag", `"v2"`)
	if _, got, err := get(c, "GET", u); err != nil || !bytes.Equal(got, fresh) {
		t.Errorf("the new content: %d bytes, %v", len(got), err)
	}
}

// TestArrival: the client knows the length at once. It gets bytes while they arrive
// where a rule lets it; with a digest and no such rule none before all are right.
func TestArrival(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	f.gate = make(chan struct{})
	want := content(1<<20, 11)
	sum := load.DigestOf(want).String()
	u := f.put("/components/"+sum+".app.bin", want)
	unsigned := f.put("/fw/app.bin", want)
	for _, c := range []struct {
		rule, u string
		early   bool
	}{{f.URL + "/fw/** unsigned", unsigned, true}, {f.URL + "/** stream", u, true}, {f.URL + "/x/** never", u, false}} {
		h := newHosts(t, 1, c.rule)[0]
		resp, err := h.via(t).Get(c.u)
		if err != nil || resp.ContentLength != int64(len(want)) {
			t.Fatalf("%s: %v, %v", c.rule, resp, err)
		}
		got := make([]byte, 100_000)
		if c.early {
			if _, err := io.ReadFull(resp.Body, got); err != nil {
				t.Fatal(err)
			}
			close(f.gate)
		} else {
			if sent := h.counts.shared.Load(); sent != 0 {
				t.Errorf("%d bytes were handed on that nothing had borne out", sent)
			}
			close(f.gate)
			got = nil
		}
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(append(got, rest...), want) {
			t.Errorf("%s: %d bytes, %v", c.rule, len(got)+len(rest), err)
		}
		f.mu.Lock()
		f.gate = make(chan struct{})
		f.mu.Unlock()
		h.stop()
	}
	close(f.gate)
}

// TestWrong: what has not the digest that it should is never taken for whole: the
// client gets an error, or a connection that breaks before the last byte.
func TestWrong(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	wrong := content(700_000, 12)
	u := f.put("/components/"+load.DigestOf([]byte("another")).String()+".app.bin", wrong)
	for _, rule := range []string{"/** stream", "/x never"} {
		h := newHosts(t, 1, f.URL+rule)[0]
		for _, fields := range [][]string{nil, {"Range", "bytes=600000-"}} {
			resp, got, err := get(h.via(t), "GET", u, fields...)
			if err == nil && resp.StatusCode < 500 || len(got) >= len(wrong) {
				t.Errorf("%s %v: %v, %d bytes", rule, fields, resp, len(got))
			}
		}
		if n, _ := h.keep.total(); n != 0 {
			t.Errorf("%s: a wrong copy was kept", rule)
		}
	}
}

// TestPass: what is not shared comes as the origin sends it.
func TestPass(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	b := content(200_000, 13)
	f.put("/f", b)
	f.put("/away", nil, "Location", f.URL+"/f?x=1")
	hosts := newHosts(t, 2, f.URL+"/** unsigned")
	for i, h := range hosts {
		resp, got, err := get(h.via(t), "GET", f.URL+"/f", "Authorization", "Basic eDp5")
		if err != nil || !bytes.Equal(got, b) || h.Status().Requests[reason.ProxyCredentials] != 1 {
			t.Errorf("host %d: %v, %v", i, resp, err)
		}
	}
	if f.sent.Load() != 2*int64(len(b)) {
		t.Errorf("the origin sent %d bytes: credentials were shared", f.sent.Load())
	}
	c := hosts[0].via(t)
	if resp, _, err := get(c, "POST", f.URL+"/f"); err != nil || hosts[0].Status().Requests[reason.ProxyMethod] != 1 {
		t.Errorf("POST: %v, %v", resp, err)
	}
	if resp, _, err := get(c, "GET", f.URL+"/missing"); err != nil || resp.StatusCode != 404 {
		t.Errorf("missing: %v, %v", resp, err)
	}
	resp, _, err := get(http.DefaultClient, "GET", hosts[0].mirror(f.URL+"/missing"))
	if err != nil || resp.StatusCode != 404 {
		t.Errorf("mirror of what is missing: %v, %v", resp, err)
	}
	for _, v := range f.last("GET", "/f").Header["Via"] {
		if !strings.Contains(v, "peerload-") {
			t.Errorf("Via %q", v)
		}
	}
}

// last is the last request for a path.
func (f *farm) last(method, path string) (r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.seen {
		if s.Method == method && s.URL.Path == path {
			r = s
		}
	}
	return r
}

// TestRedirect: a client of the mirror stays on it, and what is shared follows.
func TestRedirect(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	b := content(200_000, 14)
	f.put("/f", b)
	f.put("/away", nil, "Location", f.URL+"/f")
	h := newHosts(t, 1)[0]
	c := *http.DefaultClient
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, _, err := get(&c, "GET", h.mirror(f.URL+"/away"))
	if err != nil || resp.Header.Get("Location") != strings.TrimPrefix(h.mirror(f.URL+"/f"), h.url) {
		t.Errorf("%v, %v", resp, err)
	}
	if _, got, err := get(http.DefaultClient, "GET", h.mirror(f.URL+"/away")); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	shared := newHosts(t, 1, f.URL+"/** unsigned")[0]
	if _, got, err := get(shared.via(t), "GET", f.URL+"/away"); err != nil || !bytes.Equal(got, b) ||
		shared.Status().BytesShared != int64(len(b)) {
		t.Errorf("shared: %d bytes, %v", len(got), err)
	}
}

// TestPages: to a browser all sites of the mirror are one. A page that comes from there
// runs nothing, and one from elsewhere asks for nothing.
func TestPages(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	passed := f.put("/page.html", []byte("<script>"), "Content-Security-Policy", "img-src *")
	shared := f.put("/shared/page.html", content(100_000, 18))
	h := newHosts(t, 1, f.URL+"/shared/** unsigned")[0]
	for _, u := range []string{passed, shared} {
		resp, _, err := get(http.DefaultClient, "GET", h.mirror(u))
		if err != nil || !slices.Contains(resp.Header["Content-Security-Policy"], "sandbox") {
			t.Errorf("%s: %v, %v", u, resp, err)
		}
		if resp, _, err = get(h.via(t), "GET", u); err != nil ||
			slices.Contains(resp.Header["Content-Security-Policy"], "sandbox") {
			t.Errorf("%s by its own name: %v, %v", u, resp, err)
		}
		for site, status := range map[string]int{"cross-site": 400, "same-origin": 400, "none": 200} {
			resp, _, err := get(http.DefaultClient, "GET", h.mirror(u), "Sec-Fetch-Site", site)
			if err != nil || resp.StatusCode != status {
				t.Errorf("%s, %s: %v, %v", u, site, resp, err)
			}
		}
	}
}

// TestTunnel: what goes through CONNECT is joined and not looked at.
func TestTunnel(t *testing.T) {
	t.Parallel()
	b := content(100_000, 15)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }))
	defer s.Close()
	h := newHosts(t, 1, "https://**/** unsigned")[0]
	c := s.Client()
	proxyURL, _ := url.Parse(h.url)
	c.Transport.(*http.Transport).Proxy = http.ProxyURL(proxyURL)
	resp, got, err := get(c, "GET", s.URL)
	if err != nil || !bytes.Equal(got, b) || h.Status().Requests[reason.ProxyTunnel] != 1 {
		t.Errorf("%v, %v: %v", resp, err, h.Status())
	}
	c.CloseIdleConnections()
}

// TestFull: a listener whose places are all taken can be closed nevertheless.
func TestFull(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 1)
	c, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ended := make(chan error)
	go func() {
		_, err := l.Accept()
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a waiting Accept: %v", err)
	}
}

// TestRefused: it is no open relay, it does not ask itself, and a page in a browser
// does not reach it by another name.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	u := f.put("/f", content(20_000, 16))
	h := newHosts(t, 1, f.URL+"/** unsigned")[0]
	for name, c := range map[string]struct {
		target, host, from string
		via                string
		status             int
	}{
		"elsewhere":            {u, "", "192.0.2.7:1234", "", 403},
		"no address":           {u, "", "?", "", 403},
		"itself":               {u, "", "127.0.0.1:1", "1.1 x, 1.1 " + h.pseudo, 508},
		"a name for rebinding": {"/http/" + f.Listener.Addr().String() + "/f", "evil.example", "127.0.0.1:1", "", 400},
		"ftp":                  {"ftp://a/f", "", "127.0.0.1:1", "", 400},
		"a password":           {"/http/u:p@h/f", "127.0.0.1", "127.0.0.1:1", "", 400},
		"no host":              {"/http//f", "localhost:4052", "127.0.0.1:1", "", 400},
		"nothing":              {"/", "[::1]:4052", "[::1]:1", "", 404},
	} {
		req := httptest.NewRequest("GET", c.target, nil)
		req.RemoteAddr, req.Host = c.from, c.host
		if c.via != "" {
			req.Header.Set("Via", c.via)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	// Through itself and back: it ends with the first turn.
	loop := h.mirror(h.url + "/http/" + f.Listener.Addr().String() + "/g")
	if resp, _, err := get(http.DefaultClient, "GET", loop); err != nil || resp.StatusCode != http.StatusLoopDetected {
		t.Errorf("a loop: %v, %v", resp, err)
	}
	for address, allow := range map[string][]netip.Prefix{"0.0.0.0:0": nil, "nonsense": nil, "[::]:0": nil} {
		if l, err := Listen(address, allow); err == nil {
			l.Close()
			t.Errorf("it listens on %s", address)
		}
	}
	h.cfg.Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for target, status := range map[string]int{u: 400, "http://169.254.169.254/latest": 400} {
		req := httptest.NewRequest("GET", target, nil)
		req.RemoteAddr = "192.0.2.7:1234"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != status || !strings.Contains(w.Body.String(), "this device itself") {
			t.Errorf("%s for another host: %d %s", target, w.Code, w.Body)
		}
	}
}

// TestFallback: without peers, without a disk, or with an engine that dies on the way,
// the client gets the plain download.
func TestFallback(t *testing.T) {
	t.Parallel()
	f := newFarm(t)
	b := content(1<<20, 17)
	u := f.put("/components/"+load.DigestOf(b).String()+".app.bin", b)
	h := newHosts(t, 1)[0]
	device := h.cfg.Device
	h.cfg.Device = func() *engine.Device { return nil }
	if _, got, err := get(h.via(t), "GET", u); err != nil || !bytes.Equal(got, b) {
		t.Errorf("without peers: %d bytes, %v", len(got), err)
	}
	h.cfg.Device = device
	files := filepath.Join(h.dir, "files")
	if err := errors.Join(os.RemoveAll(files), os.WriteFile(files, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := get(h.via(t), "GET", u); err != nil || !bytes.Equal(got, b) ||
		h.Status().Requests[reason.ProxyFailed] != 1 {
		t.Errorf("without a disk: %d bytes, %v, %+v", len(got), err, h.Status())
	}
	for _, rule := range []string{"/** stream", "/x never"} {
		f.gate = make(chan struct{})
		h := newHosts(t, 1, f.URL+rule)[0]
		resp, err := h.via(t).Get(u)
		if err != nil {
			t.Fatal(err)
		}
		h.Proxy.end() // as when the place changes: nothing comes from the engine any more
		close(f.gate)
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, b) || h.Status().Fallbacks != 1 {
			t.Errorf("%s: the engine dies: %d bytes, %v, %+v", rule, len(got), err, h.Status())
		}
	}
}
