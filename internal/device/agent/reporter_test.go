package agent

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/device/feed"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// TestReportsOverTLS: a device believes the controller whose certificate it was
// given, and no other.
func TestReportsOverTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.StartTLS()
	defer srv.Close()
	cert := filepath.Join(t.TempDir(), "cert.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	for file, trusted := range map[string]bool{cert: true, "": false} {
		client, err := (&reporter{}).client(Config{CACert: file})
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Get(srv.URL)
		if trusted != (err == nil) {
			t.Errorf("with the certificate %t: %v", trusted, err)
		}
		if err == nil {
			res.Body.Close()
		}
	}
}

// TestRealController: a device enrols with the site key of a real controller,
// and what it reports is read back there.
func TestRealController(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	all := serve(t, domain.Config{Repository: d.repo, Password: passhash.Cost{Memory: 64, Time: 1, Threads: 1}})
	ctl, root := all.Controller, domain.Local("root")
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = all.url, all.key
	r := start(t, cfg)
	r.runs("L1")
	until(t, "the controller knows that L1 runs", func() bool {
		row, err := ctl.Device(t.Context(), root, "SEP"+cfg.MAC)
		return err == nil && row.State != nil && row.State.Last.Active == "L1" && row.State.Last.State == report.StateIdle &&
			row.State.Last.Sharing == "on" && len(row.State.Files) > 0
	})
}

// TestQuietConnection: an idle connection to the controller is not probed between
// its signs of life.
func TestQuietConnection(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	client, err := (&reporter{}).client(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	idle := -1
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		raw, err := i.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Error(err)
			return
		}
		_ = raw.Control(func(fd uintptr) {
			idle, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		})
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if idle < int(2*time.Minute/time.Second) {
		t.Errorf("it is probed after %d s", idle)
	}
}

// servedController is a controller whose API is served, with the file of a site key.
type servedController struct {
	services.Services
	url, key string
}

