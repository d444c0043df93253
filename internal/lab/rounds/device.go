package rounds

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/trust"
)

// device is a device with its agent, or with a liar in its place.
type device struct {
	site  *Site
	index int
	host  site.Host
	dir   string // a disk of its own
	full  bool   // its disk was full in this round
	uses  []Use
	liar  *liar

	mu     sync.Mutex
	proc   *process.Proc // nil while none is wanted
	stderr *process.Tail
}

// metricsPort is where agents show their metrics.
const metricsPort = 9405

// newDevice gives a device its disk, and what it is installed with.
func (s *Site) newDevice(i int) (*device, error) {
	d := &device{site: s, index: i, host: s.net.Host(i), dir: s.path(fmt.Sprintf("d%04d", i+1))}
	if err := mountDisk(d.dir); err != nil {
		return nil, err
	}
	pin, err := os.ReadFile(filepath.Join(s.server.trust, trust.PinName))
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.path("trust"), 0o755); err != nil {
		return nil, err
	}
	return d, errors.Join(os.WriteFile(d.path("trust", trust.PinName), pin, 0o644),
		os.WriteFile(d.path("agent.toml"), nil, 0o644))
}

func (d *device) path(names ...string) string {
	return filepath.Join(append([]string{d.dir}, names...)...)
}

// start starts the agent. If it ends by itself, that is noted, and it is started
// again, as a service manager does it.
func (d *device) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stderr = &process.Tail{}
	procs, _, err := process.StartAll(d.site.life, []process.Command{{
		Host: d.host, Path: d.site.cfg.Agent, Stderr: d.stderr, Done: func([]byte) bool { return false },
		Args: append([]string{"agent", "--config", d.path("agent.toml"), "--server", d.site.server.files,
			"--controller", d.site.server.api, "--token-file", d.site.server.key, "--model", model,
			"--mac", fmt.Sprintf("0200000%05x", d.index+1), "--state", d.path("state"), "--trust", d.path("trust"),
			"--check-in", "15s", "--metrics-address", fmt.Sprintf("%s:%d", d.host.Addr, metricsPort), "--no-sync",
			"--log-level", "warn"}, d.host.Args...),
	}})
	if err != nil {
		return fmt.Errorf("the agent of device %d: %w", d.index+1, err)
	}
	d.proc = procs[0]
	go d.watch(procs[0], d.stderr)
	return nil
}

// watch waits for the end of a process that nobody has ended.
func (d *device) watch(p *process.Proc, stderr *process.Tail) {
	err := p.Wait()
	d.mu.Lock()
	alone := d.proc == p
	full := d.full
	d.mu.Unlock()
	if !alone || d.site.life.Err() != nil {
		return
	}
	text := fmt.Sprintf("device %d: %s: %s", d.index+1, process.ExitText(err), lastLine(stderr.String()))
	d.site.note(func(r *Round) {
		r.Exits = append(r.Exits, text)
		if !documented(err, full) || strings.Contains(stderr.String(), "panic:") ||
			strings.Contains(stderr.String(), "fatal error:") {
			r.Wrong = append(r.Wrong, text)
		}
	})
	if pause(d.site.life, time.Second) && d.running(p) {
		if err := d.start(); err != nil {
			d.site.note(func(r *Round) { r.Wrong = append(r.Wrong, err.Error()) })
		}
	}
}

// documented reports whether an agent may end so: with status 5 if its disk is
// full.
func documented(err error, full bool) bool {
	const exitDisk = 5
	return full && strings.HasSuffix(process.ExitText(err), fmt.Sprint(" ", exitDisk))
}

func lastLine(text string) string { return text[strings.LastIndexByte(text, '\n')+1:] }

// running reports whether p is the process that is wanted.
func (d *device) running(p *process.Proc) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proc == p
}

// kill ends the agent as a lost power supply would, and waits for its end.
func (d *device) kill() {
	d.mu.Lock()
	p := d.proc
	d.proc = nil
	d.mu.Unlock()
	if p != nil {
		_ = p.Kill() // it may have ended by itself
		_ = p.Wait()
	}
}

// signal sends a signal to the agent, if there is one.
func (d *device) signal(s syscall.Signal) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.proc != nil {
		_ = d.proc.Signal(s) // it may have ended by itself
	}
}

// fault returns what begins and what ends a fault.
func (d *device) fault(s *Site, f Fault) (begin, end func() error) {
	switch f.Kind {
	case Stop:
		return func() error { d.signal(syscall.SIGSTOP); return nil },
			func() error { d.signal(syscall.SIGCONT); return nil }
	case Cut:
		return func() error { return s.net.IsolatePort(f.Device, true) },
			func() error { return s.net.IsolatePort(f.Device, false) }
	case Full:
		return d.fill, func() error { return os.Remove(d.path(filler)) }
	case Damage:
		return func() error { d.kill(); return nil }, func() error {
			what, err := damage(d.path("state"), f.Draw)
			s.note(func(r *Round) { r.Damaged = append(r.Damaged, fmt.Sprintf("device %d: %s", f.Device+1, what)) })
			return errors.Join(err, d.start())
		}
	}
	return func() error { d.kill(); return nil }, d.start
}

// lie puts a liar in the place of the agent.
func (d *device) lie(draw uint64) (err error) {
	d.kill()
	d.liar, err = newLiar(d.site.life, d.host, draw)
	return err
}

// honest puts the agent back in the place of a liar.
func (d *device) honest() error {
	if d.liar != nil {
		d.liar.close()
		d.site.note(func(r *Round) { r.Deceived += d.liar.links })
		d.liar = nil
	}
	return d.start()
}

// filler is the file that fills a disk.
const filler = "filler"

// fill writes until the disk takes no more.
func (d *device) fill() error {
	d.mu.Lock()
	d.full = true
	d.mu.Unlock()
	f, err := os.Create(d.path(filler))
	if err != nil {
		return err
	}
	defer f.Close()
	for b := make([]byte, 4096); ; {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// active returns the content of the load that the active slot has.
func (d *device) active() (content []byte, err error) {
	slot, err := os.Readlink(d.path("state", "slots", "current"))
	if err != nil {
		return nil, err
	}
	return os.ReadFile(d.path("state", "slots", slot, component))
}

// committed returns what stands in both slots under the component's name.
func (d *device) committed() (all map[string][]byte, err error) {
	all = map[string][]byte{}
	for _, slot := range []string{"a", "b"} {
		b, err := os.ReadFile(d.path("state", "slots", slot, component))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			all[slot] = b
		}
	}
	return all, nil
}
