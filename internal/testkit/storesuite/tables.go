package storesuite

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 89000, time.UTC)

// versions: every write counts, and one that has read something else fails.
func versions(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if _, err := tx.Profiles().Get(ctx, "p"); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("none is there: %v", err)
		}
		p := domain.Profile{Name: "p", Settings: policy.Values{"peer-sharing": "on"}}
		if err := tx.Profiles().Put(ctx, &p); err != nil || p.Version != 1 {
			t.Errorf("new: version %d, %v", p.Version, err)
		}
		if err := tx.Profiles().Put(ctx, &domain.Profile{Name: "p"}); !errors.Is(err, domain.ErrExists) {
			t.Errorf("new again: %v", err)
		}
		stale := p
		if err := tx.Profiles().Put(ctx, &p); err != nil || p.Version != 2 {
			t.Errorf("changed: version %d, %v", p.Version, err)
		}
		if err := tx.Profiles().Put(ctx, &stale); !errors.Is(err, domain.ErrConflict) || stale.Version != 1 {
			t.Errorf("stale: %v, and the version that was read is now %d", err, stale.Version)
		}
		if err := tx.Profiles().Put(ctx, &domain.Profile{Name: "q", Meta: domain.Meta{Version: 3}}); !errors.Is(err,
			domain.ErrConflict) {
			t.Errorf("changed, but it is gone: %v", err)
		}
		if err := tx.Profiles().Delete(ctx, "p", 1); !errors.Is(err, domain.ErrConflict) {
			t.Errorf("stale delete: %v", err)
		}
		if err := tx.Profiles().Delete(ctx, "q", 0); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("delete of nothing: %v", err)
		}
		return nil
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		p, err := tx.Profiles().Get(ctx, "p")
		if p.Version != 2 || p.Settings["peer-sharing"] != "on" {
			t.Errorf("read back %+v", p)
		}
		return err
	})
	update(t, s, func(ctx context.Context, tx domain.Tx) error { return tx.Profiles().Delete(ctx, "p", 2) })
}

// rollBack: of a transaction that fails nothing stays.
func rollBack(t *testing.T, open Open) {
	s := fresh(t, open)
	stop := errors.New("stop")
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		if err := tx.Loads().Put(t.Context(), &domain.Load{Name: "l"}); err != nil {
			return err
		}
		if err := tx.Audit().Append(t.Context(), domain.AuditEntry{ID: "1", At: at}); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		l, err := tx.Loads().List(ctx, domain.LoadFilter{Retired: true}, domain.Page{})
		a, err2 := tx.Audit().List(ctx, domain.AuditFilter{}, domain.Page{})
		if l.Total != 0 || a.Total != 0 {
			t.Errorf("%d loads and %d entries stayed", l.Total, a.Total)
		}
		return errors.Join(err, err2)
	})
}

