package rollouts

import (
	"context"
	"errors"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/window"
)

// Work does a job of the queue. What came in the wrong state, or twice, is found
// and costs little; an error is worth another try.
func (s *Service) Work(ctx context.Context, j keeper.Job) error {
	var err error
	switch j.Kind {
	case keeper.KindList:
		err = s.list(ctx, j.Rollout)
	case keeper.KindAsk:
		err = s.ask(ctx, j)
	case keeper.KindTick:
		err = s.system(ctx, func(tx domain.Tx) error {
			return s.keeper(tx).Order(ctx, s.ctl.Time(), j.Rollout, rollout.Tick{})
		})
	case keeper.KindLook:
		err = s.look(ctx, j.Rollout)
	}
	if errors.Is(err, domain.ErrNotFound) || errors.Is(err, keeper.ErrNotFound) {
		return nil // its rollout is no more
	}
	return err
}

// system runs fn in a transaction of the controller itself.
func (s *Service) system(ctx context.Context, fn func(tx domain.Tx) error) error {
	return s.ctl.Update(ctx, domain.Actor{}, func(tx domain.Tx, _ domain.Note) error { return fn(tx) })
}

// errOvertaken says that another listing has begun, or the rollout is no longer to
// be listed.
var errOvertaken = errors.New("overtaken")

// list lists the target of a rollout, part by part.
func (s *Service) list(ctx context.Context, id string) error {
	token := s.ctl.Random(8)
	err := s.system(ctx, func(tx domain.Tx) error {
		r, err := find(ctx, tx, id, 0)
		if err != nil {
			return err
		}
		if !r.Record.State.Active() || r.Record.Listed {
			return errOvertaken
		}
		if err := s.keeper(tx).Order(ctx, s.ctl.Time(), id, rollout.Relist{}); err != nil {
			return err
		}
		if r, err = find(ctx, tx, id, 0); err != nil {
			return err
		}
		r.Listing = token
		return tx.Rollouts().Put(ctx, &r)
	})
	for after, more := "", true; err == nil && more; {
		err = s.system(ctx, func(tx domain.Tx) (err error) {
			after, err = s.listPart(ctx, tx, id, token, after)
			return err
		})
		more = after != ""
	}
	if err == nil {
		err = s.system(ctx, func(tx domain.Tx) error { return s.listed(ctx, tx, id, token) })
	}
	if errors.Is(err, errOvertaken) {
		return nil
	}
	return err
}

// listing reads a rollout whose target is being listed by whoever has that token.
func listing(ctx context.Context, tx domain.Tx, id, token string) (domain.Rollout, error) {
	r, err := find(ctx, tx, id, 0)
	if err == nil && (r.Listing != token || r.Record.Listed || !r.Record.State.Active()) {
		err = errOvertaken
	}
	return r, err
}

// listPart lists a part, and returns where the next begins, "" at the end.
func (s *Service) listPart(ctx context.Context, tx domain.Tx, id, token, after string) (string, error) {
	r, err := listing(ctx, tx, id, token)
	if err != nil {
		return "", err
	}
	l := &lister{s, map[string]rollout.Place{}}
	found, next, err := l.page(ctx, tx, r, after)
	if err != nil {
		return "", err
	}
	var all []rollout.Candidate
	for _, c := range found {
		if c.judged != nil {
			if err := s.kept.in(tx).PutVerdict(ctx, *c.judged); err != nil {
				return "", err
			}
		}
		all = append(all, c.Candidate)
	}
	k, err := s.stepper(ctx, tx)
	if err != nil {
		return "", err
	}
	return next, k.List(ctx, s.ctl.Time(), id, all)
}

// listed ends the listing. A target that will not do makes the rollout a draft
// again, which says why.
func (s *Service) listed(ctx context.Context, tx domain.Tx, id, token string) error {
	if _, err := listing(ctx, tx, id, token); err != nil {
		return err
	}
	err := s.keeper(tx).Order(ctx, s.ctl.Time(), id, rollout.Listed{})
	if errors.Is(err, rollout.ErrRefused) {
		return nil // it is a draft, and says why
	}
	return err
}

const (
	// awayAfter is how long the controller must not have looked at a rollout to
	// count as having been away: several times the distance between two looks.
	awayAfter = 3 * time.Minute
	// backBy is how far its clock must have been set back to be noticed.
	backBy = time.Minute
)

// look looks at the devices of a rollout that are due. A time in which nobody has
// looked is one in which nobody was heard.
func (s *Service) look(ctx context.Context, id string) error {
	back := false
	err := s.system(ctx, func(tx domain.Tx) error {
		r, err := find(ctx, tx, id, 0)
		if err != nil || !r.Record.State.Active() {
			return err
		}
		now, last := s.ctl.Time(), r.Looked
		var passed rollout.Event = rollout.Tick{} // one may have been lost
		if !last.IsZero() && now.Sub(last) > awayAfter {
			passed = rollout.Outage{During: window.Span{From: last, Until: now}}
		}
		if err := s.keeper(tx).Order(ctx, now, id, passed); err != nil {
			return err
		}
		back = last.Sub(now) > backBy
		if err := s.keeper(tx).Look(ctx, now, id); err != nil {
			return err
		}
		if r, err = find(ctx, tx, id, 0); err != nil {
			return err
		}
		r.Looked = now
		return tx.Rollouts().Put(ctx, &r)
	})
	if err == nil && back {
		err = s.lookAtAll(ctx, id)
	}
	return err
}

// lookAtAll looks at each device: the clock was set back, and what they wait for
// counts from the new time.
func (s *Service) lookAtAll(ctx context.Context, id string) error {
	for after, more := "", true; more; {
		err := s.system(ctx, func(tx domain.Tx) error {
			l, err := tx.RolloutDevices().List(ctx, domain.RolloutDeviceFilter{Rollout: id},
				domain.Page{After: after, Limit: part})
			if err != nil {
				return err
			}
			rows := make([]string, 0, len(l.Items))
			for _, d := range l.Items {
				rows = append(rows, d.Row.Device)
			}
			after, more = l.Next, l.Next != ""
			return s.keeper(tx).LookAt(ctx, s.ctl.Time(), id, rows)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Rebuild puts the jobs of all active rollouts into the queue. What follows from
// a rollout's state is in the database, and the queue may have lost it: it is not
// part of a backup.
func (s *Service) Rebuild(ctx context.Context) error {
	return s.system(ctx, func(tx domain.Tx) error {
		now := s.ctl.Time()
		for r, err := range domain.Each(ctx, tx.Rollouts(), domain.RolloutFilter{Active: true}) {
			if err != nil {
				return err
			}
			for _, j := range due(r.Record, now) {
				if err := s.kept.queue.Enqueue(ctx, tx, j); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// due are the jobs of a rollout in its state.
func due(r rollout.Record, now time.Time) []keeper.Job {
	if !r.Listed {
		return []keeper.Job{{Kind: keeper.KindList, Rollout: r.ID, At: now}}
	}
	all := []keeper.Job{{Kind: keeper.KindLook, Rollout: r.ID, At: now}}
	if at, ok := rollout.New(r, rollout.Straight).Deadline(); ok {
		all = append(all, keeper.Job{Kind: keeper.KindTick, Rollout: r.ID, At: at})
	}
	return all
}
