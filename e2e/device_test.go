package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/report"
)

// site is a subnet of devices.
type site struct {
	t    *testing.T
	port uint16
	dir  string
	bin  string

	mu      sync.Mutex
	devices []*device // in the order of their start
}

func newSite(t *testing.T) *site {
	t.Helper()
	sites.enter(t)
	return waitingSite(t)
}

// crowd bounds how many sites work at a time: devices that get no processor for a
// while do not hear each other in time, and then there are two roots, rightly.
type crowd struct {
	places chan struct{}
	in     sync.Map // *testing.T: whether it has a place
}

var sites = crowd{places: make(chan struct{}, 5)}

// enter waits for a place, which the test has until it ends, for all of its sites.
func (c *crowd) enter(t *testing.T) {
	if _, has := c.in.LoadOrStore(t, true); has {
		return
	}
	c.places <- struct{}{}
	t.Cleanup(func() {
		c.in.Delete(t)
		<-c.places
	})
}

// waitingSite is a site whose devices do nothing for most of the time: it takes no
// place from the others.
func waitingSite(t *testing.T) *site {
	t.Helper()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	return &site{t: t, port: freePort(t), dir: t.TempDir(), bin: peerload}
}

// device is one process.
type device struct {
	t     *testing.T
	addr  string
	state string
	out   string // the file or the directory that it writes
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{}
	code  int
	took  time.Duration

	mu     sync.Mutex
	woken  chan struct{} // closed and replaced at each event
	events []report.Event
	heard  []time.Time
	errs   bytes.Buffer
}

// startup is what a device does before it starts; the zero value is usual.
type startup struct {
	state, out string
	// shell runs the command under it: "$@" is the command.
	shell string
}

// get starts a device at address 127.0.0.N or, with a dot in it, at addr, with
// usual flags that args may override.
func (s *site) get(addr string, args ...string) *device { return s.getAs(startup{}, addr, args...) }

func (s *site) getAs(as startup, addr string, args ...string) *device {
	s.t.Helper()
	d := &device{t: s.t, addr: addr, state: as.state, out: as.out, ended: make(chan struct{}), woken: make(chan struct{})}
	if d.state == "" {
		d.state = filepath.Join(s.dir, addr, "state")
	}
	if d.out == "" {
		d.out = filepath.Join(s.dir, addr, "file")
	}
	if err := os.MkdirAll(filepath.Dir(strings.TrimSuffix(d.out, "/")), 0o755); err != nil {
		s.t.Fatal(err)
	}
	argv := append([]string{"get", "--address", addr + "/8", "--port", fmt.Sprint(s.port), "--state", d.state,
		"-o", d.out, "--json", "--no-sync", "-v"}, args...)
	d.cmd = exec.Command(s.bin, argv...)
	if as.shell != "" {
		d.cmd = exec.Command("sh", append([]string{"-c", as.shell, "sh", s.bin}, argv...)...)
	}
	d.run()
	s.mu.Lock()
	s.devices = append(s.devices, d)
	s.mu.Unlock()
	return d
}

// met reports whether n devices know of each other that they fetch a file: one
// is its root, and the others follow one.
func (s *site) met(file string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	roots, followers := 0, 0
	for _, d := range s.devices {
		switch d.roleFor(file) {
		case report.RoleRoot:
			roots++
		case report.RoleDetached, report.RoleParent, report.RoleLeaf:
			followers++
		}
	}
	return roots == 1 && followers == n-1
}

// roleFor is the role that the device last told for a file.
func (d *device) roleFor(file string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range slices.Backward(d.events) {
		if e.File == file && e.Role != "" {
			return e.Role
		}
	}
	return report.RoleNone
}

// run starts the process and reads its events.
func (d *device) run() {
	d.t.Helper()
	d.cmd.Stderr = writerFunc(func(b []byte) (int, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.errs.Len() < 1<<20 {
			d.errs.Write(b)
		}
		return len(b), nil
	})
	stdout, err := d.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	d.began = time.Now()
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = d.cmd.Process.Kill()
		<-d.ended
		if d.t.Failed() {
			d.t.Logf("%s ended with %d after %v; its log:\n%s", d.addr, d.code, d.took, tail(d.log(), 6000))
		}
	})
	go func() {
		defer close(d.ended)
		sc := bufio.NewScanner(stdout)
		sc.Buffer(nil, 1<<20)
		for sc.Scan() {
			var e report.Event
			if json.Unmarshal(sc.Bytes(), &e) == nil {
				d.take(e)
			}
		}
		_ = d.cmd.Wait()
		d.code, d.took = d.cmd.ProcessState.ExitCode(), time.Since(d.began)
	}()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func tail(s string, n int) string {
	if len(s) > n {
		s = "…" + s[len(s)-n:]
	}
	return s
}

func (d *device) take(e report.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
	d.heard = append(d.heard, time.Now())
	close(d.woken)
	d.woken = make(chan struct{})
}