// keys lists the keys of what matches.
func keys[T interface{ Key() string }, F any](t *testing.T, ctx context.Context, table interface {
	List(context.Context, F, domain.Page) (domain.List[T], error)
}, f F) []string {
	t.Helper()
	l, err := table.List(ctx, f, domain.Page{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Total != len(l.Items) || l.Next != "" {
		t.Errorf("%d items of %d, next %q", len(l.Items), l.Total, l.Next)
	}
	all := []string{}
	for _, i := range l.Items {
		all = append(all, i.Key())
	}
	return all
}

func devices(t *testing.T, open Open) {
	s := fresh(t, open)
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.Devices().Put(t.Context(), &domain.Device{Name: "X", Profile: "nowhere"})
	})
	if err == nil {
		t.Error("a device has a profile that does not exist")
	}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, name := range []string{"attic", "cellar"} {
			if err := tx.Profiles().Put(ctx, &domain.Profile{Name: name}); err != nil {
				return err
			}
		}
		for _, d := range []domain.Device{
			{Name: "SEP1", Model: "A", Profile: "attic", Site: "oslo", Registration: "enrolled", Description: "100% Küche_1"},
			{Name: "SEP2", Model: "A", Profile: "cellar", Load: domain.Assignment{Load: "L1"}, Description: "100 kitchen"},
			{Name: "SEP3", Model: "B", Site: "oslo", Load: domain.Assignment{Release: "9.4(2)"}},
		} {
			if err := tx.Devices().Put(ctx, &d); err != nil {
				return err
			}
		}
		for _, st := range []domain.DeviceState{{Device: "SEP1", Last: report.Device{State: "idle", Active: "L1"}},
			{Device: "SEP2", Last: report.Device{State: domain.StateUnknown}}} {
			if err := tx.States().Put(ctx, &st); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, c := range []struct {
			f    domain.DeviceFilter
			want []string
		}{
			{domain.DeviceFilter{}, []string{"SEP1", "SEP2", "SEP3"}},
			{domain.DeviceFilter{Model: "A"}, []string{"SEP1", "SEP2"}},
			{domain.DeviceFilter{Model: "A", Site: "oslo"}, []string{"SEP1"}},
			{domain.DeviceFilter{Profile: "cellar"}, []string{"SEP2"}},
			{domain.DeviceFilter{NoProfile: true}, []string{"SEP3"}},
			{domain.DeviceFilter{Registration: "enrolled"}, []string{"SEP1"}},
			{domain.DeviceFilter{Load: "L1"}, []string{"SEP2"}},
			{domain.DeviceFilter{Release: "9.4(2)"}, []string{"SEP3"}},
			{domain.DeviceFilter{Release: "L1"}, []string{}},
			{domain.DeviceFilter{Active: "L1"}, []string{"SEP1"}},
			{domain.DeviceFilter{State: "idle"}, []string{"SEP1"}},
			{domain.DeviceFilter{State: domain.StateUnknown}, []string{"SEP2", "SEP3"}},
			{domain.DeviceFilter{Text: "KÜCHE"}, []string{"SEP1"}},
			{domain.DeviceFilter{Text: "100%"}, []string{"SEP1"}},
			{domain.DeviceFilter{Text: "e_1"}, []string{"SEP1"}},
			{domain.DeviceFilter{Text: "100_"}, []string{}},
			{domain.DeviceFilter{Text: "sep3"}, []string{"SEP3"}},
			{domain.DeviceFilter{Text: "' OR 1=1 --"}, []string{}},
		} {
			if got := keys(t, ctx, tx.Devices(), c.f); !slices.Equal(got, c.want) {
				t.Errorf("%+v finds %v, not %v", c.f, got, c.want)
			}
		}
		return nil
	})
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if err := tx.Devices().Delete(ctx, "SEP1", 0); err != nil {
			return err
		}
		if got := keys(t, ctx, tx.States(), domain.StateFilter{}); !slices.Equal(got, []string{"SEP2"}) {
			t.Errorf("the state of a deleted device stays: %v", got)
		}
		return nil
	})
	if err := s.Update(t.Context(),
		func(tx domain.Tx) error { return tx.Profiles().Delete(t.Context(), "cellar", 0) }); err == nil {
		t.Error("a profile that a device has was deleted")
	}
}

// pages: all pages together are the list, in the order of bytes.
func pages(t *testing.T, open Open) {
	s := fresh(t, open)
	names := []string{"A", "B", "Z", "a", "a b", "a-b", "a_b", "b", "z", "Ä", "ä", "あ"}
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for i := range names {
			if err := tx.Profiles().Put(ctx, &domain.Profile{Name: names[(i*5+3)%len(names)]}); err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(names)
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		for size := 1; size <= len(names)+1; size++ {
			var got []string
			p := domain.Page{Limit: size}
			for range len(names) + 1 {
				l, err := tx.Profiles().List(ctx, domain.TextFilter{}, p)
				if err != nil {
					return err
				}
				if l.Total != len(names) || len(l.Items) > size {
					t.Errorf("pages of %d: %d items, total %d", size, len(l.Items), l.Total)
				}
				for _, i := range l.Items {
					got = append(got, i.Name)
				}
				if p.After = l.Next; l.Next == "" {
					break
				}
			}
			if !slices.Equal(got, names) {
				t.Errorf("pages of %d: %q, not %q", size, got, names)
			}
		}
		return nil
	})
}

