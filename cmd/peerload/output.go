package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// output writes what a run tells: the result on standard output, everything
// else on standard error, and the status file.
type output struct {
	f      *getFlags
	rec    *status.Recorder
	mu     sync.Mutex
	out    *bufio.Writer
	bar    bool // standard error is a terminal
	barred bool // a bar stands in the present line
	wide   int
	queue  chan report.Event
	ended  chan struct{}
	device string // the id that events tell
	// results are the last words, for the end of the run.
	results []report.Event
}

// queued bounds the events that wait for a slow reader; progress and the
// console log are dropped when it is full.
const queued = 1024

func newOutput(f *getFlags, rec *status.Recorder) *output {
	o := &output{f: f, rec: rec, out: bufio.NewWriter(os.Stdout), queue: make(chan report.Event, queued),
		ended: make(chan struct{})}
	if fd := int(os.Stderr.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" && !f.json {
		o.bar = true
		if w, _, err := term.GetSize(fd); err == nil {
			o.wide = w
		}
	}
	go o.write()
	return o
}

// event takes an event from the device; it does not block on those that come
// as long as the device runs: whoever does not read must not stop it.
func (o *output) event(e report.Event) {
	if e.Event == report.KindProgress || e.Event == report.KindLog {
		select {
		case o.queue <- e:
		default:
		}
		return
	}
	o.queue <- e
}

// take takes an event of package peerload and says of a file that is in place,
// or not coming, what this command has to say.
func (o *output) take(e report.Event) {
	switch e.Event {
	case report.KindDone:
		e.Message = summary(e.Final)
		o.event(e)
	case report.KindFailed:
		if e.Reason == wire.ReasonStopped.String() {
			e.Message += again
		}
		o.failed(e.File, e.Reason, e.Message, e.Final)
	default:
		o.event(e)
	}
}

func (o *output) write() {
	defer close(o.ended)
	for e := range o.queue {
		if e.Device == "" {
			e.Device = o.device
		}
		o.device = e.Device
		o.rec.Take(e)
		o.mu.Lock()
		o.show(e)
		o.mu.Unlock()
	}
}

// close writes what is left.
func (o *output) close() {
	close(o.queue)
	<-o.ended
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clearBar(os.Stderr)
	o.printResults()
	_ = o.out.Flush()
	o.rec.Close()
}

func (o *output) show(e report.Event) {
	if o.f.json {
		_ = json.NewEncoder(o.out).Encode(e)
		if len(o.queue) == 0 || e.Event != report.KindProgress {
			_ = o.out.Flush()
		}
		if o.f.verbose == 0 {
			return
		}
	}
	switch {
	case e.Event == report.KindProgress:
		o.showBar(e)
	case o.f.verbose > 0 && e.Message != "":
		o.line("%s %-9s %s", clock(e.Time), e.Event, e.Message)
	case e.Event == report.KindFallback || e.Event == report.KindConflict:
		o.line("peerload: %s", e.Message)
	}
}

// clock is the time of day of an event, as the console log has it.
func clock(t string) string {
	if v, err := time.Parse(report.TimeLayout, t); err == nil {
		return v.Format("15:04:05.000000")
	}
	return t
}

// moment is the time of an event, as RFC 3339 has it, or a hyphen for none.
func moment(t string) string {
	if v, err := time.Parse(report.TimeLayout, t); err == nil && v.IsZero() {
		return terminal.None
	}
	return terminal.OrNone(t)
}

func (o *output) line(format string, args ...any) {
	o.clearBar(os.Stderr)
	tell(os.Stderr, format, args...)
}

func (o *output) clearBar(w io.Writer) {
	if o.barred {
		fmt.Fprint(w, "\r\x1b[K")
		o.barred = false
	}
}

// showBar draws the progress of one file in the present line.
func (o *output) showBar(e report.Event) {
	if !o.bar || e.Size == 0 {
		return
	}
	from := e.Source
	switch e.Source {
	case report.SourcePeer:
		from = "from " + e.Parent
	case report.SourceOrigin:
		from = "from the server"
		if n := len(e.Children); n > 0 {
			from = fmt.Sprintf("from the server for %d children", n)
		}
	}
	text := terminal.Printable(fmt.Sprintf("%s %3d %% %s of %s, %s", e.File, e.Percent, terminal.Bytes(e.Bytes),
		terminal.Bytes(e.Size), from))
	if width := o.wide - terminal.Width(text) - 4; width >= 10 {
		width = min(width, 40)
		full := width * e.Percent / 100
		text = "[" + strings.Repeat("#", full) + strings.Repeat(" ", width-full) + "] " + text
	} else if o.wide > 0 && terminal.Width(text) >= o.wide {
		text = terminal.Fit(text, o.wide-1)
	}
	fmt.Fprint(os.Stderr, "\r\x1b[K"+text)
	o.barred = true
}

// warn tells of something that does not stop the run.
func (o *output) warn(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line("peerload: warning: %s", s)
}

// done reports a file or load that is in place; its serving may go on.
func (o *output) done(f *report.Final) {
	o.event(finished(report.KindDone, f))
}

// failed reports a file that is not coming.
func (o *output) failed(name, reason, message string, f *report.Final) {
	e := report.Event{Schema: report.Schema, Time: status.Stamp(time.Now()), Event: report.KindFailed, File: name,
		Reason: reason, Message: message, Final: f}
	o.event(e)
	e.Event = report.KindReport
	o.results = append(o.results, e)
}

// result is the last word on a file that is in place, after the serving.
func (o *output) result(f *report.Final) {
	o.results = append(o.results, finished(report.KindReport, f))
}

// finished is an event that tells of a file in place.
func finished(kind string, f *report.Final) report.Event {
	return report.Event{Schema: report.Schema, Time: status.Stamp(time.Now()), Event: kind, File: f.File, URL: f.URL,
		Role: f.Role, Source: f.Source, Bytes: f.Size, Size: f.Size, Percent: 100, Final: f, Message: summary(f)}
}

// printResults ends what is on standard output: nothing comes after it.
func (o *output) printResults() {
	for _, e := range o.results {
		switch {
		case o.f.json:
			e.Device = o.device
			_ = json.NewEncoder(o.out).Encode(e)
		case e.Final != nil && e.Reason == "":
			to := io.Writer(o.out)
			if o.f.sink != nil && o.f.sink.path == "" {
				to = os.Stderr // the file itself is there
			}
			tell(to, "%s", summary(e.Final))
		}
	}
}

// summary is the result in one line.
func summary(f *report.Final) string {
	s := fmt.Sprintf("%s: %s in %.1f s", f.Path, terminal.Bytes(f.Size), f.ElapsedS)
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{{f.BytesFromPeers, "from peers"}, {f.BytesFromOrigin, "from the server"}, {f.BytesFromCache, "held before"},
		{f.BytesToPeers, "passed on"}} {
		if p.n > 0 {
			parts = append(parts, terminal.Bytes(p.n)+" "+p.what)
		}
	}
	if len(parts) > 0 {
		s += " (" + strings.Join(parts, ", ") + ")"
	}
	if f.Unsigned {
		s += ", unsigned"
	}
	return s
}
