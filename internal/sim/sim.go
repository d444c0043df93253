// Package sim simulates whole sites of devices in virtual time: the real
// machines of package pdp, each with a model of its driver. UDP with loss,
// duplication and disorder, TCP links over ports of a given rate, a server
// behind a WAN, disks, and faults that can be stacked.
//
// Everything is driven by one event heap and one seed: the same seed gives the
// same run, down to the Hash of all that happened. Messages go through the
// encoding of package wire. The bytes of a file do not: a chunk is a token that
// says whose content it is, and it takes as long as its bytes would.
//
// What lives here: the event heap, the modelled network, disks and server,
// faults, the invariants that hold in every run, and the trace. What must not:
// sockets, clocks, goroutines, and any decision of the protocol.
//
// Read sim.go first, then device.go (the driver), udp.go, link.go (TCP),
// wan.go (the server), fault.go, check.go (invariants).
package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// Config says how a simulation runs.
type Config struct {
	// Seed determines every random number of the run. 0 is as good as any
	// other.
	Seed uint64
	// Profile of all machines. The zero value means pdp.LAN.
	Profile pdp.Config
	// Trace gets a line for each event with its actions. nil: nobody does.
	Trace Tracer
	// Overhead is what headers add to the bytes of a file on links and WAN, as
	// a part of them. 0: nothing; 0.048 is Ethernet with TCP over IPv4.
	Overhead float64
	// UserTimeout is how long a link survives unacknowledged bytes (RFC 5482).
	// 0 means 5 s, as the protocol asks for.
	UserTimeout time.Duration
	// OriginStall is how long a driver waits for a byte of the origin. 0 means
	// 5 s, what the product's root waits.
	OriginStall time.Duration
	// AllowBudgetOverlap switches the check of the subnet's budget off, for
	// runs in which devices cannot hear each other. False: it is checked.
	AllowBudgetOverlap bool
}

// File is a file that devices want.
type File struct {
	Name, Model string
	Size        int64
	// Signed, Keyed and Unsized are what the devices know of it beforehand.
	Signed, Keyed, Unsized bool
	// Requests is how many requests to the server, one after the other, the
	// content needs; 0 means 1.
	Requests int
	hier     wire.Hierarchy
	geo      load.Geometry
}

// Sim is one run. Use New, then Subnet and its Device; then Run.
type Sim struct {
	cfg     Config
	now     time.Duration
	rnd     *rand.Rand
	heap    []item
	seq     uint64
	events  uint64
	hash    uint64
	subnets []*Subnet
	byAddr  map[netip.Addr]*Device
	faults  []string // violations of invariants
	// cancelled, if not nil, ends runs early.
	cancelled func() bool
}

// Validate refuses what cannot be simulated.
func (c Config) Validate() error {
	if c.Profile.Profile != "" {
		if err := c.Profile.Validate(); err != nil {
			return err
		}
	}
	if c.Overhead < 0 || c.UserTimeout < 0 || c.OriginStall < 0 {
		return errors.New("sim: Overhead, UserTimeout and OriginStall must not be negative")
	}
	return nil
}

// New returns an empty site at time 0. It panics if cfg is not valid: stories
// make it, and no input of a user gets here unread.
func New(cfg Config) *Sim {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if cfg.Profile.Profile == "" {
		cfg.Profile = pdp.LAN()
	}
	if cfg.UserTimeout == 0 {
		cfg.UserTimeout = 5 * time.Second
	}
	if cfg.OriginStall == 0 {
		cfg.OriginStall = 5 * time.Second
	}
	s := &Sim{
		cfg: cfg, rnd: rand.New(rand.NewPCG(cfg.Seed, 0x5045455253494d)), hash: fnvOffset,
		byAddr: map[netip.Addr]*Device{},
	}
	s.watch()
	return s
}

// NewFile returns a signed file whose hierarchy is keyed by its digest.
func NewFile(name string, size int64) *File {
	return &File{
		Name: name, Model: "any", Size: size, Signed: true, Keyed: true,
		hier: wire.HierarchyOf("any", []byte(name)), geo: load.Geometry{Size: size},
	}
}

