package sim

import (
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// Filter is one fault of the network. Several may apply: a datagram or a link
// passes only if all let it pass.
type Filter struct {
	// Cut says that nothing passes from one device to another; nil cuts
	// nothing.
	Cut func(from, to *Device) bool
	// Loss is the chance that a datagram is lost on its way; nil loses none.
	Loss func(from, to *Device) float64
}

// AddFilter adds a fault and returns a function that removes it.
func (sub *Subnet) AddFilter(f Filter) (remove func()) {
	sub.filters = append(sub.filters, f)
	at := len(sub.filters) - 1
	return func() {
		sub.filters[at] = Filter{}
		for _, d := range sub.devices {
			d.kick()
		}
	}
}

func (sub *Subnet) cut(from, to *Device) bool {
	for _, f := range sub.filters {
		if f.Cut != nil && f.Cut(from, to) {
			return true
		}
	}
	return false
}

func (sub *Subnet) loss(from, to *Device) float64 {
	pass := 1 - sub.cfg.Loss
	for _, f := range sub.filters {
		if f.Loss != nil {
			pass *= 1 - f.Loss(from, to)
		}
	}
	return 1 - pass
}

// Partition separates the devices for which side is true from the others.
func (sub *Subnet) Partition(side func(*Device) bool) (heal func()) {
	return sub.AddFilter(Filter{Cut: func(a, b *Device) bool { return side(a) != side(b) }})
}

// Deafen loses datagrams to a device with the given probability.
func (sub *Subnet) Deafen(d *Device, p float64) (heal func()) {
	return sub.AddFilter(Filter{Loss: func(_, to *Device) float64 {
		if to == d {
			return p
		}
		return 0
	}})
}

// Mute loses datagrams from a device with the given probability.
func (sub *Subnet) Mute(d *Device, p float64) (heal func()) {
	return sub.AddFilter(Filter{Loss: func(from, _ *Device) float64 {
		if from == d {
			return p
		}
		return 0
	}})
}

// Crash ends the process: its links are reset.
func (d *Device) Crash() {
	if !d.on {
		return
	}
	d.off()
	for _, e := range d.ends {
		e.reset()
	}
	d.ends = nil
}

// Quit ends the process on request: it sends Bye first.
func (d *Device) Quit() {
	for _, t := range d.order {
		t.step(pdp.Stop{})
		t.end()
	}
	d.sub.s.After(time.Second, d.Crash)
}

// PowerOff cuts the power: no peer is told.
func (d *Device) PowerOff() {
	if !d.on {
		return
	}
	d.off()
	d.dark = true
	for _, e := range d.ends {
		e.silence()
	}
	d.ends = nil
}

// off stops what the device does.
func (d *Device) off() {
	d.sub.s.fold(uint64(d.sub.s.now), uint64(d.number), 0xdead)
	d.on, d.asleep, d.parked = false, false, nil
	d.sub.s.trace(d, "off")
	for _, t := range d.order {
		t.stopOrigin()
		t.actor = nil
	}
}

// Restart starts the device again under a new nonce, with what its disk held
// or with nothing.
func (d *Device) Restart(keepDisk bool) {
	if d.on {
		d.Crash()
	}
	d.Peer.Nonce++
	for _, t := range d.order {
		if !keepDisk {
			t.store.clear()
		}
		t.ended, t.failed = false, wire.ReasonNone
		t.complete = t.complete && keepDisk
	}
	d.Start()
}

// Replay sends every broadcast of the subnet once more after a while, as from
// its sender: an attacker who has recorded them.
func (sub *Subnet) Replay(after time.Duration) { sub.replay = after }

// Side selects the devices whose number is a multiple of mod, for Partition.
func Side(mod int) func(*Device) bool {
	return func(d *Device) bool { return d.number%mod == 0 }
}

// parked is something that a sleeping device will do when it wakes.
type parked struct {
	what parkedKind
	do   func()
}

type parkedKind uint8

const (
	timer    parkedKind = iota // a time that the device waited for has come
	input                      // something that its kernel keeps for it
	datagram                   // a datagram, if there is room for it
)

// socketBuffer is how many datagrams a kernel keeps for a process that does
// not read: those that come later are lost.
const socketBuffer = 256

// wakes does something now or, if the device sleeps, when it wakes.
func (d *Device) wakes(what parkedKind, do func()) {
	if !d.asleep {
		do()
		return
	}
	if what == datagram {
		n := 0
		for _, p := range d.parked {
			if p.what == datagram {
				n++
			}
		}
		if n >= socketBuffer {
			return
		}
	}
	d.parked = append(d.parked, parked{what, do})
}

// clock is the time on the device's own clock.
func (d *Device) clock() time.Duration { return d.sub.s.now + d.skew }

// Stop stops the process for a while, as SIGSTOP does: time goes on, and the
// kernel accepts links and buffers what arrives as far as it has room.
func (d *Device) Stop(long time.Duration) {
	if !d.on || d.asleep {
		return
	}
	s, since := d.sub.s, d.started
	d.asleep = true
	s.trace(d, "is stopped")
	s.After(long, func() {
		if d.asleep && d.started == since {
			d.wake()
		}
	})
}

// Suspend lets the whole device sleep: what is sent to it is lost, and its
// clock stands still (CLOCK_MONOTONIC of Linux does not count that time).
func (d *Device) Suspend(long time.Duration) {
	if !d.on || d.asleep {
		return
	}
	s, since := d.sub.s, d.started
	d.asleep = true
	s.trace(d, "is suspended")
	heal := d.sub.AddFilter(Filter{Cut: func(a, b *Device) bool { return a == d || b == d }})
	s.After(long, func() {
		heal()
		if !d.asleep || d.started != since {
			return
		}
		d.skew -= long
		for _, t := range d.order {
			t.isArmed = false
			if t.dl != nil {
				t.dl.moved = s.now
			}
		}
		d.wake()
	})
}

// wake resumes, either with what is due first or in the order of arrival; a
// driver may do either.
func (d *Device) wake() {
	s := d.sub.s
	s.trace(d, "wakes")
	d.asleep = false
	todo := d.parked
	d.parked = nil
	if s.chance(0.5) {
		for _, p := range todo {
			if p.what == timer {
				p.do()
			}
		}
		for _, p := range todo {
			if p.what != timer {
				p.do()
			}
		}
	} else {
		for _, p := range todo {
			p.do()
		}
	}
	for _, t := range d.order {
		t.arm()
	}
	d.kick()
}

// Jump sets the device's clock forward, or back if by is negative.
func (d *Device) Jump(by time.Duration) {
	d.sub.s.trace(d, "clock jumps by "+by.String())
	d.skew += by
	for _, t := range d.order {
		t.isArmed = false
		t.arm()
	}
}
