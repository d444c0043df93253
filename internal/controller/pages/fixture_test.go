package pages

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/report"
)

// fleetOf makes a fleet with a bit of everything. The texts are, by turns, part of
// whatever people or devices can name.
func (s *rig) fleetOf(texts ...string) {
	said := 0
	text := func() string {
		said++
		return texts[said%len(texts)]
	}
	ctx, c := s.t.Context(), s.api
	str := func(is string) *string { return &is }
	must(c.Sites.Create(ctx, "Kyoto", client.SiteChange{Note: str("Main office " + text()), TimeZone: str("Asia/Tokyo"),
		Networks: &[]string{"10.1.0.0/16"}, WANRate: new(int64(1_000_000))}))
	must(c.Sites.Create(ctx, "Osaka", client.SiteChange{Window: str("mon-fri 22:00-05:00"), TimeZone: str("Asia/Tokyo")}))
	must(c.Profiles.Create(ctx, "lobby", client.ProfileChange{Description: str("Phones in lobbies " + text()),
		Settings: client.SettingsChange{Set: map[string]string{"wan-limit": "200k"}}}))
	must(c.Change(ctx, client.Order{Target: &client.Target{Level: "enterprise"},
		Settings: &client.SettingsChange{Set: map[string]string{"peer-sharing": "on"}}}, false))
	dir := s.t.TempDir()
	for _, version := range []string{"1.0", "2.0"} {
		file := filepath.Join(dir, "app"+version+".bin")
		if err := os.WriteFile(file, []byte("firmware "+version), 0o600); err != nil {
			s.t.Fatal(err)
		}
		must(c.AddLoad(ctx, client.NewLoad{Name: "edge-" + version, Version: version, Models: []string{"linux-amd64"},
			Files: []string{file}}))
	}
	must(c.AddFileSet(ctx, "ringtones", client.NewLoad{Name: "tones-1", Version: "1", Models: []string{"linux-amd64"},
		Files: []string{filepath.Join(dir, "app1.0.bin")}}))
	must(c.Releases.Create(ctx, "2026.11", client.ReleaseChange{Note: str("Autumn " + text()),
		Loads: &[]string{"edge-2.0"}}))
	must(c.AssignRelease(ctx, client.Target{Level: "enterprise"}, "2026.11", client.AnyVersion))
	for i := range 12 {
		name := fmt.Sprintf("SEP0000000000%02X", i+1)
		site := []string{"Kyoto", "Osaka"}[i%2]
		change := client.DeviceChange{Model: str("linux-amd64"), Site: &site,
			Description: str("Desk " + fmt.Sprint(i) + text())}
		if i%3 == 0 {
			change.Profile = str("lobby")
		}
		must(c.Devices.Create(ctx, name, change))
	}
	s.reports(text)
	s.rollouts(text)
	s.work(text)
}

// work sends an order, changes devices by a table, and tells a webhook.
func (s *rig) work(text func() string) {
	ctx, c := s.t.Context(), s.api
	s.order = must(c.SendOrder(ctx, client.OrderRequest{Kind: "check-in", All: true}, false)).Order.ID
	table := "device,description\nSEP000000000009,\"" + strings.ReplaceAll("New "+text(), `"`, `""`) +
		"\"\nSEP00000000000A,Window\nnonsense,x\n"
	s.job = must(c.CreateJob(ctx, client.JobRequest{Name: "phones.csv " + short(text()), Table: []byte(table),
		JobOptions: client.JobOptions{SkipBad: true}})).ID
	s.steps()
	profile := "lobby"
	must(c.PutTemplate(ctx, "desk", "For desks "+short(text()), client.DeviceChange{Profile: &profile,
		Settings: client.SettingsChange{Set: map[string]string{"wan-limit": "300k"}, Unset: []string{"timing"}}},
		client.AnyVersion))
	must(c.Webhooks.Create(ctx, "pager", client.NewWebhook{
		URL: "https://hooks.example.com/x?y=" + url.QueryEscape(text())}))
	must(c.Enrolments.Create(ctx, "Lobby "+short(text()), client.NewEnrolment{SiteKey: true}))
}

// short is the beginning of a text, for a name.
func short(s string) string { return strings.ToValidUTF8(s[:min(len(s), 40)], "") }

// steps does the steps of the job.
func (s *rig) steps() {
	s.t.Helper()
	for more := true; more; {
		more = must(s.all.Jobs.Step(s.t.Context(), s.job))
	}
}

