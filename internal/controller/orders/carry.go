package orders

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

// mandated is a device that another one carries for. secret is nil if the mandate is
// not genuine.
type mandated struct {
	device  string
	mandate []byte
	secret  *order.Secret
	at      time.Time
	stamp   order.Stamp
}

// mandated reads the mandates that a carrier has handed over, and asks of each the
// secret of the device that it is of. One that is not genuine has its place all the
// same, so that the others keep theirs.
func (s *Service) mandated(ctx context.Context, carrier string, mandates []byte) (all []mandated, err error) {
	pieces, err := order.Split(mandates, order.MandateSize, order.MaxMandates)
	if err != nil {
		return nil, fmt.Errorf("%w: mandates: %w", domain.ErrInvalid, err)
	}
	if len(pieces) == 0 {
		return nil, nil
	}
	err = s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) error {
		all = nil
		for _, b := range pieces {
			m := mandated{mandate: b}
			all = append(all, m)
			claim, err := order.ParseMandate(b)
			if err != nil {
				continue
			}
			secret, known, err := secretOfDevice(ctx, tx, claim.Device)
			if err != nil {
				return err
			}
			if known && secret.Mandated(b, carrier) {
				all[len(all)-1] = mandated{claim.Device, b, &secret, claim.Time, claim.Stamp}
			}
		}
		return nil
	})
	return all, err
}

// secretOfDevice is what a device's results are sealed with; false if it has none.
func secretOfDevice(ctx context.Context, tx domain.Tx, device string) (secret order.Secret, known bool, err error) {
	l, err := tx.Credentials().List(ctx, domain.CredentialFilter{Kind: domain.CredentialDevice, Subject: device},
		domain.Page{Limit: 1})
	if err != nil || len(l.Items) == 0 {
		return secret, false, err
	}
	secret, err = order.SecretOfHash(l.Items[0].Hash)
	return secret, err == nil, err
}

// devices are all whose orders come in a feed, each once.
func devices(carrier string, followers []mandated) []string {
	all, seen := []string{carrier}, map[string]bool{carrier: true}
	for _, m := range followers {
		if m.secret != nil && !seen[m.device] {
			all, seen[m.device] = append(all, m.device), true
		}
	}
	return all
}

// cover sends what is open, and then the covers: a device that takes one has seen all
// orders before it, or knows that it has not.
func (f *feed) cover(ctx context.Context, followers []mandated) error {
	if len(followers) == 0 {
		return nil
	}
	all, _ := f.service.wait.of(f.devices)
	if _, err := f.orders(ctx, all); err != nil {
		return err
	}
	beat, err := f.seal()
	if err != nil {
		return err
	}
	covers := make([]byte, 0, len(followers)*order.CoverSize)
	for _, m := range followers {
		code := make([]byte, order.CoverSize)
		if m.secret != nil {
			code = m.secret.Cover(m.mandate, beat)
		}
		covers = append(covers, code...)
	}
	return f.send(order.Line{Beat: beat, Covers: covers})
}

// heardOf notes that the devices of a feed were heard of: the one that has asked for it
// now, and each of the others when it has made its mandate. A carrier may keep mandates,
// but cannot make any.
func (s *Service) heardOf(ctx context.Context, a domain.Actor, followers []mandated) error {
	now := s.ctl.Time()
	return s.ctl.Update(ctx, a, func(tx domain.Tx, _ domain.Note) error {
		if err := heard(ctx, tx, a.Name, now.Unix()); err != nil {
			return err
		}
		for _, m := range followers {
			if m.secret == nil || m.at.After(now.Add(time.Minute)) {
				continue
			}
			if err := heard(ctx, tx, m.device, min(m.at.Unix(), now.Unix())); err != nil {
				return err
			}
		}
		return nil
	})
}

// stampsOf are the stamps that the devices of a feed have said.
func stampsOf(carrier string, h order.Hello, followers []mandated) map[string]order.Stamp {
	all := map[string]order.Stamp{}
	for _, m := range followers {
		if m.secret != nil {
			all[m.device] = m.stamp
		}
	}
	if len(h.Stamp) == order.StampSize {
		all[carrier] = order.Stamp(h.Stamp)
	}
	return all
}

// changedLife is how long an order that is made for changed files lasts. It is made
// again with the next feed.
const changedLife = 30 * time.Minute

// changed orders the devices whose provisioning file is another one than they have to
// fetch it: they need not look by themselves. It is nobody's order, and is not kept.
func (f *feed) changed(ctx context.Context) error {
	s := f.service
	if s.stamp == nil {
		return nil
	}
	var targets []string
	for device, has := range f.stamps {
		is, err := s.stamp(ctx, device)
		if err == nil && is != has { // what cannot be made now is looked at the next time
			targets, f.stamps[device] = append(targets, device), is
		}
	}
	if len(targets) == 0 {
		return nil
	}
	slices.Sort(targets)
	k, err := s.keys.current()
	if err != nil {
		return err
	}
	if err := f.lead(k); err != nil {
		return err
	}
	now := s.ctl.Time().Truncate(time.Second)
	f.desk.number++
	sealed, err := order.Seal(k.private(), order.Order{ID: fmt.Sprintf("settings-%s-%d", f.desk.feed, f.desk.number),
		Kind: order.UpdateSettings, Targets: targets, Issued: now, Expires: now.Add(changedLife), Feed: f.desk.feed,
		Number: f.desk.number})
	if err != nil {
		return err
	}
	return f.send(order.Line{Order: sealed})
}
