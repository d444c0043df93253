package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/files/cnf"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/feed"
	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// site is a controller over TLS and devices on loopback addresses, each with its own
// engine, sockets and state.
type site struct {
	testing.TB
	dir    string
	ctl    *domain.Controller
	orders *orders.Service
	files  cnf.Maker
	srv    *httptest.Server
	front  *front
	port   uint16
	nodes  []*node
	life   time.Duration // of feeds
	asked  chan int64    // the lengths of what asks for feeds, if one waits for them
	handed atomic.Int64  // requests with reports
	root   domain.Actor
	done   chan string // names of devices that have carried out an order
}

// front counts what goes between the site and the controller, and can be shut.
type front struct {
	net.Listener
	bytes, conns, writes atomic.Int64
	wrote                chan struct{} // somebody has written, if one waits for it

	mu   sync.Mutex
	shut bool
	open map[net.Conn]bool
}

// Accept implements net.Listener.
func (f *front) Accept() (net.Conn, error) {
	for {
		c, err := f.Listener.Accept()
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		shut := f.shut
		if !shut {
			f.open[c] = true
		}
		f.mu.Unlock()
		if shut {
			c.Close()
			continue
		}
		f.conns.Add(1)
		return &counted{c, f}, nil
	}
}

// close shuts the way to the controller, or opens it again.
func (f *front) close(shut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut = shut; shut {
		for c := range f.open {
			c.Close()
		}
	}
}

// counted counts the bytes of a connection.
type counted struct {
	net.Conn
	f *front
}

// Read implements net.Conn.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.f.bytes.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.f.bytes.Add(int64(n))
	c.f.writes.Add(1)
	select {
	case c.f.wrote <- struct{}{}:
	default:
	}
	return n, err
}

// Close implements net.Conn.
func (c *counted) Close() error {
	c.f.mu.Lock()
	delete(c.f.open, c.Conn)
	c.f.mu.Unlock()
	return c.Conn.Close()
}

// node is one device.
type node struct {
	name  string
	relay *Relay
	feed  *feed.Follower
	dev   *engine.Device
	end   func()
}

func newSite(t testing.TB, n int, beat time.Duration) *site {
	t.Helper()
	s := &site{TB: t, dir: t.TempDir(), root: domain.Local("root"), done: make(chan string, 16*n), asked: make(chan int64)}
	must := s.must
	store, err := freshdb.Open(t.Context(), filepath.Join(s.dir, "controller.db"))
	must(err)
	t.Cleanup(func() { store.Close() })
	all, err := services.New(t.Context(), services.Config{Keys: filepath.Join(s.dir, "keys"), Beat: beat,
		Domain: domain.Config{Store: store}})
	must(err)
	s.ctl, s.orders, s.files = all.Controller, all.Orders, all.Files
	ctx, end := context.WithCancel(context.Background())
	go s.orders.Run(ctx, slog.New(slog.DiscardHandler))
	handler, err := api.New(api.Config{Services: all, Spool: s.dir})
	must(err)
	s.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/feed") {
			select {
			case s.asked <- r.ContentLength:
			default:
			}
		}
		if strings.HasSuffix(r.URL.Path, "/reports") {
			s.handed.Add(1)
		}
		handler.ServeHTTP(w, r)
	}))
	s.srv.EnableHTTP2 = true
	s.front = &front{Listener: s.srv.Listener, open: map[net.Conn]bool{},
		wrote: make(chan struct{})}
	s.srv.Listener = s.front
	s.srv.StartTLS()
	t.Cleanup(func() { end(); s.srv.Close() })
	s.port = freePort(t)
	key, err := s.ctl.CreateEnrolment(ctx, domain.Local("root"), domain.EnrolmentRequest{Name: "site", SiteKey: true})
	must(err)
	for i := range n {
		name := fmt.Sprintf("SEP%012X", 0x020000000000+i)
		must(s.ctl.Enrol(ctx, domain.EnrolRequest{Device: name, Model: "linux-arm", Token: key.Secret,
			Secret: secretOf(name)}))
		s.nodes = append(s.nodes, &node{name: name})
	}
	return s
}

// stamp is that of a device's file; zero if it cannot be made.
func (s *site) stamp(name string) (is order.Stamp) {
	if file, err := s.files.Known(context.Background(), name); err == nil {
		is = order.StampOf(file)
	}
	return is
}

