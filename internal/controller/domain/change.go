package domain

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/policy"
)

// Order is a change that may touch many devices. It names where, by Target or
// Site, and what: one of Settings, Load, Release, FileSets, RollBack and Delete.
// Rows, Models, DeleteModel and Undo stand alone.
type Order struct {
	Target *Target `json:"target,omitempty"`
	// Site stands for the devices that belong to it now: each is changed at its
	// own level.
	Site     string          `json:"site,omitempty"`
	Settings *SettingsChange `json:"settings,omitempty"`
	// Load and Release to assign; "" assigns none.
	Load    *string `json:"load,omitempty"`
	Release *string `json:"release,omitempty"`
	// FileSets to assign, or to assign no more.
	FileSets *FileSetsChange `json:"file_sets,omitempty"`
	// RollBack assigns what was assigned before.
	RollBack bool `json:"roll_back,omitempty"`
	// Delete removes the device that Target names.
	Delete bool `json:"delete,omitempty"`
	// Rows are written as Bulk writes them.
	Rows []BulkRow `json:"rows,omitempty"`
	// Models are rows of the model table, which are added or replaced, all or none.
	Models []policy.ModelRow `json:"models,omitempty" maxItems:"10000"`
	// DeleteModel removes a row that was added, or brings the built-in one back.
	DeleteModel string `json:"delete_model,omitempty"`
	// Undo is the id of an entry of the audit log, whose changes are taken back.
	Undo string `json:"undo,omitempty"`
	// Version of what Target names that the caller has read, 0 if it was never
	// written; nil compares nothing.
	Version *int64 `json:"version,omitempty" minimum:"0"`
	// Shown is what a dry run of the order has returned: if it would touch something
	// else now, nothing is changed. "" for whoever has not looked.
	Shown string `json:"shown,omitempty"`
}

// Changed says what an order has changed, or would change.
type Changed struct {
	// DryRun says that nothing was changed.
	DryRun bool `json:"dry_run"`
	// Audit is the id of the entry by which the change can be undone; "" if it
	// cannot be, as where devices were only made, or if nothing was changed.
	Audit string `json:"audit"`
	Reach Reach  `json:"reach"`
	// Shown stands for what is touched, and how: see Order.
	Shown string `json:"shown"`
	// Assigned is what is assigned at the target of an order that assigns.
	Assigned *Assigned `json:"assigned,omitempty"`
	// Rows are the results of the rows.
	Rows []BulkResult `json:"rows,omitempty"`
	// Kept are the parts of an entry that are not taken back, such as a device
	// that it has made: a device is deleted by its name only.
	Kept []string `json:"kept,omitempty"`
}

// check refuses an order that does not say one thing, and returns the action
// and the target of its entry in the audit log.
func (o Order) check() (action, target string, err error) {
	where, what := 0, 0
	for _, given := range []bool{o.Target != nil, o.Site != ""} {
		if given {
			where++
		}
	}
	for word, given := range map[string]bool{"settings": o.Settings != nil, "load": o.Load != nil,
		"release": o.Release != nil, "file-sets": o.FileSets != nil, "roll-back": o.RollBack,
		"delete": o.Delete} {
		if given {
			what++
			action = word
		}
	}
	alone := 0
	for word, given := range map[string]bool{"bulk": o.Rows != nil, "models.put": o.Models != nil,
		"models.delete": o.DeleteModel != "", "undo": o.Undo != ""} {
		if given {
			alone++
			action = word
		}
	}
	if alone == 1 && where+what == 0 && o.Version == nil {
		switch {
		case o.Undo != "":
			target = "audit " + cleanText(o.Undo, MaxNameLen)
		case o.DeleteModel != "":
			target = ModelTarget(cleanText(o.DeleteModel, MaxNameLen)).String()
		default:
			target = fmt.Sprintf("%d rows", max(len(o.Rows), len(o.Models)))
		}
		return action, target, nil
	}
	if alone > 0 || where != 1 || what != 1 {
		return "", "", invalid("an order names one of target and site, and one of settings, load, release, file_sets, " +
			"roll_back and delete; or it has rows, models, delete_model or undo alone")
	}
	if o.Delete && (o.Target == nil || o.Target.Level != policy.LevelDevice) {
		return "", "", invalid("an order deletes one device, which its target names")
	}
	if o.Version != nil && o.Target == nil {
		return "", "", invalid("a version is that of a target: leave it out where several things are changed")
	}
	if o.Site != "" {
		return "site." + action, "site " + cleanText(o.Site, MaxNameLen), nil
	}
	return "level." + action, cleanText(o.Target.String(), MaxReportText), nil
}

