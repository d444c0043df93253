package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"

	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// freeAddress is a port on loopback that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(t *testing.T, url, language string) string {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Language", language)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %s, %v", url, res.Status, err)
	}
	return string(b)
}

// shown is a device that has its load and shows itself.
func shown(t *testing.T, model, cnf string) (*runner, Config) {
	t.Helper()
	d := newDepot(t)
	d.load("L1", "good", 300_000, model)
	d.provision(strings.ReplaceAll(cnf, "MODEL", model))
	cfg := newSite(t).config(d, model)
	cfg.PageAddress, cfg.MetricsAddress = freeAddress(t), freeAddress(t)
	r := start(t, cfg)
	r.runs("L1")
	return r, cfg
}

const sharingCnf = `<Default><loadInformation model="MODEL">L1</loadInformation>` +
	`<commonConfig><peerFirmwareSharing>0</peerFirmwareSharing></commonConfig>` +
	`<vendorConfig><peerFirmwareSharing>1</peerFirmwareSharing></vendorConfig></Default>`

// row is a row of the page's table that begins with these cells.
func row(page string, cells ...string) bool {
	return strings.Contains(page, "<tr><td>"+strings.Join(cells, "</td><td>"))
}

// TestCSCui49910_ThePageShowsSharing: the setting with its level and what the
// other levels say, the role, the source, the peers, both loads, and per file
// the reason.
func TestCSCui49910_ThePageShowsSharing(t *testing.T) {
	t.Parallel()
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	p := get(t, "http://"+cfg.PageAddress+"/", "en")
	for _, cells := range [][]string{
		{"Peer firmware sharing", "on", "device", "common phone profile: off, default: off"},
		{"Role", "root"}, {"Active load", "L1 1 (confirmed)"}, {"Inactive load", "none"}, {"Assigned load", "L1"},
		{"app.bin", "100 %", "root", "server"},
	} {
		if !row(p, cells...) {
			t.Errorf("%q is not shown in\n%s", cells, p)
		}
	}
	if !strings.Contains(p, "root-of-file") {
		t.Error("why the file comes from the server is not shown")
	}
	var st report.Device
	if err := json.Unmarshal([]byte(get(t, "http://"+cfg.PageAddress+"/status.json", "")), &st); err != nil || st.Active != "L1" || st.Sharing != policy.On || st.SharingFrom != "device" {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestCSCsh20977_LabelsInTwoLanguages: English and Japanese, by choice or by
// what the browser asks for; no text is missing in one of them.
func TestCSCsh20977_LabelsInTwoLanguages(t *testing.T) {
	t.Parallel()
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	base := "http://" + cfg.PageAddress + "/"
	for _, p := range []string{get(t, base+"?lang=ja", "en"), get(t, base, "ja-JP,ja;q=0.9")} {
		if !strings.Contains(p, `<html lang="ja">`) || !row(p, "ピアファームウェア共有", "on", "機器") || !row(p, "役割", "ルート") {
			t.Errorf("not in Japanese:\n%s", p)
		}
	}
	if p := get(t, base+"?lang=en", "ja"); !row(p, "Peer firmware sharing") {
		t.Error("not in English")
	}
	for key, w := range words {
		if w[0] == "" || w[1] == "" {
			t.Errorf("%s is missing in a language", key)
		}
	}
	for code, w := range reasons {
		if w[0] == "" || w[1] == "" || code != wire.ReasonNone.String() && w[0] == w[1] {
			t.Errorf("reason %s is missing in a language", code)
		}
	}
	n := 0
	for ; !strings.HasPrefix(wire.Reason(n).String(), "reason-"); n++ {
		if _, ok := reasons[wire.Reason(n).String()]; !ok {
			t.Errorf("the page has no text for the reason %s", wire.Reason(n))
		}
	}
	if n < 40 {
		t.Errorf("only %d reasons are looked at", n)
	}
	if p := get(t, base, "ja"); !strings.Contains(p, "この機器がファイルのルート (root-of-file: ") {
		t.Errorf("why a file comes from the server is not told in Japanese:\n%s", p)
	}
	for _, s := range policy.Settings() {
		if s.Label == "" || s.LabelJA == "" {
			t.Errorf("%s is missing in a language", s.Name)
		}
	}
}

// TestCSCud66570_A7931CanShare: the value in effect is that of the table and
// the levels, whichever the model, and the level it comes from is told; a model
// that cannot share says so.
func TestCSCud66570_A7931CanShare(t *testing.T) {
	t.Parallel()
	for _, m := range policy.Builtin().Models() {
		set, err := effective(m.Name, policy.Levels{Enterprise: policy.Values{policy.PeerSharing: policy.On}})
		if err != nil {
			t.Fatal(err)
		}
		a := set.answer(policy.PeerSharing)
		if m.CanShare && (a.Value != policy.On || a.Level != policy.LevelEnterprise) || !m.CanShare && (a.Value != policy.Off || a.Reason == "") {
			t.Errorf("%s: %+v", m.Name, a)
		}
	}
	r, _ := shown(t, "CP-7931G", strings.ReplaceAll(sharingCnf, "vendorConfig", "enterpriseConfig"))
	if st := r.Status(); st.Sharing != policy.Off || st.SharingFrom != "profile" {
		t.Errorf("the profile's value counts before the enterprise's: %+v", st)
	}
}

// TestCSCus67416_WhyFromTheServer: with sharing on, each file says where it
// came from and why; with sharing off, too.
func TestCSCus67416_WhyFromTheServer(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 1_000_000, "CP-7961G")
	d.provision(sharing("L1", ""))
	s := newSite(t)
	one := start(t, s.config(d, "CP-7961G"))
	one.runs("L1")
	source := func(r *runner) (string, string) {
		for _, f := range r.rec.Status().Files {
			if f.File == "app.bin" {
				code, message := whyOf(f)
				return f.Source, (&html{}).why(code, message)
			}
		}
		return "", ""
	}
	if from, why := source(one); from != report.SourceOrigin || !strings.Contains(why, "root-of-file") {
		t.Errorf("the first: %s, %q", from, why)
	}
	// Where much else runs, an election of milliseconds may be over before the
	// first one answers; then another device is to come late.
	var two *runner
	for range 5 {
		two = start(t, s.config(d, "CP-7961G"))
		two.runs("L1")
		if from, _ := source(two); from == report.SourcePeer {
			break
		}
	}
	if from, why := source(two); from != report.SourcePeer || why == "" {
		t.Errorf("the second: %s, %q", from, why)
	}
	fin := two.Status().Files[0]
	for _, c := range fin.Components {
		if c.File == "app.bin" && (c.BytesFromOrigin != 0 || c.Parent == "") {
			t.Errorf("%+v", c)
		}
	}
	// Off: the classic way, and the page says that the setting is why.
	off, cfg := shown(t, "CP-7940G", sharingCnf)
	if from, _ := source(off); from != report.SourceOrigin {
		t.Errorf("a model that cannot share: %s", from)
	}
	if p := get(t, "http://"+cfg.PageAddress+"/", ""); !row(p, "Peer firmware sharing", "off", "model: ") || !row(p, "app.bin", "100 %", "classic (does not share)", "server") {
		t.Error(p)
	}
}

// TestPageRequests: whatever is sent, the page stays up and answers the next.
func TestPageRequests(t *testing.T) {
	t.Parallel()
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	for send, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                                "200",
		"HEAD / HTTP/1.0\r\n\r\n":                                          "200",
		"POST / HTTP/1.1\r\n\r\n":                                          "405",
		"GET /../etc/passwd HTTP/1.1\r\n\r\n":                              "404",
		"GET /?lang=<script> HTTP/1.1\r\n\r\n":                             "200",
		"\r\n\r\n":                                                         "400",
		"GET / SIP/2.0\r\n\r\n":                                            "400",
		"GET http://[::1 HTTP/1.1\r\n\r\n":                                 "400",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxRequest) + "\r\n": "400",
	} {
		c, err := net.Dial("tcp", cfg.PageAddress)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(send))
		line, _ := bufio.NewReader(c).ReadString('\n')
		c.Close()
		// What is more than fits may be answered by a reset.
		if !strings.HasPrefix(line, "HTTP/1.1 "+want) && len(send) < maxRequest {
			t.Errorf("%.40q: %q, want %s", send, line, want)
		}
	}
	if p := get(t, "http://"+cfg.PageAddress+"/?lang=%3Cscript%3E", ""); strings.Contains(p, "<script") {
		t.Error("a script came through")
	}
}

