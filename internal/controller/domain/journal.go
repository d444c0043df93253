package domain

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/policy"
)

// journal collects the audit entries of one transaction.
type journal struct{ entries []AuditEntry }

// note adds an entry with the fields in which two states of a thing differ; nil
// means a thing that does not exist. A write that changes nothing adds no
// entry.
func (j *journal) note(action, target string, before, after any) {
	if changes := diff.Between(before, after); len(changes) > 0 {
		j.entries = append(j.entries, AuditEntry{Action: action, Target: target, Changes: changes})
	}
}

// event adds an entry about something that has no fields.
func (j *journal) event(action, target string) {
	j.entries = append(j.entries, AuditEntry{Action: action, Target: target})
}

// shownField is the value of a field for people: without the password of an
// address that was stored long ago.
func shownField(field, value string) string {
	name, ok := strings.CutPrefix(field, "settings.")
	if !ok {
		return value
	}
	s, err := policy.Lookup(name)
	if err != nil {
		return value
	}
	return s.Shown(value)
}

// shownChanges likewise. What is stored keeps them: it is undone by it.
func shownChanges(changes []FieldChange) []FieldChange {
	shown := slices.Clone(changes)
	for i := range shown {
		f := &shown[i]
		for _, v := range []**string{&f.Old, &f.New} {
			if *v != nil {
				text := shownField(f.Field, **v)
				*v = &text
			}
		}
	}
	return shown
}

// Shown is the device for people: without the passwords of addresses.
func (d Device) Shown() Device {
	d.Settings = shownValues(d.Settings)
	return d
}

// Shown is the row for people, likewise.
func (r JobRow) Shown() JobRow {
	r.Changes, r.Change.Settings.Set = shownChanges(r.Changes), shownValues(r.Change.Settings.Set)
	return r
}

// Audit returns entries of the audit log, the latest first.
func (c *Controller) Audit(ctx context.Context, a Actor, f AuditFilter, p Page) (l List[AuditEntry], err error) {
	if err := a.may(mayAudit); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		if err := CheckSite(ctx, tx, f.Site); err != nil {
			return err
		}
		l, err = tx.Audit().List(ctx, f, p)
		for i := range l.Items {
			l.Items[i].Changes = shownChanges(l.Items[i].Changes)
		}
		return err
	})
	return l, err
}

// Pruned says what Prune has removed.
type Pruned struct {
	History, Audit, Credentials int64
}

// Prune removes entries that are older than they are kept, and what has
// expired. The server calls it regularly.
func (c *Controller) Prune(ctx context.Context) (n Pruned, err error) {
	now := c.now()
	err = c.store.Update(ctx, func(tx Tx) error {
		n = Pruned{}
		if n.History, err = tx.History().Trim(ctx, now.Add(-c.cfg.HistoryLife)); err != nil {
			return err
		}
		if n.Audit, err = tx.Audit().Trim(ctx, now.Add(-c.cfg.AuditLife)); err != nil {
			return err
		}
		expired, err := Collect(ctx, tx.Credentials(), CredentialFilter{ExpiredBy: now})
		if err != nil {
			return err
		}
		for _, e := range expired {
			if err := tx.Credentials().Delete(ctx, e.ID, 0); err != nil {
				return err
			}
			n.Credentials++
		}
		return c.forgetThrottles(ctx, tx, now)
	})
	return n, err
}

// entryOf is a new entry of the audit log.
func (c *Controller) entryOf(a Actor, action, target string) AuditEntry {
	return AuditEntry{ID: c.id(), At: c.now(), Actor: a.Name, Kind: a.Kind, From: a.From, Action: action, Target: target}
}

