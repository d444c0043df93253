package domain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/stepping"
	"github.com/peerload/peerload/internal/policy"
)

// snapshot is one transaction's view of everything that determines what a
// device should do.
type snapshot struct {
	tx         Tx
	enterprise Enterprise
	table      *policy.Table
	models     map[string]ModelEntry // by the model's name
	profiles   map[string]*Profile   // nil: there is none
	loads      map[string]*Load
	releases   map[string]*Release
	sets       map[string]*FileSet
	sites      map[string]*Site
	// names of all things of a kind, once they were asked for.
	names  map[string][]string
	stones *stepping.Stones // nil until somebody asks
	// judged are all verdicts that matter, by their keys; nil until somebody asks for many.
	judged map[string]Verdict
}

func (c *Controller) snapshot(ctx context.Context, tx Tx) (*snapshot, error) {
	snap := &snapshot{tx: tx, models: map[string]ModelEntry{}, profiles: map[string]*Profile{}, loads: map[string]*Load{},
		releases: map[string]*Release{}, sets: map[string]*FileSet{}, sites: map[string]*Site{}, names: map[string][]string{}}
	var err error
	if snap.enterprise, _, err = lookup(ctx, tx.Enterprises(), Enterprise{}.Key()); err != nil {
		return nil, err
	}
	entries, err := Collect(ctx, tx.Models(), None{})
	if err != nil {
		return nil, err
	}
	var rows []policy.Model
	for _, e := range entries {
		snap.models[e.Name] = e
		if e.Row == nil {
			continue
		}
		m, err := e.Row.Row()
		if err != nil {
			return nil, fmt.Errorf("the stored model %s: %w", e.Name, err)
		}
		rows = append(rows, m)
	}
	if snap.table, err = c.cfg.Table.Extend(rows); err != nil {
		return nil, fmt.Errorf("the stored models do not extend the table: %w", err)
	}
	return snap, nil
}

// profile returns a profile, nil if name is "" or there is none of that name.
func (snap *snapshot) profile(ctx context.Context, name string) (*Profile, error) {
	return once(ctx, snap.profiles, snap.tx.Profiles(), name)
}

// load returns a load, nil if name is "" or there is none of that name.
func (snap *snapshot) load(ctx context.Context, name string) (*Load, error) {
	return once(ctx, snap.loads, snap.tx.Loads(), name)
}

// release returns a release, nil if name is "" or there is none of that name.
func (snap *snapshot) release(ctx context.Context, name string) (*Release, error) {
	return once(ctx, snap.releases, snap.tx.Releases(), name)
}

// verdict is what was found of a load on a device; false for nothing.
func (snap *snapshot) verdict(ctx context.Context, device, load string) (Verdict, bool, error) {
	key := pair(device, load)
	if snap.judged != nil || key == "" {
		v, ok := snap.judged[key]
		return v, ok, nil
	}
	return lookup(ctx, snap.tx.Verdicts(), key)
}

// readVerdicts reads those that match, for whoever asks about many devices and no other.
func (snap *snapshot) readVerdicts(ctx context.Context, f VerdictFilter) error {
	all, err := Collect(ctx, snap.tx.Verdicts(), f)
	snap.judged = make(map[string]Verdict, len(all))
	for _, v := range all {
		snap.judged[v.Key()] = v
	}
	return err
}

// checkSite is checkSite, which looks each site up once.
func (snap *snapshot) checkSite(ctx context.Context, name string) error {
	return named(ctx, snap, snap.sites, snap.tx.Sites(), "site", name)
}

// named refuses a name that nothing of its kind has. "" is none.
func named[T interface{ Key() string }, F any](ctx context.Context, snap *snapshot, seen map[string]*T, t Table[T, F],
	what, name string) error {
	v, err := once(ctx, seen, t, name)
	if err != nil || v != nil || name == "" {
		return err
	}
	return missing(ctx, snap, t, what, name)
}

