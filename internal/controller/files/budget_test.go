package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/tftp"
)

// serving is a server on free ports.
type serving struct {
	http, tftp string
	metrics    *Metrics
}

// big is a file that needs a permit.
const big = 1 << 20

func serve(t *testing.T, cfg Config) serving {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int{"big.bin": big, "small.bin": 100} {
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte("x"), size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if cfg.Root, err = os.OpenRoot(dir); err != nil {
		t.Fatal(err)
	}
	if cfg.HTTP, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if cfg.TFTP, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	cfg.Metrics = NewMetrics()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
		cfg.Root.Close()
	})
	return serving{"http://" + cfg.HTTP.Addr().String() + "/", cfg.TFTP.LocalAddr().String(), cfg.Metrics}
}

// from is a client with an address of its own.
func from(address string) *http.Client {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: d.DialContext, ReadBufferSize: 4 << 10}}
}

func get(t *testing.T, c *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestBudget: beyond a site's permits HTTP is refused and told when to come
// back, TFTP waits; other sites and small files are not touched.
func TestBudget(t *testing.T) {
	s := serve(t, Config{Budget: Budget{Transfers: 1, Rate: big / 4}})
	first := get(t, from("127.0.1.1"), s.http+"big.bin")
	if first.StatusCode != 200 {
		t.Fatal(first.Status)
	}
	second := get(t, from("127.0.1.2"), s.http+"big.bin")
	after, err := strconv.Atoi(second.Header.Get("Retry-After"))
	if second.StatusCode != 503 || err != nil || after < 1 || after > 12 {
		t.Errorf("beyond the budget: %s, Retry-After %d", second.Status, after)
	}
	if other := get(t, from("127.0.2.1"), s.http+"big.bin"); other.StatusCode != 200 {
		t.Errorf("another site: %s", other.Status)
	}
	if small := get(t, from("127.0.1.2"), s.http+"small.bin"); small.StatusCode != 200 {
		t.Errorf("a small file: %s", small.Status)
	}
	if got := metric(t, s.metrics, `peerload_fileserver_budget_refusals_total{protocol="http"}`); got != 1 {
		t.Errorf("%v refusals counted", got)
	}
}

// TestStalledClient: a client that does not read loses its connection, and the
// next of the site gets the permit. A slow one that reads keeps it.
func TestStalledClient(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	const huge = 64 << 20 // more than the buffers of both ends
	for _, rate := range []int64{0, huge} {
		s := serve(t, Config{Budget: Budget{Transfers: 1, Rate: rate}, Stall: 200 * time.Millisecond,
			Generate: func(_ context.Context, name string, _ netip.Addr) ([]byte, error) {
				if name != "huge" {
					return nil, fs.ErrNotExist
				}
				return make([]byte, huge), nil
			}})
		conn, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(s.http, "http:"), "/"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /huge HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(20 * time.Second)
		for {
			resp, err := http.Get(s.http + "big.bin")
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == 200 {
				if n != big || err != nil {
					t.Errorf("the next one got %d bytes, %v", n, err)
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the permit is still taken, at a rate of %d", rate)
			}
		}
	}
}

// TestBudgetTFTP: a client waits until the one before it has ended.
func TestBudgetTFTP(t *testing.T) {
	s := serve(t, Config{Budget: Budget{Transfers: 1, Rate: 4 * big}})
	open := func() io.ReadCloser {
		r, err := new(tftp.Client).Get(t.Context(), s.tftp, "big.bin", 0)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := open()
	done := make(chan int64)
	go func() {
		r, err := (&tftp.Client{Retries: 30}).Get(t.Context(), s.tftp, "big.bin", 0)
		if err != nil {
			t.Error(err)
			done <- 0
			return
		}
		defer r.Close()
		n, err := io.Copy(io.Discard, r)
		if err != nil {
			t.Error(err)
		}
		done <- n
	}()
	if n, err := io.Copy(io.Discard, first); n != big || err != nil {
		t.Errorf("the first: %d, %v", n, err)
	}
	first.Close()
	if n := <-done; n != big {
		t.Errorf("the second: %d", n)
	}
	if got := metric(t, s.metrics, "peerload_fileserver_budget_delay_seconds_total"); got < 0.05 {
		t.Errorf("waited %v s", got)
	}
}

// TestPieces: the transfers of one download have one permit together, and keep it for
// the next piece; those of another download, of another device, or too many of one, do
// not share it.
// Time is that of a synctest bubble: what sleeps in it waits for nothing.
func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Budget{Transfers: 1})
		here := netip.MustParseAddr("10.0.0.1")
		enter := func(client netip.Addr, name string) *permit {
			p := &permit{of: download{client, name}}
			if ok, _ := g.enter(p, client, big); !ok {
				p.leave()
				return nil
			}
			return p
		}
		var held []*permit
		for i := range mostPieces {
			p := enter(here, "a")
			if p == nil {
				t.Fatalf("piece %d is refused", i)
			}
			held = append(held, p)
		}
		others := func(when string) {
			t.Helper()
			for _, o := range []download{{here, "b"}, {here.Next(), "a"}, {here, ""}} {
				if enter(o.client, o.name) != nil {
					t.Errorf("%s: download %q of %v has a permit, too", when, o.name, o.client)
				}
			}
		}
		others("under way")
		if enter(here, "a") != nil {
			t.Error("one more piece than may share a permit")
		}
		for _, p := range held {
			p.leave()
			p.leave()
		}
		others("between two pieces")
		time.Sleep(pieceGap / 2) // in the bubble
		p := enter(here, "a")
		if p == nil {
			t.Fatal("the next piece is refused")
		}
		time.Sleep(2 * pieceGap) // in the bubble
		others("the next piece under way")
		p.leave()
		time.Sleep(pieceGap + time.Millisecond) // in the bubble
		q := enter(here.Next(), "")
		if q == nil {
			t.Fatal("the permit of a download that has ended is kept")
		}
		q.leave()
		if len(g.sites) > 0 {
			t.Errorf("%d sites are remembered", len(g.sites))
		}
	})
}