// undo takes back what an entry of the audit log, or each of its parts, has
// changed, the latest part first; kept are the parts that are not taken back. An
// error matches ErrConflict if something was changed since, ErrRefused if the
// entry is of a kind that cannot be undone.
func (c *Controller) undo(ctx context.Context, a Actor, id string) (kept []string, err error) {
	l, err := c.Audit(ctx, a, AuditFilter{ID: id}, Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(l.Items) == 0 {
		if l.Items, err = c.deletedFrom(ctx, a, id); err != nil {
			return nil, err
		}
	}
	var entries []AuditEntry
	err = c.view(ctx, a, func(tx Tx) error {
		if _, job, err := lookup(ctx, tx.Jobs(), id); err != nil {
			return err
		} else if job { // which removes what it has made, and says of each row what became of it
			return refused("this is the entry of a bulk job: undo the job of the same id")
		}
		parts := AuditFilter{PartOf: id}
		if entries, err = Collect(ctx, tx.Audit(), parts); err != nil {
			return err
		}
		all, err := whole(tx).Audit().List(ctx, parts, Page{Limit: 1})
		if n := all.Total - len(entries); err == nil && n > 0 {
			err = a.beyond(fmt.Sprintf("%d of the %s of this entry are of others", n, plural(all.Total, "part", "parts")))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		entries = l.Items
	}
	for _, e := range entries {
		if e.Action == "device.create" && e.PartOf != "" {
			kept = append(kept, e.Target)
			continue
		}
		if err := c.takeBack(ctx, a, e); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", e.Action, e.Target, err)
		}
	}
	return kept, nil
}

// past are the changes of an entry, to be taken back.
type past map[string]FieldChange

// old returns the value that a field had, nil if the entry has not changed it.
func (p past) old(field string) *string {
	f, ok := p[field]
	if !ok {
		return nil
	}
	if f.Old == nil {
		return new(string)
	}
	return f.Old
}

// settings are the change that gives the settings their old values.
func (p past) settings() (s SettingsChange) {
	for _, field := range slices.Sorted(maps.Keys(p)) {
		name, ok := strings.CutPrefix(field, "settings.")
		switch {
		case !ok:
		case p[field].Old == nil:
			s.Unset = append(s.Unset, name)
		default:
			if s.Set == nil {
				s.Set = policy.Values{}
			}
			s.Set[name] = *p[field].Old
		}
	}
	return s
}

// site is the change that gives a site its old values.
func (p past) site() (s SiteChange, err error) {
	s = SiteChange{Note: p.old("note"), TimeZone: p.old("time_zone"), Window: p.old("window")}
	read := func(field string, to any) {
		if v := p.old(field); v != nil && *v != "" {
			err = errors.Join(err, json.Unmarshal([]byte(*v), to))
		}
	}
	for field, to := range map[string]**int64{"wan_rate": &s.WANRate, "limits.rate": &s.Rate} {
		if p.old(field) != nil {
			*to = new(int64)
			read(field, *to)
		}
	}
	if p.old("limits.transfers") != nil {
		s.Transfers = new(int)
		read("limits.transfers", s.Transfers)
	}
	if p.old("networks") != nil {
		s.Networks = &[]string{}
		read("networks", s.Networks)
	}
	return s, err
}

// fileSets is the change that brings back the file sets of a level.
func (p past) fileSets(now map[string]string) (c FileSetsChange, err error) {
	var was, is []string
	for text, to := range map[string]*[]string{*p.old("file_sets"): &was, now["file_sets"]: &is} {
		if text != "" {
			err = errors.Join(err, json.Unmarshal([]byte(text), to))
		}
	}
	without := func(all, others []string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(others, s) })
	}
	return FileSetsChange{Assign: without(was, is), Unassign: without(is, was)}, err
}

// modelRow is the row that a model had, nil for none.
func (p past) modelRow(now map[string]string) (*policy.ModelRow, error) {
	was := maps.Clone(now)
	for field, f := range p {
		if delete(was, field); f.Old != nil {
			was[field] = *f.Old
		}
	}
	if _, had := was["row.name"]; !had {
		return nil, nil
	}
	var m policy.ModelRow
	return &m, diff.Read(was, "row.", &m)
}

