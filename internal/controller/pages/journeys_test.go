package pages

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/testkit/browser"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// The helpers below find what people click in a browser; a button by its text.
func button(text string) string { return fmt.Sprintf(`//main//button[contains(., %q)]`, text) }
func linkTo(text string) string { return fmt.Sprintf(`//main//a[contains(., %q)]`, text) }

// window is a browser in which somebody with a role has signed in.
func (s *rig) window(role string) *browser.Browser {
	s.t.Helper()
	b := browser.Open(s.t, foreign.Program(s.t, "chromium"))
	b.Cookie(s.url, "peerload_language", "en")
	b.Cookie(s.url, "peerload_session", s.session(role))
	return b
}

// journey is a rig with a fleet, for what somebody does in a browser.
func journey(t *testing.T) *rig {
	t.Helper()
	heavy(t)
	s := newRig(t)
	s.fleetOf("")
	return s
}

// waitLive waits until the part of a page that follows what happens has a text.
func waitLive(b *browser.Browser, text string) {
	b.Wait(fmt.Sprintf(`document.querySelector("#live").textContent.includes(%q)`, text))
}

// file is one on the disk.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestFirstRollout: a new administrator goes from the set-up link to the first rollout,
// by what the pages say alone.
func TestFirstRollout(t *testing.T) {
	heavy(t)
	s := newRig(t)
	b := browser.Open(t, foreign.Program(t, "chromium"))
	b.Cookie(s.url, "peerload_language", "en")
	b.Go(s.url + "/setup?secret=" + must(s.all.Controller.BeginSetup(t.Context())))
	b.Fill("name", "alice")
	b.Fill("password", password)
	b.Follow(button("Make the administrator"))
	b.See("What to do first", "Start a rollout")
	b.Follow(linkTo("Add a load"))
	b.Follow(linkTo("Add a load"))
	b.Fill("name", "edge-1.0")
	b.Fill("version", "1.0")
	b.Choose("model", "linux-amd64")
	browser.Run(b, chromedp.SetUploadFiles(`[name="file"]`, []string{file(t, "app.bin", "firmware")}))
	b.Follow(button("Sign and publish it"))
	b.See("It is signed and published", "app.bin")
	b.Follow(`//header/nav//a[.="Overview"]`)
	b.Follow(linkTo("Turn peer sharing on"))
	b.Follow(linkTo("Settings"))
	b.Choose("peer-sharing", "on")
	b.Follow(button("Show what it touches"))
	b.See("This touches no device.")
	b.Follow(button("Make this change"))
	b.Follow(`//header/nav//a[.="Overview"]`)
	b.Follow(linkTo("Make sites"))
	b.Follow(linkTo("New site"))
	b.Fill("name", "Kyoto")
	b.Follow(button("Make the site"))
	b.Follow(`//header/nav//a[.="Overview"]`)
	b.Follow(linkTo("add one device"))
	b.Fill("name", "00:00:00:00:00:01")
	b.Choose("model", "linux-amd64")
	b.Choose("site", "Kyoto")
	b.Follow(button("Add the device"))
	b.See("SEP000000000001", "It has not reported yet")
	b.Go(s.url + "/loads/edge-1.0")
	b.Follow(linkTo("Bring it by a rollout"))
	b.Fill("id", "first")
	b.Fill("waves", "100")
	b.Follow(button("Make the draft"))
	b.See("What it would do", "This touches 1 device.")
	b.Follow(linkTo("Start"))
	b.See("This touches 1 device.")
	b.Follow(button("Start"))
	b.See("scheduled")
	s.roll("first", keeper.KindList, keeper.KindTick)
	waitLive(b, "running")
	if told := b.Told(); len(told) > 0 {
		t.Error(told)
	}
}

// TestImport: a table with bad lines shows them first, writes nothing before somebody
// has agreed, and is taken back.
func TestImport(t *testing.T) {
	s := journey(t)
	b := s.window("operator")
	table := "device,description\nSEP000000000001,Reception\nnonsense,x\nSEP000000000002,Lounge\n"
	b.Go(s.url + "/bulk")
	browser.Run(b, chromedp.SetUploadFiles(`[name="table"]`, []string{file(t, "desks.csv", table)}))
	b.Follow(button("Show the plan"))
	b.See("3 lines: 0 made, 2 changed, 0 as they are, 1 refused", "Some lines are wrong", "is not a device")
	first := browser.Run(b, chromedp.Text("tbody tr:first-child"))
	if !strings.Contains(first, "nonsense") {
		t.Errorf("the first line is %s", first)
	}
	browser.Run(b, chromedp.Click(button("Change 2 devices"))) // without the tick the browser sends nothing
	b.See("Plan of desks.csv")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000001")); d.Description == "Reception" {
		t.Fatal("it was written, and nobody has agreed")
	}
	browser.Run(b, chromedp.Click(`[name="skip_bad"]`))
	b.Follow(button("Change 2 devices"))
	s.job = strings.TrimPrefix(browser.Run(b, chromedp.Evaluate[string](`location.pathname`)), "/bulk/")
	s.steps()
	waitLive(b, "done")
	b.See("2 changed", "1 refused")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000002")); d.Description != "Lounge" {
		t.Errorf("%+v", d)
	}
	b.Follow(linkTo("with a problem"))
	b.See("nonsense", "!SEP000000000001")
	b.Follow(linkTo("Undo"))
	b.See("2 devices get back what they had before")
	b.Follow(button("Take back"))
	s.steps()
	waitLive(b, "2 taken back")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000002")); d.Description == "Lounge" {
		t.Error("it was not taken back")
	}
}