// TestMetrics: the series are those that are promised, in the format, and no
// label tells devices apart.
func TestMetrics(t *testing.T) {
	t.Parallel()
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	text := get(t, "http://"+cfg.MetricsAddress+"/metrics", "")
	line := regexp.MustCompile(`^peerload_[a-z_]+(\{(version|state|source|result|reason)="[^"]*"\})? [-+0-9.e]+$`)
	series := map[string]bool{}
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if name, ok := strings.CutPrefix(l, "# TYPE "); ok {
			series[strings.Fields(name)[0]] = true
			continue
		}
		if !strings.HasPrefix(l, "# HELP ") && !line.MatchString(l) {
			t.Errorf("%q is not in the format", l)
		}
	}
	for _, want := range []string{"build_info", "state", "sharing_enabled", "received_bytes_total", "sent_bytes_total", "check_ins_total",
		"upgrades_total", "fallbacks_total", "elections_won_total", "served_bytes", "resident_memory_bytes", "start_timestamp_seconds"} {
		if !series["peerload_"+want] {
			t.Errorf("%s is missing", want)
		}
	}
	if len(series) > 20 || strings.Contains(strings.ToUpper(text), cfg.MAC) {
		t.Errorf("%d series, or the MAC address is in them", len(series))
	}
	for _, want := range []string{`peerload_state{state="idle"} 1`, `peerload_upgrades_total{result="committed"} 1`, "peerload_sharing_enabled 1", `peerload_check_ins_total{result="failed"} 0`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%q is missing in\n%s", want, text)
		}
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
	d.provision(strings.Replace(sharing("L1", ""), "</enterpriseConfig>", "<logServer>"+server.LocalAddr().String()+"</logServer></enterpriseConfig>", 1))
	cfg := newSite(t).config(d, "CP-7961G")
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
		if *s.Hostname != "SEP"+cfg.MAC || *s.Appname != "peerload" || s.Timestamp.IsZero() || *s.Facility != facility || len((*s.StructuredData)["peerload@"+enterprise]["device"]) != 16 {
			t.Errorf("%q", buf[:n])
		}
		if *s.MsgID == report.KindCommitted {
			break
		}
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add("a \"file\"]", "why\n", "日本語", int64(0))
	f.Add("a\r\n<11>1 forged", "why\x00", "a\rb\u0085c\u2028<11>1 forged", int64(0))
	f.Fuzz(func(t *testing.T, file, reason, message string, at int64) {
		e := report.Event{Event: report.KindFailed, Device: "0000000000000001", File: file, Reason: reason, Message: message}
		b := syslogMessage("SEP001122334455", time.Unix(at%(1<<33), 0).UTC(), e, slog.LevelError)
		m, err := rfc5424.NewParser().Parse(b)
		if at >= 0 && (err != nil || *m.(*rfc5424.SyslogMessage).Severity != 3) {
			t.Fatalf("%v in %q", err, b)
		}
		if len(b) > maxSyslog {
			t.Fatalf("%d bytes", len(b))
		}
		if i := strings.IndexFunc(string(b), func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }); i >= 0 {
			t.Fatalf("a collector would begin a new line at byte %d of %q", i, b)
		}
	})
}

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
	cfg := newSite(t).config(d, "CP-7961G")
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