// ReadSites reads sites that rows name, with one statement for many of them. Those that
// are not there, or not for who asks, are looked up again, which says why.
func (k *Batch) ReadSites(ctx context.Context, names []string) error {
	snap := k.snap
	names = slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(names))), func(name string) bool {
		_, seen := snap.sites[name]
		return seen || name == ""
	})
	if len(names) == 0 {
		return nil
	}
	found, err := snap.tx.Sites().GetAll(ctx, names)
	for name, s := range found {
		snap.sites[name] = &s
	}
	return err
}

// missing is the error of a name that nothing of its kind has. It says which was
// probably meant.
func missing[T interface{ Key() string }, F any](ctx context.Context, snap *snapshot, t Table[T, F],
	what, name string) error {
	names, ok := snap.names[what]
	if !ok {
		var f F
		all, err := Collect(ctx, t, f)
		if err != nil {
			return err
		}
		for _, v := range all {
			names = append(names, v.Key())
		}
		snap.names[what] = names
	}
	return meant(notFound(what, cleanText(name, MaxNameLen)), name, names)
}

// meant adds to an error which name was probably meant.
func meant(err error, name string, all []string) error {
	if near := choice.Nearest(name, all); len(near) > 0 {
		return fmt.Errorf("%w; did you mean %s?", err, choice.List(near[:min(len(near), 5)]))
	}
	return err
}

// once looks a thing up in the store the first time that it is asked for; nil
// says that there is none.
func once[T, F any](ctx context.Context, seen map[string]*T, t Table[T, F], name string) (*T, error) {
	if v, ok := seen[name]; ok || name == "" {
		return v, nil
	}
	v, ok, err := lookup(ctx, t, name)
	if err != nil {
		return nil, err
	}
	seen[name] = nil
	if ok {
		seen[name] = &v
	}
	return seen[name], nil
}

// LoadAt is a load and the level that assigns it.
type LoadAt struct {
	Level policy.Level `json:"level"`
	Load  string       `json:"load"`
	// Release that the load is of, "" if the load was assigned by its own name.
	Release string `json:"release,omitempty"`
	// Skipped is why the load is not used, "" if it is.
	Skipped string `json:"skipped,omitempty"`
}

// LoadAnswer is the load that a device should run, and why.
type LoadAnswer struct {
	// Load is "" if no level assigns one that fits: the device keeps what it has.
	Load string `json:"load"`
	// Level that assigns it; LevelDefault if none does.
	Level policy.Level `json:"level"`
	// Release that it is of, "" if it was assigned by its own name.
	Release string `json:"release,omitempty"`
	// Others are what the other levels say, the strongest first.
	Others []LoadAt `json:"others"`
	// Via is the load that the device is handed first, because Load may not be
	// installed from what it runs; "" if it is handed Load.
	Via string `json:"via,omitempty"`
	// Held is why the device is handed no load for now, "" if it is; stuck says that
	// this will not change by itself.
	Held  string `json:"held,omitempty"`
	stuck bool
	bad   bool // the load was found not to work on the device
	// Warning is an objection to the load, "" if there is none.
	Warning string `json:"warning,omitempty"`
}

// Handed is the load that the device is told to run now, "" for none: it keeps what
// it has.
func (a LoadAnswer) Handed() string {
	switch {
	case a.Held != "":
		return ""
	case a.Via != "":
		return a.Via
	}
	return a.Load
}

// loadFor answers which load a device should run: its own, else its profile's,
// else its model's, else the enterprise's. A model's wins over the
// enterprise's, because hardly any load is for all models. A load that does not
// fit is refused when it is assigned; one that has stopped fitting since is
// skipped, with the reason.
func (snap *snapshot) loadFor(ctx context.Context, d Device) (LoadAnswer, error) {
	said, err := snap.assigned(ctx, d)
	if err != nil {
		return LoadAnswer{}, err
	}
	a := LoadAnswer{Others: []LoadAt{}}
	for _, s := range said {
		l, err := snap.load(ctx, s.Load)
		if err != nil {
			return LoadAnswer{}, err
		}
		if s.Skipped = snap.misfit(l, d.Model); s.Load == "" {
			s.Skipped = fmt.Sprintf("the release has no load for model %s", d.Model)
		}
		if s.Skipped == "" && a.Load == "" {
			a.Load, a.Level, a.Release, a.Warning = s.Load, s.Level, s.Release, warning(l)
			continue
		}
		a.Others = append(a.Others, s)
	}
	return a, nil
}

