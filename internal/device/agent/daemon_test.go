package agent

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/peerload/peerload/report"
)

// TestNotify: the service manager hears that the device is ready, alive, and
// about to stop.
func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_ = l.SetReadDeadline(time.Now().Add(patience))
	d := newDepot(t)
	d.provision(sharing("", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := startWith(t, cfg, Setup{Notify: name, Watchdog: 100 * time.Millisecond})
	hear := func(want string) {
		t.Helper()
		buf := make([]byte, 256)
		for {
			n, err := l.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	hear("READY=1")
	hear("WATCHDOG=1")
	hear("WATCHDOG=1")
	if err := r.Reload(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1")
	r.stop()
	hear("STOPPING=1")
}

// TestReload: another configuration is in force at once.
func TestReload(t *testing.T) {
	t.Parallel()
	d, e := newDepot(t), newDepot(t)
	d.provision(sharing("", ""))
	e.provision("<Default></Default>")
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := start(t, cfg)
	until(t, "shares", func() bool { s := r.place.current(); return s != nil && s.key.sharing })
	cfg.Servers = []string{e.url}
	if err := r.Reload(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	until(t, "shares no more", func() bool { s := r.place.current(); return s != nil && !s.key.sharing })
	cfg.Model = ""
	if err := r.Reload(context.Background(), cfg); err == nil {
		t.Error("a bad configuration was taken")
	}
}

// TestSyslog: the log server of the settings gets events that a reader of
// RFC 5424 understands.
func TestSyslog(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(strings.Replace(sharing("L1", ""), "</enterpriseConfig>",
		"<logServer>"+server.LocalAddr().String()+"</logServer></enterpriseConfig>", 1))
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := start(t, cfg)
	r.runs("L1")
	_ = server.SetReadDeadline(time.Now().Add(patience))
	parser := rfc5424.NewParser()
	buf := make([]byte, 65536)
	for {
		n, from, err := server.ReadFrom(buf)
		if err != nil {
			t.Fatalf("no message that a load was committed: %v", err)
		}
		if a := netip.MustParseAddrPort(from.String()).Addr(); a != cfg.Address.Addr() {
			t.Errorf("from %s, want %s", a, cfg.Address.Addr())
		}
		m, err := parser.Parse(buf[:n])
		if err != nil {
			t.Fatalf("%v in %q", err, buf[:n])
		}
		s := m.(*rfc5424.SyslogMessage)
		if *s.Hostname != "SEP"+cfg.MAC || *s.Appname != "peerload" || s.Timestamp.IsZero() ||
			*s.Facility != 16 || len((*s.StructuredData)["peerload@32473"]["device"]) != 16 {
			t.Errorf("%q", buf[:n])
		}
		if *s.MsgID == report.KindCommitted {
			break
		}
	}
}
