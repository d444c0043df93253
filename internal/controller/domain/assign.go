package domain

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/stepping"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// assign sets an assignment and remembers the one before. What is not known or
// retired is refused.
func (snap *snapshot) assign(ctx context.Context, at *Assignment, r ref) error {
	if r == at.ref() {
		return nil
	}
	loads := []string{r.load}
	if r.release != "" {
		of, err := snap.release(ctx, r.release)
		if err != nil {
			return err
		}
		if of == nil {
			return missing(ctx, snap, snap.tx.Releases(), "release", r.release)
		}
		loads = of.Loads
	}
	for _, name := range loads {
		if err := snap.assignable(ctx, name); err != nil {
			return err
		}
	}
	*at = Assignment{Load: r.load, Release: r.release, Previous: at.Load, PreviousRelease: at.Release, HasPrevious: true}
	return nil
}

// assignable refuses a load that is not known or retired; "" is none.
func (snap *snapshot) assignable(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	l, err := snap.load(ctx, name)
	switch {
	case err != nil:
		return err
	case l == nil:
		return missing(ctx, snap, snap.tx.Loads(), "load", name)
	case l.Retired:
		return refused("load %q is retired", name)
	case l.Missing:
		return refused("the repository no longer has load %q", name)
	}
	return nil
}

// Assigned is a load that was assigned.
type Assigned struct {
	Target  Target `json:"target"`
	Version int64  `json:"version"`
	Assignment
}

// AssignLoad assigns a load to the enterprise (the default for all), a model, a
// profile or a device; "" assigns none there. It is refused with ErrUnfit if a
// device would get a load that is not for its model. version is the one that
// the caller has read, 0 for any.
func (c *Controller) AssignLoad(ctx context.Context, a Actor, t Target, name string, version int64) (Assigned, error) {
	return c.reassign(ctx, a, t, version, "load.assign",
		func(snap *snapshot, at *Assignment) error { return snap.assign(ctx, at, ref{load: name}) })
}

// AssignRelease likewise assigns a release: each device gets the load of it that
// is for its model. It is refused with ErrUnfit if the release has none for a
// device that would get it.
func (c *Controller) AssignRelease(ctx context.Context, a Actor, t Target, name string,
	version int64) (Assigned, error) {
	return c.reassign(ctx, a, t, version, "release.assign",
		func(snap *snapshot, at *Assignment) error { return snap.assign(ctx, at, ref{release: name}) })
}

// RollBackLoad assigns the load or release that was assigned before.
func (c *Controller) RollBackLoad(ctx context.Context, a Actor, t Target, version int64) (Assigned, error) {
	return c.reassign(ctx, a, t, version, "load.roll-back", func(snap *snapshot, at *Assignment) error {
		if !at.HasPrevious {
			return refused("nothing was assigned to %s before: assign a load by its name", t)
		}
		return snap.assign(ctx, at, ref{at.Previous, at.PreviousRelease})
	})
}

func (c *Controller) reassign(ctx context.Context, a Actor, t Target, version int64, action string,
	change func(*snapshot, *Assignment) error) (out Assigned, err error) {
	if err := a.may(t.permission()); err != nil {
		return out, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		h, err := c.holder(ctx, tx, t)
		if err != nil {
			return err
		}
		if err := checkVersion(*h.meta, version); err != nil {
			return err
		}
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		before := *h.load
		if err := change(snap, h.load); err != nil {
			return err
		}
		c.stamp(h.meta)
		if err := h.put(); err != nil {
			return err
		}
		if err := c.checkAssigned(ctx, tx, h); err != nil {
			return err
		}
		j.note(action, h.target.String(), before, *h.load)
		out = Assigned{h.target, h.meta.Version, *h.load}
		return nil
	})
	return out, err
}

// checkAssigned refuses an assignment by which a device would get a load that
// is not for its model.
func (c *Controller) checkAssigned(ctx context.Context, tx Tx, h *holder) error {
	snap, err := c.snapshot(ctx, tx) // sees what was put
	if err != nil || h.load.ref() == (ref{}) {
		return err
	}
	var devices []Device
	switch h.target.Level {
	case policy.LevelDevice:
		devices = []Device{*h.device}
	case policy.LevelModel:
		devices = []Device{{Name: "every device", Model: h.target.Name}}
	case policy.LevelProfile:
		devices, err = Collect(ctx, tx.Devices(), DeviceFilter{Profile: h.target.Name})
	default:
		devices, err = Collect(ctx, tx.Devices(), DeviceFilter{})
	}
	if err != nil {
		return err
	}
	given := devices
	var unfit []Device
	for _, d := range devices {
		if d.Model == "" {
			continue // registered by itself and silent on its model: it is passed over until that is known
		}
		answer, err := snap.loadFor(ctx, d)
		if err != nil {
			return err
		}
		for _, o := range answer.Others {
			// A load that a stronger level skips reaches no device.
			if o.Level == h.target.Level && o.Skipped != "" && loadRank(o.Level) > loadRank(answer.Level) {
				unfit = append(unfit, d)
			}
		}
	}
	if err := snap.unfit(ctx, h.load.ref(), unfit); err != nil {
		return err
	}
	if h.target.Level == policy.LevelModel { // instead of the one that stood for them
		if given, err = Collect(ctx, tx.Devices(), DeviceFilter{Model: h.target.Name}); err != nil {
			return err
		}
	}
	return snap.noWay(ctx, h.target.Level, given)
}

