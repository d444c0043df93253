package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/leodido/go-syslog/v4/rfc5424"
	"github.com/peerload/peerload/internal/device/fileset"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/tftp"
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
	d.provision(withSharing("", ""))
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
	d.provision(withSharing("", ""))
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

// TestOpenInstance: an engine that cannot start says why, and leaves no port
// taken.
func TestOpenInstance(t *testing.T) {
	t.Parallel()
	s := newSubnet(t)
	c := s.config(newDepot(t), "CP-7961G")
	good := instanceKey{sharing: true, timing: "lan", address: c.Address, port: s.port, model: c.Model}
	with := instanceConfig{id: 7, noSync: true, files: machine{}, report: func(report.Event) {}}
	for name, spoil := range map[string]func(k *instanceKey){
		"timing":      func(k *instanceKey) { k.timing = "swift" },
		"certificate": func(k *instanceKey) { k.cacert = filepath.Join(t.TempDir(), "none") },
		"rate":        func(k *instanceKey) { k.lan = -1 },
		"WAN rate":    func(k *instanceKey) { k.wan = -1 },
		"address":     func(k *instanceKey) { k.address = netip.MustParsePrefix("192.0.2.1/24") },
	} {
		key := good
		spoil(&key)
		if i, _, err := openInstance(key, with); err == nil {
			i.close()
			t.Errorf("%s: started", name)
		}
		if name == "address" {
			continue
		}
		if key.sharing = false; name == "timing" {
			continue
		}
		if i, _, err := openInstance(key, with); err == nil {
			i.close()
			t.Errorf("%s: started without peers", name)
		}
	}
	i, _, err := openInstance(good, with)
	if err != nil {
		t.Fatal(err)
	}
	i.close()
	if !i.left() {
		t.Error("an engine that was closed has not left")
	}
}

// forgetful is a file system on which the record of the upgrade cannot be
// written while it is full.
type forgetful struct {
	machine
	full atomic.Bool
}

func (f *forgetful) Rename(from, to string) error {
	if f.full.Load() && filepath.Base(to) == recordName {
		return syscall.ENOSPC
	}
	return f.machine.Rename(from, to)
}

// TestUpgradeThatCannotBeRemembered does not begin: after a power cut nobody
// would know of it.
func TestUpgradeThatCannotBeRemembered(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.load("L2", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	disk := &forgetful{}
	r := startWith(t, newSubnet(t).config(d, "CP-7961G"), Setup{files: disk})
	r.runs("L1")
	until(t, "is idle", func() bool { return r.Status().State == report.StateIdle })
	disk.full.Store(true)
	d.provision(withSharing("L2", ""))
	r.Wake()
	until(t, "tells", func() bool { return strings.Contains(r.log.String(), "msg=upgrade error=") })
	if a, _ := r.slots.Active(); a.Name != "L1" || r.Status().State == report.StateDownloading {
		t.Errorf("%s is active, the state is %s", a.Name, r.Status().State)
	}
	disk.full.Store(false)
	r.Wake()
	r.runs("L2")
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
	d.provision(strings.Replace(withSharing("L1", ""), "</enterpriseConfig>",
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

// TestDefaultAfterAnyAnswer: whatever a server says about the file of the
// device, the one for all is asked for next; but not after a request for
// patience, nor from a server that is not there.
func TestDefaultAfterAnyAnswer(t *testing.T) {
	t.Parallel()
	const file = "<Default><loadInformation model=\"CP-7961G\">L1</loadInformation></Default>"
	cfg := newSubnet(t).config(&depot{t: t}, "CP-7961G")
	conf, err := settle(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{conf: conf, mac: "020000000001"}
	ask := func(what, server string, want bool) {
		u, err := url.Parse(server)
		if err != nil {
			t.Fatal(err)
		}
		a, err := d.askServer(t.Context(), u)
		if got := string(a.raw) == file && strings.HasSuffix(a.from, "/XMLDefault.cnf.xml"); got != want {
			t.Errorf("%s: the file for all was had: %v, %v", what, got, err)
		}
	}
	for _, status := range []int{204, 400, 401, 403, 404, 405, 410, 500, 501, 502, 429, 503} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/SEP") {
				w.WriteHeader(status)
				return
			}
			_, _ = w.Write([]byte(file))
		}))
		defer s.Close()
		ask(fmt.Sprint("HTTP ", status), s.URL, status != 429 && status != 503)
	}
	for code := range byte(9) {
		ask(fmt.Sprint("TFTP ", code), "tftp://"+refusing(t, code, file), true)
	}
	for _, size := range []int{0, 1, len(file) - 1, len(file) + 1} {
		if size > len(file) && testing.Short() {
			continue // another block is waited for
		}
		ask(fmt.Sprint("TFTP, told ", size), "tftp://"+telling(t, size, file), true)
	}
	ask("nobody", "http://127.0.0.1:1", false)
}

