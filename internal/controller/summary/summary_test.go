package summary_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/summary"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
	"github.com/peerload/peerload/report"
)

// reporter lets devices of a fleet report.
type reporter struct {
	*realmsuite.Fleet
	t *testing.T
	s *summary.Service
}

func newReporter(t *testing.T) *reporter {
	f := realmsuite.New(t)
	return &reporter{f, t, summary.New(f.Controller)}
}

// says has a device report.
func (r *reporter) says(device string, d report.Device) {
	r.t.Helper()
	d.Schema = report.Schema
	a := domain.Actor{Kind: domain.ActorDevice, Name: device, Role: domain.RoleDevice, From: "10.2.0.7"}
	if err := r.Controller.Report(r.t.Context(), a, d); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reporter) failures(q summary.FailureQuery) []summary.Failure {
	r.t.Helper()
	l, err := r.s.Failures(r.t.Context(), r.Admin, q, domain.Page{})
	if err != nil {
		r.t.Fatal(err)
	}
	return l.Items
}

// TestFailures: who failed, at what, why, and with which last words; a device that
// works again is not told of any more.
func TestFailures(t *testing.T) {
	r := newReporter(t)
	if got := r.failures(summary.FailureQuery{}); len(got) > 0 {
		t.Fatalf("nobody failed: %+v", got)
	}
	r.says(realmsuite.Own, report.Device{State: report.StateRolledBack, Active: "a1", Wanted: "b1", Reason: "installer",
		Message: "installer, Install: exit status 1", Upgrade: &report.Upgrade{Load: "b1", Rollout: "r1"},
		Failures: []report.Failure{{Load: "ab", Reason: "installer", Phase: "download", Output: "another"},
			{Load: "b1", Reason: "installer", Phase: "install", Output: "unpacking\nno room on /opt\n\x1b[1m"}}})
	r.says(realmsuite.Outside, report.Device{State: report.StateIdle, Active: "b1",
		FileSets: []report.FileSet{{Directory: "locale", State: report.StateIdle, Wanted: "kana"},
			{Directory: "tones", Wanted: "bells", State: report.StateFailed, Reason: "hook-failed", Message: "m"}},
		Failures: []report.Failure{{Load: "bells", Reason: "hook-failed", Phase: "file-hook", Output: "no such file"}}})
	all := r.failures(summary.FailureQuery{})
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	f, set := all[0], all[1]
	if f.Device != realmsuite.Own || f.Site != realmsuite.Kyoto || f.Load != "b1" || f.Rollout != "r1" ||
		f.State != report.StateRolledBack || f.Phase != "install" || f.Reason != "installer" || f.Since.IsZero() ||
		f.Message != "installer, Install: exit status 1" || f.Model == "" || f.Seen.IsZero() ||
		!strings.HasPrefix(f.Output, "unpacking\nno room on /opt\n") || strings.Contains(f.Output, "\x1b") {
		t.Errorf("the upgrade: %+v", f)
	}
	if set.Device != realmsuite.Outside || set.Load != "bells" || set.Directory != "tones" || set.Phase != "file-hook" ||
		set.Output != "no such file" || set.Since.IsZero() {
		t.Errorf("the file set: %+v", set)
	}
	for q, want := range map[summary.FailureQuery]int{{Site: realmsuite.Kyoto}: 1, {Site: realmsuite.Nara}: 0,
		{Load: "b1"}: 2, {Load: "a1"}: 1, {Load: "none"}: 0} {
		if got := r.failures(q); len(got) != want {
			t.Errorf("%+v finds %d, not %d", q, len(got), want)
		}
	}
	if _, err := r.s.Failures(t.Context(), r.Admin, summary.FailureQuery{Site: "Kyot"}, domain.Page{}); !errors.Is(err,
		domain.ErrNotFound) {
		t.Errorf("of a site that is not there: %v", err)
	}
	r.says(realmsuite.Own, report.Device{State: report.StateIdle, Active: "b1", Wanted: "b1"})
	r.says(realmsuite.Outside, report.Device{State: report.StateIdle, Active: "b1"})
	if got := r.failures(summary.FailureQuery{}); len(got) > 0 {
		t.Errorf("they work again: %+v", got)
	}
}

