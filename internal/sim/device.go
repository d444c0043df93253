package sim

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// token represents the bytes of a chunk: it says whose content it is. The right
// one is the server's epoch.
type token uint64

const wrong token = 1 << 40 // set in tokens of altered chunks

// Actor is what a device runs for a file: a pdp.Machine, or a liar.
type Actor interface {
	Step(now time.Duration, in pdp.Event, out []pdp.Action) []pdp.Action
	Deadline() (at time.Duration, ok bool)
}

// Device is one device of a subnet, as its driver sees it.
type Device struct {
	Peer wire.Peer
	Addr netip.Addr
	// Up and Down are the port's rates in bits per second; 0 is no limit.
	Up, Down float64
	// Slow multiplies the time of the disk and delays what is received.
	Slow float64
	// Lies, if set, alters the chunks that are sent.
	Lies func(index int) bool
	// Liar, if set, makes the actor in place of a pdp.Machine.
	Liar func(t *Task, rnd *rand.Rand) Actor
	// Leaves: the device stops once it is complete and nobody needs it, but
	// at the latest after Linger.
	Leaves bool
	Linger time.Duration
	// Serial opens the gate of a file only when the one before it is complete.
	Serial bool

	// Full: the disk takes no more bytes. Rots says which chunks the medium
	// loses; each is found missing once when the file is read back.
	Full bool
	Rots func(index int) bool

	sub      *Subnet
	number   int
	on, dark bool // dark: without power
	asleep   bool // stopped or suspended: see fault.go
	parked   []parked
	skew     time.Duration // of the device's clock
	// bend inserts an actor between driver and machine, to test that the checks
	// find its faults.
	bend     func(*Task, Actor) Actor
	started  time.Duration
	tasks    map[wire.Hierarchy]*Task
	order    []*Task
	ends     []*end
	turn     int
	upBusy   bool
	narrow   bool // it knows that the server sends no pieces
	downFree time.Duration
	diskFree time.Duration
}

// Task is a file on a device.
type Task struct {
	dev   *Device
	file  *File
	actor Actor
	m     *pdp.Machine // nil if a liar
	store store

	links    map[pdp.Link]*end
	nextLink pdp.Link
	dl       *Download
	ready    time.Duration // when the connection to the server is up
	prepared bool
	armed    time.Duration // the next deadline's event
	isArmed  bool
	instant  time.Duration
	steps    int // at this instant
	idleAt   time.Duration
	differ   []int // chunks that differ from a table on its way
	full     bool  // a write failed since the start
	blind    bool  // the size that the server tells does not count
	// oneStream: the file is not asked for in pieces any more.
	oneStream bool
	gen       int // of the content: another one after each reset

	complete, ended bool
	failed          wire.Reason
	// Began, OriginAsked, First and Done are times of the run; Asked counts
	// downloads from the server.
	Began, OriginAsked, First, Done time.Duration
	Asked                           int
	FromOrigin, FromPeers           int // chunks
	Notes                           []pdp.Note
}

// Device adds a device that wants the given files, switched off.
func (sub *Subnet) Device(files ...*File) *Device {
	n := len(sub.devices)
	d := &Device{
		Peer: wire.Peer{ID: 0x0200_0000_0000 + uint64(sub.index)<<20 + uint64(n) + 1, Nonce: sub.s.rnd.Uint32()},
		Addr: netip.AddrFrom4([4]byte{10, byte(sub.index), byte((n + 1) >> 8), byte(n + 1)}),
		Up:   sub.cfg.LAN, Down: sub.cfg.LAN, sub: sub, number: n, tasks: map[wire.Hierarchy]*Task{},
	}
	for _, f := range files {
		t := &Task{dev: d, file: f}
		d.tasks[f.hier] = t
		d.order = append(d.order, t)
	}
	sub.devices = append(sub.devices, d)
	sub.s.byAddr[d.Addr] = d
	return d
}

// Fill adds n devices that want the given files.
func (sub *Subnet) Fill(n int, files ...*File) {
	for range n {
		sub.Device(files...)
	}
}

// String names the device in traces.
func (d *Device) String() string { return fmt.Sprintf("d%d", d.number) }

// Task returns the device's task of a file.
func (d *Device) Task(f *File) *Task { return d.tasks[f.hier] }

// Yield says whether the device serves others only where nobody else can: somebody
// speaks over it.
func (d *Device) Yield(on bool) {
	for _, t := range d.tasks {
		if d.on && t.m != nil {
			d.wakes(input, func() { t.step(pdp.Yield{On: on}) })
		}
	}
}

