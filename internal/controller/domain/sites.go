package domain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/controller/site"
	"github.com/peerload/peerload/report"
)

// Site is a place with devices. It is a target, not a level: what is done to a
// site is done to the devices that belong to it then. A device belongs by its
// row, else by the network that it last reported from.
type Site struct {
	Meta
	Name string `json:"name"`
	// Note for people.
	Note string `json:"note"`
	// TimeZone is an IANA name, "" if nobody has said.
	TimeZone string `json:"time_zone"`
	// Networks are the site's, as site.Networks returns them; no two sites have
	// the same.
	Networks []string `json:"networks"`
	// WANRate is that of its line in bytes a second, 0 if nobody has said.
	WANRate int64 `json:"wan_rate"`
	// Window in which devices may be upgraded, as site.Window writes it, "" for
	// any time.
	Window string `json:"window"`
	// Limits of what the site takes from this controller.
	Limits SiteLimits `json:"limits"`
}

// SiteLimits bound what a site takes from this controller; 0 leaves it to the
// server's own limit of all sites.
type SiteLimits struct {
	// Transfers are files under way at the same time.
	Transfers int `json:"transfers"`
	// Rate is bytes a second, all transfers together.
	Rate int64 `json:"rate"`
}

// Key is the site's name.
func (s Site) Key() string { return s.Name }

// Bounds of a site's numbers: beyond them somebody has mistyped.
const (
	MaxSiteTransfers = 1_000_000
	MaxSiteRate      = 1 << 50
)

// SiteChange changes a site; what is nil stays.
type SiteChange struct {
	Note     *string `json:"note,omitempty"`
	TimeZone *string `json:"time_zone,omitempty"`
	// Networks replace those that the site has.
	Networks *[]string `json:"networks,omitempty"`
	WANRate  *int64    `json:"wan_rate,omitempty"`
	Window   *string   `json:"window,omitempty"`
	// Transfers and Rate are its limits.
	Transfers *int   `json:"transfers,omitempty"`
	Rate      *int64 `json:"rate,omitempty"`
}

// CreateSite makes a site.
func (c *Controller) CreateSite(ctx context.Context, a Actor, name string, change SiteChange) (s Site, err error) {
	if err := a.may(mayDevices); err != nil {
		return s, err
	}
	if err := checkName("site", name); err != nil {
		return s, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		s = Site{Name: name, Networks: []string{}}
		if err := change.apply(&s); err != nil {
			return err
		}
		c.stamp(&s.Meta)
		if err := create(ctx, tx.Sites(), &s, "site", name); err != nil {
			return err
		}
		j.note("site.create", "site "+name, nil, s)
		return c.locateAll(ctx, tx)
	})
	return s, err
}

// UpdateSite changes a site. version is that which the caller has read, 0 for
// any.
func (c *Controller) UpdateSite(ctx context.Context, a Actor, name string, change SiteChange,
	version int64) (s Site, err error) {
	if err := a.may(mayDevices); err != nil {
		return s, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if s, err = siteNamed(ctx, tx, name); err != nil {
			return err
		}
		if err := checkVersion(s.Meta, version); err != nil {
			return err
		}
		before := s
		if err := change.apply(&s); err != nil {
			return err
		}
		if len(diff.Between(before, s)) == 0 {
			s = before
			return nil
		}
		c.stamp(&s.Meta)
		if err := tx.Sites().Put(ctx, &s); err != nil {
			return err
		}
		j.note("site.update", "site "+name, before, s)
		if slices.Equal(before.Networks, s.Networks) {
			return nil
		}
		return c.locateAll(ctx, tx)
	})
	return s, err
}

// apply changes a site and refuses what cannot be.
func (change SiteChange) apply(s *Site) (err error) {
	if n := change.Note; n != nil {
		if err := checkText("note", *n, MaxDescriptionLen); err != nil {
			return err
		}
		s.Note = *n
	}
	if z := change.TimeZone; z != nil {
		if s.TimeZone = *z; *z != "" {
			if err := site.CheckZone(*z); err != nil {
				return invalid("%w", err)
			}
		}
	}
	if n := change.Networks; n != nil {
		if s.Networks, err = site.Networks(*n); err != nil {
			return invalid("%w", err)
		}
	}
	if w := change.Window; w != nil {
		if s.Window = ""; *w != "" {
			window, err := site.ParseWindow(*w)
			if err != nil {
				return invalid("%w", err)
			}
			s.Window = window.String()
		}
	}
	if s.Window != "" && s.TimeZone == "" {
		return invalid("a window needs the time zone of the site: give it, too")
	}
	return change.numbers(s)
}

