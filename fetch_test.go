package peerload_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// files is a server with a few files. What is not there it does not know;
// /slow never ends.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := content[r.URL.Path]
		switch {
		case r.URL.Path == "/slow":
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write([]byte("begun"))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case !ok:
			http.NotFound(w, r)
		default:
			_, _ = w.Write([]byte(text))
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// alone is a request of a device without peers that tries a server once.
func alone(t *testing.T, url string) peerload.Request {
	t.Helper()
	dir := t.TempDir()
	return peerload.Request{
		URLs: []string{url}, Proof: peerload.Unsigned(),
		State: filepath.Join(dir, "state"), Output: filepath.Join(dir, "out"),
		Peers: peerload.Peers{Off: true}, Server: peerload.Server{Retries: new(0)},
	}
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s holds %q, want %q: %v", path, b, want, err)
	}
}

// TestFetchTells: events come in order and one at a time, the last of a file is that it
// is done, but for what is still sent to its hierarchy, and what is returned is the same.
func TestFetchTells(t *testing.T) {
	url := files(t, map[string]string{"/a.bin": "aaa", "/b.bin": "bb"})
	r := alone(t, url+"/a.bin")
	r.URLs = append(r.URLs, url+"/b.bin")
	kinds := map[string][]string{}
	var done []report.Final
	r.Events = func(e report.Event) { // without a lock: the race detector sees two at a time
		if e.Schema != report.Schema || e.Time == "" || len(e.Device) != 16 {
			t.Errorf("not whole: %+v", e)
		}
		kinds[e.File] = append(kinds[e.File], e.Event)
		if e.Event == report.KindDone {
			done = append(done, *e.Final)
		}
	}
	finals, err := peerload.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(finals) != 2 || len(done) != 2 {
		t.Fatalf("%d reports, %d files done", len(finals), len(done))
	}
	for i, name := range []string{"a.bin", "b.bin"} {
		ks := kinds[name]
		for len(ks) > 0 && ks[len(ks)-1] == report.KindLog {
			ks = ks[:len(ks)-1]
		}
		if len(ks) < 3 || ks[0] != report.KindStart || ks[len(ks)-1] != report.KindDone {
			t.Errorf("%s: events %q", name, ks)
		}
		f := finals[i]
		if f.File != name || f.SHA256 != done[i].SHA256 || f.Path != filepath.Join(r.Output, name) || !f.Unsigned {
			t.Errorf("report %+v", f)
		}
	}
	holds(t, filepath.Join(r.Output, "a.bin"), "aaa")
	holds(t, filepath.Join(r.Output, "b.bin"), "bb")
}

// TestFetchHostPath: a URL without a scheme is tried over HTTP, here on the
// port that it names, and gets the name that Output says.
func TestFetchHostPath(t *testing.T) {
	url := files(t, map[string]string{"/a.bin": "aaa"})
	r := alone(t, strings.TrimPrefix(url, "http://")+"/a.bin")
	r.Proof = peerload.SHA256(sha256.Sum256([]byte("aaa")))
	finals, err := peerload.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if f := finals[0]; f.Path != r.Output || f.Unsigned || f.BytesFromOrigin != 3 {
		t.Errorf("%+v", f)
	}
	holds(t, r.Output, "aaa")
}

// TestFetchClassicLoad: the text of an unsigned load brings its components.
func TestFetchClassicLoad(t *testing.T) {
	list, err := os.ReadFile(filepath.Join("load", "testdata", "plain.loads"))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := load.ParseLoads(list)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{"/fw/x.loads": string(list)}
	for _, c := range parsed.Components {
		content["/fw/"+c] = "content of " + c
	}
	r := alone(t, files(t, content)+"/fw/x.loads")
	finals, err := peerload.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(finals) != 1 || len(finals[0].Components) != len(parsed.Components)+1 {
		t.Errorf("%+v", finals)
	}
	for _, c := range parsed.Components {
		holds(t, filepath.Join(r.Output, c), "content of "+c)
	}
}