// fromBare runs two devices against a TFTP server: one with a file of its own,
// one that gets the file for all.
func fromBare(t *testing.T, s *subnet, cfg Config, server string) {
	t.Helper()
	cfg.Servers, cfg.Trust = []string{server}, t.TempDir()
	r := start(t, cfg)
	r.runs("SCCP41")
	if b, err := os.ReadFile(filepath.Join(cfg.State, slotsName, "current", "apps41.sbn")); err != nil ||
		len(b) != 400_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	other := s.config(&depot{t: t, url: server}, "7941")
	o := start(t, other)
	until(t, "the file for all", func() bool { return strings.HasSuffix(o.keep.get().Provision, "/XMLDefault.cnf.xml") })
	if st := o.Status(); st.Active != "" || st.Sharing != "off" {
		t.Errorf("%+v", st)
	}
}

// TestBareTFTPServer: a device needs no more than what phones need.
func TestBareTFTPServer(t *testing.T) {
	t.Parallel()
	s := newSubnet(t)
	cfg := s.config(&depot{t: t}, "7941")
	root, err := os.OpenRoot(bare(t, cfg.MAC))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- (&tftp.Server{Files: tftp.Dir(root)}).Serve(ctx, pc) }()
	defer func() { cancel(); <-ended }()
	fromBare(t, s, cfg, "tftp://"+pc.LocalAddr().String())
}

// TestForeignTFTPServer: the same with tftpd-hpa.
func TestForeignTFTPServer(t *testing.T) {
	tiers.Long(t, "it runs whole devices; a short run has a whole upgrade of a site")
	t.Parallel()
	program := foreign.Program(t, "in.tftpd", foreign.TFTPHPA)
	if os.Geteuid() != 0 {
		t.Skip("in.tftpd changes its root directory: that needs root")
	}
	s := newSubnet(t)
	cfg := s.config(&depot{t: t}, "7941")
	server := fmt.Sprintf("127.0.0.1:%d", newSubnet(t).port)
	cmd := exec.Command(program, "-L", "-a", server, "-s", bare(t, cfg.MAC))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	fromBare(t, s, cfg, "tftp://"+server)
}

// TestLeaseNamesTheServer: without a server in the configuration that of DHCP
// is asked, HTTP on port 6970 before TFTP on port 69. Nobody answers there:
// what was tried is what counts.
func TestLeaseNamesTheServer(t *testing.T) {
	t.Parallel()
	cfg := newSubnet(t).config(&depot{t: t}, "7941")
	lease := filepath.Join(t.TempDir(), "dhcp.env")
	write(t, lease, "ip=127.0.0.9\nopt150=7f004d01\n") // 127.0.77.1
	cfg.Servers, cfg.Leases = nil, []string{filepath.Join(t.TempDir(), "none*"),
		filepath.Join(filepath.Dir(lease), "*.env")}
	r := start(t, cfg)
	until(t, "tried", func() bool { return r.prov.last().Err != "" })
	if e := r.prov.last().Err; !strings.Contains(e, "http://127.0.77.1:6970/SEP"+cfg.MAC) ||
		!strings.Contains(e, "tftp://127.0.77.1/SEP"+cfg.MAC) {
		t.Error(e)
	}
	cfg2 := newSubnet(t).config(&depot{t: t}, "7941")
	cfg2.Servers = nil
	r2 := start(t, cfg2)
	until(t, "says that nobody is there", func() bool { return strings.Contains(r2.prov.last().Err, "--server") })
}