// targetOf reads the target of an entry.
func targetOf(text string) Target {
	word, name, _ := strings.Cut(text, " ")
	for _, t := range []Target{EnterpriseTarget(), ModelTarget(name), ProfileTarget(name), DeviceTarget(name)} {
		if t.Level.String() == word {
			return t
		}
	}
	return Target{Name: text}
}

// undoable says whether entries with an action can be undone.
func undoable(action string) bool {
	return slices.Contains([]string{"settings.change", "load.assign", "release.assign", "load.roll-back",
		"fileset.assign", "device.update", "device.delete", "profile.update", "site.update", "enterprise.update",
		"model.put", "model.delete", "load.from"}, action)
}

// takeBack gives the fields that an entry has changed the values that they had.
func (c *Controller) takeBack(ctx context.Context, a Actor, e AuditEntry) error {
	now, err := c.current(ctx, a, e)
	if err != nil {
		return err
	}
	p := past{}
	for _, f := range e.Changes {
		if strings.Contains(f.Field, "previous") {
			continue // what was before the assignment before
		}
		p[f.Field] = f
		is, has := now[f.Field] // a setting may be set to nothing, which is not unset
		if has != (f.New != nil) || has && is != *f.New {
			return changedSince(f.Field, is, has, f.New)
		}
	}
	t := targetOf(e.Target)
	switch e.Action {
	case "settings.change":
		_, err = c.ChangeSettings(ctx, a, t, p.settings(), 0)
	case "load.assign", "release.assign", "load.roll-back":
		if release := p.old("release"); release != nil && *release != "" {
			_, err = c.AssignRelease(ctx, a, t, *release, 0)
		} else if load := p.old("load"); load != nil {
			_, err = c.AssignLoad(ctx, a, t, *load, 0)
		} else if release != nil {
			_, err = c.AssignLoad(ctx, a, t, now["load"], 0)
		}
	case "fileset.assign":
		change, bad := p.fileSets(now)
		if bad != nil {
			return bad
		}
		_, err = c.ChangeFileSets(ctx, a, t, change, 0)
	case "device.delete":
		err = c.bringBack(ctx, a, t.Name, e.Changes)
	case "device.update":
		change := DeviceChange{Description: p.old("description"), Model: p.old("model"), Profile: p.old("profile"),
			Site: p.old("site"), Settings: p.settings()}
		if release := p.old("load.release"); release != nil && *release != "" {
			change.Release = release
		} else if load := p.old("load.load"); load != nil || release != nil {
			change.Load = cmp.Or(load, release)
		}
		_, err = c.UpdateDevice(ctx, a, t.Name, change, 0)
	case "profile.update":
		_, err = c.UpdateProfile(ctx, a, t.Name, ProfileChange{Description: p.old("description"), Settings: p.settings()}, 0)
	case "site.update":
		change, bad := p.site()
		if bad != nil {
			return bad
		}
		_, err = c.UpdateSite(ctx, a, strings.TrimPrefix(e.Target, "site "), change, 0)
	case "enterprise.update":
		change := EnterpriseChange{RegisterProfile: p.old("register_profile")}
		if v := p.old("auto_registration"); v != nil {
			on := *v == "true"
			change.AutoRegistration = &on
		}
		_, err = c.UpdateEnterprise(ctx, a, change, 0)
	case "load.from":
		return c.setFromBack(ctx, a, e, p)
	case "model.put", "model.delete":
		return c.putModelBack(ctx, a, t, p, now)
	}
	return err
}

// setFromBack lets a load be installed from the versions that were said before.
func (c *Controller) setFromBack(ctx context.Context, a Actor, e AuditEntry, p past) (err error) {
	var from []string
	if old := p.old("from"); old != nil && *old != "" {
		err = json.Unmarshal([]byte(*old), &from)
	}
	if err == nil {
		_, err = c.SetLoadFrom(ctx, a, strings.TrimPrefix(e.Target, "load "), from, 0)
	}
	return err
}

