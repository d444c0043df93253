package domain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/policy"
)

// DeviceChange changes a device; what is nil stays.
type DeviceChange struct {
	Description *string `json:"description,omitempty"`
	Model       *string `json:"model,omitempty"`
	// Profile "" takes the device out of its profile.
	Profile *string `json:"profile,omitempty"`
	Site    *string `json:"site,omitempty"`
	// Settings at the level of the device.
	Settings SettingsChange `json:"settings,omitzero"`
	// Load or Release to assign at the level of the device; "" assigns none.
	Load    *string `json:"load,omitempty"`
	Release *string `json:"release,omitempty"`
}

// DeviceRow is a device in a list, with its latest known state.
type DeviceRow struct {
	Device
	// State is nil if the device has never asked nor reported.
	State *DeviceState `json:"state,omitempty"`
}

// CreateDevice adds a device. name is any spelling of the device's name or MAC
// address; the change must name the model.
func (c *Controller) CreateDevice(ctx context.Context, a Actor, name string,
	change DeviceChange) (d Device, err error) {
	if err := a.may(mayDevices); err != nil {
		return d, err
	}
	if name, err = DeviceName(name); err != nil {
		return d, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		d = Device{Name: name, Registration: RegistrationByAdministrator}
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		if err := c.change(ctx, snap, &d, change); err != nil {
			return err
		}
		if err := create(ctx, tx.Devices(), &d, "device", name); err != nil {
			return err
		}
		j.note("device.create", DeviceTarget(name).String(), nil, d)
		return nil
	})
	return d, err
}

// UpdateDevice changes a device. version is that which the caller has read, 0
// for any.
func (c *Controller) UpdateDevice(ctx context.Context, a Actor, name string, change DeviceChange,
	version int64) (d Device, err error) {
	if err := a.may(mayDevices); err != nil {
		return d, err
	}
	if name, err = DeviceName(name); err != nil {
		return d, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if d, err = find(ctx, tx.Devices(), "device", name); err != nil {
			return err
		}
		if err := checkVersion(d.Meta, version); err != nil {
			return err
		}
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		before := d
		if err := c.change(ctx, snap, &d, change); err != nil {
			return err
		}
		if len(diff.Between(before, d)) == 0 {
			d = before // what changes nothing is nobody's conflict
			return nil
		}
		if err := tx.Devices().Put(ctx, &d); err != nil {
			return err
		}
		j.note("device.update", DeviceTarget(name).String(), before, d)
		return nil
	})
	return d.Shown(), err
}

// change applies a change to a device and refuses an invalid result.
func (c *Controller) change(ctx context.Context, snap *snapshot, d *Device, change DeviceChange) error {
	for _, f := range []struct {
		what string
		from *string
		to   *string
		most int
	}{{"description", change.Description, &d.Description, MaxDescriptionLen},
		{"model", change.Model, &d.Model, policy.MaxModelText},
		{"profile", change.Profile, &d.Profile, MaxNameLen}, {"site", change.Site, &d.Site, MaxNameLen}} {
		if f.from == nil {
			continue
		}
		if err := checkText(f.what, *f.from, f.most); err != nil {
			return err
		}
		*f.to = *f.from
	}
	d.Model = snap.table.Lookup(d.Model).Name
	if d.Model == "" && (change.Model != nil || d.Version == 0) { // one that enrolled may have none yet
		return invalid("a device needs a model")
	}
	if err := named(ctx, snap, snap.profiles, snap.tx.Profiles(), "profile", d.Profile); err != nil {
		return err
	}
	if change.Site != nil {
		if err := snap.checkSite(ctx, d.Site); err != nil {
			return err
		}
	}
	var err error
	if d.Settings, err = change.Settings.apply(d.Settings); err != nil {
		return err
	}
	switch {
	case change.Load != nil && change.Release != nil:
		return invalid("a load and a release are both to be assigned: name one of them")
	case change.Load != nil:
		err = snap.assign(ctx, &d.Load, ref{load: *change.Load})
	case change.Release != nil:
		err = snap.assign(ctx, &d.Load, ref{release: *change.Release})
	}
	if err != nil {
		return err
	}
	c.stamp(&d.Meta)
	if err := snap.checkFit(ctx, *d); err != nil || change.Load == nil && change.Release == nil {
		return err
	}
	return snap.noWay(ctx, policy.LevelDevice, []Device{*d})
}

// dropVerdicts removes what was judged of loads for a device.
func dropVerdicts(ctx context.Context, tx Tx, device string) error {
	all, err := Collect(ctx, tx.Verdicts(), VerdictFilter{Device: device})
	for i := 0; err == nil && i < len(all); i++ {
		err = tx.Verdicts().Delete(ctx, all[i].Key(), 0)
	}
	return err
}

