// Package process runs the programs of a site, one per device, and records what
// they print and what they use.
//
// What lives here: starting many at one moment, reading their events, the
// directory of a run with their files, and finding the program peerload. What
// must not: a device's logic. A device is observed only from outside, through
// its command line, its JSON lines and its files. Read first: Command and Proc
// here, then Device.
package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/report"
)

// maxLine bounds one line of a device's output, in bytes.
const maxLine = 1 << 20

// stopGrace is how long a device may take to end when the lab stops it.
const stopGrace = 3 * time.Second

// Command is what one device process is started with.
type Command struct {
	Host site.Host
	Path string
	Args []string
	// Procs is GOMAXPROCS of the device: 0 means 1, as a phone has one core and
	// a hundred devices share this machine's; -1 leaves it to the device.
	Procs int
	// Done makes the command a foreign program, whose lines are not events: it
	// recognises the line after which the device has its file. EndsDone is for
	// programs that have it when they exit with 0.
	Done     func(line []byte) bool
	EndsDone bool
	// Stdout and Stderr, if not nil, get copies of what the device writes.
	Stdout, Stderr io.Writer
	// OnEvent, if not nil, is called for every event, one at a time.
	OnEvent func(report.Event)
}

// Proc is one device process. Its methods may be called at any time.
type Proc struct {
	// Host is what the process runs on.
	Host site.Host

	cmd      *exec.Cmd
	done     chan struct{}
	endsDone bool

	peak    atomic.Int64 // highest resident set seen, bytes
	written atomic.Int64 // bytes written to a disk, when last seen

	mu      sync.Mutex
	err     error
	garbage int // lines of the output that are no events
	files   map[string]*FileView
	order   []string
}

// FileView is what a device said about one of its files.
type FileView struct {
	File    string
	Role    string
	Source  string
	Root    string
	Parent  string // the last that it had
	Bytes   int64
	Size    int64
	Percent int

	Started   time.Time
	RootSince time.Time // when it first became root; zero if never
	Claims    int       // how often it became root
	Verified  time.Time // when the whole file was found right; zero while not
	Committed time.Time // when the file got its name; zero while it has not
	Reason    string    // why it failed, if it did
	Final     *report.Final
}

// StartAll starts the commands at one moment, which it returns. Each process is
// first created and waits for a common signal, then becomes the program:
// creating a hundred processes takes much longer than waking them. The error is
// that of the first that could not be made. When ctx ends the processes get
// SIGTERM and, after a grace of three seconds, are killed; if this program
// dies, they are killed with it.
func StartAll(ctx context.Context, commands []Command) ([]*Proc, time.Time, error) {
	gate, open, err := os.Pipe()
	if err != nil {
		return nil, time.Time{}, err
	}
	procs := make([]*Proc, len(commands))
	results := make(chan error, len(commands))
	for i, c := range commands {
		procs[i] = newProc(ctx, c)
		procs[i].cmd.Stdin = gate
		go procs[i].run(results)
	}
	for range procs {
		if e := <-results; e != nil && err == nil {
			err = e
		}
	}
	zero := time.Now()
	// All read the same pipe: when its last writer closes it, all go on.
	return procs, zero, errors.Join(err, gate.Close(), open.Close())
}

// gateScript waits until standard input ends and becomes the command.
const gateScript = `read _; exec "$0" "$@"`

func newProc(ctx context.Context, c Command) *Proc {
	p := &Proc{Host: c.Host, done: make(chan struct{}), files: map[string]*FileView{}}
	p.cmd = exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", gateScript, c.Path}, c.Args...)...)
	if _, err := exec.LookPath(c.Path); err != nil {
		p.cmd.Err = err // else the shell would report it, too late
	}
	if c.Procs >= 0 {
		p.cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(max(1, c.Procs)))
	}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopGrace
	p.cmd.Stderr = c.Stderr
	p.endsDone = c.EndsDone
	lines := &lineWriter{line: func(b []byte) {
		switch {
		case c.EndsDone:
		case c.Done == nil:
			p.line(b, c.OnEvent)
		case c.Done(b):
			p.held()
		}
	}}
	p.cmd.Stdout = lines
	if c.Stdout != nil {
		p.cmd.Stdout = io.MultiWriter(c.Stdout, lines)
	}
	// A process group of its own: an interrupt from the keyboard reaches only
	// the lab, which then ends its devices.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return p
}

// run creates the process on its host and waits for its end, on one thread,
// because the end of the thread would kill the process.
func (p *Proc) run(result chan<- error) {
	defer close(p.done)
	made := false
	err := p.Host.Run(func() error {
		err := p.cmd.Start()
		made = true
		result <- err
		if err != nil {
			return err
		}
		if err = p.cmd.Wait(); err == nil && p.endsDone {
			p.held()
		}
		return err
	})
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	if !made {
		result <- err
	}
}

// Kill ends the process as a lost power supply would end it, as far as a
// process can be: SIGKILL.
func (p *Proc) Kill() error { return p.cmd.Process.Kill() }

// Signal sends a signal to the process.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Use returns the memory that the process has now, in bytes, and how many
// descriptors it has open.
func (p *Proc) Use() (memory, descriptors int64, err error) {
	proc := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	open, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return 0, 0, err
	}
	memory, ok := procField(proc+"/status", "VmRSS:")
	if !ok {
		return 0, 0, fmt.Errorf("%s/status tells no memory", proc)
	}
	return memory, int64(len(open)), nil
}