// TestPiecesOverHTTP: the name of a download counts with a range only.
func TestPiecesOverHTTP(t *testing.T) {
	s := serve(t, Config{Budget: Budget{Transfers: 1}})
	ask := func(id, ranged string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.http+"big.bin", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{downloadHeader: id, "Range": ranged} {
			if value != "" {
				req.Header.Set(name, value)
			}
		}
		resp, err := from("127.0.0.1").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	if resp := ask("a", "bytes=0-524287"); resp.StatusCode != http.StatusPartialContent {
		t.Fatal(resp.Status)
	}
	for _, c := range []struct {
		id, ranged string
		status     int
	}{
		{"a", "bytes=524288-", http.StatusPartialContent}, {"b", "bytes=524288-", http.StatusServiceUnavailable},
		{"a", "", http.StatusServiceUnavailable}, {"", "bytes=524288-", http.StatusServiceUnavailable},
		{strings.Repeat("a", maxDownload+1), "bytes=524288-", http.StatusServiceUnavailable},
	} {
		if resp := ask(c.id, c.ranged); resp.StatusCode != c.status {
			t.Errorf("%q, %q: %s, not %d", c.id, c.ranged, resp.Status, c.status)
		}
	}
}

// TestRate: a site gets no more bytes a second, however many ask.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Budget{Rate: 1000})
		client := netip.MustParseAddr("10.0.0.1")
		a, b := &permit{}, &permit{}
		g.enter(a, client, big)
		g.enter(b, client.Next(), big)
		began := time.Now()
		for range 10 {
			for _, p := range []*permit{a, b} {
				if err := p.wait(t.Context(), 100); err != nil {
					t.Error(err)
				}
			}
		}
		if took := time.Since(began); took < 1800*time.Millisecond || took > 2*time.Second {
			t.Errorf("2,000 bytes at 1,000 a second in %s", took)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := a.wait(ended, 100); !errors.Is(err, context.Canceled) {
			t.Errorf("a transfer that has ended: %v", err)
		}
		a.leave()
		b.leave()
		b.leave()
		if len(g.sites) != 0 {
			t.Errorf("%d sites are remembered", len(g.sites))
		}
	})
}