// TestLevels: one setting is changed at three levels from the page of a device, which
// then says whose value it has and what the others say.
func TestLevels(t *testing.T) {
	s := journey(t)
	b := s.window("admin")
	for _, c := range []struct{ link, value, touches string }{{"all devices", "300k", "This touches 8 devices."},
		{"profile lobby", "400k", "This touches 4 devices."}, {"this device", "500k", "This touches 1 device."}} {
		b.Go(s.url + "/devices/SEP000000000001")
		b.Follow(linkTo(c.link))
		b.Fill("wan-limit", c.value)
		b.Follow(button("Show what it touches"))
		b.See(c.touches)
		b.Follow(button("Make this change"))
		b.See("Done:", "Undo")
	}
	b.Go(s.url + "/devices/SEP000000000001")
	row := browser.Run(b, chromedp.Text(`//tr[contains(., "wan-limit")]`))
	for _, want := range []string{"500k", "400k", "300k"} {
		if !strings.Contains(row, want) {
			t.Errorf("no %s in %s", want, row)
		}
	}
	if strings.Index(row, "500k") > strings.Index(row, "400k") {
		t.Errorf("the device's value does not come first: %s", row)
	}
	b.Go(s.url + "/devices/SEP000000000004") // of the profile alone
	if row := browser.Run(b, chromedp.Text(`//tr[contains(., "wan-limit")]`)); strings.Contains(row, "500k") {
		t.Errorf("another device: %s", row)
	}
}

// TestTwoEditors: of two people with the same form the slower one sees what the other
// has written beside what they typed, and decides.
func TestTwoEditors(t *testing.T) {
	s := journey(t)
	a, b := s.window("admin"), s.window("operator")
	for _, w := range []*browser.Browser{a, b} {
		w.Go(s.url + "/settings/profile/lobby")
	}
	a.Fill("wan-limit", "300k")
	b.Fill("wan-limit", "400k")
	a.Follow(button("Show what it touches"))
	a.Follow(button("Make this change"))
	b.Follow(button("Show what it touches"))
	b.See("Somebody else has changed it", "Nothing of yours was written", "300k", "400k", "differs")
	limit := func() string {
		return must(s.api.Profiles.Get(t.Context(), "lobby")).Settings["wan-limit"]
	}
	if limit() != "300k" {
		t.Fatalf("the slower one has written %s", limit())
	}
	b.Follow(button("Make my change all the same"))
	b.See("This touches 4 devices.")
	b.Follow(button("Make this change"))
	if limit() != "400k" {
		t.Errorf("it is %s", limit())
	}
	for _, w := range []*browser.Browser{a, b} {
		w.Go(s.url + "/sites/Kyoto/edit")
	}
	a.Fill("note", "of the first")
	b.Fill("note", "of the second")
	a.Follow(button("Save"))
	b.Follow(button("Save"))
	b.See("Somebody else has written: of the first")
	if typed := browser.Run(b, chromedp.Evaluate[string](`document.querySelector("[name=note]").value`)); typed !=
		"of the second" {
		t.Errorf("what was typed has become %q", typed)
	}
	if note := must(s.api.Sites.Get(t.Context(), "Kyoto")).Note; note != "of the first" {
		t.Errorf("written: %q", note)
	}
	b.Follow(button("Save"))
	if note := must(s.api.Sites.Get(t.Context(), "Kyoto")).Note; note != "of the second" {
		t.Errorf("written: %q", note)
	}
}

// TestSessionEnds: what somebody has typed is not lost if the session ends meanwhile.
func TestSessionEnds(t *testing.T) {
	s := journey(t)
	b := s.window("operator")
	b.Go(s.url + "/devices/SEP000000000001/edit")
	b.Fill("description", `Reception "2" & <lounge>`)
	if err := s.api.EndSessions(t.Context(), "operator"); err != nil {
		t.Fatal(err)
	}
	b.Follow(button("Save"))
	b.See("what you typed is kept")
	if wrong := b.Barriers(); len(wrong) > 0 {
		t.Errorf("signing in again: %s", wrong)
	}
	b.Fill("name", "operator")
	b.Fill("password", password)
	b.Follow(button("Sign in"))
	b.See("You are signed in again")
	if wrong := b.Barriers(); len(wrong) > 0 {
		t.Errorf("sending again: %s", wrong)
	}
	b.Follow(button("Send what I typed"))
	b.See("Saved.", `Reception "2" & <lounge>`)
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000001")); d.Description != `Reception "2" & <lounge>` {
		t.Errorf("written: %q", d.Description)
	}
}

