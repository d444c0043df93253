// Package relay gets a device the orders of its controller by way of its subnet: one
// device, the carrier, keeps the connection, and passes on what comes.
//
// What lives here: the loop that drives package carrier, the links between a carrier
// and its followers, and the results that a carrier collects. What must not: who
// carries and when to connect (package carrier), and what a line means (package feed).
//
// Read first: Relay, then link.go and results.go.
package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	crand "crypto/rand"

	"github.com/peerload/peerload/internal/device/carrier"
	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/feed"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/teller"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/pdp/wire"
)

// Config configures a Relay. All fields are required but Teller.
type Config struct {
	// Device takes part on the subnet.
	Device *engine.Device
	// Net is the place of Device there.
	Net peernet.Net
	// Name is the device's, as the controller knows it.
	Name string
	// Controller is its URL: devices of another one are another hierarchy.
	Controller string
	// Times of the machine.
	Times carrier.Config
	// Teller has what this device tells of its upgrade; nil: nothing.
	Teller *teller.Teller
	// Log is told who carries.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Device == nil || c.Net == nil || c.Controller == "" || c.Log == nil || !order.IsDevice(c.Name) {
		return errors.New("relay: a field is missing, or the name is none of a device")
	}
	return c.Times.Validate()
}

// Hierarchy is that in which the devices of a controller elect their carrier.
func Hierarchy(controller string) wire.Hierarchy {
	return wire.HierarchyOf("", []byte("peerload carrier"+controller))
}

// Relay is a device that gets its orders by way of its subnet. Use New, then Run once.
type Relay struct {
	cfg  Config
	feed *feed.Follower
	self wire.Peer
	hier wire.Hierarchy

	start time.Time
	// connected says that the controller's orders come, and by way of another device if
	// follows is set.
	connected, follows atomic.Bool

	do   chan func()
	done chan struct{} // closed when Run has ended

	// Owned by the loop.
	ctx     context.Context
	m       *carrier.Machine
	links   map[carrier.Link]*link
	last    carrier.Link // that was accepted last
	carries bool
	served  carrier.Link
	own     ownFeed
	mine    mandate
	waiting waitingOrders
	results collected
	ask     chan<- order.Acks // who waits for acknowledgements by way of the carrier
	// said is the report of this device that is on its way.
	said said
	// same is the frame of a line that goes to all alike.
	same passedOn
}

// ownFeed is the connection of this device's own.
type ownFeed struct {
	end context.CancelFunc // nil if there is none
	n   int                // counts them: what an old one says is dropped
}

// passedOn is a line and its frame.
type passedOn struct {
	text  []byte
	frame wire.Frame
}

// mandate is the last one of this device.
type mandate struct {
	nonce   uint32
	text    []byte
	carrier string
}

// New prepares to follow a feed.
func New(cfg Config, f *feed.Follower) (*Relay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, err
	}
	self := cfg.Device.Self().Peer
	return &Relay{cfg: cfg, feed: f, self: self, hier: Hierarchy(cfg.Controller), start: time.Now(),
		do: make(chan func(), 256), done: make(chan struct{}), links: map[carrier.Link]*link{},
		m: carrier.New(cfg.Times, self, rand.New(rand.NewChaCha8(seed)))}, nil
}

// Connected reports whether the controller's orders come. The controller then also
// knows that this device lives, and by which file it is provisioned.
func (r *Relay) Connected() bool { return r.connected.Load() }

// Follows reports whether the controller's orders come by way of another device. What
// this device tells of its upgrade then goes that way, too.
func (r *Relay) Follows() bool { return r.follows.Load() }

func (r *Relay) now() time.Duration { return time.Since(r.start) }

// post has the loop do something, and reports whether it will: not once the loop has
// ended.
func (r *Relay) post(do func()) bool {
	select {
	case <-r.done:
		return false
	default:
	}
	select {
	case r.do <- do:
		return true
	case <-r.done:
		return false
	}
}