// text: what is plain text comes back as it was, NUL included within JSON.
func text(t *testing.T, open Open) {
	s := fresh(t, open)
	for i, want := range []string{"", "a'b\"c\\d", "日本語 ピア", "<&>\u2028", "a\x00b", "?$1 %s", "\U0001F4DE"} {
		name := fmt.Sprint(i)
		update(t, s, func(ctx context.Context, tx domain.Tx) error {
			return tx.Audit().Append(ctx, domain.AuditEntry{ID: name, At: at,
				Changes: []domain.FieldChange{{Field: "f", Old: &want}}})
		})
		view(t, s, func(ctx context.Context, tx domain.Tx) error {
			l, err := tx.Audit().List(ctx, domain.AuditFilter{}, domain.Page{Limit: 1})
			if err == nil && *l.Items[0].Changes[0].Old != want {
				t.Errorf("%q came back as %q", want, *l.Items[0].Changes[0].Old)
			}
			return err
		})
	}
}

// oddKeys: what no column can hold is not found, which is no error.
func oddKeys(t *testing.T, open Open) {
	s := fresh(t, open)
	fill(t, s)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, odd := range []string{"a\x00b", "\xff", "'; DROP TABLE devices; --", strings.Repeat("x", 100_000)} {
			if _, err := tx.Devices().Get(ctx, odd); !errors.Is(err, domain.ErrNotFound) {
				t.Errorf("get %.20q: %v", odd, err)
			}
			if err := tx.Devices().Delete(ctx, odd, 0); !errors.Is(err, domain.ErrNotFound) {
				t.Errorf("delete %.20q: %v", odd, err)
			}
			for _, f := range []domain.DeviceFilter{{Text: odd}, {Model: odd}, {Profile: odd}, {State: odd},
				{Active: odd}, {Site: odd}} {
				if got := keys(t, ctx, tx.Devices(), f); len(got) > 0 {
					t.Errorf("%.20q finds %v", odd, got)
				}
			}
			if _, err := tx.Devices().List(ctx, domain.DeviceFilter{}, domain.Page{After: odd}); err != nil {
				t.Errorf("after %.20q: %v", odd, err)
			}
		}
		return nil
	})
}

func loads(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, l := range []domain.Load{{Name: "SCCP41.9-4-2"}, {Name: "SCCP41.9-2-1", Retired: true}} {
			if err := tx.Loads().Put(ctx, &l); err != nil {
				return err
			}
		}
		for _, c := range []struct {
			f    domain.LoadFilter
			want []string
		}{
			{domain.LoadFilter{}, []string{"SCCP41.9-4-2"}},
			{domain.LoadFilter{Retired: true}, []string{"SCCP41.9-2-1", "SCCP41.9-4-2"}},
			{domain.LoadFilter{Retired: true, Text: "sccp41.9-2"}, []string{"SCCP41.9-2-1"}},
		} {
			if got := keys(t, ctx, tx.Loads(), c.f); !slices.Equal(got, c.want) {
				t.Errorf("%+v finds %v, not %v", c.f, got, c.want)
			}
		}
		return nil
	})
}

