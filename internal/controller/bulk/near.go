package bulk

import (
	"context"
	"sync"

	"github.com/peerload/peerload/internal/controller/domain"
)

// mostNear is how many steps are kept, one of each job that somebody works at.
const mostNear = 8

// nearSteps are steps that the database has, and that are wanted again soon. To read one,
// the database and this process work for as long as on a tenth of its rows.
type nearSteps struct {
	mu    sync.Mutex
	steps map[string]domain.JobStep
}

// keep keeps a step that the database has. If somebody writes it meanwhile, who takes it
// can no longer write it.
func (s *nearSteps) keep(step domain.JobStep) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps == nil || len(s.steps) >= mostNear {
		s.steps = map[string]domain.JobStep{} // those of jobs that ended early
	}
	s.steps[step.Key()] = step
}

// take returns a step, which is not kept any longer: who has it may change it.
func (s *nearSteps) take(ctx context.Context, tx domain.Tx, job string, n int) (domain.JobStep, error) {
	key := domain.JobStepKey(job, n)
	s.mu.Lock()
	step, ok := s.steps[key]
	delete(s.steps, key)
	s.mu.Unlock()
	if ok {
		return step, nil
	}
	return tx.JobSteps().Get(ctx, key)
}