// Device returns a device and its latest known state. A device may ask for
// itself.
func (c *Controller) Device(ctx context.Context, a Actor, name string) (row DeviceRow, err error) {
	if name, err = DeviceName(name); err != nil {
		return row, err
	}
	if err := a.mayOf(mayRead, name); err != nil {
		return row, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		d, err := find(ctx, tx.Devices(), "device", name)
		if err != nil {
			return err
		}
		row, err = rowOf(ctx, tx, d)
		return err
	})
	return row, err
}

func rowOf(ctx context.Context, tx Tx, d Device) (DeviceRow, error) {
	row := DeviceRow{Device: d.Shown()}
	s, ok, err := lookup(ctx, tx.States(), d.Name)
	if ok {
		row.State = &s
	}
	return row, err
}

// Devices lists devices by name, each with its latest known state.
func (c *Controller) Devices(ctx context.Context, a Actor, f DeviceFilter, p Page) (l List[DeviceRow], err error) {
	if err := a.may(mayRead); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		if f.Model+f.Profile+f.Site+f.Load+f.Release != "" {
			snap, err := c.snapshot(ctx, tx)
			if err != nil {
				return err
			}
			if f, err = snap.filter(ctx, f); err != nil {
				return err
			}
		}
		devices, err := tx.Devices().List(ctx, f, p)
		if err != nil {
			return err
		}
		l = List[DeviceRow]{Items: []DeviceRow{}, Next: devices.Next, Total: devices.Total}
		names := make([]string, len(devices.Items))
		for i, d := range devices.Items {
			names[i] = d.Name
		}
		states, err := tx.States().GetAll(ctx, names)
		for _, d := range devices.Items {
			row := DeviceRow{Device: d.Shown()}
			if s, ok := states[d.Name]; ok {
				row.State = &s
			}
			l.Items = append(l.Items, row)
		}
		return err
	})
	return l, err
}

// BulkRow is one row of a bulk write.
type BulkRow struct {
	// Device in any spelling of its name or MAC address.
	Device string `json:"device"`
	// Create makes the device if it is not known; the change must then name
	// its model.
	Create bool `json:"create,omitempty"`
	// Change to make.
	Change DeviceChange `json:"change"`
}

// BulkResult says what became of one row.
type BulkResult struct {
	// Row counts from 0.
	Row    int    `json:"row"`
	Device string `json:"device"`
	// OK says that the row was written, read back, and found as asked.
	OK bool `json:"ok"`
	// Created says that the device was not known before.
	Created bool `json:"created,omitempty"`
	// Err is why the row was not written, or what was read back differs.
	Err error `json:"-"`
	// Error is the text of Err.
	Error string `json:"error,omitempty"`
	// Stored is the device as it was read back, nil if it could not be.
	Stored *Device `json:"stored,omitempty"`
	// Settings are the effective values as they were read back.
	Settings []EffectiveSetting `json:"settings,omitempty"`
	Load     *LoadAnswer        `json:"load,omitempty"`
}

// MaxBulkRows bounds a bulk write.
const MaxBulkRows = 10_000

// Bulk writes rows one by one, each in a transaction of its own, and reads each
// back in another one: a row is OK only if what is stored is what was asked for
// (CSCsh98792). One row that fails does not stop the others. The error is about
// the whole call; failures of rows are in the results.
func (c *Controller) Bulk(ctx context.Context, a Actor, rows []BulkRow) ([]BulkResult, error) {
	if err := a.may(mayDevices); err != nil {
		return nil, err
	}
	if len(rows) > MaxBulkRows {
		return nil, invalid("%d rows, at most %d at a time", len(rows), MaxBulkRows)
	}
	results := make([]BulkResult, 0, len(rows))
	for i, row := range rows {
		if err := ctx.Err(); err != nil {
			return results, err
		}
		r := BulkResult{Row: i, Device: row.Device}
		if err := c.bulkRow(ctx, a, row, &r); err != nil {
			r.Err, r.Error = err, err.Error()
		}
		r.OK = r.Err == nil
		results = append(results, r)
	}
	return results, nil
}

func (c *Controller) bulkRow(ctx context.Context, a Actor, row BulkRow, r *BulkResult) error {
	name, err := DeviceName(row.Device)
	if err != nil {
		return err
	}
	r.Device = name
	known := true
	if row.Create {
		err := c.view(ctx, a, func(tx Tx) (err error) {
			_, known, err = lookup(ctx, tx.Devices(), name)
			return err
		})
		if err != nil {
			return err
		}
	}
	if known {
		_, err = c.UpdateDevice(ctx, a, name, row.Change, 0)
	} else {
		_, err = c.CreateDevice(ctx, a, name, row.Change)
		r.Created = err == nil
	}
	if err != nil {
		return err
	}
	return c.readBack(ctx, a, name, row.Change, r)
}

