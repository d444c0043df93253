package storesuite

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/report"
)

// ways: a device is handed the load that leads to the one that it should run, or
// none, with the reason, by what it has last reported; what leads nowhere is refused
// with the count by version.
func ways(t *testing.T, open Open) {
	s := fresh(t, open)
	c, err := domain.New(domain.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	w := wayTest{t, s, c, domain.Local("root")}
	w.fleet()
	w.handsOut()
	w.refuses()
	w.counts()
}

// wayTest is a controller on a store of either kind.
type wayTest struct {
	t    *testing.T
	s    domain.Store
	c    *domain.Controller
	root domain.Actor
}

// Devices by what they run.
const (
	ready   = "SEP000000000001" // 9.3(1)
	behind  = "SEP000000000002" // 9.2(1)
	ancient = "SEP000000000003" // 8.5(3), from which nothing leads on
	empty   = "SEP000000000004" // no load
	mute    = "SEP000000000005" // has never reported
	foreign = "SEP000000000006" // a load of nobody's list
	camera  = "SEP000000000007" // another model
)

func (w wayTest) fleet() {
	update(w.t, w.s, func(ctx context.Context, tx domain.Tx) error {
		var errs []error
		for _, l := range []domain.Load{{Name: "a", Release: "8.5(3)"},
			{Name: "b", Release: "9.2(1)", From: []string{"9.1(*)"}},
			{Name: "c", Release: "9.3(1)", From: []string{"9.2(*)"}},
			{Name: "d", Release: "9.3(2)", From: []string{"9.2(*)"}, Retired: true},
			{Name: "goal", Release: "9.4(2)", From: []string{"9.3(*)", "9.4(*)"}},
			{Name: "free", Release: "1"}} {
			l.Models, l.Signed = []string{"CP-7961G"}, true
			errs = append(errs, tx.Loads().Put(ctx, &l))
		}
		runs := map[string]string{ready: "c", behind: "b", ancient: "a", empty: "", mute: "-", foreign: "x",
			camera: "b"}
		for name, runs := range runs {
			d := domain.Device{Name: name, Model: "CP-7961G"}
			if name == camera {
				d.Model = "CP-7941G"
			}
			errs = append(errs, tx.Devices().Put(ctx, &d))
			if name != mute {
				st := domain.DeviceState{Device: name, Reported: time.Unix(1, 0).UTC(),
					Last: report.Device{State: report.StateIdle, Active: runs}}
				errs = append(errs, tx.States().Put(ctx, &st))
			}
		}
		return errors.Join(errs...)
	})
}

// said writes what a device says of itself.
func (w wayTest) said(device, state, active, wanted string) {
	update(w.t, w.s, func(ctx context.Context, tx domain.Tx) error {
		st, err := tx.States().Get(ctx, device)
		if err != nil {
			return err
		}
		st.Last.State, st.Last.Active, st.Last.Wanted = state, active, wanted
		return tx.States().Put(ctx, &st)
	})
}

// handed is what a device's provisioning file says, and why.
func (w wayTest) handed(device string) (load, held string) {
	w.t.Helper()
	d, err := w.c.Provision(w.t.Context(), device, "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Load.Handed(), d.Load.Held
}

// handsOut: each device goes its own way.
func (w wayTest) handsOut() {
	assign(w.t, w.s, map[string]string{ready: "goal", behind: "goal", ancient: "goal", empty: "goal", mute: "goal",
		foreign: "goal"})
	for _, c := range []struct{ device, load, why string }{
		{ready, "goal", ""}, {behind, "c", ""}, {ancient, "", "from version 8.5(3)"}, {empty, "", "from no load"},
		{mute, "", "has not reported"}, {foreign, "", "from version x"},
	} {
		load, held := w.handed(c.device)
		if load != c.load || !strings.Contains(held, c.why) || (held == "") != (c.why == "") {
			w.t.Errorf("%s is handed %q, %s", c.device, load, held)
		}
	}
	// What runs on trial may go again: only when it has stayed is the next one handed.
	for _, c := range []struct{ state, active, wanted, load, why string }{
		{report.StateInstalling, "b", "c", "c", ""}, {report.StateTrial, "c", "c", "c", ""},
		{report.StateIdle, "c", "c", "goal", ""}, {report.StateTrial, "goal", "goal", "goal", ""},
		{report.StateRolledBack, "b", "c", "c", ""}, {report.StateTrial, "a", "a", "", "not done with a"},
		{report.StateDownloading, "b", "goal", "c", ""}, {report.StateIdle, "goal", "goal", "goal", ""},
	} {
		w.said(behind, c.state, c.active, c.wanted)
		if load, held := w.handed(behind); load != c.load || !strings.Contains(held, c.why) {
			w.t.Errorf("%s with %s, told %s, is handed %q, %s", c.state, c.active, c.wanted, load, held)
		}
	}
	w.said(behind, report.StateIdle, "b", "")
	d, err := w.c.Defaults(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range d.Models {
		if m.Load != "" {
			w.t.Errorf("an unknown %s is handed %s", m.Model.Name, m.Load)
		}
	}
}

// assign gives devices their loads, whatever leads there.
func assign(t *testing.T, s domain.Store, loads map[string]string) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		for name, load := range loads {
			d, err := tx.Devices().Get(ctx, name)
			if err != nil {
				return err
			}
			d.Load.Load = load
			if err := tx.Devices().Put(ctx, &d); err != nil {
				return err
			}
		}
		return nil
	})
}

