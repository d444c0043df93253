package origin

import (
	"bytes"
	"context"
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
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/tftp"
)

func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

const (
	stallTime = 300 * time.Millisecond
	fileSize  = 300_001
)

func newMux(t *testing.T, cfg Config) *Mux {
	t.Helper()
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func parseURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// get opens and reads to the end.
func get(m *Mux, r Request) ([]byte, *Body, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := m.Open(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	return got, b, err
}

// server is one kind of origin under test.
type server struct {
	base    string // URL of the directory, without a slash at its end
	resumes bool
	tagged  bool // has strong validators
	// faults: the names "truncated", "too-much" and "stalled" misbehave after
	// 100,000 bytes of fileSize.
	faults bool
}

// servers starts every kind of origin for dir.
func servers(t *testing.T, dir string) map[string]server {
	t.Helper()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serveHTTP(w, r, dir) }))
	t.Cleanup(plain.Close)
	all := map[string]server{
		"http": {base: plain.URL, resumes: true, tagged: true, faults: true},
		"file": {base: "file://" + dir, resumes: true},
	}
	all["tftp"] = server{base: "tftp://" + serveTFTP(t, dir), resumes: true, faults: true}
	all["tftp without offset"] = server{base: "tftp://" + dropOffset(t, strings.TrimPrefix(all["tftp"].base, "tftp://"))}
	return all
}

func serveHTTP(w http.ResponseWriter, r *http.Request, dir string) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	half := content(fileSize)[:100_000]
	switch name {
	case "truncated":
		w.Header().Set("Content-Length", fmt.Sprint(fileSize))
		w.Write(half)
	case "too-much": // no length, and it does not end
		for r.Context().Err() == nil {
			if _, err := w.Write(half); err != nil {
				return
			}
		}
	case "stalled":
		w.Header().Set("Content-Length", fmt.Sprint(fileSize))
		w.Write(half)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		f, err := os.Open(filepath.Join(dir, filepath.Base(name)))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		defer f.Close()
		if name != "untagged" {
			w.Header().Set("ETag", `"tag-1"`)
		}
		http.ServeContent(w, r, name, time.Unix(1_000_000, 0), f)
	}
}

// faultyFile ends early, grows, or blocks after 100,000 bytes.
type faultyFile struct {
	kind string
	stop chan struct{}
}

func (f faultyFile) Size() int64 {
	if f.kind == "too-much" {
		return load.MaxFileSize
	}
	return fileSize
}
func (f faultyFile) Close() error { return nil }
func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > 100_000 {
		if f.kind == "stalled" {
			<-f.stop
		}
		return 0, io.EOF
	}
	return len(p), nil
}

type faultyFiles struct {
	tftp.Opener
	stop chan struct{}
}

func (f faultyFiles) Open(name string, client netip.AddrPort) (tftp.File, error) {
	if name == "truncated" || name == "too-much" || name == "stalled" {
		return faultyFile{name, f.stop}, nil
	}
	return f.Opener.Open(name, client)
}

func serveTFTP(t *testing.T, dir string) string {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	s := &tftp.Server{Files: faultyFiles{tftp.Dir(root), stop}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, pc) }()
	t.Cleanup(func() {
		cancel()
		close(stop)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return pc.LocalAddr().String()
}

// dropOffset is a TFTP server that does not know the offset option: it stands
// before one that does, and makes the option unknown in the request.
func dropOffset(t *testing.T, behind string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp4", behind)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			b := make([]byte, 2048)
			n, client, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			go relay(conn, client, to, bytes.Replace(b[:n], []byte("\x00offset\x00"), []byte("\x00foreign\x00"), 1))
		}
	}()
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// relay carries one transfer between a client and the server behind.
func relay(listener net.PacketConn, client net.Addr, server *net.UDPAddr, request []byte) {
	front, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer front.Close()
	back, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return
	}
	defer back.Close()
	back.WriteTo(request, server)
	tid := make(chan net.Addr, 1)
	go func() {
		peer := <-tid
		b := make([]byte, 65536)
		for {
			n, _, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			back.WriteTo(b[:n], peer)
		}
	}()
	b := make([]byte, 65536)
	for told := false; ; {
		back.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, from, err := back.ReadFrom(b)
		if err != nil {
			return
		}
		if !told {
			tid <- from
			told = true
		}
		front.WriteTo(b[:n], client)
	}
}

// TestConformance runs one suite over every kind of origin.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		os.Chmod(d, 0o755) // nginx may drop its rights
	}
	want := content(fileSize)
	for name, data := range map[string][]byte{"f": want, "untagged": want, "empty": nil} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for kind, s := range servers(t, dir) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			conform(t, s, want)
		})
	}
	t.Run("nginx", func(t *testing.T) {
		t.Parallel()
		base := foreign.Nginx(t, dir, "access_log off; gzip on; gzip_types *;")
		conform(t, server{base: base, resumes: true, tagged: true}, want)
	})
}