func secretOf(name string) string { return "a secret that only this one has: " + name }

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// freePort is one that no other site has.
func freePort(t testing.TB) uint16 {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// start starts a node, whose key is pinned already.
func (s *site) start(i int) {
	s.Helper()
	x := s.nodes[i]
	addr := netip.AddrFrom4([4]byte{127, 9, byte(i / 250), byte(i%250 + 1)})
	sock, err := peernet.Listen(peernet.Config{Address: netip.PrefixFrom(addr, 8), Port: s.port})
	s.must(err)
	mux, err := origin.New(origin.Config{})
	s.must(err)
	x.dev, err = engine.NewDevice(engine.Config{ID: uint64(i) + 1, Net: sock, Origin: mux, Protocol: pdp.LAN()})
	s.must(err)
	transport := &http.Transport{ForceAttemptHTTP2: true, IdleConnTimeout: cmp.Or(s.life, 100*time.Millisecond),
		TLSClientConfig: &tls.Config{
			RootCAs: s.srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	c := feed.Controller{URL: s.srv.URL, Client: &http.Client{Transport: transport}, Secret: secretOf(x.name)}
	ctx, cancel := context.WithCancel(context.Background())
	dir := filepath.Join(s.dir, fmt.Sprintf("%s-%d", x.name, time.Now().UnixNano()))
	s.must(os.MkdirAll(dir, 0o700))
	up := func(ctx context.Context, results [][]byte) order.Acks { return x.relay.Up(ctx, results) }
	var follower *feed.Follower
	follower, err = feed.New(feed.Config{State: dir, Files: slot.OS{}, Device: x.name, Log: slog.New(slog.DiscardHandler),
		Controller: func() (feed.Controller, error) { return c, nil }, Up: up, Life: s.life,
		Stamp: func() order.Stamp { return s.stamp(x.name) },
		Follow: func(ctx context.Context, f *feed.Follower) {
			pin, end := context.WithCancel(ctx)
			var alone sync.WaitGroup
			alone.Go(func() { f.Alone(pin) })
			select {
			case <-f.Pinned():
			case <-ctx.Done():
			}
			end()
			alone.Wait()
			x.relay.Run(ctx)
		},
		Do: func(context.Context, inbox.Entry) (order.Outcome, string) {
			s.done <- x.name
			return order.Done, ""
		}})
	s.must(err)
	x.feed = follower
	x.relay, err = New(Config{Device: x.dev, Net: sock, Name: x.name, Controller: s.srv.URL, Times: carrier.Default(),
		Log: slog.New(slog.DiscardHandler)}, follower)
	s.must(err)
	var busy sync.WaitGroup
	busy.Go(func() { _ = x.dev.Run(ctx) })
	busy.Go(func() { follower.Run(ctx) })
	x.end = sync.OnceFunc(func() {
		cancel()
		busy.Wait()
		_ = sock.Close()
		mux.Close()
		transport.CloseIdleConnections()
	})
	s.Cleanup(x.end)
}

// carrier waits until one node alone carries, and returns it. The connections to the
// controller do not tell: one that was dialled and not needed may stay open.
func (s *site) carrier() *node {
	s.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var all []*node
		for _, x := range s.nodes {
			is := make(chan bool, 1)
			x.relay.post(func() { is <- x.relay.m.Carries() })
			select {
			case <-x.relay.done:
			case yes := <-is:
				if yes {
					all = append(all, x)
				}
			}
		}
		if len(all) == 1 {
			return all[0]
		}
	}
	return nil
}

// send sends an order to all devices.
func (s *site) send() string {
	s.Helper()
	sent, err := s.orders.Send(s.Context(), domain.Local("root"), orders.Request{Kind: string(order.ForgetFailure),
		All: true}, false)
	s.must(err)
	return sent.Order.ID
}

// wait waits until so many have carried an order out.
func (s *site) wait(n int) {
	for range n {
		<-s.done
	}
}

// answered waits until the controller has the results of so many devices.
func (s *site) answered(id string, n int) {
	s.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		t, err := s.orders.Get(s.Context(), domain.Local("root"), id)
		s.must(err)
		if t.Standings[string(order.Done)] == n {
			return
		}
	}
}

// One connection serves a site: an order reaches all by it, and the results come back;
// so it is when the carrier leaves during an order, and when the controller is away
// during another.
func TestSite(t *testing.T) {
	tiers.Long(t, "it starts forty agents")
	const n = 40
	s := newSite(t, n, 0)
	for i := range n {
		s.start(i)
	}
	s.answered(s.send(), n)
	s.wait(n)
	first := s.carrier()
	// Some may have connected by themselves at the beginning; soon none does.
	for before := int64(-1); s.front.conns.Load() != before; {
		before = s.front.conns.Load()
		id := s.send()
		s.wait(n)
		s.answered(id, n)
		first = s.carrier()
	}

	id := s.send()
	first.end()
	s.answered(id, n-1)
	second := s.carrier()
	if second == first {
		t.Error("who has left carries")
	}

	s.front.close(true)
	id = s.send()
	s.front.close(false)
	s.answered(id, n-1)
}

// BenchmarkIdleDay measures what an idle site costs the way to its controller: TLS and
// HTTP, mandates, covers, beats and reports by what goes through the connection, and
// TCP/IP by the number of segments that it takes at least. It counts a beat each minute, a
// feed each 45 minutes, and each device's check-in in four weeks, and names what each
// costs. For 1,000 devices it reckons with what each device more costs.
func BenchmarkIdleDay(b *testing.B) {
	const n = 100
	one, many, beat := feedBytes(b, 1), feedBytes(b, n), beatBytes(b)
	checkIn := reportBytes(b) + provision
	each := (many - one) / (n - 1)
	beats, checkIns := 1440*beat/1e6, func(n float64) float64 { return n * checkIn / 23 / 1e6 }
	feeds := func(n float64) float64 { return 32 * (one + (n-1)*each) / 1e6 }
	day := func(n float64) float64 { return beats + feeds(n) + checkIns(n) }
	for b.Loop() { // it is the same each time
		b.ReportMetric(many, "B/feed")
		b.ReportMetric(beat, "B/beat")
		b.ReportMetric(checkIn, "B/check-in")
		b.ReportMetric(beats, "MB-of-beats")
		b.ReportMetric(feeds(n), "MB-of-feeds")
		b.ReportMetric(checkIns(n), "MB-of-check-ins")
		b.ReportMetric(day(n), "MB/day")
		b.ReportMetric(day(1000), "MB/day-of-1000")
	}
	if day(n) > 1 || day(1000) > 3 {
		b.Errorf("%.2f MB a day, at most 1; of 1000 devices %.2f, at most 3", day(n), day(1000))
	}
}

const (
	// segment is what TCP/IP adds, with an acknowledgement, and payload what a segment
	// carries.
	segment, payload = 104, 1400
	// provision is what a check-in asks beside its report: the provisioning file and the
	// metadata of a publisher, each over a connection of its own without TLS, TCP/IP
	// included. It is an estimate.
	provision = 2 * 3_000
)

// reportBytes are those of a report by way of the carrier, alone.
func reportBytes(b *testing.B) float64 {
	s := newSite(b, 2, time.Hour)
	s.start(0)
	s.start(1)
	s.answered(s.send(), 2)
	s.wait(2)
	first := s.carrier()
	follower := s.nodes[0]
	if first == follower {
		follower = s.nodes[1]
	}
	for !follower.relay.Follows() {
		s.answered(s.send(), 2)
		s.wait(2)
	}
	text, err := json.Marshal(report.Device{Schema: report.Schema, Time: "2026-11-29T02:00:00Z", Model: "CP-7961G",
		Program: "peerload 0.1.0", State: report.StateIdle, Sharing: "on", SharingFrom: "enterprise",
		Address: "192.168.10.17:4051", Active: "SCCP41.9-4-2SR2-2S", Inactive: "SCCP41.9-3-1SR4-1S"})
	s.must(err)
	const reports = 5
	bytes := s.front.bytes.Load()
	apart := time.NewTicker(1500 * time.Millisecond) // a beat tells whole seconds
	defer apart.Stop()
	for range reports {
		<-apart.C
		if !follower.relay.Report(b.Context(), text) {
			b.Fatal("it was not handed over")
		}
	}
	return onWire(float64(s.front.bytes.Load()-bytes) / reports)
}

// onWire adds TCP/IP to bytes.
func onWire(bytes float64) float64 { return bytes + segment*math.Ceil(bytes/payload) }

// feedBytes are those of one feed for a carrier and its followers, without beats.
func feedBytes(b *testing.B, n int) float64 {
	s := newSite(b, n, time.Hour)
	s.life = 2 * time.Second
	for i := range n {
		s.start(i)
	}
	id := s.send()
	s.wait(n)
	s.answered(id, n)
	const rounds = 5
	full := int64(4 * (n - 1) * order.MandateSize / 3)
	var sum int64
	for i := 0; i < rounds; {
		for <-s.asked < full { // a follower was slow, and another feed comes soon
		}
		bytes := s.front.bytes.Load()
		if <-s.asked >= full {
			sum += s.front.bytes.Load() - bytes
			i++
		}
	}
	return onWire(float64(sum) / rounds)
}

// beatBytes are those of a beat.
func beatBytes(b *testing.B) float64 {
	s := newSite(b, 1, 50*time.Millisecond)
	s.start(0)
	s.answered(s.send(), 1)
	s.wait(1)
	const beats = 40
	for range 2 * beats { // what is left of the order
		<-s.front.wrote
	}
	read := s.front.writes.Load()
	bytes := s.front.bytes.Load()
	for s.front.writes.Load() < read+beats {
		<-s.front.wrote
	}
	return onWire(float64(s.front.bytes.Load()-bytes) / float64(s.front.writes.Load()-read))
}

// BenchmarkOrder measures the time from an order to the last of 100 devices of a subnet
// that carries it out, by way of their carrier. The target is 2 s.
func BenchmarkOrder(b *testing.B) {
	const n = 100
	s := newSite(b, n, 0)
	for i := range n {
		s.start(i)
	}
	s.answered(s.send(), n)
	s.wait(n)
	s.carrier()
	conns, longest := s.front.conns.Load(), time.Duration(0)
	for b.Loop() {
		began := time.Now()
		s.send()
		s.wait(n)
		longest = max(longest, time.Since(began))
	}
	b.ReportMetric(longest.Seconds(), "s-longest")
	b.ReportMetric(float64(s.front.conns.Load()-conns), "connections")
}
