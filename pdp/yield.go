package pdp

import (
	"net/netip"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// yield takes whether this device yields. One that begins to sends its children away:
// they find other parents, or come back to it if there are none.
func (m *Machine) yield(e Yield) {
	if m.yields == e.On {
		return
	}
	m.yields, m.yielded = e.On, m.now
	m.el.Yield(e.On)
	if m.phase != running {
		return // it has not begun
	}
	m.noteYield()
	m.following.reportSoon()
	if e.On && !m.root.active() {
		m.children.dismissAll(wire.ReasonYields)
	}
}

func (m *Machine) noteYield() {
	m.note(report.KindRole, wire.ReasonYields, netip.AddrPort{}, note.Yields{On: m.yields})
}

// onItsWay reports whether a child that comes now may have been sent here before this
// device began to yield.
func (m *Machine) onItsWay() bool { return m.yields && m.now < m.yielded+m.cfg.Tree.Dial }

// settleYield hands over if this root yields and another member does not. A root that
// holds the file stays: another one would fetch what it lacks from the origin.
func (r *rootSide) settleYield() {
	m := r.m
	if !m.yields || r.placer == nil || m.held.complete() {
		return
	}
	next, ok := r.placer.Successor(m.now)
	if !ok {
		return
	}
	m.note(report.KindElection, wire.ReasonYields, netip.AddrPort{}, note.HandsOverYielding{})
	m.el.elect(func(o *election.Output) {
		m.el.StepDown(m.now, wire.Resign{Reason: wire.ReasonYields, Successor: next}, m.cfg.Election.Distrust, o)
	})
	m.children.dismissAll(wire.ReasonYields)
}
