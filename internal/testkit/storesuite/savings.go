package storesuite

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/saving"
	"github.com/peerload/peerload/report"
)

// savingTable: what finds savings, and the devices that failed, are silent, or have
// to do with a load.
func savingTable(t *testing.T, open Open) {
	s := fresh(t, open)
	record := func(month, load, site string) domain.Saving {
		return domain.Saving{Record: saving.Record{Group: saving.Group{Month: month, Load: load, Site: site}}}
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if err := tx.Savings().PutAll(ctx, []domain.Saving{record("2026-01", "a", "oslo"), record("2026-02", "a", "bergen"),
			record("2026-03", "b/c", ""), record("2026-03", "b", "c")}); err != nil {
			return err
		}
		for i, st := range []domain.DeviceState{
			{Last: report.Device{State: report.StateIdle, Active: "a", Wanted: "a"}, LastSeen: at},
			{Last: report.Device{State: report.StateFailed, Active: "a", Wanted: "b"}, LastSeen: at.Add(-time.Hour)},
			{Last: report.Device{State: report.StateRolledBack, Active: "a", Wanted: "b"}, LastSeen: at},
			{Last: report.Device{State: report.StateIdle, Active: "b",
				FileSets: []report.FileSet{{State: report.StateIdle}, {State: report.StateFailed}}}},
		} {
			name := "SEP" + string(rune('0'+i))
			if err := tx.Devices().Put(ctx, &domain.Device{Name: name}); err != nil {
				return err
			}
			st.Device = name
			if err := tx.States().Put(ctx, &st); err != nil {
				return err
			}
		}
		return tx.Devices().Put(ctx, &domain.Device{Name: "SEP9"}) // it was never heard of
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		expect := func(what any, got []string, want ...string) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%+v: %q, not %q", what, got, want)
			}
		}
		for _, c := range []struct {
			f    domain.SavingFilter
			want []string
		}{
			{domain.SavingFilter{}, []string{`2026-01/"a"/oslo`, `2026-02/"a"/bergen`, `2026-03/"b"/c`, `2026-03/"b/c"/`}},
			{domain.SavingFilter{Site: "oslo"}, []string{`2026-01/"a"/oslo`}},
			{domain.SavingFilter{Load: "a", Since: "2026-02"}, []string{`2026-02/"a"/bergen`}},
			{domain.SavingFilter{Until: "2026-01"}, []string{`2026-01/"a"/oslo`}},
			{domain.SavingFilter{Realm: domain.RealmOf([]string{"c", "a\x00b"})}, []string{`2026-03/"b"/c`}},
			{domain.SavingFilter{Realm: domain.RealmOf([]string{"a\x00b"})}, nil},
			{domain.SavingFilter{Site: "a\x00b"}, nil}, {domain.SavingFilter{Since: "\xff"}, nil},
		} {
			expect(c.f, keys(t, ctx, tx.Savings(), c.f), c.want...)
		}
		for _, c := range []struct {
			f    domain.DeviceFilter
			want []string
		}{
			{domain.DeviceFilter{Failed: true}, []string{"SEP1", "SEP2", "SEP3"}},
			{domain.DeviceFilter{About: "b"}, []string{"SEP1", "SEP2", "SEP3"}},
			{domain.DeviceFilter{About: "a", Failed: true}, []string{"SEP1", "SEP2"}},
			{domain.DeviceFilter{Silent: at}, []string{"SEP1", "SEP3", "SEP9"}},
			{domain.DeviceFilter{Silent: at.Add(-time.Hour), Failed: true}, []string{"SEP3"}},
			{domain.DeviceFilter{About: "a\x00b"}, nil},
		} {
			expect(c.f, keys(t, ctx, tx.Devices(), c.f), c.want...)
		}
		return nil
	})
}