// putModelBack gives a model the row that it had, none if it had none, and the load
// that was lost with it.
func (c *Controller) putModelBack(ctx context.Context, a Actor, t Target, p past, now map[string]string) error {
	row, err := p.modelRow(now)
	switch {
	case err != nil:
		return err
	case row == nil:
		return c.DeleteModel(ctx, a, t.Name)
	}
	if _, err = c.PutModels(ctx, a, []policy.ModelRow{*row}); err != nil {
		return err
	}
	if release := p.old("load.release"); release != nil && *release != "" {
		_, err = c.AssignRelease(ctx, a, t, *release, 0)
	} else if load := p.old("load.load"); load != nil && *load != "" {
		_, err = c.AssignLoad(ctx, a, t, *load, 0)
	}
	return err
}

// changedSince is the conflict of a field that no longer has what an entry gave it;
// without has it is unset, and a nil was says that the entry unset it.
func changedSince(field, is string, has bool, was *string) error {
	now, then := "unset", "unset"
	if has {
		now = fmt.Sprintf("%.60q", shownField(field, is))
	}
	if was != nil {
		then = fmt.Sprintf("set to %.60q", shownField(field, *was))
	}
	return fmt.Errorf("%w: %s is %s now, and was %s", ErrConflict, field, now, then)
}

// current are the fields of what an entry is about, as they are now.
func (c *Controller) current(ctx context.Context, a Actor, e AuditEntry) (now map[string]string, err error) {
	err = c.view(ctx, a, func(tx Tx) error {
		t := targetOf(e.Target)
		if !undoable(e.Action) {
			return refused("%s cannot be undone; settings, assignments and changes of devices, profiles, sites, models "+
				"and the enterprise can, removals of devices, and from which versions a load is installed", e.Action)
		}
		switch e.Action {
		default:
			h, err := c.holder(ctx, tx, t)
			switch {
			case err != nil:
				return err
			case e.Action == "settings.change" && h.settings != nil:
				now = diff.Fields(struct {
					S policy.Values `json:"settings"`
				}{*h.settings})
			case e.Action == "fileset.assign" && h.sets != nil:
				now = diff.Fields(assignedSets{*h.sets})
			case e.Action == "device.update" && h.device != nil:
				now = diff.Fields(*h.device)
			default:
				now = diff.Fields(*h.load)
			}
			return nil
		case "device.delete": // it was there, and must not be by now
			d, there, err := lookup(ctx, tx.Devices(), t.Name)
			if there {
				now = diff.Fields(d)
			}
			return err
		case "profile.update":
			p, err := find(ctx, tx.Profiles(), "profile", t.Name)
			now = diff.Fields(p)
			return err
		case "site.update":
			s, err := siteNamed(ctx, tx, strings.TrimPrefix(e.Target, "site "))
			now = diff.Fields(s)
			return err
		case "model.put", "model.delete":
			m, _, err := lookup(ctx, tx.Models(), t.Name)
			now = diff.Fields(m)
			return err
		case "load.from":
			l, err := find(ctx, tx.Loads(), "load", strings.TrimPrefix(e.Target, "load "))
			now = diff.Fields(l)
			return err
		case "enterprise.update":
			e, _, err := lookup(ctx, tx.Enterprises(), Enterprise{}.Key())
			now = diff.Fields(e)
			return err
		}
	})
	return now, err
}

// Restore says how a device would be with the values from before some changes. An
// error matches ErrConflict if one of them was changed again since.
func (k *Batch) Restore(ctx context.Context, now Device, changes []FieldChange) (j Judged, err error) {
	is := diff.Fields(now)
	j.Device = now
	if j.Device.Settings = maps.Clone(now.Settings); j.Device.Settings == nil {
		j.Device.Settings = policy.Values{}
	}
	for _, f := range changes {
		if v, has := is[f.Field]; has != (f.New != nil) || has && v != *f.New {
			return j, changedSince(f.Field, v, has, f.New)
		}
		if err := j.Device.restore(f); err != nil {
			return j, err
		}
	}
	if err := k.checkRestored(ctx, j.Device, now); err != nil {
		return j, err
	}
	k.c.stamp(&j.Device.Meta)
	j.Changes = diff.Between(now, j.Device)
	return j, nil
}