// Chunks returns the number of chunks.
func (f *File) Chunks() int { return f.geo.Chunks() }

// Now returns the virtual time.
func (s *Sim) Now() time.Duration { return s.now }

// Events returns how many events have happened.
func (s *Sim) Events() uint64 { return s.events }

// Hash is a hash of everything that happened: equal for equal seeds.
func (s *Sim) Hash() uint64 { return s.hash }

// Violations lists what broke an invariant so far.
func (s *Sim) Violations() []string { return s.faults }

func (s *Sim) violate(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if s.cfg.Trace != nil {
		fmt.Fprintf(s.cfg.Trace, "%s WRONG %s\n", stamp(s), what)
	}
	if len(s.faults) < 20 {
		s.faults = append(s.faults, fmt.Sprintf("%v: %s", s.now, what))
	}
}

// At does f at a time, or now if that has passed.
func (s *Sim) At(t time.Duration, f func()) {
	s.seq++
	s.push(item{at: max(t, s.now), seq: s.seq, do: f})
}

// After does f after a while.
func (s *Sim) After(d time.Duration, f func()) { s.At(s.now+d, f) }

// Run simulates until a time.
func (s *Sim) Run(until time.Duration) { s.RunWhile(until, func() bool { return true }) }

// RunWhile simulates until a time or until more returns false; more is called
// after each event.
func (s *Sim) RunWhile(until time.Duration, more func() bool) {
	for len(s.heap) > 0 && s.heap[0].at <= until {
		if s.events%4096 == 0 && s.cancelled != nil && s.cancelled() {
			return
		}
		it := s.pop()
		s.now = it.at
		s.events++
		it.do()
		if !more() {
			return
		}
	}
	s.now = until
}

// RunToEnd simulates until every task of every live device has ended, but not
// longer than limit. It returns whether all have.
func (s *Sim) RunToEnd(limit time.Duration) bool {
	pending := func() bool {
		for _, sub := range s.subnets {
			if sub.pending() > 0 {
				return true
			}
		}
		return false
	}
	var checked time.Duration = -1
	more := true
	s.RunWhile(limit, func() bool {
		if s.now >= checked+time.Millisecond {
			checked = s.now
			more = pending()
		}
		return more
	})
	return !pending()
}

// item is an event of the heap: a binary heap ordered by time, then by order
// of arrival.
type item struct {
	at  time.Duration
	seq uint64
	do  func()
}

func (a item) before(b item) bool { return a.at < b.at || a.at == b.at && a.seq < b.seq }

func (s *Sim) push(it item) {
	s.heap = append(s.heap, it)
	i := len(s.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !it.before(s.heap[up]) {
			break
		}
		s.heap[i] = s.heap[up]
		i = up
	}
	s.heap[i] = it
}

func (s *Sim) pop() item {
	top := s.heap[0]
	n := len(s.heap) - 1
	it := s.heap[n]
	s.heap[n] = item{}
	s.heap = s.heap[:n]
	i := 0
	for n > 0 {
		c := 2*i + 1
		if c >= n {
			break
		}
		if c+1 < n && s.heap[c+1].before(s.heap[c]) {
			c++
		}
		if !s.heap[c].before(it) {
			break
		}
		s.heap[i] = s.heap[c]
		i = c
	}
	if n > 0 {
		s.heap[i] = it
	}
	return top
}

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// fold adds numbers to the hash of the run.
func (s *Sim) fold(vs ...uint64) {
	h := s.hash
	for _, v := range vs {
		h = (h ^ v) * fnvPrime
		h ^= h >> 29
	}
	s.hash = h
}

func (s *Sim) foldBytes(b []byte) {
	h := s.hash
	for _, c := range b {
		h = (h ^ uint64(c)) * fnvPrime
	}
	s.hash = h
}

// between draws a time from [a, a+jitter).
func (s *Sim) between(a, jitter time.Duration) time.Duration {
	if jitter <= 0 {
		return a
	}
	return a + time.Duration(s.rnd.Int64N(int64(jitter)))
}

// span returns how long n bytes take at a rate in bits per second.
func span(n int, rate float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(float64(n) * 8 / rate * float64(time.Second))
}
