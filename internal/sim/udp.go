package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// SubnetConfig describes a subnet and its way to the server.
type SubnetConfig struct {
	// LAN is the rate of each device's port in each direction, in bits a
	// second. 0 is no limit.
	LAN float64
	// WAN is the rate towards the server, shared by all, in bits a second. 0 is
	// no limit.
	WAN float64
	// RTT is the round trip to the server. 0 is none.
	RTT time.Duration
	// Latency is one way within the subnet. 0 means 200 µs, that of switches
	// and small devices.
	Latency time.Duration
	// Jitter is the most that comes on top of Latency, at random. 0: nothing.
	Jitter time.Duration
	// Loss is the chance, 0 to 1, that a datagram does not arrive.
	Loss float64
	// Duplicate is the chance, 0 to 1, that a datagram arrives twice.
	Duplicate float64
	// Corrupt is the chance, 0 to 1, that a byte of a datagram is altered and
	// the checksum does not tell.
	Corrupt float64
	// SlowStart makes downloads begin as TCP does: their window doubles with
	// each round trip. False: the WAN is full from the first byte.
	SlowStart bool
	// WANLoss is the part of the packets that the WAN loses, with SlowStart: it bounds
	// the window of each connection (see Server.window). 0: none.
	WANLoss float64
	// Connections is the most connections of a device to the server, as of package
	// pieces. 0 or 1: one, which is one stream.
	Connections int
	// Disk is how long a chunk of 64 KiB takes to check and store. 0 means
	// 500 µs, about 130 MB/s.
	Disk time.Duration
}

// Validate refuses what cannot be simulated.
func (c SubnetConfig) Validate() error {
	if c.LAN < 0 || c.WAN < 0 || c.RTT < 0 || c.Latency < 0 || c.Jitter < 0 || c.Disk < 0 {
		return errors.New("sim: rates and times of a subnet must not be negative")
	}
	if c.Connections < 0 || c.Connections > pieces.Most {
		return fmt.Errorf("sim: connections are 0 to %d, not %d", pieces.Most, c.Connections)
	}
	for _, p := range []float64{c.Loss, c.Duplicate, c.Corrupt, c.WANLoss} {
		if !(p >= 0 && p <= 1) {
			return fmt.Errorf("sim: %v is not a chance from 0 to 1", p)
		}
	}
	return nil
}

// Subnet is a broadcast domain.
type Subnet struct {
	s       *Sim
	cfg     SubnetConfig
	index   int
	devices []*Device
	filters []Filter
	replay  time.Duration
	Server  Server
	// Counts of what went over the subnet.
	Broadcasts []Sent
	Unicasts   int
	// Opened are the downloads from the server.
	Opened []*Download
}

// Sent is a broadcast that was sent.
type Sent struct {
	At   time.Duration
	From *Device
	Msg  wire.Message
}

// Subnet adds a subnet. It panics if cfg is not valid, as New does.
func (s *Sim) Subnet(cfg SubnetConfig) *Subnet {
	if err := cfg.Validate(); err != nil {
		panic(err)
	}
	if cfg.Latency == 0 {
		cfg.Latency = 200 * time.Microsecond
	}
	if cfg.Disk == 0 {
		cfg.Disk = 500 * time.Microsecond
	}
	sub := &Subnet{s: s, cfg: cfg, index: len(s.subnets)}
	sub.Server.init(sub)
	s.subnets = append(s.subnets, sub)
	return sub
}

// broadcast sends a datagram to all others.
func (sub *Subnet) broadcast(t *Task, m wire.Message) {
	sub.Broadcasts = append(sub.Broadcasts, Sent{sub.s.now, t.dev, m})
	env, msg := sub.code(t, m)
	sub.spread(t.dev, env, msg)
	if sub.replay > 0 {
		sub.s.After(sub.replay, func() { sub.spread(t.dev, env, msg) })
	}
}

func (sub *Subnet) spread(from *Device, env wire.Envelope, m wire.Message) {
	for _, d := range sub.devices {
		if d != from {
			sub.deliver(from, d, env, m)
		}
	}
}

// unicast sends a datagram to one address.
func (sub *Subnet) unicast(t *Task, to netip.AddrPort, m wire.Message) {
	sub.Unicasts++
	env, msg := sub.code(t, m)
	if d := sub.s.byAddr[to.Addr()]; d != nil && d.sub == sub {
		sub.deliver(t.dev, d, env, msg)
	}
}

// forge sends a datagram under any envelope, to one address or, if that is not
// valid, to all. What its encoding refuses is not sent.
func (sub *Subnet) forge(from *Device, env wire.Envelope, to netip.AddrPort, m wire.Message) {
	b := wire.Marshal(env, m)
	sub.s.foldBytes(b)
	env, msg, err := wire.Unmarshal(b)
	switch {
	case err != nil || msg == nil:
	case !to.IsValid():
		sub.spread(from, env, msg)
	default:
		if d := sub.s.byAddr[to.Addr()]; d != nil && d.sub == sub && d != from {
			sub.deliver(from, d, env, msg)
		}
	}
}

// code sends a message through its encoding.
func (sub *Subnet) code(t *Task, m wire.Message) (wire.Envelope, wire.Message) {
	b := wire.Marshal(wire.Envelope{Hierarchy: t.file.hier, From: t.dev.Peer, TCPPort: wire.Port}, m)
	sub.s.foldBytes(b)
	if len(b) > wire.MaxDatagram {
		sub.s.violate("%s: a datagram of %d bytes", t.dev, len(b))
	}
	env, msg, err := wire.Unmarshal(b)
	if err != nil || msg == nil {
		sub.s.violate("%s sent what cannot be read: %v", t.dev, err)
	}
	return env, msg
}

func (sub *Subnet) deliver(from, to *Device, env wire.Envelope, m wire.Message) {
	s := sub.s
	if m == nil || sub.cut(from, to) || s.chance(sub.loss(from, to)) {
		return
	}
	if s.chance(sub.cfg.Corrupt) {
		if env, m = s.corrupt(env, m); m == nil {
			return // it cannot be read
		}
	}
	n := 1
	if s.chance(sub.cfg.Duplicate) {
		n = 2
	}
	for range n {
		s.After(s.between(sub.cfg.Latency, sub.cfg.Jitter)+to.lag(),
			func() { to.wakes(datagram, func() { to.datagram(from, env, m) }) })
	}
}

// corrupt alters a byte of a datagram.
func (s *Sim) corrupt(env wire.Envelope, m wire.Message) (wire.Envelope, wire.Message) {
	b := wire.Marshal(env, m)
	b[s.rnd.IntN(len(b))] ^= 1 << s.rnd.IntN(8)
	env, m, err := wire.Unmarshal(b)
	if err != nil {
		return env, nil
	}
	return env, m
}

func (s *Sim) chance(p float64) bool { return p > 0 && s.rnd.Float64() < p }

// datagram hands a datagram to the task that it is for.
func (d *Device) datagram(from *Device, env wire.Envelope, m wire.Message) {
	if t := d.tasks[env.Hierarchy]; d.on && t != nil {
		t.step(pdp.Datagram{From: netip.AddrPortFrom(from.Addr, wire.Port), Env: env, Msg: m})
	}
}
