package pages

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// From the form to a rollout that runs, is paused, resumed and aborted.
func TestRolloutPages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	b := s.user("operator")
	b.get("/rollouts").want(t, 200, "No rollout yet")
	s.fleetOf("")
	b.get("/rollouts/new").want(t, 200, "Waves, in percent", "2026.11")
	send := func(fields ...string) page {
		return b.post("/rollouts/new", append([]string{"id", "spring", "opener", "person", "soak", "", "success", "100",
			"max_failed", "0", "max_failed_share", "10"}, fields...)...)
	}
	send("release", "2026.11", "waves", "5 many").want(t, 422, "Write numbers from 1 to 100", `>5 many</textarea>`,
		`value="spring"`, `aria-invalid="true"`)
	send("waves", "100").want(t, 422, "Choose what it brings")
	send("release", "2026.11", "waves", "100", "windows", "late").want(t, 422, "late")
	send("release", "2026.11", "waves", "50 100", "site", "Kyoto").want(t, 200, "The draft is made", "What it would do",
		"This touches", "Kyoto", "as simulated", "Start")
	send("release", "2026.11", "waves", "50 100").want(t, 409, "That name is taken")
	draft := must(s.api.Rollout(t.Context(), "spring"))
	draft.Plan.Lost, draft.Plan.DownloadAnytime = "36h", true // as the command line can
	must(s.api.UpdateRollout(t.Context(), "spring", client.RolloutChange{Plan: &draft.Plan}, draft.Version))
	p := b.get("/rollouts/spring/order/edit").want(t, 200, `>50 100</textarea>`, `value="36h"`)
	b.post("/rollouts/spring/order/edit", "version", versionField.FindStringSubmatch(p.text)[1], "release", "2026.11",
		"waves", "40 100", "site", "Kyoto", "opener", "person", "success", "100", "max_failed", "0", "max_failed_share",
		"10", "lost", "36h", "download_anytime", "on").want(t, 200, "What it would do")
	b.get("/rollouts/spring/order/edit").want(t, 200, `>40 100</textarea>`)
	if p := must(s.api.Rollout(t.Context(), "spring")).Plan; p.Lost != "36h" || !p.DownloadAnytime {
		t.Errorf("what the command line wrote is lost: %+v", p)
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
	b.get("/rollouts/spring/order/pause").want(t, 200, "This is refused", "!refused: ")
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
		{Standings: client.Standings{Done: 5, Failed: 3, Waiting: 2}, Acknowledged: 1}, {}}}
	w := waveOf(r, 0)
	if w.Devices != 10 || w.Share != 20 || !w.Open || len(w.Parts) != 3 || w.Parts[0] != (part{"ok", 0, 500}) ||
		w.Parts[2] != (part{"bad", 700, 300}) {
		t.Errorf("%+v", w)
	}
	if w := waveOf(r, 1); w.Devices != 0 || w.Share != 0 || w.Open || w.Parts != nil {
		t.Errorf("an empty wave: %+v", w)
	}
}

// The form says all that a draft can: filled in, it leaves no field of the API empty, and
// shows the same again.
func TestWholeDraft(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/rollouts/new").want(t, 200, "More rules")
	fields := []string{"id", "whole", "release", "2026.11", "site", "Kyoto", "profile", "lobby", "model", "linux-amd64",
		"text", "Desk", "devices", "SEP000000000001\nSEP000000000003", "percent", "90", "opener", "external",
		"success", "90",
		"waves", "devices: SEP000000000001; by=person\nsites: Kyoto\n40; soak=30m success=80\n100", "soak", "2h",
		"max_failed_share", "7", "max_failed", "9", "windows", "22:00-05:00; sat 01:00-06:00", "start",
		"2030-01-02T03:04",
		"approval", "on", "leave_out", "on", "download_anytime", "on", "silence", "fail", "silence_after", "48h",
		"lost", "36h", "longest", "72h", "retry_reasons", "disk", "retry_reasons", "origin-unreachable",
		"retry_times", "4", "back_off", "20m", "max_back_off", "2h",
		"valid", "12h", "deadline", "2031-01-02T03:04", "check", "https://monitor.example.com/go",
		"ask_every", "5m"}
	b.post("/rollouts/new", fields...).want(t, 200, "The secret that signs questions")
	r := must(s.api.Rollout(t.Context(), "whole"))
	for _, empty := range zeros("plan", reflect.ValueOf(r.Plan)) {
		t.Errorf("the form cannot say %s", empty)
	}
	for _, empty := range zeros("ask", reflect.ValueOf(r.Ask)) {
		if empty != "ask.Load" && empty != "ask.Target.All" { // the others of a choice
			t.Errorf("the form cannot say %s", empty)
		}
	}
	p := b.get("/rollouts/whole/order/edit").want(t, 200, `>devices: SEP000000000001
sites: Kyoto; by=external
40; soak=30m success=80 by=external
100</textarea>`)
	again := []string{}
	for _, m := range formField.FindAllStringSubmatch(p.text, -1) {
		again = append(again, m[1], unescape(m[2]))
	}
	for i := 0; i < len(fields); i += 2 { // what is chosen, and texts of many lines, stand otherwise in a page
		switch fields[i] {
		case "release", "site", "profile", "model", "opener", "silence", "retry_reasons", "devices", "approval", "leave_out",
			"download_anytime":
			again = append(again, fields[i], fields[i+1])
		case "waves":
			again = append(again, "waves", "devices: SEP000000000001\nsites: Kyoto; by=external\n"+
				"40; soak=30m success=80 by=external\n100")
		}
	}
	b.post("/rollouts/whole/order/edit", replaced(again, "opener", "person")...).want(t, 200, "Saved.")
	after := must(s.api.Rollout(t.Context(), "whole"))
	if !reflect.DeepEqual(after.Plan, r.Plan) || !reflect.DeepEqual(after.Ask, r.Ask) {
		t.Errorf("%+v\nhas become\n%+v", r, after)
	}
}

// formField finds values of a form.
var formField = regexp.MustCompile(`<input (?:id="[^"]*" |type="hidden" )?name="([^"]*)"(?: type="[^"]*")? value="([^"]*)"`)

// replaced are fields with another value of one.
func replaced(fields []string, name, value string) []string {
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == name {
			fields[i+1] = value
		}
	}
	return fields
}

// zeros are the fields of a struct that say nothing; of a list, its first that does.
func zeros(name string, v reflect.Value) (empty []string) {
	switch {
	case v.IsZero():
		return []string{name}
	case v.Kind() == reflect.Pointer:
		return zeros(name, v.Elem())
	case v.Kind() == reflect.Struct && !strings.HasSuffix(v.Type().String(), "time.Time") && v.Type() != waveType:
		for i := range v.NumField() {
			empty = append(empty, zeros(name+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
	case v.Kind() == reflect.Slice && v.Type().Elem() == waveType:
		for i := range waveType.NumField() {
			said := false
			for k := range v.Len() {
				said = said || !v.Index(k).Field(i).IsZero()
			}
			if !said {
				empty = append(empty, name+"."+waveType.Field(i).Name)
			}
		}
	}
	return empty
}

var waveType = reflect.TypeFor[client.RolloutWave]()
