package syslog

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/limits"
)

// rig is a controller on a real database, whose audit log goes to a log server.
type rig struct {
	*domain.Controller
	t    *testing.T
	mark string
	n    int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	store, err := freshdb.Open(t.Context(), filepath.Join(dir, "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	ctl, err := domain.New(domain.Config{Store: store, Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Controller: ctl, t: t, mark: filepath.Join(dir, "mark")}
}

// change writes entries of the audit log.
func (r *rig) change(n int) (targets []string) {
	r.t.Helper()
	for range n {
		r.n++
		name := fmt.Sprintf("profile-%d", r.n)
		if _, err := r.CreateProfile(r.t.Context(), domain.Local("root"), name, domain.ProfileChange{}); err != nil {
			r.t.Fatal(err)
		}
		targets = append(targets, "profile "+name)
	}
	return targets
}

func (r *rig) sender(target string, change ...func(*Config)) *Sender {
	r.t.Helper()
	t, err := ParseTarget(target, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := Config{Source: r.Controller, Target: t, Mark: r.mark, Every: time.Millisecond}
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// run runs a sender until the returned function is called.
func run(t *testing.T, s *Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// got is a message that a log server has got.
type got struct{ id, target, text string }

// parse reads a message with a parser of others.
func parse(t *testing.T, b []byte) got {
	m, err := rfc5424.NewParser().Parse(b)
	if err != nil {
		t.Errorf("%v in %q", err, b)
		return got{}
	}
	s := m.(*rfc5424.SyslogMessage)
	if *s.Facility != facility || *s.Appname != "peerload-server" {
		t.Errorf("%q", b)
	}
	sd := (*s.StructuredData)["peerload@32473"]
	return got{*s.MsgID, sd["target"], *s.Message}
}

// collect reads framed messages of every connection.
func collect(t *testing.T, ln net.Listener) <-chan got {
	all := make(chan got, 1000)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					length, err := r.ReadString(' ')
					if err != nil {
						return
					}
					n, err := strconv.Atoi(strings.TrimSpace(length))
					if err != nil {
						t.Errorf("the length is %q", length)
						return
					}
					b := make([]byte, n)
					if _, err := io.ReadFull(r, b); err != nil {
						return
					}
					all <- parse(t, b)
				}
			}()
		}
	}()
	return all
}

// datagrams reads messages, one a datagram.
func datagrams(t *testing.T, c net.PacketConn) <-chan got {
	all := make(chan got, 1000)
	t.Cleanup(func() { c.Close() })
	go func() {
		for b := make([]byte, 1<<16); ; {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			all <- parse(t, b[:n])
		}
	}()
	return all
}

// await fails the test unless these come, in this order, and nothing between.
func await(t *testing.T, all <-chan got, targets []string) {
	t.Helper()
	for i, want := range targets {
		select {
		case g := <-all:
			if g.target != want || !strings.Contains(g.text, "root: profile.create of "+want) {
				t.Fatalf("message %d is %+v, not of %s", i, g, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("message %d of %s does not come", i, want)
		}
	}
}

func listen(t *testing.T, network, addr string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// TestTransports: every entry reaches the log server by each way, in order, in a
// form that others read.
func TestTransports(t *testing.T) {
	dir := t.TempDir()
	packets := func(network, addr string) net.PacketConn {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	udp, gram := packets("udp", "127.0.0.1:0"), packets("unixgram", dir+"/log")
	tcp, stream := listen(t, "tcp", "127.0.0.1:0"), listen(t, "unix", dir+"/stream")
	secure := httptest.NewUnstartedServer(nil)
	secure.StartTLS()
	cert, pool := secure.TLS.Certificates[0], x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	secure.Close()
	over := tls.NewListener(listen(t, "tcp", "127.0.0.1:0"), &tls.Config{Certificates: []tls.Certificate{cert}})
	for target, all := range map[string]<-chan got{
		"udp://" + udp.LocalAddr().String(): datagrams(t, udp), "unix://" + dir + "/log": datagrams(t, gram),
		"tcp://" + tcp.Addr().String(): collect(t, tcp), "unix://" + dir + "/stream": collect(t, stream),
		"tls://" + over.Addr().String(): collect(t, over),
	} {
		r := newRig(t)
		r.change(3) // from before
		s := r.sender(target, func(c *Config) { c.Target.ca = pool })
		run(t, s)
		await(t, all, r.change(5))
		await(t, all, r.change(1))
	}
	r := newRig(t)
	s := r.sender("tls://" + over.Addr().String()) // of whom this host knows nothing
	r.change(1)
	if err := s.sendAll(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown log server: %v", err)
	}
}

// TestServerDown: while the log server is down nothing waits for it, and nothing
// is lost; a restart of either neither loses nor repeats.
func TestServerDown(t *testing.T) {
	r := newRig(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	addr := ln.Addr().String()
	ln.Close()
	s := r.sender("tcp://" + addr)
	targets := r.change(20) // nobody reads them, and nobody waits
	if err := s.sendAll(t.Context()); err == nil {
		t.Fatal("nobody listens, and yet it was sent")
	}
	all := collect(t, listen(t, "tcp", addr))
	stop := run(t, s)
	await(t, all, targets)
	stop()
	targets = r.change(3)
	stop = run(t, r.sender("tcp://"+addr)) // the controller has started again
	await(t, all, targets)
	stop()
	await(t, all, nil)
	if n := len(all); n != 0 {
		t.Errorf("%d messages came twice", n)
	}
}

// TestServerEnds: a server that ends the connection gets what comes next over
// another one.
func TestServerEnds(t *testing.T) {
	r := newRig(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	s := r.sender("tcp://" + ln.Addr().String())
	r.change(1)
	if err := s.sendAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-s.conn.gone
	targets := r.change(2)
	if err := s.sendAll(t.Context()); err == nil {
		t.Error("it was sent to whom is gone")
	}
	all := collect(t, ln)
	run(t, s)
	await(t, all, targets)
}

// TestTooManyWait: of more than may wait the latest are sent, and the number of
// the others is told, to the log server and in the metrics, once.
func TestTooManyWait(t *testing.T) {
	r := newRig(t)
	ln := listen(t, "tcp", "127.0.0.1:0")
	s := r.sender("tcp://"+ln.Addr().String(), func(c *Config) { c.MaxBehind = 5 })
	all := collect(t, ln)
	targets := r.change(12)
	if err := s.sendAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g := <-all; g.id != "audit.dropped" || !strings.Contains(g.text, "7 entries") {
		t.Errorf("first comes %+v", g)
	}
	await(t, all, targets[7:])
	for range 3 {
		if err := s.sendAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, all, func() []string {
		more := r.change(2)
		if err := s.sendAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		return more
	}())
	if sent, dropped := testutil.ToFloat64(s.sent), testutil.ToFloat64(s.dropped); sent != 7 || dropped != 7 {
		t.Errorf("%v sent, %v dropped", sent, dropped)
	}
}

// TestHostileEntries: what somebody has typed forges no message.
func TestHostileEntries(t *testing.T) {
	s := &Sender{conn: &conn{most: maxLine}, cfg: Config{Host: "h", Now: time.Now}}
	evil := "x\n<11>1 - - - - - - forged\"] \u2028"
	b := s.message(domain.AuditEntry{At: time.Unix(1, 0), Actor: evil, From: evil, Action: "a b\n", Target: evil,
		Changes: []domain.FieldChange{{Field: evil, New: &evil}}})
	g := parse(t, b)
	if strings.ContainsAny(string(b), "\n\u2028") || g.id != "ab" || !strings.Contains(g.text, "unset → ") {
		t.Errorf("%q: %+v", b, g)
	}
}

// TestTargets: what is no log server is told.
func TestTargets(t *testing.T) {
	for in, want := range map[string]string{"udp://a": "a:514", "tcp://a": "a:601", "tls://a": "a:6514",
		"tls://[::1]:7": "[::1]:7", "unix:///dev/log": "/dev/log"} {
		if got, err := ParseTarget(in, nil); err != nil || got.addr != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "a", "a:514", "http://a", "tls://", "tls://u:p@a", "tls://a/x", "unix://x", "unix:///",
		"udp://a?b", "udp://a:x"} {
		if got, err := ParseTarget(in, nil); err == nil || !strings.Contains(err.Error(), "tls://") {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

// TestConfig: a sender has a source, a target and a place for its mark.
func TestConfig(t *testing.T) {
	to, err := ParseTarget("udp://a", nil)
	if err != nil {
		t.Fatal(err)
	}
	other, zero := limits.Any("below, or nil"), limits.AtLeast(0)
	good := Config{Source: &domain.Controller{}, Target: to, Mark: "m"}
	limits.Test(t, good, Config.Validate, map[string]limits.Range{
		"Source": other, "Target": other, "Mark": other, "Host": other, "Now": other, "Log": other,
		"Every": zero, "MaxBehind": zero,
	})
	for name, spoil := range map[string]func(c *Config){
		"no source": func(c *Config) { c.Source = nil }, "no target": func(c *Config) { c.Target = Target{} },
		"no mark": func(c *Config) { c.Mark = "" },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
	}
}
