// Package syslog sends the audit log to a log server. Messages are those of
// RFC 5424, over UDP, TCP, TLS or a local socket.
//
// The database is the queue: what is to be sent is read from there, so that no
// request waits, nothing is kept in memory, and what a shell on the data
// directory has done is sent as well. What must not live here: what is audited.
//
// Read first: Config, Sender.Run, then Sender.next.
package syslog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/rfc5424"
)

const (
	// facility of the audit log: log audit.
	facility = 13
	// overlap is how long after an entry an older one may still appear: the clocks
	// of several controllers on one database differ.
	overlap = 2 * time.Minute
	// maxMark bounds the file of the mark, in bytes.
	maxMark = 16 << 20
	// longestRest is the longest time between two attempts to reach a log server.
	longestRest = 30 * time.Second
)

// Source is where entries are: a domain.Controller.
type Source interface {
	Audit(context.Context, domain.Actor, domain.AuditFilter, domain.Page) (domain.List[domain.AuditEntry], error)
}

// Config configures a Sender.
type Config struct {
	// Source has the entries. Required.
	Source Source
	// Target is the log server. Required.
	Target Target
	// Mark is the path of a file that says how far everything was sent, so that a
	// restart neither loses nor repeats. Required.
	Mark string
	// Host is this host's name in messages. "" means the system's.
	Host string
	// Every is how often new entries are looked for. 0 means 2 s.
	Every time.Duration
	// MaxBehind bounds the entries that wait for a log server; of more, the oldest
	// are not sent, and their number is told. 0 means 10,000.
	MaxBehind int
	// Now returns the time. nil means time.Now.
	Now func() time.Time
	// Log is told what becomes of the log server. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	switch {
	case c.Source == nil || c.Target.scheme == "" || c.Mark == "":
		return errors.New("syslog: no source, no target or no file for the mark")
	case c.Every < 0 || c.MaxBehind < 0:
		return errors.New("syslog: a time or limit is negative")
	}
	return nil
}

// Sender sends the audit log.
type Sender struct {
	cfg           Config
	sent, dropped prometheus.Counter
	mark          mark
	conn          *conn
}

// mark is how far everything was sent.
type mark struct {
	Schema int `json:"schema"`
	// From is the first time of all, At that of the latest entry that was sent.
	From time.Time `json:"from"`
	At   time.Time `json:"at"`
	// Sent are the entries that were sent of the last overlap.
	Sent map[string]time.Time `json:"sent"`
}

// New returns a sender. What was written before the first one is not sent.
func New(cfg Config) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Host == "" {
		cfg.Host, _ = os.Hostname() // a message may lack it
	}
	cfg.Every, cfg.MaxBehind = cmp.Or(cfg.Every, 2*time.Second), cmp.Or(cfg.MaxBehind, 10_000)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{cfg: cfg,
		sent: prometheus.NewCounter(prometheus.CounterOpts{Name: "peerload_audit_syslog_sent_total",
			Help: "Entries of the audit log that were sent to the log server."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "peerload_audit_syslog_dropped_total",
			Help: "Entries of the audit log that were not sent, since too many waited; the database has them."})}
	return s, s.readMark()
}

// Describe implements prometheus.Collector.
func (s *Sender) Describe(ch chan<- *prometheus.Desc) { s.sent.Describe(ch); s.dropped.Describe(ch) }

// Collect implements prometheus.Collector.
func (s *Sender) Collect(ch chan<- prometheus.Metric) { s.sent.Collect(ch); s.dropped.Collect(ch) }

// readMark reads how far everything was sent. A damaged mark is begun anew, and
// told: entries may be sent twice, or not.
func (s *Sender) readMark() error {
	b, err := durable.Read(s.cfg.Mark, maxMark)
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return err
	}
	if err == nil && b != nil && json.Unmarshal(b, &s.mark) == nil && s.mark.Schema == 1 {
		return nil
	}
	if b != nil || err != nil {
		s.cfg.Log.Warn("the mark of the audit log that was sent cannot be read: what was written from now on is sent",
			"file", s.cfg.Mark)
	}
	now := s.cfg.Now().UTC()
	s.mark = mark{Schema: 1, From: now, At: now}
	return s.writeMark()
}

func (s *Sender) writeMark() error {
	b, err := json.Marshal(s.mark)
	if err != nil {
		return err
	}
	return durable.Write(s.cfg.Mark, b, 0o600)
}

