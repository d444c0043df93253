package domain

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/saving"
	"github.com/peerload/peerload/internal/controller/site"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// Limits of what a device says. What exceeds them is cut off, not refused:
// reports of a device in trouble must arrive. Only what no device can mean is
// refused.
const (
	MaxReportFiles    = 128 // final reports in one device report, components counted
	MaxReportFailures = 64  // failures in one device report
	MaxStateFiles     = 128 // last reports of files kept with the state
	MaxStateFailures  = 16  // last failures kept with the state
	MaxReportText     = 300 // bytes of each text
	MaxReportSets     = 64  // file sets in one device report
	MaxReportPeers    = 8   // children and fallbacks of one final report
	MaxOutputLines    = 5   // lines of what a hook printed
	// MaxReportBytes bounds a number of bytes: larger ones cannot be true.
	MaxReportBytes = 1 << 50
)

// Report takes a device's report about itself. What the device should do is in
// its provisioning file and only there, not in the answer to a report. A device
// reports only about itself, and nobody else reports for it.
func (c *Controller) Report(ctx context.Context, a Actor, r report.Device) error {
	switch {
	case a.Kind == ActorNobody:
		return ErrUnauthenticated
	case a.Kind != ActorDevice || a.Role != RoleDevice:
		return fmt.Errorf("%w: only a device reports, and only for itself", ErrForbidden)
	case r.Schema < 1 || r.Schema > report.Schema:
		return invalid("report of schema %d: this controller knows %d", r.Schema, report.Schema)
	case !possible(r.Time):
		return invalid("time %.40q is no time of a device's clock: RFC 3339, from 1970 on", r.Time)
	case r.Percent < 0 || r.Percent > 100:
		return invalid("%d per cent: it is 0 to 100", r.Percent)
	case r.State == "" || len(r.State) > MaxNameLen || strings.Trim(r.State, "abcdefghijklmnopqrstuvwxyz-") != "":
		// The device decides which states there are: a newer program may know
		// more than this one.
		return invalid("%.40q is no state", r.State)
	}
	ended := clean(&r)
	refused, err := c.groups.reports.Ask(ctx, told{a.Name, a.From, a.Carried, r, ended})
	return cmp.Or(err, refused)
}

// possible reports whether a device's clock can show that time; "" says that it
// has none. A clock that was never set shows 1970; a year before that is a zero
// value, not a time.
func possible(text string) bool {
	t, err := time.Parse(time.RFC3339, text)
	return text == "" || err == nil && t.Year() >= 1970
}

// told is a report of a device, and what has ended there.
type told struct {
	device, from string
	// carried is set if from is the address of who has handed it over: when the device
	// has sealed it.
	carried *time.Time
	report  report.Device
	ended   []report.Final
}

// take writes reports into the states and histories of devices, and what ended into
// the savings of their sites. No two are of one device. It returns an error for each.
func (c *Controller) take(ctx context.Context, tx Tx, all []told) (errs []error, err error) {
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.device
	}
	devices, err := tx.Devices().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	known, err := tx.States().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	errs = make([]error, len(all))
	var where *site.Places // once somebody needs it
	var states []DeviceState
	var failed []FailedDevice
	var entries []HistoryEntry
	for i, t := range all {
		d, ok := devices[t.device]
		if !ok {
			errs[i] = notFound("device", t.device)
			continue
		}
		if err := c.learn(ctx, tx, d, t.report); err != nil {
			return nil, err
		}
		s, heard := known[t.device]
		if t.carried != nil && !t.carried.After(s.Reported) {
			errs[i] = fmt.Errorf("%w: %s has reported by itself since %s", ErrConflict, t.device, t.carried.Format(time.RFC3339))
			continue // what the device has said by itself meanwhile is newer
		}
		if !heard || s.From != t.from { // else locateAll has seen to it
			if where == nil {
				if where, err = c.places(ctx, tx); err != nil {
					return nil, err
				}
			}
			at := where.At(t.from)
			if t.carried != nil && heard && s.From != "" && s.Site == at {
				t.from = s.From // its own, as far as is known: it has not gone to another site
			}
			s.Site = at
		}
		if err := c.tally(ctx, tx, siteOf(d, s), t.device, t.ended); err != nil {
			return nil, err
		}
		entries = append(entries, c.write(&s, heard, t)...)
		if states = append(states, s); s.Failed() && (len(t.report.Failures) > 0 || s.Since.Equal(s.Reported)) {
			failed = append(failed, FailedDevice{d, s})
		}
	}
	if err := tx.States().PutAll(ctx, states); err != nil {
		return nil, err
	}
	if err := c.remember(ctx, tx, entries); err != nil {
		return nil, err
	}
	return errs, c.tell(ctx, tx, states, failed)
}

