package sim

import (
	"sort"
	"time"

	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// checkChildren: a device never has more children than the protocol allows.
func (t *Task) checkChildren() {
	if t.m == nil {
		return // a liar may
	}
	n := 0
	for l, e := range t.links {
		if l > 0 && e.welcomed {
			n++
		}
	}
	if n > wire.MaxChildren {
		t.dev.sub.s.violate("%s has %d children", t.dev, n)
	}
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

// parent returns the task that this one is attached to, nil if none.
func (t *Task) parent() *Task {
	for l, e := range t.links {
		if l < 0 && e.welcomed && e.peer != nil && e.open {
			return e.peer.task
		}
	}
	return nil
}

// Depth returns how deep a task stands below a task without a parent, -1 for
// a loop.
func (t *Task) Depth() int {
	n := 0
	for p := t.parent(); p != nil; p = p.parent() {
		if n++; n > 4096 {
			return -1
		}
	}
	return n
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
						delete(since, t)
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
	p := t.parent()
	for range 64 {
		if p == nil {
			return false
		}
		if p == t {
			return true
		}
		p = p.parent()
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
