package pdp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/internal/follower"
)

// Status is the state of a machine, for people and for checks.
type Status struct {
	Election election.State
	// Seeking: the device has no parent, and asks for one or dials it.
	Seeking bool
	// Root and Parent are the addresses of the root that is followed and of
	// the first parent; invalid if there is none.
	Root, Parent netip.AddrPort
	// Parents are all parents with an open link, of all trees, each once.
	Parents []netip.AddrPort
	// Trees is the number of trees that the file takes, 0 while unknown.
	Trees int
	// Children is the number of children in all trees, Members that of the
	// followers that this root knows.
	Children, Members int
	// Size is the file's size in bytes as far as it is known, else
	// load.UnknownSize.
	Size int64
	// Prefix is the number of chunks held from the start, Held of all.
	Prefix, Held int
	// Complete: the whole file is verified. FromOrigin: this device downloads
	// from the server. Direct: and is not root. Waiting: it waits for its turn.
	Complete, FromOrigin, Direct, Waiting bool
	// Ended: the machine takes no more events.
	Ended bool

	member follower.State // with two trees in the one where it is further
}

// Status returns the state of the machine.
func (m *Machine) Status() Status {
	s := Status{
		Election: m.el.State(), Trees: int(m.following.trees),
		Children: len(m.children.feed.Children()), Members: m.root.members(),
		Size: m.held.Size(), Prefix: m.held.Prefix(), Held: m.held.Count(),
		Complete: m.held.complete(), FromOrigin: m.origin.busy(),
		Direct: m.fallback.budget.Active(), Waiting: m.fallback.budget.Waiting(), Ended: m.phase == ended,
	}
	if r := m.el.Root(); r != nil {
		s.Root = r.Addr
	}
	for _, x := range m.following.sides() {
		_, addr, _ := x.follower.Parent()
		if state := x.follower.State(); state > s.member || !s.Parent.IsValid() {
			s.member, s.Parent = max(state, s.member), addr
		}
		if x.follower.State() == follower.Attached && !slices.Contains(s.Parents, addr) {
			s.Parents = append(s.Parents, addr)
		}
	}
	s.Seeking = s.member == follower.Asking || s.member == follower.Dialing
	return s
}

// IsRoot reports whether this device is the confirmed root.
func (m *Machine) IsRoot() bool { return m.el.State() == election.Root }

// OriginDone reports whether the origin is not needed for this file any more,
// as far as this device knows: the next file of the load may use it.
func (m *Machine) OriginDone() bool {
	if m.held.complete() || m.phase == ended {
		return true
	}
	if !m.held.Known() {
		return false
	}
	n := m.held.Chunks()
	watch := m.following.roots.watch
	return m.held.Whole() || watch != nil && m.el.Root() != nil && watch.Prefix() >= n
}

// String formats the status in one line.
func (s Status) String() string {
	return fmt.Sprintf("%s/%s root %v parent %v children %d prefix %d origin %v direct %v waiting %v",
		s.Election, s.member, s.Root, s.Parent, s.Children, s.Prefix, s.FromOrigin, s.Direct, s.Waiting)
}