// stepStones are the loads that a device can be handed on its way to another one.
func (snap *snapshot) stepStones(ctx context.Context) (*stepping.Stones, error) {
	if snap.stones != nil {
		return snap.stones, nil
	}
	all, err := Collect(ctx, snap.tx.Loads(), LoadFilter{Retired: true})
	if err != nil {
		return nil, err
	}
	loads := make([]stepping.Load, 0, len(all))
	for _, l := range all {
		loads = append(loads, stepping.Load{Name: l.Name, Version: l.Release, Models: snap.modelNames(l.Models),
			From: l.From, Created: l.Created, Unusable: l.Retired || l.Missing})
	}
	snap.stones = stepping.New(loads)
	return snap.stones, nil
}

// NextStep says which load a device is to run next that runs one and should run
// another: a rollout.NextStep over the loads as they are in that transaction.
func (c *Controller) NextStep(ctx context.Context, tx Tx) (rollout.NextStep, error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return nil, err
	}
	stones, err := snap.stepStones(ctx)
	if err != nil {
		return nil, err
	}
	return stones.Next, nil
}

// wayOf is way for a device whose state nobody has read, which it returns where it
// matters.
func (snap *snapshot) wayOf(ctx context.Context, d Device, a *LoadAnswer) (s DeviceState, err error) {
	l, err := snap.load(ctx, a.Load)
	if err != nil || l == nil {
		return s, err
	}
	if _, bad, err := snap.verdict(ctx, d.Name, l.Name); err != nil || !bad && len(l.From) == 0 {
		return s, err
	}
	if s, _, err = lookup(ctx, snap.tx.States(), d.Name); err != nil {
		return s, err
	}
	return s, snap.way(ctx, d, s, a)
}

// way finds what a device is handed on its way to the load that it should run, from
// what it has last reported. What runs on trial may be gone tomorrow: until that is
// over the device is handed what it was told before.
func (snap *snapshot) way(ctx context.Context, d Device, s DeviceState, a *LoadAnswer) error {
	l, err := snap.load(ctx, a.Load)
	if err != nil || l == nil {
		return err
	}
	v, bad, err := snap.verdict(ctx, d.Name, l.Name)
	if err != nil {
		return err
	}
	if a.bad = bad && s.Last.Active != l.Name; a.bad {
		a.Held = fmt.Sprintf("it was found not to work on this device (%s): assign a mended load under another name",
			v.Reason)
		return nil
	}
	if len(l.From) == 0 {
		return nil
	}
	stones, err := snap.stepStones(ctx)
	if err != nil {
		return err
	}
	model := snap.table.Lookup(d.Model).Name
	if s.Reported.IsZero() {
		a.Held = "the device has not reported yet which load it runs, and this one is not for every version"
		return nil
	}
	if told := s.Last.Wanted; told != "" && underWay(s.Last.State) {
		if _, leads := stones.NextOf(model, told, l.Name); told != l.Name && leads {
			a.Via = told
		} else if told != l.Name {
			a.Held = "the device is not done with " + told
		}
		return nil
	}
	step, ok := stones.NextOf(model, s.Last.Active, l.Name)
	switch {
	case !ok:
		a.stuck = true
		a.Held = fmt.Sprintf("no load leads from %s to it: it is installed from %s", versionText(stones, s.Last.Active),
			strings.Join(l.From, ", "))
	case step != l.Name:
		a.Via = step
	}
	return nil
}

// underWay reports whether a device in that state may yet go back to what it ran.
func underWay(state string) bool {
	return slices.Contains([]string{report.StateInstalling, report.StateRebooting, report.StateTrial}, state)
}

// versionText names what a device runs.
func versionText(stones *stepping.Stones, load string) string {
	if load == "" {
		return "no load"
	}
	return "version " + stones.Version(load)
}

