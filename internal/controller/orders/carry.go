package orders

import (
	"context"
	"fmt"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

// mandated is a device that another one carries for. secret is nil if the mandate is
// not genuine.
type mandated struct {
	device  string
	mandate []byte
	secret  *order.Secret
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
				all[len(all)-1] = mandated{claim.Device, b, &secret}
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