// Run sends until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	defer s.hangUp()
	rest, down := s.cfg.Every, false
	for {
		err := s.sendAll(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && !down:
			s.cfg.Log.Error("the audit log does not reach the log server; it stays in the database, and is sent later",
				"error", err)
		case err == nil && down:
			s.cfg.Log.Info("the audit log reaches the log server again")
		}
		if down = err != nil; down {
			rest = min(2*rest, max(longestRest, s.cfg.Every))
		} else {
			rest = s.cfg.Every
		}
		timer := time.NewTimer(rest)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (s *Sender) hangUp() {
	if s.conn != nil {
		s.conn.end()
		s.conn = nil
	}
}

// next reads what is to be sent, the oldest first, and counts what too many
// waited before.
func (s *Sender) next(ctx context.Context) (all []domain.AuditEntry, missed int, err error) {
	since := s.mark.At.Add(-overlap)
	if since.Before(s.mark.From) {
		since = s.mark.From
	}
	p, total, sent := domain.Page{Limit: domain.MaxPage}, 0, 0
	for read := 0; ; {
		l, err := s.cfg.Source.Audit(ctx, domain.Local("syslog"), domain.AuditFilter{Since: since}, p)
		if err != nil {
			return nil, 0, err
		}
		if p.After == "" {
			total = l.Total
		}
		read += len(l.Items)
		for _, e := range l.Items {
			if _, has := s.mark.Sent[e.ID]; has {
				sent++
			} else if len(all) < s.cfg.MaxBehind {
				all = append(all, e)
			}
		}
		if p.After = l.Next; p.After == "" || len(all) >= s.cfg.MaxBehind {
			break
		}
	}
	slices.Reverse(all)
	if len(all) == s.cfg.MaxBehind {
		missed = max(0, total-len(all)-len(s.mark.Sent))
	}
	return all, missed, nil
}

// sendAll sends all that is new.
func (s *Sender) sendAll(ctx context.Context) (err error) {
	all, missed, err := s.next(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	if s.conn == nil {
		if s.conn, err = s.cfg.Target.dial(ctx); err != nil {
			return err
		}
	}
	n := 0
	defer func() {
		if err != nil {
			s.hangUp()
		}
		if n > 0 {
			s.forget()
			err = errors.Join(err, s.writeMark())
		}
	}()
	if missed > 0 {
		if err := s.conn.send(s.missed(missed)); err != nil {
			return err
		}
		s.dropped.Add(float64(missed))
		s.cfg.Log.Warn("entries of the audit log were not sent, since too many waited; the database has them", "entries",
			missed)
	}
	for _, e := range all {
		if err := s.conn.send(s.message(e)); err != nil {
			return err
		}
		n++
		s.sent.Inc()
		if s.mark.Sent == nil {
			s.mark.Sent = map[string]time.Time{}
		}
		s.mark.Sent[e.ID] = e.At
		if e.At.After(s.mark.At) {
			s.mark.At = e.At
		}
		if missed > 0 { // what was dropped is not looked for again
			s.mark.From, missed = e.At, 0
		}
	}
	return nil
}

// forget drops what cannot come again.
func (s *Sender) forget() {
	old := s.mark.At.Add(-overlap)
	maps.DeleteFunc(s.mark.Sent, func(_ string, at time.Time) bool { return at.Before(old) })
}

// message is an entry for the log server.
func (s *Sender) message(e domain.AuditEntry) []byte {
	severity := rfc5424.Notice
	if e.Action == "login.failed" || e.Action == "login.deny" {
		severity = rfc5424.Warning
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s of %s", cmp.Or(e.Actor, "nobody"), e.Action, e.Target)
	for i, c := range e.Changes {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&text, "%s%s: %s → %s", sep, c.Field, orUnset(c.Old), orUnset(c.New))
	}
	return s.bytes(rfc5424.Message{Severity: severity, Time: e.At, ID: e.Action, Text: text.String(),
		Params: [][2]string{{"id", e.ID}, {"actor", e.Actor}, {"kind", string(e.Kind)}, {"from", e.From},
			{"target", e.Target}}})
}

// missed tells the log server what it has not got.
func (s *Sender) missed(n int) []byte {
	return s.bytes(rfc5424.Message{Severity: rfc5424.Warning, Time: s.cfg.Now(), ID: "audit.dropped",
		Params: [][2]string{{"dropped", fmt.Sprint(n)}},
		Text:   fmt.Sprintf("%d entries of the audit log were not sent; the controller's database has them", n)})
}

func (s *Sender) bytes(m rfc5424.Message) []byte {
	m.Facility, m.Host, m.App, m.Process = facility, s.cfg.Host, "peerload-server", os.Getpid()
	return m.Bytes(s.conn.most)
}

func orUnset(v *string) string {
	if v == nil {
		return "unset"
	}
	return *v
}
