package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"sync"
	"time"

	crand "crypto/rand"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/internal/ratelimit"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// Config is what a device needs to take part.
type Config struct {
	// ID is the device's id, kept over restarts, by which peers know it again.
	// 0 is refused: it stands for nobody.
	ID uint64
	// Net is the device's place on the subnet. Required; NoPeers is that of a
	// device that does not share.
	Net peernet.Net
	// Origin downloads from servers, where this device is a root. Required.
	Origin Downloader
	// Connections is the most connections to the servers of a file, 1 to pieces.Most.
	// 0: 1.
	Connections int
	// OriginRate is the rate at which Origin limits what comes, in bytes per second, 0
	// for none: more connections bring no more than that.
	OriginRate int64
	// Protocol holds the protocol's times. The zero value is refused: take
	// pdp.LAN().
	Protocol pdp.Config
	// Files is the file system. nil means the real one, slot.OS.
	Files slot.FS
	// Slot says how carefully files are settled. The zero value is right for
	// devices.
	Slot slot.Config
	// SendRate is the most bytes of files that are sent to peers in a second,
	// all links together. 0: no limit, because the LAN is rarely what is thin.
	SendRate int64
	// Report takes every event, from one goroutine at a time; it must not
	// block. nil drops them.
	Report func(report.Event)
}

// Downloader asks an origin for bodies. *origin.Mux is one.
type Downloader interface {
	// Open asks for one body. Cancelling ctx ends the body too.
	Open(ctx context.Context, r origin.Request) (*origin.Body, error)
	// Prepare connects without asking for a body.
	Prepare(ctx context.Context, u *url.URL) error
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.ID == 0 || c.Net == nil || c.Origin == nil {
		return errors.New("engine: a device needs an id, a net and an origin")
	}
	if c.Connections < 0 || c.Connections > pieces.Most {
		return fmt.Errorf("engine: Connections is 0 to %d, not %d", pieces.Most, c.Connections)
	}
	if c.SendRate < 0 {
		return errors.New("engine: SendRate must not be negative")
	}
	if err := c.Slot.Validate(); err != nil {
		return err
	}
	return c.Protocol.Validate()
}

// sendBurst is what all links may send at once after a pause where SendRate
// limits, so that short pauses cost no throughput.
const sendBurst = 50 * time.Millisecond

// Device is this process as a peer of its subnet. Use NewDevice, then Run.
type Device struct {
	cfg     Config
	self    pdp.Self
	start   time.Time
	rnd     *rand.Rand
	inbox   chan item
	done    chan struct{}      // closed when Run returns
	limit   *ratelimit.Limiter // of what all links send together
	pending pendingLinks
	servers servers

	// Owned by the loop.
	jobs   map[wire.Hierarchy]*job
	yields bool

	guests guests
}

// Guest takes part in a hierarchy that belongs to no file, by the ports of a Device.
// Its functions are called from several goroutines, and must not block.
type Guest struct {
	// Datagram takes a message.
	Datagram func(from netip.AddrPort, env wire.Envelope, msg wire.Message)
	// Accept takes a link whose Hello was read. It owns the connection.
	Accept func(c net.Conn, from netip.AddrPort)
}

// guests are those of a device.
type guests struct {
	mu sync.Mutex
	by map[wire.Hierarchy]Guest
}

func (g *guests) of(h wire.Hierarchy) (Guest, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	guest, ok := g.by[h]
	return guest, ok
}

// Join has a guest take part in a hierarchy until leave is called. One takes part in
// each.
func (d *Device) Join(h wire.Hierarchy, g Guest) (leave func()) {
	d.guests.mu.Lock()
	defer d.guests.mu.Unlock()
	d.guests.by[h] = g
	return func() {
		d.guests.mu.Lock()
		defer d.guests.mu.Unlock()
		delete(d.guests.by, h)
	}
}

// Yield says that this device serves others only where nobody else can, or as all do
// again.
func (d *Device) Yield(on bool) {
	d.post(func(now time.Duration) {
		d.yields = on
		for _, j := range d.jobs {
			j.step(now, pdp.Yield{On: on})
		}
	})
}

// Self is who this device is on the subnet.
func (d *Device) Self() pdp.Self { return d.self }

// item is something for the loop to do.
type item struct {
	do   func(now time.Duration)
	done chan struct{} // closed when done and all that follows is carried out
}