// sites: a device belongs by its row, else by its state, and so do the entries
// about it.
func sites(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for i, site := range []string{"oslo", "oslo", "bergen", "", ""} {
			name := fmt.Sprint("SEP", i)
			if err := tx.Devices().Put(ctx, &domain.Device{Name: name, Site: site}); err != nil {
				return err
			}
			if i == 0 {
				continue // it has no state
			}
			located := []string{"", "", "oslo", "oslo", ""}[i]
			if err := tx.States().Put(ctx, &domain.DeviceState{Device: name, Site: located}); err != nil {
				return err
			}
			if err := tx.History().Append(ctx, domain.HistoryEntry{ID: name, At: at, Device: name}); err != nil {
				return err
			}
			if err := tx.Audit().Append(ctx, domain.AuditEntry{ID: name, At: at, Target: "device " + name}); err != nil {
				return err
			}
		}
		for _, part := range []domain.AuditEntry{{ID: "P1", At: at, Target: "elsewhere", PartOf: "T1"},
			{ID: "P2", At: at, Target: "device SEP4", PartOf: "T3"}} {
			if err := tx.Audit().Append(ctx, part); err != nil {
				return err
			}
		}
		for id, target := range map[string]string{"T1": "site oslo", "T2": "site bergen", "T3": "enterprise"} {
			if err := tx.Audit().Append(ctx, domain.AuditEntry{ID: id, At: at, Target: target}); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, s, func(ctx context.Context, tx domain.Tx) error {
		for site, want := range map[string][]string{"oslo": {"SEP0", "SEP1", "SEP3"}, "bergen": {"SEP2"}, "bodo": {},
			"a\x00b": {}, "": {"SEP0", "SEP1", "SEP2", "SEP3", "SEP4"}} {
			if got := keys(t, ctx, tx.Devices(), domain.DeviceFilter{Site: site}); !slices.Equal(got, want) {
				t.Errorf("devices of %q are %v, not %v", site, got, want)
			}
		}
		for site, want := range map[string][]string{"oslo": {"SEP3", "SEP1"}, "bergen": {"SEP2"}, "a\x00b": {}} {
			if got := keys(t, ctx, tx.History(), domain.HistoryFilter{Site: site}); !slices.Equal(got, want) {
				t.Errorf("the history of %q is %v, not %v", site, got, want)
			}
		}
		for site, want := range map[string][]string{"oslo": {"T1", "SEP3", "SEP1"}, "bergen": {"T2", "SEP2"},
			"a\x00b": {}} {
			if got := keys(t, ctx, tx.Audit(), domain.AuditFilter{Site: site}); !slices.Equal(got, want) {
				t.Errorf("the audit log of %q is %v, not %v", site, got, want)
			}
		}
		realms(t, ctx, tx)
		for want, f := range map[string]domain.AuditFilter{"P1": {PartOf: "T1"}, "T1": {ID: "T1"}, "": {ID: "none"}} {
			if got := strings.Join(keys(t, ctx, tx.Audit(), f), " "); got != want {
				t.Errorf("%+v finds %q, not %q", f, got, want)
			}
		}
		return nil
	})
}

// realms: filters find what a realm has, as those of its sites together do.
func realms(t *testing.T, ctx context.Context, tx domain.Tx) {
	for text, want := range map[string][4][]string{
		"oslo":   {{"SEP0", "SEP1", "SEP3"}, {"SEP1", "SEP3"}, {"SEP3", "SEP1"}, {"T1", "SEP3", "SEP1"}},
		"bergen": {{"SEP2"}, {"SEP2"}, {"SEP2"}, {"T2", "SEP2"}},
		"bergen oslo": {{"SEP0", "SEP1", "SEP2", "SEP3"}, {"SEP1", "SEP2", "SEP3"}, {"SEP3", "SEP2", "SEP1"},
			{"T2", "T1", "SEP3", "SEP2", "SEP1"}},
		"bodo": {}, "a\x00b": {}, "a\x00b bergen": {{"SEP2"}, {"SEP2"}, {"SEP2"}, {"T2", "SEP2"}},
	} {
		r := domain.RealmOf(strings.Fields(text))
		for i, got := range [][]string{keys(t, ctx, tx.Devices(), domain.DeviceFilter{Realm: r}),
			keys(t, ctx, tx.States(), domain.StateFilter{Realm: r}),
			keys(t, ctx, tx.History(), domain.HistoryFilter{Realm: r}),
			keys(t, ctx, tx.Audit(), domain.AuditFilter{Realm: r})} {
			if !slices.Equal(got, want[i]) {
				t.Errorf("%d of the realm %q is %v, not %v", i, text, got, want[i])
			}
		}
	}
	bergen := domain.RealmOf([]string{"bergen"})
	if got := keys(t, ctx, tx.Devices(), domain.DeviceFilter{Site: "oslo", Realm: bergen}); len(got) > 0 {
		t.Errorf("outside of the realm there is %v", got)
	}
	all := keys(t, ctx, tx.Audit(), domain.AuditFilter{})
	if got := keys(t, ctx, tx.Audit(), domain.AuditFilter{Realm: domain.Realm{}}); !slices.Equal(got, all) {
		t.Errorf("everything is %v, not %v", got, all)
	}
}

