package rollouts

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/forecast"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/window"
)

const (
	// maxNamed bounds the devices that a target names.
	maxNamed = 10_000
	// part is how many devices are listed in one transaction: others wait for it.
	part = 500
)

// checkTarget refuses a target that names what there is not, or nothing, and
// writes its names in their one way.
func (s *Service) checkTarget(ctx context.Context, tx domain.Tx, a domain.Actor, t *domain.RolloutTarget) error {
	given := t.Site != "" || t.Profile != "" || t.Model != "" || t.Text != "" || len(t.Devices) > 0
	switch {
	case !given && !t.All:
		return invalid("the target names no device: give a site, profile, model, text or devices; or all")
	case given && t.All:
		return invalid("the target is all devices, and narrower: give one of the two")
	case t.Percent < 0 || t.Percent > 100:
		return invalid("%d %% of the target: give 1 to 100, or 0 for all of it", t.Percent)
	case len(t.Devices) > maxNamed || len(t.Text) > domain.MaxDescriptionLen:
		return invalid("the target names more than %d devices, or its text is longer than %d bytes", maxNamed,
			domain.MaxDescriptionLen)
	}
	if t.Site != "" {
		if _, err := domain.SiteNamed(ctx, tx, t.Site); err != nil {
			return err
		}
	}
	if t.Profile != "" {
		if _, err := tx.Profiles().Get(ctx, t.Profile); errors.Is(err, domain.ErrNotFound) {
			return invalid("there is no profile %.64q", t.Profile)
		} else if err != nil {
			return err
		}
	}
	if t.Model != "" {
		table, err := s.ctl.Within(tx).Table(ctx)
		if err != nil {
			return err
		}
		t.Model = table.Lookup(t.Model).Name
	}
	names := map[string]bool{}
	for _, d := range t.Devices {
		name, err := domain.DeviceName(d)
		if err != nil {
			return err
		}
		names[name] = true
	}
	t.Devices = slices.Sorted(maps.Keys(names))
	if missing, err := unknown(ctx, tx, t.Devices); err != nil || missing != "" {
		return errors.Join(err, invalid("there is no device %s", missing))
	}
	return s.mayTarget(ctx, tx, a, *t)
}