// Run takes part until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	defer close(r.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.ctx = ctx
	leave := r.cfg.Device.Join(r.hier, engine.Guest{Datagram: r.datagram, Accept: r.accept})
	defer leave()
	defer r.connected.Store(false)
	defer r.follows.Store(false)
	timer := time.NewTimer(0)
	defer timer.Stop()
	tell := time.NewTicker(teller.Every)
	defer tell.Stop()
	for {
		if at, ok := r.m.Deadline(); ok {
			timer.Reset(max(0, at-r.now()))
		}
		select {
		case <-ctx.Done():
			r.carry(r.m.Stop(r.now()))
			r.hangUp()
			return
		case do := <-r.do:
			do()
		case <-timer.C:
			r.step(carrier.Tick{})
		case <-tell.C:
			r.tellLive()
		}
	}
}

// step takes an event to the machine and does what follows.
func (r *Relay) step(in carrier.Event) {
	r.carry(r.m.Step(r.now(), in))
	r.connected.Store(r.m.Connected())
	if c := r.m.Carries(); c != r.carries {
		if r.carries = c; c {
			r.cfg.Log.Info("this device keeps the connection to the controller for its subnet")
		}
	}
	if l, _ := r.m.Served(); l != r.served {
		r.follows.Store(l != 0)
		if r.cfg.Teller != nil {
			r.cfg.Teller.Again() // who carries now knows nothing
		}
		if r.served = l; l != 0 {
			r.cfg.Log.Info("the controller's orders come by way of another device", "carrier", r.links[l].peer)
			r.feed.Again()
		}
	}
}

// carry carries out actions.
func (r *Relay) carry(todo []carrier.Action) {
	for _, a := range todo {
		switch a := a.(type) {
		case carrier.Broadcast:
			env := wire.Envelope{Hierarchy: r.hier, From: r.self, TCPPort: r.cfg.Net.TCPPort()}
			_ = r.cfg.Net.Broadcast(wire.Marshal(env, a.Msg)) // as good as lost
		case carrier.Dial:
			r.dial(a)
		case carrier.Drop:
			r.drop(a)
		case carrier.Welcome:
			r.frame(a.Link, &wire.Welcome{From: r.self})
		case carrier.Ask:
			r.tell(a.Link, order.Carried{Carrier: r.cfg.Name})
		case carrier.Mandate:
			r.mandate(a)
		case carrier.Pass:
			r.pass(a)
		case carrier.Connect:
			r.connect(a.Mandates)
		case carrier.Disconnect:
			r.hangUp()
		case carrier.SendReport:
			r.tell(a.Link, order.Carried{Report: &r.said.sealed})
		case carrier.Reported:
			r.said.end(a.Has)
		case carrier.HandOver:
			r.handReports(a.Reports)
		case carrier.Took:
			r.tell(a.Link, order.Carried{Took: &a.Ack})
		}
	}
}

// pass passes a line on.
func (r *Relay) pass(a carrier.Pass) {
	c := order.Carried{Line: a.Text, Cover: a.Cover}
	if a.Cover != nil {
		r.tell(a.Link, c)
		return
	}
	if !bytes.Equal(a.Text, r.same.text) {
		text, err := c.Marshal()
		if err != nil {
			r.cfg.Log.Warn("not passed on", "error", err)
			return
		}
		r.same = passedOn{a.Text, &wire.Carry{Text: text}}
	}
	r.frame(a.Link, r.same.frame)
}

// datagram takes a message of the subnet.
func (r *Relay) datagram(from netip.AddrPort, env wire.Envelope, msg wire.Message) {
	r.post(func() { r.step(carrier.Datagram{From: from, Env: env, Msg: msg}) })
}

// accept takes a link of a follower.
func (r *Relay) accept(c net.Conn, from netip.AddrPort) {
	ok := r.post(func() {
		r.last++
		r.begin(r.last, c)
		r.step(carrier.Accepted{Link: r.last, From: from})
	})
	if !ok {
		c.Close()
	}
}

// mandate gives the carrier a mandate. If there is none to be had, the carrier does
// not serve this device.
func (r *Relay) mandate(a carrier.Mandate) {
	text, err := r.feed.Mandate(a.Carrier, a.Nonce)
	if err != nil {
		r.cfg.Log.Warn("no mandate for the carrier", "error", err)
		return
	}
	r.mine = mandate{a.Nonce, text, a.Carrier}
	r.tell(a.Link, order.Carried{Mandate: text})
}