// noWay is the error of those devices that would get, from that level, a load to
// which no other leads from what they run, with their count by version; nil if there
// are none. One that has not reported yet is not among them, nor one that is not done
// with another load: it is handed nothing until then.
func (snap *snapshot) noWay(ctx context.Context, level policy.Level, devices []Device) error {
	if len(devices) > 1 && snap.judged == nil {
		if err := snap.readVerdicts(ctx, VerdictFilter{}); err != nil {
			return err
		}
	}
	by := map[string]int{}
	stuck, goal := 0, ""
	var from []string
	var bad []Device
	for _, d := range devices {
		a, err := snap.loadFor(ctx, d)
		if err != nil {
			return err
		}
		if a.Level != level {
			continue
		}
		s, err := snap.wayOf(ctx, d, &a)
		if err != nil {
			return err
		}
		if a.bad && level == policy.LevelDevice {
			bad, goal = append(bad, d), a.Load
		}
		if !a.stuck {
			continue
		}
		stuck++
		by[versionText(snap.stones, s.Last.Active)]++
		l, err := snap.load(ctx, a.Load)
		if err != nil {
			return err
		}
		goal, from = l.Name, l.From
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: %s was found not to work on %s: %s; assign a mended load under another name, or delete a "+
			"device and add it again, which forgets that", ErrNoWay, goal, plural(len(bad), "device", "devices"), someOf(bad))
	}
	if stuck == 0 {
		return nil
	}
	var counts []string
	for _, v := range slices.Sorted(maps.Keys(by)) {
		counts = append(counts, fmt.Sprintf("%d with %s", by[v], v))
	}
	return fmt.Errorf("%w: %s is installed from %s, and %s neither that nor a load that leads there: %s; add such a "+
		"load, or leave these devices out", ErrNoWay, goal, strings.Join(from, ", "),
		plural(stuck, "device runs", "devices run"), strings.Join(counts, ", "))
}

// unfit is the error of what was to be assigned to devices that cannot have it;
// nil if there are none.
func (snap *snapshot) unfit(ctx context.Context, r ref, devices []Device) error {
	if len(devices) == 0 {
		return nil
	}
	models := map[string]bool{}
	for _, d := range devices {
		models[d.Model] = true
	}
	if r.release != "" {
		names := slices.Sorted(maps.Keys(models))
		return fmt.Errorf("%w: release %s has no load for %s, which %s: %s", ErrUnfit, r.release,
			choice.List(names[:min(len(names), 5)]), plural(len(devices), "device is", "devices are"),
			someOf(devices))
	}
	l, err := snap.load(ctx, r.load)
	if err != nil {
		return err
	}
	return notFor(l.Name, l.Models, devices)
}

// notFor is the error of devices that something is not for.
func notFor(name string, models []string, devices []Device) error {
	return fmt.Errorf("%w: %s is for %s, which %s not: %s", ErrUnfit, name, strings.Join(models, ", "),
		plural(len(devices), "device is", "devices are"), someOf(devices))
}

// someOf names some devices with their models.
func someOf(devices []Device) string {
	var some []string
	for _, d := range devices[:min(len(devices), maxSome)] {
		some = append(some, fmt.Sprintf("%s (%s)", d.Name, d.Model))
	}
	return strings.Join(some, ", ")
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// Release is one name for the loads of several models, which are assigned and
// rolled back as one.
type Release struct {
	Meta
	Name string `json:"name"`
	// Note for people.
	Note string `json:"note"`
	// Loads by their names, each for other models than the others, in order.
	Loads []string `json:"loads"`
}

// Key is the release's name.
func (r Release) Key() string { return r.Name }

// MaxReleaseLoads bounds the loads of a release.
const MaxReleaseLoads = 256

// ReleaseChange changes a release; what is nil stays.
type ReleaseChange struct {
	Note *string `json:"note,omitempty"`
	// Loads replace those that it has. A new release that names none has those
	// whose version is its name.
	Loads *[]string `json:"loads,omitempty"`
}

// checkReleaseName takes 1 to 64 of letters, digits and ._()+- , the first a
// letter or digit: 9.4(2) is one.
func checkReleaseName(name string) error {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if name == "" || len(name) > MaxNameLen || !strings.Contains(plain, name[:1]) ||
		strings.Trim(name, plain+"._()+-") != "" {
		return invalid("a release's name has 1 to %d letters, digits and . _ ( ) + - and begins with one of the first two, "+
			"such as 9.4(2)", MaxNameLen)
	}
	return nil
}

// CreateRelease makes a release.
func (c *Controller) CreateRelease(ctx context.Context, a Actor, name string,
	change ReleaseChange) (r Release, err error) {
	if err := a.may(mayLoads); err != nil {
		return r, err
	}
	if err := checkReleaseName(name); err != nil {
		return r, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		r = Release{Name: name}
		change := change
		if change.Loads == nil {
			all, err := Collect(ctx, tx.Loads(), LoadFilter{})
			if err != nil {
				return err
			}
			loads := []string{}
			for _, l := range all {
				if l.Release == name && !l.Missing {
					loads = append(loads, l.Name)
				}
			}
			change.Loads = &loads
		}
		if err := c.changeRelease(ctx, tx, &r, change); err != nil {
			return err
		}
		if err := create(ctx, tx.Releases(), &r, "release", name); err != nil {
			return err
		}
		j.note("release.create", "release "+name, nil, r)
		return nil
	})
	return r, err
}