// refuses: no order gives a device a load to which nothing leads, and changes
// nothing then.
func (w wayTest) refuses() {
	assign(w.t, w.s, map[string]string{ready: "", behind: "", ancient: "", empty: "", mute: "", foreign: ""})
	ctx, goal, site := w.t.Context(), "goal", "S"
	if _, err := w.c.CreateSite(ctx, w.root, site, domain.SiteChange{}); err != nil {
		w.t.Fatal(err)
	}
	for _, name := range []string{ready, ancient, empty} {
		if _, err := w.c.UpdateDevice(ctx, w.root, name, domain.DeviceChange{Site: &site}, 0); err != nil {
			w.t.Fatal(err)
		}
	}
	model := domain.ModelTarget("7961")
	for what, c := range map[string]struct {
		says string
		do   func() error
	}{
		"a model": {"3 devices run neither that nor a load that leads there: 1 with no load, 1 with version 8.5(3), " +
			"1 with version x", func() error {
			_, err := w.c.AssignLoad(ctx, w.root, model, goal, 0)
			return err
		}},
		"a dry run": {"3 devices", func() error {
			_, err := w.c.Change(ctx, w.root, domain.Order{Target: &model, Load: &goal}, true)
			return err
		}},
		"a site": {"2 devices run neither that nor a load that leads there: 1 with no load, 1 with version 8.5(3)",
			func() error {
				_, err := w.c.Change(ctx, w.root, domain.Order{Site: site, Load: &goal}, false)
				return err
			}},
		"a device": {"1 device runs neither", func() error {
			_, err := w.c.UpdateDevice(ctx, w.root, ancient, domain.DeviceChange{Load: &goal}, 0)
			return err
		}},
		"patterns that are none": {"stands twice", func() error {
			_, err := w.c.SetLoadFrom(ctx, w.root, "goal", []string{"9", "9"}, 0)
			return err
		}},
	} {
		err := c.do()
		if !errors.Is(err, domain.ErrNoWay) && !errors.Is(err, domain.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			w.t.Errorf("%s: %v", what, err)
		}
		view(w.t, w.s, func(ctx context.Context, tx domain.Tx) error {
			l, err := tx.Devices().List(ctx, domain.DeviceFilter{Load: goal}, domain.Page{})
			if l.Total > 0 {
				w.t.Errorf("%s: %d devices have it all the same", what, l.Total)
			}
			return err
		})
	}
}

// counts: an order says how many devices go by which load, and how many wait. What
// may be installed from where can be changed, and holds at once.
func (w wayTest) counts() {
	ctx, goal, model := w.t.Context(), "goal", domain.ModelTarget("7961")
	for _, from := range [][]string{{"9.3(*)", "x", "none"}, {"9.3(*)", "x", "none", "8.5(*)"}} {
		if _, err := w.c.SetLoadFrom(ctx, w.root, goal, from, 0); err != nil {
			w.t.Fatal(err)
		}
		_, err := w.c.Change(ctx, w.root, domain.Order{Target: &model, Load: &goal}, true)
		if refused := errors.Is(err, domain.ErrNoWay); refused != (len(from) < 4) || err != nil && !refused {
			w.t.Errorf("installed from %q: %v", from, err)
		}
	}
	done, err := w.c.Change(ctx, w.root, domain.Order{Target: &model, Load: &goal}, false)
	if err != nil {
		w.t.Fatal(err)
	}
	r := done.Reach
	if r.Devices != 6 || !maps.Equal(r.Steps, map[string]int{"c": 1}) || r.Waiting != 1 {
		w.t.Errorf("the reach is %+v", r)
	}
	err = w.s.View(ctx, func(tx domain.Tx) error {
		next, err := w.c.NextStep(ctx, tx)
		if err != nil {
			return err
		}
		if step, ok := next("b", goal); step != "c" || !ok {
			w.t.Errorf("a rollout goes by %q, %v", step, ok)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