// numbers changes those of a site.
func (change SiteChange) numbers(s *Site) error {
	for _, n := range []struct {
		what string
		from *int64
		to   *int64
	}{{"rate of the line", change.WANRate, &s.WANRate}, {"limit of the rate", change.Rate, &s.Limits.Rate}} {
		if n.from == nil {
			continue
		}
		if *n.from < 0 || *n.from > MaxSiteRate {
			return invalid("the %s is 0 to %d bytes a second, not %d", n.what, int64(MaxSiteRate), *n.from)
		}
		*n.to = *n.from
	}
	if t := change.Transfers; t != nil {
		if *t < 0 || *t > MaxSiteTransfers {
			return invalid("the transfers at the same time are 0 to %d, not %d", MaxSiteTransfers, *t)
		}
		s.Limits.Transfers = *t
	}
	return nil
}

// DeleteSite removes a site that no device and no enrolment token has any more.
func (c *Controller) DeleteSite(ctx context.Context, a Actor, name string, version int64) error {
	if err := a.may(mayDevices); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		s, err := siteNamed(ctx, tx, name)
		if err != nil {
			return err
		}
		if err := checkVersion(s.Meta, version); err != nil {
			return err
		}
		used, err := tx.Devices().List(ctx, DeviceFilter{Site: name}, Page{Limit: 1})
		if err != nil {
			return err
		}
		if used.Total > 0 {
			return refused("site %q is that of %s, %s among them: give them another first, and take the networks of this one "+
				"away", name, plural(used.Total, "device", "devices"), used.Items[0].Name)
		}
		if err := checkUnused(ctx, tx, name); err != nil {
			return err
		}
		if err := tx.Sites().Delete(ctx, name, s.Version); err != nil {
			return err
		}
		j.note("site.delete", "site "+name, s, nil)
		return c.locateAll(ctx, tx)
	})
}

// changeSiteSets changes the file sets of each device of a site. It is refused with the
// count of those that a set is not for. Of what is assigned no more, each device gives
// up what it has.
func (c *Controller) changeSiteSets(ctx context.Context, a Actor, devices []Device, site string,
	change FileSetsChange) error {
	if err := change.check(); err != nil {
		return err
	}
	unfit, held := map[string][]Device{}, map[string]bool{}
	one := func(d Device, change FileSetsChange) error {
		_, err := c.ChangeFileSets(ctx, a, DeviceTarget(d.Name), change, 0)
		return err
	}
	for _, d := range devices {
		for _, name := range change.Unassign {
			if !slices.Contains(d.FileSets, name) {
				continue
			}
			held[name] = true
			if err := one(d, FileSetsChange{Unassign: []string{name}}); err != nil {
				return err
			}
		}
		for _, name := range change.Assign {
			switch err := one(d, FileSetsChange{Assign: []string{name}}); {
			case errors.Is(err, ErrUnfit): // it is counted, and all is refused
				unfit[name] = append(unfit[name], d)
			case err != nil:
				return err
			}
		}
	}
	for _, name := range change.Unassign {
		if !held[name] {
			return fmt.Errorf("%w: no device of site %q has file set %.60q at its own level", ErrNotFound, site, name)
		}
	}
	return c.view(ctx, a, func(tx Tx) error {
		for _, name := range change.Assign {
			f, _, err := lookup(ctx, tx.FileSets(), name)
			if err != nil || len(unfit[name]) > 0 {
				return cmp.Or(err, notFor(name, f.Models, unfit[name]))
			}
		}
		return nil
	})
}

// checkUnused refuses a site that a credential or a user names.
func checkUnused(ctx context.Context, tx Tx, site string) error {
	for _, kind := range []CredentialKind{CredentialEnrolment, CredentialSiteKey, CredentialToken} {
		keys, err := Collect(ctx, tx.Credentials(), CredentialFilter{Kind: kind})
		if err != nil {
			return err
		}
		for _, k := range keys {
			if k.Site == site {
				return refused("site %q is what devices get that enrol with %s, %q: revoke it first", site, kind.text(), k.Name)
			}
			if slices.Contains(k.Sites, site) {
				return refused("%s, %q of %s, is limited to site %q: revoke it first", kind.text(), k.Name, k.Subject, site)
			}
		}
	}
	users, err := Collect(ctx, tx.Accounts(), TextFilter{})
	if err != nil {
		return err
	}
	for _, u := range users {
		if slices.Contains(u.Sites, site) {
			return refused("user %s is limited to site %q: limit them to others first", u.Name, site)
		}
	}
	return nil
}