// TestLocalFile: a native file on the device provisions it without a server.
func TestLocalFile(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Servers = nil
	cfg.Provision = filepath.Join(t.TempDir(), "provision.toml")
	write(t, cfg.Provision, "load = \"L1\"\n[device]\npeer-sharing = true\nload-server = \""+d.url+"\"\n")
	r := start(t, cfg)
	r.runs("L1")
	if st := r.Status(); st.Sharing != "on" || st.SharingFrom != "device" {
		t.Errorf("%+v", st)
	}
	r.stop()
	write(t, cfg.Provision, "load = ") // the last good one stays, also over a start
	r = start(t, cfg)
	until(t, "told", func() bool { return strings.Contains(r.prov.last().Err, "line 1") })
	if st := r.Status(); st.Sharing != "on" || st.Wanted != "L1" {
		t.Errorf("%+v", st)
	}
}

// TestRetrySoon: a server that comes late is found soon, not at the next
// regular check-in.
func TestRetrySoon(t *testing.T) {
	d := &Daemon{conf: &settled{cfg: Config{CheckIn: time.Hour}},
		upgrade:  &upgrader{machine: upgrade.New(upgrade.Record{})},
		stateDir: &stateDir{sets: &fileSets{keeper: fileset.NewKeeper(nil, nil)}}}
	var last time.Duration
	for i := range 14 {
		w := d.wait(errNoServer)
		most := min(firstRetry<<i, time.Hour)
		if w < most/2 || w > most {
			t.Errorf("wait %d is %v, at most %v", i, w, most)
		}
		last = w
	}
	if last < 30*time.Minute {
		t.Errorf("the last wait is %v", last)
	}
	if w := d.wait(nil); w < 54*time.Minute || w > 66*time.Minute {
		t.Errorf("the regular wait is %v", w)
	}
}

// TestTricklingServer: a server that sends one byte a second of a provisioning
// file, of metadata or of components is asked once, and the next one has it.
func TestTricklingServer(t *testing.T) {
	tiers.Long(t, "it waits until servers are given up")
	t.Parallel()
	component := func(p string) bool { return strings.HasPrefix(p, "/components/") && !strings.HasSuffix(p, ".load") }
	for name, slow := range map[string]func(path string) bool{
		"provisioning": func(p string) bool { return strings.HasSuffix(p, ".cnf.xml") },
		"metadata":     func(p string) bool { return !strings.HasSuffix(p, ".cnf.xml") && !component(p) },
		"components":   component,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDepot(t)
			d.load("L61-1", "good", 300_000, "CP-7961G")
			d.provision(withSharing("L61-1", "none"))
			first := newTrickling(t, d, slow)
			c := newSubnet(t).config(d, "CP-7961G")
			c.Servers = []string{first.url, d.url}
			spawn(t, c)
			until(t, "the load is active", func() bool {
				b, err := os.ReadFile(filepath.Join(c.State, slotsName, "current", "health"))
				return err == nil && string(b) == "good"
			})
			// Provisioning files are asked for again when the load is on trial.
			if n := first.asked.Load(); n < 1 || n > 1 && name != "provisioning" {
				t.Errorf("the first server was asked %d times for what it trickles", n)
			}
		})
	}
}

// TestFirstLoadFails: a first load that does not work is not shown as one that
// does, is tried again at once when it is ordered and else after a while, and
// runs once what made it fail is mended.
func TestFirstLoadFails(t *testing.T) {
	tiers.Long(t, "it runs whole devices; a short run has a whole upgrade of a site")
	t.Parallel()
	for name, again := range map[string]func(r *runner, cfg Config, ahead *atomic.Int64) error{
		"reload": func(r *runner, cfg Config, _ *atomic.Int64) error { return r.Reload(r.t.Context(), cfg) },
		"pause": func(r *runner, _ Config, ahead *atomic.Int64) error {
			ahead.Store(int64(15 * time.Minute))
			r.Wake()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) { firstLoadFails(t, again) })
	}
}

