package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// publisher is a server of a signed load with one component.
type publisher struct {
	*httptest.Server
	app, trust string // where its component is, and the directory of what is pinned
	content    []byte
	sent       atomic.Int64 // bytes of the component
	// gate holds the component behind half of it until it is closed; wrong changes its
	// byte at that offset, -1 for none.
	gate  chan struct{}
	wrong int
}

func newPublisher(t *testing.T, content []byte) *publisher {
	t.Helper()
	p := &publisher{content: content, trust: t.TempDir(), wrong: -1}
	dir := t.TempDir()
	repo, err := repository.Open(repository.Config{Dir: dir, Keys: filepath.Join(t.TempDir(), "keys")})
	if err == nil {
		err = repo.Init()
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := load.Describe("app.bin", bytes.NewReader(content), int64(len(content)))
	if err == nil {
		m := &load.Manifest{Name: "fw", Version: "1", Models: []string{"linux"}, Components: []load.Component{c}}
		err = repo.Add(m, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	}
	pin, _, exported := repo.ExportRoot()
	if err = errors.Join(err, exported, os.WriteFile(filepath.Join(p.trust, trust.PinName), pin, 0o644)); err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(dir))
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, ".app.bin") {
			files.ServeHTTP(w, r)
			return
		}
		b := bytes.Clone(content)
		if p.wrong >= 0 {
			b[p.wrong]++
		}
		g := &gated{w, &farm{}, p.gate, len(b) / 2}
		http.ServeContent(g, r, "", time.Time{}, bytes.NewReader(b))
		p.sent.Add(g.f.sent.Load())
	}))
	t.Cleanup(p.Close)
	p.app = p.URL + "/" + trust.ComponentPath(c.Digest.String(), c.Name)
	return p
}

// TestLoad: what a publisher has signed for is handed on chunk by chunk, each verified,
// without a rule that streams: before the whole file is here, at any offset that is, and
// one copy for all.
func TestLoad(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, content(20*load.MinChunkSize+77, 40))
	p.gate = make(chan struct{})
	hosts := newHosts(t, 3, p.URL+"/** trust="+p.trust+" sidecar=fw.load")
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() {
			resp, got, err := get(h.via(t), "GET", p.app, "Range", "bytes=200000-399999")
			if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, p.content[200_000:400_000]) {
				t.Errorf("host %d: a part, before the rest is here: %v, %d bytes, %v", i, resp, len(got), err)
			}
		})
	}
	wg.Wait() // none of them has had the whole file: the publisher holds half of it back
	resp, err := hosts[0].via(t).Get(p.app)
	if err != nil || resp.ContentLength != int64(len(p.content)) {
		t.Fatal(resp, err)
	}
	first := make([]byte, 500_000)
	if _, err := io.ReadFull(resp.Body, first); err != nil {
		t.Fatal(err)
	}
	close(p.gate)
	rest, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !bytes.Equal(append(first, rest...), p.content) {
		t.Errorf("%d bytes, %v", len(first)+len(rest), err)
	}
	all(t, hosts, p.app, p.content)
	if n := p.sent.Load(); n > int64(len(p.content)) {
		t.Errorf("the server sent %d bytes of %d", n, len(p.content))
	}
	for i, h := range hosts {
		if n := h.Status().Requests[reason.ProxyByLoad]; n < 2 {
			t.Errorf("host %d: %+v", i, h.Status())
		}
	}
}

