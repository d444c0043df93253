package storesuite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
)

// many: what is written and read together is as if it were one by one, over the
// bounds of a statement too.
func many(t *testing.T, open Open) {
	long(t, "it writes thousands of rows")
	s := fresh(t, open)
	const n = 2203 // more than are counted of a text, and more than SQLite asks its index of texts for
	all := make([]domain.Device, n)
	var keys []string
	for i := range all {
		all[i] = domain.Device{Meta: domain.Meta{Created: at}, Name: fmt.Sprintf("SEP%04d", i), Model: "日本語 \"7961\"",
			Settings: policy.Values{}}
		keys = append(keys, all[i].Name)
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		first := all[7]
		if err := tx.Devices().Put(ctx, &first); err != nil {
			return err
		}
		if err := tx.Devices().PutAll(ctx, all); !errors.Is(err, domain.ErrExists) || all[0].Version != 0 {
			t.Errorf("one is there already: %v, version %d", err, all[0].Version)
		}
		if _, err := tx.Devices().Get(ctx, all[0].Name); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("and another was written: %v", err)
		}
		all[7].Version = 1
		if err := tx.Devices().PutAll(ctx, all); err != nil {
			return err
		}
		for i, d := range all {
			if want := int64(1); d.Version != want && (i != 7 || d.Version != 2) {
				t.Errorf("%s has version %d", d.Name, d.Version)
			}
		}
		return tx.Devices().PutAll(ctx, nil)
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		got, err := tx.Devices().GetAll(ctx, append(keys, "none", "a\x00b", "\xff"))
		if len(got) != n {
			t.Errorf("%d of %d are read", len(got), n)
		}
		same(t, ctx, tx.Devices(), all[7], 2)
		same(t, ctx, tx.Devices(), got[keys[n-1]], 1)
		for text, want := range map[string]int{"sep": domain.MaxFound, "sep1": 1000, "sep2": 203, "e": domain.MaxFound,
			"p1203": 1} {
			l, err := tx.Devices().List(ctx, domain.DeviceFilter{Text: text}, domain.Page{})
			if err != nil || l.Total != want || len(l.Items) == 0 {
				t.Errorf("%q finds %d, %v", text, l.Total, err)
			}
		}
		none, err2 := tx.Devices().GetAll(ctx, nil)
		if len(none) != 0 {
			t.Errorf("of none %d are read", len(none))
		}
		return errors.Join(err, err2)
	})
	var exported bytes.Buffer
	if err := errors.Join(s.Export(t.Context(), &exported), fresh(t, open).Import(t.Context(), &exported)); err != nil {
		t.Error(err)
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		stale := all[n-1]
		stale.Version = 3
		gone := domain.Device{Meta: domain.Meta{Version: 1}, Name: "gone"}
		for what, others := range map[string][]domain.Device{"stale": {all[0], stale}, "gone": {all[0], gone},
			"twice": {all[0], all[0]}} {
			if err := tx.Devices().PutAll(ctx, others); !errors.Is(err, domain.ErrConflict) || others[0].Version != 1 {
				t.Errorf("%s: %v, version %d", what, err, others[0].Version)
			}
		}
		same(t, ctx, tx.Devices(), all[0], 1)
		return nil
	})
}

