package sim

import (
	"slices"
	"sort"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// checkChildren: a device never has more children in a tree than the protocol
// allows.
func (t *Task) checkChildren() {
	if t.m == nil {
		return // a liar may
	}
	for s := range uint8(wire.MaxStripes) {
		if n := t.childrenIn(s); n > wire.MaxChildren {
			t.dev.sub.s.violate("%s has %d children in tree %d", t.dev, n, s)
		}
	}
}

func (t *Task) childrenIn(stripe uint8) (n int) {
	for l, e := range t.links {
		if l > 0 && e.welcomed && e.set.Has(stripe) {
			n++
		}
	}
	return n
}

// InnerInBoth returns how many live devices that are not root have children in
// both trees of a file, and how many have any. With two trees that share no
// inner node the first is 0.
func (sub *Subnet) InnerInBoth(f *File) (both, inner int) {
	for _, d := range sub.devices {
		t := d.tasks[f.hier]
		if !d.on || t == nil || t.m == nil || t.actor == nil || t.m.IsRoot() {
			continue
		}
		n := 0
		for s := range uint8(wire.MaxStripes) {
			if t.childrenIn(s) > 0 {
				n++
			}
		}
		if n > 0 {
			inner++
		}
		if n == wire.MaxStripes {
			both++
		}
	}
	return both, inner
}

// checkBudget: two devices that are not root do not download one file at once
// for longer than it takes to hear each other, but for one that has gone on for so
// long that it is believed no more. What they are counts now, not when they asked: one
// that becomes root, or is root no more, goes on with its download.
func (t *Task) checkBudget(dl *Download) {
	s := t.dev.sub.s
	if s.cfg.AllowBudgetOverlap {
		return
	}
	s.After(time.Second, func() {
		first := t.directs()
		if !dl.live || len(first) < 2 {
			return
		}
		// One of them may have ceased to be root a moment ago: it hears the other's next Direct.
		s.After(s.cfg.Profile.Election.Announce+100*time.Millisecond, func() {
			n := 0
			for _, x := range t.directs() {
				if slices.Contains(first, x) {
					n++
				}
			}
			if n > 1 {
				s.violate("%d direct downloads at once", n)
			}
		})
	})
}

// directs returns the tasks of the file that download directly and count.
func (t *Task) directs() (out []*Task) {
	s := t.dev.sub.s
	for _, x := range t.dev.sub.Server.downloads {
		age := s.now - x.At
		if x.live && x.direct() && x.Task.file == t.file && age >= time.Second && age <= s.cfg.Profile.Transfer.Share {
			out = append(out, x.Task)
		}
	}
	return out
}

// direct reports whether a device downloads without being root.
func (dl *Download) direct() bool { return dl.Task.m != nil && dl.Task.m.Status().Direct }

func (t *Task) linksInOrder() []pdp.Link {
	ls := make([]pdp.Link, 0, len(t.links))
	for l := range t.links {
		ls = append(ls, l)
	}
	sort.Slice(ls, func(i, j int) bool { return ls[i] < ls[j] })
	return ls
}

// parent returns the task that this one is attached to in the tree of a
// stripe, nil if none.
func (t *Task) parent(stripe uint8) *Task {
	for l, e := range t.links {
		if l < 0 && e.welcomed && e.peer != nil && e.open && e.set.Has(stripe) {
			return e.peer.task
		}
	}
	return nil
}

// Depth returns the depth of a task below a task without a parent, in the tree
// in which it is deepest, -1 for a loop.
func (t *Task) Depth() int {
	most := 0
	for s := range uint8(wire.MaxStripes) {
		n := 0
		for p := t.parent(s); p != nil; p = p.parent(s) {
			if n++; n > 4096 {
				return -1
			}
		}
		most = max(most, n)
	}
	return most
}

// watch checks all the time for states that may occur briefly but must not
// last: loops, several roots of one file, no root although a device needs one.
func (s *Sim) watch() {
	const every = 250 * time.Millisecond
	since := map[any]time.Duration{}
	lasts := func(what any, is bool, most time.Duration) bool {
		if !is {
			if len(since) > 0 {
				delete(since, what)
			}
			return false
		}
		if _, ok := since[what]; !ok {
			since[what] = s.now
		}
		return s.now-since[what] > most
	}
	var look func()
	look = func() {
		for _, sub := range s.subnets {
			if sub.wrong(lasts) {
				return
			}
		}
		s.After(every, look)
	}
	s.After(every, look)
}

// How long such a state may last: a loop; two roots, once nothing disturbs the
// subnet, since a device that could not reach a root ignores it for a minute;
// no root, once nothing disturbs the server either.
const (
	loopLasts  = 3 * time.Second
	rootsLast  = 75 * time.Second
	noRootLast = 90 * time.Second
)

// needed is what watch counts for one file in one subnet.
type needed struct {
	roots, waiting int
}

// rootsOf and noRoot name what lasts.
type (
	rootsOf struct {
		sub *Subnet
		f   *File
	}
	noRoot rootsOf
)

// wrong reports whether something has lasted for too long.
func (sub *Subnet) wrong(lasts func(what any, is bool, most time.Duration) bool) bool {
	s := sub.s
	count := make(map[*File]*needed, 2)
	var files []*File
	for _, d := range sub.devices {
		for _, t := range d.order {
			if lasts(t, t.actor != nil && t.inLoop(), loopLasts) {
				s.violate("%s stands in a loop since %v", d, s.now-loopLasts)
				return true
			}
			if t.m == nil || t.actor == nil || d.asleep {
				continue
			}
			if st := t.m.Status(); st.Held > t.store.n {
				s.violate("%s counts %d chunks and holds %d", d, st.Held, t.store.n)
				return true
			}
			n := count[t.file]
			if n == nil {
				n = new(needed)
				count[t.file] = n
				files = append(files, t.file)
			}
			if t.m.IsRoot() {
				n.roots++
			} else if !t.complete {
				n.waiting++
			}
		}
	}
	for _, f := range files {
		n := count[f]
		switch quiet := sub.quiet(); {
		case lasts(rootsOf{sub, f}, quiet && n.roots > 1, rootsLast):
			s.violate("%d roots of %s for %v", n.roots, f.Name, rootsLast)
			return true
		case lasts(noRoot{sub, f}, quiet && sub.Server.well() && n.roots == 0 && n.waiting > 0, noRootLast):
			s.violate("no root of %s for %v, and %d devices wait", f.Name, noRootLast, n.waiting)
			return true
		}
	}
	return false
}

// quiet reports whether nothing disturbs the subnet: no liar, no fault of the
// network, no device that sleeps or is too slow to answer.
func (sub *Subnet) quiet() bool {
	if sub.replay > 0 || sub.cfg.Corrupt > 0 {
		return false
	}
	for _, f := range sub.filters {
		if f.Cut != nil || f.Loss != nil {
			return false
		}
	}
	for _, d := range sub.devices {
		if d.on && (d.Liar != nil || d.Lies != nil || d.asleep) {
			return false
		}
	}
	return true
}

// inLoop reports whether a device stands in a loop of honest devices. No device can know
// where a liar that is its parent has its own: that is a link to a liar as any other.
func (t *Task) inLoop() bool {
	for s := range uint8(wire.MaxStripes) {
		p := t.parent(s)
		for range 64 {
			if p == nil || p.dev.Liar != nil {
				break
			}
			if p == t {
				return true
			}
			p = p.parent(s)
		}
	}
	return false
}

// pending counts tasks of live devices that have not ended.
func (sub *Subnet) pending() int {
	n := 0
	for _, d := range sub.devices {
		for _, t := range d.order {
			if d.on && d.Liar == nil && !t.complete && !t.ended {
				n++
			}
		}
	}
	return n
}

// CheckEnd checks what must hold when all is quiet: every live device is
// complete or has failed with a reason, and of each file there is at most one
// root.
func (s *Sim) CheckEnd() []string {
	for _, sub := range s.subnets {
		liars := 0
		roots := map[*File]int{}
		var files []*File
		for _, d := range sub.devices {
			for _, t := range d.order {
				if d.Liar != nil {
					liars++ // roots answer its claims for as long as it lies
				}
				if !d.on || d.Liar != nil {
					continue
				}
				if !t.complete && t.failed == wire.ReasonNone {
					s.violate("%s ends neither complete nor failed: %s", d, t)
				}
				if t.m != nil && t.actor != nil && t.m.IsRoot() {
					if roots[t.file]++; roots[t.file] == 1 {
						files = append(files, t.file)
					}
				}
			}
		}
		for _, f := range files {
			if n := roots[f]; n > 1 && liars == 0 {
				s.violate("%d roots of %s", n, f.Name)
			}
		}
	}
	return s.faults
}