// TestSites: named networks are one site, all others are cut.
func TestSites(t *testing.T) {
	g := newGate(Budget{Sites: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.1.2.0/24")}})
	for in, want := range map[string]string{"10.1.9.9": "10.1.0.0/16", "10.1.2.3": "10.1.2.0/24",
		"10.2.3.4": "10.2.3.0/24", "::ffff:10.2.3.4": "10.2.3.0/24", "2001:db8::1": "2001:db8::/64",
		"fe80::1%eth0": "fe80::/64"} {
		if got := g.siteOf(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s is of %s, want %s", in, got, want)
		}
	}
	if (Budget{PrefixV4: 33}).Validate() == nil || (Budget{Transfers: -1}).Validate() == nil {
		t.Error("a budget out of range is taken")
	}
}

// TestNamedSites: a site that has a name has its own limits, in all its networks
// together; where it has none, and everywhere else, the common limit holds.
func TestNamedSites(t *testing.T) {
	g := newGate(Budget{Transfers: 2, Named: func(a netip.Addr) (Named, bool) {
		switch a.As4()[1] {
		case 1, 2:
			return Named{Name: "Kyoto", Transfers: 1, Rate: 1000}, true
		case 3:
			return Named{Name: "Osaka"}, true
		case 4:
			return Named{Name: "Nara", Transfers: 9}, true // more than the host allows
		}
		return Named{}, false
	}})
	enter := func(address string) (*permit, bool) {
		p := &permit{}
		ok, _ := g.enter(p, netip.MustParseAddr(address), big)
		return p, ok
	}
	for _, c := range []struct {
		first, second string
		both          bool
	}{
		{"10.1.0.1", "10.2.0.1", false}, {"10.1.0.1", "::ffff:10.1.0.2", false}, {"10.3.0.1", "10.3.9.1", true},
		{"10.1.0.1", "10.3.0.1", true}, {"10.9.0.1", "10.9.0.2", true},
	} {
		a, first := enter(c.first)
		b, second := enter(c.second)
		if !first || second != c.both {
			t.Errorf("%s: %v, and then %s: %v", c.first, first, c.second, second)
		}
		a.leave()
		b.leave()
	}
	for address, want := range map[string]int{"10.1.0.1": 1, "10.3.0.1": 2, "10.4.0.1": 2, "10.9.0.1": 2} {
		n := 0
		for range 5 {
			if _, ok := enter(address); ok {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d at the same time, want %d", address, n, want)
		}
	}
}

// TestGenerate: what is made on the fly is served over both protocols, with
// conditions and parts; what fails says so and does not look like no file.
func TestGenerate(t *testing.T) {
	s := serve(t, Config{Generate: func(_ context.Context, name string, client netip.Addr) ([]byte, error) {
		switch name {
		case "made.xml":
			return fmt.Appendf(nil, "<a>%s</a>", client), nil
		case "broken.xml":
			return nil, errors.New("the database is away")
		}
		return nil, fs.ErrNotExist
	}})
	resp := get(t, http.DefaultClient, s.http+"made.xml")
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "<a>127.0.0.1</a>" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/xml") {
		t.Errorf("%s %v %v", b, err, resp.Header)
	}
	for header, want := range map[[2]string]int{{"If-None-Match", resp.Header.Get("ETag")}: 304,
		{"Range", "bytes=3-5"}: 206} {
		r, err := http.NewRequest("GET", s.http+"made.xml", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(header[0], header[1])
		resp, err := http.DefaultClient.Do(r)
		if err != nil || resp.StatusCode != want {
			t.Errorf("%s: %v, %v", header, resp, err)
		}
		resp.Body.Close()
	}
	if resp := get(t, http.DefaultClient, s.http+"broken.xml"); resp.StatusCode != 503 ||
		resp.Header.Get("Retry-After") == "" {
		t.Errorf("what cannot be made: %s, %v", resp.Status, resp.Header)
	}
	if resp := get(t, http.DefaultClient, s.http+"small.bin"); resp.StatusCode != 200 {
		t.Errorf("a file of the directory: %s", resp.Status)
	}
	for name, want := range map[string]error{"made.xml": nil, "broken.xml": nil, "none.xml": tftp.ErrNotFound} {
		r, err := new(tftp.Client).Get(t.Context(), s.tftp, name, 0)
		if name == "broken.xml" {
			if err == nil || errors.Is(err, tftp.ErrNotFound) {
				t.Errorf("what cannot be made, over TFTP: %v", err)
			}
			continue
		}
		if !errors.Is(err, want) {
			t.Errorf("%s over TFTP: %v", name, err)
			continue
		}
		if err == nil {
			if b, err := io.ReadAll(r); string(b) != "<a>127.0.0.1</a>" {
				t.Errorf("over TFTP: %s, %v", b, err)
			}
			r.Close()
		}
	}
	if metric(t, s.metrics, `peerload_fileserver_requests_total{outcome="200",protocol="http"}`) < 2 {
		t.Error("requests are not counted")
	}
}

// metric reads one value in the text form.
func metric(t *testing.T, m *Metrics, name string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			var labels []string
			for _, l := range v.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			full := f.GetName()
			if len(labels) > 0 {
				full += "{" + strings.Join(labels, ",") + "}"
			}
			if full == name {
				return v.GetCounter().GetValue() + v.GetGauge().GetValue()
			}
		}
	}
	t.Errorf("there is no metric %s", name)
	return 0
}

// fleetSlots are slots that several servers take, as a database has them.
type fleetSlots struct {
	sync.Mutex
	taken map[string]int
	away  bool
}

var errSlots = errors.New("the database is away")

func (f *fleetSlots) Take(site string, n int) (leave func(), ok bool, err error) {
	f.Lock()
	defer f.Unlock()
	if f.away {
		return nil, false, errSlots
	}
	if f.taken[site] >= n {
		return nil, false, nil
	}
	f.taken[site]++
	return func() { f.Lock(); f.taken[site]--; f.Unlock() }, true, nil
}

// TestSlots: the transfers of a site are bounded over all replicas; what is given back
// at one is free for a client that waits at another. Without an answer each bounds its
// own.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := &fleetSlots{taken: map[string]int{}}
		b := Budget{Transfers: 2, Slots: slots}
		one, two := newGate(b), newGate(b)
		client, far := netip.MustParseAddr("10.1.0.7"), netip.MustParseAddr("10.2.0.7")
		enter := func(g *gate, from netip.Addr, want bool) *permit {
			t.Helper()
			p := &permit{}
			if ok, _ := g.enter(p, from, big); ok != want {
				t.Errorf("entered: %v", ok)
			}
			return p
		}
		first := enter(one, client, true)
		enter(two, client, true)
		enter(one, client, false).leave()
		enter(two, client, false).leave()
		enter(two, far, true).leave()
		waits := &permit{}
		ok, again := two.enter(waits, client, big)
		if ok {
			t.Error("a third transfer")
		}
		first.leave()
		<-again
		if ok, _ := two.enter(waits, client, big); !ok {
			t.Error("a slot that was given back is not free")
		}
		waits.leave()
		synctest.Wait()
		if slots.taken["10.1.0.0/24"] != 1 {
			t.Errorf("%v are taken", slots.taken)
		}
		slots.away = true
		enter(one, client, true)
		enter(one, client, true)
		enter(one, client, false)
	})
}
