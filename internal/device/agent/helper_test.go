package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// childConfig is the variable that makes this test program a daemon.
const childConfig = "PEERLOAD_TEST_CONFIG"

func TestMain(m *testing.M) {
	if name := os.Getenv(childConfig); name != "" {
		os.Exit(child(name))
	}
	parallel.Tests(6)
	os.Exit(m.Run())
}

// child runs a daemon until it is told to end.
func child(name string) int {
	var cfg Config
	b, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(b, &cfg)
	}
	var d *Daemon
	if err == nil {
		d, err = New(cfg, Setup{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Program: "test"})
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = d.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// depot is a publisher with a server.
type depot struct {
	t     *testing.T
	dir   string // served
	repo  *repository.Repository
	pin   []byte
	url   string
	rnd   *rand.Rand
	bytes atomic.Int64 // of components
	down  atomic.Bool
	gate  atomic.Pointer[chan struct{}] // requests for components wait for it, if there is one
}

// hold lets requests for components wait until they are let through.
func (d *depot) hold() (letThrough func()) {
	gate := make(chan struct{})
	d.gate.Store(&gate)
	return func() {
		d.gate.Store(nil)
		close(gate)
	}
}

func newDepot(t *testing.T) *depot {
	t.Helper()
	base := t.TempDir()
	d := &depot{t: t, dir: filepath.Join(base, "srv"), rnd: rand.New(rand.NewPCG(1, 2))}
	var err error
	if d.repo, err = repository.Open(repository.Config{Dir: d.dir, Keys: filepath.Join(base, "keys")}); err != nil {
		t.Fatal(err)
	}
	if err := d.repo.Init(); err != nil {
		t.Fatal(err)
	}
	if d.pin, _, err = d.repo.ExportRoot(); err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(d.dir))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if strings.Contains(r.URL.Path, "/components/") && !strings.HasSuffix(r.URL.Path, ".load") {
			if gate := d.gate.Load(); gate != nil {
				select {
				case <-*gate:
				case <-r.Context().Done():
					return
				}
			}
			w = &counting{w, &d.bytes}
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	d.url = s.URL
	return d
}

type counting struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counting) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