// hangUp ends the own connection.
func (r *Relay) hangUp() {
	if r.own.end != nil {
		r.own.end()
		r.own.end = nil
	}
	r.own.n++
}

// connect opens a connection of this device's own in place of the one that there is.
func (r *Relay) connect(mandates [][]byte) {
	r.hangUp()
	ctx, end := context.WithCancel(r.ctx)
	r.own.end = end
	n := r.own.n
	still := func(do func()) {
		r.post(func() {
			if r.own.n == n {
				do()
			}
		})
	}
	var all []byte
	for _, m := range mandates {
		all = append(all, m...)
	}
	go func() {
		err := r.feed.Once(ctx, all, func(l order.Line) { still(func() { r.came(l) }) })
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("no orders from the controller", "error", err)
		}
		still(func() { r.step(carrier.Unlinked{Seldom: feed.Seldom(err)}) })
	}()
}

// came takes a line of the own feed, which was genuine.
func (r *Relay) came(l order.Line) {
	if l.Beat != nil {
		r.step(carrier.Linked{})
	}
	if l.Watch != nil {
		return // it is for who keeps the connection
	}
	covers, err := order.Split(l.Covers, order.CoverSize, order.MaxMandates)
	if err != nil || l.Key != nil {
		return // a key is pinned over an own connection only
	}
	l.Covers = nil
	text, err := json.Marshal(l)
	if err != nil {
		return
	}
	r.step(carrier.Line{Text: text, Covers: covers})
}

// maxWaiting bounds the orders of a feed that wait for a cover; with more there is a
// gap, and the carrier does not serve.
const maxWaiting = 256

// waitingOrders are orders of feeds that do not serve this device at the moment. They
// are of two feeds at most, as package carrier counts them: the one that has served
// last, and the newest. An order of the one feed must not be lost through the other: it
// was counted.
type waitingOrders struct {
	last string // the feed that has served last
	all  []feed.Passed
}

// add keeps an order, and reports whether there is room.
func (w *waitingOrders) add(o feed.Passed) bool {
	same := 0
	w.all = slices.DeleteFunc(w.all, func(p feed.Passed) bool {
		if p.Feed == o.Feed {
			same++
		}
		return o.Feed != w.last && p.Feed != w.last && p.Feed != o.Feed
	})
	if same >= maxWaiting {
		return false
	}
	w.all = append(w.all, o)
	return true
}

// take returns the orders of a feed that serves, which wait no longer.
func (w *waitingOrders) take(serving string) (orders []feed.Passed) {
	w.last = serving
	w.all = slices.DeleteFunc(w.all, func(p feed.Passed) bool {
		if p.Feed == serving {
			orders = append(orders, p)
		}
		return p.Feed == serving
	})
	return orders
}

// passed takes a line from the carrier.
func (r *Relay) passed(from carrier.Link, c order.Carried) {
	l, err := order.ParseLine(c.Line)
	if err != nil {
		return
	}
	if l.Next != nil {
		// A carrier that does not serve this device may have a stolen key and nothing else.
		if served, _ := r.m.Served(); served == from {
			r.feed.Next(l.Next)
		}
		return
	}
	p, ok := r.feed.Verify(l)
	if !ok {
		return // it is as if nothing had come
	}
	if p.Number == 0 {
		if r.mine.text != nil && c.Cover != nil && r.feed.Covered(r.mine.text, l.Beat, c.Cover) {
			r.step(carrier.Covered{Link: from, Nonce: r.mine.nonce, Feed: p.Feed, Last: p.Last, Time: p.Time})
		}
		r.step(carrier.Beat{Link: from, Feed: p.Feed, Last: p.Last, Time: p.Time})
	} else {
		if !r.waiting.add(p) {
			return
		}
		r.step(carrier.Numbered{Link: from, Feed: p.Feed, Number: p.Number})
	}
	served, serving := r.m.Served()
	if served != from || serving != p.Feed {
		return
	}
	if p.Number == 0 {
		r.feed.Take(p) // before the orders: it sets the clock
	}
	for _, o := range r.waiting.take(serving) {
		r.feed.Take(o)
	}
}
