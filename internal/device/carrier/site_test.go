package carrier

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/wire"
)

// site is a virtual subnet with a controller, in virtual time. What the controller
// has signed is a said: nobody can make one but the controller.
type site struct {
	t     *testing.T
	cfg   Config
	rnd   *rand.Rand
	now   time.Duration
	queue happenings
	count int
	nodes []*node
	lost  float64 // of datagrams

	down   bool // the controller, or the way to it
	feeds  map[string]*feed
	orders []*sent
	drawn  int
	still  int // happenings since the clock has moved
	opened int // connections to the controller that were ever asked for

	desks map[string]*reportsOf // what the controller has of each device
	flaw  flaw
	// batches are those of carriers, directs reports that went without one.
	batches, directs int
	// broken is what must not be, and has been.
	broken []string
}

type happening struct {
	at time.Duration
	n  int // in which order they were thought of
	do func()
}

type happenings []happening

func (h happenings) Len() int      { return len(h) }
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].n < h[j].n
}
func (h *happenings) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// said is a line of the controller, and covers the codes in it.
type said struct {
	feed   string
	at     time.Time
	last   uint64
	number uint64 // of an order
	order  *sent
}

type cover struct {
	node  *node
	nonce uint32
	said  *said
}

// sent is an order to all.
type sent struct {
	at  time.Duration
	got map[*node]time.Duration
}

type feed struct {
	id      string
	owner   *node
	members []*node
	number  uint64
	sentAt  map[*sent]time.Duration
	dead    bool
	last    time.Duration
}

type node struct {
	site    *site
	addr    netip.AddrPort
	peer    wire.Peer
	m       *Machine
	start   time.Duration
	dead    bool
	cut     bool // from the controller
	links   map[Link]*end
	next    Link
	feed    *feed
	asks    int // of connections
	tick    int
	liar    *liar
	said    map[string]any // what texts mean
	replays []Pass
	reporter
}

// end is the other end of a link, to which all comes in order.
type end struct {
	node  *node
	other Link
	last  time.Duration
}

// after is how long something is on its way.
func (e *end) after(now, d time.Duration) time.Duration {
	e.last = max(e.last, now+d)
	return e.last - now
}

// liar is how a node lies as a carrier.
type liar struct {
	strong bool          // its claims outrank all others
	orders bool          // keeps orders back
	beats  bool          // keeps everything back
	late   time.Duration // passes all on so late
	mute   bool          // takes followers and never asks them
	old    bool          // gives all that it has had again and again
	again  bool          // has the controller cover its followers anew again and again

	reports lie
}

// epoch is the controller's clock at the beginning.
var epoch = time.Unix(1_790_000_000, 0).UTC()

func newSite(t *testing.T, seed uint64, n int) *site {
	s := &site{t: t, cfg: Default(), rnd: rand.New(rand.NewPCG(seed, 7)), feeds: map[string]*feed{},
		desks: map[string]*reportsOf{}}
	for i := range n {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), wire.Port)
		x := &node{site: s, addr: a, peer: wire.Peer{ID: uint64(i) + 1}}
		s.nodes = append(s.nodes, x)
		s.after(s.upTo(200*time.Millisecond), x.boot)
	}
	s.after(0, s.beat)
	s.after(0, s.desk)
	return s
}

func (s *site) upTo(d time.Duration) time.Duration { return time.Duration(s.rnd.Int64N(int64(d) + 1)) }

func (s *site) after(d time.Duration, do func()) {
	s.count++
	heap.Push(&s.queue, happening{s.now + d, s.count, do})
}

// run lets time pass.
func (s *site) run(d time.Duration) {
	until := s.now + d
	for len(s.queue) > 0 && s.queue[0].at <= until {
		h := heap.Pop(&s.queue).(happening)
		if s.still++; h.at > s.now {
			s.still = 0
		}
		if s.still > 100_000 {
			s.t.Fatal("time stands still")
		}
		s.now = h.at
		h.do()
	}
	s.now = until
}

// clock is the controller's, which tells whole seconds.
func (s *site) clock() time.Time { return epoch.Add(s.now).Truncate(time.Second) }

// lan and wan are how long something is on its way.
func (s *site) lan() time.Duration { return 200*time.Microsecond + s.upTo(2*time.Millisecond) }
func (s *site) wan() time.Duration { return 20*time.Millisecond + s.upTo(20*time.Millisecond) }

// boot starts a node's program.
func (x *node) boot() {
	x.dead, x.start, x.links, x.said = false, x.site.now, map[Link]*end{}, map[string]any{}
	x.peer.Nonce++
	x.m = New(x.site.cfg, x.peer, rand.New(rand.NewPCG(x.peer.ID, uint64(x.peer.Nonce))))
	x.bootReporter()
	x.step(Tick{})
	if x.liar != nil && x.liar.again {
		x.later(80*time.Second, x.anew)
	}
}

// anew has a liar ask for mandates again.
func (x *node) anew() {
	if x.m.Carries() {
		x.m.carried.begin(x.site.now-x.start-x.site.cfg.Gather, x.site.cfg)
	}
	x.step(Tick{})
	x.later(80*time.Second, x.anew)
}

