package domain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// realmTx is a transaction as an actor sees it that is limited to sites.
type realmTx struct {
	Tx
	actor Actor
}

func (t *realmTx) realm() Realm { return t.actor.Realm }

// hides is the error of what is not there for the actor.
func hides(table, key string) error { return fmt.Errorf("%w: %s %q", ErrNotFound, table, key) }

// getEach is GetAll by Get, which knows the realm.
func getEach[T any](ctx context.Context, get func(context.Context, string) (T, error),
	keys []string) (map[string]T, error) {
	found := make(map[string]T, len(keys))
	for _, k := range keys {
		switch v, err := get(ctx, k); {
		case err == nil:
			found[k] = v
		case !errors.Is(err, ErrNotFound):
			return nil, err
		}
	}
	return found, nil
}

// putEach is PutAll by Put, which knows the realm.
func putEach[T any](ctx context.Context, put func(context.Context, *T) error, all []T) error {
	for i := range all {
		if err := put(ctx, &all[i]); err != nil {
			return err
		}
	}
	return nil
}

// ofDevice is a table whose rows are each of one device. Get finds and Put and
// Delete write only those of the realm; narrow narrows a filter to it.
type ofDevice[T, F any] struct {
	Table[T, F]
	t      *realmTx
	name   string
	device func(T) string
	narrow func(*F, Realm)
}

func (o ofDevice[T, F]) within(ctx context.Context, v T) error {
	in, err := o.t.realm().holds(ctx, o.t.Tx, o.device(v))
	if err == nil && !in {
		err = o.t.actor.Outside(1, 1)
	}
	return err
}

