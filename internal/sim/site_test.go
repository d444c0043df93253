package sim

import (
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// TestSiteFaults plays a site with each fault: it ends as it should, and twice
// the same.
func TestSiteFaults(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	base := Site{Seed: 3, Devices: 24, Sizes: []int64{6 << 20}, WAN: 20e6, LAN: 100e6, RTT: 50 * time.Millisecond,
		Spread: 80 * time.Millisecond}
	for _, name := range append(FaultNames(), "") {
		c := base
		if name != "" {
			f, err := ParseFault(name + "@40")
			if err != nil {
				t.Fatal(err)
			}
			c.Faults = []Fault{f}
		}
		o, err := c.Play()
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Violations) > 0 || o.Complete != o.Expected || o.Complete < 23 {
			t.Errorf("%q: %d of %d complete; %v", name, o.Complete, o.Expected, o.Violations)
		}
		if o.WANBytes < o.Size || o.WANBytes > 3*o.Size || o.Last < o.Bound || o.Elections < 1 {
			t.Errorf("%q: %+v", name, o)
		}
		if again, _ := c.Play(); again.Hash != o.Hash || again.Last != o.Last {
			t.Errorf("%q: one seed, two runs", name)
		}
		t.Logf("%-14s last %6.2f s, bound %.2f s, WAN %.3f x size, elections %d, requests %d", name, o.Last.Seconds(),
			o.Bound.Seconds(), float64(o.WANBytes)/float64(o.Size), o.Elections, o.Requests)
	}
}

// TestSiteSlowStart: a long round trip costs the first seconds, and no more.
func TestSiteSlowStart(t *testing.T) {
	c := Site{Seed: 1, Devices: 4, Sizes: []int64{8e6}, WAN: 20e6, LAN: 100e6}
	near, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	c.RTT = 200 * time.Millisecond
	far, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	if more := far.Last - near.Last; more < 700*time.Millisecond || more > 2*time.Second {
		t.Errorf("a round trip of 200 ms costs %v: %v and %v", more, near.Last, far.Last)
	}
}

// TestSiteFiles fetches several files one after the other.
func TestSiteFiles(t *testing.T) {
	c := Site{Seed: 1, Devices: 12, Sizes: []int64{3e6, 0, 100, 2e6}, WAN: 20e6, LAN: 100e6, RTT: 20 * time.Millisecond}
	o, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	if o.Complete != 12 || len(o.Violations) > 0 || float64(o.WANBytes) > 1.02*5_000_100 {
		t.Errorf("%+v", o)
	}
}