// learn notes the model of a device that registered without a word on it.
func (c *Controller) learn(ctx context.Context, tx Tx, d Device, r report.Device) error {
	if d.Model != "" || r.Model == "" {
		return nil
	}
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	d.Model = snap.table.Lookup(r.Model).Name
	c.stamp(&d.Meta)
	return tx.Devices().Put(ctx, &d)
}

// remember writes entries of the history. To find the oldest that stays of a device is
// to walk over all that stay, so only some entries have it done: a history is a few per
// cent longer than its bound for a while.
func (c *Controller) remember(ctx context.Context, tx Tx, entries []HistoryEntry) error {
	if err := tx.History().AppendAll(ctx, entries); err != nil {
		return err
	}
	trimmed := ""
	for _, e := range entries { // those of a device stand together
		if e.Device == trimmed || !c.trims(e.ID) {
			continue
		}
		trimmed = e.Device
		if _, err := tx.History().TrimOf(ctx, e.Device, c.cfg.HistoryPerDevice); err != nil {
			return err
		}
	}
	return nil
}

// trims reports whether an entry is one of those that have the history of its device
// trimmed: one of as many as are a twentieth of the bound.
func (c *Controller) trims(id string) bool {
	h := fnv.New32a()
	h.Write([]byte(id)) // it never fails
	return h.Sum32()%uint32(max(c.cfg.HistoryPerDevice/20, 1)) == 0
}

// FailedDevice is a device that tells of a failure, and its state with that.
type FailedDevice struct {
	Device Device
	State  DeviceState
}

// tell tells whoever is to be told of devices that have reported.
func (c *Controller) tell(ctx context.Context, tx Tx, states []DeviceState, failed []FailedDevice) error {
	if c.cfg.Failed != nil && len(failed) > 0 {
		if err := c.cfg.Failed(ctx, tx, failed); err != nil {
			return err
		}
	}
	if c.cfg.Reported == nil || len(states) == 0 {
		return nil
	}
	names := make([]string, len(states))
	for i, s := range states {
		names[i] = s.Device
	}
	return c.cfg.Reported(ctx, tx, names)
}

// write writes a report into a state, and returns what it adds to the history.
func (c *Controller) write(s *DeviceState, heard bool, t told) []HistoryEntry {
	now, r := c.now(), t.report
	if !heard || s.Reported.IsZero() {
		s.Device, s.Since, s.Last.State = t.device, now, StateUnknown
	}
	entries := c.story(*s, t.from, r)
	for i := range entries {
		entries[i].ID, entries[i].At, entries[i].Device = c.id(), now, t.device
	}
	if s.Last.State != r.State {
		s.Since = now
	}
	for _, f := range t.ended {
		s.Traffic.add(trafficOf(f))
	}
	for _, f := range slices.Backward(r.Files) {
		s.Files = slices.DeleteFunc(s.Files, func(o report.Final) bool { return o.File == f.File })
		s.Files = slices.Insert(s.Files, 0, f)
	}
	for _, f := range r.Failures {
		s.Failures = slices.Insert(s.Failures, 0, FailureAt{now, f})
	}
	s.Files = s.Files[:min(len(s.Files), MaxStateFiles)]
	s.Failures = s.Failures[:min(len(s.Failures), MaxStateFailures)]
	r.Files, r.Failures = nil, nil
	s.Last, s.From, s.LastSeen, s.Reported = r, t.from, now, now
	c.stamp(&s.Meta)
	return entries
}