// die ends a node: with its program alone others notice it at once.
func (x *node) die(power bool) {
	x.dead = true
	x.tick++
	for _, l := range x.sorted() {
		if e := x.links[l]; !power && e.node != nil {
			e.node.later(x.site.lan(), func() { e.node.closed(e.other, wire.ReasonParentLost) })
		}
	}
	x.links = nil
	x.hangUp()
}

func (x *node) sorted() (all []Link) {
	for l := range x.links {
		all = append(all, l)
	}
	slices.Sort(all)
	return all
}

// later does something unless the node's program has ended meanwhile.
func (x *node) later(d time.Duration, do func()) {
	nonce := x.peer.Nonce
	x.site.after(d, func() {
		if !x.dead && x.peer.Nonce == nonce {
			do()
		}
	})
}

func (x *node) closed(l Link, why wire.Reason) {
	if x.links[l] != nil {
		delete(x.links, l)
		x.step(Closed{l, why})
	}
}

func (x *node) step(in Event) {
	if x.dead {
		return
	}
	x.run(x.m.Step(x.site.now-x.start, in))
}

func (x *node) run(todo []Action) {
	for _, a := range todo {
		x.do(a)
	}
	x.tick++
	n := x.tick
	if at, ok := x.m.Deadline(); ok {
		x.later(max(0, x.start+at-x.site.now), func() {
			if x.tick == n {
				x.step(Tick{})
			}
		})
	}
}

func (x *node) do(a Action) {
	s := x.site
	switch a := a.(type) {
	case Broadcast:
		x.broadcast(a.Msg)
	case Dial:
		x.dial(a)
	case Drop:
		e := x.links[a.Link]
		delete(x.links, a.Link)
		if e != nil && e.node != nil {
			e.node.later(e.after(s.now, s.lan()), func() { e.node.closed(e.other, a.Reason) })
		}
	case Welcome:
		x.tell(a.Link, func(l Link) Event { return Opened{l} })
	case Ask:
		if x.liar == nil || !x.liar.mute {
			x.tell(a.Link, func(l Link) Event { return Asked{l, x.name()} })
		}
	case Mandate:
		text := fmt.Sprintf("%d for %s: %d", x.peer.ID, a.Carrier, a.Nonce)
		if e := x.links[a.Link]; e != nil {
			e.node.said[text] = cover{node: x, nonce: a.Nonce}
		}
		x.carrier = a.Carrier
		x.tell(a.Link, func(l Link) Event { return Mandated{l, []byte(text)} })
	case Pass:
		x.pass(a)
	case Connect:
		x.connect(a.Mandates)
	case Disconnect:
		x.hangUp()
	default:
		x.doReport(a)
	}
}

// tell has something happen at the other end of a link.
func (x *node) tell(l Link, what func(Link) Event) {
	if e := x.links[l]; e != nil && e.node != nil {
		e.node.later(e.after(x.site.now, x.site.lan()), func() {
			if e.node.links[e.other] != nil {
				e.node.step(what(e.other))
			}
		})
	}
}

func (x *node) broadcast(msg wire.Message) {
	if c, ok := msg.(*wire.Claim); ok && x.liar != nil && x.liar.strong {
		d := *c
		d.Rank.Confirmed, d.Rank.Strength = true, ^uint32(0)
		msg = &d
	}
	env := wire.Envelope{From: x.peer, TCPPort: x.addr.Port()}
	for _, y := range x.site.nodes {
		if y != x && !y.dead && y.m != nil && x.site.rnd.Float64() >= x.site.lost {
			y.later(x.site.lan(), func() { y.step(Datagram{x.addr, env, msg}) })
		}
	}
}

func (x *node) dial(a Dial) {
	s := x.site
	x.links[a.Link] = &end{}
	i := slices.IndexFunc(s.nodes, func(y *node) bool { return y.addr == a.Addr })
	if i < 0 || s.nodes[i].dead {
		return // nobody answers
	}
	y := s.nodes[i]
	y.later(s.lan(), func() {
		if x.links[a.Link] == nil || y.m == nil {
			return
		}
		y.next++
		l := y.next
		x.links[a.Link] = &end{node: y, other: l}
		y.links[l] = &end{node: x, other: a.Link}
		y.step(Accepted{l, x.addr})
	})
}

// pass passes a line on, or lies.
func (x *node) pass(a Pass) {
	if x.liar == nil {
		x.hand(a)
		return
	}
	_, isOrder := x.said[string(a.Text)].(*said)
	isOrder = isOrder && x.said[string(a.Text)].(*said).order != nil
	switch {
	case x.liar.beats, x.liar.orders && isOrder:
	case x.liar.old:
		if len(x.replays) < 1000 {
			x.replays = append(x.replays, a)
		}
		for _, r := range x.replays { // all that it ever knew, to all
			x.hand(r)
			if r.Link != a.Link {
				r.Link = a.Link
				x.hand(r)
			}
		}
	default:
		x.later(x.liar.late, func() { x.hand(a) })
	}
}