// On reports whether the device runs.
func (d *Device) On() bool { return d.on }

func (d *Device) powerless() bool { return !d.on && d.dark }

func (d *Device) lag() time.Duration {
	if d.Slow > 1 {
		return d.sub.s.between(0, time.Duration(d.Slow)*time.Millisecond)
	}
	return 0
}

func (d *Device) dropEnd(e *end) {
	for i, x := range d.ends {
		if x == e {
			d.ends = append(d.ends[:i], d.ends[i+1:]...)
			return
		}
	}
}

// Start switches the device on. One that a fault has started before its time runs on:
// it is one process.
func (d *Device) Start() {
	if d.on {
		return
	}
	s := d.sub.s
	d.on, d.dark, d.asleep, d.parked, d.started = true, false, false, nil, s.now
	d.upBusy, d.downFree, d.diskFree, d.turn = false, s.now, s.now, 0
	s.trace(d, "on")
	for i, t := range d.order {
		t.start(s, i)
	}
}

func (t *Task) start(s *Sim, index int) {
	d := t.dev
	rnd := rand.New(rand.NewPCG(s.rnd.Uint64(), s.rnd.Uint64()))
	t.links, t.nextLink = map[pdp.Link]*end{}, 0
	t.dl, t.prepared, t.isArmed, t.oneStream = nil, false, false, false
	t.Began, t.OriginAsked, t.First, t.Done = s.now, -1, -1, -1
	t.Asked, t.FromOrigin, t.FromPeers, t.Notes = 0, 0, 0, nil
	if d.Liar != nil {
		t.m, t.actor = nil, d.Liar(t, rnd)
	} else if !t.openContent() {
		return
	} else {
		f := pdp.File{Hierarchy: t.file.hier, Name: t.file.Name, Model: t.file.Model, Size: t.store.geo.Size,
			Signed: t.file.Signed, Keyed: t.file.Keyed}
		addr := netip.AddrPortFrom(d.Addr, wire.Port)
		t.m = pdp.New(s.cfg.Profile, pdp.Self{Peer: d.Peer, Addr: addr}, f, rnd)
		t.actor = t.m
		if d.bend != nil {
			t.actor = d.bend(t, t.m)
		}
	}
	prefix := 0
	if t.store.geo.Known() {
		prefix = t.store.prefix() // without a size nothing can be continued yet
	}
	t.step(pdp.Start{Prefix: prefix, Complete: t.complete, Epoch: t.store.epoch})
	t.tellRest(prefix)
	if d.Serial && index > 0 && !d.order[index-1].complete && !d.order[index-1].ended {
		t.step(pdp.Gate{Open: false})
	}
}

// maxSteps is how often a machine may be stepped at one instant. A parent of
// many links may see a burst; a machine that never settles sees far more.
const maxSteps = 20000

// step gives the actor an event and carries out its actions.
func (t *Task) step(in pdp.Event) {
	if t.actor == nil {
		return
	}
	s := t.dev.sub.s
	if t.dev.asleep {
		s.violate("%s steps in its sleep: %T", t.dev, in)
	}
	if t.instant != s.now {
		t.instant, t.steps = s.now, 0
	}
	if t.steps++; t.steps > maxSteps {
		s.violate("%s steps without end: %T", t.dev, in)
		t.actor = nil
		return
	}
	out := t.actor.Step(t.dev.clock(), in, nil)
	s.fold(uint64(s.now), uint64(t.dev.sub.index)<<32|uint64(t.dev.number), uint64(len(out)))
	s.traceStep(t, in, out)
	for _, a := range out {
		t.do(a)
	}
	t.arm()
}

// arm makes sure that the actor is stepped at its deadline.
func (t *Task) arm() {
	if t.actor == nil {
		return
	}
	at, ok := t.actor.Deadline()
	if !ok || t.isArmed && t.armed <= at {
		return
	}
	s, actor := t.dev.sub.s, t.actor
	at = max(at, t.dev.clock())
	t.armed, t.isArmed = at, true
	s.At(at-t.dev.skew, func() { t.dev.wakes(timer, func() { t.due(actor, at) }) })
}

// due steps the actor because a deadline has come.
func (t *Task) due(actor Actor, at time.Duration) {
	if t.actor != actor || !t.isArmed || t.armed != at {
		return
	}
	s := t.dev.sub.s
	t.isArmed = false
	if due, ok := actor.Deadline(); ok && due <= t.dev.clock() {
		t.step(nil)
		if again, ok := actor.Deadline(); ok && t.actor == actor && again <= due && again <= t.dev.clock() {
			s.violate("%s: its deadline %v stays in the past", t.dev, again)
		}
	}
	t.arm()
}