// TestSavings: what came from servers, beside the classic way, by each way to sum up.
func TestSavings(t *testing.T) {
	r := newReporter(t)
	r.says(realmsuite.Own, report.Device{State: report.StateIdle, Files: []report.Final{{File: "b1.load", Load: "b1",
		Size: 1000, BytesFromOrigin: 30, BytesFromPeers: 970, Components: []report.Final{{File: "x", BytesFromPeers: 970}},
		Fallbacks: []report.Fallback{{Reason: "parent-lost"}}}}})
	r.says(realmsuite.Outside, report.Device{State: report.StateIdle, Files: []report.Final{
		{File: "b1.load", Size: 1000, BytesFromOrigin: 400, BytesFromPeers: 500, BytesFromCache: 100}, // an older device
		{File: "invented.load", Load: "invented", Size: 10, BytesFromOrigin: 10}}})
	sum := func(q summary.SavingQuery) summary.Savings {
		t.Helper()
		s, err := r.s.Savings(t.Context(), r.Admin, q)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	all := sum(summary.SavingQuery{By: []string{"site"}})
	if len(all.Rows) != 2 || all.Rows[0].Site != realmsuite.Kyoto || all.Rows[1].Site != realmsuite.Osaka {
		t.Fatalf("%+v", all.Rows)
	}
	k := all.Rows[0]
	if k.Saved != 970 || k.SavedPercent == nil || *k.SavedPercent != 97 || k.Done != 1 || k.LastDevice != realmsuite.Own ||
		k.Last.IsZero() || k.Fallbacks["parent-lost"] != 1 {
		t.Errorf("%+v", k)
	}
	if total := all.Total; total.FromOrigin != 440 || total.Classic != 1910 || total.Saved != 1470 || total.Done != 3 {
		t.Errorf("%+v", total)
	}
	loads := sum(summary.SavingQuery{By: []string{"load"}})
	if len(loads.Rows) != 2 || loads.Rows[0].Load != "" || loads.Rows[1].Load != "b1" || loads.Rows[1].Classic != 1900 {
		t.Errorf("what the controller does not know makes no row of its own: %+v", loads.Rows)
	}
	if got := sum(summary.SavingQuery{Release: "9.4", By: []string{"release", "month"}}); len(got.Rows) != 1 ||
		got.Rows[0].Release != "9.4" || len(got.Rows[0].Month) != len("2026-11") || got.Total.Classic != 1900 {
		t.Errorf("of the release: %+v", got)
	}
	if got := sum(summary.SavingQuery{Since: "2000-01", Until: "2000-02"}); len(got.Rows) != 0 ||
		got.Total.SavedPercent != nil {
		t.Errorf("before that: %+v", got)
	}
	if got := sum(summary.SavingQuery{Site: realmsuite.Kyoto, Load: "b1"}); got.Total.Classic != 1000 {
		t.Errorf("of a load at a site: %+v", got)
	}
	for _, bad := range []summary.SavingQuery{{Since: "November"}, {Until: "2026-13"}, {By: []string{"device"}}} {
		if _, err := r.s.Savings(t.Context(), r.Admin, bad); !errors.Is(err, domain.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, none := range []summary.SavingQuery{{Site: "nowhere"}, {Release: "9.9"}} {
		if _, err := r.s.Savings(t.Context(), r.Admin, none); !errors.Is(err, domain.ErrNotFound) {
			t.Errorf("%+v: %v", none, err)
		}
	}
}

// TestRealm: who is limited to a site learns of no failure elsewhere, and not what
// others saved.
func TestRealm(t *testing.T) {
	r := newReporter(t)
	for _, d := range []string{realmsuite.Own, realmsuite.Outside, realmsuite.Unnamed, realmsuite.Stray} {
		r.says(d, report.Device{State: report.StateFailed, Active: "b1", Message: realmsuite.Secret,
			Files: []report.Final{{Load: "b1", Size: 5, BytesFromOrigin: 5}}})
	}
	r.says(realmsuite.Own, report.Device{State: report.StateFailed, Active: "b1", Message: "mine"})
	realmsuite.Add(r.Samples, summary.FailureQuery{}, summary.FailureQuery{Site: realmsuite.Osaka},
		summary.FailureQuery{Load: "b1"})
	realmsuite.Add(r.Samples, summary.SavingQuery{By: []string{"site"}}, summary.SavingQuery{Site: realmsuite.Osaka})
	realmsuite.Run(t, r.Fleet, func(cfg domain.Config) any {
		c, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return summary.New(c)
	})
	all, err := r.s.Savings(t.Context(), r.Ken, summary.SavingQuery{By: []string{"site"}})
	if err != nil || len(all.Rows) != 1 || all.Total.Done != 1 {
		t.Errorf("he reads %+v, %v", all, err)
	}
}