// published makes a signed load "phone" for one model and returns its server
// and a directory that trusts its publisher.
func published(t *testing.T) (url, trusted string) {
	t.Helper()
	tree, work := t.TempDir(), t.TempDir()
	app := filepath.Join(work, "app.bin")
	repo, err := repository.Open(repository.Config{Dir: tree, Keys: filepath.Join(work, "keys")})
	if err == nil {
		err = errors.Join(repo.Init(), os.WriteFile(app, []byte("the app"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	req := publish.Request{Name: "phone", Version: "1", Models: []string{"7961"}, Files: []string{app}}
	if _, err := publish.Add(repo, req); err != nil {
		t.Fatal(err)
	}
	root, _, err := repo.ExportRoot()
	trusted = t.TempDir()
	if err = errors.Join(err, os.WriteFile(filepath.Join(trusted, trust.PinName), root, 0o644)); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(tree)))
	t.Cleanup(srv.Close)
	return srv.URL + "/phone.load", trusted
}

// TestFetchSignedLoad: a load goes into a slot, and current names it.
func TestFetchSignedLoad(t *testing.T) {
	url, trusted := published(t)
	r := alone(t, url)
	r.Proof, r.Model, r.Slots = peerload.Trust(trusted), "7961", true
	finals, err := peerload.Fetch(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(finals) != 1 || finals[0].File != "phone.load" || finals[0].Unsigned {
		t.Errorf("%+v", finals)
	}
	holds(t, filepath.Join(r.Output, "current", "app.bin"), "the app")
}

// TestErrors: each kind of error, from a real server.
func TestErrors(t *testing.T) {
	url := files(t, map[string]string{"/a.bin": "aaa"})
	signed, trusted := published(t)
	for _, c := range []struct {
		name, url string
		set       func(*peerload.Request)
		want      error
		reason    string // of the event; "": no file has begun
	}{
		{"no proof", url + "/a.bin", func(r *peerload.Request) { r.Proof = peerload.Proof{} }, peerload.ErrRequest, ""},
		{"bad name", url + "/%2e%2e", func(r *peerload.Request) { r.Output += "/" }, peerload.ErrRequest, ""},
		{"no such interface", url + "/a.bin", func(r *peerload.Request) {
			r.Peers = peerload.Peers{Interface: "none-such"}
		}, peerload.ErrRequest, ""},
		{"no such address", url + "/a.bin", func(r *peerload.Request) {
			r.Peers = peerload.Peers{Address: netip.MustParsePrefix("192.0.2.77/24")}
		}, peerload.ErrRequest, ""},
		{"prefix longer than its address", url + "/a.bin", func(r *peerload.Request) {
			r.Peers = peerload.Peers{Address: netip.PrefixFrom(netip.MustParseAddr("127.0.0.1"), 33)}
		}, peerload.ErrRequest, ""},
		{"other model", signed, func(r *peerload.Request) {
			r.Proof, r.Model = peerload.Trust(trusted), "7970"
		}, peerload.ErrRequest, "wrong-model"},
		{"wrong digest", url + "/a.bin", func(r *peerload.Request) {
			r.Proof = peerload.SHA256(load.DigestOf([]byte("b")))
		}, peerload.ErrVerify, "origin-wrong"},
		{"no such file", url + "/gone.bin", func(*peerload.Request) {}, peerload.ErrServer, "origin-not-found"},
		{"nobody there", "http://127.0.0.1:1/a.bin", func(*peerload.Request) {}, peerload.ErrServer, "origin-unreachable"},
		{"nobody there in time", url + "/a.bin", func(r *peerload.Request) {
			r.Server.ConnectTimeout = 1
		}, peerload.ErrServer, "origin-unreachable"},
		{"file where a directory should be", url + "/a.bin", func(r *peerload.Request) {
			r.Output = filepath.Join(os.Args[0], "out")
		}, peerload.ErrDisk, "disk"},
		{"state that is a file", url + "/a.bin", func(r *peerload.Request) { r.State = os.Args[0] }, peerload.ErrDisk, ""},
		{"no pinned root", signed, func(r *peerload.Request) {
			r.Proof = peerload.Trust(t.TempDir())
		}, peerload.ErrTrust, "trust"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := alone(t, c.url)
			c.set(&r)
			var told []string
			r.Events = func(e report.Event) {
				if e.Event == report.KindFailed {
					told = append(told, e.Reason)
				}
			}
			finals, err := peerload.Fetch(t.Context(), r)
			if !errors.Is(err, c.want) || len(finals) > 0 {
				t.Errorf("%v, %+v; want %v", err, finals, c.want)
			}
			kinds := 0
			for _, k := range []error{peerload.ErrRequest, peerload.ErrVerify, peerload.ErrServer, peerload.ErrNoNetwork,
				peerload.ErrDisk, peerload.ErrTrust, context.Canceled, context.DeadlineExceeded} {
				if errors.Is(err, k) {
					kinds++
				}
			}
			if kinds != 1 {
				t.Errorf("%v is of %d kinds", err, kinds)
			}
			if got := strings.Join(told, " "); got != c.reason {
				t.Errorf("told %q, want %q", got, c.reason)
			}
		})
	}
}

// TestFailsAfterSome: what was in place before the failure is reported.
func TestFailsAfterSome(t *testing.T) {
	url := files(t, map[string]string{"/a.bin": "aaa"})
	r := alone(t, url+"/a.bin")
	r.URLs = append(r.URLs, url+"/gone.bin")
	finals, err := peerload.Fetch(t.Context(), r)
	if !errors.Is(err, peerload.ErrServer) || len(finals) != 1 || finals[0].File != "a.bin" {
		t.Errorf("%v, %+v", err, finals)
	}
	holds(t, filepath.Join(r.Output, "a.bin"), "aaa")
}

// TestEndedByContext: a Fetch that its context ended says so, and why.
func TestEndedByContext(t *testing.T) {
	url := files(t, nil)
	because := errors.New("the window of the night is over")
	for _, c := range []struct {
		name string
		ctx  func() (context.Context, context.CancelFunc)
		want []error
	}{
		{"cancelled", func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(t.Context())
			return ctx, func() { cancel(because) }
		}, []error{context.Canceled, because}},
		{"late", func() (context.Context, context.CancelFunc) {
			return context.WithDeadline(t.Context(), time.Now())
		}, []error{context.DeadlineExceeded}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := alone(t, url+"/slow")
			ctx, end := c.ctx()
			defer end()
			var last report.Event
			r.Events = func(e report.Event) {
				if e.Event == report.KindSource {
					end() // it downloads
				}
				last = e
			}
			_, err := peerload.Fetch(ctx, r)
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v is not %v", err, want)
				}
			}
			if errors.Is(err, peerload.ErrRequest) || last.Event != report.KindFailed || last.Reason != "stopped" {
				t.Errorf("%v, last event %s %s", err, last.Event, last.Reason)
			}
		})
	}
}

