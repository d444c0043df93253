package rollouts

import (
	"context"
	"fmt"

	"github.com/peerload/peerload/internal/controller/domain"
)

// may refuses what the actor may not do at all.
func (s *Service) may(a domain.Actor, scope domain.Scope) error { return a.Check(scope) }

// mayReach compares the devices that an order of a rollout touches with what the
// actor may. sites count them. What is outside of the actor's sites is not read
// and not written either (domain.Actor.Within); here it gets its count.
func (s *Service) mayReach(a domain.Actor, sites map[string]int) error {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return err
	}
	outside, all := 0, 0
	for site, n := range sites {
		if all += n; !a.Realm.Has(site) {
			outside += n
		}
	}
	return a.Outside(outside, all)
}

// mayTarget refuses a target that could have devices outside of the actor's sites:
// it is listed later, by the controller itself.
func (s *Service) mayTarget(ctx context.Context, tx domain.Tx, a domain.Actor, t domain.RolloutTarget) error {
	switch {
	case !a.Realm.Limited():
		return nil
	case t.Site != "":
		return a.MayReach(t.Site)
	case len(t.Devices) > 0:
		return a.MayTouch(ctx, tx, t.Devices...)
	}
	return fmt.Errorf("%w: %s is limited to %s: a target names one of them, or its devices", domain.ErrForbidden, a.Name,
		a.Realm)
}
