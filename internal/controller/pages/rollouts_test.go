package pages

import (
	"testing"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
)

// From the form to a rollout that runs, is paused, resumed and aborted.
func TestRolloutPages(t *testing.T) {
	s := newRig(t)
	b := s.user("operator")
	b.get("/rollouts").want(t, 200, "No rollout yet")
	s.fleetOf("")
	b.get("/rollouts/new").want(t, 200, "Waves, in percent", "2026.11")
	send := func(fields ...string) page {
		return b.post("/rollouts/new", append([]string{"id", "spring", "opener", "person", "soak", "", "success", "100",
			"max_failed", "0", "max_failed_share", "10"}, fields...)...)
	}
	send("release", "2026.11", "waves", "5 many").want(t, 422, "Write numbers from 1 to 100", `value="5 many"`,
		`value="spring"`, `aria-invalid="true"`)
	send("waves", "100").want(t, 422, "Choose what it brings")
	send("release", "2026.11", "waves", "100", "windows", "late").want(t, 422, "late")
	send("release", "2026.11", "waves", "50 100", "site", "Kyoto").want(t, 200, "The draft is made", "What it would do",
		"This touches", "Kyoto", "as simulated", "Start")
	send("release", "2026.11", "waves", "50 100").want(t, 409, "That name is taken")
	draft := must(s.api.Rollout(t.Context(), "spring"))
	draft.Plan.Lost, draft.Plan.DownloadAnytime = "36h", true // as the command line can
	must(s.api.UpdateRollout(t.Context(), "spring", client.RolloutChange{Plan: &draft.Plan}, draft.Version))
	p := b.get("/rollouts/spring/order/edit").want(t, 200, `value="50 100"`)
	b.post("/rollouts/spring/order/edit", "version", versionField.FindStringSubmatch(p.text)[1], "release", "2026.11",
		"waves", "40 100", "site", "Kyoto", "opener", "person", "success", "100", "max_failed", "0", "max_failed_share",
		"10").want(t, 200, "What it would do")
	b.get("/rollouts/spring/order/edit").want(t, 200, `value="40 100"`)
	if p := must(s.api.Rollout(t.Context(), "spring")).Plan; p.Lost != "36h" || !p.DownloadAnytime {
		t.Errorf("what the form does not have is lost: %+v", p)
	}
	order := func(verb string, fields ...string) page {
		t.Helper()
		p := b.get("/rollouts/spring/order/"+verb).want(t, 200)
		m := versionField.FindStringSubmatch(p.text)
		if m == nil {
			t.Fatalf("%s: no form: %s", verb, p.text)
		}
		return b.post("/rollouts/spring/order/"+verb, append([]string{"version", m[1]}, fields...)...)
	}
	b.get("/rollouts/spring/order/start").want(t, 200, "This touches")
	order("start").want(t, 200, "scheduled")
	s.roll("spring", keeper.KindList, keeper.KindTick)
	b.get("/rollouts/spring").want(t, 200, "running", "Wave 1", "Wave 2", "limit: 10", "Open the next wave")
	b.get("/rollouts/spring/devices").want(t, 200, "SEP000000000001")
	b.get("/rollouts/spring").want(t, 200, `href="/orders/new?rollout=spring&amp;wave=2"`)
	b.get("/orders/new?rollout=spring&wave=1").want(t, 200, "This touches 3 devices", `name="wave" value="1"`)
	b.get("/orders/new?rollout=spring").want(t, 200, "This touches 6 devices")
	b.get("/orders/new?rollout=spring&wave=3").want(t, 422, "the waves 1 to 2")
	b.get("/orders/new?rollout=spring&wave=first").want(t, 422, "the wave is a number")
	b.post("/orders/new", "rollout", "spring", "wave", "2", "kind", "retry", "life", "soon").want(t, 422,
		`name="wave" value="2"`)
	b.post("/orders/new", "rollout", "spring", "wave", "2", "kind", "retry", "life", "60").want(t, 200, "on its way to 3")
	order("pause", "why", "the lobby is <b>closed</b>").want(t, 200, "paused", "the lobby is &lt;b&gt;closed", "Resume")
	b.get("/").want(t, 200, "What needs attention", "/rollouts/spring")
	b.get("/rollouts/spring/order/pause").want(t, 200, "This is refused")
	b.post("/rollouts/spring/order/resume", "version", "1").want(t, 412, "Somebody else has changed it")
	order("resume").want(t, 200)
	s.roll("spring", keeper.KindTick)
	b.get("/rollouts/spring").want(t, 200, "running")
	order("next").want(t, 200, "running")
	order("abort", "why", "enough").want(t, 200, "aborted", "enough", "Roll back")
	b.get("/rollouts/spring/order/dance").want(t, 404)
	b.get("/rollouts").want(t, 200, "spring", "aborted")
	b.get("/rollouts?state=running").want(t, 200, "!/rollouts/spring\"")
	v := s.user("viewer")
	v.get("/rollouts/spring").want(t, 200, "aborted", "!Roll back")
	v.get("/rollouts").want(t, 200, "!New rollout")
	v.lang = "ja"
	v.get("/rollouts/spring").want(t, 200, "中止", "ウェーブ 1", "!Wave 1")
}

// The bar of a wave has a part for each standing, and the share beside the limit is
// that of devices which failed and were not passed over.
func TestWaveOf(t *testing.T) {
	r := client.Rollout{Open: 1, Waves: []client.RolloutCounts{
		{Standings: client.Standings{Done: 5, Failed: 3, Waiting: 2}, Forgiven: 1}, {}}}
	w := waveOf(r, 0)
	if w.Devices != 10 || w.Share != 20 || !w.Open || len(w.Parts) != 3 || w.Parts[0] != (part{"ok", 0, 500}) ||
		w.Parts[2] != (part{"bad", 700, 300}) {
		t.Errorf("%+v", w)
	}
	if w := waveOf(r, 1); w.Devices != 0 || w.Share != 0 || w.Open || w.Parts != nil {
		t.Errorf("an empty wave: %+v", w)
	}
}