// permission is what the order needs.
func (o Order) permission() permission {
	switch {
	case o.Target != nil:
		return o.Target.permission()
	case o.Models != nil || o.DeleteModel != "":
		return mayEnterprise
	}
	return mayDevices
}

// Change carries out an order, whole or not at all, and says what it touched; of
// rows, each by itself, as Bulk does. A dry run does the same, refusals included,
// and then leaves everything as it was.
func (c *Controller) Change(ctx context.Context, a Actor, o Order, dry bool) (out Changed, err error) {
	if err := a.may(o.permission()); err != nil {
		return out, err
	}
	action, target, err := o.check()
	if err != nil {
		return out, err
	}
	err = c.store.Update(ctx, func(tx Tx) error {
		out = Changed{DryRun: dry}
		tx = a.Within(tx)
		before, err := c.picture(ctx, tx)
		if err != nil {
			return err
		}
		parts := &parts{}
		within := c.Within(tx)
		within.parts = parts
		if err := within.carryOut(ctx, a, o, &out); err != nil {
			return err
		}
		after, err := c.picture(ctx, tx)
		if err != nil {
			return err
		}
		out.Reach, out.Shown = reachOf(before, after)
		if dry {
			return errDry
		}
		if o.Shown != "" && o.Shown != out.Shown {
			return fmt.Errorf("%w: the order would touch %s now, and not as it was shown: look at it again", ErrConflict,
				plural(out.Reach.Devices, "device", "devices"))
		}
		return c.appendParts(ctx, tx, a, AuditEntry{Action: action, Target: target}, parts.entries, &out)
	})
	if errors.Is(err, errDry) {
		err = nil
	}
	return out, err
}

// errDry ends the transaction of a dry run.
var errDry = errors.New("a dry run")

// carryOut does what an order says, on a controller within a transaction.
func (c *Controller) carryOut(ctx context.Context, a Actor, o Order, out *Changed) (err error) {
	v, assigned := int64(0), Assigned{}
	if o.Version != nil {
		if v = *o.Version; v == 0 {
			v = Unwritten
		}
	}
	switch {
	case o.Undo != "":
		out.Kept, err = c.undo(ctx, a, o.Undo)
	case o.Rows != nil:
		out.Rows, err = c.Bulk(ctx, a, o.Rows)
	case o.Models != nil:
		_, err = c.PutModels(ctx, a, o.Models)
	case o.DeleteModel != "":
		err = c.DeleteModel(ctx, a, o.DeleteModel)
	case o.Site != "":
		err = c.changeSite(ctx, a, o)
	case o.Settings != nil:
		_, err = c.ChangeSettings(ctx, a, *o.Target, *o.Settings, v)
	case o.Load != nil:
		assigned, err = c.AssignLoad(ctx, a, *o.Target, *o.Load, v)
	case o.Release != nil:
		assigned, err = c.AssignRelease(ctx, a, *o.Target, *o.Release, v)
	case o.Delete:
		err = c.DeleteDevice(ctx, a, o.Target.Name, v)
	case o.FileSets != nil:
		_, err = c.ChangeFileSets(ctx, a, *o.Target, *o.FileSets, v)
	default:
		assigned, err = c.RollBackLoad(ctx, a, *o.Target, v)
	}
	if assigned != (Assigned{}) {
		out.Assigned = &assigned
	}
	return err
}