// story returns the entries of the history that a report makes: what has
// changed.
func (c *Controller) story(s DeviceState, from string, r report.Device) []HistoryEntry {
	var all []HistoryEntry
	known := !s.Reported.IsZero()
	if known && s.Last.Boot != r.Boot && r.Boot != "" {
		all = append(all, HistoryEntry{Kind: HistoryRestart, Old: s.Last.Boot, New: r.Boot})
	}
	if known && s.From != from {
		all = append(all, HistoryEntry{Kind: HistoryAddress, Old: s.From, New: from})
	}
	if s.Last.State != r.State {
		all = append(all, HistoryEntry{Kind: HistoryState, Old: s.Last.State, New: r.State, Load: r.Wanted, Reason: r.Reason,
			Message: r.Message})
	}
	if s.Last.Active != r.Active {
		all = append(all, HistoryEntry{Kind: HistoryLoad, Old: s.Last.Active, New: r.Active, Load: r.Active})
	}
	load := r.Wanted
	for _, f := range r.Files {
		if f.Load != "" {
			load = f.Load // of the components that follow, too
		}
		all = append(all, HistoryEntry{Kind: HistoryFile, Load: load, File: f.File, New: f.Source, Final: &f})
	}
	all = append(all, setStory(s.Last.FileSets, r.FileSets)...)
	for _, f := range r.Failures {
		all = append(all, HistoryEntry{Kind: HistoryFailure, Load: f.Load, File: f.File, Reason: f.Reason,
			Message: f.Message})
	}
	return all
}

