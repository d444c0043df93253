package bulk

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/load"
)

// maxNote bounds the note of a template in bytes.
const maxNote = 500

// PutTemplate makes a template, or replaces the one of its name. What it says is
// judged for each device that gets it. version is the one that was read: 0 for any,
// domain.Unwritten if there was none.
func (s *Service) PutTemplate(ctx context.Context, a domain.Actor, name, note string, change domain.DeviceChange,
	version int64) (t domain.Template, err error) {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return t, err
	}
	if err := load.CheckName(name); err != nil {
		return t, invalid("the name of a template: %w", err)
	}
	if len(note) > maxNote || clean(note) != note && len(note) <= 200 {
		return t, invalid("the note is longer than %d bytes, or not plain text", maxNote)
	}
	if change.Load != nil && change.Release != nil {
		return t, invalid("a load and a release are both to be assigned: name one of them")
	}
	if !says(change) {
		return t, invalid("a template says something: a setting, a model, profile, site, load or release")
	}
	if change.Settings.Set, err = change.Settings.Set.Admit(); err != nil {
		return t, invalid("%w", err)
	}
	err = s.update(ctx, func(tx domain.Tx) error {
		batch, err := s.cfg.Controller.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		if t, err = tx.Templates().Get(ctx, name); err != nil && !errors.Is(err, domain.ErrNotFound) {
			return err
		}
		if version != 0 && version != t.Version && (version != domain.Unwritten || t.Version != 0) {
			return fmt.Errorf("%w: template %q has another version by now", domain.ErrConflict, name)
		}
		t.Name, t.Note, t.Change, t.Changed = name, note, change, s.now()
		if t.Created.IsZero() {
			t.Created = t.Changed
		}
		if _, err := batch.Note(ctx, "template.put", "template "+name); err != nil {
			return err
		}
		return batch.Tx().Templates().Put(ctx, &t)
	})
	return t, err
}

// DeleteTemplate removes a template. Jobs that were made with it stay as they are.
func (s *Service) DeleteTemplate(ctx context.Context, a domain.Actor, name string) error {
	if err := a.Check(domain.ScopeDevices); err != nil {
		return err
	}
	return s.update(ctx, func(tx domain.Tx) error {
		batch, err := s.cfg.Controller.Batch(ctx, tx, a)
		if err != nil {
			return err
		}
		if err := batch.Tx().Templates().Delete(ctx, name, 0); errors.Is(err, domain.ErrNotFound) {
			return fmt.Errorf("%w: template %q", domain.ErrNotFound, clean(name))
		} else if err != nil {
			return err
		}
		_, err = batch.Note(ctx, "template.delete", "template "+name)
		return err
	})
}

// Templates lists templates by name.
func (s *Service) Templates(ctx context.Context, a domain.Actor,
	p domain.Page) (l domain.List[domain.Template], err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return l, err
	}
	err = s.view(ctx, func(tx domain.Tx) error {
		l, err = tx.Templates().List(ctx, domain.TextFilter{}, p)
		return err
	})
	return l, err
}
