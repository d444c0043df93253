package domain

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
)

// CreateEnrolment makes an enrolment token or a site key.
func (c *Controller) CreateEnrolment(ctx context.Context, a Actor,
	req EnrolmentRequest) (out NewEnrolmentToken, err error) {
	if err := a.may(mayAccess); err != nil {
		return out, err
	}
	if err := checkEnrolment(&req); err != nil {
		return out, err
	}
	err = c.update(ctx, a, func(tx Tx, j *journal) error {
		if req.Profile != "" {
			if _, err := find(ctx, tx.Profiles(), "profile", req.Profile); err != nil {
				return err
			}
		}
		if err := CheckSite(ctx, tx, req.Site); err != nil {
			return err
		}
		cred := Credential{Kind: CredentialEnrolment, Name: req.Name, Uses: req.Uses, Profile: req.Profile, Site: req.Site,
			Networks: req.Networks}
		prefix := "ple_"
		if req.SiteKey {
			cred.Kind, prefix = CredentialSiteKey, "plk_"
		}
		if req.Life > 0 {
			cred.Expires = c.now().Add(req.Life)
		}
		if out.Secret, err = c.issue(ctx, tx, &cred, prefix); err != nil {
			return err
		}
		out.EnrolmentToken = enrolmentOf(cred)
		j.note("enrolment.create", "enrolment "+cred.ID, nil, out.EnrolmentToken)
		return nil
	})
	return out, err
}

func checkEnrolment(req *EnrolmentRequest) error {
	if req.Name == "" {
		return invalid("an enrolment token needs a name")
	}
	for _, f := range [][2]string{{"name", req.Name}, {"profile", req.Profile}, {"site", req.Site}} {
		if err := checkText(f[0], f[1], MaxNameLen); err != nil {
			return err
		}
	}
	if req.SiteKey && req.Uses != 0 {
		return invalid("a site key has no number of uses: leave it out")
	}
	if !req.SiteKey && req.Uses == 0 {
		req.Uses = 1
	}
	if !req.SiteKey && req.Life == 0 {
		req.Life = week
	}
	if req.Uses < 0 || req.Uses > MaxEnrolmentUses || req.Life < 0 || req.Life > MaxTokenLife ||
		len(req.Networks) > MaxNetworks {
		return invalid("an enrolment token has up to %d uses and %d networks and lives for %s at most", MaxEnrolmentUses,
			MaxNetworks, parse.Duration(MaxTokenLife))
	}
	networks := make([]string, 0, len(req.Networks))
	for _, n := range req.Networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return invalid("%.60q is not a network such as 10.1.0.0/16", n)
		}
		networks = append(networks, p.Masked().String())
	}
	req.Networks = networks
	return nil
}

func enrolmentOf(cred Credential) EnrolmentToken {
	return EnrolmentToken{ID: cred.ID, Name: cred.Name, SiteKey: cred.Kind == CredentialSiteKey, Uses: cred.Uses,
		Profile: cred.Profile,
		Site:    cred.Site, Networks: cred.Networks, Created: cred.Created, Expires: cred.Expires}
}

// Enrolments lists enrolment tokens and site keys by their names, all, or those that
// give devices that site.
func (c *Controller) Enrolments(ctx context.Context, a Actor, site string) (all []EnrolmentToken, err error) {
	if err := a.may(mayAccess); err != nil {
		return nil, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		all = []EnrolmentToken{}
		if err := CheckSite(ctx, tx, site); err != nil {
			return err
		}
		for _, kind := range []CredentialKind{CredentialEnrolment, CredentialSiteKey} {
			creds, err := Collect(ctx, tx.Credentials(), CredentialFilter{Kind: kind})
			if err != nil {
				return err
			}
			for _, cred := range creds {
				if site != "" && cred.Site != site {
					continue
				}
				all = append(all, enrolmentOf(cred))
			}
		}
		slices.SortFunc(all, func(x, y EnrolmentToken) int {
			return cmp.Or(strings.Compare(x.Name, y.Name), x.Created.Compare(y.Created), strings.Compare(x.ID, y.ID))
		})
		return nil
	})
	return all, err
}