// TestLoadWrong: of a component with a wrong chunk no client gets a byte of that chunk,
// whatever it asks for, though it gets what is right at once.
func TestLoadWrong(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	p := newPublisher(t, content(20*load.MinChunkSize, 41))
	p.wrong = 10*load.MinChunkSize + 5
	h := newHosts(t, 1, p.URL+"/** trust="+p.trust+" sidecar=fw.load stream")[0]
	for _, fields := range [][]string{nil, {"Range", "bytes=100000-"}, {"Range", "bytes=0-1000000"}} {
		from := 0
		if len(fields) > 0 {
			_, _ = fmt.Sscanf(fields[1], "bytes=%d-", &from)
		}
		resp, got, err := get(h.via(t), "GET", p.app, fields...)
		if err == nil && resp.StatusCode < 500 {
			t.Errorf("%v: %v, %d bytes, and no error", fields, resp.Status, len(got))
		}
		if err == nil && resp.StatusCode >= 500 {
			continue // it says so in words
		}
		if len(got) > 10*load.MinChunkSize-from || !bytes.Equal(got, p.content[from:from+len(got)]) {
			t.Errorf("%v: %d bytes, not those of the component", fields, len(got))
		}
	}
	if n, _ := h.keep.total(); n != 0 {
		t.Error("a wrong copy was kept")
	}
}

// TestLoadRefused: what is not signed by the publisher that the rule names tells
// nothing, and a directory without a publisher is refused at the start.
func TestLoadRefused(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	p, other := newPublisher(t, content(200_000, 42)), newPublisher(t, content(200_000, 43))
	h := newHosts(t, 1, p.URL+"/** trust="+other.trust+" sidecar=fw.load")[0]
	for _, u := range []string{p.URL + "/fw.load", p.URL + "/app.bin", p.app} {
		resp, _, err := get(h.via(t), "GET", u)
		if err != nil || resp.StatusCode != http.StatusOK && !strings.HasSuffix(u, "/app.bin") {
			t.Errorf("%s: %v, %v", u, resp, err)
		}
	}
	if s := h.Status(); s.Known != 0 {
		t.Errorf("it believes another publisher: %+v", s)
	}
	_, err := New(Config{Dir: t.TempDir(), Device: h.cfg.Device,
		Rules: parseRules(t, []string{"http://a/** trust=" + t.TempDir()})})
	if err == nil || !strings.Contains(err.Error(), "trust=") || !strings.Contains(err.Error(), trust.PinName) {
		t.Errorf("a directory without a publisher: %v", err)
	}
}

// TestStreaming: RAUC streams a bundle by requests of its own kind: the first four bytes,
// which must come as a part that tells the whole size, the size of the signature in the
// last eight, the signature before it, then what its block device is asked for, in any
// order and several at a time. With a signed table each comes when it is here; one copy
// crosses the line.
func TestStreaming(t *testing.T) {
	t.Parallel()
	p := newPublisher(t, content(30*load.MinChunkSize+1234, 44))
	h := newHosts(t, 1, p.URL+"/** trust="+p.trust+" sidecar=fw.load")[0]
	size := len(p.content)
	part := func(from, to int) error {
		resp, got, err := get(http.DefaultClient, "GET", h.mirror(p.app), "Range", fmt.Sprintf("bytes=%d-%d", from, to),
			"User-Agent", "rauc/1.8")
		if err == nil && (resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, p.content[from:to+1]) ||
			resp.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", from, to, size)) {
			err = fmt.Errorf("%s, %s, %d bytes", resp.Status, resp.Header.Get("Content-Range"), len(got))
		}
		return err
	}
	const signature, block, flight = 1700, 32 << 10, 8
	for _, at := range [][2]int{{0, 3}, {size - 8, size - 1}, {size - 8 - signature, size - 9}} {
		if err := part(at[0], at[1]); err != nil {
			t.Fatalf("%d to %d: %v", at[0], at[1], err)
		}
	}
	var wg sync.WaitGroup
	for lane := range flight {
		wg.Go(func() {
			for i := lane; i*block < size; i += flight {
				from := (size/block - i) * block // from the end, where the tree of hashes is
				if err := part(from, min(from+block, size)-1); err != nil {
					t.Errorf("%d: %v", from, err)
				}
			}
		})
	}
	wg.Wait()
	if n := p.sent.Load(); n > int64(size) {
		t.Errorf("the server sent %d bytes of %d", n, size)
	}
}