// siteNamed returns a site. If there is none of that name, the error says which
// was probably meant.
func siteNamed(ctx context.Context, tx Tx, name string) (Site, error) {
	s, err := tx.Sites().Get(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return s, err
	}
	all, err := Collect(ctx, tx.Sites(), TextFilter{})
	if err != nil {
		return s, err
	}
	names := make([]string, 0, len(all))
	for _, other := range all {
		names = append(names, other.Name)
	}
	return s, meant(notFound("site", cleanText(name, MaxNameLen)), name, names)
}

// SiteNamed returns a site for use cases that live elsewhere.
func SiteNamed(ctx context.Context, tx Tx, name string) (Site, error) {
	return siteNamed(ctx, tx, name)
}

// CheckSite refuses a site that nobody has made; "" is none, or all.
func CheckSite(ctx context.Context, tx Tx, name string) error {
	if name == "" {
		return nil
	}
	_, err := siteNamed(ctx, tx, name)
	return err
}

// placed are the networks of all sites, as they were at a revision.
type placed struct {
	at     int64
	places *site.Places
}

// places is that function, but reads sites only if one has changed since the last call:
// of thousands, it would take longer than all else that a report does. It is not for
// transactions that change sites, which may come to nothing.
func (c *Controller) places(ctx context.Context, tx Tx) (*site.Places, error) {
	counts, ok := tx.(Revised)
	if !ok || c.placed == nil {
		return places(ctx, tx)
	}
	at, ok, err := counts.Revision(ctx, "sites")
	if err != nil {
		return nil, err
	}
	if last := c.placed.Load(); ok && last != nil && last.at == at {
		return last.places, nil
	}
	p, err := places(ctx, tx)
	if err == nil && ok {
		c.placed.Store(&placed{at, p})
	}
	return p, err
}

// places are the networks of all sites. An error matches ErrRefused if two have
// the same.
func places(ctx context.Context, tx Tx) (*site.Places, error) {
	all, err := Collect(ctx, tx.Sites(), TextFilter{})
	if err != nil {
		return nil, err
	}
	p := &site.Places{}
	for _, s := range all {
		switch taken, by, err := p.Add(s.Name, s.Networks); {
		case err != nil:
			return nil, fmt.Errorf("the stored site %s: %w", s.Name, err)
		case taken != "":
			return nil, refused("network %s is that of two sites, %s and %s: a smaller network within it may be another site's",
				taken, by, s.Name)
		}
	}
	return p, nil
}

// locateAll finds the site of every device anew, by the network that it last
// reported from. An error matches ErrRefused if two sites have the same network.
func (c *Controller) locateAll(ctx context.Context, tx Tx) error {
	p, err := places(ctx, tx)
	if err != nil {
		return err
	}
	for s, err := range Each(ctx, tx.States(), StateFilter{}) {
		if err != nil {
			return err
		}
		at := p.At(s.From)
		if at == s.Site {
			continue
		}
		s.Site = at
		if err := tx.States().Put(ctx, &s); err != nil {
			return err
		}
	}
	return nil
}

// Locator finds the sites of addresses, as they were when it was made.
type Locator struct {
	places *site.Places
	limits map[string]SiteLimits
}

// Of returns the name of the site whose network holds an address, and its
// limits; "" if none does. A nil Locator knows none.
func (l *Locator) Of(a netip.Addr) (string, SiteLimits) {
	if l == nil {
		return "", SiteLimits{}
	}
	name := l.places.Of(a)
	return name, l.limits[name]
}

// Locator returns what finds the sites of addresses now. The server asks for it
// regularly, so that no file that is served waits for the database.
func (c *Controller) Locator(ctx context.Context) (*Locator, error) {
	l := &Locator{limits: map[string]SiteLimits{}}
	err := c.viewAll(ctx, func(tx Tx) error {
		all, err := Collect(ctx, tx.Sites(), TextFilter{})
		if err != nil {
			return err
		}
		for _, s := range all {
			l.limits[s.Name] = s.Limits
		}
		l.places, err = places(ctx, tx)
		return err
	})
	return l, err
}

// siteOf is the site that a device belongs to: that of its row, else of the
// network that it last reported from; "" for none.
func siteOf(d Device, s DeviceState) string {
	if d.Site != "" {
		return d.Site
	}
	return s.Site
}