// load publishes a load; text is the content of its component "health".
func (d *depot) load(name, text string, size int, models ...string) {
	d.t.Helper()
	src := d.t.TempDir()
	app := make([]byte, size)
	for i := range app {
		app[i] = byte(d.rnd.Uint32())
	}
	paths := []string{filepath.Join(src, "app.bin"), filepath.Join(src, "health")}
	for i, b := range [][]byte{app, []byte(text)} {
		if err := os.WriteFile(paths[i], b, 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	if _, err := publish.Add(d.repo, publish.Request{Name: name, Version: "1", Models: models, Files: paths}); err != nil {
		d.t.Fatal(err)
	}
}

// set publishes a file set for a directory.
func (d *depot) set(name, directory string, files map[string]string) {
	d.t.Helper()
	src := d.t.TempDir()
	req := publish.Request{Name: name, Version: "1", Models: []string{"CP-7961G"}, Directory: directory}
	for _, n := range slices.Sorted(maps.Keys(files)) {
		req.Files = append(req.Files, filepath.Join(src, n))
		write(d.t, filepath.Join(src, n), files[n])
	}
	if _, err := publish.Add(d.repo, req); err != nil {
		d.t.Fatal(err)
	}
}

// provision writes the file for all devices.
func (d *depot) provision(text string) { d.write("XMLDefault.cnf.xml", text) }

func (d *depot) write(name, text string) {
	d.t.Helper()
	tmp := filepath.Join(d.dir, "."+name)
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

// sharing is a file for all devices of the two test models.
func withSharing(load61, load41 string) string {
	return `<Default><loadInformation model="CP-7961G">` + load61 + `</loadInformation><loadInformation model="7941">` +
		load41 +
		`</loadInformation><enterpriseConfig><peerFirmwareSharing>1</peerFirmwareSharing></enterpriseConfig></Default>`
}

var hosts atomic.Int32

// subnet is one of its own on loopback: a port that nobody else has.
type subnet struct {
	t    *testing.T
	port uint16
}

func newSubnet(t *testing.T) *subnet {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return &subnet{t, c.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
}

// config is that of another device of the subnet.
func (s *subnet) config(d *depot, model string) Config {
	s.t.Helper()
	n := hosts.Add(1)
	dir := s.t.TempDir()
	c := Config{Servers: []string{d.url}, State: filepath.Join(dir, "state"), Trust: filepath.Join(dir, "trust"),
		Model: model,
		MAC:   fmt.Sprintf("0011223344%02X", n), Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 77, byte(n)}), 8),
		Port:    s.port,
		CheckIn: time.Hour, HookTimeout: time.Minute, ConfirmTimeout: 20 * time.Second, BootID: filepath.Join(dir, "boot"),
		NoSync: true}
	write(s.t, c.BootID, "boot 1")
	if err := os.MkdirAll(c.Trust, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if d.pin != nil {
		write(s.t, filepath.Join(c.Trust, trust.PinName), string(d.pin))
	}
	return c
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// openFiles are the files below a folder that this process has open.
func openFiles(t *testing.T, below string) (names []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		// Another test may close it meanwhile.
		if name, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(name, below+"/") {
			names = append(names, name)
		}
	}
	return names
}

// runner is a daemon that runs in this process.
type runner struct {
	*Daemon
	t    *testing.T
	log  lockedBuffer
	stop func()
}

// lockedBuffer takes a log from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, c Config) *runner { return startWith(t, c, Setup{}) }

func startWith(t *testing.T, c Config, s Setup) *runner {
	t.Helper()
	r := &runner{t: t}
	s.Log = slog.New(slog.NewTextHandler(&r.log, nil))
	s.Program = "test 1"
	d, err := New(c, s)
	if err != nil {
		t.Fatal(err)
	}
	r.Daemon = d
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the daemon ended: %v", err)
			}
			for _, f := range openFiles(t, c.State) {
				t.Errorf("%s is still open after the daemon's end", f)
			}
		})
	}
	t.Cleanup(func() {
		r.stop()
		if t.Failed() {
			t.Logf("%s:\n%s", c.MAC, r.log.String())
		}
	})
	return r
}

// patience bounds how long a test waits for anything.
const patience = 30 * time.Second

// until polls for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// runs waits until the device runs a load and has nothing to do.
func (r *runner) runs(load string) {
	r.t.Helper()
	until(r.t, "runs "+load, func() bool {
		st := r.Status()
		return st.Active == load && st.State == report.StateIdle && r.keep.get().Phase == upgrade.Idle
	})
}

// rolledBack waits until the device has gone back from a load to another.
func (r *runner) rolledBack(from, to string) {
	r.t.Helper()
	until(r.t, "rolled back from "+from, func() bool {
		st, rec := r.Status(), r.keep.get()
		_, failed := rec.FailedBefore(from)
		return st.State == report.StateRolledBack && failed && st.Active == to
	})
}

// process is a daemon in a process of its own, to be killed.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	errs lockedBuffer
	once sync.Once
}

func spawn(t *testing.T, c Config) *process {
	t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "config.json")
	write(t, name, string(b))
	p := &process{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), childConfig+"="+name)
	p.cmd.Stderr = &p.errs
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("a process:\n%s", p.errs.String())
		}
	})
	return p
}

// kill ends it like a power cut ends a process.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
}