// do carries out one action.
func (t *Task) do(a pdp.Action) {
	switch a := a.(type) {
	case pdp.Broadcast:
		t.dev.sub.broadcast(t, a.Msg)
	case pdp.Send:
		t.dev.sub.unicast(t, a.To, a.Msg)
	case pdp.Dial:
		t.dial(a.Link, a.Addr)
	case pdp.SendFrame:
		t.sendFrame(a)
	case pdp.SendChunk:
		t.sendChunk(a)
	case pdp.Close:
		if e := t.links[a.Link]; e != nil {
			e.close()
		}
	case pdp.Prepare:
		t.prepared, t.ready = true, t.dev.sub.s.now+t.dev.sub.cfg.RTT
	case pdp.OpenOrigin:
		t.openOrigin(a.From)
	case pdp.StopOrigin:
		t.stopOrigin()
	case pdp.SetSize:
		t.setSize(a.Size)
	case pdp.Reset:
		t.reset(a)
	case pdp.Drop:
		for _, i := range a.Indices {
			t.store.drop(i)
		}
	case pdp.SendTable:
		t.sendTable(a.Link)
	case pdp.Verify:
		t.verify()
	case pdp.Complete:
		t.completed()
	case pdp.Fail:
		t.failed = a.Reason
		t.end()
		t.openNext()
	case pdp.Note:
		t.Notes = append(t.Notes, a)
	}
}

func (t *Task) sendFrame(a pdp.SendFrame) {
	e := t.links[a.Link]
	if e == nil {
		return
	}
	if _, ok := a.Frame.(*wire.Welcome); ok {
		e.welcomed = true
		t.checkChildren()
	}
	if h, ok := a.Frame.(*wire.Hello); ok {
		e.set = transfer.SetOf(h.Stripe, h.Trees)
	}
	p := control(a.Frame)
	t.dev.sub.s.foldBytes(p.b)
	e.send(p)
}

func (t *Task) sendChunk(a pdp.SendChunk) {
	e, d := t.links[a.Link], t.dev
	if !t.store.holds(a.Index) {
		d.sub.s.violate("%s relays chunk %d that it does not hold", d, a.Index)
		return
	}
	v := t.store.tokens[a.Index]
	if t.file.Signed && v&wrong != 0 && d.Liar == nil {
		d.sub.s.violate("%s relays chunk %d that is wrong", d, a.Index)
	}
	if d.Lies != nil && d.Lies(a.Index) {
		v |= wrong
	}
	if e == nil {
		return
	}
	_, n := t.store.geo.Span(a.Index)
	e.send(chunkPacket(a.Index, n, !t.file.Signed, v))
}

func (t *Task) completed() {
	s, d := t.dev.sub.s, t.dev
	t.complete = true
	t.Done = s.now
	if t.store.n != t.file.Chunks() {
		s.violate("%s is complete with %d of %d chunks", d, t.store.n, t.file.Chunks())
	}
	for i := range t.file.Chunks() { // what was dropped behind the end leaves its token
		if !t.store.holds(i) || t.store.tokens[i] != t.rightToken() {
			s.violate("%s is complete with a wrong chunk %d", d, i)
			break
		}
	}
	t.openNext()
	if d.Leaves {
		t.idleAt = s.now + max(d.Linger, time.Second)
		t.leave()
	}
}

// openNext opens the way to the origin for the file after this one.
func (t *Task) openNext() {
	d := t.dev
	for i, u := range d.order {
		if d.Serial && i > 0 && d.order[i-1] == t {
			d.sub.s.After(0, func() { d.wakes(input, func() { u.step(pdp.Gate{Open: true}) }) })
		}
	}
}

// leave stops the task once nobody needs it.
func (t *Task) leave() {
	s, actor := t.dev.sub.s, t.actor
	s.After(100*time.Millisecond, func() {
		t.dev.wakes(timer, func() {
			if t.actor != actor || t.m == nil {
				return
			}
			if !t.m.Idle() && s.now < t.idleAt {
				t.leave()
				return
			}
			t.step(pdp.Stop{})
			t.end()
		})
	})
}

// end forgets the actor; its links are closed.
func (t *Task) end() {
	t.ended = true
	t.stopOrigin()
	t.actor = nil
	for _, l := range t.linksInOrder() {
		t.links[l].close()
	}
}
