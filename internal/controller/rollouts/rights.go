package rollouts

import (
	"context"

	"github.com/peerload/peerload/internal/controller/domain"
)

// may refuses what the actor may not do at all.
func (s *Service) may(a domain.Actor, scope domain.Scope) error { return a.Check(scope) }

// mayReach is the one place where the devices that an order of a rollout touches
// are compared with what the actor may. sites count them; "" is of those without
// a site.
func (s *Service) mayReach(_ context.Context, _ domain.Tx, a domain.Actor, _ map[string]int) error {
	return a.Check(domain.ScopeDevices)
}