// bare fills a directory as a bare server has it: no controller, no HTTP, a
// file for one phone, one for all, and a classic load.
func bare(t *testing.T, mac string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"SEP" + mac +
			".cnf.xml": "\xef\xbb\xbf<?xml version=\"1.0\"?>\r\n<device>\r\n<loadInformation>SCCP41</loadInformation>\r\n" +
			"<vendorConfig>" +
			"<webAccess>0</webAccess><peerFirmwareSharing>1</peerFirmwareSharing><allowUnsigned>1</allowUnsigned>" +
			"</vendorConfig></device>\r\n",
		"XMLDefault.cnf.xml": "<Default><loadInformation115 model=\"Cisco IP Phone 7941\"></loadInformation115></Default>",
		"SCCP41.loads":       "apps41.sbn\r\ndsp41.sbn\r\n",
		"apps41.sbn":         strings.Repeat("apps", 100_000),
		"dsp41.sbn":          "dsp",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// answering is a TFTP server that answers what it gets, from the port that was asked:
// requests for a device's own file with own, and all else as other says; nil: not.
func answering(t *testing.T, own []byte, other func(got []byte) []byte) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for b := make([]byte, 1500); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			answer := own
			if b[1] != 1 || !strings.HasPrefix(string(b[2:n]), "SEP") {
				answer = other(b[:n])
			}
			if answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// refusing is a TFTP server that answers requests for a device's own file with
// an ERROR, and others with the text.
func refusing(t *testing.T, code byte, text string) string {
	t.Helper()
	return answering(t, []byte{0, 5, 0, code, 'n', 'o', 0}, func(got []byte) []byte {
		if got[1] != 1 {
			return nil
		}
		return append([]byte{0, 3, 0, 1}, text...)
	})
}

// telling is a TFTP server that has no file of a device's own, tells a size of
// others, and sends the text.
func telling(t *testing.T, size int, text string) string {
	t.Helper()
	return answering(t, []byte("\x00\x05\x00\x01no\x00"), func(got []byte) []byte {
		switch {
		case got[1] == 1 && strings.Contains(string(got[2:]), "\x00tsize\x00"):
			return fmt.Appendf([]byte{0, 6}, "tsize\x00%d\x00", size)
		case got[1] == 1, got[1] == 4 && got[3] == 0:
			return append([]byte{0, 3, 0, 1}, text...)
		}
		return nil
	})
}

// trickling is a server that has all that a depot has, and sends one byte a
// second of some of it.
type trickling struct {
	url   string
	asked atomic.Int32 // how often for that
}

func newTrickling(t *testing.T, d *depot, slow func(path string) bool) *trickling {
	t.Helper()
	// Another host than the depot.
	l, err := net.Listen("tcp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &trickling{url: "http://" + l.Addr().String()}
	files := http.FileServer(http.Dir(d.dir))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slow(r.URL.Path) {
			files.ServeHTTP(w, r)
			return
		}
		s.asked.Add(1)
		w.Header().Set("Content-Length", "1000000")
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			_, _ = w.Write([]byte{'x'})
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return s
}

// withSets is a file for all devices of the one model, with a load and file sets by
// their directories; nil says nothing of file sets.
func withSets(load string, sets map[string]string) string {
	text := withSharing(load, "")
	if sets == nil {
		return text
	}
	inner := "<fileSets>"
	for dir, name := range sets {
		inner += fmt.Sprintf("<fileSet directory=%q>%s</fileSet>", dir, name)
	}
	return strings.Replace(text, "</Default>", inner+"</fileSets></Default>", 1)
}

// hasSets waits until a device has these sets in place and nothing to do for them.
func (r *runner) hasSets(want map[string]string) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("has %v", want), func() bool {
		have := map[string]string{}
		for _, s := range r.Status().FileSets {
			if s.State != report.StateIdle || s.Reason != "" {
				return false
			}
			have[s.Directory] = s.Name
		}
		return maps.Equal(have, want)
	})
}

// placed is a file of a set that is in place, "" if it is not there.
func (r *runner) placed(file string) string {
	b, err := os.ReadFile(filepath.Join(r.conf.get().State, setsName, file))
	if err != nil {
		return ""
	}
	return string(b)
}
