package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// vendor publishes loads into a directory.
type vendor struct {
	t    *testing.T
	base string
	repo *repository.Repository
}

func newVendor(t *testing.T, now func() time.Time) *vendor {
	t.Helper()
	v := &vendor{t: t, base: t.TempDir()}
	var err error
	v.repo, err = repository.Open(repository.Config{Dir: v.base, Keys: filepath.Join(t.TempDir(), "keys"), Now: now})
	if err == nil {
		err = v.repo.Init()
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// add publishes a version of load "fw" with some files.
func (v *vendor) add(version string, files map[string][]byte) *load.Manifest {
	v.t.Helper()
	dir := v.t.TempDir()
	req := publish.Request{Name: "fw", Version: version, Models: []string{"7961"}, Created: time.Now()}
	for _, name := range []string{"boot.bin", "app.bin", "font.bin", "tiny.cfg"} {
		if b, ok := files[name]; ok {
			p := filepath.Join(dir, name)
			if err := os.WriteFile(p, b, 0o644); err != nil {
				v.t.Fatal(err)
			}
			req.Files = append(req.Files, p)
		}
	}
	res, err := publish.Add(v.repo, req)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.Manifest
}

// trustDir returns a new trust directory of a device.
func (v *vendor) trustDir() string {
	v.t.Helper()
	root, _, err := v.repo.ExportRoot()
	if err != nil {
		v.t.Fatal(err)
	}
	dir := v.t.TempDir()
	writeFile(v.t, filepath.Join(dir, trust.PinName), string(root))
	return dir
}

// serve offers the tree over HTTP.
func (v *vendor) serve() *server {
	s := newServer(v.t, nil)
	s.set(func(s *server) { s.handler = http.FileServer(http.Dir(v.base)) })
	return s
}

func firmware(seed byte) map[string][]byte {
	return map[string][]byte{
		"boot.bin": content(seed, 300_000), "app.bin": content(seed+1, 2*mib+5), "font.bin": content(seed+2, mib),
		"tiny.cfg": []byte("x=1\n"),
	}
}

// inDir checks the files of a load.
func inDir(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s in %s has another content", name, dir)
		}
	}
}

// getLoad starts a device that fetches the load.
func (s *site) getLoad(trust string, n int, url string, args ...string) *device {
	return s.getAs(startup{out: filepath.Join(s.dir, addrOf(n), "load") + "/"}, addrOf(n),
		append([]string{url, "--trust", trust, "--model", "7961"}, args...)...)
}

// checkOnce wants every file to have crossed the WAN about once.
func checkOnce(t *testing.T, v *vendor, srv *server, m *load.Manifest) {
	t.Helper()
	var total, sent int64
	for _, c := range m.Components {
		p := "/" + trust.ComponentPath(c.Digest.String(), c.Name)
		if n := srv.sentOf(p); n < c.Size || n > tiny*c.Size {
			t.Errorf("%s: %d bytes from the server, size %d", c.Name, n, c.Size)
		}
		sent += srv.sentOf(p)
		total += c.Size
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	times := map[string]int{}
	for _, r := range srv.requests {
		if strings.HasPrefix(r.path, "/metadata/") || strings.HasSuffix(r.path, ".load") {
			times[r.path]++
		}
	}
	for p, n := range times {
		if n > tiny {
			t.Errorf("%s was asked for %d times", p, n)
		}
	}
	t.Logf("components: %d bytes from the server, load %d; metadata: %v", sent, total, times)
}

func TestLoadOverHTTP(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	v := newVendor(t, nil)
	files := firmware(30)
	m := v.add("1", files)
	srv := v.serve()
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	srv.awaitMeeting(s, 6)
	var ds []*device
	for i := range 6 {
		ds = append(ds, s.getLoad(v.trustDir(), i, "http://"+srv.host+"/fw.load"))
	}
	var last float64
	for _, d := range ds {
		d.wait(0)
		inDir(t, d.out, files)
		f := d.final()
		last = max(last, f.ElapsedS)
		if len(f.Components) != len(files)+1 {
			t.Errorf("%s reports %d components", d.addr, len(f.Components))
		}
		leftovers(t, d.out)
	}
	checkOnce(t, v, srv, m)
	t.Logf("last of 6 after %.2f s, the server's pace alone takes %.2f s", last, float64(3*mib+300_009)/(4*mib))
}

// leftovers: a device that is done leaves no partial file.
func leftovers(t *testing.T, dir string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range es {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s was left in %s", e.Name(), dir)
		}
	}
}

