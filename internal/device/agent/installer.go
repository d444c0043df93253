package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/device/upgrade"
)

// Job describes the load of a step.
type Job struct {
	// Load and Version as the manifest names them.
	Load, Version string
	// Dir holds the components of the load, Previous those of the load to go
	// back to, "" if there is none.
	Dir, Previous string
	// Progress takes progress from the installer: percent 0 to 100, and text
	// for people.
	Progress func(percent int, text string)
}

// Installer makes a load run. A step may be called again after a power cut:
// doing it twice must do no harm.
//
// A hook is a program that is called as HOOK STEP, with PEERLOAD_LOAD,
// PEERLOAD_VERSION, PEERLOAD_MODEL, PEERLOAD_DIR, PEERLOAD_PREVIOUS and
// PEERLOAD_STATE in its environment. Exit status 0: done. 4: done, and the device
// must be restarted (Install and Rollback only). Any other: failed. Lines on its
// standard output are logged; "progress N TEXT" tells how far it is, 0 to 100.
// A hook that takes longer than hook-timeout is killed with all it started.
type Installer interface {
	Do(ctx context.Context, s upgrade.Step, j Job) (reboot bool, err error)
}

// exitReboot is the exit status of a hook that wants a restart.
const exitReboot = 4

// StepError says which step of the installer failed, and how.
type StepError struct {
	Step upgrade.Step
	Err  error
}

// Error implements error.
func (e *StepError) Error() string { return fmt.Sprintf("installer, %s: %v", e.Step, e.Err) }

// Unwrap returns how it failed.
func (e *StepError) Unwrap() error { return e.Err }

// outputError is an error of a program that printed something.
type outputError struct {
	error
	lines string // the last that it printed
}

// Unwrap returns how it failed.
func (e *outputError) Unwrap() error { return e.error }

// after adds to an error what the program printed last.
func after(err error, lines string) error {
	if err == nil || lines == "" {
		return err
	}
	return &outputError{err, lines}
}

// newInstaller returns the hook of the configuration, or the built-in
// installer, which only switches slots and restarts the device.
func newInstaller(c Config, log *slog.Logger, all *quota) Installer {
	p := programs{c, log, all}
	if c.Hook != "" {
		return &hook{p}
	}
	return &switcher{p}
}

// switcher is the built-in installer.
type switcher struct{ programs }

// Do implements Installer.
func (s *switcher) Do(ctx context.Context, step upgrade.Step, j Job) (bool, error) {
	switch step {
	case upgrade.StepInstall, upgrade.StepRollback:
		return s.cfg.RebootCommand != "", nil
	case upgrade.StepReboot:
		if s.cfg.RebootCommand == "" {
			return false, nil
		}
		status, said, err := s.run(ctx, environment(s.cfg, j), j.Progress, "/bin/sh", "-c", s.cfg.RebootCommand)
		if err == nil && status != 0 {
			err = fmt.Errorf("exit status %d", status)
		}
		if err != nil {
			return false, &StepError{step, after(err, said)}
		}
	}
	return false, nil
}

// hook is an external installer.
type hook struct{ programs }

// Do implements Installer.
func (h *hook) Do(ctx context.Context, step upgrade.Step, j Job) (bool, error) {
	status, said, err := h.run(ctx, environment(h.cfg, j), j.Progress, h.cfg.Hook, string(step))
	switch {
	case err != nil:
		return false, &StepError{step, after(err, said)}
	case status == exitReboot && (step == upgrade.StepInstall || step == upgrade.StepRollback):
		return true, nil
	case status != 0:
		return false, &StepError{step, after(fmt.Errorf("exit status %d", status), said)}
	}
	return false, nil
}

func environment(c Config, j Job) []string {
	return []string{
		"PEERLOAD_LOAD=" + j.Load, "PEERLOAD_VERSION=" + j.Version, "PEERLOAD_MODEL=" + c.Model,
		"PEERLOAD_DIR=" + j.Dir, "PEERLOAD_PREVIOUS=" + j.Previous, "PEERLOAD_STATE=" + c.State,
	}
}

// killDelay is how long a killed program may keep its output open.
const killDelay = 2 * time.Second

