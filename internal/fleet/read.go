package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/report"
)

// pages are the filters of the pages that are read, by what they find.
func (f *fleet) pages() []page {
	return []page{
		{"all", func(int) domain.DeviceFilter { return domain.DeviceFilter{} }},
		{"site", func(n int) domain.DeviceFilter { return domain.DeviceFilter{Site: site(n % f.sites())} }},
		{"model", func(n int) domain.DeviceFilter { return domain.DeviceFilter{Model: models[n%2]} }},
		{"profile and model", func(int) domain.DeviceFilter {
			return domain.DeviceFilter{Profile: "Branch", Model: "7961"}
		}},
		{"state", func(int) domain.DeviceFilter { return domain.DeviceFilter{State: report.StateFailed} }},
		{"load that runs, and model", func(int) domain.DeviceFilter {
			return domain.DeviceFilter{Active: "old", Model: "7941"}
		}},
		{"part of the description", func(n int) domain.DeviceFilter {
			return domain.DeviceFilter{Text: fmt.Sprintf("room %d", n%997)}
		}},
		{"name", func(n int) domain.DeviceFilter { return domain.DeviceFilter{Text: name(n * 7919 % f.o.devices)} }},
	}
}

// page is a list that somebody reads.
type page struct {
	by     string
	filter func(n int) domain.DeviceFilter
}

// reads measures pages, overviews and sites.
func (f *fleet) reads(ctx context.Context) error {
	ctl := f.Controller
	heard, err := ctl.Devices(ctx, f.admin, domain.DeviceFilter{State: report.StateFailed}, domain.Page{Limit: 1})
	if err == nil && heard.Total == 0 {
		err = errors.New("nothing was heard of these devices: the phase heard comes before reads")
	}
	if err != nil {
		return err
	}
	for _, p := range f.pages() {
		next := ""
		err := f.timed("page by "+p.by, 50*time.Millisecond, func(n int) error {
			l, err := ctl.Devices(ctx, f.admin, p.filter(n), domain.Page{After: next})
			if err == nil && len(l.Items) == 0 && next == "" {
				err = fmt.Errorf("the first page by %s is empty", p.by)
			}
			if next = l.Next; n%5 == 4 {
				next = ""
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	err = f.timed("overview", 50*time.Millisecond, func(int) error {
		o, err := ctl.Overview(ctx, f.admin, "", silentFor)
		if err == nil && (o.Devices != f.o.devices || len(o.BySite) != f.sites()) {
			err = fmt.Errorf("%d devices, %d sites", o.Devices, len(o.BySite))
		}
		return err
	})
	if err != nil {
		return err
	}
	err = f.timed("list of sites", 50*time.Millisecond, func(int) error {
		_, err := ctl.Sites(ctx, f.admin, domain.TextFilter{}, silentFor, domain.Page{})
		return err
	})
	if err != nil {
		return err
	}
	err = f.timed("site", 50*time.Millisecond, func(n int) error {
		_, err := ctl.Site(ctx, f.admin, site(n%f.sites()), silentFor)
		return err
	})
	f.told("memory of the controller", resident(), "MB")
	return err
}

// timed prints the median and the 99th percentile of how long calls take.
func (f *fleet) timed(what string, bound time.Duration, call func(n int) error) error {
	var took []time.Duration
	for n := range f.o.calls {
		begun := time.Now()
		if err := call(n); err != nil {
			return err
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	f.told(what+", median", ms(took[len(took)/2]), "ms")
	f.atMost(what+", p99", ms(took[(len(took)*99-1)/100]), ms(bound), "ms")
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

const (
	// target is how many devices the rollout has, of however many.
	target = 100_000
	// visits is how many of them check in.
	visits = 1000
)

// rollout measures a step: a person opens the wave that has nearly all devices, and the
// controller does what follows.
func (f *fleet) rollout(ctx context.Context) error {
	before, err := f.Rollouts.List(ctx, f.admin, "", domain.RolloutFilter{}, domain.Page{Limit: 1})
	if err != nil {
		return err
	}
	id := fmt.Sprintf("up-%d-%d", f.o.seed, before.Total)
	load := "new-" + id
	if _, err := f.Controller.RegisterLoad(ctx, f.admin, domain.UnsignedLoad{Name: load, Models: models}); err != nil {
		return err
	}
	_, err = f.Rollouts.Create(ctx, f.admin, id, rollouts.Change{Load: &load,
		Target: &domain.RolloutTarget{All: true, Percent: min(max(target*100/f.o.devices, 1), 100)},
		Plan:   &rollouts.Plan{LeaveOut: true, Waves: []rollouts.Wave{{Percent: 1, Opener: "person"}, {Percent: 100}}}})
	if err != nil {
		return err
	}
	if err := f.order(ctx, id, rollouts.ToStart); err != nil {
		return err
	}
	begun := time.Now()
	if err := f.Rollouts.Work(ctx, keeper.Job{Kind: keeper.KindList, Rollout: id}); err != nil {
		return err
	}
	f.told("rollout: listing its devices", time.Since(begun).Seconds(), "s")
	begun = time.Now()
	if err := f.order(ctx, id, rollouts.ToNext); err != nil {
		return err
	}
	for _, kind := range []keeper.Kind{keeper.KindTick, keeper.KindLook} {
		if err := f.Rollouts.Work(ctx, keeper.Job{Kind: kind, Rollout: id}); err != nil {
			return err
		}
	}
	took := time.Since(begun).Seconds()
	v, err := f.Rollouts.Get(ctx, f.admin, id)
	if err != nil {
		return err
	}
	if v.State != rollout.Running || v.Open != 2 || v.Counts.Waiting == 0 {
		return fmt.Errorf("%s, %d waves open, %+v", v.State, v.Open, v.Counts)
	}
	f.atMost(fmt.Sprintf("rollout: step over %d devices", v.Counts.Waiting), took, 2, "s")
	if err := f.visits(ctx, id); err != nil {
		return err
	}
	return f.order(ctx, id, rollouts.ToAbort)
}

func (f *fleet) order(ctx context.Context, id string, v rollouts.Verb) error {
	_, err := f.Rollouts.Order(ctx, f.admin, id, v, rollouts.Instruction{}, 0, false)
	return err
}

// visits measures what a report and a provisioning file of a device in a rollout take.
func (f *fleet) visits(ctx context.Context, id string) error {
	var took []time.Duration
	for after := ""; len(took) < visits; {
		l, err := f.Rollouts.Devices(ctx, f.admin, domain.RolloutDeviceFilter{Rollout: id},
			domain.Page{After: after, Limit: 500})
		if err != nil {
			return err
		}
		for _, d := range l.Items {
			var n int
			if _, err := fmt.Sscanf(d.Device, "SEP%X", &n); err != nil {
				return err
			}
			is := f.device(n - 1)
			says := is.says(0)
			says.State = report.StateIdle
			begun := time.Now()
			err := f.Controller.Report(ctx, domain.Actor{Kind: domain.ActorDevice, Name: name(is.n),
				From: address(is.site), Role: domain.RoleDevice}, says)
			if err == nil {
				_, err = f.Rollouts.Told(ctx, name(is.n))
			}
			if err != nil {
				return err
			}
			took = append(took, time.Since(begun))
		}
		if after = l.Next; after == "" {
			break
		}
	}
	slices.Sort(took)
	f.told("rollout: report and provisioning file of a device, median", ms(took[len(took)/2]), "ms")
	f.told("rollout: the same, p99", ms(took[(len(took)*99-1)/100]), "ms")
	return nil
}