// Site returns a site with its counts. silent is as for Sites.
func (c *Controller) Site(ctx context.Context, a Actor, name string, silent time.Duration) (row SiteRow, err error) {
	if err := a.may(mayRead); err != nil {
		return row, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		if row.Site, err = siteNamed(ctx, tx, name); err != nil {
			return err
		}
		counts, err := c.countSites(ctx, tx, []string{name}, silent)
		row.Counts = counts[name]
		return err
	})
	return row, err
}

// Sites lists sites by name, each with its counts. silent is how long a device
// must have been silent to be counted as silent.
func (c *Controller) Sites(ctx context.Context, a Actor, f TextFilter, silent time.Duration,
	p Page) (l List[SiteRow], err error) {
	if err := a.may(mayRead); err != nil {
		return l, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		sites, err := tx.Sites().List(ctx, f, p)
		if err != nil {
			return err
		}
		names := make([]string, len(sites.Items))
		for i, s := range sites.Items {
			names[i] = s.Name
		}
		counts, err := c.countSites(ctx, tx, names, silent)
		if err != nil {
			return err
		}
		l = List[SiteRow]{Items: []SiteRow{}, Next: sites.Next, Total: sites.Total}
		for _, s := range sites.Items {
			l.Items = append(l.Items, SiteRow{s, counts[s.Name]})
		}
		return nil
	})
	return l, err
}

// countSites counts the devices of sites.
func (c *Controller) countSites(ctx context.Context, tx Tx, sites []string,
	silent time.Duration) (map[string]SiteCounts, error) {
	counts := map[string]SiteCounts{}
	err := c.eachTally(ctx, tx, sites, func(t Tally, want string) {
		n := counts[t.Site]
		n.count(t, want)
		counts[t.Site] = n
	})
	if err != nil {
		return nil, err
	}
	heard, err := tx.Tallies().Heard(ctx, sites, c.now().Add(-silent))
	for name, n := range counts {
		n.Silent = n.Devices - heard[name]
		counts[name] = n
	}
	return counts, err
}

// eachTally calls fn for the tallies of some sites, nil for all devices together,
// with the load that the devices of each should run.
func (c *Controller) eachTally(ctx context.Context, tx Tx, sites []string, fn func(t Tally, want string)) error {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	all, err := tx.Tallies().Of(ctx, sites)
	if err != nil {
		return err
	}
	wants := map[Tally]string{} // by all that decides it
	for _, t := range all {
		of := Tally{Model: t.Model, Profile: t.Profile, Load: t.Load, Release: t.Release}
		want, ok := wants[of]
		if !ok {
			a, err := snap.loadFor(ctx, Device{Model: t.Model, Profile: t.Profile,
				Load: Assignment{Load: t.Load, Release: t.Release}})
			if err != nil {
				return err
			}
			want, wants[of] = a.Load, a.Load
		}
		fn(t, want)
	}
	return nil
}

// eachDevice calls fn for each device that matches, with its state, and the load
// that it should run.
func (snap *snapshot) eachDevice(ctx context.Context, f DeviceFilter,
	fn func(d Device, s DeviceState, want LoadAnswer) error) error {
	devices, err := Collect(ctx, snap.tx.Devices(), f)
	if err != nil {
		return err
	}
	states, err := Collect(ctx, snap.tx.States(), StateFilter{})
	if err != nil {
		return err
	}
	if err := snap.readVerdicts(ctx, VerdictFilter{}); err != nil {
		return err
	}
	by := make(map[string]DeviceState, len(states))
	for _, s := range states {
		by[s.Device] = s
	}
	for _, d := range devices {
		want, err := snap.loadFor(ctx, d)
		if err != nil {
			return err
		}
		if err := snap.way(ctx, d, by[d.Name], &want); err != nil {
			return err
		}
		if err := fn(d, by[d.Name], want); err != nil {
			return err
		}
	}
	return nil
}

func (n *SiteCounts) count(t Tally, want string) {
	n.Devices += t.Devices
	switch t.State {
	case report.StateDownloading, report.StateReady, report.StateInstalling, report.StateRebooting, report.StateTrial:
		n.Running += t.Devices
	case report.StateFailed, report.StateRolledBack:
		n.Failed += t.Devices
	default:
		if want != "" && want == t.Active {
			n.Done += t.Devices
		}
	}
	sum := Traffic{FromOrigin: n.WANBytes, FromPeers: n.SavedBytes}
	sum.add(Traffic{FromOrigin: t.Traffic.FromOrigin, FromPeers: t.Traffic.FromPeers})
	n.WANBytes, n.SavedBytes = sum.FromOrigin, sum.FromPeers
}