// restore gives a field the value that it had.
func (d *Device) restore(f FieldChange) error {
	old := ""
	if f.Old != nil {
		old = *f.Old
	}
	if name, ok := strings.CutPrefix(f.Field, "settings."); ok {
		if f.Old == nil {
			delete(d.Settings, name)
		} else {
			d.Settings[name] = old
		}
		return nil
	}
	switch f.Field {
	case "description":
		d.Description = old
	case "model":
		d.Model = old
	case "profile":
		d.Profile = old
	case "site":
		d.Site = old
	case "load.load":
		d.Load.Load = old
	case "load.release":
		d.Load.Release = old
	case "load.previous":
		d.Load.Previous = old
	case "load.previous_release":
		d.Load.PreviousRelease = old
	case "load.has_previous":
		d.Load.HasPrevious = old == "true"
	default:
		return refused("field %s cannot be undone", f.Field)
	}
	return nil
}

// checkRestored refuses what is gone or does not fit any more.
func (k *Batch) checkRestored(ctx context.Context, d, now Device) error {
	if p, err := k.snap.profile(ctx, d.Profile); err != nil {
		return err
	} else if p == nil && d.Profile != "" {
		return notFound("profile", d.Profile)
	}
	if err := k.snap.checkSite(ctx, d.Site); err != nil {
		return err
	}
	if d.Load.ref() != now.Load.ref() {
		at := now.Load
		if err := k.snap.assign(ctx, &at, d.Load.ref()); err != nil {
			return err
		}
	}
	return k.snap.checkFit(ctx, d)
}

// CheckRemove refuses to remove a device that was changed since it had a version, or
// was heard of. The error matches ErrConflict.
func (k *Batch) CheckRemove(ctx context.Context, d Device, version int64) error {
	if d.Version != version {
		return fmt.Errorf("%w: it was changed since it was made, and stays", ErrConflict)
	}
	if _, heard, err := lookup(ctx, k.tx.States(), d.Name); err != nil {
		return err
	} else if heard {
		return fmt.Errorf("%w: it was heard of since it was made, and stays", ErrConflict)
	}
	return nil
}

// Remove removes a device, and all that belongs to it.
func (k *Batch) Remove(ctx context.Context, partOf string, d Device) error {
	if err := k.c.remove(ctx, k.tx, k.by, d); err != nil {
		return err
	}
	return k.tx.Audit().Append(ctx, k.entry(partOf, "device.delete", d.Name, diff.Between(d, nil)))
}

// Write writes devices and their entries in the audit log, parts of the one of that
// id. The versions of the devices are those written.
func (k *Batch) Write(ctx context.Context, partOf string, all []Judged) error {
	devices := make([]Device, len(all))
	entries := make([]AuditEntry, len(all))
	for i, j := range all {
		devices[i] = j.Device
		action := "device.update"
		if j.Created {
			action = "device.create"
		}
		entries[i] = k.entry(partOf, action, j.Device.Name, j.Changes)
	}
	if err := k.tx.Devices().PutAll(ctx, devices); err != nil {
		return err
	}
	for i := range all {
		all[i].Device.Meta = devices[i].Meta
	}
	return k.tx.Audit().AppendAll(ctx, entries)
}

func (k *Batch) entry(partOf, action, device string, changes []FieldChange) AuditEntry {
	e := k.c.entryOf(k.by, action, DeviceTarget(device).String())
	e.PartOf, e.Changes = partOf, changes
	return e
}

// Note writes an entry about a whole job and returns its id.
func (k *Batch) Note(ctx context.Context, action, target string) (string, error) {
	e := k.c.entryOf(k.by, action, cleanText(target, MaxReportText))
	return e.ID, k.tx.Audit().Append(ctx, e)
}