func (o ofDevice[T, F]) Get(ctx context.Context, key string) (T, error) {
	v, err := o.Table.Get(ctx, key)
	if err == nil {
		if err = o.within(ctx, v); errors.Is(err, ErrForbidden) {
			err = hides(o.name, key)
		}
	}
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

func (o ofDevice[T, F]) Put(ctx context.Context, v *T) error {
	if err := o.within(ctx, *v); err != nil {
		return err
	}
	return o.Table.Put(ctx, v)
}

func (o ofDevice[T, F]) GetAll(ctx context.Context, keys []string) (map[string]T, error) {
	return getEach(ctx, o.Get, keys)
}

func (o ofDevice[T, F]) PutAll(ctx context.Context, all []T) error { return putEach(ctx, o.Put, all) }

func (o ofDevice[T, F]) Delete(ctx context.Context, key string, version int64) error {
	if _, err := o.Get(ctx, key); err != nil {
		return err
	}
	return o.Table.Delete(ctx, key, version)
}

func (o ofDevice[T, F]) List(ctx context.Context, f F, p Page) (List[T], error) {
	o.narrow(&f, o.t.realm())
	return o.Table.List(ctx, f, p)
}

// realmDevices are the devices of the realm. One that is written must be of the
// realm before and after.
type realmDevices struct {
	ofDevice[Device, DeviceFilter]
}

func (t *realmTx) Devices() Table[Device, DeviceFilter] {
	return realmDevices{ofDevice[Device, DeviceFilter]{t.Tx.Devices(), t, "devices", Device.Key,
		func(f *DeviceFilter, r Realm) { f.Realm = r }}}
}

func (d realmDevices) Put(ctx context.Context, v *Device) error {
	if v.Version != 0 {
		if _, err := d.Get(ctx, v.Name); err != nil {
			return err
		}
	}
	in, err := d.t.realm().includes(ctx, d.t.Tx, *v)
	switch {
	case err != nil:
		return err
	case !in && v.Version == 0:
		return d.t.actor.beyond(fmt.Sprintf("%s needs a site: name one of them", v.Name))
	case !in:
		return d.t.actor.beyond(fmt.Sprintf("%s would leave them", v.Name))
	}
	err = d.Table.Put(ctx, v)
	if _, hidden := d.Get(ctx, v.Name); errors.Is(err, ErrExists) && errors.Is(hidden, ErrNotFound) {
		return d.t.actor.beyond(fmt.Sprintf("%s is a device already, which is not of them", v.Name))
	}
	return err
}

func (d realmDevices) PutAll(ctx context.Context, all []Device) error {
	return putEach(ctx, d.Put, all)
}

// realmStates are the states of the devices of the realm. The network that a
// device reports from may be that of a site outside, whose name is not told.
type realmStates struct {
	ofDevice[DeviceState, StateFilter]
}

func (t *realmTx) States() Table[DeviceState, StateFilter] {
	return realmStates{ofDevice[DeviceState, StateFilter]{t.Tx.States(), t, "states", DeviceState.Key,
		func(f *StateFilter, r Realm) { f.Realm = r }}}
}

func (s realmStates) told(v *DeviceState) {
	if !s.t.realm().Has(v.Site) {
		v.Site = ""
	}
}

func (s realmStates) Get(ctx context.Context, key string) (DeviceState, error) {
	v, err := s.ofDevice.Get(ctx, key)
	s.told(&v)
	return v, err
}

func (s realmStates) List(ctx context.Context, f StateFilter, p Page) (List[DeviceState], error) {
	l, err := s.ofDevice.List(ctx, f, p)
	for i := range l.Items {
		s.told(&l.Items[i])
	}
	return l, err
}

func (s realmStates) GetAll(ctx context.Context, keys []string) (map[string]DeviceState, error) {
	return getEach(ctx, s.Get, keys)
}

// Put refuses: what was read may lack the site.
func (s realmStates) Put(context.Context, *DeviceState) error {
	return s.t.actor.beyond("what devices are is for them to report")
}

func (s realmStates) PutAll(ctx context.Context, all []DeviceState) error {
	return putEach(ctx, s.Put, all)
}

func (t *realmTx) Verdicts() Table[Verdict, VerdictFilter] {
	return ofDevice[Verdict, VerdictFilter]{t.Tx.Verdicts(), t, "verdicts", func(v Verdict) string { return v.Device },
		func(f *VerdictFilter, r Realm) { f.Realm = r }}
}

// realmSites are the sites of the realm. Their networks say which devices belong
// to them, so they are not the actor's to change.
type realmSites struct {
	Table[Site, TextFilter]
	t *realmTx
}

func (t *realmTx) Sites() Table[Site, TextFilter] { return realmSites{t.Tx.Sites(), t} }

func (s realmSites) Get(ctx context.Context, key string) (Site, error) {
	if !s.t.realm().Has(key) {
		return Site{}, hides("sites", key)
	}
	return s.Table.Get(ctx, key)
}

func (s realmSites) Put(ctx context.Context, v *Site) error {
	if v.Version == 0 {
		return s.t.actor.beyond("a new site is beyond that")
	}
	old, err := s.Get(ctx, v.Name)
	if err != nil {
		return err
	}
	if !slices.Equal(old.Networks, v.Networks) {
		return s.t.actor.beyond("the networks of a site can take devices from others")
	}
	return s.Table.Put(ctx, v)
}

func (s realmSites) GetAll(ctx context.Context, keys []string) (map[string]Site, error) {
	return getEach(ctx, s.Get, keys)
}

func (s realmSites) PutAll(ctx context.Context, all []Site) error { return putEach(ctx, s.Put, all) }

func (s realmSites) Delete(ctx context.Context, key string, _ int64) error {
	if _, err := s.Get(ctx, key); err != nil {
		return err
	}
	return s.t.actor.beyond("to remove a site is beyond that")
}

func (s realmSites) List(ctx context.Context, f TextFilter, p Page) (List[Site], error) {
	return ListOnly(ctx, s.Table, f, p, func(v Site) (bool, error) { return s.t.realm().Has(v.Name), nil })
}

// forAll is a table of what holds for all sites: it is read, not written.
type forAll[T, F any] struct {
	Table[T, F]
	t    *realmTx
	what string
}

func (f forAll[T, F]) Put(context.Context, *T) error { return f.t.actor.beyond(f.what + " all") }

func (f forAll[T, F]) PutAll(ctx context.Context, all []T) error { return putEach(ctx, f.Put, all) }

func (f forAll[T, F]) Delete(context.Context, string, int64) error {
	return f.t.actor.beyond(f.what + " all")
}

func (t *realmTx) Enterprises() Table[Enterprise, None] {
	return forAll[Enterprise, None]{t.Tx.Enterprises(), t, "the enterprise holds for"}
}

func (t *realmTx) Models() Table[ModelEntry, None] {
	return forAll[ModelEntry, None]{t.Tx.Models(), t, "models are those of"}
}

func (t *realmTx) Loads() Table[Load, LoadFilter] {
	return forAll[Load, LoadFilter]{t.Tx.Loads(), t, "loads are for"}
}

func (t *realmTx) FileSets() Table[FileSet, LoadFilter] {
	return forAll[FileSet, LoadFilter]{t.Tx.FileSets(), t, "file sets are for"}
}

func (t *realmTx) Releases() Table[Release, TextFilter] {
	return forAll[Release, TextFilter]{t.Tx.Releases(), t, "releases are for"}
}

// realmProfiles are read only, too: any device may have them. Whoever would
// change one is told how many.
type realmProfiles struct {
	Table[Profile, TextFilter]
	t *realmTx
}

func (t *realmTx) Profiles() Table[Profile, TextFilter] { return realmProfiles{t.Tx.Profiles(), t} }

func (p realmProfiles) refuse(ctx context.Context, name string) error {
	all, err := p.t.Tx.Devices().List(ctx, DeviceFilter{Profile: name}, Page{Limit: 1})
	if err != nil {
		return err
	}
	own, err := p.t.Devices().List(ctx, DeviceFilter{Profile: name}, Page{Limit: 1})
	if err != nil {
		return err
	}
	return p.t.actor.beyond(fmt.Sprintf("a profile is for any: it is that of %s, %d of them of other sites, or of none",
		plural(all.Total, "device", "devices"), all.Total-own.Total))
}

func (p realmProfiles) Put(ctx context.Context, v *Profile) error { return p.refuse(ctx, v.Name) }

func (p realmProfiles) PutAll(ctx context.Context, all []Profile) error {
	return putEach(ctx, p.Put, all)
}

func (p realmProfiles) Delete(ctx context.Context, key string, _ int64) error {
	return p.refuse(ctx, key)
}

// realmRollouts are those that have devices of the realm, and the actor's own that
// have none yet. They are changed only if they have no others.
type realmRollouts struct {
	Table[Rollout, RolloutFilter]
	t *realmTx
}

func (t *realmTx) Rollouts() Table[Rollout, RolloutFilter] { return realmRollouts{t.Tx.Rollouts(), t} }

// share counts the devices of a rollout, and those of them that are outside.
func (t *realmTx) share(ctx context.Context, id string) (all, outside int, err error) {
	of := RolloutDeviceFilter{Rollout: id}
	every, err := t.Tx.RolloutDevices().List(ctx, of, Page{Limit: 1})
	if err != nil {
		return 0, 0, err
	}
	own, err := t.RolloutDevices().List(ctx, of, Page{Limit: 1})
	return every.Total, every.Total - own.Total, err
}

func (r realmRollouts) Get(ctx context.Context, key string) (v Rollout, err error) {
	if v, err = r.Table.Get(ctx, key); err != nil {
		return v, err
	}
	all, outside, err := r.t.share(ctx, key)
	own := all == 0 && r.t.actor.wrote(v.Record)
	if err == nil && all == outside && !own {
		err = hides("rollouts", key)
	}
	if err != nil {
		return Rollout{}, err
	}
	return v, nil
}

func (r realmRollouts) own(ctx context.Context, id string) error {
	all, outside, err := r.t.share(ctx, id)
	if err != nil {
		return err
	}
	return r.t.actor.Outside(outside, all)
}

func (r realmRollouts) Put(ctx context.Context, v *Rollout) error {
	if err := r.own(ctx, v.Key()); err != nil {
		return err
	}
	return r.Table.Put(ctx, v)
}

func (r realmRollouts) GetAll(ctx context.Context, keys []string) (map[string]Rollout, error) {
	return getEach(ctx, r.Get, keys)
}

func (r realmRollouts) PutAll(ctx context.Context, all []Rollout) error {
	return putEach(ctx, r.Put, all)
}

func (r realmRollouts) Delete(ctx context.Context, key string, version int64) error {
	if err := r.own(ctx, key); err != nil {
		return err
	}
	return r.Table.Delete(ctx, key, version)
}

func (r realmRollouts) List(ctx context.Context, f RolloutFilter, p Page) (List[Rollout], error) {
	f.Realm = f.Realm.and(r.t.realm())
	return r.Table.List(ctx, f, p)
}

// realmRolloutDevices are the devices of rollouts that are of the realm.
type realmRolloutDevices struct {
	ofDevice[RolloutDevice, RolloutDeviceFilter]
	of RolloutDevices
}

func (t *realmTx) RolloutDevices() RolloutDevices {
	return realmRolloutDevices{ofDevice[RolloutDevice, RolloutDeviceFilter]{t.Tx.RolloutDevices(), t, "rollout_devices",
		func(d RolloutDevice) string { return d.Row.Device },
		func(f *RolloutDeviceFilter, r Realm) { f.Realm = r }}, t.Tx.RolloutDevices()}
}

func (r realmRolloutDevices) Holders(ctx context.Context, devices []string) (map[string]Holder, error) {
	all, err := r.of.Holders(ctx, devices)
	for device := range all {
		if in, e := r.t.realm().holds(ctx, r.t.Tx, device); !in || e != nil {
			err = errors.Join(err, e)
			delete(all, device)
		}
	}
	return all, err
}

func (r realmRolloutDevices) Due(ctx context.Context, id string, now time.Time,
	limit int) (own []RolloutDevice, err error) {
	all, err := r.of.Due(ctx, id, now, limit)
	for _, d := range all {
		switch err := r.within(ctx, d); {
		case err == nil:
			own = append(own, d)
		case !errors.Is(err, ErrForbidden):
			return nil, err
		}
	}
	return own, err
}

func (r realmRolloutDevices) Drop(ctx context.Context, id string) error {
	all, outside, err := r.t.share(ctx, id)
	if err != nil {
		return err
	}
	if err := r.t.actor.Outside(outside, all); err != nil {
		return err
	}
	return r.of.Drop(ctx, id)
}

// realmHistory is that of the devices of the realm.
type realmHistory struct {
	Log[HistoryEntry, HistoryFilter]
	t *realmTx
}

func (t *realmTx) History() Log[HistoryEntry, HistoryFilter] { return realmHistory{t.Tx.History(), t} }

func (h realmHistory) List(ctx context.Context, f HistoryFilter, p Page) (List[HistoryEntry], error) {
	f.Realm = h.t.realm()
	return h.Log.List(ctx, f, p)
}

// Trim refuses: it removes entries of all devices.
func (h realmHistory) Trim(context.Context, time.Time) (int64, error) {
	return 0, h.t.actor.beyond("the history is that of all")
}

// TrimOf implements Log.
func (h realmHistory) TrimOf(ctx context.Context, subject string, keep int) (int64, error) {
	if err := h.t.actor.MayTouch(ctx, h.t, subject); err != nil {
		return 0, err
	}
	return h.Log.TrimOf(ctx, subject, keep)
}

// realmAudit is what was done to the sites of the realm and to their devices,
// and the orders that have such parts.
type realmAudit struct {
	Log[AuditEntry, AuditFilter]
	t *realmTx
}

func (t *realmTx) Audit() Log[AuditEntry, AuditFilter] { return realmAudit{t.Tx.Audit(), t} }

func (l realmAudit) List(ctx context.Context, f AuditFilter, p Page) (List[AuditEntry], error) {
	f.Realm = l.t.realm()
	return l.Log.List(ctx, f, p)
}

// Trim refuses, as TrimOf does: nobody who is limited takes entries from it.
func (l realmAudit) Trim(context.Context, time.Time) (int64, error) {
	return 0, l.t.actor.beyond("the audit log is that of all")
}

// TrimOf implements Log.
func (l realmAudit) TrimOf(ctx context.Context, _ string, _ int) (int64, error) {
	return l.Trim(ctx, time.Time{})
}

// made is a table of what people make: who is limited to sites sees and writes
// what he has made himself, which is about devices that he may touch.
type made[T keyed, F any] struct {
	Table[T, F]
	t    *realmTx
	name string
	by   func(ctx context.Context, v T) (maker, error)
}

func (m made[T, F]) own(ctx context.Context, v T) (bool, error) {
	by, err := m.by(ctx, v)
	return err == nil && m.t.actor.made(by), err
}

func (m made[T, F]) Get(ctx context.Context, key string) (none T, err error) {
	v, err := m.Table.Get(ctx, key)
	if err != nil {
		return none, err
	}
	if own, err := m.own(ctx, v); err != nil || !own {
		return none, cmp.Or(err, hides(m.name, key))
	}
	return v, nil
}

func (m made[T, F]) GetAll(ctx context.Context, keys []string) (map[string]T, error) {
	return getEach(ctx, m.Get, keys)
}

func (m made[T, F]) Put(ctx context.Context, v *T) error {
	if own, err := m.own(ctx, *v); err != nil || !own {
		return cmp.Or(err, m.t.actor.beyond("this is somebody else's"))
	}
	return m.Table.Put(ctx, v)
}

func (m made[T, F]) PutAll(ctx context.Context, all []T) error { return putEach(ctx, m.Put, all) }

func (m made[T, F]) Delete(ctx context.Context, key string, version int64) error {
	if _, err := m.Get(ctx, key); err != nil {
		return err
	}
	return m.Table.Delete(ctx, key, version)
}

func (m made[T, F]) List(ctx context.Context, f F, p Page) (List[T], error) {
	return ListOnly(ctx, m.Table, f, p, func(v T) (bool, error) { return m.own(ctx, v) })
}

// part is a table of the parts of what people make. A filter that names the whole
// finds them as the store does.
type part[T keyed, F any] struct {
	made[T, F]
	// of is any part of what a filter names; ok is false if it names nothing.
	of func(F) (v T, ok bool)
}

func (d part[T, F]) List(ctx context.Context, f F, p Page) (List[T], error) {
	v, ok := d.of(f)
	if !ok {
		return d.made.List(ctx, f, p)
	}
	if own, err := d.own(ctx, v); err != nil || !own {
		return List[T]{Items: []T{}}, err
	}
	return d.Table.List(ctx, f, p)
}

// realmOrders are those that the actor has sent. They are changed only if they have
// no devices outside.
type realmOrders struct {
	made[SentOrder, SentOrderFilter]
}

func (t *realmTx) SentOrders() Table[SentOrder, SentOrderFilter] {
	return realmOrders{made[SentOrder, SentOrderFilter]{t.Tx.SentOrders(), t, "sent_orders",
		func(_ context.Context, o SentOrder) (maker, error) { return maker{o.By, o.Account}, nil }}}
}

func (o realmOrders) Put(ctx context.Context, v *SentOrder) error {
	of := OrderDeviceFilter{Order: v.ID}
	all, err := o.t.Tx.OrderDevices().List(ctx, of, Page{Limit: 1})
	if err != nil {
		return err
	}
	own, err := o.t.OrderDevices().List(ctx, of, Page{Limit: 1})
	if err != nil {
		return err
	}
	if err := o.t.actor.Outside(all.Total-own.Total, all.Total); err != nil {
		return err
	}
	return o.made.Put(ctx, v)
}

func (o realmOrders) PutAll(ctx context.Context, all []SentOrder) error {
	return putEach(ctx, o.Put, all)
}

func (t *realmTx) OrderDevices() Table[OrderDevice, OrderDeviceFilter] {
	return ofDevice[OrderDevice, OrderDeviceFilter]{part[OrderDevice, OrderDeviceFilter]{
		made[OrderDevice, OrderDeviceFilter]{t.Tx.OrderDevices(), t, "order_devices",
			func(ctx context.Context, d OrderDevice) (maker, error) {
				o, _, err := lookup(ctx, t.Tx.SentOrders(), d.Order)
				return maker{o.By, o.Account}, err
			}},
		func(f OrderDeviceFilter) (OrderDevice, bool) { return OrderDevice{Order: f.Order}, f.Order != "" }},
		t, "order_devices", func(d OrderDevice) string { return d.Device },
		func(f *OrderDeviceFilter, r Realm) { f.Realm = r }}
}

func (t *realmTx) Jobs() Table[Job, JobFilter] {
	return made[Job, JobFilter]{t.Tx.Jobs(), t, "jobs",
		func(_ context.Context, j Job) (maker, error) { return maker{j.By.Name, j.By.Account}, nil }}
}

func (t *realmTx) JobSteps() Table[JobStep, JobStepFilter] {
	return part[JobStep, JobStepFilter]{made[JobStep, JobStepFilter]{t.Tx.JobSteps(), t, "job_steps",
		func(ctx context.Context, s JobStep) (maker, error) {
			j, _, err := lookup(ctx, t.Tx.Jobs(), s.Job)
			return maker{j.By.Name, j.By.Account}, err
		}}, func(f JobStepFilter) (JobStep, bool) { return JobStep{Job: f.Job}, f.Job != "" }}
}

func (t *realmTx) Templates() Table[Template, TextFilter] {
	return forAll[Template, TextFilter]{t.Tx.Templates(), t, "templates are for"}
}