// RevokeEnrolment ends an enrolment token or site key. Devices that have
// enrolled with it stay enrolled.
func (c *Controller) RevokeEnrolment(ctx context.Context, a Actor, id string) error {
	if err := a.may(mayAccess); err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		cred, err := find(ctx, tx.Credentials(), "enrolment token", id)
		if err != nil {
			return err
		}
		if cred.Kind != CredentialEnrolment && cred.Kind != CredentialSiteKey {
			return notFound("enrolment token", id)
		}
		j.note("enrolment.revoke", "enrolment "+id, enrolmentOf(cred), nil)
		return tx.Credentials().Delete(ctx, id, 0)
	})
}

// enrolLimits slow down guesses at enrolment tokens from one address. A whole
// site may be behind one address, so a success clears the failures, the first
// attempts are free, and a token that is right is not kept out by guesses.
func enrolLimits(from string) []limit {
	return []limit{{name: "enrol from " + network(from), free: 100, most: time.Minute}}
}

// Enrol gives a device an identity: its own secret, in exchange for an
// enrolment token or a site key. A device that has an identity keeps it, so
// that a site key cannot take over the names of others: before it can enrol
// again, an administrator must reset it. Errors match ErrUnauthenticated,
// ErrForbidden, ErrThrottled, ErrInvalid or ErrRefused.
func (c *Controller) Enrol(ctx context.Context, req EnrolRequest) error {
	name, err := DeviceName(req.Device)
	if err != nil {
		return err
	}
	if len(req.Secret) < 32 || len(req.Secret) > 128 ||
		strings.ContainsFunc(req.Secret, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) }) {
		return invalid("a device's secret has 32 to 128 bytes of plain text")
	}
	if req.Secret == req.Token {
		return invalid("the device's secret is its enrolment token: a device must make its own secret at random")
	}
	limits := enrolLimits(req.From)
	if err := c.throttleGuess(ctx, limits, req.Token, CredentialEnrolment, CredentialSiteKey); err != nil {
		return err
	}
	who := Actor{Kind: ActorDevice, Name: name, From: req.From, Role: RoleDevice}
	err = c.update(ctx, who, func(tx Tx, j *journal) error {
		return c.enrolIn(ctx, tx, j, name, req)
	})
	if err != nil {
		return err
	}
	return c.forgive(ctx, limits)
}

func (c *Controller) enrolIn(ctx context.Context, tx Tx, j *journal, name string, req EnrolRequest) error {
	snap, err := c.snapshot(ctx, tx)
	if err != nil {
		return err
	}
	has, err := tx.Credentials().List(ctx, CredentialFilter{Kind: CredentialDevice, Subject: name}, Page{Limit: 1})
	if err != nil {
		return err
	}
	d, known, err := lookup(ctx, tx.Devices(), name)
	if err != nil {
		return err
	}
	own := len(has.Items) > 0 && has.Items[0].Hash == hashSecret(req.Secret)
	if own && known {
		return nil // it asks again: the answer was lost
	}
	key, err := c.byHash(ctx, tx, req.Token, CredentialEnrolment, CredentialSiteKey)
	if err != nil {
		return err
	}
	if err := inNetworks(key.Networks, req.From); err != nil {
		return err
	}
	if known && key.Site != "" {
		if err := ofSite(ctx, tx, d, key.Site); err != nil {
			return err
		}
	}
	if len(has.Items) > 0 && !own {
		return refused("%s has an identity: an administrator must reset it before it enrols anew", name)
	}
	if key.Kind == CredentialEnrolment {
		if key.Uses--; key.Uses <= 0 {
			err = tx.Credentials().Delete(ctx, key.ID, 0)
		} else {
			err = tx.Credentials().Put(ctx, &key)
		}
		if err != nil {
			return err
		}
	}
	if !known {
		d = Device{Name: name, Model: req.Model, Profile: key.Profile, Site: key.Site, Registration: RegistrationByEnrolment}
		if err := c.admit(ctx, snap, j, &d, req.From); err != nil {
			return err
		}
	}
	if own {
		return nil // it was deleted, and keeps the identity that it has
	}
	if same, err := tx.Credentials().List(ctx, CredentialFilter{Hashes: []string{hashSecret(req.Secret)}},
		Page{Limit: 1}); err != nil {
		return err
	} else if len(same.Items) > 0 {
		return refused("the secret is in use: a device must make its own at random")
	}
	cred := Credential{ID: c.random(8), Kind: CredentialDevice, Subject: name, Hash: hashSecret(req.Secret),
		Name: key.Name, From: req.From}
	c.stamp(&cred.Meta)
	if err := tx.Credentials().Put(ctx, &cred); err != nil {
		return err
	}
	j.event("device.enrol", DeviceTarget(name).String())
	return nil
}