func TestSiteRefuses(t *testing.T) {
	good := Site{Devices: 2, Sizes: []int64{1}, WAN: 1e6, LAN: 1e6}
	for what, spoil := range map[string]func(*Site){
		"no devices": func(c *Site) { c.Devices = 0 },
		"too many":   func(c *Site) { c.Devices = MaxSiteDevices + 1 },
		"no file":    func(c *Site) { c.Sizes = nil },
		"no rate":    func(c *Site) { c.WAN = 0 },
		"size":       func(c *Site) { c.Sizes = []int64{-1} },
		"loss":       func(c *Site) { c.Loss = 1 },
		"fault":      func(c *Site) { c.Faults = []Fault{{Name: "rain"}} },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for _, s := range []string{"", "rain", "slow@", "slow@-1", "slow@100", "slow@NaN"} {
		if _, err := ParseFault(s); err == nil {
			t.Errorf("fault %q: no error", s)
		}
	}
}

// TestPredictDraws: what is drawn out comes near to what is played in full.
func TestPredictDraws(t *testing.T) {
	tiers.Long(t, "it plays many sites or large ones")
	for _, c := range []Site{
		{Devices: 600, Sizes: []int64{26e6}, WAN: 20e6, LAN: 100e6, RTT: 100 * time.Millisecond},
		{Devices: 120, Sizes: []int64{40e6, 100, 30e6, 30e6}, Metadata: 9000, WAN: 20e6, LAN: 100e6,
			RTT: 100 * time.Millisecond},
	} {
		full, err := c.Play()
		if err != nil {
			t.Fatal(err)
		}
		o, drawn, err := c.Predict()
		if err != nil || !drawn {
			t.Fatalf("%v, drawn %v", err, drawn)
		}
		if q := o.Last.Seconds() / full.Last.Seconds(); q < 0.97 || q > 1.03 {
			t.Errorf("%d files: drawn out %v, played %v", len(c.Sizes), o.Last, full.Last)
		}
		if q := float64(o.WANBytes) / float64(full.WANBytes); q < 0.97 || q > 1.03 || o.Size != full.Size {
			t.Errorf("%d files: drawn out %d of %d bytes, played %d", len(c.Sizes), o.WANBytes, o.Size, full.WANBytes)
		}
	}
	many := Site{Devices: MaxSiteDevices, Sizes: []int64{1}}
	if b := many.shrink(planChunks); b.Devices != mostPlanned {
		t.Errorf("%d devices are played", b.Devices)
	}
}

// TestMetadataCosts: signed metadata costs its five round trips.
func TestMetadataCosts(t *testing.T) {
	c := Site{Seed: 1, Devices: 4, Sizes: []int64{1e6}, WAN: 20e6, LAN: 100e6, RTT: 200 * time.Millisecond}
	plain, err := c.Play()
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata = 9000
	signed, err := c.Play()
	if err != nil || len(signed.Violations) > 0 || signed.Complete != 4 {
		t.Fatalf("%v %v", signed, err)
	}
	if more := signed.Last - plain.Last; more < time.Second || more > 1600*time.Millisecond {
		t.Errorf("metadata costs %v over a round trip of 200 ms", more)
	}
}

var (
	simRuns = flag.Int("sim.runs", 300, "random sites to play")
	simSeed = flag.Uint64("sim.seed", 0, "play this site only, with a trace on stderr")
)

func TestRandomSites(t *testing.T) {
	from, to := uint64(1), uint64(*simRuns)
	switch {
	case underRace:
		to = min(to, 30)
	case testing.Short():
		to = min(to, 25)
	}
	if *simSeed != 0 {
		from, to = *simSeed, *simSeed
	}
	failed := 0
	for seed := from; seed <= to; seed++ {
		var trace Tracer
		if *simSeed != 0 {
			trace = told{os.Stderr}
		}
		r := NewRandomSite(seed, trace)
		if bad := r.Play(); len(bad) > 0 {
			t.Errorf("seed %d: %s\n\t%s", seed, r, strings.Join(bad, "\n\t"))
			if failed++; failed > 20 {
				t.FailNow()
			}
		}
	}
}

// someWAN draws the rate of a WAN as random sites once did, for seeds of that time.
func someWAN(rnd *rand.Rand) float64 { return []float64{2e6, 20e6, 200e6}[rnd.IntN(3)] }

// TestSeedsThatFailed plays random sites that a fault of the protocol kept from
// ending once.
func TestSeedsThatFailed(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	for _, seed := range []uint64{
		// A device that had wrong chunks sent again was complete, and claimed by
		// turns that it was and that it was not.
		5006973, 5012927,
		// A rogue root and a holder that lies unseat one root after another, and the
		// server has no ranges: no download came to its end.
		5031558,
		// A device goes on with a direct download when it becomes root: that is no
		// second one beside another's.
		9213,
		// A server without ranges behind 2 Mbit/s: each new root began with fewer
		// bytes than parents still told of the one before, and was left as stalled.
		28262,
	} {
		r := newRandomSite(seed, nil, someWAN)
		if bad := r.Play(); len(bad) > 0 {
			t.Errorf("seed %d: %s\n\t%s", seed, r, strings.Join(bad, "\n\t"))
		}
	}
	for _, seed := range []uint64{
		// A server without ranges behind 139 kbit/s: a root that was given no time to catch
		// up stood beside another one for 75 s.
		21059,
		// A line of 18 kbit/s, which takes half a minute for a chunk: in the end all
		// eighteen devices were at the server at once, and none got a chunk any more.
		2237,
		// Nothing is wrong here: a device compared its peers with the server a second
		// time, and was not believed any more that it was there.
		5915,
		// Liars and a thin line: devices that took themselves for slow became root,
		// offered themselves, and refused whoever came.
		13308, 22792,
		// A device with a slow port gave up one parent after another before its welcome
		// came, and what those had sent by then filled the port.
		18802, 20314, 29688,
		// A fault restarts a device before its time to start has come: it ran twice at once.
		9000079,
		// A device crashed in its direct download, and was not waited for later.
		9003579,
	} {
		if r := NewRandomSite(seed, nil); len(r.Play()) > 0 {
			t.Errorf("seed %d: %s", seed, r)
		}
	}
}

// TestLiarSeedsThatFailed plays sites with liars that were beyond their bound once.
func TestLiarSeedsThatFailed(t *testing.T) {
	for _, seed := range []uint64{
		// A liar welcomed in the name of who became root later, and sent a chunk each 6.4 s to
		// a device that took itself for slow and compared it with nothing: no end.
		3297,
		// Devices were placed below a root that told them that they stand above it, again and
		// again: no end.
		8760, 5559,
		// A liar dialled its own child: that was taken for a loop.
		6809,
		// The devices distrusted none of the roots that had nothing while the server served.
		1882, 9641,
		// A device distrusted an honest root, which it had followed for some milliseconds, for
		// what the server had brought before, and became root beside it.
		4773, 5952,
		// Devices that waited for their turn at the server went there, one after the other,
		// though another had the whole file: eight copies.
		3987,
		// A root that was behind was given time to catch up by devices whose download from a
		// server without ranges began anew then: no end.
		1881,
		// A device that had all of one stripe waited for the other one below a liar.
		9274, 2677,
		// A device stayed below a liar that sent a chunk a second, though others had the whole
		// file and it followed one of them after the other.
		458, 2999,
		// Devices waited eight seconds for tables of liars, and blamed who was root by then.
		4266,
	} {
		c := NewLiarSite(seed)
		if r := c.Play(nil); len(r.Bad) > 0 {
			t.Errorf("seed %d: %v\n%s", seed, r.Bad, c)
		}
	}
	// Three liars sent wrong bytes by turns: there was no end. It is still too late.
	c := NewLiarSite(1486)
	if r := c.Play(nil); len(r.Lying.Bad) > 0 {
		t.Errorf("seed %d: %v\n%s", c.Seed, r.Lying.Bad, c)
	}
}

// TestLiarSites plays sites with random liars. How many cost more than their bound
// is not 0 yet; it must not become more. Without liars none may fail, and with
// them nothing wrong may be committed.
func TestLiarSites(t *testing.T) {
	const sites, most = 300, 2
	n := uint64(sites)
	switch {
	case underRace:
		n = 20
	case testing.Short():
		n = 30
	}
	beyond := 0
	for seed := uint64(1); seed <= n; seed++ {
		c := NewLiarSite(seed)
		r := c.Play(nil)
		if len(r.Silent.Bad) > 0 {
			t.Errorf("seed %d, liars silent: %v\n%s", seed, r.Silent.Bad, c)
		}
		for _, bad := range r.Lying.Bad {
			if strings.Contains(bad, "wrong chunk") || strings.Contains(bad, "stays in the past") {
				t.Errorf("seed %d: %s\n%s", seed, bad, c)
			}
		}
		if len(r.Bad) > 0 {
			beyond++
			t.Logf("seed %d: factor %.2f: %v", seed, r.Factor, r.Bad)
		}
	}
	if t.Logf("%d of %d sites beyond their bound", beyond, n); beyond > most {
		t.Errorf("%d of %d sites beyond their bound, at most %d so far", beyond, n, most)
	}
}

// TestShrink: what is left of a liar that costs too much still does, with no more
// rules than before.
func TestShrink(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	for seed := uint64(1); seed < 300; seed++ {
		c := NewLiarSite(seed)
		if len(c.Play(nil).Bad) == 0 {
			continue
		}
		d := c.Shrink()
		if len(d.Play(nil).Bad) == 0 {
			t.Errorf("seed %d costs too much, but not made shorter:\n%s", seed, d)
		}
		if rulesOf(d) > rulesOf(c) || len(d.Liars) > len(c.Liars) {
			t.Errorf("%d rules made of %d", rulesOf(d), rulesOf(c))
		}
		return
	}
	t.Skip("no site costs too much")
}

func rulesOf(c *LiarSite) (n int) {
	for _, p := range c.Liars {
		n += len(p.Rules)
	}
	return n
}

// TestPieces: over several connections a long or lossy WAN is nearly full, and one copy
// crosses it; a thin one sees one connection.
func TestPieces(t *testing.T) {
	tiers.Long(t, "it plays large files over long lines")
	for _, c := range []struct {
		name string
		site Site
		less float64 // than this part of the time over one connection
		most float64 // times the bound
	}{
		{"200 ms", Site{WAN: 20e6, RTT: 200 * time.Millisecond, Sizes: []int64{20e6}}, 1, 1.145},
		{"200 ms, 0.1 %", Site{WAN: 20e6, RTT: 200 * time.Millisecond, WANLoss: 0.001, Sizes: []int64{20e6}}, 0.3, 1.3},
		{"200 ms, 1 %", Site{WAN: 20e6, RTT: 200 * time.Millisecond, WANLoss: 0.01, Sizes: []int64{20e6}}, 0.1, 2.2},
		{"600 ms, 0.5 %", Site{WAN: 10e6, RTT: 600 * time.Millisecond, WANLoss: 0.005, Sizes: []int64{20e6}}, 0.2, 2.5},
		{"12 kbit/s", Site{WAN: 12e3, RTT: 300 * time.Millisecond, Sizes: []int64{1e6}}, 1.01, 1.1},
	} {
		c.site.Seed, c.site.Devices, c.site.LAN = 1, 16, 100e6
		one, err := c.site.Play()
		if err != nil {
			t.Fatal(err)
		}
		c.site.Connections = 16
		many, err := c.site.Play()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %v over one connection, %v over several, bound %v, %d bytes", c.name, one.Last, many.Last, many.Bound,
			many.WANBytes)
		if len(many.Violations) > 0 || many.Complete != 16 || many.Last.Seconds() > c.less*one.Last.Seconds() ||
			many.Last.Seconds() > c.most*many.Bound.Seconds() || float64(many.WANBytes) > 1.01*float64(one.WANBytes) {
			t.Errorf("%s: %+v, over one connection %v", c.name, many, one.Last)
		}
	}
}