// assigned lists what the levels assign, the strongest first.
func (snap *snapshot) assigned(ctx context.Context, d Device) ([]LoadAt, error) {
	p, err := snap.profile(ctx, d.Profile)
	if err != nil {
		return nil, err
	}
	var said []LoadAt
	for _, at := range []struct {
		level policy.Level
		ref   ref
	}{{policy.LevelDevice, d.Load.ref()}, {policy.LevelProfile, p.assigned()},
		{policy.LevelModel, snap.modelRef(snap.table.Lookup(d.Model))},
		{policy.LevelEnterprise, snap.enterprise.Load.ref()}} {
		if at.ref == (ref{}) {
			continue
		}
		load, err := snap.resolve(ctx, at.ref, d.Model)
		if err != nil {
			return nil, err
		}
		said = append(said, LoadAt{Level: at.level, Load: load, Release: at.ref.release})
	}
	return said, nil
}

// assigned is what a profile assigns; nil assigns nothing.
func (p *Profile) assigned() ref {
	if p == nil {
		return ref{}
	}
	return p.Load.ref()
}

// resolve returns the load that is meant for a model: the one that is named, or
// that of the release; "" if the release has none.
func (snap *snapshot) resolve(ctx context.Context, r ref, model string) (string, error) {
	if r.release == "" {
		return r.load, nil
	}
	of, err := snap.release(ctx, r.release)
	if err != nil || of == nil {
		return "", err
	}
	for _, name := range of.Loads {
		l, err := snap.load(ctx, name)
		if err != nil {
			return "", err
		}
		if l != nil && snap.table.Fits(l.Models, model) {
			return name, nil
		}
	}
	return "", nil
}

// loadRank orders the levels for loads, the weakest first.
func loadRank(l policy.Level) int {
	return slices.Index([]policy.Level{policy.LevelDefault, policy.LevelEnterprise, policy.LevelModel, policy.LevelProfile,
		policy.LevelDevice}, l)
}

// modelRef is what was assigned to the model, else what its row says.
func (snap *snapshot) modelRef(m policy.Model) ref {
	if r := snap.models[m.Name].Load.ref(); r != (ref{}) {
		return r
	}
	return ref{load: m.DefaultLoad}
}

// misfit says why a model cannot take a load, "" if it can.
func (snap *snapshot) misfit(l *Load, model string) string {
	switch {
	case l == nil:
		return "there is no such load"
	case !snap.table.Fits(l.Models, model):
		return fmt.Sprintf("it is not for model %s", model)
	}
	return ""
}

func warning(l *Load) string {
	switch {
	case l.Missing:
		return "the repository does not have it"
	case l.Retired:
		return "it is retired"
	}
	return ""
}

// checkFit refuses a device whose own or whose profile's load is not for its
// model. The error matches ErrUnfit.
func (snap *snapshot) checkFit(ctx context.Context, d Device) error {
	a, err := snap.loadFor(ctx, d)
	if err != nil {
		return err
	}
	for _, o := range a.Others {
		if o.Skipped != "" && loadRank(o.Level) > max(loadRank(a.Level), loadRank(policy.LevelModel)) {
			return fmt.Errorf("%w: %s at level %s of %s: %s", ErrUnfit, o.Load, o.Level, d.Name, o.Skipped)
		}
	}
	return nil
}

// levels are the settings of the three levels for a device.
func (snap *snapshot) levels(ctx context.Context, d Device) (policy.Levels, error) {
	p, err := snap.profile(ctx, d.Profile)
	if err != nil {
		return policy.Levels{}, err
	}
	l := policy.Levels{Enterprise: snap.enterprise.Settings, Device: d.Settings}
	if p != nil {
		l.Profile = p.Settings
	}
	return l, nil
}

