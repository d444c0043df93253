package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/syslog"

	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/report"
)

// queued bounds the events that wait for delivery.
const queued = 1024

// sink delivers every event: to the status file, the log, the log server, the
// counters, and programs at the socket.
type sink struct {
	log   *slog.Logger
	rec   *status.Recorder
	count counts
	queue chan report.Event
	ended chan struct{}

	mu     sync.Mutex
	syslog *syslog.Writer // nil without a log server
	target string
	subs   map[int]func(report.Event)
	sub    int
	shut   bool
}

func newSink(log *slog.Logger, rec *status.Recorder) *sink {
	s := &sink{log: log, rec: rec, queue: make(chan report.Event, queued), ended: make(chan struct{}),
		subs: map[int]func(report.Event){}}
	s.count.init()
	go s.write()
	return s
}

// take takes an event. It never blocks: what does not fit is counted.
func (s *sink) take(e report.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return
	}
	select {
	case s.queue <- e:
	default:
		s.count.dropped.Add(1)
	}
}

func (s *sink) write() {
	defer close(s.ended)
	for e := range s.queue {
		s.rec.Take(e)
		s.count.event(e)
		level := levelOf(e)
		if s.log.Enabled(context.Background(), level) && e.Event != report.KindProgress {
			s.log.Log(context.Background(), level, e.Message, "event", e.Event, "file", e.File, "role", e.Role, "source",
				e.Source, "reason", e.Reason)
		}
		s.mu.Lock()
		w := s.syslog
		subs := make([]func(report.Event), 0, len(s.subs))
		for _, f := range s.subs {
			subs = append(subs, f)
		}
		s.mu.Unlock()
		if w != nil && level >= slog.LevelInfo {
			w.Send(e, level)
		}
		for _, f := range subs {
			f(e)
		}
	}
}

// levelOf says how much an event matters.
func levelOf(e report.Event) slog.Level {
	switch e.Event {
	case report.KindFailed:
		return slog.LevelError
	case report.KindFallback, report.KindConflict:
		return slog.LevelWarn
	case report.KindRole, report.KindListening, report.KindCommitted, report.KindDone, report.KindLog:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// subscribe passes every event to f until the returned function is called. f
// must not block for long.
func (s *sink) subscribe(f func(report.Event)) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sub++
	n := s.sub
	s.subs[n] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, n)
	}
}

// logTo sends events to a log server from now on, to none if it is "".
func (s *sink) logTo(server, host string, from netip.Addr) error {
	s.mu.Lock()
	same := server == s.target
	s.mu.Unlock()
	if same {
		return nil
	}
	var w *syslog.Writer
	var err error
	if server != "" {
		// Finding its address may take a while: not with the lock held.
		if w, err = syslog.Dial(server, host, from); err != nil {
			server, err = "", fmt.Errorf("log server %s: %w", server, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syslog != nil {
		s.syslog.Close()
	}
	s.syslog, s.target = w, server
	return err
}

func (s *sink) close() {
	s.mu.Lock()
	s.shut = true
	s.mu.Unlock()
	close(s.queue)
	<-s.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syslog != nil {
		s.syslog.Close()
	}
}

// event fills in the common fields and delivers the event.
func (d *Daemon) event(e report.Event) {
	e.Schema, e.Time, e.Device = report.Schema, status.Stamp(time.Now()), fmt.Sprintf("%016x", d.id)
	d.sink.take(e)
}

// counts are the counters of the metrics. Labels have few values, and never an
// address of a device.
type counts struct {
	dropped atomic.Int64

	mu        sync.Mutex
	checkIns  map[string]int64 // by result
	upgrades  map[string]int64 // by result
	fallbacks map[string]int64 // by reason
	elections int64
	committed int64
	failed    int64
}

func (c *counts) init() {
	c.checkIns = map[string]int64{"ok": 0, "failed": 0}
	c.upgrades = map[string]int64{"committed": 0, "rolled-back": 0, "failed": 0}
	c.fallbacks = map[string]int64{}
}

func (c *counts) checkIn(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.checkIns["failed"]++
	} else {
		c.checkIns["ok"]++
	}
}

func (c *counts) upgrade(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.upgrades[result]++
}

func (c *counts) event(e report.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e.Event {
	case report.KindFallback:
		c.fallbacks[e.Reason]++
	case report.KindCommitted:
		c.committed++
	case report.KindFailed:
		c.failed++
	case report.KindRole:
		if e.Role == report.RoleRoot {
			c.elections++
		}
	}
}
