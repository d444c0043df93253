package storesuite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/report"
)

// naive is a plain store of devices and their states.
type naive struct {
	devices map[string]domain.Device
	states  map[string]domain.DeviceState
}

func (f naive) clone() naive { return naive{maps.Clone(f.devices), maps.Clone(f.states)} }

// site is the one that a device belongs to.
func (f naive) site(name string) string { return cmp.Or(f.devices[name].Site, f.states[name].Site) }

// tallies counts the devices at these sites one by one, or all without their sites.
func (f naive) tallies(sites []string) map[domain.Tally]domain.Tally {
	all := map[domain.Tally]domain.Tally{}
	for name, d := range f.devices {
		site := f.site(name)
		if sites != nil && !slices.Contains(sites, site) {
			continue
		}
		if sites == nil {
			site = ""
		}
		s := f.states[name]
		k := domain.Tally{Site: site, Model: d.Model, Profile: d.Profile, Load: d.Load.Load, Release: d.Load.Release,
			State: s.Last.State, Active: s.Last.Active, Role: s.Last.Role}
		t, ok := all[k]
		if !ok {
			t = k
		}
		t.Devices++
		for _, n := range []struct {
			to *int64
			by int64
		}{{&t.Traffic.FromOrigin, s.Traffic.FromOrigin}, {&t.Traffic.FromPeers, s.Traffic.FromPeers},
			{&t.Traffic.FromCache, s.Traffic.FromCache}, {&t.Traffic.ToPeers, s.Traffic.ToPeers}} {
			*n.to += min(n.by, math.MaxInt64-*n.to)
		}
		all[k] = t
	}
	return all
}

var talliedSites = []string{"", "Kyoto", "Osaka"}

// tallies: after any history the counts that are kept are those of counting one by
// one, and each device is found at its site.
func tallies(t *testing.T, open Open) {
	long(t, "it writes thousands of rows")
	s := fresh(t, open)
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		return errors.Join(tx.Profiles().Put(ctx, &domain.Profile{Name: "p"}),
			tx.Profiles().Put(ctx, &domain.Profile{Name: "q"}))
	})
	want := naive{map[string]domain.Device{}, map[string]domain.DeviceState{}}
	rapid.Check(t, func(r *rapid.T) {
		ctx := t.Context()
		for range rapid.IntRange(1, 4).Draw(r, "transactions") {
			next, fails := want.clone(), rapid.IntRange(0, 4).Draw(r, "fails") == 0
			err := s.Update(ctx, func(tx domain.Tx) error {
				for range rapid.IntRange(1, 5).Draw(r, "steps") {
					if err := next.step(ctx, r, tx); err != nil {
						return err
					}
				}
				if fails {
					return errOnPurpose
				}
				return nil
			})
			if fails != errors.Is(err, errOnPurpose) || err != nil && !fails {
				r.Fatal(err)
			}
			if !fails {
				want = next
			}
			want.compare(ctx, r, s)
		}
	})
	update(t, s, func(ctx context.Context, tx domain.Tx) error {
		if mended, err := tx.Tallies().Recount(ctx); err != nil || mended != 0 {
			t.Errorf("counted anew, %d tallies differ, %v", mended, err)
		}
		return nil
	})
}

var errOnPurpose = errors.New("on purpose")

// step changes devices or states, in the store as here.
func (f naive) step(ctx context.Context, r *rapid.T, tx domain.Tx) error {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), 1, 4,
		func(s string) string { return s }).Draw(r, "names")
	name := names[0]
	_, known := f.devices[name]
	_, heard := f.states[name]
	switch rapid.IntRange(0, 5).Draw(r, "step") {
	case 0:
		d := f.device(r, name)
		defer func() { f.devices[name] = d }()
		return tx.Devices().Put(ctx, &d)
	case 1:
		var all []domain.Device
		for _, n := range names {
			all = append(all, f.device(r, n))
		}
		err := tx.Devices().PutAll(ctx, all)
		for _, d := range all {
			f.devices[d.Name] = d
		}
		return err
	case 2, 3:
		var all []domain.DeviceState
		for _, n := range names {
			if _, ok := f.devices[n]; ok {
				all = append(all, f.state(r, n))
			}
		}
		if len(all) == 1 {
			defer func() { f.states[all[0].Device] = all[0] }()
			return tx.States().Put(ctx, &all[0])
		}
		err := tx.States().PutAll(ctx, all)
		for _, s := range all {
			f.states[s.Device] = s
		}
		return err
	case 4:
		if known {
			delete(f.devices, name)
			delete(f.states, name)
			return tx.Devices().Delete(ctx, name, 0)
		}
	case 5:
		if heard {
			delete(f.states, name)
			return tx.States().Delete(ctx, name, 0)
		}
	}
	return nil
}

func (f naive) device(r *rapid.T, name string) domain.Device {
	text := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(r, label) }
	d := f.devices[name]
	d.Name, d.Model, d.Profile = name, text("model", "7941", "7961"), text("profile", "", "p", "q")
	d.Site, d.Load = text("site", talliedSites...), domain.Assignment{Load: text("load", "", "l"), Release: text("release",
		"", "r")}
	return d
}

