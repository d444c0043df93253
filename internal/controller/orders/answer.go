package orders

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
)

// MaxResults bounds the results that are taken at once.
const MaxResults = 256

// Answer takes results that a device hands over, its own or those of others, and
// returns an acknowledgement for each that was sealed with the secret of the device
// that it is of. Others are left out: nothing is learned from them. The device that
// a result is of was heard of.
func (s *Service) Answer(ctx context.Context, a domain.Actor, sealed [][]byte) (acks order.Acks, err error) {
	if a.Kind != domain.ActorDevice || a.Role != domain.RoleDevice {
		return acks, fmt.Errorf("%w: only a device answers", domain.ErrForbidden)
	}
	if len(sealed) > MaxResults {
		return acks, invalid("%d results: %d at a time", len(sealed), MaxResults)
	}
	var taken []order.Result
	err = s.ctl.Update(ctx, a, func(tx domain.Tx, _ domain.Note) error {
		taken, acks = nil, order.Acks{Acks: []order.Ack{}}
		for _, b := range sealed {
			r, secret, err := s.genuine(ctx, tx, b)
			if err != nil {
				return err
			}
			if r.Device == "" {
				continue
			}
			if err := s.take(ctx, tx, r); err != nil {
				return err
			}
			taken = append(taken, r)
			acks.Acks = append(acks.Acks, order.Ack{Order: r.Order, Device: r.Device, Code: secret.Ack(b)})
		}
		return nil
	})
	if err != nil {
		return order.Acks{}, err
	}
	for _, r := range taken {
		s.wait.answered(r.Order, r.Device)
	}
	return acks, nil
}

// genuine reads a result; its device is "" if it is not genuine.
func (s *Service) genuine(ctx context.Context, tx domain.Tx, sealed []byte) (r order.Result, secret order.Secret,
	err error) {
	claim, err := order.Claim(sealed)
	if err != nil || !claim.Outcome.Known() {
		return r, secret, nil
	}
	secret, known, err := secretOfDevice(ctx, tx, claim.Device)
	if err != nil || !known {
		return r, secret, err
	}
	if r, err = secret.Open(sealed); err != nil {
		return order.Result{}, secret, nil
	}
	return r, secret, nil
}

// take writes a result. The first one of a device counts; an order that is not
// known any more is acknowledged all the same, so that the device forgets it.
func (s *Service) take(ctx context.Context, tx domain.Tx, r order.Result) error {
	now := s.ctl.Time()
	d, err := tx.OrderDevices().Get(ctx, domain.OrderDeviceKey(r.Order, r.Device))
	switch {
	case errors.Is(err, domain.ErrNotFound):
	case err != nil:
		return err
	case d.Answered.IsZero():
		d.Standing, d.Text, d.Answered, d.Changed = string(r.Outcome), clean(r.Text), now, now
		if err := tx.OrderDevices().Put(ctx, &d); err != nil {
			return err
		}
	}
	return heard(ctx, tx, r.Device, now.Unix())
}

// heard notes that a device was heard of at a time, in seconds since 1970, unless that
// is known to have been later.
func heard(ctx context.Context, tx domain.Tx, device string, unix int64) error {
	st, err := tx.States().Get(ctx, device)
	if errors.Is(err, domain.ErrNotFound) {
		return nil // it has never reported: there is no state yet
	}
	if err != nil {
		return err
	}
	at := time.Unix(unix, 0).UTC()
	if !at.After(st.LastSeen) {
		return nil
	}
	st.LastSeen, st.Changed = at, at
	return tx.States().Put(ctx, &st)
}

// clean makes a text of others one that every database can hold: of control
// characters only the ends of lines and tabulators stay.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text)
}