func states(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for i, name := range []string{"a", "b", "c"} {
			if err := tx.Devices().Put(ctx, &domain.Device{Name: name}); err != nil {
				return err
			}
			st := domain.DeviceState{Device: name, LastSeen: at.Add(time.Duration(i) * time.Hour),
				Last: report.Device{State: "idle", Role: []string{"root", "leaf", "leaf"}[i]}}
			if err := tx.States().Put(ctx, &st); err != nil {
				return err
			}
		}
		for _, c := range []struct {
			f    domain.StateFilter
			want []string
		}{
			{domain.StateFilter{Role: "leaf"}, []string{"b", "c"}},
			{domain.StateFilter{SeenBefore: at.Add(time.Hour)}, []string{"a"}},
			{domain.StateFilter{State: "failed"}, []string{}},
		} {
			if got := keys(t, ctx, tx.States(), c.f); !slices.Equal(got, c.want) {
				t.Errorf("%+v finds %v, not %v", c.f, got, c.want)
			}
		}
		return nil
	})
}

func credentials(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for _, c := range []domain.Credential{
			{ID: "1", Kind: domain.CredentialToken, Subject: "ann", Hash: "h1"},
			{ID: "2", Kind: domain.CredentialSession, Subject: "ann", Hash: "h2", Expires: at.Add(time.Hour), Idle: at},
			{ID: "3", Kind: domain.CredentialToken, Subject: "bob", Hash: "h3", Expires: at.Add(time.Minute)},
		} {
			if err := tx.Credentials().Put(ctx, &c); err != nil {
				return err
			}
		}
		for _, c := range []struct {
			f    domain.CredentialFilter
			want []string
		}{
			{domain.CredentialFilter{Kind: domain.CredentialToken}, []string{"1", "3"}},
			{domain.CredentialFilter{Kind: domain.CredentialToken, Subject: "ann"}, []string{"1"}},
			{domain.CredentialFilter{Hashes: []string{"h2", "h3"}}, []string{"2", "3"}},
			{domain.CredentialFilter{Hashes: []string{"none"}}, nil},
			{domain.CredentialFilter{ExpiredBy: at}, []string{"2"}},
			{domain.CredentialFilter{ExpiredBy: at.Add(time.Minute)}, []string{"2", "3"}},
		} {
			if got := keys(t, ctx, tx.Credentials(), c.f); !slices.Equal(got, c.want) {
				t.Errorf("%+v finds %v, not %v", c.f, got, c.want)
			}
		}
		return nil
	})
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		return tx.Credentials().Put(t.Context(), &domain.Credential{ID: "4", Kind: domain.CredentialDevice, Hash: "h1"})
	})
	if err == nil {
		t.Error("two credentials have one secret")
	}
}