// setStory returns the entries of file sets that have come and gone. Why one has not
// come is a failure.
func setStory(were, are []report.FileSet) (all []HistoryEntry) {
	by := map[string][2]report.FileSet{}
	for i, sets := range [][]report.FileSet{were, are} {
		for _, f := range sets {
			both := by[f.Directory]
			both[i] = f
			by[f.Directory] = both
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(by)) {
		was, is := by[dir][0], by[dir][1]
		if was.Name != is.Name || was.Version != is.Version {
			all = append(all, HistoryEntry{Kind: HistoryFileSet, Old: strings.TrimSpace(was.Name + " " + was.Version),
				New: strings.TrimSpace(is.Name + " " + is.Version), Load: is.Name, File: dir})
		}
	}
	return all
}

// trafficOf are the bytes of a final report.
func trafficOf(f report.Final) Traffic {
	return Traffic{f.BytesFromOrigin, f.BytesFromPeers, f.BytesFromCache, f.BytesToPeers}
}

// Saving is what the devices of one site fetched of one load in one month.
type Saving struct {
	Meta
	saving.Record
}

// Key is that of the month, load and site.
func (s Saving) Key() string { return fmt.Sprintf("%s/%q/%s", s.Month, s.Load, s.Site) }

// tally adds what ended on a device to the savings of its site.
func (c *Controller) tally(ctx context.Context, tx Tx, site, device string, ended []report.Final) error {
	for _, f := range ended {
		load, err := loadOf(ctx, tx, f)
		if err != nil {
			return err
		}
		s := Saving{Record: saving.Record{Group: saving.Group{Month: c.now().Format(saving.MonthLayout), Site: site,
			Load: load}}}
		if old, ok, err := lookup(ctx, tx.Savings(), s.Key()); err != nil {
			return err
		} else if ok {
			s = old
		}
		s.Add(c.now(), device, f)
		c.stamp(&s.Meta)
		if err := tx.Savings().Put(ctx, &s); err != nil {
			return err
		}
	}
	return nil
}

// loadOf is the load or file set of a final report, "" for one that is not known:
// what devices invent must not make rows. A device of an older version names the
// file that it asked for first.
func loadOf(ctx context.Context, tx Tx, f report.Final) (string, error) {
	name := f.Load
	if name == "" {
		name = strings.TrimSuffix(strings.TrimSuffix(f.File, ".loads"), ".load")
	}
	if _, ok, err := lookup(ctx, tx.Loads(), name); err != nil || ok {
		return name, err
	}
	_, ok, err := lookup(ctx, tx.FileSets(), name)
	if !ok {
		name = ""
	}
	return name, err
}

// SavingFilter finds savings. Fields that are "" mean all.
type SavingFilter struct {
	Site, Load string
	// Since and Until are months.
	Since, Until string
	Realm        Realm
}

// realmSavings are those of the sites of the realm; reports alone write them.
type realmSavings struct {
	forAll[Saving, SavingFilter]
}

func (t *realmTx) Savings() Table[Saving, SavingFilter] {
	return realmSavings{forAll[Saving, SavingFilter]{t.Tx.Savings(), t, "what was saved is counted for"}}
}

func (s realmSavings) Get(ctx context.Context, key string) (Saving, error) {
	v, err := s.Table.Get(ctx, key)
	if err == nil && !s.t.realm().Has(v.Site) {
		return Saving{}, hides("savings", key)
	}
	return v, err
}

func (s realmSavings) GetAll(ctx context.Context, keys []string) (map[string]Saving, error) {
	return getEach(ctx, s.Get, keys)
}

func (s realmSavings) List(ctx context.Context, f SavingFilter, p Page) (List[Saving], error) {
	f.Realm = s.t.realm()
	return s.Table.List(ctx, f, p)
}

// Failed reports whether something did not go well that the device still tells of:
// its upgrade, or a file set.
func (s DeviceState) Failed() bool {
	return s.Last.State == report.StateFailed || s.Last.State == report.StateRolledBack ||
		slices.ContainsFunc(s.Last.FileSets, func(f report.FileSet) bool { return f.State == report.StateFailed })
}

// add adds, and saturates on overflow.
func (t *Traffic) add(o Traffic) {
	for _, n := range []struct {
		to *int64
		by int64
	}{{&t.FromOrigin, o.FromOrigin}, {&t.FromPeers, o.FromPeers}, {&t.FromCache, o.FromCache}, {&t.ToPeers, o.ToPeers}} {
		*n.to += min(n.by, math.MaxInt64-*n.to)
	}
}

// clean bounds all that a device says, puts components beside their load, and
// returns what ended without them.
func clean(r *report.Device) (ended []report.Final) {
	for _, t := range []*string{&r.Time, &r.Program, &r.Address, &r.Active, &r.Inactive, &r.Wanted, &r.Sharing,
		&r.SharingFrom, &r.Role, &r.Root, &r.Parent, &r.Reason, &r.Message, &r.Boot} {
		*t = cleanText(*t, MaxReportText)
	}
	r.Model = cleanText(r.Model, policy.MaxModelText)
	r.FileSets = slices.Clone(r.FileSets[:min(len(r.FileSets), MaxReportSets)])
	for i := range r.FileSets {
		s := &r.FileSets[i]
		for _, t := range []*string{&s.Directory, &s.Name, &s.Version, &s.Wanted, &s.State, &s.Reason, &s.Message} {
			*t = cleanText(*t, MaxReportText)
		}
	}
	r.Children = cleanTexts(r.Children)
	if u := r.Upgrade; u != nil {
		r.Upgrade = &report.Upgrade{Load: cleanText(u.Load, MaxReportText), Rollout: cleanText(u.Rollout, MaxReportText),
			Try: max(u.Try, 0)}
	}
	var files []report.Final
	for _, f := range r.Files[:min(len(r.Files), MaxReportFiles)] {
		parts := f.Components
		f = cleanFinal(f)
		ended, files = append(ended, f), append(files, f)
		for _, p := range parts[:min(len(parts), MaxReportFiles)] {
			files = append(files, cleanFinal(p))
		}
	}
	r.Files = files[:min(len(files), MaxReportFiles)]
	r.Failures = slices.Clone(r.Failures[:min(len(r.Failures), MaxReportFailures)])
	for i := range r.Failures {
		f := &r.Failures[i]
		for _, t := range []*string{&f.Load, &f.File, &f.Reason, &f.Message, &f.Phase} {
			*t = cleanText(*t, MaxReportText)
		}
		f.Output = cleanLines(f.Output)
	}
	return ended
}

// cleanLines bounds each line of a text of several.
func cleanLines(text string) string {
	var lines []string
	for line := range strings.Lines(text[:min(len(text), MaxOutputLines*MaxReportText)]) {
		if line = cleanText(strings.TrimSpace(line), MaxReportText); line != "" && len(lines) < MaxOutputLines {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func cleanTexts(all []string) []string {
	all = slices.Clone(all[:min(len(all), MaxReportPeers)])
	for i := range all {
		all[i] = cleanText(all[i], MaxReportText)
	}
	return all
}

// cleanFinal bounds a final report and leaves its components out.
func cleanFinal(f report.Final) report.Final {
	for _, t := range []*string{&f.File, &f.URL, &f.SHA256, &f.Path, &f.Source, &f.Role, &f.Root, &f.Parent, &f.Load,
		&f.Reason} {
		*t = cleanText(*t, MaxReportText)
	}
	for _, n := range []*int64{&f.Size, &f.BytesFromOrigin, &f.BytesFromPeers, &f.BytesFromCache, &f.BytesToPeers} {
		*n = min(max(*n, 0), MaxReportBytes)
	}
	f.Children = cleanTexts(f.Children)
	f.Fallbacks = slices.Clone(f.Fallbacks[:min(len(f.Fallbacks), MaxReportPeers)])
	for i := range f.Fallbacks {
		f.Fallbacks[i].From = cleanText(f.Fallbacks[i].From, MaxReportText)
		f.Fallbacks[i].Reason = cleanText(f.Fallbacks[i].Reason, MaxReportText)
	}
	f.Components = nil
	return f
}

// ask is that somebody fetched a device's provisioning file.
type ask struct {
	at   time.Time
	from string
}

// asks are those that are not in the store yet.
type asks struct {
	sync.Mutex
	by map[string]ask
}

const (
	// maxAsks bounds the devices that are remembered until RecordAsked; what is
	// beyond it is forgotten.
	maxAsks = 10_000
	// asksAtOnce bounds a transaction of RecordAsked: others wait for it.
	asksAtOnce = 500
)

// Asked notes that somebody has fetched a device's provisioning file. Anybody may,
// so it is no sign of life. Nothing is written: a device must get its file on a
// full disk, and from a locked database, too.
func (c *Controller) Asked(device, from string) {
	name, err := DeviceName(device)
	if err != nil {
		return
	}
	c.asks.Lock()
	defer c.asks.Unlock()
	if _, ok := c.asks.by[name]; !ok && len(c.asks.by) >= maxAsks {
		return
	}
	if c.asks.by == nil {
		c.asks.by = make(map[string]ask)
	}
	c.asks.by[name] = ask{c.now(), from}
}

// RecordAsked writes what Asked has noted, for people: real phones do nothing but
// fetch their file. It is accurate to the minute; unknown devices are left out.
// After an error the rest is forgotten. The server calls it regularly.
func (c *Controller) RecordAsked(ctx context.Context) error {
	c.asks.Lock()
	by := c.asks.by
	c.asks.by = nil
	c.asks.Unlock()
	for names := range slices.Chunk(slices.Sorted(maps.Keys(by)), asksAtOnce) {
		err := c.store.Update(ctx, func(tx Tx) error {
			for _, name := range names {
				if err := c.recordAsk(ctx, tx, name, by[name]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) recordAsk(ctx context.Context, tx Tx, name string, a ask) error {
	s, ok, err := lookup(ctx, tx.States(), name)
	if err != nil || ok && a.at.Sub(s.Asked) < touchEvery {
		return err
	}
	if _, known, err := lookup(ctx, tx.Devices(), name); err != nil || !known {
		return err
	}
	if !ok {
		s = DeviceState{Device: name, Since: a.at, Last: report.Device{State: StateUnknown}}
	}
	s.Asked, s.AskedFrom = a.at, a.from
	c.stamp(&s.Meta)
	return tx.States().Put(ctx, &s)
}

// History returns what happened to devices, the latest first. A device may ask
// for its own.
func (c *Controller) History(ctx context.Context, a Actor, f HistoryFilter, p Page) (l List[HistoryEntry], err error) {
	if f.Device != "" {
		if f.Device, err = DeviceName(f.Device); err != nil {
			return l, err
		}
	}
	if err := a.mayOf(mayRead, f.Device); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		if err := CheckSite(ctx, tx, f.Site); err != nil {
			return err
		}
		l, err = tx.History().List(ctx, f, p)
		return err
	})
	return l, err
}