// TestNoPieces: a far server without ranges sends in vain what was asked for before its
// first answer, once, and nothing where the line is near or thin.
func TestNoPieces(t *testing.T) {
	for _, c := range []struct {
		name string
		wan  float64
		rtt  time.Duration
		size int64
		vain int64 // at most
	}{
		{"far", 20e6, 200 * time.Millisecond, 20e6, 12 * initialWindow},
		{"thin and far", 2e6, 250 * time.Millisecond, 4e6, 3 * initialWindow},
		{"near", 20e6, 40 * time.Millisecond, 20e6, 0},
		{"12 kbit/s", 12e3, 300 * time.Millisecond, 640e3, 0},
	} {
		play := func(connections int) (sent int64, last time.Duration) {
			s := New(Config{Seed: 1, Overhead: overhead})
			sub := s.Subnet(SubnetConfig{LAN: 100e6, WAN: c.wan, RTT: c.rtt, SlowStart: true, Connections: connections})
			sub.Server.NoRange = true
			sub.Fill(4, NewFile("fw", c.size))
			for _, d := range sub.devices {
				s.At(0, d.Start)
			}
			s.RunToEnd(time.Hour)
			for _, d := range sub.devices {
				if !d.order[0].complete {
					t.Errorf("%s: %s is not complete", c.name, d)
				}
				last = max(last, d.order[0].Done)
			}
			return sub.Server.Bytes, last
		}
		one, before := play(1)
		many, last := play(16)
		t.Logf("%s: %d bytes after %v over one connection, %d after %v", c.name, one, before, many, last)
		if many-one > c.vain || c.vain > 0 && many == one || last > before+before/50 {
			t.Errorf("%s: %d bytes in vain, %v and not %v", c.name, many-one, last, before)
		}
	}
}

