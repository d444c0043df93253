package sim

import (
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
// for longer than it takes to hear each other.
func (t *Task) checkBudget(dl *Download) {
	s := t.dev.sub.s
	if !dl.Direct || s.cfg.AllowBudgetOverlap {
		return
	}
	s.After(time.Second, func() {
		if !dl.live {
			return
		}
		n := 0
		for _, x := range t.dev.sub.Server.downloads {
			if x.live && x.Direct && x.Task.file == t.file && s.now-x.At >= time.Second {
				n++
			}
		}
		if n > 1 {
			s.violate("%d direct downloads at once", n)
		}
	})
}

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

// Depth returns how deep a task stands below a task without a parent in the
// tree in which it stands deepest, -1 for a loop.
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

// watchLoops: no loop lasts longer than it takes to notice.
func (s *Sim) watchLoops() {
	const every, most = 250 * time.Millisecond, 3 * time.Second
	since := map[*Task]time.Duration{}
	var look func()
	look = func() {
		for _, sub := range s.subnets {
			for _, d := range sub.devices {
				for _, t := range d.order {
					if t.actor == nil || t.inLoop() == false {
						if len(since) > 0 {
							delete(since, t)
						}
						continue
					}
					if _, ok := since[t]; !ok {
						since[t] = s.now
					}
					if s.now-since[t] > most {
						s.violate("%s stands in a loop since %v", d, since[t])
						return
					}
				}
			}
		}
		s.After(every, look)
	}
	s.After(every, look)
}

func (t *Task) inLoop() bool {
	for s := range uint8(wire.MaxStripes) {
		p := t.parent(s)
		for range 64 {
			if p == nil {
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
		for _, d := range sub.devices {
			for _, t := range d.order {
				if d.Liar != nil {
					liars++ // it makes roots contradict it for as long as it lies
				}
				if !d.on || d.Liar != nil {
					continue
				}
				if !t.complete && t.failed == wire.ReasonNone {
					s.violate("%s ends neither complete nor failed: %s", d, t)
				}
				if t.m != nil && t.actor != nil && t.m.IsRoot() {
					roots[t.file]++
				}
			}
		}
		for f, n := range roots {
			if n > 1 && liars == 0 {
				s.violate("%d roots of %s", n, f.Name)
			}
		}
	}
	return s.faults
}