// NewDevice returns a device that takes part once Run runs.
func NewDevice(cfg Config) (*Device, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Files == nil {
		cfg.Files = slot.OS{}
	}
	if cfg.Report == nil {
		cfg.Report = func(report.Event) {}
	}
	var seed [36]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, err
	}
	nonce := binary.BigEndian.Uint32(seed[32:]) | 1
	addr := cfg.Net.Addr().Addr()
	return &Device{
		cfg:    cfg,
		self:   pdp.Self{Peer: wire.Peer{ID: cfg.ID, Nonce: nonce}, Addr: netip.AddrPortFrom(addr, cfg.Net.TCPPort())},
		start:  time.Now(),
		rnd:    rand.New(rand.NewChaCha8([32]byte(seed[:32]))),
		inbox:  make(chan item, 256),
		done:   make(chan struct{}),
		limit:  ratelimit.New(float64(cfg.SendRate), sendBurst),
		jobs:   map[wire.Hierarchy]*job{},
		guests: guests{by: map[wire.Hierarchy]Guest{}},
	}, nil
}

// Run takes part until ctx ends. It runs once.
func (d *Device) Run(ctx context.Context) error {
	defer close(d.done)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() {
		served <- d.cfg.Net.Serve(ctx, peernet.Handler{
			Datagram: d.receive,
			Accept: func(c net.Conn) {
				d.pending.add(c)
				go d.accept(c)
			},
		})
	}()
	if port := d.self.Addr.Port(); port != 0 { // NoPeers has none
		d.event(report.Event{Event: report.KindListening, Address: d.self.Addr.String(),
			Message: fmt.Sprintf("Listening on peer TCP port %d", port)})
	}
	err := d.loop(ctx, served)
	for _, j := range d.jobs {
		j.release()
	}
	return err
}

// loop is the only place where machines step.
func (d *Device) loop(ctx context.Context, served <-chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if at, ok := d.deadline(); ok {
			timer.Reset(max(0, at-d.now()))
		}
		select {
		case it := <-d.inbox:
			d.take(it)
		case <-timer.C:
			d.catchUp()
			now := d.now()
			for _, j := range d.jobs {
				if at, ok := j.deadline(); ok && at <= now {
					j.step(now, nil)
				}
			}
		case err := <-served:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the peer ports closed: %w", err)
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Device) take(it item) {
	it.do(d.now())
	if it.done != nil {
		close(it.done)
	}
}

// catchUp handles what has arrived before a deadline is acted upon: on a busy
// device there may be a claim in the socket that should come first.
func (d *Device) catchUp() {
	runtime.Gosched() // the readers of the sockets go first
	for range cap(d.inbox) {
		select {
		case it := <-d.inbox:
			d.take(it)
		default:
			return
		}
	}
}

func (d *Device) now() time.Duration { return time.Since(d.start) }

func (d *Device) deadline() (at time.Duration, ok bool) {
	for _, j := range d.jobs {
		if t, due := j.deadline(); due && (!ok || t < at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// post queues something for the loop; it is dropped once the device has
// stopped.
func (d *Device) post(do func(now time.Duration)) {
	select {
	case d.inbox <- item{do: do}:
	case <-d.done:
	}
}

// call is post that waits until it is done.
func (d *Device) call(do func(now time.Duration)) {
	it := item{do: do, done: make(chan struct{})}
	select {
	case d.inbox <- it:
		select {
		case <-it.done:
		case <-d.done:
		}
	case <-d.done:
	}
}

// receive takes a datagram off the net.
func (d *Device) receive(from netip.AddrPort, b []byte) {
	env, msg, err := wire.Unmarshal(b)
	if err != nil || msg == nil {
		return // foreign, newer or torn: the original's phones use this port too
	}
	if g, ok := d.guests.of(env.Hierarchy); ok {
		g.Datagram(from, env, msg)
		return
	}
	d.post(func(now time.Duration) {
		if j := d.jobs[env.Hierarchy]; j != nil {
			j.step(now, pdp.Datagram{From: from, Env: env, Msg: msg})
		}
	})
}

// helloWait is how long a device that opened a link may take to send Hello.
const helloWait = 2 * time.Second

// accept takes a link: its Hello says which hierarchy it is for.
func (d *Device) accept(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(helloWait))
	f, err := wire.ReadFrame(c, func(int) []byte { return nil })
	d.pending.remove(c)
	hello, ok := f.(*wire.Hello)
	if err != nil || !ok {
		c.Close()
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	from, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	if g, ok := d.guests.of(hello.Hierarchy); ok {
		g.Accept(c, from)
		return
	}
	d.post(func(now time.Duration) {
		j := d.jobs[hello.Hierarchy]
		if j == nil || j.ended {
			go refuse(c, wire.ReasonUnknownFile)
			return
		}
		j.acceptLink(now, c, from, hello)
	})
}

// refuse refuses a link.
func refuse(c net.Conn, why wire.Reason) {
	_ = c.SetWriteDeadline(time.Now().Add(helloWait))
	_, _ = c.Write(wire.AppendFrame(nil, &wire.Refuse{Reason: why}))
	c.Close()
}

// event fills in the common fields and reports the event.
func (d *Device) event(e report.Event) {
	e.Schema = report.Schema
	e.Time = status.Stamp(time.Now())
	e.Device = fmt.Sprintf("%016x", d.cfg.ID)
	d.cfg.Report(e)
}