// Desired is what a device should be and do now.
type Desired struct {
	Device Device `json:"device"`
	// Model is the row of the device's model.
	Model policy.ModelRow `json:"model"`
	// Known is false if no table has the model.
	Known bool `json:"known"`
	// Group of models that share with each other.
	Group string `json:"group"`
	// Levels are what the three levels set, as provisioning files have it.
	Levels policy.Levels `json:"levels"`
	// Settings are all settings, in the order of policy.Settings.
	Settings []EffectiveSetting `json:"settings"`
	Load     LoadAnswer         `json:"load"`
	// FileSets are those that it is to have, in the order of their directories.
	FileSets []FileSetAnswer `json:"file_sets"`
	// LoadInfo is the load, nil if there is none.
	LoadInfo *Load `json:"load_info,omitempty"`
	// Holder is the rollout that has the device. Only Provision and ProvisionKnown say it.
	Holder Holder `json:"-"`
}

// Setting returns the effective value of a setting, "" if there is no such
// setting.
func (d Desired) Setting(name string) string {
	for _, s := range d.Settings {
		if s.Setting == name {
			return s.Value
		}
	}
	return ""
}

// fileSets answers which file sets a device is to have: for each directory that of the
// strongest level which assigns one for its model.
func (snap *snapshot) fileSets(ctx context.Context, d Device) ([]FileSetAnswer, error) {
	p, err := snap.profile(ctx, d.Profile)
	if err != nil {
		return nil, err
	}
	levels := []struct {
		level policy.Level
		sets  []string
	}{{policy.LevelDevice, d.FileSets}, {policy.LevelEnterprise, snap.enterprise.FileSets}}
	if p != nil {
		levels = slices.Insert(levels, 1, levels[0])
		levels[1].level, levels[1].sets = policy.LevelProfile, p.FileSets
	}
	all := []FileSetAnswer{}
	for _, at := range levels {
		for _, name := range at.sets {
			s, err := once(ctx, snap.sets, snap.tx.FileSets(), name)
			if err != nil {
				return nil, err
			}
			if s == nil || !snap.table.Fits(s.Models, d.Model) {
				continue
			}
			i := slices.IndexFunc(all, func(a FileSetAnswer) bool { return a.Directory == s.Directory })
			if i < 0 {
				all = append(all, FileSetAnswer{Directory: s.Directory, FileSet: name, Level: at.level})
			} else {
				all[i].Others = append(all[i].Others, FileSetAt{at.level, name})
			}
		}
	}
	slices.SortFunc(all, func(a, b FileSetAnswer) int { return strings.Compare(a.Directory, b.Directory) })
	return all, nil
}

// Sharers answers with whom devices share, by what is stored in that transaction
// now: the group of the model, "" for nobody.
func (c *Controller) Sharers(ctx context.Context, tx Tx) (func(Device) (group string, err error), error) {
	snap, err := c.snapshot(ctx, tx)
	return func(d Device) (string, error) {
		levels, err := snap.levels(ctx, d)
		if err != nil {
			return "", err
		}
		m := snap.table.Lookup(d.Model)
		a, err := policy.Effective(policy.PeerSharing, m, levels)
		if err != nil || a.Value != policy.On {
			return "", err
		}
		return m.GroupName(), nil
	}, err
}

// desired answers for one device.
func (snap *snapshot) desired(ctx context.Context, d Device) (Desired, error) {
	m := snap.table.Lookup(d.Model)
	out := Desired{Device: d, Model: policy.ToRow(m), Known: m.Known(), Group: m.GroupName()}
	var err error
	if out.Levels, err = snap.levels(ctx, d); err != nil {
		return out, err
	}
	answers, err := policy.EffectiveAll(m, out.Levels)
	if err != nil {
		return out, err
	}
	for i, s := range policy.Settings() {
		out.Settings = append(out.Settings, EffectiveSetting{answers[i], s.Label, s.LabelJA, s.Element})
	}
	if out.FileSets, err = snap.fileSets(ctx, d); err != nil {
		return out, err
	}
	if out.Load, err = snap.loadFor(ctx, d); err != nil {
		return out, err
	}
	if out.LoadInfo, err = snap.load(ctx, out.Load.Load); err != nil {
		return out, err
	}
	if _, err := snap.wayOf(ctx, d, &out.Load); err != nil {
		return out, err
	}
	if l := out.LoadInfo; l != nil && !l.Signed && out.Setting(policy.Unsigned) != policy.On {
		out.Load.Warning = "it is unsigned, and the device allows signed loads only"
	}
	return out, nil
}