// changeSite changes each device that belongs to a site. It is refused with the
// count of those that cannot have it.
func (c *Controller) changeSite(ctx context.Context, a Actor, o Order) error {
	var devices []Device
	err := c.view(ctx, a, func(tx Tx) (err error) {
		if err := CheckSite(ctx, tx, o.Site); err != nil {
			return err
		}
		devices, err = Collect(ctx, tx.Devices(), DeviceFilter{Site: o.Site})
		return err
	})
	if err != nil {
		return err
	}
	if len(devices) == 0 {
		return refused("no device belongs to site %q: nothing would be changed", o.Site)
	}
	switch {
	case o.RollBack:
		return c.rollBackEach(ctx, a, devices, o.Site)
	case o.FileSets != nil:
		return c.changeSiteSets(ctx, a, devices, o.Site, *o.FileSets)
	}
	change := DeviceChange{Load: o.Load, Release: o.Release}
	if o.Settings != nil {
		change.Settings = *o.Settings
	}
	var unfit, stuck []Device
	for _, d := range devices {
		_, err := c.UpdateDevice(ctx, a, d.Name, change, 0)
		switch assigns := o.Load != nil || o.Release != nil; {
		case errors.Is(err, ErrUnfit) && assigns: // it is counted, and all is refused
			unfit = append(unfit, d)
		case errors.Is(err, ErrNoWay) && assigns:
			stuck = append(stuck, d)
		case err != nil:
			return err
		}
	}
	if len(unfit)+len(stuck) == 0 {
		return nil
	}
	return c.view(ctx, a, func(tx Tx) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		r := ref{}
		if o.Release != nil {
			r.release = *o.Release
		} else {
			r.load = *o.Load
		}
		if err := snap.unfit(ctx, r, unfit); err != nil {
			return err
		}
		for i := range stuck { // as they would be
			stuck[i].Load = Assignment{Load: r.load, Release: r.release}
		}
		return snap.noWay(ctx, policy.LevelDevice, stuck)
	})
}

// rollBackEach assigns to each device what it had before.
func (c *Controller) rollBackEach(ctx context.Context, a Actor, devices []Device, site string) error {
	var without []string
	for _, d := range devices {
		if !d.Load.HasPrevious {
			without = append(without, d.Name)
		}
	}
	if n := len(without); n > 0 {
		return refused("to %s of site %q nothing was assigned before: %s; undo the assignment by the id of its audit entry",
			plural(n, "device", "devices"), site, strings.Join(without[:min(n, maxSome)], ", "))
	}
	for _, d := range devices {
		if _, err := c.RollBackLoad(ctx, a, DeviceTarget(d.Name), 0); err != nil {
			return err
		}
	}
	return nil
}

// seen is a device in a picture.
type seen struct {
	site, model string
	// does is what the device should do, and what is known of it.
	does string
	// via and held are how it gets to its load.
	via, held string
}

// picture is what all devices should do now.
func (c *Controller) picture(ctx context.Context, tx Tx) (map[string]seen, error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return nil, err
	}
	all := map[string]seen{}
	err = snap.eachDevice(ctx, DeviceFilter{}, func(d Device, s DeviceState, load LoadAnswer) error {
		levels, err := snap.levels(ctx, d)
		if err != nil {
			return err
		}
		model := snap.table.Lookup(d.Model)
		answers, err := policy.EffectiveAll(model, levels)
		if err != nil {
			return err
		}
		does := []string{load.Load, d.Description, d.Model, d.Profile, siteOf(d, s),
			model.GroupName(), fmt.Sprint(model.CanShare)}
		for _, x := range answers {
			does = append(does, x.Value)
		}
		sets, err := snap.fileSets(ctx, d)
		if err != nil {
			return err
		}
		for _, f := range sets { // by which level does not matter to the device
			does = append(does, f.Directory+"="+f.FileSet)
		}
		b, err := json.Marshal(does)
		all[d.Name] = seen{siteOf(d, s), d.Model, string(b), load.Via, load.Held}
		return err
	})
	return all, err
}