func firstLoadFails(t *testing.T, again func(r *runner, cfg Config, ahead *atomic.Int64) error) {
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	mended := filepath.Join(t.TempDir(), "mended")
	cfg.ConfirmCommand, cfg.ConfirmTimeout = "test -e "+mended, time.Second
	var ahead atomic.Int64
	r := startWith(t, cfg, Setup{now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	until(t, "failed", func() bool { return r.Status().State == report.StateFailed })
	if a, _ := r.slots.Active(); a.State != slot.StateFailed || a.Name != "L1" {
		t.Errorf("%+v", a)
	}
	if st := r.Status(); st.Reason != "not-confirmed" || r.upgrade.unfinished() != nil {
		t.Errorf("%+v", st)
	}
	write(t, mended, "")
	if err := again(r, cfg, &ahead); err != nil {
		t.Fatal(err)
	}
	r.runs("L1")
	if a, _ := r.slots.Active(); a.State != slot.StateConfirmed {
		t.Errorf("%+v", a)
	}
}

// TestFileSets: three devices take file sets from each other, put them in place without
// a restart, tell a hook, replace and remove them; the server gives each file once.
func TestFileSets(t *testing.T) {
	t.Parallel()
	d, sub := newDepot(t), newSubnet(t)
	big := strings.Repeat("0123456789abcdef", 20_000)
	d.set("jp-1", "locale", map[string]string{"phone.jar": big, "list.xml": "one"})
	d.set("jp-2", "locale", map[string]string{"phone.jar": big, "list.xml": "two!"})
	d.set("rings", "ring-tones", map[string]string{"bell.raw": "ring"})
	d.load("L1", "good", 1000, "CP-7961G")
	d.provision(withSets("", map[string]string{"locale": "jp-1", "ring-tones": "rings"}))
	log := filepath.Join(t.TempDir(), "log")
	hook := filepath.Join(t.TempDir(), "hook")
	write(t, hook, `#!/bin/sh
[ -z "$PEERLOAD_PREVIOUS" ] || before=" over $(cat "$PEERLOAD_PREVIOUS/list.xml")"
echo "$1 $PEERLOAD_SET $PEERLOAD_DIRECTORY $(cat "$PEERLOAD_DIR/list.xml" 2>/dev/null)$before" >> `+log+`
`)
	var all []*runner
	for n := range 3 {
		c := sub.config(d, "CP-7961G")
		if n == 0 {
			c.FileHook = hook
		}
		all = append(all, start(t, c))
	}
	both := map[string]string{"locale": "jp-1", "ring-tones": "rings"}
	for _, r := range all {
		r.hasSets(both)
		if r.placed("locale/phone.jar") != big || r.placed("locale/list.xml") != "one" ||
			r.placed("ring-tones/bell.raw") != "ring" {
			t.Error("what is in place is not what was published")
		}
		until(t, "tells the commands of its file sets", func() bool {
			sets := r.rec.Status().FileSets
			return len(sets) == 2 && sets[0].Name == "jp-1" && sets[0].State == report.StateIdle &&
				sets[1].State == report.StateIdle
		})
	}
	if n, copies := d.bytes.Load(), int64(len(big)+len("one")+len("ring")); n != copies {
		t.Errorf("the server gave %d bytes for three devices, a copy has %d", n, copies)
	}
	d.provision(withSets("", map[string]string{"locale": "jp-2"}))
	for _, r := range all {
		r.Wake()
	}
	for _, r := range all {
		r.hasSets(map[string]string{"locale": "jp-2"})
		if r.placed("locale/phone.jar") != big || r.placed("locale/list.xml") != "two!" ||
			r.placed("ring-tones/bell.raw") != "" {
			t.Error("what is in place is not what was assigned last")
		}
	}
	if n, copies := d.bytes.Load(), int64(len(big)+len("one")+len("ring")+len("two!")); n != copies {
		t.Errorf("the server gave %d bytes, and %d are new: what both versions have was fetched again", n, copies)
	}
	// A file that says nothing of sets, a load and a restart leave them where they are.
	d.provision(withSets("L1", nil))
	for _, r := range all {
		r.Wake()
		r.runs("L1")
		r.hasSets(map[string]string{"locale": "jp-2"})
	}
	d.provision(withSets("L1", map[string]string{}))
	all[0].Wake()
	all[0].hasSets(map[string]string{})
	want := "place jp-1 locale one\nplace rings ring-tones \nplace jp-2 locale two! over one\n" +
		"remove rings ring-tones  over \nremove jp-2 locale  over two!\n"
	if b, err := os.ReadFile(log); err != nil || string(b) != want {
		t.Errorf("the hook was told %q, %v", b, err)
	}
	if files, err := os.ReadDir(filepath.Join(all[0].conf.get().State, setsName, ".sets")); err != nil || len(files) > 0 {
		t.Errorf("%d contents are left of no set, %v", len(files), err)
	}
}

// TestFileSetRefused: what cannot be put in place leaves what is there, with its
// reason on the page and in the report; a hook that fails leaves the set in place.
func TestFileSetRefused(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	d := newDepot(t)
	d.set("a", "locale", map[string]string{"x": "a"})
	d.set("b", "locale", map[string]string{"x": "b"})
	d.load("L1", "good", 1000, "CP-7961G")
	d.provision(withSets("", map[string]string{"locale": "a"}))
	c := newSubnet(t).config(d, "CP-7961G")
	r := start(t, c)
	r.hasSets(map[string]string{"locale": "a"})
	fails := func(want map[string]string, dir string, code reason.Code) {
		t.Helper()
		d.provision(withSets("", want))
		r.Wake()
		until(t, string(code), func() bool {
			i := slices.IndexFunc(r.Status().FileSets, func(s report.FileSet) bool { return s.Directory == dir })
			return i >= 0 && r.Status().FileSets[i].Reason == string(code)
		})
		shown := strings.ReplaceAll(string(r.devicePage(view{ja: true})), `<span lang="en">`, "")
		if !strings.Contains(shown, wording.Why(true, string(code), "")[:9]) {
			t.Errorf("the page does not say %s", code)
		}
	}
	fails(map[string]string{"locale": "L1"}, "locale", reason.Kind)
	fails(map[string]string{"locale": "none"}, "locale", reason.NoLoad)
	fails(map[string]string{"locale": "a", "ring-tones": "b"}, "ring-tones", reason.Refused)
	if r.placed("locale/x") != "a" || r.placed("ring-tones/x") != "" {
		t.Error("what is in place has changed")
	}
	d.provision(withSets("b", map[string]string{"locale": "a"})) // a file set is no load
	r.Wake()
	until(t, "refuses to start a file set", func() bool {
		return r.Status().Reason == string(reason.Kind) && r.Status().State == report.StateFailed
	})
	c.FileHook = filepath.Join(t.TempDir(), "no-such-hook")
	if err := r.Reload(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	fails(map[string]string{"locale": "b"}, "locale", reason.FileHook)
	if r.placed("locale/x") != "b" {
		t.Error("a set is not in place because a hook failed")
	}
	write(t, c.FileHook, "#!/bin/sh\nexit 0\n")
	if err := r.Reload(context.Background(), c); err != nil { // which tries it again at once
		t.Fatal(err)
	}
	r.hasSets(map[string]string{"locale": "b"})
	// A file that somebody has damaged comes again.
	if err := os.Remove(filepath.Join(c.State, setsName, "locale", "x")); err != nil {
		t.Fatal(err)
	}
	r.Wake()
	until(t, "is mended", func() bool { return r.placed("locale/x") == "b" })
	r.stop()
	if err := os.Remove(filepath.Join(c.State, setsName, "sets.json")); err != nil {
		t.Fatal(err)
	}
	start(t, c).hasSets(map[string]string{"locale": "b"})
}