func (c *Controller) changeRelease(ctx context.Context, tx Tx, r *Release, change ReleaseChange) error {
	if n := change.Note; n != nil {
		if err := checkText("note", *n, MaxDescriptionLen); err != nil {
			return err
		}
		r.Note = *n
	}
	c.stamp(&r.Meta)
	if change.Loads == nil {
		return nil
	}
	if n := len(*change.Loads); n == 0 || n > MaxReleaseLoads {
		return invalid("a release has 1 to %d loads: name them, or publish loads of version %s first", MaxReleaseLoads,
			r.Name)
	}
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	r.Loads = slices.Sorted(slices.Values(*change.Loads))
	by := map[string]string{} // the load of each model
	for i, name := range r.Loads {
		if i > 0 && name == r.Loads[i-1] {
			return invalid("load %q stands twice", cleanText(name, MaxNameLen))
		}
		if name == "" {
			return invalid("a load of a release has a name")
		}
		if err := snap.assignable(ctx, name); err != nil {
			return err
		}
		l, err := snap.load(ctx, name)
		if err != nil {
			return err
		}
		for _, m := range l.Models {
			if other, ok := by[m]; ok {
				return refused("loads %s and %s are both for %s: a release has one load for each model", other, name, m)
			}
			by[m] = name
		}
	}
	return nil
}

// UpdateRelease changes a release. Its loads stay while it is assigned: make
// another release. version is that which the caller has read, 0 for any.
func (c *Controller) UpdateRelease(ctx context.Context, a Actor, name string, change ReleaseChange,
	version int64) (r Release, err error) {
	if err := a.may(mayLoads); err != nil {
		return r, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if r, err = find(ctx, tx.Releases(), "release", name); err != nil {
			return err
		}
		if err := checkVersion(r.Meta, version); err != nil {
			return err
		}
		before := r
		if err := c.changeRelease(ctx, tx, &r, change); err != nil {
			return err
		}
		if len(diff.Between(before, r)) == 0 {
			r = before
			return nil
		}
		if !slices.Equal(before.Loads, r.Loads) {
			if err := c.checkUnassigned(ctx, tx, ref{release: name}); err != nil {
				return fmt.Errorf("%w; make another release, and assign that", err)
			}
		}
		j.note("release.update", "release "+name, before, r)
		return tx.Releases().Put(ctx, &r)
	})
	return r, err
}

// DeleteRelease removes a release that is assigned nowhere. Its loads stay.
func (c *Controller) DeleteRelease(ctx context.Context, a Actor, name string, version int64) error {
	if err := a.may(mayLoads); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		r, err := find(ctx, tx.Releases(), "release", name)
		if err != nil {
			return err
		}
		if err := checkVersion(r.Meta, version); err != nil {
			return err
		}
		if err := c.checkUnassigned(ctx, tx, ref{release: name}); err != nil {
			return err
		}
		j.note("release.delete", "release "+name, r, nil)
		return tx.Releases().Delete(ctx, name, r.Version)
	})
}

// Release returns a release.
func (c *Controller) Release(ctx context.Context, a Actor, name string) (r Release, err error) {
	if err := a.may(mayRead); err != nil {
		return r, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		r, err = find(ctx, tx.Releases(), "release", name)
		return err
	})
	return r, err
}

// Releases lists releases by name.
func (c *Controller) Releases(ctx context.Context, a Actor, f TextFilter, p Page) (l List[Release], err error) {
	if err := a.may(mayRead); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		l, err = tx.Releases().List(ctx, f, p)
		return err
	})
	return l, err
}

// Assignable refuses a load or release that cannot be assigned.
func (c *Controller) Assignable(ctx context.Context, tx Tx, load, release string) error {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	return snap.assign(ctx, &Assignment{}, ref{load, release})
}