// TestEndedBefore: a context that has ended is the error even if the file is in
// place already.
func TestEndedBefore(t *testing.T) {
	r := alone(t, files(t, nil)+"/a.bin")
	r.Proof = peerload.SHA256(load.DigestOf([]byte("aaa")))
	if err := os.WriteFile(r.Output, []byte("aaa"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 16 { // which of two is ready first is chance
		if finals, err := peerload.Fetch(ctx, r); !errors.Is(err, context.Canceled) || len(finals) > 0 {
			t.Fatalf("%v, %+v", err, finals)
		}
	}
}

// TestWarn: a model that cannot share is fetched for the classic way, and that
// is said.
func TestWarn(t *testing.T) {
	url := files(t, map[string]string{"/a.bin": "aaa"})
	r := alone(t, url+"/a.bin")
	r.Peers.Off, r.Model = false, "CP-7960G"
	var said []string
	r.Warn = func(message string) { said = append(said, message) }
	finals, err := peerload.Fetch(t.Context(), r)
	if err != nil || finals[0].Role != report.RoleClassic || len(said) != 1 || !strings.Contains(said[0], r.Model) {
		t.Errorf("%v, %+v, said %q", err, finals, said)
	}
}

// TestWarnPanics: a program that recovers from its own panic keeps no ports.
func TestWarnPanics(t *testing.T) {
	other, err := net.ListenPacket("udp4", "0.0.0.0:0") // so that broadcasts cannot be heard
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	r := alone(t, "http://127.0.0.1:1/a.bin")
	r.Peers = peerload.Peers{
		Address: netip.MustParsePrefix("127.0.0.1/8"), Port: uint16(other.LocalAddr().(*net.UDPAddr).Port),
	}
	r.Warn = func(message string) { panic(message) }
	said := func() (said any) {
		defer func() { said = recover() }()
		_, err := peerload.Fetch(t.Context(), r)
		return err
	}
	descriptors := func() int {
		d, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no descriptors to count:", err)
		}
		return len(d)
	}
	if text, ok := said().(string); !ok || !strings.Contains(text, "broadcasts") {
		t.Fatalf("no warning, but %v", text)
	}
	before := descriptors()
	for range 8 {
		said()
	}
	if after := descriptors(); after > before+4 {
		t.Errorf("%d descriptors became %d", before, after)
	}
}

// inside marks a run of this test that has no network.
const inside = "PEERLOAD_TEST_NO_NETWORK"

// TestNoNetworkYet: a host without an address is an error of its own, since
// trying again later helps.
func TestNoNetworkYet(t *testing.T) {
	if os.Getenv(inside) != "" {
		r := alone(t, "http://192.0.2.1/a.bin")
		r.Peers.Off = false
		if _, err := peerload.Fetch(t.Context(), r); !errors.Is(err, peerload.ErrNoNetwork) {
			t.Errorf("%v", err)
		}
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^TestNoNetworkYet$", "-test.v")
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Skip("no namespaces here:", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestNoNetworkYet") {
		t.Errorf("%v: %s", err, out)
	}
}