// TestBack: the button that goes back shows the list as it was found, sends no form
// again, and shows nothing any more to whoever has signed out.
func TestBack(t *testing.T) {
	s := journey(t)
	b := s.window("operator")
	b.Go(s.url + "/devices?site=Kyoto&sort=description&down=1")
	b.See("!SEP000000000002")
	list := b.Text()
	b.Follow(linkTo("SEP000000000005"))
	b.Back()
	if b.Text() != list {
		t.Errorf("another list: %s", b.Text())
	}
	b.Follow(linkTo("SEP000000000005"))
	b.Follow(linkTo("Change"))
	b.Fill("description", "Reception")
	b.Follow(button("Save"))
	b.See("Reception", "Saved.")
	writes := func() int {
		n := 0
		for e, err := range s.api.Audit.List(t.Context(), client.Filter{Action: "device.update", Limit: 100}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Target == "device SEP000000000005" {
				n++
			}
		}
		return n
	}
	before := writes()
	b.Back()
	b.Back()
	b.See("SEP000000000005")
	if n := writes(); n != before || before != 1 {
		t.Errorf("%d changes, and %d after going back", before, n)
	}
	b.Follow(`//header//button[contains(., "Sign out")]`)
	b.Back()
	b.See("!Reception", "Sign in")
}

// TestPausesByItself: a rollout whose devices fail is paused while somebody looks, with
// the share of failures beside its limit; then it is gone on with, and ended.
func TestPausesByItself(t *testing.T) {
	s := journey(t)
	b := s.window("operator")
	b.Go(s.url + "/rollouts/autumn")
	b.Follow(linkTo("Start"))
	b.Follow(button("Start"))
	s.roll("autumn", keeper.KindList, keeper.KindTick)
	waitLive(b, "running")
	failed := ""
	for i := 1; i < 13 && failed == ""; i += 2 { // those of Kyoto
		name := fmt.Sprintf("SEP0000000000%02X", i)
		told := must(s.all.Rollouts.Told(t.Context(), name))
		if told.Grant == nil {
			continue
		}
		failed = name
		s.report(name, report.Device{Schema: report.Schema, State: report.StateRolledBack, Active: "edge-1.0",
			Reason: "not-confirmed", Upgrade: &report.Upgrade{Load: told.Grant.Load, Rollout: told.Grant.Rollout,
				Try: told.Grant.Try}})
	}
	if failed == "" {
		t.Fatal("no device may begin")
	}
	waitLive(b, "paused")
	b.See("limit: 1", "the new load was not confirmed", "failed 1")
	b.See("!Failed: 0 of a hundred · limit: 1 · next wave by a person")
	b.Go(s.url + "/")
	b.See("paused autumn")
	b.Follow(linkTo("autumn"))
	b.Follow(linkTo("those that failed"))
	b.See(failed)
	b.Go(s.url + "/rollouts/autumn")
	b.Follow(linkTo("Resume"))
	b.Follow(button("Resume"))
	s.roll("autumn", keeper.KindTick)
	b.Go(s.url + "/rollouts/autumn")
	b.See("running", "1 was seen and passed over")
	b.Follow(linkTo("Abort"))
	b.Follow(button("Abort"))
	b.See("aborted")
}

// TestViewer: whoever may only look finds no button that they may not press and no link
// to a page that they may not see, on any page; and their limits are not only looks.
func TestViewer(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	v, admin := s.user("viewer"), s.user("admin")
	seen, next := map[string]bool{}, []string{"/"}
	forms, more := 0, 0
	for len(next) > 0 {
		path := next[0]
		if next = next[1:]; seen[path] {
			continue
		}
		seen[path] = true
		p := v.get(path)
		if p.code != 200 {
			t.Errorf("a link leads to %s: %d", path, p.code)
			continue
		}
		for _, at := range formsOf(t, p.text) {
			if forms++; at == "/sign-out" || at == "/account/sign-out" {
				continue // it would end here
			}
			if sent := v.post(at); sent.code == 403 {
				t.Errorf("%s: a form for %s", path, at)
			}
		}
		for _, to := range linksOf(t, p.text) {
			if strings.HasPrefix(to, "?") {
				at, _, _ := strings.Cut(path, "?")
				to = at + to
			}
			if strings.HasPrefix(to, "/assets/") || strings.Contains(to, "lang=") || strings.Contains(to, "look=") {
				continue
			}
			next = append(next, to)
		}
	}
	for _, path := range everyPage {
		if p := admin.get(s.path(path)); p.code == 200 && len(formsOf(t, p.text)) > 1 {
			more++
		}
	}
	if len(seen) < 50 || forms < len(seen) || more < 20 {
		t.Errorf("only %d pages, %d forms; %d for an administrator", len(seen), forms, more)
	}
}