// known: what was read by its key is written with the version that it has then, whatever
// the same transaction did to it in between.
func known(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		d := domain.Device{Meta: domain.Meta{Created: at}, Name: "SEP1", Settings: policy.Values{}}
		state := domain.DeviceState{Meta: domain.Meta{Created: at}, Device: d.Name, Last: sampleState.Last}
		if err := errors.Join(tx.Devices().Put(ctx, &d), tx.States().Put(ctx, &state)); err != nil {
			return err
		}
		read := func(key string) domain.Device {
			all, err := tx.Devices().GetAll(ctx, []string{key})
			if err != nil {
				t.Error(err)
			}
			return all[key]
		}
		write := func(what string, d domain.Device, want error) {
			if err := tx.Devices().PutAll(ctx, []domain.Device{d}); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		first := read("SEP1")
		once := first
		if err := tx.Devices().Put(ctx, &once); err != nil {
			return err
		}
		write("the version before", first, domain.ErrConflict)
		write("the one that is there", once, nil)
		write("the same again", once, domain.ErrConflict)
		added := domain.Device{Meta: domain.Meta{Created: at}, Name: "SEP2", Settings: policy.Values{}}
		if there := read("SEP2"); there.Version != 0 {
			t.Errorf("a device is there that nobody has added: %+v", there)
		}
		write("a new one", added, nil)
		write("a new one that is there", added, domain.ErrExists)
		states, err := tx.States().GetAll(ctx, []string{"SEP1"})
		if err = errors.Join(err, tx.Devices().Delete(ctx, "SEP1", 0)); err != nil {
			return err
		}
		if err := tx.States().PutAll(ctx, []domain.DeviceState{states["SEP1"]}); !errors.Is(err, domain.ErrConflict) {
			t.Errorf("a state that went with its device: %v", err)
		}
		write("the other one", read("SEP2"), nil)
		return nil
	})
}

// manyLogs likewise of entries.
func manyLogs(t *testing.T, open Open) {
	s := fresh(t, open)
	const n = 1001
	var all []domain.AuditEntry
	for i := range n {
		e := sampleAudit
		e.ID = fmt.Sprintf("%05d", i)
		all = append(all, e)
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		return errors.Join(tx.Audit().AppendAll(ctx, all), tx.Audit().AppendAll(ctx, nil))
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		l, err := tx.Audit().List(ctx, domain.AuditFilter{PartOf: sampleAudit.PartOf}, domain.Page{Limit: 1})
		if l.Total != n || l.Items[0].ID != "01000" || *l.Items[0].Changes[0].Old != sampleOld {
			t.Errorf("%+v", l)
		}
		return err
	})
	err := s.Update(t.Context(), func(tx domain.Tx) error { return tx.Audit().AppendAll(t.Context(), all[:1]) })
	if err == nil {
		t.Error("an entry was written over")
	}
}

// jobTables: those that somebody has to go on with are found, and steps are those of
// one job, and go with it.
func jobTables(t *testing.T, open Open) {
	s := fresh(t, open)
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.JobSteps().Put(t.Context(), &domain.JobStep{Job: "none"})
	})
	if err == nil {
		t.Error("a step is of no job")
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, j := range []domain.Job{{ID: "a", State: domain.JobRunning}, {ID: "b", State: domain.JobDone, At: at},
			{ID: "c", State: domain.JobWaiting, At: at.Add(time.Hour)}, {ID: "d", State: domain.JobUndoing, At: at}} {
			steps := []domain.JobStep{{Job: j.ID, N: 0}, {Job: j.ID, N: 10}, {Job: j.ID, N: 9}}
			if err := errors.Join(tx.Jobs().Put(ctx, &j), tx.JobSteps().PutAll(ctx, steps)); err != nil {
				return err
			}
		}
		for want, f := range map[string]domain.JobFilter{"a d": {DueBy: at}, "a c d": {DueBy: at.Add(time.Hour)},
			"b": {State: domain.JobDone}, "a b c d": {}, "": {State: "\x00"}} {
			if got := strings.Join(keys(t, ctx, tx.Jobs(), f), " "); got != want {
				t.Errorf("%+v finds %q, not %q", f, got, want)
			}
		}
		f := domain.JobStepFilter{Job: "c"}
		if got := keys(t, ctx, tx.JobSteps(), f); !slices.Equal(got, []string{"c/000000", "c/000009", "c/000010"}) {
			t.Errorf("the steps are %q", got)
		}
		if err := tx.Jobs().Delete(ctx, "c", 0); err != nil {
			return err
		}
		if got := keys(t, ctx, tx.JobSteps(), f); len(got) > 0 {
			t.Errorf("steps of a deleted job: %q", got)
		}
		return nil
	})
}