func (d *device) log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.errs.String()
}

// patience bounds how long a test waits for what must come. It is far longer
// than anything takes on a busy machine: only what hangs fails a test.
const patience = 2 * time.Minute

// until waits for an event that fits and returns it with the time at which it
// was heard.
func (d *device) until(what string, fits func(report.Event) bool) (report.Event, time.Time) {
	d.t.Helper()
	return d.untilAfter(time.Time{}, what, fits)
}

// untilAfter is until for events heard after a time.
func (d *device) untilAfter(after time.Time, what string, fits func(report.Event) bool) (report.Event, time.Time) {
	d.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for at := 0; ; {
		d.mu.Lock()
		for ; at < len(d.events); at++ {
			if e := d.events[at]; d.heard[at].After(after) && fits(e) {
				defer d.mu.Unlock()
				return e, d.heard[at]
			}
		}
		woken := d.woken
		d.mu.Unlock()
		select {
		case <-woken:
		case <-d.ended:
			d.mu.Lock()
			more := at < len(d.events)
			d.mu.Unlock()
			if !more {
				d.t.Fatalf("%s ended with %d before: %s", d.addr, d.code, what)
			}
		case <-limit.C:
			d.t.Fatalf("%s: not within %v: %s", d.addr, patience, what)
		}
	}
}

// wait waits for the end and wants this exit code.
func (d *device) wait(code int) {
	d.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-d.ended:
	case <-limit.C:
		d.t.Fatalf("%s still runs after %v", d.addr, patience)
	}
	if d.code != code {
		d.t.Errorf("%s ended with %d, want %d: %s", d.addr, d.code, code, d.lastError())
	}
}

// lastError is the message that the command ends with.
func (d *device) lastError() string {
	for _, l := range slices.Backward(strings.Split(d.log(), "\n")) {
		if strings.HasPrefix(l, "peerload: ") {
			return l
		}
	}
	return ""
}

// done waits for the final report of success; the process may still serve.
func (d *device) done() *report.Final {
	d.t.Helper()
	e, _ := d.until("done", func(e report.Event) bool {
		return (e.Event == report.KindDone || e.Event == report.KindFailed) && e.Final != nil
	})
	if e.Event == report.KindFailed {
		d.t.Fatalf("%s failed: %s", d.addr, e.Message)
	}
	return e.Final
}

// final returns the last report of a process that ended.
func (d *device) final() *report.Final {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range slices.Backward(d.events) {
		if e.Final != nil {
			return e.Final
		}
	}
	return &report.Final{}
}

// last returns the latest event with a role, except final reports.
func (d *device) last() report.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range slices.Backward(d.events) {
		if e.Role != "" && e.Final == nil {
			return e
		}
	}
	return report.Event{}
}

// count counts the events that fit.
func (d *device) count(fits func(report.Event) bool) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if fits(e) {
			n++
		}
	}
	return n
}

func (d *device) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// holds checks the file that the device wrote.
func (d *device) holds(want []byte) {
	d.t.Helper()
	got, err := os.ReadFile(d.out)
	if err != nil {
		d.t.Errorf("%s: %v", d.addr, err)
	} else if !bytes.Equal(got, want) {
		d.t.Errorf("%s holds %d bytes of another content, want %d", d.addr, len(got), len(want))
	}
}

// holdsNothing checks that no file has the name.
func (d *device) holdsNothing() {
	d.t.Helper()
	if _, err := os.Stat(d.out); err == nil {
		d.t.Errorf("%s: %s exists", d.addr, d.out)
	}
}

func isProgress(percent int) func(report.Event) bool {
	return func(e report.Event) bool { return e.Event == report.KindProgress && e.Percent >= percent }
}

// addrOf names device n of a site.
func addrOf(n int) string { return fmt.Sprintf("127.1.%d.%d", n/250, 1+n%250) }

// start starts n devices with the same command.
func (s *site) start(n int, args ...string) []*device {
	s.t.Helper()
	var ds []*device
	for i := range n {
		ds = append(ds, s.get(addrOf(i), args...))
	}
	return ds
}

// rootOf waits until one of the devices says that it is root of a file that is
// under way, and returns it.
func (s *site) rootOf(ds []*device) *device {
	s.t.Helper()
	var root *device
	s.poll("a root", func() bool {
		for _, d := range ds {
			if e := d.last(); e.Role == report.RoleRoot && d.running() {
				root = d
				return true
			}
		}
		return false
	})
	return root
}

func (d *device) running() bool {
	select {
	case <-d.ended:
		return false
	default:
		return true
	}
}

// poll waits until a condition holds.
func (s *site) poll(what string, holds func() bool) {
	s.t.Helper()
	poll(s.t, what, holds)
}

func poll(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// content is size bytes that do not repeat.
func content(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func shaOf(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
