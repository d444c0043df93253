package origin

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/ratelimit"
	"github.com/peerload/peerload/load"
)

// answering starts a server that answers everything with f.
func answering(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

func TestStatusCodes(t *testing.T) {
	m := newMux(t, Config{})
	for status, want := range map[int]string{
		404: "not-found", 410: "not-found", 401: "forbidden", 403: "forbidden", 407: "forbidden", 429: "busy", 503: "busy",
		400: "answer", 405: "answer", 501: "answer", 204: "answer", 304: "answer", 416: "answer", 206: "other",
		408: "other", 425: "other", 500: "other", 502: "other", 504: "other",
	} {
		base := answering(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		if _, _, err := get(m, Request{URL: parseURL(t, base+"/f"), Size: load.UnknownSize}); Reason(err) != want {
			t.Errorf("%d: %v (%s), want %s", status, err, Reason(err), want)
		}
	}
	if Reason(nil) != "" || Reason(ErrWrong) != "wrong" {
		t.Error("reasons of nil and ErrWrong")
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "999999999": 24 * time.Hour, "99999999999999999999": 0,
		"Sun, 22 Nov 2026 12:01:00 GMT": time.Minute, "Sun, 22 Nov 2026 11:00:00 GMT": 0,
		"Sun, 22 Nov 2099 12:01:00 GMT": 24 * time.Hour,
	} {
		base := answering(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", header)
			w.Header().Set("Date", "Sun, 22 Nov 2026 12:00:00 GMT")
			w.WriteHeader(503)
		})
		_, _, err := get(newMux(t, Config{}), Request{URL: parseURL(t, base), Size: load.UnknownSize})
		var busy *BusyError
		if !errors.As(err, &busy) || !errors.Is(err, ErrBusy) || busy.RetryAfter != want {
			t.Errorf("%q: %v, want %v", header, err, want)
		}
	}
}

// A resume that is not exactly what was asked is refused.
func TestSenselessResume(t *testing.T) {
	for _, tc := range []struct{ contentRange, etag, body string }{
		{"", `"a"`, "23456789"},
		{"bytes 3-9/10", `"a"`, "3456789"},
		{"bytes 2-8/10", `"a"`, "2345678"},
		{"bytes 0-1/10", `"a"`, "01"},
		{"bytes 2-9/9", `"a"`, "23456789"},
		{"bytes 2-9/10", `"a"`, "2345"},
		{"bytes 2-9/10", `"b"`, "23456789"},
		{"bytes 2-99999999999999999999/10", `"a"`, "23456789"},
		{"items 2-9/10", `"a"`, "23456789"},
	} {
		base := answering(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", tc.contentRange)
			w.Header().Set("ETag", tc.etag)
			w.WriteHeader(206)
			io.WriteString(w, tc.body)
		})
		got, _, err := get(newMux(t, Config{}), Request{URL: parseURL(t, base), Offset: 2, Validator: `"a"`,
			Size: load.UnknownSize})
		if err == nil {
			t.Errorf("%+v: %q", tc, got)
		}
	}
}

func TestStrongValidator(t *testing.T) {
	for tag, strong := range map[string]bool{
		`"a"`: true, `""`: true, `W/"a"`: false, `w/"a"`: false, `a`: false, ``: false, `"`: false, `"a`: false,
		`"a" , "b"`: false, "\"a\nb\"": false, `"` + strings.Repeat("x", 300) + `"`: false,
	} {
		if got := strongValidator(tag); (got != "") != strong {
			t.Errorf("%q: %q", tag, got)
		}
	}
	// What is not strong is not sent, and nothing is resumed by it.
	base := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" || r.Header.Get("If-Range") != "" {
			t.Errorf("asked with %v", r.Header)
		}
		w.Header().Set("ETag", `W/"a"`)
		w.Header().Set("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT")
		io.WriteString(w, "0123456789")
	})
	_, b, err := get(newMux(t, Config{}), Request{URL: parseURL(t, base), Offset: 2, Validator: `W/"a"`,
		Size: load.UnknownSize})
	if err != nil || b.Offset != 0 || b.Validator != "" {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestHeaders(t *testing.T) {
	base := answering(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s", r.Header.Get("Accept-Encoding"), r.UserAgent(), r.Header.Get("X-Key"))
	})
	got, _, err := get(newMux(t, Config{Headers: http.Header{"X-Key": {"k"}}}),
		Request{URL: parseURL(t, base), Size: load.UnknownSize})
	if err != nil || string(got) != "identity|peerload|k" {
		t.Errorf("%q, %v", got, err)
	}
	coded := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		io.WriteString(w, "\x1f\x8b")
	})
	if _, _, err := get(newMux(t, Config{}), Request{URL: parseURL(t, coded), Size: load.UnknownSize}); err == nil {
		t.Error("a coded body was taken")
	}
	for _, bad := range []Config{
		{Headers: http.Header{"range": {"bytes=1-"}}}, {Headers: http.Header{"X": {"a\r\nb: c"}}}, {LimitRate: -1},
		{StallTimeout: -1},
		{WindowSize: -3},
	} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}

