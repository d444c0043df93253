package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
)

// Reports takes reports of devices that a carrier hands over, and returns an
// acknowledgement for each that the domain has taken. Of one that is not genuine, not
// newer than what the device has reported last, or refused, it says nothing: the device
// reports by itself then, and hears why.
func (s *Service) Reports(ctx context.Context, a domain.Actor, packed []byte) (order.Acks, error) {
	acks := order.Acks{Acks: []order.Ack{}}
	if a.Kind != domain.ActorDevice || a.Role != domain.RoleDevice {
		return acks, fmt.Errorf("%w: only a device reports", domain.ErrForbidden)
	}
	all, err := order.UnpackReports(packed)
	if err != nil {
		return acks, fmt.Errorf("%w: reports: %w", domain.ErrInvalid, err)
	}
	secrets, err := s.genuineReports(ctx, a.Name, all)
	if err != nil {
		return acks, err
	}
	var mu sync.Mutex
	var busy sync.WaitGroup
	for i, r := range all {
		if secrets[i] == nil {
			continue
		}
		busy.Go(func() { // together, so that they are written together
			said, err := parseReport(r.Report)
			if err != nil {
				return
			}
			sealed := r.Time()
			of := domain.Actor{Kind: domain.ActorDevice, Name: r.Device, From: a.From, Carried: &sealed,
				Role: domain.RoleDevice}
			if s.ctl.Report(ctx, of, said) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			acks.Acks = append(acks.Acks, order.Ack{Device: r.Device, Code: secrets[i].Ack(r.Code)})
		})
	}
	busy.Wait()
	return acks, nil
}

// parseReport reads the report of a device; the domain bounds what it says.
func parseReport(text []byte) (said report.Device, err error) {
	if err := json.Unmarshal(text, &said); err != nil {
		return report.Device{}, errors.Join(domain.ErrInvalid, err)
	}
	return said, nil
}

// genuineReports are the secrets of the reports that are taken: see order.Secret.Takes;
// nil for all others, and for all but the first of a device.
func (s *Service) genuineReports(ctx context.Context, carrier string, all []order.Reported) ([]*order.Secret, error) {
	secrets := make([]*order.Secret, len(all))
	now := s.ctl.Time()
	err := s.ctl.View(ctx, domain.Actor{}, func(tx domain.Tx) error {
		clear(secrets)
		seen := map[string]bool{}
		for i, r := range all {
			if !order.IsDevice(r.Device) || seen[r.Device] {
				continue
			}
			secret, known, err := secretOfDevice(ctx, tx, r.Device)
			if err != nil {
				return err
			}
			if !known {
				continue
			}
			st, err := tx.States().Get(ctx, r.Device) // none: it has never reported
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return err
			}
			if secret.Takes(r, carrier, st.Reported, now) {
				seen[r.Device], secrets[i] = true, &secret
			}
		}
		return nil
	})
	return secrets, err
}
