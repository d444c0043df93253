package bulk

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/peerload/peerload/internal/controller/domain"
)

// mostNear is how many steps are kept, one of each job that somebody works at.
const mostNear = 8

// near are steps of jobs that are wanted again soon, by their keys: to read one, the
// database and this process work for as long as on a tenth of its rows.
type near[T any] struct {
	mu    sync.Mutex
	steps map[string]T
}

// keep keeps a step that the database has. If somebody writes it meanwhile, who takes it
// can no longer write it.
func (s *near[T]) keep(key string, step T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps == nil || len(s.steps) >= mostNear {
		s.steps = map[string]T{} // those of jobs that ended early
	}
	s.steps[key] = step
}

// take returns a step, which is not kept any longer: who has it may change it.
func (s *near[T]) take(key string) (step T, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	step, ok = s.steps[key]
	delete(s.steps, key)
	return step, ok
}

// judgedStep is a step with the verdicts on its rows, if it is settled.
type judgedStep struct {
	domain.JobStep
	// all is what is to be written, of the row of each in it.
	all []domain.Judged
	of  []int
	// The verdicts rest on basis, on the versions of the devices of these names, where
	// those that are not there are left out, and, if it is settled, on nothing else.
	basis    int64
	names    []string
	versions map[string]int64
	settled  bool
}

// ahead judges a step before its turn. If the verdicts rest on more than can be compared
// then, it is returned without them.
func (s *Service) ahead(ctx context.Context, tx domain.Tx, j domain.Job, step domain.JobStep) (judgedStep, error) {
	out := judgedStep{JobStep: step}
	// Whether a load may be assigned depends also on what devices have said.
	assigns := func(r domain.JobRow) bool { return r.Change.Load != nil || r.Change.Release != nil }
	if slices.ContainsFunc(step.Rows, assigns) {
		return out, nil
	}
	batch, err := s.cfg.Controller.ResumeBatch(ctx, tx, j.By)
	if err != nil {
		if own(err) { // it is for who writes the step to say so
			err = nil
		}
		return out, err
	}
	if out.basis, out.settled, err = batch.Basis(ctx); err != nil || !out.settled {
		return out, err
	}
	known, names, err := knownOf(ctx, batch, step.Rows)
	if err != nil {
		return out, err
	}
	out.names, out.versions = names, versionsOf(known)
	out.all, out.of, err = judgedOf(ctx, batch, batch.Judge, known, step.Rows, j.JobOptions)
	return out, err
}

// holds reports whether the verdicts are what they would be in the state that a batch sees.
func (s judgedStep) holds(ctx context.Context, batch *domain.Batch) (bool, error) {
	basis, settled, err := batch.Basis(ctx)
	if err != nil || !settled || basis != s.basis {
		return false, err
	}
	known, err := batch.Tx().Devices().GetAll(ctx, s.names)
	return err == nil && maps.Equal(s.versions, versionsOf(known)), err
}

// next is the step that a job writes next, with the verdicts on its rows.
func (s *Service) next(ctx context.Context, tx domain.Tx, batch *domain.Batch, j *domain.Job) (judgedStep, error) {
	key := domain.JobStepKey(j.ID, j.Next)
	step, ok := s.coming.take(key)
	if ok && step.settled {
		holds, err := step.holds(ctx, batch)
		if holds || err != nil {
			return step, err
		}
		ok = false // its rows have the verdicts already
	}
	if !ok {
		stored, err := tx.JobSteps().Get(ctx, key)
		if err != nil {
			return step, err
		}
		step = judgedStep{JobStep: stored}
	}
	var err error
	step.all, step.of, err = verdicts(ctx, batch, step.Rows, j.JobOptions)
	return step, err
}

func versionsOf(devices map[string]domain.Device) map[string]int64 {
	all := make(map[string]int64, len(devices))
	for name, d := range devices {
		all[name] = d.Version
	}
	return all
}