// reachOf compares two pictures; shown is equal for equal differences.
func reachOf(before, after map[string]seen) (_ Reach, shown string) {
	r := NoReach()
	sum := sha256.New()
	names := maps.Clone(before)
	maps.Copy(names, after) // what a device is after the change counts
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if before[name] == after[name] {
			continue
		}
		d := names[name]
		fmt.Fprintf(sum, "%q %q %q\n", name, before[name], after[name])
		r.Add(name, d.model, d.site)
		if d.held != "" {
			r.Waiting++
		}
		if d.via != "" {
			if r.Steps == nil {
				r.Steps = map[string]int{}
			}
			r.Steps[d.via]++
		}
	}
	return r, hex.EncodeToString(sum.Sum(nil)[:16])
}

// Wanted is a device that a rollout may be for.
type Wanted struct {
	Device Device
	// State is the zero value if nothing was ever heard of it.
	State DeviceState
	// Site that it belongs to, "" for none.
	Site string
	// Load that it is to run, "" if there is none for its model.
	Load string
}

// Wanted lists devices with the load that each is to run: the one that is named,
// or that of the release.
func (c *Controller) Wanted(ctx context.Context, tx Tx, f DeviceFilter, load, release string,
	p Page) (l List[Wanted], err error) {
	devices, err := tx.Devices().List(ctx, f, p)
	if err != nil {
		return l, err
	}
	l.Next, l.Total = devices.Next, devices.Total
	l.Items, err = c.wanted(ctx, tx, devices.Items, ref{load, release})
	return l, err
}

// WantedNamed is Wanted for devices by their names. Those that are not known are
// left out.
func (c *Controller) WantedNamed(ctx context.Context, tx Tx, names []string, load, release string) ([]Wanted, error) {
	var devices []Device
	known, err := tx.Devices().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if d, ok := known[name]; ok {
			devices = append(devices, d)
		}
	}
	return c.wanted(ctx, tx, devices, ref{load, release})
}

func (c *Controller) wanted(ctx context.Context, tx Tx, devices []Device, r ref) (all []Wanted, err error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(devices))
	for i, d := range devices {
		names[i] = d.Name
	}
	states, err := tx.States().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		w := Wanted{Device: d, State: states[d.Name]}
		w.Site = siteOf(d, w.State)
		if w.Load, err = snap.fitting(ctx, r, d.Model); err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// fitting is the load that is meant for a model, "" if there is none.
func (snap *snapshot) fitting(ctx context.Context, r ref, model string) (string, error) {
	name, err := snap.resolve(ctx, r, model)
	if err != nil || name == "" || model == "" {
		return "", err
	}
	l, err := snap.load(ctx, name)
	if err != nil || snap.misfit(l, model) != "" {
		return "", err
	}
	return name, nil
}

// Settle makes the load that a device runs the one that it should run: it is
// assigned to the device, by the release if it is of it, unless other levels
// assign it anyway. What cannot be assigned any more is left as it is.
func (c *Controller) Settle(ctx context.Context, tx Tx, a Actor, device, load, release string) error {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	d, ok, err := lookup(ctx, tx.Devices(), device)
	if err != nil || !ok {
		return err
	}
	now, err := snap.loadFor(ctx, d)
	if err != nil || now.Load == load {
		return err
	}
	if fits, err := snap.fitting(ctx, ref{load: load}, d.Model); err != nil || fits == "" {
		return err
	}
	of, err := snap.resolve(ctx, ref{release: release}, d.Model)
	if err != nil {
		return err
	}
	assign, own := ref{load: load}, d.Load
	if of == load {
		assign = ref{release: release}
	}
	d.Load = Assignment{}
	if others, err := snap.loadFor(ctx, d); err != nil {
		return err
	} else if others.Load == load && own.ref() != (ref{}) {
		assign = ref{}
	}
	action := "load.assign" // so that it can be undone
	if assign.release != "" {
		action = "release.assign"
	}
	_, err = c.Within(tx).reassign(ctx, a, DeviceTarget(device), 0, action,
		func(snap *snapshot, at *Assignment) error { return snap.assign(ctx, at, assign) })
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrNotFound) { // before anything was written
		return nil
	}
	return err
}

