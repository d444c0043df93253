package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// tale is the state of a running story.
type tale struct {
	Story
	next  time.Duration // when it is due, of those by time
	over  bool
	times []float64    // when it happened, in seconds
	done  map[int]bool // subnets whose root it has met, of targetRoots
}

// dueDeed is what is to be done at a time: an undoing, or a device's start.
type dueDeed struct {
	at time.Duration
	do func() error
}

// filler is the file that fills a disk.
const filler = "filler"

// prepareStories does what holds from the start, and starts the first devices.
func (u *Up) prepareStories() error {
	wake, late := time.Duration(0), 0
	for _, s := range u.cfg.Stories {
		t := &tale{Story: s, next: max(s.At, s.Every), done: map[int]bool{}}
		u.told = append(u.told, t)
		switch {
		case s.Deed == deedWake:
			wake, t.over, t.times = s.Over, true, []float64{0}
		case s.Deed == deedStart:
			late += s.Count
		case s.At == 0 && s.Percent == 0 && s.Every == 0:
			if err := u.tell(t, 0); err != nil {
				return err
			}
			t.over = true
		}
	}
	for _, d := range u.devices {
		d.waiting = true
	}
	first := u.devices[:len(u.devices)-late]
	u.late = u.devices[len(first):]
	if wake == 0 {
		return u.switchOn(first...)
	}
	order := u.rng.Perm(len(first))
	for k, i := range order {
		at := time.Duration(0)
		if len(order) > 1 {
			at = wake * time.Duration(k) / time.Duration(len(order)-1)
		}
		u.due = append(u.due, dueDeed{at, func() error { return u.switchOn(first[i]) }})
	}
	return nil
}