// readBack reads what is stored and compares it with what was asked for.
func (c *Controller) readBack(ctx context.Context, a Actor, name string, change DeviceChange, r *BulkResult) error {
	got, err := c.Desired(ctx, a, name)
	if err != nil {
		return fmt.Errorf("written, but not read back: %w", err)
	}
	r.Stored, r.Settings, r.Load = &got.Device, got.Settings, &got.Load
	return got.Device.Differs(change)
}

// Differs says how a device that was read back is not as a change asked for, nil if
// it is.
func (d Device) Differs(change DeviceChange) error {
	differs := func(what, want, have string) error {
		return fmt.Errorf("%w: written and read back, %s is %q, not %q", ErrConflict, what, have, want)
	}
	for _, f := range []struct {
		what string
		want *string
		have string
	}{{"description", change.Description, d.Description}, {"profile", change.Profile, d.Profile},
		{"site", change.Site, d.Site},
		{"load", change.Load, d.Load.Load}, {"release", change.Release, d.Load.Release}} {
		if f.want != nil && *f.want != f.have {
			return differs(f.what, *f.want, f.have)
		}
	}
	set, err := change.Settings.Set.Normalise()
	if err != nil {
		return err
	}
	for name, want := range set {
		if have, ok := d.Settings[name]; !ok || have != want {
			return differs(name, want, have)
		}
	}
	for _, name := range change.Settings.Unset {
		if have, ok := d.Settings[name]; ok {
			return differs(name, "unset", have)
		}
	}
	return nil
}

// Filter returns a filter by which devices are found, the model in any way of
// writing it. A name that nothing has is an error.
func (k *Batch) Filter(ctx context.Context, f DeviceFilter) (DeviceFilter, error) {
	return k.snap.filter(ctx, f)
}

func (snap *snapshot) filter(ctx context.Context, f DeviceFilter) (DeviceFilter, error) {
	if f.Model != "" {
		f.Model = snap.table.Lookup(f.Model).Name
		if err := snap.checkModel(f.Model); err != nil { // it may be a device's own word
			some, listErr := snap.tx.Devices().List(ctx, DeviceFilter{Model: f.Model}, Page{Limit: 1})
			if listErr != nil || len(some.Items) == 0 {
				return f, cmp.Or(listErr, err)
			}
		}
	}
	if err := named(ctx, snap, snap.profiles, snap.tx.Profiles(), "profile", f.Profile); err != nil {
		return f, err
	}
	if err := named(ctx, snap, snap.loads, snap.tx.Loads(), "load", f.Load); err != nil {
		return f, err
	}
	if err := named(ctx, snap, snap.releases, snap.tx.Releases(), "release", f.Release); err != nil {
		return f, err
	}
	return f, snap.checkSite(ctx, f.Site)
}

// Reach is what a change touches: the devices that should do something else
// after it, or of which something else is known.
type Reach struct {
	Devices int `json:"devices"`
	// Sites and Models count these devices; one that belongs to no site is in
	// none.
	Sites  map[string]int `json:"sites"`
	Models map[string]int `json:"models"`
	// Some of the devices, in order, at most maxSome.
	Some []string `json:"some"`
	// Steps count the devices that are handed another load first, by that load.
	Steps map[string]int `json:"steps,omitempty"`
	// Waiting counts those that are handed no load until they have reported what
	// they run, or are done with another one.
	Waiting int `json:"waiting,omitempty"`
}

// maxSome bounds the names of devices that a Reach has.
const maxSome = 5

// NoReach touches nothing yet.
func NoReach() Reach {
	return Reach{Sites: map[string]int{}, Models: map[string]int{}, Some: []string{}}
}

// Add counts a device, which comes after those that were added before. Its site is
// "" for none.
func (r *Reach) Add(device, model, site string) {
	r.Devices++
	r.Models[model]++
	if site != "" {
		r.Sites[site]++
	}
	if len(r.Some) < maxSome {
		r.Some = append(r.Some, device)
	}
}

// ReachOf counts the devices that should have a load, or a file set, of a name, and
// those that are to get it on their way to another load.
func (c *Controller) ReachOf(ctx context.Context, a Actor, name string) (r Reach, err error) {
	if err := a.may(mayRead); err != nil {
		return r, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		r = NoReach()
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		return snap.eachDevice(ctx, DeviceFilter{}, func(d Device, s DeviceState, want LoadAnswer) error {
			sets, err := snap.fileSets(ctx, d)
			has := slices.ContainsFunc(sets, func(f FileSetAnswer) bool { return f.FileSet == name })
			if has || want.Load == name || want.Via == name {
				r.Add(d.Name, d.Model, siteOf(d, s))
			}
			return err
		})
	})
	return r, err
}

// MaxLevelSets bounds the file sets that one level assigns.
const MaxLevelSets = 32