// ofSite refuses a device that belongs to another site than that of a key: who
// has the key of one site must not take names of another.
func ofSite(ctx context.Context, tx Tx, d Device, site string) error {
	s, _, err := lookup(ctx, tx.States(), d.Name)
	if at := siteOf(d, s); err == nil && at != "" && at != site {
		err = fmt.Errorf("%w: the token is for devices of site %q, and %s is one of another", ErrForbidden, site, d.Name)
	}
	return err
}

// inNetworks refuses an address outside of all networks, if there are any.
func inNetworks(networks []string, from string) error {
	if len(networks) == 0 {
		return nil
	}
	if a, err := netip.ParseAddr(from); err == nil {
		for _, n := range networks {
			if p, err := netip.ParsePrefix(n); err == nil && p.Contains(a.Unmap()) {
				return nil
			}
		}
	}
	return fmt.Errorf("%w: the token is not for devices from %s", ErrForbidden, from)
}

// ResetIdentity deletes a device's secret: it must enrol again. The device may
// have been deleted since.
func (c *Controller) ResetIdentity(ctx context.Context, a Actor, device string) error {
	if err := a.may(mayAccess); err != nil {
		return err
	}
	name, err := DeviceName(device)
	if err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		f := CredentialFilter{Kind: CredentialDevice, Subject: name}
		has, err := tx.Credentials().List(ctx, f, Page{Limit: 1})
		if err != nil {
			return err
		}
		if has.Total == 0 {
			if _, err := find(ctx, tx.Devices(), "device", name); err != nil {
				return err
			}
		}
		j.event("device.reset-identity", DeviceTarget(name).String())
		return dropCredentials(ctx, tx, f)
	})
}

// ActorByDevice returns the device that a secret belongs to. device is the name
// that the device states, "" if it states none. An error matches
// ErrUnauthenticated.
func (c *Controller) ActorByDevice(ctx context.Context, device, secret, from string) (Actor, error) {
	cred, err := c.authenticate(ctx, secret, CredentialDevice)
	if err != nil {
		return Actor{}, err
	}
	if device != "" {
		if name, err := DeviceName(device); err != nil || name != cred.Subject {
			return Actor{}, ErrUnauthenticated
		}
	}
	return Actor{Kind: ActorDevice, Name: cred.Subject, From: from, Role: RoleDevice}, nil
}