// Batch judges and writes changes of many devices within one transaction. What the
// devices have in common it reads once.
type Batch struct {
	c    *Controller
	tx   Tx
	by   Actor
	snap *snapshot
}

// Batch returns a batch for somebody who may change devices.
func (c *Controller) Batch(ctx context.Context, tx Tx, a Actor) (*Batch, error) {
	if err := a.may(mayDevices); err != nil {
		return nil, err
	}
	tx = a.Within(tx)
	snap, err := c.snapshot(ctx, tx)
	return &Batch{c, tx, a, snap}, err
}

// ResumeBatch returns a batch for somebody who has asked before, with what he may do
// now: nothing, if his account is gone, or the token that he used.
func (c *Controller) ResumeBatch(ctx context.Context, tx Tx, was JobActor) (*Batch, error) {
	a := Actor{Kind: was.Kind, Name: was.Name, User: was.User, Account: was.Account, From: was.From, Role: was.Role,
		Scopes: was.Scopes, Realm: was.Realm(), credential: was.Credential}
	if was.User != "" {
		u, err := c.still(ctx, tx, was)
		if err != nil {
			return nil, err
		}
		if u.Role.rank() < a.Role.rank() {
			a.Role = u.Role
		}
		a.Realm = a.Realm.and(RealmOf(u.Sites))
	}
	return c.Batch(ctx, tx, a)
}

// Judged is a device as a change would leave it.
type Judged struct {
	Device  Device
	Created bool
	Changes []FieldChange
}

// Judge says what a change would make of a device; before is nil for one that is
// not known. An error is why it is refused: it matches one of the domain's own.
func (k *Batch) Judge(ctx context.Context, name string, before *Device, change DeviceChange) (j Judged, err error) {
	if j, err = k.Allow(ctx, name, before, change); err != nil {
		return j, err
	}
	if before == nil {
		j.Changes = diff.Between(nil, j.Device)
	} else {
		j.Changes = diff.Between(*before, j.Device)
	}
	return j, nil
}

// Allow is Judge for who only asks whether it may be: it does not say what changes.
func (k *Batch) Allow(ctx context.Context, name string, before *Device, change DeviceChange) (j Judged, err error) {
	if before == nil {
		j.Device, j.Created = Device{Name: name, Registration: RegistrationByAdministrator}, true
	} else {
		j.Device = *before
	}
	if before != nil { // each row has its own verdict, before any is written
		if in, err := k.by.Realm.includes(ctx, whole(k.tx), *before); err != nil || !in {
			return j, cmp.Or(err, notFound("device", name))
		}
	}
	if err := k.c.change(ctx, k.snap, &j.Device, change); err != nil {
		return j, err
	}
	if in, err := k.by.Realm.includes(ctx, whole(k.tx), j.Device); err != nil || !in {
		return j, cmp.Or(err, k.by.beyond(fmt.Sprintf("%s would not be of them", name)))
	}
	return j, nil
}

// CheckModel refuses a model that no table has, and says which was probably meant.
func (k *Batch) CheckModel(name string) error { return k.snap.checkModel(name) }

func (snap *snapshot) checkModel(name string) error {
	if name == "" || snap.table.Lookup(name).Known() {
		return nil
	}
	var all []string
	for _, m := range snap.table.Models() {
		all = append(append(all, m.Name), m.Aliases...)
	}
	return meant(fmt.Errorf("%w: no table has model %q", ErrNotFound, cleanText(name, MaxNameLen)), name, all)
}

// Tx is the transaction as the batch sees it.
func (k *Batch) Tx() Tx { return k.tx }

// By is whose batch it is.
func (k *Batch) By() JobActor { return k.by.jobActor() }