func TestRedirects(t *testing.T) {
	secret := Config{Headers: http.Header{"X-Key": {"k"}, "Cookie": {"c"}}, MaxRedirects: 3}
	var home string
	away := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, home+"/end", http.StatusFound)
			return
		}
		for _, name := range []string{"X-Key", "X-One", "Cookie", "Authorization", "Referer"} {
			if v := r.Header.Get(name); v != "" {
				t.Errorf("%s: %q went to another host", name, v)
			}
		}
		io.WriteString(w, "away")
	})
	home = answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/near":
			http.Redirect(w, r, "/keyed", http.StatusFound)
		case "/keyed", "/end":
			fmt.Fprintf(w, "%s%s", r.Header.Get("X-Key"), r.Header.Get("X-One"))
		case "/away":
			http.Redirect(w, r, away+"/f", http.StatusMovedPermanently)
		case "/there-and-back":
			http.Redirect(w, r, away+"/back", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}
	})
	m := newMux(t, secret)
	for path, want := range map[string]string{"near": "k1", "away": "away", "there-and-back": ""} {
		u := parseURL(t, home+"/"+path)
		if path == "away" {
			u.User = parseURL(t, "http://user:secret@x").User
		}
		r := Request{URL: u, Size: load.UnknownSize, Header: http.Header{"X-One": {"1"}}}
		if got, _, err := get(m, r); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"loop", "file"} {
		if got, _, err := get(m, Request{URL: parseURL(t, home+"/"+path), Size: load.UnknownSize}); err == nil {
			t.Errorf("%s: %q", path, got)
		}
	}
	_, _, err := get(newMux(t, Config{MaxRedirects: -1}), Request{URL: parseURL(t, home+"/near"), Size: load.UnknownSize})
	if err == nil {
		t.Error("a redirect was followed though none is allowed")
	}
}

func TestTLS(t *testing.T) {
	plain := answering(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "plain") })
	var shown atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			shown.Add(1)
		}
		switch r.URL.Path {
		case "/down":
			http.Redirect(w, r, plain, http.StatusFound)
		case "/other":
			http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
		default:
			io.WriteString(w, "secure")
		}
	}
	start := func() *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(handler))
		s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s
	}
	a, b := start(), start()
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	m := newMux(t, Config{CACert: pool, ClientCert: &a.TLS.Certificates[0]})
	got, body, err := get(m, Request{URL: parseURL(t, a.URL+"/f"), Size: load.UnknownSize})
	if err != nil || string(got) != "secure" || body.Scheme != "https" || shown.Load() != 1 {
		t.Errorf("%q, certificate shown %d times, %v", got, shown.Load(), err)
	}
	if got, _, err := get(m, Request{URL: parseURL(t, a.URL+"/down"), Size: load.UnknownSize}); err == nil {
		t.Errorf("a redirect from https to http brought %q", got)
	}
	shown.Store(0)
	got, _, err = get(m, Request{URL: parseURL(t, a.URL+"/other?to="+b.URL), Size: load.UnknownSize})
	if err != nil || string(got) != "secure" || shown.Load() != 1 {
		t.Errorf("other host: %q, certificate shown %d times, %v", got, shown.Load(), err)
	}
	if _, _, err := get(newMux(t, Config{}),
		Request{URL: parseURL(t, a.URL), Size: load.UnknownSize}); Reason(err) != "tls" {
		t.Errorf("unknown authority: %v (%s)", err, Reason(err))
	}
}