// unknown is the first name of no device, "" if there is none.
func unknown(ctx context.Context, tx domain.Tx, names []string) (string, error) {
	for _, name := range names {
		if _, err := tx.Devices().Get(ctx, name); errors.Is(err, domain.ErrNotFound) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
	return "", nil
}

// candidate is a device of a target.
type candidate struct {
	rollout.Candidate
	device domain.Device
	// judged is what the rollout that is taken back brought to it; nil for none.
	judged *rollout.Verdict
}

// lister lists the target of a rollout part by part.
type lister struct {
	s      *Service
	places map[string]rollout.Place
}

// place is the clock and the windows of a site.
func (l *lister) place(ctx context.Context, tx domain.Tx, site string) (rollout.Place, error) {
	if p, ok := l.places[site]; ok {
		return p, nil
	}
	p, err := placeOf(ctx, tx, site)
	if err == nil {
		l.places[site] = p
	}
	return p, err
}

// placeOf is the clock and the windows of a site. A site without a zone, or none,
// has UTC.
func placeOf(ctx context.Context, tx domain.Tx, name string) (rollout.Place, error) {
	at := rollout.Place{Zone: time.UTC}
	if name == "" {
		return at, nil
	}
	site, err := tx.Sites().Get(ctx, name)
	if errors.Is(err, domain.ErrNotFound) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	if site.TimeZone != "" {
		if at.Zone, err = time.LoadLocation(site.TimeZone); err != nil {
			return at, err
		}
	}
	if site.Window != "" {
		at.Windows, err = window.Parse(site.Window)
	}
	return at, err
}

// page returns a part of the target of a rollout, and where the next begins, ""
// at the end.
func (l *lister) page(ctx context.Context, tx domain.Tx, r domain.Rollout, after string) (all []candidate,
	next string, err error) {
	if r.Undoes != "" {
		return l.undone(ctx, tx, r.Undoes, after)
	}
	t := r.Ask.Target
	var found []domain.Wanted
	if len(t.Devices) > 0 {
		first, ok := slices.BinarySearch(t.Devices, after)
		if ok {
			first++
		}
		names := t.Devices[first:min(first+part, len(t.Devices))]
		if first+part < len(t.Devices) {
			next = names[len(names)-1]
		}
		found, err = l.s.ctl.WantedNamed(ctx, tx, names, r.Ask.Load, r.Ask.Release)
	} else {
		var list domain.List[domain.Wanted]
		list, err = l.s.ctl.Wanted(ctx, tx, domain.DeviceFilter{Site: t.Site, Profile: t.Profile, Model: t.Model,
			Text: t.Text}, r.Ask.Load, r.Ask.Release, domain.Page{After: after, Limit: part})
		found, next = list.Items, list.Next
	}
	for i := 0; err == nil && i < len(found); i++ {
		w := found[i]
		if !matches(t, r.Ask, w) {
			continue
		}
		c := candidate{device: w.Device, Candidate: rollout.Candidate{Device: w.Device.Name, Site: w.Site,
			Load: w.Load, Runs: w.State.Last.Active}}
		if c.Place, err = l.place(ctx, tx, w.Site); err == nil {
			all = append(all, c)
		}
	}
	return all, next, err
}

// matches reports whether a device is in a target.
func matches(t domain.RolloutTarget, ask domain.RolloutAsk, w domain.Wanted) bool {
	if len(t.Devices) > 0 && (t.Site != "" && w.Site != t.Site || t.Profile != "" && w.Device.Profile != t.Profile ||
		t.Model != "" && w.Device.Model != t.Model) {
		return false
	}
	return t.Percent == 0 || rollout.Share("target of "+ask.Load+ask.Release, w.Device.Name) < t.Percent*100
}

// undone is page for a rollout that takes back another one.
func (l *lister) undone(ctx context.Context, tx domain.Tx, id, after string) (all []candidate, next string,
	err error) {
	of, err := tx.Rollouts().Get(ctx, id)
	if err != nil {
		return nil, "", err
	}
	rows, err := tx.RolloutDevices().List(ctx, domain.RolloutDeviceFilter{Rollout: id},
		domain.Page{After: after, Limit: part})
	if err != nil {
		return nil, "", err
	}
	m := rollout.New(of.Record, rollout.Straight)
	for _, row := range rows.Items {
		c, judged, ok, err := m.Undo(&row.Row)
		if err != nil {
			return nil, "", said(err)
		}
		if !ok {
			continue
		}
		d, err := tx.Devices().Get(ctx, c.Device)
		if errors.Is(err, domain.ErrNotFound) {
			continue // it was removed since
		}
		if err != nil {
			return nil, "", err
		}
		if c.Place, err = l.place(ctx, tx, c.Site); err != nil {
			return nil, "", err
		}
		all = append(all, candidate{c, d, &judged})
	}
	return all, rows.Next, nil
}

// Preview is what a rollout would do if it were started now.
type Preview struct {
	// Sites say what it takes at each, all waves together.
	Sites []forecast.SitePlan `json:"sites"`
	// Reach counts the devices that would be upgraded.
	Reach domain.Reach `json:"reach"`
	// Had counts those that run the load already.
	Had int `json:"had"`
	// LeftOut counts those that cannot take part, by reason.
	LeftOut map[string]int `json:"left_out"`
	Waves   []WavePreview  `json:"waves"`
	// Refused is why it would not start, "" if it would.
	Refused string `json:"refused"`
}

// WavePreview is a wave of it.
type WavePreview struct {
	Devices int            `json:"devices"`
	Had     int            `json:"had"`
	Sites   map[string]int `json:"sites"`
}

// preview lists the target of a draft without writing anything. census, if not nil,
// gets the devices that would be upgraded.
func (s *Service) preview(ctx context.Context, tx domain.Tx, r domain.Rollout,
	census *forecast.Census) (Preview, error) {
	out := Preview{Sites: []forecast.SitePlan{}, Reach: domain.NoReach(), LeftOut: map[string]int{}}
	out.Waves = make([]WavePreview, len(r.Record.Plan.Waves))
	for i := range out.Waves {
		out.Waves[i].Sites = map[string]int{}
	}
	draft := r.Record
	draft.State, draft.Plan.Approval = rollout.Draft, false
	steps, err := s.ctl.NextStep(ctx, tx)
	if err != nil {
		return out, err
	}
	m, now := rollout.New(draft, steps), s.ctl.Time()
	if _, err := m.Step(now, rollout.Start{By: draft.Authors[0]}); err != nil {
		out.Refused = err.Error()
		return out, nil
	}
	l := &lister{s, map[string]rollout.Place{}}
	for after, first := "", true; first || after != ""; first = false {
		all, next, err := l.page(ctx, tx, r, after)
		if err != nil {
			return out, err
		}
		names := make([]string, len(all))
		for i, c := range all {
			names[i] = c.Device
		}
		known, err := s.kept.in(tx).Known(ctx, names)
		if err != nil {
			return out, err
		}
		for _, c := range all {
			known[c.Device].Tell(&c.Candidate)
			row, listed, err := m.List(now, c.Candidate)
			if err != nil {
				return out, said(err)
			}
			if !listed {
				continue
			}
			out.add(row, c.device.Model)
			if census == nil || row.Standing == rollout.Had {
				continue
			}
			if err := census.Add(c.device, row.Site, c.Runs, row.Load); err != nil {
				return out, err
			}
		}
		after = next
	}
	maps.Copy(out.LeftOut, m.Record().LeftOut)
	if _, err := m.Step(now, rollout.Listed{}); err != nil {
		out.Refused = err.Error()
	}
	return out, nil
}

func (p *Preview) add(row rollout.Row, model string) {
	w := &p.Waves[row.Wave]
	w.Devices++
	w.Sites[row.Site]++
	if row.Standing == rollout.Had {
		w.Had++
		p.Had++
		return
	}
	p.Reach.Add(row.Device, model, row.Site)
}

// Preview says what a draft would do if it were started now.
func (s *Service) Preview(ctx context.Context, a domain.Actor, id string) (p Preview, err error) {
	if err := s.may(a, domain.ScopeRead); err != nil {
		return p, err
	}
	var draft forecast.Draft
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		r, err := find(ctx, tx, id, 0)
		if err != nil {
			return err
		}
		if s := r.Record.State; s != rollout.Draft && s != rollout.Awaiting {
			return refused("rollout %s is %s: a plan is made before its start; its status says how it goes", id, s)
		}
		census, err := s.cfg.Forecast.Census(ctx, tx)
		if err != nil {
			return err
		}
		if p, err = s.preview(ctx, tx, r, census); err != nil {
			return err
		}
		draft, err = census.Draft(ctx)
		return err
	})
	if err != nil {
		return p, err
	}
	p.Sites, err = s.cfg.Forecast.Plans(ctx, draft)
	return p, err
}