// programs runs the programs of a configuration.
type programs struct {
	cfg Config
	log *slog.Logger
	all *quota // of lines of all programs
}

// run runs a program and returns its exit status, and the last lines that it printed.
// Its standard output is read line by line, its standard error goes to the log.
func (p programs) run(ctx context.Context, env []string, progress func(int, string), name string,
	args ...string) (status int, said string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.HookTimeout,
		fmt.Errorf("killed: it took longer than %v", p.cfg.HookTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killDelay
	if progress == nil {
		progress = func(int, string) {}
	}
	out := &printed{log: p.log, program: name, all: p.all, left: stepLines}
	defer out.end()
	stdout := &lineWriter{line: func(line string) {
		if percent, text, ok := parseProgress(line); ok {
			progress(percent, text)
		} else if line != "" {
			out.line(slog.LevelInfo, line)
		}
	}}
	stderr := &lineWriter{line: func(line string) { out.line(slog.LevelWarn, line) }}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = cmd.Run()
	stdout.end()
	stderr.end()
	said = out.tail()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, said, context.Cause(ctx)
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), said, nil
	}
	return 0, said, err
}

// Limits of what programs print into the log: lines of one run, lines of all
// runs at once, and how often one more is allowed after that.
const (
	stepLines  = 200
	allLines   = 2000
	linesAgain = 10 * time.Second
)

// quota bounds the lines of all programs together.
type quota struct {
	mu   sync.Mutex
	used int
	at   time.Time // until when used counts
}

// take reports whether one more line is allowed now.
func (q *quota) take(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used == 0 {
		q.at = now
	}
	back := max(0, int(now.Sub(q.at)/linesAgain))
	q.used, q.at = max(0, q.used-back), q.at.Add(time.Duration(back)*linesAgain)
	if q.used >= allLines {
		return false
	}
	q.used++
	return true
}

// printed logs what one run of a program prints, up to the limits. It then says
// how much it left out, and the last line of that.
type printed struct {
	log     *slog.Logger
	program string
	all     *quota

	mu      sync.Mutex
	left    int
	dropped int
	last    string
	kept    []string // the last lines, for who is told of a failure
}

// What is kept of the last lines: so many of them, and so many bytes of each.
const (
	tailLines = 5
	tailBytes = 200
)

// tail are the last lines.
func (p *printed) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.kept, "\n")
}

func (p *printed) line(level slog.Level, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if line != "" {
		p.kept = append(p.kept, strings.ToValidUTF8(line[:min(len(line), tailBytes)], ""))
		p.kept = p.kept[max(0, len(p.kept)-tailLines):]
	}
	if p.left == 0 || !p.all.take(time.Now()) {
		p.dropped++
		p.last = line
		return
	}
	p.left--
	p.log.Log(context.Background(), level, line, "program", p.program)
}

func (p *printed) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dropped > 0 {
		p.log.Warn("the program printed more than is logged", "program", p.program, "lines", p.dropped, "last", p.last)
	}
}

// parseProgress reads "progress N TEXT".
func parseProgress(line string) (percent int, text string, ok bool) {
	rest, ok := strings.CutPrefix(line, "progress ")
	if !ok {
		return 0, "", false
	}
	number, text, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > 100 {
		return 0, "", false
	}
	return n, text, true
}

// maxLine bounds a line of a program, in bytes; the rest of it is dropped.
const maxLine = 1000

// lineWriter hands out lines as soon as they are whole.
type lineWriter struct {
	line func(string)
	rest []byte
}

var _ io.Writer = (*lineWriter)(nil)

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		adv, tok, _ := bufio.ScanLines(p, false)
		if adv == 0 {
			w.rest = append(w.rest, p[:min(len(p), maxLine-min(maxLine, len(w.rest)))]...)
			break
		}
		w.rest = append(w.rest, tok...)
		w.hand()
		p = p[adv:]
	}
	return n, nil
}

// end hands out what came after the last line feed: a program that fails may leave that out.
func (w *lineWriter) end() {
	if len(w.rest) > 0 {
		w.hand()
	}
}

func (w *lineWriter) hand() {
	w.line(strings.ToValidUTF8(string(w.rest[:min(len(w.rest), maxLine)]), "?"))
	w.rest = w.rest[:0]
}