// Desired returns what a device should be and do now, with every effective
// value and the level it comes from. A device may ask for itself.
func (c *Controller) Desired(ctx context.Context, a Actor, device string) (out Desired, err error) {
	name, err := DeviceName(device)
	if err != nil {
		return out, err
	}
	if err := a.mayOf(mayRead, name); err != nil {
		return out, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		d, err := find(ctx, tx.Devices(), "device", name)
		if err != nil {
			return err
		}
		out, err = c.desiredIn(ctx, tx, d)
		out.shown()
		return err
	})
	return out, err
}

// shown takes out what people are not shown; devices get it in their files.
func (d *Desired) shown() {
	d.Device.Settings = shownValues(d.Device.Settings)
	l := &d.Levels
	l.Enterprise, l.Profile, l.Device = shownValues(l.Enterprise), shownValues(l.Profile), shownValues(l.Device)
	for i, s := range policy.Settings() {
		if i < len(d.Settings) {
			d.Settings[i].Answer = shownAnswer(s, d.Settings[i].Answer)
		}
	}
}

func (c *Controller) desiredIn(ctx context.Context, tx Tx, d Device) (Desired, error) {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return Desired{}, err
	}
	return snap.desired(ctx, d)
}

// ModelDefault is the load that an unknown device of a model gets.
type ModelDefault struct {
	Model policy.ModelRow `json:"model"`
	Load  string          `json:"load"`
}

// Defaults apply to devices that are not known: what XMLDefault.cnf.xml says.
type Defaults struct {
	Models     []ModelDefault `json:"models"`
	Enterprise policy.Values  `json:"enterprise"`
	// Registration says whether unknown devices become known by asking.
	Registration bool `json:"registration"`
}

// Defaults returns what applies to devices that are not known. Like everything
// about provisioning it needs no credentials and contains no secret.
func (c *Controller) Defaults(ctx context.Context) (out Defaults, err error) {
	err = c.viewAll(ctx, func(tx Tx) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		out = Defaults{Enterprise: snap.enterprise.Settings, Registration: snap.enterprise.AutoRegistration}
		for _, m := range snap.table.Models() {
			a, err := snap.loadFor(ctx, Device{Model: m.Name})
			if err != nil {
				return err
			}
			if l, err := snap.load(ctx, a.Load); err != nil {
				return err
			} else if l != nil && len(l.From) > 0 { // what an unknown device runs is not known either
				a.Load = ""
			}
			out.Models = append(out.Models, ModelDefault{policy.ToRow(m), a.Load})
		}
		return nil
	})
	return out, err
}

// Provision returns what a device that asks for its provisioning file should
// be. It needs no credentials, as for every file that devices fetch. An unknown
// device gets an error that matches ErrNotFound, and then XMLDefault.cnf.xml;
// if auto-registration is on it becomes known instead. model is the one that
// the device states, "" if it states none.
func (c *Controller) Provision(ctx context.Context, device, model, from string) (out Desired, err error) {
	out, err = c.ProvisionKnown(ctx, device)
	if !errors.Is(err, ErrNotFound) {
		return out, err
	}
	name, err := DeviceName(device)
	if err != nil {
		return out, err
	}
	if err := c.register(ctx, name, model, from); err != nil {
		return out, err
	}
	return c.ProvisionKnown(ctx, name)
}

// ProvisionKnown is Provision of a device that is known; no other becomes so.
func (c *Controller) ProvisionKnown(ctx context.Context, device string) (out Desired, err error) {
	name, err := DeviceName(device)
	if err != nil {
		return out, err
	}
	of, err := c.groups.desired.Ask(ctx, name)
	return of.Desired, cmp.Or(err, of.err)
}