// path is the path of a page whose name the fixture has made.
func (s *rig) path(p string) string {
	return strings.NewReplacer("ORDER", "/orders/"+s.order, "JOB", "/bulk/"+s.job).Replace(p)
}

// rollouts makes a draft, and a rollout that is paused.
func (s *rig) rollouts(text func() string) {
	ctx, c := s.t.Context(), s.api
	release := "2026.11"
	for _, r := range [][2]string{{"autumn", "Kyoto"}, {"winter", "Osaka"}} {
		must(c.CreateRollout(ctx, r[0], client.RolloutChange{Release: &release, Target: &client.RolloutTarget{Site: r[1]},
			Plan: &client.RolloutPlan{Waves: []client.RolloutWave{{Percent: 50, Opener: "person"}, {Percent: 100}}}}))
	}
	r := must(c.Rollout(ctx, "winter"))
	must(c.OrderRollout(ctx, "winter", "start", client.RolloutOrder{}, r.Version, false))
	s.roll("winter", keeper.KindList, keeper.KindTick)
	must(c.OrderRollout(ctx, "winter", "pause", client.RolloutOrder{Why: "Look at " + text()}, client.AnyVersion, false))
}

// roll does jobs of a rollout, as the queue would.
func (s *rig) roll(id string, kinds ...keeper.Kind) {
	s.t.Helper()
	for _, k := range kinds {
		if err := s.all.Rollouts.Work(s.t.Context(), keeper.Job{Kind: k, Rollout: id}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// reports has devices report in several states.
func (s *rig) reports(text func() string) {
	load := "edge-2.0"
	failure := report.Failure{Load: load, Reason: "installer", Message: "exit status 3 " + text(), Phase: "install",
		Output: "no space left " + text()}
	final := report.Final{File: load, Load: load, Source: report.SourcePeer, Role: report.RoleLeaf, Parent: "10.1.0.2",
		BytesFromPeers: 9_000_000, BytesFromOrigin: 1000, BytesToPeers: 3_000_000, ElapsedS: 12.5,
		Fallbacks: []report.Fallback{{AtS: 3, From: "10.1.0.9" + text(), Reason: "parent-slow"}}}
	for i, r := range []report.Device{
		{State: report.StateIdle, Active: load, Files: []report.Final{final}},
		{State: report.StateDownloading, Active: "edge-1.0", Wanted: load, Percent: 43, Role: report.RoleRoot,
			Children: []string{"10.1.0.3", "10.1.0.4"}},
		{State: report.StateDownloading, Active: "edge-1.0", Wanted: load, Percent: 40, Role: report.RoleLeaf,
			Root: "10.1.0.2", Parent: "10.1.0.2"},
		{State: report.StateFailed, Active: "edge-1.0", Wanted: load, Reason: "installer", Message: "exit status 3 " + text(),
			Failures: []report.Failure{failure}, Upgrade: &report.Upgrade{Load: load}},
		{State: report.StateRolledBack, Active: "edge-1.0", Wanted: load, Reason: "not-confirmed",
			Upgrade: &report.Upgrade{Load: load}},
		{State: report.StateTrial, Active: load, Inactive: "edge-1.0"},
		{State: report.StateIdle, Active: load, Inactive: "edge-1.0", FileSets: []report.FileSet{{Directory: "ringtones",
			Name: "tones-1", State: report.StateIdle}}},
	} {
		name := fmt.Sprintf("SEP0000000000%02X", i+1)
		r.Schema, r.Time, r.Model = report.Schema, time.Now().Format(time.RFC3339), "linux-amd64"
		r.Program = "agent 1 " + text()
		r.Sharing, r.SharingFrom, r.Address = "on", "enterprise", fmt.Sprintf("10.1.0.%d", i+1)
		s.report(name, r)
	}
}

// report has a device enrol and report.
func (s *rig) report(name string, r report.Device) {
	s.t.Helper()
	ctx, ctl := s.t.Context(), s.all.Controller
	secret := "secret-of-" + name + "-0123456789abcdef"
	if s.key == "" {
		key := domain.EnrolmentRequest{Name: "all", SiteKey: true}
		s.key = must(ctl.CreateEnrolment(ctx, domain.Local("root"), key)).Secret
	}
	who := domain.EnrolRequest{Device: name, Secret: secret, Token: s.key, From: "10.1.0.1"}
	if err := ctl.Enrol(ctx, who); err != nil {
		s.t.Fatal(err)
	}
	a, err := ctl.ActorByDevice(ctx, "", secret, "10.1.0.1")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := ctl.Report(ctx, a, r); err != nil {
		s.t.Fatal(err)
	}
}