// counted counts the connections that a server takes.
type counted struct {
	net.Listener
	n atomic.Int32
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// await polls until ok holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestPrepare(t *testing.T) {
	for _, secure := range []bool{false, true} {
		var requests atomic.Int32
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			io.WriteString(w, "body")
		}))
		c := &counted{Listener: s.Listener}
		s.Listener = c
		var cfg Config
		if secure {
			s.StartTLS()
			cfg.CACert = x509.NewCertPool()
			cfg.CACert.AddCert(s.Certificate())
		} else {
			s.Start()
		}
		defer s.Close()
		m := newMux(t, cfg)
		u := parseURL(t, s.URL+"/f")
		for range 2 {
			if err := m.Prepare(context.Background(), u); err != nil {
				t.Fatal(err)
			}
		}
		await(t, "no connection made ahead", func() bool { return c.n.Load() == 1 })
		if requests.Load() != 0 {
			t.Error("something was asked for")
		}
		if got, _, err := get(m, Request{URL: u, Size: load.UnknownSize}); err != nil || string(got) != "body" ||
			c.n.Load() != 1 {
			t.Errorf("%q over %d connections, %v", got, c.n.Load(), err)
		}
		// It is kept for the next request. One that the server has closed meanwhile
		// does no harm.
		if err := m.Prepare(context.Background(), u); err != nil || c.n.Load() != 1 {
			t.Fatalf("%d connections, %v", c.n.Load(), err)
		}
		s.CloseClientConnections()
		if got, _, err := get(m, Request{URL: u, Size: load.UnknownSize}); err != nil || string(got) != "body" {
			t.Errorf("after the server closed: %q, %v", got, err)
		}
	}
	if err := newMux(t, Config{}).Prepare(context.Background(), parseURL(t, "tftp://192.0.2.1/f")); err != nil {
		t.Error(err)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	m := newMux(t, Config{})
	for _, u := range []string{"http://" + closed + "/f", "https://" + closed + "/f", "tftp://" + closed + "/f",
		"http://name.invalid/f"} {
		if _, _, err := get(m, Request{URL: parseURL(t, u), Size: load.UnknownSize}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", u, err)
		}
	}
	if err := m.Prepare(context.Background(), parseURL(t, "http://"+closed)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("Prepare: %v", err)
	}
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hasty := newMux(t, Config{StallTimeout: stallTime})
	if _, _, err := get(hasty, Request{URL: parseURL(t, "http://"+silent.Addr().String()),
		Size: load.UnknownSize}); !errors.Is(err, ErrStalled) {
		t.Errorf("a server that says nothing: %v", err)
	}
	for _, u := range []string{"ftp://h/f", "tftp://h/", "tftp://h/f;mode=netascii", "file://elsewhere/f", "file:relative",
		"file:///"} {
		if _, _, err := get(m, Request{URL: parseURL(t, u), Size: load.UnknownSize}); err == nil {
			t.Errorf("%s was opened", u)
		}
	}
	for _, r := range []Request{
		{}, {URL: parseURL(t, "http://h/f"), Size: load.MaxFileSize + 1}, {URL: parseURL(t, "http://h/f"), Offset: -1},
		{URL: parseURL(t, "http://h/f"), Offset: 2, Size: 1},
	} {
		if _, err := m.Open(context.Background(), r); err == nil || Reason(err) != "other" {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// A server without end is left at the largest file, or at the size known.
func TestEndlessBody(t *testing.T) {
	source := &endless{}
	r := &reader{body: io.NopCloser(source), ctx: context.Background(), budget: newWaitBudget(time.Second),
		left: 1000, want: -1}
	if got, err := io.ReadAll(r); !errors.Is(err, ErrTooMuch) || len(got) != 1000 || source.read != 1001 {
		t.Errorf("%d bytes of %d read, %v", len(got), source.read, err)
	}
	base := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(int64(load.MaxFileSize)+1))
	})
	if _, _, err := get(newMux(t, Config{}), Request{URL: parseURL(t, base), Size: load.UnknownSize}); !errors.Is(err,
		ErrTooMuch) {
		t.Error(err)
	}
}

type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

