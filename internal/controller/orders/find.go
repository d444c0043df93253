package orders

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/controller/domain"
)

// find returns the devices of a request that the actor may see, in the order of their
// names.
func (s *Service) find(ctx context.Context, tx domain.Tx, a domain.Actor, r Request) (rows []domain.DeviceRow,
	err error) {
	ctl := s.ctl.Within(tx)
	for _, name := range r.Devices {
		d, err := ctl.Device(ctx, a, name)
		if err != nil {
			return nil, err
		}
		rows = append(rows, d)
	}
	if len(r.Devices) == 0 {
		var of map[string]bool
		if r.Rollout != "" {
			if of, err = ofRollout(ctx, tx, r); err != nil {
				return nil, err
			}
		}
		if of != nil && !r.filters() {
			rows, err = known(ctx, ctl, a, of)
		} else {
			rows, err = filtered(ctx, ctl, a, r, of)
		}
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(rows, func(a, b domain.DeviceRow) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(rows, func(a, b domain.DeviceRow) bool { return a.Name == b.Name }), nil
}

// ofRollout are the devices of a rollout or of one of its waves, by name.
func ofRollout(ctx context.Context, tx domain.Tx, r Request) (map[string]bool, error) {
	roll, err := tx.Rollouts().Get(ctx, r.Rollout)
	switch waves := len(roll.Record.Waves); {
	case errors.Is(err, domain.ErrNotFound):
		return nil, fmt.Errorf("%w: rollout %.64q", domain.ErrNotFound, r.Rollout)
	case err != nil:
		return nil, err
	case waves == 0:
		return nil, fmt.Errorf("%w: rollout %s has no waves yet: they are made when it is started", domain.ErrRefused,
			r.Rollout)
	case r.Wave < 0 || r.Wave > waves:
		return nil, invalid("rollout %s has the waves 1 to %d", r.Rollout, waves)
	}
	all := map[string]bool{}
	for d, err := range domain.Each(ctx, tx.RolloutDevices(), domain.RolloutDeviceFilter{Rollout: r.Rollout}) {
		if err != nil {
			return nil, err
		}
		if r.Wave == 0 || d.Row.Wave == r.Wave-1 {
			all[d.Row.Device] = true
		}
	}
	if len(all) > MaxDevices {
		return nil, tooMany()
	}
	return all, nil
}

func tooMany() error { return invalid("an order reaches %d devices at most", MaxDevices) }

// known are those of names that are devices still: a rollout keeps what was deleted.
func known(ctx context.Context, ctl *domain.Controller, a domain.Actor, names map[string]bool) (rows []domain.DeviceRow,
	err error) {
	for name := range names {
		d, err := ctl.Device(ctx, a, name)
		switch {
		case errors.Is(err, domain.ErrNotFound):
		case err != nil:
			return nil, err
		default:
			rows = append(rows, d)
		}
	}
	return rows, nil
}

// filtered are the devices that the filters of a request find, of those that have a name
// in of; nil: of all.
func filtered(ctx context.Context, ctl *domain.Controller, a domain.Actor, r Request,
	of map[string]bool) (rows []domain.DeviceRow, err error) {
	f := r.filter(ctl.Time())
	for p := (domain.Page{Limit: domain.MaxPage}); ; {
		l, err := ctl.Devices(ctx, a, f, p)
		if err != nil {
			return nil, err
		}
		for _, d := range l.Items {
			if of == nil || of[d.Name] {
				rows = append(rows, d)
			}
		}
		if len(rows) > MaxDevices {
			return nil, tooMany()
		}
		if p.After = l.Next; p.After == "" {
			return rows, nil
		}
	}
}
