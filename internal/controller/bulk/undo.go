package bulk

import (
	"context"
	"fmt"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Undo takes back what a job has changed. If a row was changed again since, nothing
// is taken back, and the error, which matches domain.ErrConflict, says which; with
// skipBad such rows are kept and the others taken back. A job that has not begun
// does not begin. Run does it.
func (s *Service) Undo(ctx context.Context, a domain.Actor, id string, skipBad bool) (j domain.Job, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return j, err
	}
	err = s.update(ctx, func(tx domain.Tx) error {
		batch, err := s.cfg.Controller.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		if j, err = find(ctx, batch.Tx(), id); err != nil {
			return err
		}
		switch j.State {
		case domain.JobUndoing, domain.JobUndone, domain.JobRefused:
			return refused("job %s is %s: there is nothing to undo", j.ID, j.State)
		case domain.JobDone:
			if !skipBad {
				if err := checkUndo(ctx, batch, j); err != nil {
					return err
				}
			}
		}
		by := batch.By()
		if j.UndoID, err = batch.Note(ctx, "bulk.undo", "bulk job "+j.ID+": "+j.Name); err != nil {
			return err
		}
		j.Undoer, j.State, j.Changed = &by, domain.JobUndoing, s.now()
		j.At = j.Changed // it is due
		if j.Next == 0 {
			j.State = domain.JobUndone
		}
		return tx.Jobs().Put(ctx, &j)
	})
	if err == nil {
		s.tell()
	}
	return shown(a, j), err
}

// maxTold bounds the rows that an error names.
const maxTold = 5

// checkUndo refuses to undo a job of which rows cannot be taken back.
func checkUndo(ctx context.Context, batch *domain.Batch, j domain.Job) error {
	n, told := 0, ""
	for i := range j.Next {
		step, err := batch.Tx().JobSteps().Get(ctx, domain.JobStepKey(j.ID, i))
		if err != nil {
			return err
		}
		devices, err := devicesOf(ctx, batch, step.Rows)
		if err != nil {
			return err
		}
		for _, r := range step.Rows {
			d, ok := devices[r.Device]
			if r.Version == 0 || !ok {
				continue
			}
			if err := reversible(ctx, batch, r, d); err != nil && !own(err) {
				return err
			} else if err != nil {
				if n++; n <= maxTold {
					told += fmt.Sprintf("; line %d, %s: %s", r.Line, r.Device, problem(err))
				}
			}
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%w: rows that cannot be taken back: %d; so none is; skip them to take back the others%s",
		domain.ErrConflict, n, told)
}

// reversible refuses a row that cannot be taken back.
func reversible(ctx context.Context, batch *domain.Batch, r domain.JobRow, d domain.Device) error {
	if r.Outcome == domain.RowCreated {
		return batch.CheckRemove(ctx, d, r.Version)
	}
	_, err := batch.Restore(ctx, d, r.Changes)
	return err
}

// devicesOf are the devices that rows have written.
func devicesOf(ctx context.Context, batch *domain.Batch, rows []domain.JobRow) (map[string]domain.Device, error) {
	var names []string
	for _, r := range rows {
		if r.Version > 0 {
			names = append(names, r.Device)
		}
	}
	return batch.Tx().Devices().GetAll(ctx, names)
}

// takeBack takes back the latest step that is still written. A job that gives up
// itself does not ask for the rights of who made it: they may be the reason. An
// undo whose asker is gone goes on within the sites that were his.
func (s *Service) takeBack(ctx context.Context, tx domain.Tx, j *domain.Job) (err error) {
	var batch *domain.Batch
	if j.Undoer != nil {
		batch, err = s.cfg.Controller.ResumeBatch(ctx, tx, *j.Undoer)
	}
	if j.Undoer == nil || err != nil && own(err) {
		by := domain.Actor{Kind: domain.ActorSystem, Name: "job of " + j.By.Name, From: "local", Role: domain.RoleAdmin}
		if j.Undoer != nil {
			by.Realm = j.Undoer.Realm()
		}
		batch, err = s.cfg.Controller.Batch(ctx, tx, by)
	}
	if err != nil {
		return err
	}
	if j.UndoID == "" {
		if j.UndoID, err = batch.Note(ctx, "bulk.undo", "bulk job "+j.ID+": "+j.Name); err != nil {
			return err
		}
	}
	j.Next--
	j.Verified = min(j.Verified, j.Next)
	step, err := tx.JobSteps().Get(ctx, domain.JobStepKey(j.ID, j.Next))
	if err != nil {
		return err
	}
	if err := takeBackRows(ctx, batch, j, step.Rows); err != nil {
		return err
	}
	if j.Next == 0 {
		j.State = domain.JobUndone
		if j.Undoer == nil {
			j.State = domain.JobRefused
		}
	}
	return tx.JobSteps().Put(ctx, &step)
}

// takeBackRows takes rows back. Those that cannot be are kept.
func takeBackRows(ctx context.Context, batch *domain.Batch, j *domain.Job, rows []domain.JobRow) error {
	devices, err := devicesOf(ctx, batch, rows)
	if err != nil {
		return err
	}
	var restored []domain.Judged
	for i := range rows {
		r := &rows[i]
		if r.Version == 0 {
			continue
		}
		was := r.Outcome
		d, ok := devices[r.Device]
		switch {
		case !ok && was == domain.RowCreated: // somebody has removed it
		case !ok:
			err = fmt.Errorf("%w: the device is gone", domain.ErrConflict)
		case was == domain.RowCreated:
			if err = batch.CheckRemove(ctx, d, r.Version); err == nil {
				err = batch.Remove(ctx, j.UndoID, d)
			}
		default:
			var back domain.Judged
			if back, err = batch.Restore(ctx, d, r.Changes); err == nil {
				restored = append(restored, back)
			}
		}
		switch {
		case err == nil:
			r.Outcome, r.Problem, r.Version = domain.RowUndone, "", 0
		case own(err):
			r.Outcome, r.Problem, r.Version = domain.RowKept, problem(err), 0
		default:
			return err
		}
		err = nil
		j.Counts.Add(was, r.Outcome)
	}
	return batch.Write(ctx, j.UndoID, restored)
}