func logs(t *testing.T, open Open) {
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for i := range 10 {
			e := domain.HistoryEntry{ID: fmt.Sprintf("%02d", i), At: at.Add(time.Duration(i) * time.Minute),
				Device: []string{"a", "b"}[i%2], Kind: "state"}
			if err := tx.History().Append(ctx, e); err != nil {
				return err
			}
		}
		expect := func(f domain.HistoryFilter, want ...string) {
			t.Helper()
			if got := keys(t, ctx, tx.History(), f); !slices.Equal(got, want) {
				t.Errorf("%+v finds %v, not %v", f, got, want)
			}
		}
		expect(domain.HistoryFilter{Device: "a"}, "08", "06", "04", "02", "00")
		expect(domain.HistoryFilter{Since: at.Add(8 * time.Minute)}, "09", "08")
		expect(domain.HistoryFilter{Before: at.Add(2 * time.Minute), Kind: "state"}, "01", "00")
		l, err := tx.History().List(ctx, domain.HistoryFilter{}, domain.Page{Limit: 4, After: "07"})
		if err != nil || len(l.Items) != 4 || l.Items[0].ID != "06" || l.Next != "03" || l.Total != 10 {
			t.Errorf("a page: %+v, %v", l, err)
		}
		if n, err := tx.History().Trim(ctx, at.Add(2*time.Minute)); n != 2 || err != nil {
			t.Errorf("trimmed %d, %v", n, err)
		}
		if n, err := tx.History().TrimOf(ctx, "a", 2); n != 2 || err != nil {
			t.Errorf("trimmed %d of a, %v", n, err)
		}
		if n, err := tx.History().TrimOf(ctx, "a", 5); n != 0 || err != nil {
			t.Errorf("trimmed %d of a, which has fewer, %v", n, err)
		}
		expect(domain.HistoryFilter{}, "09", "08", "07", "06", "05", "03")
		if n, err := tx.History().TrimOf(ctx, "b", 0); n != 4 || err != nil {
			t.Errorf("trimmed %d of b, %v", n, err)
		}
		expect(domain.HistoryFilter{}, "08", "06")
		return nil
	})
}

// everything: each field of each kind of thing comes back.
func everything(t *testing.T, open Open) {
	s := fresh(t, open)
	fill(t, s)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		same(t, ctx, tx.Profiles(), sampleProfile, 1)
		same(t, ctx, tx.Devices(), sampleDevice, 1)
		same(t, ctx, tx.Enterprises(), sampleEnterprise, 1)
		same(t, ctx, tx.Models(), sampleModel, 1)
		same(t, ctx, tx.Loads(), sampleLoad, 1)
		same(t, ctx, tx.Sites(), sampleSite, 1)
		same(t, ctx, tx.FileSets(), sampleFileSet, 1)
		same(t, ctx, tx.Savings(), sampleSaving, 1)
		same(t, ctx, tx.Webhooks(), sampleWebhook, 1)
		same(t, ctx, tx.Deliveries(), sampleDelivery, 1)
		same(t, ctx, tx.Releases(), sampleRelease, 1)
		same(t, ctx, tx.States(), sampleState, 1)
		same(t, ctx, tx.Accounts(), sampleAccount, 1)
		same(t, ctx, tx.Credentials(), sampleCredential, 1)
		same(t, ctx, tx.Throttles(), sampleThrottle, 1)
		same(t, ctx, tx.Rollouts(), sampleRollout, 1)
		same(t, ctx, tx.RolloutDevices(), sampleRolloutDevice, 1)
		same(t, ctx, tx.Verdicts(), sampleVerdict, 1)
		same(t, ctx, tx.SentOrders(), sampleSentOrder, 1)
		same(t, ctx, tx.OrderDevices(), sampleOrderDevice, 1)
		same(t, ctx, tx.Jobs(), sampleJob, 1)
		same(t, ctx, tx.JobSteps(), sampleStep, 1)
		same(t, ctx, tx.Templates(), sampleTemplate, 1)
		h, err := tx.History().List(ctx, domain.HistoryFilter{}, domain.Page{})
		if err != nil || !reflect.DeepEqual(h.Items, []domain.HistoryEntry{sampleHistory}) {
			t.Errorf("history: %+v, %v", h, err)
		}
		a, err := tx.Audit().List(ctx, domain.AuditFilter{}, domain.Page{})
		if err != nil || !reflect.DeepEqual(a.Items, []domain.AuditEntry{sampleAudit}) {
			t.Errorf("audit: %+v, %v", a, err)
		}
		return nil
	})
}

// same reads a thing back and compares all of it but the version, which counts.
func same[T, F any, P interface {
	*T
	Key() string
	Stamp() *domain.Meta
}](t *testing.T, ctx context.Context, table domain.Table[T, F], want T, version int64, _ ...P) {
	t.Helper()
	P(&want).Stamp().Version = version
	got, err := table.Get(ctx, P(&want).Key())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("came back as %+v, %v; want %+v", got, err, want)
	}
}