// FileSetsChange assigns file sets at a level, or assigns them no more.
type FileSetsChange struct {
	// Assign are sets to assign. Each takes the place of those at that level which are
	// for its directory and a model that it is for, too.
	Assign []string `json:"assign,omitempty" maxItems:"32"`
	// Unassign are sets to assign no more there.
	Unassign []string `json:"unassign,omitempty" maxItems:"32"`
}

func (c FileSetsChange) check() error {
	if len(c.Assign)+len(c.Unassign) == 0 {
		return invalid("name file sets to assign or to unassign")
	}
	return nil
}

// LevelSets are the file sets that a level assigns.
type LevelSets struct {
	Target  Target `json:"target"`
	Version int64  `json:"version"`
	// FileSets in order.
	FileSets []string `json:"file_sets"`
}

// ChangeFileSets changes what the enterprise, a profile or a device assigns. version
// is the one that the caller has read, 0 for any.
func (c *Controller) ChangeFileSets(ctx context.Context, a Actor, t Target, change FileSetsChange,
	version int64) (out LevelSets, err error) {
	if err := a.may(t.permission()); err != nil {
		return out, err
	}
	if err := change.check(); err != nil {
		return out, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		h, err := c.holder(ctx, tx, t)
		if err != nil {
			return err
		}
		if h.sets == nil {
			return invalid("file sets are assigned to the enterprise, a profile or a device, not to a %s", t.Level)
		}
		if err := checkVersion(*h.meta, version); err != nil {
			return err
		}
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		before := assignedSets{*h.sets}
		if err := snap.changeSets(ctx, h, change); err != nil {
			return err
		}
		out = LevelSets{h.target, h.meta.Version, slices.Concat([]string{}, *h.sets)}
		if slices.Equal(before.FileSets, *h.sets) {
			return nil
		}
		c.stamp(h.meta)
		if err := h.put(); err != nil {
			return err
		}
		out.Version = h.meta.Version
		j.note("fileset.assign", h.target.String(), before, assignedSets{*h.sets})
		return nil
	})
	return out, err
}

// assignedSets are what the audit log has of a level's file sets.
type assignedSets struct {
	FileSets []string `json:"file_sets"`
}

// changeSets changes what a holder assigns, and refuses what cannot be.
func (snap *snapshot) changeSets(ctx context.Context, h *holder, change FileSetsChange) error {
	sets := slices.Clone(*h.sets)
	for _, name := range change.Unassign {
		i := slices.Index(sets, name)
		if i < 0 {
			return fmt.Errorf("%w: file set %.60q is not assigned to %s", ErrNotFound, name, h.target)
		}
		sets = slices.Delete(sets, i, i+1)
	}
	for _, name := range change.Assign {
		f, err := snap.assignableSet(ctx, name)
		if err != nil {
			return err
		}
		if h.device != nil && !snap.table.Fits(f.Models, h.device.Model) {
			return notFor(name, f.Models, []Device{*h.device})
		}
		kept := []string{name}
		for _, other := range sets {
			o, err := once(ctx, snap.sets, snap.tx.FileSets(), other)
			if err != nil {
				return err
			}
			same := o != nil && o.Directory == f.Directory &&
				slices.ContainsFunc(o.Models, func(m string) bool { return snap.table.Fits(f.Models, m) })
			if other != name && !same {
				kept = append(kept, other)
			}
		}
		sets = kept
	}
	if len(sets) > MaxLevelSets {
		return refused("%d file sets at one level are more than %d", len(sets), MaxLevelSets)
	}
	slices.Sort(sets)
	*h.sets = sets
	return nil
}

// assignableSet refuses a file set that is not known or retired.
func (snap *snapshot) assignableSet(ctx context.Context, name string) (*FileSet, error) {
	f, err := once(ctx, snap.sets, snap.tx.FileSets(), name)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		return nil, missing(ctx, snap, snap.tx.FileSets(), "file set", name)
	case f.Retired:
		return nil, refused("file set %q is retired", name)
	case f.Missing:
		return nil, refused("the repository no longer has file set %q", name)
	}
	return f, nil
}

// deletedFrom returns the entry of a device that was deleted from a site of the
// actor's: it is of no site any more, and he may bring it back all the same.
func (c *Controller) deletedFrom(ctx context.Context, a Actor, id string) (of []AuditEntry, err error) {
	err = c.view(ctx, a, func(tx Tx) error {
		l, err := whole(tx).Audit().List(ctx, AuditFilter{ID: id, Action: "device.delete"}, Page{Limit: 1})
		of = l.Items
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, e := range of {
		for _, f := range e.Changes {
			if f.Field == "site" && f.Old != nil && a.Realm.Has(*f.Old) {
				return of, nil
			}
		}
	}
	return nil, notFound("audit entry", cleanText(id, MaxNameLen))
}
