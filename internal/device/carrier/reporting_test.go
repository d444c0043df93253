package carrier

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp/wire"
)

// TestBatches: a carrier hands over in batches that the controller takes.
func TestBatches(t *testing.T) {
	var c reporting
	for i := range 300 {
		size := 100
		if i < 4 {
			size = batchBytes / 2
		}
		c.waiting = append(c.waiting, handed{Link(i + 1), order.Reported{Report: make([]byte, size)}})
		c.bytes += size
	}
	seen := Link(0)
	for len(c.waiting) > 0 {
		bytes := 0
		batch := c.next()
		for _, r := range batch {
			if bytes += len(r.Report); r.from != seen+1 {
				t.Fatalf("%d after %d", r.from, seen)
			}
			seen = r.from
		}
		if len(batch) == 0 || len(batch) > order.MaxReports || bytes > batchBytes {
			t.Fatalf("%d reports of %d bytes", len(batch), bytes)
		}
	}
	if seen != 300 || c.bytes != 0 {
		t.Errorf("%d reports, %d bytes left", seen, c.bytes)
	}
}

// reportBound is the longest that a report may take whose device can reach the controller:
// one is on its way already, and the carrier answers to neither.
var reportBound = 2*Default().ReportWait + 5*time.Second

// toldAll fails unless the controller had all that the nodes had to tell within a time.
func (s *site) toldAll(all []*told, most time.Duration) {
	s.t.Helper()
	for _, o := range all {
		if !o.done || o.after > most {
			s.breaks("told at %v, known after %v (%v), at most %v", o.at, o.after, o.done, most)
		}
	}
}

// sound fails if something was that must not be.
func (s *site) sound() {
	s.t.Helper()
	for _, b := range s.broken[:min(3, len(s.broken))] {
		s.t.Errorf("%s; %d in all", b, len(s.broken))
	}
}

// all has every honest node that lives report.
func (s *site) all() (out []*told) {
	for _, x := range s.nodes {
		if !x.dead && x.liar == nil {
			out = append(out, x.news())
		}
	}
	return out
}

// TestReportsTogether: a site reports in few requests, and nobody by himself but the
// carrier.
func TestReportsTogether(t *testing.T) {
	for _, n := range []int{2, 50, 500} {
		s := newSite(t, uint64(n), n)
		s.run(30 * time.Second)
		batches, directs := s.batches, s.directs
		all := s.all()
		s.run(time.Minute)
		s.toldAll(all, 5*time.Second)
		s.sound()
		if b, d := s.batches-batches, s.directs-directs; d != 1 || b < n/order.MaxReports || b > n/order.MaxReports+2 {
			t.Errorf("%d devices: %d batches, %d by themselves", n, b, d)
		}
	}
}

// TestReportsCarrierDies: reports that the carrier has as it dies are not lost.
func TestReportsCarrierDies(t *testing.T) {
	for seed := range uint64(40) {
		s := newSite(t, seed, 30)
		s.run(30 * time.Second)
		c := s.carriers()[0]
		var all []*told
		for _, x := range s.nodes {
			if x != c {
				all = append(all, x.news())
			}
		}
		s.run(s.upTo(700 * time.Millisecond))
		c.die(seed%2 == 0)
		s.run(time.Minute)
		most := reportBound
		if seed%2 != 0 { // its followers see at once that its program has ended
			most = 3 * time.Second
		}
		s.toldAll(all, most)
		s.sound()
	}
}

// alone is a machine that carries, and the time at which it does.
func alone() (m *Machine, now time.Duration) {
	m = New(Default(), wire.Peer{ID: 1, Nonce: 1}, rand.New(rand.NewPCG(1, 2)))
	for m.Step(0, Tick{}); !m.Carries(); {
		now, _ = m.Deadline()
		m.Step(now, Tick{})
	}
	return m, now
}

// refused counts the reports among actions that were not taken.
func refused(all []Action) (n int) {
	for _, a := range all {
		if t, ok := a.(Took); ok && t.Ack.Code == nil {
			n++
		}
	}
	return n
}

// TestReportsBounded: who has no room for a report, or does not carry for who sends it,
// says so at once; nobody carries on with reports who does not carry any more.
func TestReportsBounded(t *testing.T) {
	m, now := alone()
	m.Step(now, Accepted{1, netip.MustParseAddrPort("10.0.0.1:1")})
	if n := refused(m.Step(now, Handed{2, order.Reported{Device: "d"}})); n != 1 {
		t.Error("a report of nobody is taken")
	}
	for i := range maxWaiting + 1 {
		if n := refused(m.Step(now, Handed{1, order.Reported{Device: "d"}})); n != i/maxWaiting {
			t.Fatalf("report %d: refused %d", i+1, n)
		}
	}
	m, now = alone()
	m.Step(now, Accepted{1, netip.MustParseAddrPort("10.0.0.1:1")})
	for i, want := range []int{0, 0, 0, 0, 1} {
		body := make([]byte, maxWaitingBytes/4)
		if n := refused(m.Step(now, Handed{1, order.Reported{Device: "d", Report: body}})); n != want {
			t.Fatalf("quarter %d: refused %d", i+1, n)
		}
	}
	m.Stop(now)
	for _, a := range m.Step(now+time.Minute, Tick{}) {
		if _, ok := a.(HandOver); ok {
			t.Error("it hands over what it does not carry any more")
		}
	}
}

