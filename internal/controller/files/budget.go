package files

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/ratelimit"
)

// Budget bounds what devices of one site download at the same time: the WAN
// budget for those that cannot share, or whose peers have failed. The zero
// value sets no limit.
type Budget struct {
	// Transfers is the number of bodies that may be sent to one site at the
	// same time. HTTP clients beyond it are answered with 503 and Retry-After,
	// TFTP clients wait. 0: no limit.
	Transfers int
	// Rate is the bytes a second to one site, all transfers together. 0: no
	// limit.
	Rate int64
	// Free is the size in bytes up to which a file needs no permit, so that a
	// full budget does not block manifests and settings. 0: 64 KiB.
	Free int64
	// Sites are networks that are a site each, whatever their size.
	Sites []netip.Prefix
	// Named knows the site of an address, with its own limits; it goes before
	// all other ways to tell. It is called for each transfer. nil: no site has a
	// name.
	Named func(netip.Addr) (Named, bool)
	// Slots count Transfers, and those of Named, over all replicas of a server. While
	// they do not answer, each replica counts for itself. nil: there are no others.
	Slots Slots
	// PrefixV4 and PrefixV6 divide all other addresses into sites. 0: 24 and
	// 64.
	PrefixV4, PrefixV6 int
}

// Slots are the transfers of all replicas.
type Slots interface {
	// Take takes one of the first n slots of a site, if one is free; leave gives it
	// back, once.
	Take(site string, n int) (leave func(), ok bool, err error)
}

// Named is a site that has a name, wherever its networks are.
type Named struct {
	Name string
	// Transfers and Rate are as those of Budget; the lower of both limits holds, so
	// that nobody who may change a site raises those of the host. A change reaches
	// the site once none of its transfers is under way.
	Transfers int
	Rate      int64
}

// Validate refuses values out of range.
func (b Budget) Validate() error {
	for _, limit := range []struct {
		name        string
		value, most int64
	}{
		{"transfers of a site", int64(b.Transfers), math.MaxInt64},
		{"rate of a site", b.Rate, math.MaxInt64},
		{"free bytes of a site", b.Free, math.MaxInt64},
		{"IPv4 prefix of a site", int64(b.PrefixV4), 32},
		{"IPv6 prefix of a site", int64(b.PrefixV6), 128},
	} {
		switch {
		case limit.value < 0:
			return fmt.Errorf("files: the %s is 0 or more, not %d", limit.name, limit.value)
		case limit.value > limit.most:
			return fmt.Errorf("files: the %s is %d at most, not %d", limit.name, limit.most, limit.value)
		}
	}
	return nil
}

const (
	defaultFree     = 64 << 10
	defaultPrefixV4 = 24
	defaultPrefixV6 = 64
	// maxSites bounds the sites that are remembered at the same time.
	maxSites = 100_000
	// tftpPatience is how long a TFTP client waits for a permit, less than the
	// time after which real ones give up.
	tftpPatience = 20 * time.Second
	// retryLeast and retryMost bound Retry-After; the time between is drawn at
	// random, so that those refused together do not come back together.
	retryLeast, retryMost = 2 * time.Second, 12 * time.Second
	// slice is how much is sent between two looks at the rate.
	slice = 32 << 10
)

// gate holds the budget of every site that has transfers.
type gate struct {
	budget Budget
	mu     sync.Mutex
	sites  map[place]*site
}

// place tells sites apart: by name, or by network.
type place struct {
	name    string
	network netip.Prefix
}

// site is one site with clients that download or wait.
type site struct {
	users   int // transfers and waiters; the site is forgotten at 0
	running int
	most    int           // transfers at the same time, 0 for no limit
	freed   chan struct{} // closed when a permit becomes free
	limit   *ratelimit.Limiter
	// downloads are those that come in pieces. One that waits for its next piece is a
	// user.
	downloads map[download]*group
	// slots give those of all replicas back that its permits have: one is as good as
	// another.
	slots []func()
}

func newGate(b Budget) *gate { return &gate{budget: b, sites: map[place]*site{}} }

// siteOf returns the site of an address: the smallest of the named networks
// that holds it, else its own network.
func (g *gate) siteOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	best := netip.Prefix{}
	for _, p := range g.budget.Sites {
		if p.Contains(a) && p.Bits() >= best.Bits() {
			best = p.Masked()
		}
	}
	if best.IsValid() {
		return best
	}
	bits := orElse(g.budget.PrefixV6, defaultPrefixV6)
	if a.Is4() {
		bits = orElse(g.budget.PrefixV4, defaultPrefixV4)
	}
	p, _ := a.Prefix(bits) // a zero address gives the zero prefix, a site too
	return p
}

func orElse[T int | int64](v, or T) T {
	if v == 0 {
		return or
	}
	return v
}