// Wait blocks until the process has ended and all its output has been read.
// The error is that of its exit status.
func (p *Proc) Wait() error {
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Done returns a channel that is closed when Wait would return.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// CPU returns the processor time of an ended process, user and system.
func (p *Proc) CPU() time.Duration {
	if p.Running() || p.cmd.ProcessState == nil {
		return 0
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// Peak returns the highest resident set that Sample has seen, in bytes.
func (p *Proc) Peak() int64 { return p.peak.Load() }

// Written returns the bytes that the process has sent to a disk, as Sample has
// last seen it: pages made dirty, so a page that is written twice before it
// goes to the disk counts once. On tmpfs it is 0.
func (p *Proc) Written() int64 { return p.written.Load() }

// Sample reads the peak of the resident set and the bytes written from the
// kernel. The peak that the kernel returns when a process ends is of no use: it
// counts the memory of the lab, which the process shared until it became
// another program.
func (p *Proc) Sample() {
	if p.cmd.Process == nil || !p.Running() {
		return
	}
	proc := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	if n, ok := procField(proc+"/status", "VmHWM:"); ok && n > p.peak.Load() {
		p.peak.Store(n)
	}
	if n, ok := procField(proc+"/io", "write_bytes:"); ok && n > p.written.Load() {
		p.written.Store(n)
	}
}

// held notes that a foreign program has its file.
func (p *Proc) held() {
	p.Sample()
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.files[FileName]
	if v == nil {
		v = &FileView{File: FileName}
		p.files[FileName], p.order = v, append(p.order, FileName)
	}
	if v.Committed.IsZero() {
		v.Committed = time.Now()
	}
}

// Files returns what the device said of its files, in the order of the first
// word about each.
func (p *Proc) Files() []FileView {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]FileView, 0, len(p.order))
	for _, name := range p.order {
		out = append(out, *p.files[name])
	}
	return out
}

// File returns what the device said of the first of its files; the zero
// FileView if it has said nothing.
func (p *Proc) File() FileView {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.order) == 0 {
		return FileView{}
	}
	return *p.files[p.order[0]]
}

// line takes one line of the device's output.
func (p *Proc) line(b []byte, onEvent func(report.Event)) {
	var ev report.Event
	if err := json.Unmarshal(b, &ev); err != nil || ev.Event == "" {
		p.mu.Lock()
		p.garbage++
		p.mu.Unlock()
		return
	}
	if ev.Event == report.KindDone || ev.Event == report.KindVerified {
		p.Sample()
	}
	p.mu.Lock()
	p.note(ev)
	p.mu.Unlock()
	if onEvent != nil {
		onEvent(ev)
	}
}

// note files an event. The device's clock is this machine's; an event without
// a readable time counts as of now.
func (p *Proc) note(ev report.Event) {
	if ev.File == "" {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, ev.Time)
	if err != nil {
		at = time.Now()
	}
	v := p.files[ev.File]
	if v == nil {
		v = &FileView{File: ev.File, Started: at}
		p.files[ev.File] = v
		p.order = append(p.order, ev.File)
	}
	if ev.Event == report.KindVerified && v.Verified.IsZero() {
		v.Verified = at
	}
	// A device that has all bytes leaves the tree and holds a cached copy. The
	// view keeps how the bytes came.
	if v.Verified.IsZero() && ev.Percent < 100 && v.Percent < 100 {
		v.role(ev.Role, at)
		set(&v.Source, ev.Source)
	}
	set(&v.Root, ev.Root)
	set(&v.Parent, ev.Parent)
	set(&v.Bytes, ev.Bytes)
	set(&v.Size, ev.Size)
	set(&v.Percent, ev.Percent)
	set(&v.Final, ev.Final)
	switch ev.Event {
	case report.KindCommitted:
		v.Committed = at
	case report.KindFailed:
		v.Reason = strings.TrimSpace(ev.Reason + " " + ev.Message)
	}
}

// role notes the role that an event carries.
func (v *FileView) role(role string, at time.Time) {
	if role == report.RoleRoot && v.Role != role {
		v.Claims++
		if v.RootSince.IsZero() {
			v.RootSince = at
		}
	}
	set(&v.Role, role)
}

// Held reports whether the device has the whole file, verified.
func (v FileView) Held() bool { return !v.Verified.IsZero() || !v.Committed.IsZero() }

// set takes over a value that an event carries.
func set[T comparable](to *T, v T) {
	var none T
	if v != none {
		*to = v
	}
}

// lineWriter calls line for every whole line written; longer lines than
// maxLine are cut.
type lineWriter struct {
	line func([]byte)
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for {
		head, tail, found := bytes.Cut(b, []byte("\n"))
		if keep := maxLine - len(w.rest); keep > 0 {
			w.rest = append(w.rest, head[:min(len(head), keep)]...)
		}
		if !found {
			return n, nil
		}
		w.line(w.rest)
		w.rest = w.rest[:0]
		b = tail
	}
}

// procField reads a field such as "VmHWM:" of a file of /proc, given there in
// bytes or in kB, and returns it in bytes.
func procField(path, field string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) >= 2 && f[0] == field {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if len(f) > 2 && f[2] == "kB" {
				n <<= 10
			}
			return n, err == nil
		}
	}
	return 0, false
}

// Tail keeps the last bytes of what is written to it.
type Tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *Tail) Write(b []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > keep {
		t.b = append(t.b[:0], t.b[len(t.b)-keep:]...)
	}
	return len(b), nil
}

// String returns the last lines.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// ExitText says how a process ended.
func ExitText(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		return exit.Error()
	}
	return fmt.Sprintf("not run: %v", err)
}

// AddrOf returns the address in an event, there with or without a port; the
// zero Addr if there is none.
func AddrOf(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr()
	}
	a, _ := netip.ParseAddr(s) // the zero Addr with an error
	return a
}