// Without a length only the expected size tells that the body is short.
func TestShortBodyWithoutLength(t *testing.T) {
	base := answering(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "01234")
		w.(http.Flusher).Flush()
	})
	m := newMux(t, Config{})
	if got, _, err := get(m, Request{URL: parseURL(t, base), Size: 10}); !errors.Is(err, ErrTruncated) || len(got) != 5 {
		t.Errorf("%q, %v", got, err)
	}
	if got, b, err := get(m, Request{URL: parseURL(t, base), Size: load.UnknownSize}); err != nil ||
		b.Size != load.UnknownSize || len(got) != 5 {
		t.Errorf("%q, %+v, %v", got, b, err)
	}
}

func TestLocalAddrAndNoProxy(t *testing.T) {
	base := answering(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) })
	m := newMux(t, Config{LocalAddr: netip.MustParseAddr("127.0.0.88"), NoProxyEnv: true})
	got, _, err := get(m, Request{URL: parseURL(t, base), Size: load.UnknownSize})
	if err != nil || !bytes.HasPrefix(got, []byte("127.0.0.88:")) {
		t.Errorf("%s, %v", got, err)
	}
}

// A server without an address of the own family is reached nevertheless.
func TestServerOfAnotherFamily(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w,
			"hello")
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	m := newMux(t, Config{LocalAddr: netip.MustParseAddr("127.0.0.88")})
	if got, _, err := get(m, Request{URL: parseURL(t, s.URL), Size: load.UnknownSize}); err != nil ||
		string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// The rate holds for all bodies together, to the microsecond in virtual time.
func TestLimitRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ratelimit.New(1000, 0)
		start := time.Now()
		for range 2 {
			r := &reader{body: io.NopCloser(io.LimitReader(&endless{}, 2500)), ctx: t.Context(), limit: c, piece: 100,
				budget: newWaitBudget(time.Second), left: 1 << 20, want: 2500}
			if n, err := io.Copy(io.Discard, r); n != 2500 || err != nil {
				t.Error(n, err)
			}
		}
		// The last hundred bytes are paid for by whoever comes next.
		if took := time.Since(start); took < 4800*time.Millisecond || took > 5*time.Second {
			t.Errorf("5000 bytes at 1000 a second took %v", took)
		}
	})
}

func TestCandidates(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1/a/b":       "http://10.0.0.1:6970/a/b tftp://10.0.0.1/a/b",
		"10.0.0.1:8080/f":    "http://10.0.0.1:8080/f tftp://10.0.0.1/f",
		"[2001:db8::1]/f":    "http://[2001:db8::1]:6970/f tftp://[2001:db8::1]/f",
		"[2001:db8::1]:81/f": "http://[2001:db8::1]:81/f tftp://[2001:db8::1]/f",
		"http://h/f":         "http://h/f",
		"tftp://h:6969/f":    "tftp://h:6969/f",
		"file:///f":          "file:///f",
		"":                   "", "/f": "", "h": "", "h/": "", "http:///f": "", "h:port/f": "", "ht tp://h/f": "",
	} {
		urls, err := Candidates(text)
		var got []string
		for _, u := range urls {
			got = append(got, u.String())
		}
		if strings.Join(got, " ") != want || (err == nil) != (want != "") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// What is wrong with a URL is said without the password in it.
func TestCandidatesKeepSecrets(t *testing.T) {
	for _, text := range []string{"http://me:secret@[::1/f", "http://me:secret@h:port/f", "http://me:secret@/f",
		"me:secret@h:port/f", "me:secret@h", "ht tp://me:secret@h/f"} {
		if _, err := Candidates(text); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Memory does not grow with the file.
func TestMemoryIsFlat(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(dir + "/big")
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	for kind, s := range servers(t, dir) {
		if kind != "http" && kind != "tftp" {
			continue
		}
		m := newMux(t, Config{StallTimeout: 5 * time.Second})
		allocated := testing.AllocsPerRun(1, func() {
			b, err := m.Open(context.Background(), Request{URL: parseURL(t, s.base+"/big"), Size: size})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if n, err := io.Copy(io.Discard, b); n != size || err != nil {
				t.Error(n, err)
			}
		})
		if allocated > 20_000 {
			t.Errorf("%s: %.0f allocations for %d bytes", kind, allocated, size)
		}
	}
}