func TestLoadOverTFTP(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	t.Parallel()
	v := newVendor(t, nil)
	files := firmware(40)
	v.add("1", files)
	srv := newTFTP(t, v.base, 4*mib)
	s := newSite(t)
	var ds []*device
	for i := range 6 {
		ds = append(ds, s.getLoad(v.trustDir(), i, "tftp://"+srv.host+"/fw.load"))
	}
	for _, d := range ds {
		d.wait(0)
		inDir(t, d.out, files)
	}
	for name, n := range srv.transfers() {
		if n.ok > tiny && !strings.Contains(name, "root") {
			t.Errorf("%s was transferred %d times", name, n.ok)
		}
		t.Logf("%s: %d transfers, %d bytes", name, n.ok, n.sent)
	}
}

// TestLoadRefused: metadata that must not be believed.
func TestLoadRefused(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	past := func() time.Time { return time.Now().Add(-100 * 24 * time.Hour) }
	for _, c := range []struct {
		name string
		now  func() time.Time
		// prepare gets the server and the trust directory and may change both.
		prepare func(t *testing.T, v *vendor, trust string)
		args    []string
		code    int
		says    string
	}{
		{"wrong model", nil, nil, []string{"--model", "7970"}, 2, "not for this model"},
		{"expired", past, nil, nil, 6, "expired"},
		{"signed by somebody else", nil, func(t *testing.T, v *vendor, dir string) {
			w := newVendor(t, nil)
			root, _, err := w.repo.ExportRoot()
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(dir, trust.PinName), string(root))
		}, nil, 6, "not signed"},
		{"no pinned root", nil, func(t *testing.T, v *vendor, dir string) {
			if err := os.Remove(filepath.Join(dir, trust.PinName)); err != nil {
				t.Fatal(err)
			}
		}, nil, 6, "no pinned root"},
		{"timestamp altered", nil, func(t *testing.T, v *vendor, dir string) {
			alter(t, filepath.Join(v.base, "metadata/timestamp.json"))
		}, nil, 6, ""},
		{"no such load", nil, func(t *testing.T, v *vendor, dir string) {
			if err := os.RemoveAll(filepath.Join(v.base, "metadata")); err != nil {
				t.Fatal(err)
			}
		}, nil, 7, "does not exist"},
		{"component altered", nil, func(t *testing.T, v *vendor, dir string) {
			es, err := filepath.Glob(filepath.Join(v.base, "components/*.app.bin"))
			if err != nil || len(es) != 1 {
				t.Fatal(es, err)
			}
			alter(t, es[0])
		}, nil, 3, "not the file"},
		{"component longer", nil, func(t *testing.T, v *vendor, dir string) {
			es, _ := filepath.Glob(filepath.Join(v.base, "components/*.app.bin"))
			f, err := os.OpenFile(es[0], os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteString("more"); err != nil {
				t.Fatal(err)
			}
		}, nil, 4, "sends more"},
		{"component missing", nil, func(t *testing.T, v *vendor, dir string) {
			es, _ := filepath.Glob(filepath.Join(v.base, "components/*.font.bin"))
			if err := os.Remove(es[0]); err != nil {
				t.Fatal(err)
			}
		}, nil, 7, "does not exist"},
	} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d devices", c.name, n), func(t *testing.T) {
				t.Parallel()
				v := newVendor(t, c.now)
				files := firmware(50)
				v.add("1", files)
				srv := v.serve()
				s := newSite(t)
				var ds []*device
				dir := v.trustDir()
				if c.prepare != nil {
					c.prepare(t, v, dir)
				}
				for i := range n {
					own := t.TempDir()
					if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
						t.Fatal(err)
					}
					ds = append(ds, s.getLoad(own, i, "http://"+srv.host+"/fw.load", c.args...))
				}
				for _, d := range ds {
					d.wait(c.code)
					if !strings.Contains(d.lastError(), c.says) {
						t.Errorf("%s says %q, want %q in it", d.addr, d.lastError(), c.says)
					}
					for name := range files {
						if _, err := os.Stat(filepath.Join(d.out, name)); err == nil {
							t.Errorf("%s: %s has its name", d.addr, name)
						}
					}
				}
				t.Logf("%v: %s", ds[n-1].took, ds[n-1].lastError())
			})
		}
	}
}

// alter flips a bit in the middle of a file.
func alter(t *testing.T, name string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRolledBack: a device that has seen version 2 does not take version 1.
func TestRolledBack(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	v := newVendor(t, nil)
	v.add("1", firmware(60))
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(v.base)); err != nil {
		t.Fatal(err)
	}
	second := firmware(65)
	v.add("2", second)
	srv := v.serve()
	s := newSite(t)
	own := v.trustDir()
	a := s.getLoad(own, 0, "http://"+srv.host+"/fw.load")
	a.wait(0)
	srv.set(func(s *server) { s.handler = http.FileServer(http.Dir(old)) })
	b := s.getLoad(own, 0, "http://"+srv.host+"/fw.load")
	b.wait(6)
	if !strings.Contains(b.lastError(), "older") {
		t.Errorf("it says %q", b.lastError())
	}
	inDir(t, a.out, second)
}