// serve serves the API of a controller until the agents of the test have ended.
func serve(t *testing.T, cfg domain.Config) (c servedController) {
	t.Helper()
	dir := t.TempDir()
	store, err := freshdb.Open(t.Context(), filepath.Join(dir, "controller.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cfg.Store = store
	c.Services, err = services.New(t.Context(), services.Config{Keys: filepath.Join(dir, "keys"), Domain: cfg})
	if err != nil {
		t.Fatal(err)
	}
	api, err := api.New(api.Config{Services: c.Services, Spool: dir, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api)
	t.Cleanup(srv.Close) // after the agent has left its feed
	site, err := c.Controller.CreateEnrolment(t.Context(), domain.Local("root"),
		domain.EnrolmentRequest{Name: "site", SiteKey: true})
	if err != nil {
		t.Fatal(err)
	}
	c.url, c.key = srv.URL, filepath.Join(dir, "key")
	write(t, c.key, site.Secret)
	return c
}

// TestOrders: orders reach an agent at once, each is carried out once, and its
// answer reaches the controller; an agent that is started again goes on.
func TestOrders(t *testing.T) {
	tiers.Long(t, "it waits for orders, with a whole controller")
	t.Parallel()
	all := serve(t, domain.Config{})
	ctl, sent, root := all.Controller, all.Orders, domain.Local("root")
	go sent.Run(t.Context(), slog.New(slog.DiscardHandler))
	d := newDepot(t)
	d.provision(withSharing("", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile, cfg.CheckIn = all.url, all.key, time.Hour
	r := start(t, cfg)
	device := "SEP" + cfg.MAC
	until(t, "the device is known", func() bool {
		row, err := ctl.Device(t.Context(), root, device)
		return err == nil && row.State != nil
	})
	order := func(q orders.Request, standing string) domain.OrderDevice {
		t.Helper()
		q.Devices = []string{device}
		o, err := sent.Send(t.Context(), root, q, false)
		if err != nil {
			t.Fatal(err)
		}
		var got domain.OrderDevice
		until(t, q.Kind+" is answered", func() bool {
			l, err := sent.Devices(t.Context(), root, o.Order.ID, "", domain.Page{})
			if err != nil {
				t.Fatal(err)
			}
			got = l.Items[0]
			return got.Standing != domain.OrderWaiting
		})
		if got.Standing != standing {
			t.Errorf("%s: %s: %s", q.Kind, got.Standing, got.Text)
		}
		return got
	}
	row, err := ctl.Device(t.Context(), root, device)
	if err != nil {
		t.Fatal(err)
	}
	order(orders.Request{Kind: "check-in"}, "done")
	again, err := ctl.Device(t.Context(), root, device)
	if err != nil || !again.State.Reported.After(row.State.Reported) {
		t.Errorf("it has not checked in: %v", err)
	}
	for _, kind := range []string{"update-settings", "retry", "forget-failure"} {
		order(orders.Request{Kind: kind}, "done")
	}
	if got := order(orders.Request{Kind: "collect-log"}, "done"); !strings.Contains(got.Text, "kind=collect-log") {
		t.Errorf("the log is %q", got.Text)
	}
	if got := order(orders.Request{Kind: "restart"}, "refused"); !strings.Contains(got.Text, "--reboot-command") {
		t.Errorf("it says %q", got.Text)
	}
	together := orders.Request{Kind: "reset-together", At: time.Now().Add(2 * time.Second)}
	if got := order(together, "done"); !strings.Contains(got.Text, "checked in") {
		t.Errorf("it says %q", got.Text)
	}
	r.stop()
	rebooted := filepath.Join(t.TempDir(), "rebooted")
	cfg.RebootCommand = "touch " + rebooted
	r = start(t, cfg)
	q := orders.Request{Kind: "restart", Devices: []string{device}}
	if _, err := sent.Send(t.Context(), root, q, false); err != nil {
		t.Fatal(err)
	}
	until(t, "the command runs", func() bool {
		_, err := os.Stat(rebooted)
		return err == nil
	})
	r.stop()
	write(t, cfg.BootID, "another start")
	start(t, cfg)
	until(t, "it says that it was restarted", func() bool {
		l, err := sent.List(t.Context(), root, "", domain.SentOrderFilter{Kind: "restart"}, domain.Page{})
		return err == nil && len(l.Items) == 2 && l.Items[1].Standings["done"] == 1
	})
}

// TestLive: how the upgrades of a subnet go on is told by way of its carrier while
// somebody looks: each file with where it comes from and how it ended, and one device
// with bytes that came over the WAN.
func TestLive(t *testing.T) {
	tiers.Long(t, "it watches an upgrade of three devices, with a whole controller")
	t.Parallel()
	all := serve(t, domain.Config{})
	root, sub := domain.Local("root"), newSubnet(t)
	if _, err := all.Controller.CreateSite(t.Context(), root, "Kyoto",
		domain.SiteChange{Networks: &[]string{"127.0.0.0/8"}}); err != nil {
		t.Fatal(err)
	}
	d := newDepot(t)
	d.load("L1", "good", 2_000_000, "CP-7961G")
	d.provision(withSharing("", ""))
	for range 3 {
		cfg := sub.config(d, "CP-7961G")
		cfg.Controller, cfg.TokenFile, cfg.CheckIn = all.url, all.key, time.Second
		start(t, cfg)
	}
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	seen := map[string]livesite.NodeFile{} // of the device that has it
	go d.provision(withSharing("L1", ""))
	err := all.Live.Follow(ctx, root, "Kyoto", "", func(e *livesite.Event) error {
		var p livesite.Picture
		if e == nil {
			return nil
		}
		if err := json.Unmarshal(e.Data, &p); err != nil {
			return err
		}
		for _, n := range p.Devices {
			for _, f := range n.Files {
				if f.File == "app.bin" && f.End == "done" && f.Source != "cache" { // the report at the end has come
					seen[n.Device] = f
				}
			}
		}
		if len(seen) == 3 {
			enough()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wan := int64(0)
	for name, f := range seen {
		if wan += f.WAN; f.Size != 2_000_000 || f.Have != f.Size || f.Source == "peer" && len(f.Parents) == 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if len(seen) != 3 || wan < 2_000_000 {
		t.Errorf("%d bytes over the WAN: %+v", wan, seen)
	}
}

// fake is a controller that may be away, with the API of the real one.
type fake struct {
	mu      sync.Mutex
	away    bool
	known   map[string]string // secrets by device
	reports []report.Device
	// enrolled is what the answer to an enrolment says, "" for nothing.
	enrolled string
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
	case r.URL.Path == "/api/v1/enrol" && bearer == "site-key" &&
		json.NewDecoder(r.Body).Decode(&e) == nil && len(e.Secret) >= 32:
		f.known[e.Device] = e.Secret
		_, _ = io.WriteString(w, f.enrolled)
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
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(t.TempDir(), "token")
	write(t, cfg.TokenFile, "wrong-key\n")
	r := start(t, cfg)
	r.runs("L1")
	until(t, "a report in vain", func() bool { return strings.Contains(r.log.String(), "took no report") })
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	r.Wake()
	until(t, "refused, and why", func() bool {
		return strings.Contains(r.log.String(), "enrol: the controller does not know this device") &&
			strings.Contains(r.log.String(), "who is there?")
	})
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

// TestControllerComesBack: a device that nobody could enrol for a moment does not wait
// for its next check-in, which is an hour away.
func TestControllerComesBack(t *testing.T) {
	tiers.Long(t, "it waits for the pause after a report")
	t.Parallel()
	f := &fake{away: true, known: map[string]string{}}
	srv := httptest.NewServer(f)
	defer srv.Close()
	d := newDepot(t)
	d.provision(withSharing("", "")) // no upgrade, whose end is told of by itself
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(t.TempDir(), "token")
	write(t, cfg.TokenFile, "site-key\n")
	r := start(t, cfg)
	until(t, "a report in vain", func() bool { return strings.Contains(r.log.String(), "took no report") })
	f.mu.Lock()
	f.away = false
	f.mu.Unlock()
	until(t, "a report", func() bool { return len(f.heard()) > 0 })
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
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(t.TempDir(), "token")
	write(t, cfg.TokenFile, "site-key\n")
	r := start(t, cfg)
	counted := func() (checkIns, tries int64) {
		c := &r.sink.count
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.checkIns["ok"] + c.checkIns["failed"], c.upgrades["failed"]
	}
	// Each check-in reports, and is followed by a try. More reports than
	// check-ins: this one is no check-in, so the next try has its pause.
	until(t, "the controller hears of the failure without a check-in", func() bool {
		all := f.heard()
		checkIns, _ := counted()
		return len(all) > int(checkIns) && all[len(all)-1].State == report.StateFailed
	})
	if checkIns, tries := counted(); tries > checkIns {
		t.Errorf("%d tries after %d check-ins", tries, checkIns)
	}
}

// TestRedirectedController: neither the site key nor the device's secret goes
// where an answer points to, whatever its status, not even on the same host.
func TestRedirectedController(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	followed := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		followed++
		mu.Unlock()
	}))
	defer elsewhere.Close()
	client, err := new(reporter).client(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/"+enrolPath, status)
		}))
		_, err := post(t.Context(), client, Config{Controller: srv.URL}, enrolPath, "site-key",
			enrolment{"SEP000000000001", "CP-7961G", strings.Repeat("s", 64)})
		srv.Close()
		if err == nil || !strings.Contains(err.Error(), http.StatusText(status)) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if followed > 0 {
		t.Errorf("%d redirects were followed", followed)
	}
}

// TestOutbox: what waits for the controller is bounded, the oldest goes first, and
// what the controller took is not sent again.
func TestOutbox(t *testing.T) {
	t.Parallel()
	o := &outbox{}
	names := func() (names []string) {
		files, failures := o.some()
		for _, f := range files {
			names = append(names, f.File)
		}
		for _, f := range failures {
			names = append(names, f.Load)
		}
		return names
	}
	is := func(what string, got, want []string) {
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	for _, n := range []string{"a", "b", "c"} {
		o.file(report.Final{File: n})
		o.failure("load "+n, "", reason.Model, errors.New("x"))
	}
	o.taken(0, 0)
	is("nothing was taken", names(), []string{"a", "b", "c", "load a", "load b", "load c"})
	o.taken(1, 2)
	is("some were taken", names(), []string{"b", "c", "load c"})
	o.taken(9, 9) // the bound dropped what was sent meanwhile
	is("more were taken than wait", names(), nil)
	for i := range maxPending + 1 {
		o.file(report.Final{File: fmt.Sprint(i)})
		o.failure(fmt.Sprint("load ", i), "", reason.Model, errors.New("x"))
	}
	got := names()
	if len(got) != 2*maxPending || got[0] != "1" || got[maxPending] != "load 1" {
		t.Errorf("%d wait, from %q on", len(got), got[0])
	}
	o.taken(maxPending, maxPending)
	// A report of one file is sent however many components it has.
	for _, n := range []string{"large", "next"} {
		o.file(report.Final{File: n, Components: make([]report.Final, maxReported)})
	}
	is("a large report", names(), []string{"large"})
	o.taken(1, 0)
	o.file(report.Final{File: "small"})
	is("behind it", names(), []string{"next"})
}

// A device that is connected and has nothing to do asks and says nothing by the clock
// alone; it does when it is told to, and when there is something to say. When its
// provisioning file has changed the controller tells it.
func TestIdle(t *testing.T) {
	t.Parallel()
	all := serve(t, domain.Config{})
	go all.Orders.Run(t.Context(), slog.New(slog.DiscardHandler))
	var asked atomic.Int64
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		text, err := all.Files.Make(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), netip.Addr{})
		if err != nil {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(text)
	}))
	t.Cleanup(files.Close)
	cfg := newSubnet(t).config(newDepot(t), "CP-7961G")
	cfg.Servers = []string{files.URL}
	cfg.Controller, cfg.TokenFile = all.url, all.key
	on := domain.SettingsChange{Set: policy.Values{policy.PeerSharing: policy.On}}
	change := domain.DeviceChange{Model: &cfg.Model, Settings: on}
	if _, err := all.Controller.CreateDevice(t.Context(), domain.Local("root"), cfg.MAC, change); err != nil {
		t.Fatal(err)
	}
	r := start(t, cfg)
	until(t, "it is connected", r.orderWay.connected)
	_ = r.checkIn(t.Context(), false) // the controller knows nothing of its address on the subnet yet
	until(t, "it has nothing to do", r.idle)
	before, said := asked.Load(), r.lastSaid(t, all.Controller)
	if c := r.checkIn(t.Context(), false); c.provision != nil || c.report != nil {
		t.Errorf("%+v", c)
	}
	if asked.Load() != before || !r.lastSaid(t, all.Controller).Equal(said) {
		t.Error("it has asked, or reported, though nothing is new")
	}
	if c := r.checkIn(t.Context(), true); c.provision != nil || c.report != nil || asked.Load() == before {
		t.Errorf("a full check-in: %+v, %d requests", c, asked.Load()-before)
	}
	r.out.failure("", "", "damaged", errors.New("something is wrong"))
	if r.idle() {
		t.Error("it has something to say, and is idle")
	}
}

// lastSaid is when the controller had the last report.
func (r *runner) lastSaid(t *testing.T, c *domain.Controller) time.Time {
	t.Helper()
	row, err := c.Device(t.Context(), domain.Local("root"), "SEP"+r.mac)
	if err != nil || row.State == nil {
		t.Fatalf("%+v, %v", row, err)
	}
	return row.State.Reported
}

// TestKeyOfTheEnrolment: a device pins the order key of the answer to its enrolment, and
// believes no other that a feed brings then.
func TestKeyOfTheEnrolment(t *testing.T) {
	t.Parallel()
	f := &fake{known: map[string]string{}, enrolled: `{"order_key":{"version":7,"key":"` +
		base64.StdEncoding.EncodeToString(make([]byte, ed25519.PublicKeySize)) + `"}}`}
	srv := httptest.NewServer(f)
	defer srv.Close()
	d := newDepot(t)
	d.provision(withSharing("", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.Controller, cfg.TokenFile = srv.URL, filepath.Join(t.TempDir(), "token")
	write(t, cfg.TokenFile, "site-key\n")
	start(t, cfg)
	until(t, "a report", func() bool { return len(f.heard()) > 0 })
	text, err := os.ReadFile(filepath.Join(cfg.State, feed.KeyName))
	if err != nil || !strings.Contains(string(text), `"version": 7`) {
		t.Errorf("pinned is %q, %v", text, err)
	}
}