// lower is the lower of two limits; 0 is none.
func lower[T int | int64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// open makes the site of an address anew, with its limits.
func (g *gate) open(a netip.Addr) (place, *site) {
	most, rate, at := g.budget.Transfers, g.budget.Rate, place{}
	known := Named{}
	if g.budget.Named != nil {
		known, _ = g.budget.Named(a.Unmap().WithZone(""))
	}
	if at.name = known.Name; known.Name == "" {
		at.network = g.siteOf(a)
	} else {
		most, rate = lower(known.Transfers, most), lower(known.Rate, rate)
	}
	return at, &site{most: most, freed: make(chan struct{}), limit: ratelimit.New(float64(rate), 0)}
}

// download names one download of a device, whose pieces come by several transfers.
// The zero value is a transfer by itself.
type download struct {
	client netip.Addr
	name   string // what the device calls it
}

// group is the transfers of one download, which have one permit together.
type group struct {
	running int
	left    time.Time // when the last one ended, while none is running
}

const (
	// mostPieces is how many transfers of one download share a permit.
	mostPieces = 16
	// pieceGap is how long a permit is kept for the next piece of a download.
	pieceGap = time.Second
	// maxDownload bounds the name of a download.
	maxDownload = 64
)

// permit is the right of one transfer to send. A nil permit has no limits.
type permit struct {
	gate *gate
	at   place
	site *site
	held bool
	of   download
}

// enter gives a transfer of size bytes a permit. If there is none now it
// returns false and what to wait for: then enter again, or leave.
func (g *gate) enter(p *permit, client netip.Addr, size int64) (ok bool, freed <-chan struct{}) {
	ok, another, freed := g.enterHere(p, client, size)
	if !another || g.budget.Slots == nil {
		return ok, freed
	}
	name := p.at.name
	if name == "" {
		name = p.at.network.String()
	}
	leave, ok, err := g.budget.Slots.Take(name, p.site.most)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err != nil: // each replica counts for itself meanwhile
		return true, nil
	case ok:
		p.site.slots = append(p.site.slots, leave)
		return true, nil
	}
	p.held = false
	if d := p.site.downloads[p.of]; p.of.name == "" || d == nil {
		p.site.free()
	} else if d.running--; d.running == 0 { // else other pieces have come meanwhile, and keep it
		delete(p.site.downloads, p.of)
		p.site.free()
	}
	// Another replica gives its slot back: nobody here hears of it.
	again := make(chan struct{})
	time.AfterFunc(slotAgain, func() { close(again) })
	return false, again
}

// slotAgain is when a client that waits asks again for a slot of all replicas.
const slotAgain = 250 * time.Millisecond

// enterHere is enter, as far as this server goes. another says that the permit is one
// more of the site.
func (g *gate) enterHere(p *permit, client netip.Addr, size int64) (ok, another bool, freed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.site == nil {
		p.gate = g
		if p.at, p.site = g.open(client); g.sites[p.at] != nil {
			p.site = g.sites[p.at]
		} else if len(g.sites) < maxSites { // beyond it nobody shares a limit, and nobody fills the memory
			g.sites[p.at] = p.site
		}
		p.site.users++
	}
	if p.site.most == 0 || size <= orElse(g.budget.Free, defaultFree) {
		return true, false, nil
	}
	if p.site.join(p.of) {
		p.held = true
		return true, false, nil
	}
	if p.site.running >= p.site.most {
		return false, false, p.site.freed
	}
	p.site.running++
	p.held = true
	p.site.begin(&p.of)
	return true, true, nil
}

// join lets a transfer share the permit of its download, if that has one.
func (s *site) join(of download) bool {
	d := s.downloads[of]
	if of.name == "" || d == nil || d.running >= mostPieces {
		return false
	}
	if d.running++; d.running == 1 {
		s.users-- // it was kept for this piece
	}
	return true
}

// begin begins a download with the permit of its first transfer. One of a download
// that has as many as may share a permit counts by itself.
func (s *site) begin(of *download) {
	if of.name == "" || s.downloads[*of] != nil {
		of.name = ""
		return
	}
	if s.downloads == nil {
		s.downloads = map[download]*group{}
	}
	s.downloads[*of] = &group{running: 1}
}

// leave gives the permit back, once. That of a download in pieces is kept for the next
// one for a while.
func (p *permit) leave() {
	if p == nil || p.site == nil {
		return
	}
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	s := p.site
	p.site = nil
	if p.held && !p.gate.keeps(p.at, s, p.of) {
		s.free()
	}
	p.gate.drop(p.at, s)
}

// keeps keeps the permit of a download whose transfer has ended, and reports whether
// it does.
func (g *gate) keeps(at place, s *site, of download) bool {
	d := s.downloads[of]
	if of.name == "" || d == nil {
		return false
	}
	if d.running--; d.running > 0 {
		return true
	}
	s.users++
	ended := time.Now()
	d.left = ended
	time.AfterFunc(pieceGap, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if s.downloads[of] == d && d.running == 0 && d.left.Equal(ended) {
			delete(s.downloads, of)
			s.free()
			g.drop(at, s)
		}
	})
	return true
}

// free gives a permit back.
func (s *site) free() {
	if s.running--; len(s.slots) > s.running {
		last := len(s.slots) - 1
		go s.slots[last]() // the database may take its time
		s.slots = s.slots[:last]
	}
	close(s.freed)
	s.freed = make(chan struct{})
}

// drop takes a user off a site, which is forgotten with its last one.
func (g *gate) drop(at place, s *site) {
	if s.users--; s.users == 0 && g.sites[at] == s {
		delete(g.sites, at)
	}
}

// wait waits until n bytes may be sent, or for the end of ctx, whose error it
// then returns.
func (p *permit) wait(ctx context.Context, n int) error {
	if p != nil && p.site != nil && !p.site.limit.Wait(ctx.Done(), n) {
		return ctx.Err()
	}
	return nil
}

// retryAfter is how long a client that was refused should wait.
func retryAfter() time.Duration { return retryLeast + rand.N(retryMost-retryLeast) }