// register makes an unknown device known if auto-registration is on.
func (c *Controller) register(ctx context.Context, name, model, from string) error {
	who := Actor{Kind: ActorSystem, Name: "auto-registration", From: from}
	err := c.viewAll(ctx, func(tx Tx) error { // most devices end here, without a write
		e, _, err := lookup(ctx, tx.Enterprises(), Enterprise{}.Key())
		if err == nil && !e.AutoRegistration {
			err = notFound("device", name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.update(ctx, who, func(tx Tx, j *journal) error {
		snap, err := c.snapshot(ctx, tx)
		if err != nil {
			return err
		}
		if !snap.enterprise.AutoRegistration {
			return notFound("device", name)
		}
		d, ok, err := lookup(ctx, tx.Devices(), name)
		if err != nil || ok {
			return err
		}
		d = Device{Name: name, Model: model, Profile: snap.enterprise.RegisterProfile, Registration: RegistrationAutomatic}
		return c.admit(ctx, snap, j, &d, from)
	})
}

// admit adds a device that registers or enrols by itself: within the limit,
// with a profile that exists and a model that is plain text.
func (c *Controller) admit(ctx context.Context, snap *snapshot, j *journal, d *Device, from string) error {
	all, err := snap.tx.Devices().List(ctx, DeviceFilter{}, Page{Limit: 1})
	if err != nil {
		return err
	}
	if all.Total >= c.cfg.MaxDevices {
		return refused("there are %d devices already: an administrator must add further ones", all.Total)
	}
	d.Model = snap.table.Lookup(cleanText(d.Model, policy.MaxModelText)).Name
	if p, err := snap.profile(ctx, d.Profile); err != nil {
		return err
	} else if p == nil {
		d.Profile = ""
	}
	c.stamp(&d.Meta)
	if err := snap.tx.Devices().Put(ctx, d); err != nil {
		return err
	}
	j.note("device.register", DeviceTarget(d.Name).String(), nil, d)
	return snap.tx.History().Append(ctx, HistoryEntry{ID: c.id(), At: c.now(), Device: d.Name, Kind: HistoryKnown,
		New: d.Registration, Message: from})
}

// Overview counts devices and bytes.
type Overview struct {
	Devices int `json:"devices"`
	// ByState, ByModel, ByActive (the load that runs) and ByRole count devices.
	ByState  map[string]int `json:"by_state"`
	ByModel  map[string]int `json:"by_model"`
	ByActive map[string]int `json:"by_active"`
	ByRole   map[string]int `json:"by_role"`
	// DeadMessages counts messages of webhooks that were given up.
	DeadMessages int `json:"dead_messages,omitempty"`
	// BySite counts devices that belong to a site.
	BySite map[string]int `json:"by_site"`
	// Silent counts devices not seen for the time that the caller gave.
	Silent int `json:"silent"`
	// Pending counts devices that do not run the load that they should.
	Pending int     `json:"pending"`
	Traffic Traffic `json:"traffic"`
	// DiskFree and DiskSize are bytes of the disk that the controller writes to, which its
	// server measures; nil where that is not known, for one site, and for whoever is limited to sites.
	DiskFree *int64 `json:"disk_free,omitempty"`
	DiskSize *int64 `json:"disk_size,omitempty"`
}

// Overview counts over all devices, or over those of a site. silent is how long
// a device must have been silent to be counted as silent.
func (c *Controller) Overview(ctx context.Context, a Actor, site string,
	silent time.Duration) (o Overview, err error) {
	if err := a.may(mayRead); err != nil {
		return o, err
	}
	err = c.view(ctx, a, func(tx Tx) error {
		o = Overview{ByState: map[string]int{}, ByModel: map[string]int{}, ByActive: map[string]int{},
			ByRole: map[string]int{}, BySite: map[string]int{}}
		if err := CheckSite(ctx, tx, site); err != nil {
			return err
		}
		dead, err := tx.Deliveries().List(ctx, DeliveryFilter{State: webhook.Dead}, Page{Limit: 1})
		if err != nil {
			return err
		}
		o.DeadMessages = dead.Total
		var of []string
		if site != "" {
			of = []string{site}
		}
		if err := c.eachTally(ctx, tx, of, o.count); err != nil {
			return err
		}
		if site != "" && o.Devices > 0 {
			o.BySite[site] = o.Devices
		} else if site == "" {
			if o.BySite, err = tx.Tallies().BySite(ctx); err != nil {
				return err
			}
		}
		heard, err := tx.Tallies().Heard(ctx, of, c.now().Add(-silent))
		o.Silent = o.Devices - heard[site]
		return err
	})
	return o, err
}

func (o *Overview) count(t Tally, want string) {
	o.Devices += t.Devices
	o.ByModel[t.Model] += t.Devices
	o.ByState[cmp.Or(t.State, StateUnknown)] += t.Devices
	if t.Active != "" {
		o.ByActive[t.Active] += t.Devices
	}
	if t.Role != "" {
		o.ByRole[t.Role] += t.Devices
	}
	if want != "" && want != t.Active {
		o.Pending += t.Devices
	}
	o.Traffic.add(t.Traffic)
}

// realmTallies are those of the sites of the realm.
type realmTallies struct {
	Tallies
	t *realmTx
}

func (t *realmTx) Tallies() Tallies { return realmTallies{t.Tx.Tallies(), t} }

// within are those of the sites that are of the realm; of nil it is all of it.
func (r realmTallies) within(sites []string) []string {
	if sites == nil {
		return append([]string{}, r.t.realm().Sites()...)
	}
	return slices.DeleteFunc(append([]string{}, sites...), func(s string) bool { return !r.t.realm().Has(s) })
}

func (r realmTallies) Of(ctx context.Context, sites []string) ([]Tally, error) {
	return r.Tallies.Of(ctx, r.within(sites))
}

func (r realmTallies) BySite(ctx context.Context) (map[string]int, error) {
	by, err := r.Tallies.BySite(ctx)
	maps.DeleteFunc(by, func(site string, _ int) bool { return !r.t.realm().Has(site) })
	return by, err
}

func (r realmTallies) Heard(ctx context.Context, sites []string, since time.Time) (map[string]int, error) {
	by, err := r.Tallies.Heard(ctx, r.within(sites), since)
	if sites == nil {
		sum := 0
		for _, n := range by {
			sum += n
		}
		by = map[string]int{"": sum}
	}
	return by, err
}

func (r realmTallies) Recount(context.Context) (int, error) {
	return 0, r.t.actor.beyond("the counts are those of all")
}

// DeleteDevice removes a device, its state, its history and the verdicts on loads
// for it. Its secret goes with it only if the actor may reset identities: else whoever may delete and add a
// device could free its name for another that enrols under it.
func (c *Controller) DeleteDevice(ctx context.Context, a Actor, name string, version int64) error {
	if err := a.may(mayDevices); err != nil {
		return err
	}
	name, err := DeviceName(name)
	if err != nil {
		return err
	}
	return c.update(ctx, a, func(tx Tx, j *journal) error {
		d, err := find(ctx, tx.Devices(), "device", name)
		if err != nil {
			return err
		}
		if err := checkVersion(d.Meta, version); err != nil {
			return err
		}
		if err := c.remove(ctx, tx, a, d); err != nil {
			return err
		}
		j.note("device.delete", DeviceTarget(name).String(), d, nil)
		return nil
	})
}

// remove removes a device and all that belongs to it.
func (c *Controller) remove(ctx context.Context, tx Tx, a Actor, d Device) error {
	name := d.Name
	if err := tx.Devices().Delete(ctx, name, d.Version); err != nil {
		return err
	}
	tx = whole(tx) // the rest goes with it
	if _, ok, err := lookup(ctx, tx.States(), name); err != nil {
		return err
	} else if ok {
		if err := tx.States().Delete(ctx, name, 0); err != nil {
			return err
		}
	}
	if a.may(mayAccess) == nil {
		if err := dropCredentials(ctx, tx, CredentialFilter{Kind: CredentialDevice, Subject: name}); err != nil {
			return err
		}
	}
	if err := dropVerdicts(ctx, tx, name); err != nil {
		return err
	}
	if c.cfg.Removed != nil {
		if err := c.cfg.Removed(ctx, tx, name); err != nil {
			return err
		}
	}
	_, err := tx.History().TrimOf(ctx, name, 0)
	return err
}

// bringBack makes a device again that was deleted, as its row was. What belonged to
// it is gone: it reports anew, and enrols anew if its secret went with it.
func (c *Controller) bringBack(ctx context.Context, a Actor, name string, was []FieldChange) error {
	if err := a.may(mayDevices); err != nil {
		return err
	}
	var sets FileSetsChange
	err := c.update(ctx, a, func(tx Tx, j *journal) error {
		batch, err := c.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		d := Device{Name: name, Settings: policy.Values{}}
		for _, f := range was {
			switch {
			case f.Old == nil || f.Field == "name":
			case f.Field == "origin":
				d.Registration = *f.Old
			case f.Field == "file_sets":
				err = json.Unmarshal([]byte(*f.Old), &sets.Assign)
			default:
				err = d.restore(f)
			}
			if err != nil {
				return err
			}
		}
		if err := batch.checkRestored(ctx, d, Device{}); err != nil {
			return err
		}
		c.stamp(&d.Meta)
		if err := create(ctx, tx.Devices(), &d, "device", name); err != nil {
			return err
		}
		j.note("device.create", DeviceTarget(name).String(), nil, d)
		return nil
	})
	if err != nil || len(sets.Assign) == 0 {
		return err
	}
	_, err = c.ChangeFileSets(ctx, a, DeviceTarget(name), sets, 0)
	return err
}