func (f naive) state(r *rapid.T, name string) domain.DeviceState {
	text := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(r, label) }
	s := f.states[name]
	s.Device, s.Site = name, text("located", talliedSites...)
	s.Last = report.Device{State: text("state", "idle", "failed"), Active: text("active", "", "l"),
		Role: text("role", "", "root")}
	s.LastSeen = time.Time{}
	if n := rapid.IntRange(0, 3).Draw(r, "seen"); n > 0 {
		s.LastSeen = at.Add(time.Duration(n) * time.Second)
	}
	bytes := rapid.OneOf(rapid.Int64Range(0, 9), rapid.Int64Range(0, math.MaxInt64))
	s.Traffic = domain.Traffic{FromOrigin: bytes.Draw(r, "origin"), FromPeers: bytes.Draw(r, "peers"),
		FromCache: bytes.Draw(r, "cache"), ToPeers: bytes.Draw(r, "to peers")}
	return s
}

// compare compares what the store says with what is counted here.
func (f naive) compare(ctx context.Context, r *rapid.T, s domain.Store) {
	err := s.View(ctx, func(tx domain.Tx) error {
		for _, sites := range [][]string{nil, {}, {"Kyoto"}, talliedSites, {"Nara", "Osaka", "a\x00"}} {
			all, err := tx.Tallies().Of(ctx, sites)
			if err != nil {
				return err
			}
			got := map[domain.Tally]domain.Tally{}
			for _, t := range all {
				k := t
				k.Devices, k.Traffic = 0, domain.Traffic{}
				got[k] = t
			}
			if want := f.tallies(sites); len(all) != len(got) || !reflect.DeepEqual(got, want) {
				r.Fatalf("at %q the store has\n%+v\nand there are\n%+v", sites, got, want)
			}
		}
		if err := f.compareSites(ctx, r, tx); err != nil {
			return err
		}
		return f.compareHeard(ctx, r, tx)
	})
	if err != nil {
		r.Fatal(err)
	}
}

func (f naive) compareSites(ctx context.Context, r *rapid.T, tx domain.Tx) error {
	got, err := tx.Tallies().BySite(ctx)
	want := map[string]int{}
	for name := range f.devices {
		if site := f.site(name); site != "" {
			want[site]++
		}
	}
	if err != nil || !maps.Equal(got, want) {
		return fmt.Errorf("by site the store has %v, %w; there are %v", got, err, want)
	}
	for _, site := range talliedSites[1:] {
		l, err := tx.Devices().List(ctx, domain.DeviceFilter{Site: site}, domain.Page{})
		if err != nil {
			return err
		}
		for _, d := range l.Items {
			if f.site(d.Name) != site {
				r.Fatalf("%s is found at %s", d.Name, site)
			}
		}
		if len(l.Items) != want[site] {
			r.Fatalf("%d devices are found at %s, there are %d", len(l.Items), site, want[site])
		}
	}
	return compareTotals(ctx, r, tx)
}

// compareTotals: whatever devices are filtered by, as many are counted as are listed.
func compareTotals(ctx context.Context, r *rapid.T, tx domain.Tx) error {
	for _, v := range filters(reflect.TypeFor[domain.DeviceFilter]()) {
		of := v.Interface().(domain.DeviceFilter)
		for _, change := range []func(*domain.DeviceFilter){func(*domain.DeviceFilter) {},
			func(f *domain.DeviceFilter) { f.Site = "Kyoto" }, func(f *domain.DeviceFilter) { f.State = "failed" },
			func(f *domain.DeviceFilter) { f.State = domain.StateUnknown }, func(f *domain.DeviceFilter) { f.Profile = "p" }} {
			f := of
			change(&f)
			whole, err := tx.Devices().List(ctx, f, domain.Page{})
			if err != nil {
				return err
			}
			if first, err := tx.Devices().List(ctx, f, domain.Page{Limit: 1}); err != nil || first.Total != len(whole.Items) {
				r.Fatalf("%+v finds %d, and counts %d, %v", f, len(whole.Items), first.Total, err)
			}
		}
	}
	return nil
}

func (f naive) compareHeard(ctx context.Context, r *rapid.T, tx domain.Tx) error {
	for _, since := range []time.Time{{}, at, at.Add(2 * time.Second), at.Add(2*time.Second + 1)} {
		want := map[string]int{}
		all := 0
		for name, s := range f.states {
			if !s.LastSeen.IsZero() && !s.LastSeen.Before(since) {
				want[f.site(name)]++
				all++
			}
		}
		got, err := tx.Tallies().Heard(ctx, talliedSites, since)
		if err != nil || !maps.Equal(got, want) {
			return fmt.Errorf("heard of since %v: %v, %w; there are %v", since, got, err, want)
		}
		if got, err = tx.Tallies().Heard(ctx, nil, since); err != nil || got[""] != all {
			return fmt.Errorf("heard of since %v: %v, %w; there are %d", since, got, err, all)
		}
	}
	return nil
}