// TestAnsweredByAnother: who does not have the report cannot answer for it.
func TestAnsweredByAnother(t *testing.T) {
	m, now := alone()
	m.reports.link, m.reports.until = -5, now+time.Second
	m.answered(Answered{-6, true})
	if m.reports.link != -5 {
		t.Error("it is answered")
	}
}

// lies are those about reports.
var lies = map[string]lie{"drops": drops, "delays": delays, "forges": forges, "refuses": refuses, "alters": alters,
	"repeats": repeats, "exchanges": exchanges}

// liars plays a site some of whose nodes lie about reports, and outrank all others.
func liars(t *testing.T, seed uint64, l lie, f flaw) *site {
	s := newSite(t, seed, 12)
	s.flaw = f
	for i := range 1 + int(seed)%3 {
		s.nodes[i].liar = &liar{strong: true, reports: l}
	}
	s.run(30*time.Second + s.upTo(time.Minute))
	var all []*told
	for range 8 {
		all = append(all, s.all()...)
		s.run(s.upTo(90 * time.Second))
	}
	s.run(2 * time.Minute)
	s.toldAll(all, reportBound)
	return s
}

// TestReportLiars: a carrier that lies about reports delays them, and does nothing else.
func TestReportLiars(t *testing.T) {
	tiers.Long(t, "it plays many sites")
	for name, l := range lies {
		t.Run(name, func(t *testing.T) {
			had := 0
			for seed := range uint64(10) {
				s := liars(t, seed, l, sound)
				s.sound()
				for _, x := range s.nodes {
					had += len(x.kept)
				}
			}
			if had == 0 {
				t.Error("no liar has ever had a report")
			}
		})
	}
}

// TestReportFlaws: if one of the checks were missing, some site would show it.
func TestReportFlaws(t *testing.T) {
	for name, c := range map[string]struct {
		flaw flaw
		lie  lie
	}{
		"who says that it has a report is believed": {gullible, forges},
		"what nobody has sealed is taken":           {careless, alters},
		"what is old is taken":                      {forgetful, repeats},
		"nobody reports by himself":                 {patient, drops},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(10) {
				if len(liars(t, seed, c.lie, c.flaw).broken) > 0 {
					return
				}
			}
			t.Error("it is not noticed")
		})
	}
}

// TestReplay: a seed plays the same each time.
func TestReplay(t *testing.T) {
	play := func() string {
		s := chaos(t, 7)
		text := ""
		for _, d := range slices.Sorted(maps.Keys(s.desks)) {
			text += fmt.Sprintf("%s %+v\n", d, *s.desks[d])
		}
		return fmt.Sprint(s.count, s.now, s.rnd.Uint64(), text)
	}
	if a, b := play(), play(); a != b {
		t.Errorf("%s, and once more %s", a, b)
	}
}

// chaos plays a site with random faults, and with a liar in two of three: devices die and
// start, datagrams are lost, the controller goes and comes, and there are orders and
// reports all the while. Then the faults end, and the liars go on.
func chaos(t *testing.T, seed uint64) *site {
	s := newSite(t, seed, 3+int(seed%17))
	s.lost = float64(seed%4) / 10
	for i := range int(seed % 3) {
		s.nodes[i].liar = &liar{strong: s.rnd.IntN(2) == 0, orders: s.rnd.IntN(2) == 0, beats: s.rnd.IntN(4) == 0,
			late: s.upTo(time.Minute), reports: lie(s.rnd.IntN(int(exchanges) + 1))}
	}
	s.run(20 * time.Second)
	var all []*told
	for range 15 {
		x := s.nodes[s.rnd.IntN(len(s.nodes))]
		switch s.rnd.IntN(6) {
		case 0, 1:
			if c := s.carriers(); s.rnd.IntN(2) == 0 && len(c) > 0 {
				x = c[0]
			}
			if !x.dead {
				x.die(s.rnd.IntN(2) == 0)
			}
		case 2, 3:
			if x.dead {
				x.boot()
			}
		case 4:
			s.away(!s.down)
		}
		s.order()
		all = append(all, s.all()...)
		s.run(s.upTo(40 * time.Second))
	}
	s.lost = 0
	s.away(false)
	for _, x := range s.nodes {
		if x.dead {
			x.boot()
		}
	}
	back := s.now
	s.run(5 * time.Minute)
	for _, o := range s.orders {
		want(t, s, o, max(0, back-o.at)+bound)
	}
	for _, o := range all {
		s.toldAll([]*told{o}, max(0, back-o.at)+reportBound)
	}
	return s
}

// TestRandomReports: whatever happens and whoever lies, no report that its device
// takes for known is lost, none is forged or older than what the controller has, and
// orders reach every honest device in time.
func TestRandomReports(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 10
	}
	if text := os.Getenv("PEERLOAD_CARRIER_SITES"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, seed).sound() })
	}
}
