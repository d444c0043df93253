package sim

import "time"

// parked is something that a device that sleeps will do when it wakes.
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

// wakes does something now, or once the device is awake.
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

// clock is the time that the device's driver counts.
func (d *Device) clock() time.Duration { return d.sub.s.now + d.skew }

// Stop stops the process for a while, as SIGSTOP does: time goes on, the kernel
// keeps what comes as far as its buffers go, and takes links.
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

// wake goes on: with what is due first or in the order in which it came; a
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