// hand hands a line to a follower, which verifies it.
func (x *node) hand(a Pass) {
	e := x.links[a.Link]
	if e == nil || e.node == nil {
		return
	}
	line := x.said[string(a.Text)].(*said)
	e.node.later(e.after(x.site.now, x.site.lan()), func() {
		y := e.node
		if y.links[e.other] == nil {
			return
		}
		if c, ok := x.said[string(a.Cover)].(cover); ok && c.node == y && c.said == line {
			y.step(Covered{e.other, c.nonce, line.feed, line.last, line.at})
		}
		y.hear(line)
		if line.order != nil {
			y.step(Numbered{e.other, line.feed, line.number})
			return
		}
		y.step(Beat{e.other, line.feed, line.last, line.at})
		if l, f := y.m.Served(); l == e.other && f == line.feed {
			y.hearTime(line.at)
		}
	})
}

// hear takes what is of use whoever has passed it on.
func (x *node) hear(l *said) {
	if l.order != nil {
		if _, ok := l.order.got[x]; !ok {
			l.order.got[x] = x.site.now
		}
	}
}

func (x *node) hangUp() {
	if x.feed != nil {
		x.feed.dead = true
		delete(x.site.feeds, x.feed.id)
		x.feed = nil
	}
	x.asks++
}

// connect opens a feed.
func (x *node) connect(mandates [][]byte) {
	s := x.site
	x.hangUp()
	s.opened++
	ask := x.asks
	x.later(2*s.wan(), func() {
		if x.asks != ask {
			return
		}
		if s.down || x.cut {
			x.later(3*time.Second, func() {
				if x.asks == ask {
					x.step(Unlinked{})
				}
			})
			return
		}
		s.drawn++
		f := &feed{id: fmt.Sprint("feed", s.drawn), owner: x, members: []*node{x}, sentAt: map[*sent]time.Duration{}}
		x.feed, s.feeds[f.id] = f, f
		for _, m := range mandates {
			f.members = append(f.members, x.said[string(m)].(cover).node)
		}
		x.step(Linked{})
		s.serve(f)
		line := &said{feed: f.id, at: s.clock(), last: f.number}
		var covers [][]byte
		for _, m := range mandates {
			c := x.said[string(m)].(cover)
			c.said = line
			text := fmt.Sprintf("cover of %s by %s", m, f.id)
			x.said[text] = c
			covers = append(covers, []byte(text))
		}
		f.send(line, covers)
	})
}

// got is a line of the own feed.
func (x *node) got(l *said, covers [][]byte) {
	text := fmt.Sprintf("%s %d %d %d", l.feed, l.at.Unix(), l.last, l.number)
	x.said[text] = l
	x.hear(l)
	if l.order == nil {
		x.hearTime(l.at)
	}
	x.step(Line{[]byte(text), covers})
}

// send sends a line through a feed, in order.
func (f *feed) send(line *said, covers [][]byte) {
	s := f.owner.site
	f.last = max(f.last, s.now+s.wan())
	f.owner.later(f.last-s.now, func() {
		if !f.dead {
			f.owner.got(line, covers)
		}
	})
}

func (s *site) sortedFeeds() (all []*feed) {
	for _, f := range s.feeds {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b *feed) int { return int(a.owner.peer.ID) - int(b.owner.peer.ID) })
	return all
}

// beat says each minute that the controller lives, and ends what has no way to it.
func (s *site) beat() {
	for _, f := range s.sortedFeeds() {
		line := &said{feed: f.id, at: s.clock(), last: f.number}
		f.send(line, nil)
	}
	s.after(time.Minute, s.beat)
}

// desk sends again what was not answered.
func (s *site) desk() {
	for _, f := range s.sortedFeeds() {
		s.serve(f)
	}
	s.after(10*time.Second, s.desk)
}

func (s *site) serve(f *feed) {
	for _, o := range s.orders {
		open := slices.ContainsFunc(f.members, func(x *node) bool { _, ok := o.got[x]; return !ok })
		if at, ok := f.sentAt[o]; !open || ok && s.now < at+30*time.Second {
			continue
		}
		f.sentAt[o] = s.now
		f.number++
		line := &said{feed: f.id, at: s.clock(), number: f.number, order: o}
		f.send(line, nil)
	}
}

// order sends an order to all.
func (s *site) order() *sent {
	o := &sent{s.now, map[*node]time.Duration{}}
	s.orders = append(s.orders, o)
	for _, f := range s.sortedFeeds() {
		s.serve(f)
	}
	return o
}

// away takes the controller away, or brings it back.
func (s *site) away(down bool) {
	if s.down = down; !down {
		return
	}
	for _, f := range s.sortedFeeds() {
		x := f.owner
		x.hangUp()
		x.later(s.wan(), func() { x.step(Unlinked{}) })
	}
}

// carriers are the nodes that carry.
func (s *site) carriers() (all []*node) {
	for _, x := range s.nodes {
		if !x.dead && x.m.Carries() {
			all = append(all, x)
		}
	}
	return all
}