// TestRandomSitesInPieces plays random sites whose devices have several connections.
func TestRandomSitesInPieces(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	sites := uint64(150)
	switch {
	case underRace:
		sites = 10
	case testing.Short():
		sites = 30
	}
	for seed := uint64(1); seed <= sites; seed++ {
		r := NewRandomSite(seed, nil)
		r.sub.cfg.Connections = 16
		if bad := r.Play(); len(bad) > 0 {
			t.Errorf("seed %d: %s\n\t%s", seed, r, strings.Join(bad, "\n\t"))
		}
	}
}

// TestPiecesLost: what a root that loses power had not passed on comes again: chunks that
// were on their way, one for each connection. There are few connections where few bring
// all, and what came before it was needed is passed on.
func TestPiecesLost(t *testing.T) {
	for _, c := range []struct {
		name string
		site Site
		most float64 // chunks
	}{
		{"near", Site{WAN: 10e6, RTT: 10 * time.Millisecond}, 3},
		{"thin", Site{WAN: 1e6, RTT: 40 * time.Millisecond}, 3},
		{"thin and far", Site{WAN: 2e6, RTT: 250 * time.Millisecond}, 5},
		{"far", Site{WAN: 20e6, RTT: 200 * time.Millisecond}, 22},
		{"lossy", Site{WAN: 10e6, RTT: 100 * time.Millisecond, WANLoss: 0.01}, 17},
	} {
		c.site.Seed, c.site.Devices, c.site.LAN, c.site.Sizes, c.site.Connections = 1, 10, 100e6, []int64{8e6}, 16
		quiet, err := c.site.Play()
		if err != nil {
			t.Fatal(err)
		}
		c.site.Faults = []Fault{{Name: "poweroff-root", At: 0.5}}
		o, err := c.site.Play()
		if err != nil {
			t.Fatal(err)
		}
		lost := float64(o.WANBytes-quiet.WANBytes) / load.MinChunkSize
		t.Logf("%s: %.1f chunks came again, %.3f copies after %v; undisturbed %.3f after %v", c.name, lost,
			float64(o.WANBytes)/float64(o.Size), o.Last, float64(quiet.WANBytes)/float64(o.Size), quiet.Last)
		if len(o.Violations) > 0 || o.Complete != 9 || lost > c.most {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
}