// TestBundlesLeft: metadata that a killed process left goes with the next run.
func TestBundlesLeft(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	v := newVendor(t, nil)
	v.add("1", firmware(80))
	srv := v.serve()
	s := newSite(t)
	url := "http://" + srv.host + "/fw.load"
	d := s.getLoad(v.trustDir(), 0, url, "--limit-rate", "1M")
	d.until("a quarter of a file", isProgress(25))
	d.signal(syscall.SIGKILL)
	<-d.ended
	left := filepath.Join(d.state, ".bundle-*")
	if found, _ := filepath.Glob(left); len(found) == 0 {
		t.Fatal("the killed process left nothing")
	}
	s.getLoad(v.trustDir(), 0, url).wait(0)
	if found, _ := filepath.Glob(left); len(found) > 0 {
		t.Errorf("still there: %v", found)
	}
}

func TestSlots(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	v := newVendor(t, nil)
	one := firmware(70)
	v.add("1", one)
	srv := v.serve()
	s := newSite(t)
	run := func() *device {
		d := s.getLoad(v.trustDir(), 0, "http://"+srv.host+"/fw.load", "--slots")
		d.wait(0)
		return d
	}
	d := run()
	current := filepath.Join(d.out, "current")
	inDir(t, current, one)
	first, err := filepath.EvalSymlinks(current)
	if err != nil {
		t.Fatal(err)
	}
	// Another version that shares a component with the first.
	two := firmware(80)
	two["font.bin"] = one["font.bin"]
	m := v.add("2", two)
	run()
	inDir(t, current, two)
	inDir(t, first, one)
	second, _ := filepath.EvalSymlinks(current)
	if first == second {
		t.Errorf("both versions in %s", first)
	}
	// The same again changes nothing and asks for no component.
	n := len(srv.asked("/" + trust.ComponentPath(m.Components[0].Digest.String(), m.Components[0].Name)))
	f := run().final()
	inDir(t, current, two)
	inDir(t, first, one)
	if k := len(srv.asked("/" + trust.ComponentPath(m.Components[0].Digest.String(), m.Components[0].Name))); k != n {
		t.Errorf("a run with nothing to do asked for a component %d times", k-n)
	}
	t.Logf("third run: source %s, %d bytes from the server", f.Source, f.BytesFromOrigin)
}

// TestLoadWithALiar: a peer that sends wrong bytes of a signed component.
func TestLoadWithALiar(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	v := newVendor(t, nil)
	files := firmware(90)
	m := v.add("1", files)
	srv := v.serve()
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	var app load.Component
	for _, c := range m.Components {
		if c.Name == "app.bin" {
			app = c
		}
	}
	l := newLiar(t, s, "127.6.6.6", app.Digest, groupOf("7961"),
		&liar{size: app.Size, chunk: flipped(files["app.bin"], 5)})
	var ds []*device
	for i := range 4 {
		ds = append(ds, s.getLoad(v.trustDir(), i, "http://"+srv.host+"/fw.load"))
	}
	for _, d := range ds {
		d.wait(0)
		inDir(t, d.out, files)
	}
	if l.children.Load() == 0 {
		t.Error("nobody believed the liar: the test shows nothing")
	}
	sent := srv.sentOf("/" + trust.ComponentPath(app.Digest.String(), app.Name))
	t.Logf("%d bytes of app.bin from the server, size %d; %d links to the liar", sent, app.Size, l.children.Load())
	if sent > tiny*app.Size {
		t.Errorf("%d bytes of app.bin from the server", sent)
	}
}

// TestPathTraversal: names that lead out of the directory.
func TestPathTraversal(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	srv := newServer(t, content(1, 1000))
	evil := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "evil") })
	srv.set(func(s *server) { s.handler = evil })
	s := newSite(t)
	for _, u := range []string{"/..%2f..%2fevil", "/a/%2e%2e", "/..%5cevil", "/fw/%00evil", "/.hidden",
		"/%2e%2e%2fevil%2f"} {
		out := filepath.Join(s.dir, "in") + "/"
		d := s.getAs(startup{out: out}, addrOf(0), "http://"+srv.host+u, "--unsigned", "--peers", "off")
		<-d.ended
		t.Logf("%s: %d %s", u, d.code, d.lastError())
		if d.code != 2 && d.code != 0 {
			t.Errorf("%s ended with %d: %s", u, d.code, d.lastError())
		}
	}
	es, err := os.ReadDir(filepath.Join(s.dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.Name() != "evil" {
			t.Errorf("%s was written", e.Name())
		}
	}
	err = filepath.WalkDir(s.dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(e.Name(), "evil") && p != filepath.Join(s.dir, "in", "evil") {
			t.Errorf("%s was written", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