// fake is a controller that may be away, with the API of the real one.
type fake struct {
	mu      sync.Mutex
	away    bool
	known   map[string]string // secrets by device
	reports []report.Device
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	name, _ := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/devices/"), "/check-in")
	var e enrolment
	var d report.Device
	switch {
	case f.away:
		http.Error(w, "away", http.StatusBadGateway)
	case r.URL.Path == "/api/v1/enrol" && bearer == "site-key" && json.NewDecoder(r.Body).Decode(&e) == nil && len(e.Secret) >= 32:
		f.known[e.Device] = e.Secret
	case f.known[name] != "" && f.known[name] == bearer && json.NewDecoder(r.Body).Decode(&d) == nil:
		f.reports = append(f.reports, d)
	default:
		http.Error(w, "who is there?", http.StatusUnauthorized)
	}
}

func (f *fake) heard() []report.Device {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reports
}

// TestController: a device enrols, its reports reach the controller, and what
// it does not take comes again.
func TestController(t *testing.T) {
	t.Parallel()
	f := &fake{away: true, known: map[string]string{}}
	srv := httptest.NewServer(f)
	defer srv.Close()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(sharing("L1", ""))
	cfg := newSite(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(t.TempDir(), "token")
	write(t, cfg.TokenFile, "wrong-key\n")
	r := start(t, cfg)
	r.runs("L1")
	until(t, "a report in vain", func() bool { return strings.Contains(r.log.String(), "took no report") })
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	r.Wake()
	until(t, "refused", func() bool { return strings.Contains(r.log.String(), "does not know this device") })
	write(t, cfg.TokenFile, "site-key\n")
	r.Wake()
	until(t, "a report", func() bool { return len(f.heard()) > 0 })
	if got := f.heard()[0]; got.Active != "L1" || len(got.Files) == 0 || got.Files[len(got.Files)-1].File != "L1.load" ||
		got.Sharing != policy.On || got.Program != "test 1" {
		t.Errorf("%+v", got)
	}
	if st, err := os.Stat(filepath.Join(cfg.State, identityName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the secret: %v, %v", st, err)
	}
	// Its own secret is enough from now on, also after a start.
	r.stop()
	cfg.TokenFile = ""
	n := len(f.heard())
	start(t, cfg)
	until(t, "another report", func() bool { return len(f.heard()) > n })
	if got := f.heard()[n]; len(got.Files) != 0 {
		t.Errorf("what was taken comes again: %+v", got.Files)
	}
}

// TestFailedUpgradeKeepsItsDistance: a load that its server does not have
// whole is not asked for again at once, though a controller waits to hear of it.
func TestFailedUpgradeKeepsItsDistance(t *testing.T) {
	t.Parallel()
	f := &fake{known: map[string]string{}}
	srv := httptest.NewServer(f)
	defer srv.Close()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	gone, err := filepath.Glob(filepath.Join(d.dir, "components", "*.app.bin"))
	if err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	if err := os.Remove(gone[0]); err != nil {
		t.Fatal(err)
	}
	d.provision(sharing("L1", ""))
	cfg := newSite(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(t.TempDir(), "token")
	write(t, cfg.TokenFile, "site-key\n")
	r := start(t, cfg)
	failed := func() int64 {
		r.sink.count.mu.Lock()
		defer r.sink.count.mu.Unlock()
		return r.sink.count.upgrades["failed"]
	}
	until(t, "the controller knows of the failure", func() bool {
		all := f.heard()
		return len(all) > 0 && all[len(all)-1].State == report.StateFailed
	})
	// The second try is at least half of firstRetry away.
	quiet := time.Now().Add(firstRetry / 4)
	until(t, "the time is over", func() bool { return failed() > 1 || time.Now().After(quiet) })
	if n := failed(); n != 1 {
		t.Errorf("%d tries within %v", n, firstRetry/4)
	}
}

// TestSocket: another program on the device asks the daemon, which fetches
// through the peers; what it cannot do it declines.
func TestSocket(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.load("L2", "good", 100_000, "CP-7961G")
	d.write("tool.bin", strings.Repeat("tool", 50_000))
	d.provision(sharing("L1", ""))
	cfg := newSite(t).config(d, "CP-7961G")
	r := start(t, cfg)
	r.runs("L1")
	ctx := context.Background()
	ask := func(q Request) (last Reply, finals []*report.Final, events int) {
		t.Helper()
		err := Ask(ctx, cfg.State, q, func(p Reply) {
			if p.Event != nil {
				events++
			}
			if p.Final != nil {
				finals = append(finals, p.Final)
			}
			last = p
		})
		if err != nil {
			t.Fatal(err)
		}
		return last, finals, events
	}
	if p, _, _ := ask(Request{Op: "status"}); p.Device == nil || p.Device.Active != "L1" {
		t.Errorf("%+v", p)
	}
	to := filepath.Join(t.TempDir(), "tool.bin")
	p, finals, events := ask(Request{Op: "get", Get: &GetRequest{URLs: [][]string{{d.url + "/tool.bin"}}, Targets: []string{to}, Linger: -1}})
	if b, err := os.ReadFile(to); p.Error != "" || len(finals) != 1 || events == 0 || len(b) != 200_000 || err != nil {
		t.Errorf("%+v, %d reports, %d events, %d bytes, %v", p, len(finals), events, len(b), err)
	}
	dir := t.TempDir()
	load := Request{Op: "get", Get: &GetRequest{URLs: [][]string{{d.url + "/L2.load"}}, Targets: []string{dir}, Load: true, Trust: cfg.Trust, Linger: -1}}
	p, finals, events = ask(load)
	if b, err := os.ReadFile(filepath.Join(dir, "health")); p.Error+p.Declined != "" || len(finals) != 1 || events == 0 || string(b) != "good" || err != nil {
		t.Errorf("%+v, %d reports, %d events, %q, %v", p, len(finals), events, b, err)
	}
	// What the daemon fetched itself is offered by it already.
	load.Get.URLs[0][0] = d.url + "/L1.load"
	if p, _, _ = ask(load); p.Declined == "" {
		t.Errorf("the daemon's own load: %+v", p)
	}
	p, _, _ = ask(Request{Op: "get", Get: &GetRequest{URLs: [][]string{{d.url + "/gone.bin"}}, Targets: []string{to + "2"}}})
	if p.Error == "" || p.Exit == 0 {
		t.Errorf("a file that does not exist: %+v", p)
	}
	for _, q := range []Request{{Op: "dance"}, {Op: "get"}} {
		if p, _, _ := ask(q); p.Declined == "" {
			t.Errorf("%+v: %+v", q, p)
		}
	}
	if st, err := os.Stat(filepath.Join(cfg.State, SocketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st.Mode(), err)
	}
	r.stop()
	if err := Ask(ctx, cfg.State, Request{Op: "status"}, func(Reply) {}); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
	d.provision("<Default></Default>")
	r = start(t, cfg)
	until(t, "off", func() bool { s := r.currentSite(); return s != nil && !s.key.sharing })
	if p, _, _ := ask(Request{Op: "get", Get: &GetRequest{URLs: [][]string{{d.url + "/tool.bin"}}, Targets: []string{to}}}); !strings.Contains(p.Declined, "share") {
		t.Errorf("a device that does not share: %+v", p)
	}
}

// TestReload: another configuration is in force at once.
func TestReload(t *testing.T) {
	t.Parallel()
	d, e := newDepot(t), newDepot(t)
	d.provision(sharing("", ""))
	e.provision("<Default></Default>")
	cfg := newSite(t).config(d, "CP-7961G")
	r := start(t, cfg)
	until(t, "shares", func() bool { s := r.currentSite(); return s != nil && s.key.sharing })
	cfg.Servers = []string{e.url}
	if err := r.Reload(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	until(t, "shares no more", func() bool { s := r.currentSite(); return s != nil && !s.key.sharing })
	cfg.Model = ""
	if err := r.Reload(context.Background(), cfg); err == nil {
		t.Error("a bad configuration was taken")
	}
}
