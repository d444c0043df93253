package forecast_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/forecast"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/report"
)

// rig is a controller with a repository on a real store.
type rig struct {
	*forecast.Service
	t     testing.TB
	ctl   *domain.Controller
	admin domain.Actor
	repo  string
	n     int
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := t.TempDir()
	store, err := freshdb.Open(context.Background(), filepath.Join(dir, "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	repo, err := repository.Open(repository.Config{Dir: filepath.Join(dir, "repo"), Keys: filepath.Join(dir, "keys")})
	r := &rig{t: t, admin: domain.Local("ann"), repo: filepath.Join(dir, "repo")}
	r.ok(err)
	r.ok(repo.Init())
	r.ctl, err = domain.New(domain.Config{Store: store, Repository: repo,
		Password: passhash.Cost{Memory: 8, Time: 1, Threads: 1}})
	r.ok(err)
	r.Service = forecast.New(r.ctl)
	return r
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// load publishes a signed load of one file.
func (r *rig) load(name, model string, size int) {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), name+".bin")
	r.ok(os.WriteFile(file, bytes.Repeat([]byte(name), size/len(name)+1)[:size], 0o600))
	_, err := r.ctl.AddLoad(r.t.Context(), r.admin, publish.Request{Name: name, Version: name, Models: []string{model},
		Files: []string{file}})
	r.ok(err)
}

// site makes a site with a line of so many bytes a second and devices of a model
// that run a load.
func (r *rig) site(name string, wan int64, devices int, model, runs string) (names []string) {
	r.t.Helper()
	_, err := r.ctl.CreateSite(r.t.Context(), r.admin, name, domain.SiteChange{WANRate: &wan})
	r.ok(err)
	for range devices {
		r.n++
		d := fmt.Sprintf("SEP02000000%04X", r.n)
		names = append(names, d)
		_, err := r.ctl.CreateDevice(r.t.Context(), r.admin, d, domain.DeviceChange{Model: &model, Site: &name})
		r.ok(err)
		r.says(d, report.Device{State: report.StateIdle, Active: runs})
	}
	return names
}

func (r *rig) says(name string, d report.Device) {
	r.t.Helper()
	d.Schema = report.Schema
	r.ok(r.ctl.Report(r.t.Context(), domain.Actor{Kind: domain.ActorDevice, Name: name, Role: domain.RoleDevice,
		From: "10.0.0.9"}, d))
}

// share switches sharing on for all devices, or off.
func (r *rig) share(value string) {
	r.t.Helper()
	_, err := r.ctl.ChangeSettings(r.t.Context(), r.admin, domain.EnterpriseTarget(),
		domain.SettingsChange{Set: map[string]string{"peer-sharing": value}}, 0)
	r.ok(err)
}

func (r *rig) plan(site, load string) forecast.SitePlan {
	r.t.Helper()
	p, err := r.Site(r.t.Context(), r.admin, site, forecast.Ask{Load: load})
	r.ok(err)
	return p
}

const model = "linux-amd64"

// TestSite: devices that share fetch one copy, and are done when it has crossed
// the line; others one each, and that takes as much longer. What runs the load
// already fetches nothing.
func TestSite(t *testing.T) {
	r := newRig(t)
	r.load("v1", model, 10)
	r.load("v2", model, 3_000_000)
	names := r.site("Kyoto", 1_000_000, 30, model, "v1")
	r.share("on")
	p := r.plan("Kyoto", "v2")
	if p.Devices != 30 || len(p.Loads) != 1 || p.Unknown != "" || p.Took != nil || p.Last == nil {
		t.Fatalf("%+v", p)
	}
	if p.WANBytes < 3_000_000 || p.WANBytes > 3_200_000 || *p.Last < 3 || *p.Last > 7 {
		t.Errorf("3 MB over 1 MB/s: %d bytes in %.1f s", p.WANBytes, *p.Last)
	}
	if p.Classic.WANBytes < 30*3_000_000 || *p.Classic.HTTP < 90 || *p.Classic.TFTP < 5860*0.25 {
		t.Errorf("alone: %d bytes, %.1f s, %.1f s", p.Classic.WANBytes, *p.Classic.HTTP, *p.Classic.TFTP)
	}
	r.says(names[0], report.Device{State: report.StateIdle, Active: "v2"})
	if p := r.plan("Kyoto", "v2"); p.Devices != 29 {
		t.Errorf("one has it, and %d would fetch it", p.Devices)
	}
	r.share("off")
	if p := r.plan("Kyoto", "v2"); p.WANBytes != p.Classic.WANBytes || *p.Last != *p.Classic.HTTP {
		t.Errorf("nobody shares: %+v", p)
	}
}

// TestUnknown: what nobody has said is not made up, and the plan says what to say.
func TestUnknown(t *testing.T) {
	r := newRig(t)
	r.load("v2", model, 100_000)
	r.share("on")
	r.site("Kyoto", 0, 3, model, "v1")
	if p := r.plan("Kyoto", "v2"); p.Last != nil || !strings.Contains(p.Unknown, "WAN rate") ||
		p.WANBytes < 100_000 || p.WANBytes > 120_000 {
		t.Errorf("%+v", p)
	}
	rate := int64(50_000)
	_, err := r.ctl.UpdateSite(t.Context(), r.admin, "Kyoto", domain.SiteChange{Rate: &rate}, 0)
	r.ok(err)
	if p := r.plan("Kyoto", "v2"); p.Last == nil || *p.Last < 2 || p.Line.WANRate != rate {
		t.Errorf("the limit of the site is its line: %+v", p)
	}
	_, err = r.ctl.RegisterLoad(t.Context(), r.admin, domain.UnsignedLoad{Name: "plain", Models: []string{model}})
	r.ok(err)
	if p := r.plan("Kyoto", "plain"); p.Last != nil || !strings.Contains(p.Unknown, "plain is not known") {
		t.Errorf("%+v", p)
	}
	if p := r.plan("Kyoto", "v2"); p.Devices != 3 {
		t.Errorf("%+v", p)
	}
	r.site("Uji", 1000, 0, model, "")
	if p := r.plan("Uji", "v2"); p.Devices != 0 || p.Last == nil || *p.Last != 0 || p.Site != "Uji" {
		t.Errorf("a site without devices: %+v", p)
	}
	for _, x := range []struct {
		site string
		ask  forecast.Ask
		want error
	}{{"Nara", forecast.Ask{Load: "v2"}, domain.ErrNotFound}, {"Kyoto", forecast.Ask{}, domain.ErrInvalid},
		{"Kyoto", forecast.Ask{Load: "v2", Release: "r"}, domain.ErrInvalid},
		{"Kyoto", forecast.Ask{Load: "v9"}, domain.ErrNotFound}} {
		if _, err := r.Site(t.Context(), r.admin, x.site, x.ask); !errors.Is(err, x.want) {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if _, err := r.Site(t.Context(), domain.Actor{}, "Kyoto", forecast.Ask{Load: "v2"}); err == nil {
		t.Error("nobody got a plan")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Site(ctx, r.admin, "Kyoto", forecast.Ask{Load: "v2"}); err == nil {
		t.Error("who has gone away gets a plan")
	}
}

// TestMetadata: what a plan adds for signed metadata is about what devices fetch.
func TestMetadata(t *testing.T) {
	r := newRig(t)
	r.share("on")
	r.site("Kyoto", 1_000_000, 1, model, "v1")
	for name, size := range map[string]int{"small": 1000, "large": 12_000_000} {
		r.load(name, model, size)
		fetched := int64(0)
		for _, glob := range []string{name + ".load", "metadata/*targets.json", "metadata/*snapshot.json",
			"metadata/timestamp.json"} {
			files, err := filepath.Glob(filepath.Join(r.repo, glob))
			r.ok(err)
			largest := int64(0)
			for _, f := range files {
				info, err := os.Stat(f)
				r.ok(err)
				largest = max(largest, info.Size())
			}
			fetched += largest
		}
		if said := r.plan("Kyoto", name).WANBytes - int64(size); said < fetched/2 || said > 2*fetched {
			t.Errorf("%s: %d bytes of metadata, and a plan says %d", name, fetched, said)
		} else {
			t.Log(name, fetched, said)
		}
	}
}

// TestSteps: a device that has to take a stepping stone fetches two loads.
func TestSteps(t *testing.T) {
	r := newRig(t)
	for name, size := range map[string]int{"v1": 10, "v2": 200_000, "v3": 300_000} {
		r.load(name, model, size)
	}
	for name, from := range map[string]string{"v2": "v1", "v3": "v2"} {
		_, err := r.ctl.SetLoadFrom(t.Context(), r.admin, name, []string{from}, 0)
		r.ok(err)
	}
	r.site("Kyoto", 100_000, 4, model, "v1")
	r.share("on")
	p := r.plan("Kyoto", "v3")
	if p.Devices != 4 || strings.Join(p.Loads, " ") != "v2 v3" || p.WANBytes < 500_000 || p.WANBytes > 550_000 ||
		*p.Last < 5 {
		t.Errorf("%+v", p)
	}
}

// TestTook: what the last upgrade took is what its devices have reported; a load
// that a device came with was no upgrade.
func TestTook(t *testing.T) {
	r := newRig(t)
	r.load("v2", model, 100_000)
	names := r.site("Kyoto", 100_000, 3, model, "v1")
	for i, d := range names[:2] {
		r.says(d, report.Device{State: report.StateIdle, Active: "v2", Files: []report.Final{
			{File: "v2.load", BytesFromOrigin: 100_000 * int64(1-i), BytesFromPeers: 100_000 * int64(i),
				ElapsedS: 1.5 + float64(i)},
			{File: "v2.bin", BytesFromOrigin: 90_000, ElapsedS: 9}}})
	}
	r.says(names[2], report.Device{State: report.StateIdle, Active: "v3"}) // nobody knows how it got it
	p := r.plan("Kyoto", "v2")
	if w := p.Took; w == nil || w.Load != "v2" || w.Devices != 2 || w.WANBytes != 100_000 || w.Last != 2.5 ||
		time.Since(w.Ended) < 0 {
		t.Errorf("%+v", p.Took)
	}
	r.site("Uji", 100_000, 1, model, "v1")
	if p := r.plan("Uji", "v2"); p.Took != nil {
		t.Errorf("a site whose device came with its load: %+v", p.Took)
	}
}

// BenchmarkPlan plans forty sites of thirty devices, each with a line of its own.
func BenchmarkPlan(b *testing.B) {
	r := newRig(b)
	r.load("v2", model, 7<<20)
	r.share("on")
	for i := range 40 {
		r.site(fmt.Sprintf("s%d", i), int64(200_000+1000*i), 30, model, "v1")
	}
	for b.Loop() {
		s := forecast.New(r.ctl)
		for i := range 40 {
			if _, err := s.Site(b.Context(), r.admin, fmt.Sprintf("s%d", i), forecast.Ask{Load: "v2"}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
