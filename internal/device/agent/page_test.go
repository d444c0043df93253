package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
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
	cfg := newSubnet(t).config(d, model)
	cfg.PageAddress, cfg.MetricsAddress = freeAddress(t), freeAddress(t)
	r := start(t, cfg)
	r.runs("L1")
	return r, cfg
}

const sharingCnf = `<Default><loadInformation model="MODEL">L1</loadInformation>` +
	`<commonConfig><peerFirmwareSharing>0</peerFirmwareSharing></commonConfig>` +
	`<vendorConfig><peerFirmwareSharing>1</peerFirmwareSharing></vendorConfig></Default>`

var cellLabel = regexp.MustCompile(`<td data-l="[^"]*">`)

// row is a row of the page's table that begins with these cells.
func row(page string, cells ...string) bool {
	return strings.Contains(cellLabel.ReplaceAllString(page, "<td>"), "<tr><td>"+strings.Join(cells, "</td><td>"))
}

// TestCSCui49910_ThePageShowsSharing: the setting with its level and what the
// other levels say, the role, the source, the peers, both loads, and per file
// the reason.
func TestCSCui49910_ThePageShowsSharing(t *testing.T) {
	t.Parallel()
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	p := get(t, "http://"+cfg.PageAddress+"/", "en")
	for _, cells := range [][]string{
		{"Peer firmware sharing", "on", "device", "profile: off, default: off"},
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
	err := json.Unmarshal([]byte(get(t, "http://"+cfg.PageAddress+"/status.json", "")), &st)
	if err != nil || st.Active != "L1" || st.Sharing != policy.On || st.SharingFrom != "device" {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestPasswordsAreNotShown: the page is open, and the files with addresses in
// them are for the agent's own account.
func TestPasswordsAreNotShown(t *testing.T) {
	t.Parallel()
	set, err := effective("CP-7961G", policy.Levels{
		Enterprise: policy.Values{policy.LoadServer: "http://bob:secret@a/"},
		Device:     policy.Values{policy.LoadServer: "http://eve:secret@b/"}})
	if err != nil {
		t.Fatal(err)
	}
	h := &html{}
	h.settings(set)
	if p := h.b.String(); strings.Contains(p, "secret") || !row(p, "Load server", "http://xxxxx@b/", "device") ||
		!strings.Contains(p, ": http://xxxxx@a/") {
		t.Errorf("the page shows\n%s", p)
	}
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	for _, name := range []string{recordName, provisionName} {
		if info, err := os.Stat(filepath.Join(cfg.State, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// TestFilesOfEarlierVersions: what an earlier version has let everybody read is
// for the agent's own account from the next start on, whether or not it changes.
func TestFilesOfEarlierVersions(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("SIGNED", "good", 1000, "CP-7961G")
	d.provision(withSharing("SIGNED", ""))
	c := newSubnet(t).config(d, "CP-7961G")
	r := start(t, c)
	r.runs("SIGNED")
	r.stop()
	for _, name := range []string{recordName, provisionName} {
		if err := os.Chmod(filepath.Join(c.State, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	again, err := New(c, Setup{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	for _, name := range []string{recordName, provisionName} {
		if info, err := os.Stat(filepath.Join(c.State, name)); err != nil || info.Mode().Perm() != ownerOnly {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestCSCsh20977_LabelsInTwoLanguages: English and Japanese, by choice or by
// what the browser asks for; no setting is without a label in one of them.
func TestCSCsh20977_LabelsInTwoLanguages(t *testing.T) {
	t.Parallel()
	_, cfg := shown(t, "CP-7961G", sharingCnf)
	base := "http://" + cfg.PageAddress + "/"
	for _, p := range []string{get(t, base+"?lang=ja", "en"), get(t, base, "ja-JP,ja;q=0.9")} {
		if !strings.Contains(p, `<html lang="ja">`) || !row(p, "ピアファームウェア共有", "オン", "機器") ||
			!row(p, "役割", "ルート") {
			t.Errorf("not in Japanese:\n%s", p)
		}
	}
	if p := get(t, base+"?lang=en", "ja"); !row(p, "Peer firmware sharing") {
		t.Error("not in English")
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
		if m.CanShare && (a.Value != policy.On || a.Level != policy.LevelEnterprise) ||
			!m.CanShare && (a.Value != policy.Off || a.Reason == "") {
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
	tiers.Long(t, "it reads its page from a whole controller")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 1_000_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	s := newSubnet(t)
	one := start(t, s.config(d, "CP-7961G"))
	one.runs("L1")
	source := func(r *runner) (string, string) {
		for _, f := range r.rec.Status().Files {
			if f.File == "app.bin" {
				code, message := whyOf(false, f)
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
	if p := get(t, "http://"+cfg.PageAddress+"/", ""); !row(p, "Peer firmware sharing", "off", "model: ") ||
		!row(p, "app.bin", "100 %", "classic (does not share)", "server") {
		t.Error(p)
	}
}

// TestPageRequests: what a browser asks for does not come back as a script, and
// there is nothing beside the page.
func TestPageRequests(t *testing.T) {
	t.Parallel()
	r, cfg := shown(t, "CP-7961G", sharingCnf)
	if p := get(t, "http://"+cfg.PageAddress+"/?lang=%3Cscript%3E", ""); strings.Contains(p, "<script") {
		t.Error("a script came through")
	}
	if p := r.showPage(httptest.NewRequest("GET", "/../etc/passwd", nil)); p.status != 404 {
		t.Errorf("a file of the host: %+v", p)
	}
}

// TestPageView: the language is remembered, and the page refreshes by itself unless
// somebody stops it; nothing is needed from elsewhere.
func TestPageView(t *testing.T) {
	t.Parallel()
	r, _ := shown(t, "CP-7961G", sharingCnf)
	ask := func(at, cookie string) *httptest.ResponseRecorder {
		req := httptest.NewRequest("GET", at, nil)
		if cookie != "" {
			req.AddCookie(&http.Cookie{Name: "lang", Value: cookie})
		}
		w := httptest.NewRecorder()
		handler(r.showPage)(w, req)
		return w
	}
	chosen := ask("/?lang=ja", "")
	if c := chosen.Result().Cookies(); len(c) != 1 || c[0].Value != "ja" || c[0].SameSite != http.SameSiteStrictMode {
		t.Errorf("%+v", c)
	}
	for at, want := range map[string]string{"/": `<html lang="ja">`, "/?lang=en": `<html lang="en">`,
		"/?refresh=off": `href="/?lang=ja">自動更新を再開`} {
		if p := ask(at, "ja").Body.String(); !strings.Contains(p, want) {
			t.Errorf("%s: %q is not in\n%s", at, want, p)
		}
	}
	p := ask("/", "<script>").Body.String()
	if !strings.Contains(p, `<html lang="en">`) || !strings.Contains(p, `http-equiv="refresh" content="30"`) ||
		strings.Contains(ask("/?refresh=off", "").Body.String(), "http-equiv") {
		t.Error("the refresh or the language is wrong")
	}
	for _, none := range []string{"<script", "href=\"http", "src=", "@import", "url("} {
		if strings.Contains(p, none) {
			t.Errorf("the page has %q", none)
		}
	}
	// The style is the only thing that a browser may use, by its digest.
	style := p[strings.Index(p, "<style>")+7 : strings.Index(p, "</style>")]
	sum := sha256.Sum256([]byte(style))
	if csp := chosen.Header().Get("Content-Security-Policy"); !strings.Contains(csp,
		"style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || strings.Contains(csp, "unsafe") {
		t.Errorf("the policy is %s", csp)
	}
	if strings.Contains(p, "style=") {
		t.Error("the page has inline styles, which its policy forbids")
	}
}

// TestPageSize: whatever a device has done and others have told it, its page has at
// most 30 kB, says what is left out, and begins with what went wrong.
func TestPageSize(t *testing.T) {
	tiers.Long(t, "it fills a page to its bounds")
	t.Parallel()
	r, _ := shown(t, "CP-7961G", sharingCnf)
	long := strings.Repeat("長い<script>", 200)
	for i := range 150 {
		kind := report.KindProgress
		if i%30 == 1 { // each is written to the disk
			kind = report.KindFailed
		}
		r.rec.Take(report.Event{Event: kind, File: fmt.Sprintf("%d-%s", i, long), Role: report.RoleLeaf, Message: long,
			Reason: "disk", Root: long, Parent: long, Children: []string{long, long}, Bytes: 5, Size: 10, Percent: 50})
	}
	for _, ja := range []bool{false, true} {
		p := string(r.devicePage(view{ja: ja}))
		alert, files := strings.Index(p, `role="alert"`), strings.Index(p, "<progress")
		if len(p) > 30_000 || strings.Contains(p, "<script") || alert < 0 || files < alert || !utf8.ValidString(p) ||
			!strings.Contains(p, "</html>") || !regexp.MustCompile(`<p class="soft">\+ [0-9]+ `).MatchString(p) {
			t.Errorf("%d bytes: %.3000s", len(p), p)
		}
		t.Logf("the largest page, in Japanese %v: %d bytes; 30,000 are allowed", ja, len(p))
	}
}

// TestHTTP: whatever is sent, it is answered within bounds, and so is the next;
// connections end after one answer.
func TestHTTP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var busy sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer func() {
		cancel()
		l.Close()
		busy.Wait()
	}()
	serveHTTP(ctx, l, slog.New(slog.DiscardHandler), &busy, func(r *http.Request) page {
		if r.URL.Path != "/" {
			return page{status: 404, mediaType: "text/plain"}
		}
		return page{status: 200, mediaType: "text/plain", body: []byte(r.URL.Query().Get("lang"))}
	})
	ask := func(text string) string {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		all, _ := io.ReadAll(bufio.NewReader(c)) // what was not read of the request resets the connection
		return string(all)
	}
	for send, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":              "HTTP/1.1 200",
		"HEAD / HTTP/1.0\r\n\r\n":                        "HTTP/1.0 200",
		"POST / HTTP/1.1\r\nHost: x\r\n\r\n":             "HTTP/1.1 405",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":          "HTTP/1.1 405",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":               "HTTP/1.1 405",
		"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n": "HTTP/1.1 404",
		"\r\n\r\n":              "HTTP/1.1 400",
		"GET / SIP/2.0\r\n\r\n": "HTTP/1.1 400",
		"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n":                                "HTTP/1.1 400",
		"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 12<<10+500) + "\r\n\r\n":       "HTTP/1.1 431", // 4 KiB are net/http's
		"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 7<<10) + "\r\n\r\n": "HTTP/1.1 200",
	} {
		if got := ask(send); !strings.HasPrefix(got, want) {
			t.Errorf("%.40q: %.80q, want %s", send, got, want)
		}
	}
	head, body, _ := strings.Cut(ask("GET /?lang=ja HTTP/1.1\r\nHost: x\r\n\r\n"), "\r\n\r\n")
	for _, want := range []string{"Content-Length: 2", "Connection: close", "Cache-Control: no-store",
		"X-Content-Type-Options: nosniff", "Content-Security-Policy: default-src 'none'"} {
		if !strings.Contains(head, want) {
			t.Errorf("%q is missing in %q", want, head)
		}
	}
	if body != "ja" {
		t.Errorf("the body is %q", body)
	}
}

// pipes is a listener in memory.
type pipes struct {
	fails chan error // what the next Accept returns
	conns chan net.Conn
	done  chan struct{}
}

// TestMetrics: the series are those that are promised, in the format, and no
// label tells devices apart.
func TestMetrics(t *testing.T) {
	t.Parallel()
	before := time.Now()
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
	for _, want := range []string{"build_info", "state", "sharing_enabled", "received_bytes_total", "sent_bytes_total",
		"check_ins_total", "upgrades_total", "fallbacks_total", "elections_won_total", "served_bytes",
		"resident_memory_bytes", "goroutines", "start_timestamp_seconds"} {
		if !series["peerload_"+want] {
			t.Errorf("%s is missing", want)
		}
	}
	for name, between := range map[string][2]float64{
		"resident_memory_bytes": {1 << 20, 1 << 32}, "goroutines": {2, 1 << 16},
		"start_timestamp_seconds": {float64(before.Unix()), float64(time.Now().Unix() + 1)}} {
		_, rest, _ := strings.Cut(text, "\npeerload_"+name+" ")
		value, _, _ := strings.Cut(rest, "\n")
		if v, err := strconv.ParseFloat(value, 64); err != nil || v < between[0] || v > between[1] {
			t.Errorf("%s is %q, not from %.0f to %.0f", name, value, between[0], between[1])
		}
	}
	if len(series) > 20 || strings.Contains(strings.ToUpper(text), cfg.MAC) {
		t.Errorf("%d series, or the MAC address is in them", len(series))
	}
	for _, want := range []string{`peerload_state{state="idle"} 1`, `peerload_upgrades_total{result="committed"} 1`,
		"peerload_sharing_enabled 1", `peerload_check_ins_total{result="failed"} 0`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// TestTally: what files have moved is counted over all instances, those that have ended too.
func TestTally(t *testing.T) {
	p := place{instance: &instance{past: traffic{100, 200, 300, 400}}}
	p.moved(traffic{1, 2, 3, 4})
	p.moved(traffic{10, 20, 30, 40})
	if got, _, _ := p.tally(); got != (traffic{111, 222, 333, 444}) {
		t.Errorf("counts %+v", got)
	}
	p.instance = nil
	if got, _, _ := p.tally(); got != (traffic{11, 22, 33, 44}) {
		t.Errorf("counts %+v without an instance", got)
	}
}

// TestPageLooks loads the device's page in every state, in both languages, both looks and
// two widths: nothing is refused by its policy or cut off, and axe-core finds no barrier.
// With PEERLOAD_SHOTS it leaves pictures in that folder.
func TestPageLooks(t *testing.T) {
	if os.Getenv("PEERLOAD_FULL") != "1" {
		t.Skip("a browser for a minute: ./test.sh full runs it, and PEERLOAD_FULL=1 does")
	}
	d := newDepot(t)
	d.load("L1", "good", 300_000, "CP-7961G", "7941")
	d.load("L2", "bad", 100_000, "CP-7961G")
	d.set("tones-1", "ringtones", map[string]string{"bell.raw": "ding"})
	d.provision(withSharing("L1", "L1"))
	net := newSubnet(t)
	begin := func(model string, change func(*Config)) (*runner, string) {
		t.Helper()
		cfg := net.config(d, model)
		cfg.PageAddress = freeAddress(t)
		if change != nil {
			change(&cfg)
		}
		return start(t, cfg), "http://" + cfg.PageAddress + "/"
	}
	pages := map[string]string{}
	idle, at := begin("CP-7961G", nil)
	idle.runs("L1")
	pages["idle"] = at
	classic, cfg := shown(t, "CP-7940G", sharingCnf)
	classic.rec.Take(report.Event{Event: report.KindProgress, File: "apps.sbn", Role: report.RoleClassic,
		Source: report.SourceOrigin, Reason: "sharing-off", Bytes: 2_100_000, Size: 10_000_000, Percent: 21})
	pages["classic"] = "http://" + cfg.PageAddress + "/"
	root, at := begin("CP-7961G", nil)
	root.runs("L1")
	root.rec.Take(report.Event{Event: report.KindProgress, File: "apps.sbn", Role: report.RoleParent,
		Source: report.SourceOrigin, Reason: "root-of-file", Bytes: 4_300_000, Size: 10_000_000, Percent: 43,
		Children: []string{"10.1.0.12", "10.1.0.17"}})
	pages["root"] = at
	child, at := begin("CP-7961G", nil)
	child.runs("L1")
	child.rec.Take(report.Event{Event: report.KindProgress, File: "apps.sbn", Role: report.RoleLeaf,
		Source: report.SourcePeer, Reason: "root-placed", Bytes: 3_900_000, Size: 10_000_000, Percent: 39,
		Root: "10.1.0.11", Parent: "10.1.0.12"})
	pages["child"] = at
	failed, at := begin("CP-7961G", func(c *Config) { c.ConfirmCommand, c.ConfirmTimeout = "false", time.Second })
	until(t, "failed", func() bool { return failed.Status().State == report.StateFailed })
	pages["failed"] = at
	back, at := begin("CP-7961G", func(c *Config) { c.ConfirmCommand, c.ConfirmTimeout = healthy, 5*time.Second })
	back.runs("L1")
	d.provision(withSharing("L2", "L1"))
	back.Wake()
	back.rolledBack("L2", "L1")
	pages["rolled back"] = at
	b := browser.Open(t, foreign.Program(t, "chromium"))
	for state, at := range pages {
		text, japanese := get(t, at, ""), get(t, at+"?lang=ja", "")
		t.Logf("%s: %d bytes, in Japanese %d; 30,000 are allowed", state, len(text), len(japanese))
		for i, name := range []string{"en light 1280", "en dark 390", "ja dark 1280", "ja light 390",
			"ja dark 390"} {
			var lang, look string
			var px int64
			if _, err := fmt.Sscan(name, &lang, &look, &px); err != nil {
				t.Fatal(err)
			}
			b.Width(px)
			b.Look(look)
			b.Go(fmt.Sprintf("%s?lang=%s&refresh=off", at, lang))
			if over := b.Overflow(); over > 0 {
				t.Errorf("%s, %s: %d pixels are cut off", state, name, over)
			}
			for _, wrong := range append(b.Barriers(), b.Told()...) {
				t.Errorf("%s, %s: %s", state, name, wrong)
			}
			if shots := os.Getenv("PEERLOAD_SHOTS"); shots != "" {
				b.Shot(filepath.Join(shots, fmt.Sprintf("device %s %d %s.png", state, i, name)))
			}
		}
	}
}

// TestPageEnglish: on a Japanese page words that the device tells in English alone are
// marked as that, and nothing that it tells becomes an element.
func TestPageEnglish(t *testing.T) {
	for text, want := range map[string]string{
		"検証に失敗 (refused: the load is old)": `検証に失敗 <span lang="en">(refused: the load is old)</span>`,
		"検証に失敗 (trust)":                    "検証に失敗 (trust)",
		"L1 1.0 (確認済み)":                    "L1 1.0 (確認済み)",
		"exit status 3、再試行":                `<span lang="en">exit status 3</span>、再試行`,
		"at the <b>":                       `<span lang="en">at the &lt;b&gt;</span>`,
	} {
		if got := (&html{ja: true}).text(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := (&html{}).text("the load <x>"); got != "the load &lt;x&gt;" {
		t.Error(got)
	}
}