// direct runs the stories until all devices are settled or ctx ends.
func (u *Up) direct(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	sampled := -sampleEvery
	for n := 0; ; n++ {
		now := u.Elapsed()
		if err := u.doDue(now); err != nil {
			return err
		}
		for _, t := range u.told {
			if err := u.look(t, now); err != nil {
				return err
			}
		}
		if now-sampled >= sampleEvery {
			u.line.sample(u)
			sampled = now
		}
		if n%100 == 0 {
			for _, d := range u.devices {
				d.sampleProcs()
			}
		}
		if !slices.ContainsFunc(u.devices, func(d *device) bool { return !d.settled() }) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (u *Up) doDue(now time.Duration) error {
	var ready, later []dueDeed
	for _, d := range u.due {
		if d.at <= now {
			ready = append(ready, d)
		} else {
			later = append(later, d)
		}
	}
	u.due = later // what is done may add to it
	for _, d := range ready {
		if err := d.do(); err != nil {
			return err
		}
	}
	return nil
}

// look runs a story if its time has come.
func (u *Up) look(t *tale, now time.Duration) error {
	switch {
	case t.over:
		return nil
	case t.Percent > 0:
		if u.progress() < t.Percent {
			return nil
		}
	case now < t.next:
		return nil
	}
	if t.Every > 0 {
		t.next = now - now%t.Every + t.Every
		return u.tell(t, now)
	}
	// If none of the devices that it means is there now, it is tried again
	// later.
	if err := u.tell(t, now); err != nil {
		return err
	}
	switch t.Target {
	case targetRoots:
		t.over = len(t.done) == max(u.cfg.Site.Subnets, 1)
	default:
		t.over = len(t.times) > 0
	}
	return nil
}

// progress is the percentage of the most advanced root, or 100 when all started
// devices have finished.
func (u *Up) progress() int {
	best, through := 0, true
	for _, d := range u.devices {
		if u.isLate(d) {
			continue
		}
		through = through && d.settled()
		if v := d.view(); d.running() && v.Role == report.RoleRoot {
			best = max(best, min(u.percent(d, v), 99))
		}
	}
	if through {
		return 100
	}
	return best
}

// isLate reports whether a device waits for a story to start it.
func (u *Up) isLate(d *device) bool { return slices.Contains(u.late, d) }

// percent is how much of the file a root has. It reports that only now and
// then, so what the server has sent it counts too.
func (u *Up) percent(d *device, v process.FileView) int {
	if len(d.All()) > 1 {
		return v.Percent // the server sent to an earlier process of it too
	}
	return max(v.Percent, int(100*u.server.Tally.Bytes(d.Host.Addr)/int64(u.cfg.Size)))
}

// tell does what a story says.
func (u *Up) tell(t *tale, now time.Duration) error {
	whom := u.targets(t)
	var undo func() error
	var err error
	text := t.Deed
	switch t.Deed {
	case deedKill:
		whom = u.kill(t, whom)
		for _, d := range whom {
			t.done[d.subnet] = true
		}
		if len(whom) == 0 {
			return nil
		}
		text = "killed"
	case deedCut:
		text, err = "the WAN is cut", u.site.CutWAN(true)
		undo = func() error { u.line.mark(u, markUndo, nil, "the WAN is back"); return u.site.CutWAN(false) }
	case deedIsolate:
		text, err = "isolated from each other", u.isolate(whom, true)
		undo = func() error { u.line.mark(u, markUndo, whom, "joined again"); return u.isolate(whom, false) }
	case deedFill:
		text, err = "disk filled", fill(whom[0])
		undo = func() error {
			u.line.mark(u, markUndo, whom, "disk has room again")
			return os.Remove(filepath.Join(whom[0].dir, filler))
		}
	case deedSlow:
		text, err = "port slowed to "+t.Rate.String(), u.slow(whom, t.Rate)
		undo = func() error { u.line.mark(u, markUndo, whom, "port as before"); return u.slow(whom, u.cfg.Site.LAN) }
	case deedStart:
		whom, u.late = u.late[:t.Count], u.late[t.Count:]
		text, err = "started late", u.switchOn(whom...)
	}
	if err != nil {
		return fmt.Errorf("story %q: %w", t.Story, err)
	}
	t.times = append(t.times, now.Seconds())
	u.line.mark(u, markStory, whom, text)
	if undo != nil && t.For > 0 {
		u.due = append(u.due, dueDeed{now + t.For, undo})
	}
	return nil
}

// targets returns the devices that a story means now.
func (u *Up) targets(t *tale) []*device {
	if t.Device > 0 {
		return u.devices[t.Device-1 : t.Device]
	}
	var found []*device
	for i, d := range u.devices {
		ok := false
		switch t.Target {
		case targetAll:
			ok = true
		case targetHalf:
			ok = i%2 == 0
		case targetRandom:
			ok = d.running() && !d.view().Held()
		case targetParent:
			ok = d.running() && d.view().Role != report.RoleRoot && u.hasChildren(d)
		case targetRoot, targetRoots:
			v := d.view()
			ok = d.running() && v.Role == report.RoleRoot && !v.Held() && u.percent(d, v) >= t.Percent &&
				(t.Target == targetRoot || t.Every > 0 || !t.done[d.subnet])
		}
		if ok {
			found = append(found, d)
		}
	}
	switch {
	case len(found) < 2:
	case t.Target == targetRandom, t.Target == targetParent:
		i := u.rng.IntN(len(found))
		return found[i : i+1]
	case t.Target == targetRoot:
		best := slices.MaxFunc(found, func(a, b *device) int { return u.percent(a, a.view()) - u.percent(b, b.view()) })
		return []*device{best}
	}
	return found
}

func (d *device) running() bool { return d.on && !d.waiting && d.Now().Running() }

// hasChildren reports whether a device that still needs the file has d as its
// parent.
func (u *Up) hasChildren(d *device) bool {
	return slices.ContainsFunc(u.devices, func(o *device) bool {
		v := o.view()
		return o != d && o.running() && !v.Held() && process.AddrOf(v.Parent) == d.Host.Addr
	})
}

// kill ends devices and schedules their restart. It returns those that it
// killed.
func (u *Up) kill(t *tale, whom []*device) (killed []*device) {
	for _, d := range whom {
		if !d.running() || d.Now().Kill() != nil {
			continue
		}
		_ = d.Now().Wait()
		d.kills++
		killed = append(killed, d)
		if t.For == 0 {
			d.on = false
			continue
		}
		d.waiting = true
		u.due = append(u.due, dueDeed{u.Elapsed() + t.For, func() error {
			u.line.mark(u, markUndo, []*device{d}, "switched on again")
			return u.switchOn(d)
		}})
	}
	return killed
}

func (u *Up) isolate(whom []*device, on bool) (err error) {
	for _, d := range whom {
		err = errors.Join(err, u.site.IsolatePort(d.Number-1, on))
	}
	return err
}

func (u *Up) slow(whom []*device, rate units.Rate) (err error) {
	for _, d := range whom {
		err = errors.Join(err, u.site.SetPortRate(d.Number-1, rate))
	}
	return err
}

// fill writes to a device's small disk until there is no room.
func fill(d *device) error {
	f, err := os.Create(filepath.Join(d.dir, filler))
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := f.Write(b)
		if err != nil && n == 0 {
			if len(b) == 512 {
				return nil // no room for the least
			}
			b = b[:512]
		}
	}
}