func conform(t *testing.T, s server, want []byte) {
	m := newMux(t, Config{})
	at := func(name string) *url.URL { return parseURL(t, s.base+"/"+name) }
	check := func(what string, r Request, offset int64) *Body {
		t.Helper()
		got, b, err := get(m, r)
		if err != nil || !bytes.Equal(got, want[offset:]) || b.Offset != offset || b.Size != fileSize ||
			b.Scheme != r.URL.Scheme {
			t.Fatalf("%s: %d bytes, %+v, %v", what, len(got), b, err)
		}
		return b
	}
	whole := check("whole", Request{URL: at("f"), Size: load.UnknownSize}, 0)
	if (whole.Validator != "") != s.tagged {
		t.Errorf("validator %q", whole.Validator)
	}
	check("whole, size known", Request{URL: at("f"), Size: fileSize}, 0)
	for _, offset := range []int64{1, 65536, fileSize - 1, fileSize} {
		granted := offset
		if !s.resumes {
			granted = 0
		}
		check("resume", Request{URL: at("f"), Size: fileSize, Offset: offset, Validator: whole.Validator}, granted)
		check("resume without validator", Request{URL: at("f"), Size: load.UnknownSize, Offset: offset}, granted)
		if s.tagged {
			check("resume of another content", Request{URL: at("f"), Size: fileSize, Offset: offset, Validator: `"other"`}, 0)
		}
	}
	check("resume beyond the end", Request{URL: at("f"), Size: load.UnknownSize, Offset: fileSize + 1}, 0)
	if got, b, err := get(m, Request{URL: at("empty"), Size: load.UnknownSize}); err != nil || len(got) != 0 ||
		b.Size != 0 {
		t.Errorf("empty: %d bytes, %+v, %v", len(got), b, err)
	}

	fails := func(what string, r Request, is error, code string) {
		t.Helper()
		got, _, err := get(m, r)
		if !errors.Is(err, is) || Reason(err) != code || len(got) > fileSize {
			t.Errorf("%s: %d bytes, %v (%s), want %s", what, len(got), err, Reason(err), code)
		}
	}
	fails("missing", Request{URL: at("missing"), Size: load.UnknownSize}, ErrNotFound, "not-found")
	fails("larger than expected", Request{URL: at("f"), Size: fileSize - 1}, ErrTooMuch, "too-much")
	fails("smaller than expected", Request{URL: at("f"), Size: fileSize + 1}, ErrTruncated, "truncated")
	if s.faults {
		fails("too much", Request{URL: at("too-much"), Size: fileSize}, ErrTooMuch, "too-much")
		hasty := newMux(t, Config{StallTimeout: stallTime})
		if got, _, err := get(hasty, Request{URL: at("stalled"), Size: fileSize}); !errors.Is(err, ErrStalled) ||
			Reason(err) != "stalled" || len(got) > fileSize {
			t.Errorf("stalled: %d bytes, %v (%s)", len(got), err, Reason(err))
		}
	}
	if s.faults && strings.HasPrefix(s.base, "http") {
		fails("truncated", Request{URL: at("truncated"), Size: fileSize}, ErrTruncated, "truncated")
	} else if s.faults { // the server notices that its file ends too early and says so
		fails("truncated", Request{URL: at("truncated"), Size: fileSize}, &tftp.Error{}, "other")
	}
	cancelled(t, m, at("f"))
	limited(t, at("f"), want)
}

func cancelled(t *testing.T, m *Mux, u *url.URL) {
	ctx, cancel := context.WithCancelCause(context.Background())
	b, err := m.Open(ctx, Request{URL: u, Size: fileSize})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	cancel(why)
	if n, err := io.Copy(io.Discard, b); !errors.Is(err, why) {
		t.Errorf("cancelled: %d bytes, %v", n, err)
	}
	if _, err := m.Open(ctx, Request{URL: u, Size: fileSize}); u.Scheme != "file" && !errors.Is(err, why) {
		t.Errorf("opened though cancelled: %v", err)
	}
}

// limited reads at a rate that makes the file last 0.4 s. The tests of package
// ratelimit check the rate itself; this one checks that it is applied.
func limited(t *testing.T, u *url.URL, want []byte) {
	m := newMux(t, Config{LimitRate: fileSize * 10 / 4})
	start := time.Now()
	got, _, err := get(m, Request{URL: u, Size: fileSize})
	if took := time.Since(start); err != nil || !bytes.Equal(got, want) || took < 300*time.Millisecond {
		t.Errorf("rate limit: %d bytes in %v, %v", len(got), took, err)
	}
}
