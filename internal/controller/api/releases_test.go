package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// loadOf is the load that a device should run, and the release that it is of.
func (s *rig) loadOf(device string) string {
	s.t.Helper()
	text, _ := s.want(200, "GET", "/devices/"+device+"/desired", nil)
	l := decode[domain.Desired](s.t, text).Load
	return strings.TrimSpace(l.Load + " " + l.Release)
}

const (
	phoneA = "SEP00112233440A" // a 7941
	phoneB = "SEP00112233440B" // a 7961
)

// releaseRig has two phones of two models in a profile, and two releases of
// loads for both.
func releaseRig(t *testing.T) *rig {
	s := newRig(t)
	s.want(201, "POST", "/profiles", object{"name": "desks"})
	for name, model := range map[string]string{phoneA: "7941", phoneB: "7961"} {
		s.want(201, "POST", "/devices", object{"name": name, "model": model, "profile": "desks"})
	}
	for _, l := range []string{"a1 7941", "b1 7961", "a2 7941", "b2 7961", "ab 7941,7961"} {
		name, models, _ := strings.Cut(l, " ")
		s.want(201, "POST", "/loads/unsigned", object{"name": name, "models": strings.Split(models, ",")})
	}
	s.want(201, "POST", "/releases", object{"name": "9.4(1)", "loads": []string{"b1", "a1"}, "note": "old"})
	s.want(201, "POST", "/releases", object{"name": "9.4(2)", "loads": []string{"a2", "b2"}})
	return s
}

// TestReleases: one name for the loads of several models, assigned and rolled
// back as one.
func TestReleases(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := releaseRig(t)
	for _, c := range []struct{ method, path, release, a, b string }{
		{"PUT", "/profiles/desks/release", "9.4(1)", "a1 9.4(1)", "b1 9.4(1)"},
		{"PUT", "/profiles/desks/release", "9.4(2)", "a2 9.4(2)", "b2 9.4(2)"},
		{"POST", "/profiles/desks/load/roll-back", "", "a1 9.4(1)", "b1 9.4(1)"},
		{"POST", "/profiles/desks/load/roll-back", "", "a2 9.4(2)", "b2 9.4(2)"},
	} {
		var body any
		if c.release != "" {
			body = object{"release": c.release}
		}
		s.want(200, c.method, c.path, body)
		if a, b := s.loadOf(phoneA), s.loadOf(phoneB); a != c.a || b != c.b {
			t.Errorf("after %s %s: %q and %q, want %q and %q", c.path, c.release, a, b, c.a, c.b)
		}
	}
	// A load of its own wins, and a release comes back after it.
	s.want(200, "PUT", "/devices/"+phoneA+"/load", object{"load": "ab"})
	if got := s.loadOf(phoneA); got != "ab" {
		t.Errorf("the device's own load: %q", got)
	}
	s.want(200, "PUT", "/devices/"+phoneA+"/release", object{"release": "9.4(1)"})
	s.want(200, "POST", "/devices/"+phoneA+"/load/roll-back", nil)
	if got := s.loadOf(phoneA); got != "ab" {
		t.Errorf("back from a release to a load: %q", got)
	}
	text, _ := s.want(200, "GET", "/devices?release=9.4(1)", nil)
	if l := decode[domain.List[domain.DeviceRow]](t, text); l.Total != 0 {
		t.Errorf("devices of the release: %s", text)
	}
	// What is assigned stays what it is.
	for _, c := range [][2]string{
		{"PATCH /loads/a2", `profile desks; load \"a2\" is one of it: assign another there first`},
		{"DELETE /releases/9.4(2)", "assigned to profile desks"}, {"PATCH /releases/9.4(2)", "make another release"}} {
		method, path, _ := strings.Cut(c[0], " ")
		body := map[string]any{"PATCH /loads/a2": object{"retired": true},
			"PATCH /releases/9.4(2)": object{"loads": []string{"a1"}}}[c[0]]
		if text, _ := s.want(409, method, path, body); !strings.Contains(text, strings.TrimPrefix(c[1], `"`)) {
			t.Errorf("%s: %s", c[0], text)
		}
	}
	s.want(200, "PATCH", "/releases/9.4(2)", object{"note": "new"})
	s.want(200, "PATCH", "/releases/9.4(1)", object{"loads": []string{"ab"}})
	s.want(204, "DELETE", "/releases/9.4(1)", nil)
	text, _ = s.want(404, "POST", "/profiles/desks/load/roll-back", nil) // what was before is gone
	if !strings.Contains(text, `release \"9.4(1)\"`) {
		t.Error(text)
	}
}

// TestReleaseFits: a release is refused where a model in the target has none of
// it, with the count, at each level, and where a device comes later.
func TestReleaseFits(t *testing.T) {
	s := releaseRig(t)
	s.want(201, "POST", "/releases", object{"name": "half", "loads": []string{"a1"}})
	for path, says := range map[string]string{
		"/profiles/desks/release":         "no load for CP-7961G, which 1 device is: " + phoneB,
		"/devices/" + phoneB + "/release": "1 device is",
		"/models/7961/release":            "1 device is",
		"/enterprise/release":             "no load for CP-7961G or linux-arm, which 3 devices are",
	} {
		before := s.export()
		text, _ := s.want(409, "PUT", path, object{"release": "half"})
		if !strings.Contains(text, says) || !strings.Contains(text, ProblemPrefix+"unfit") {
			t.Errorf("%s: %s", path, text)
		}
		if s.export() != before {
			t.Errorf("%s: something was changed", path)
		}
	}
	s.want(200, "PUT", "/models/7941/release", object{"release": "half"})
	s.want(200, "PATCH", "/devices/"+phoneB, object{"profile": ""})
	s.want(200, "PUT", "/profiles/desks/release", object{"release": "half"})
	if text, _ := s.want(409, "PATCH", "/devices/"+phoneB, object{"profile": "desks"}); !strings.Contains(text,
		"the release has no load for model CP-7961G") {
		t.Error(text)
	}
	text, _ := s.want(200, "POST", "/bulk", object{"rows": []object{{"device": phoneB,
		"change": object{"release": "9.4(1)"}},
		{"device": phoneB, "change": object{"release": "half"}}}})
	if a := decode[BulkAnswer](t, text); a.OK != 1 || a.Failed != 1 {
		t.Errorf("bulk: %s", text)
	}
	if got := s.loadOf(phoneB); got != "b1 9.4(1)" {
		t.Errorf("after it: %q", got)
	}
}

// releaseBodies are malformed bodies for a release, with words of the answer.
var releaseBodies = []malformed{
	{"no body at all", ``, 400, "body"},
	{"a list", `[]`, 422, "expected object"},
	{"no name", `{"loads":["a1"]}`, 422, "name"},
	{"an empty name", `{"name":"","loads":["a1"]}`, 422, "1 to 64"},
	{"a long name", `{"name":"` + strings.Repeat("9", 65) + `","loads":["a1"]}`, 422, "1 to 64"},
	{"a name with a slash", `{"name":"9/4","loads":["a1"]}`, 422, "letters, digits"},
	{"a name that leads up", `{"name":"..","loads":["a1"]}`, 422, "begins with"},
	{"a name that looks like an option", `{"name":"-9","loads":["a1"]}`, 422, "begins with"},
	{"a name with a space", `{"name":"9 4","loads":["a1"]}`, 422, "letters, digits"},
	{"a name with letters of others", `{"name":"９.4","loads":["a1"]}`, 422, "letters, digits"},
	{"a name that is there", `{"name":"9.4(1)","loads":["a1"]}`, 409, "exists"},
	{"no loads, and none of that version", `{"name":"9.5"}`, 422, "1 to 256 loads"},
	{"no load in the list", `{"name":"9.5","loads":[]}`, 422, "1 to 256 loads"},
	{"an empty load", `{"name":"9.5","loads":[""]}`, 422, "has a name"},
	{"a load twice", `{"name":"9.5","loads":["a1","a1"]}`, 422, "twice"},
	{"a load that is none", `{"name":"9.5","loads":["none"]}`, 404, "not found: load"},
	{"two loads of a model", `{"name":"9.5","loads":["a1","ab"]}`, 409, "one load for each model"},
	{"a retired load", `{"name":"9.5","loads":["old"]}`, 409, "retired"},
	{"loads that are a text", `{"name":"9.5","loads":"a1"}`, 422, "expected array"},
	{"a load that is a number", `{"name":"9.5","loads":[1]}`, 422, "expected string"},
	{"too many loads", `{"name":"9.5","loads":[` + strings.Repeat(`"x",`, 256) + `"x"]}`, 422, "1 to 256 loads"},
	{"an unknown field", `{"name":"9.5","loads":["a1"],"colour":"red"}`, 422, "unexpected property"},
	{"a note that rings", `{"name":"9.5","loads":["a1"],"note":"\u0007"}`, 422, "plain text"},
}

// TestMalformedFileSets: likewise of assignments of file sets, at a level and by an
// order.
func TestMalformedFileSets(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := changeRig(t)
	many := `["` + strings.Repeat(`x","`, 32) + `x"]`
	bodies := []malformed{
		{"nothing", `{}`, 422, "name file sets"}, {"empty lists", `{"assign":[],"unassign":[]}`, 422, "name file sets"},
		{"a text", `{"assign":"x"}`, 422, "expected array"}, {"a list of numbers", `{"assign":[7]}`, 422, "expected string"},
		{"none of that name", `{"assign":["none"]}`, 404, "file set"}, {"a load", `{"assign":["a1"]}`, 404, "file set"},
		{"one that is not assigned", `{"unassign":["none"]}`, 404, "none"},
		{"too many", `{"assign":` + many + `}`, 422, "32"},
		{"a strange name", `{"assign":["a\u0000b"]}`, 404, "file set"},
		{"an unknown field", `{"assign":["x"],"colour":"red"}`, 422, "unexpected property"},
	}
	for _, at := range []string{"/devices/" + phoneA, "/profiles/desks", "/enterprise"} {
		s.refuses("PATCH", at+"/filesets", bodies)
		s.refuses("PATCH", at+"/filesets", []malformed{{"no body", ``, 400, "body"}, {"a list", `[]`, 422,
			"expected object"}})
	}
	for _, where := range []string{`"site":"Kyoto"`, `"target":{"level":"profile","name":"desks"}`} {
		for _, m := range bodies {
			m.body = `{` + where + `,"file_sets":` + m.body + `}`
			s.refuses("POST", "/changes", []malformed{m})
			s.refuses("POST", "/changes?dry_run=true", []malformed{m})
		}
	}
	s.refuses("POST", "/changes", []malformed{
		{"of a model", `{"target":{"level":"model","name":"7941"},"file_sets":{"assign":["x"]}}`, 422, "not to a model"},
		{"and a load", `{"site":"Kyoto","file_sets":{"assign":["x"]},"load":"a1"}`, 422, "names one of target and site"},
	})
}

// TestMalformedReleases: each gets a clear verdict, and nothing is changed.
func TestMalformedReleases(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := releaseRig(t)
	s.want(201, "POST", "/loads/unsigned", object{"name": "old", "models": []string{"7941"}})
	s.want(200, "PATCH", "/loads/old", object{"retired": true})
	s.refuses("POST", "/releases", releaseBodies)
	for _, path := range []string{"/profiles/desks/release", "/models/7941/release", "/devices/" + phoneA + "/release",
		"/enterprise/release"} {
		s.refuses("PUT", path, []malformed{{"no body", ``, 400, "body"}, {"no release", `{}`, 422, "release"},
			{"a load", `{"load":"a1"}`, 422, "unexpected property"}, {"null", `{"release":null}`, 422, "expected string"},
			{"a long name", `{"release":"` + strings.Repeat("9", 65) + `"}`, 422, "length"},
			{"a release that is none", `{"release":"9.9"}`, 404, "not found: release"}})
	}
	s.refuses("PATCH", "/devices/"+phoneA, []malformed{{"both", `{"load":"a1","release":"9.4(1)"}`, 422,
		"name one of them"}})
}

// TestReleaseOfAVersion: a release that names no loads has those of its version.
func TestReleaseOfAVersion(t *testing.T) {
	s := newRig(t)
	for name, model := range map[string]string{"one": "7941", "two": "7961"} {
		if code, text := s.upload([][2]string{{"name", name}, {"version", "9.4(2)"}, {"model", model}}, "a.bin",
			name); code != 201 {
			t.Fatal(code, text)
		}
	}
	text, _ := s.want(201, "POST", "/releases", object{"name": "9.4(2)"})
	if r := decode[domain.Release](t, text); strings.Join(r.Loads, " ") != "one two" {
		t.Error(text)
	}
}

// outside is a table with a device of another site, as JSON has it.
var outside = []byte("device,description\n" + realmsuite.Outside + ",x\n")

// ofSite is what an operator who is limited to one site gets from each operation,
// asked of another: what is their own, of what holds for all or of themselves; or
// a status: 403 where what holds for all is needed.
var ofSite = map[string]struct {
	code int
	body object
}{
	"list-devices": {200, nil}, "list-history": {200, nil}, "list-audit": {200, nil}, "get-overview": {200, nil},
	"list-failures": {200, nil}, "get-savings": {200, nil},
	"follow-site": {404, nil}, "get-last-upgrade": {404, nil}, "tell-live": {403, nil},
	"hand-over-reports": {403, nil},
	"list-sites":        {200, nil}, "list-loads": {200, nil}, "get-load": {200, nil}, "reach-of-load": {200, nil},
	"list-models": {200, nil},
	"get-model":   {200, nil}, "list-profiles": {200, nil}, "get-profile": {200, nil}, "get-profile-settings": {200, nil},
	"list-filesets": {200, nil}, "get-fileset": {404, nil},
	"change-device-filesets":  {404, object{"assign": []string{"x"}}},
	"change-profile-filesets": {404, object{"unassign": []string{"x"}}},
	"list-releases":           {200, nil}, "get-release": {200, nil}, "get-enterprise": {200, nil},
	"get-enterprise-settings": {200, nil}, "get-root": {200, nil}, "get-openapi": {200, nil}, "list-tokens": {200, nil},
	"who-am-i": {200, nil}, "list-jobs": {200, nil}, "get-job": {404, nil}, "list-job-rows": {404, nil},
	"undo-job": {404, nil}, "export-devices": {200, object{}}, "list-templates": {200, nil}, "delete-template": {403, nil},
	"plan-job":     {200, object{"table": outside}},
	"create-job":   {404, object{"query": object{"site": "Osaka"}, "set": object{"description": "x"}}},
	"put-template": {403, object{"change": object{"model": "7961"}}},
	"bulk-devices": {200, object{"rows": []object{{"device": realmsuite.Outside, "change": object{"load": "ab"}},
		{"device": "SEP0000000000D2", "create": true, "change": object{"model": "7961"}}}}},
	"create-device": {404, object{"name": "SEP0000000000D1", "model": "7961", "site": "Osaka"}},
	"get-device":    {404, nil}, "update-device": {404, object{"load": "ab"}}, "delete-device": {404, nil},
	"get-desired": {404, nil}, "list-device-history": {200, nil}, "get-device-settings": {404, nil},
	"change-device-settings": {404, object{"set": object{"timing": "lan"}}},
	"assign-device-load":     {404, object{"load": "ab"}}, "roll-back-device-load": {404, nil},
	"assign-device-release": {404, object{"release": "9.4"}}, "check-in": {403, object{"schema": 1, "state": "idle"}},
	"change":         {404, object{"site": "Osaka", "load": "ab"}},
	"create-profile": {403, object{"name": "new"}}, "update-profile": {403, object{"description": "changed"}},
	"delete-profile": {409, nil}, "change-profile-settings": {403, object{"set": object{"wan-limit": "1k"}}},
	"assign-profile-load": {403, object{"load": "b1"}}, "roll-back-profile-load": {403, nil},
	"assign-profile-release": {403, object{"release": "9.4"}},
	"create-site":            {403, object{"name": "Uji"}}, "get-site": {404, nil},
	"plan-site":   {404, nil},
	"update-site": {404, object{"note": "changed"}}, "delete-site": {404, nil},
	"create-token": {404, object{"name": "n", "role": "viewer", "scopes": []string{"read"}, "sites": []string{"Osaka"}}},
	"revoke-token": {403, nil}, "end-sessions": {403, nil},
	"list-orders": {200, nil}, "get-order": {404, nil}, "list-order-devices": {404, nil}, "cancel-order": {404, nil},
	"send-order": {404, object{"kind": "check-in", "site": "Osaka"}}, "get-order-key": {200, nil},
	"answer-orders": {403, object{}}, "follow-orders": {403, object{}},
	"list-rollouts": {200, nil}, "get-rollout": {404, nil}, "plan-rollout": {404, nil},
	"list-rollout-devices": {404, nil}, "update-rollout": {404, object{"load": "ab"}},
	"create-rollout": {404, object{"id": "n", "load": "ab", "target": object{"site": "Osaka"}}},
	"start-rollout":  {404, object{}}, "approve-rollout": {404, object{}}, "next-rollout": {404, object{}},
	"pause-rollout": {404, object{}}, "resume-rollout": {404, object{}}, "abort-rollout": {404, object{}},
	"roll-back-rollout": {404, object{}}, "replace-rollout": {404, object{"from": "b1", "to": "ab"}},
	"retry-rollout": {404, object{}}, "skip-rollout": {404, object{"devices": []string{realmsuite.Outside}}},
	"log-out": {401, nil}, "change-password": {401, object{"old": password, "new": password + "2"}},
	"log-in": {401, nil}, "sign-in": {401, object{"client": "c"}}, "redeem-sign-in": {401, nil},
	"ask-sign-in": {503, object{"client": "c"}}, // no issuer is known
	"set-up":      {401, object{"name": "n", "password": password}},
	"enrol":       {401, object{"device": realmsuite.Outside, "secret": strings.Repeat("s", 40)}},
}

// TestEveryEndpointOfASite walks the document as somebody who is limited to one
// site, and asks for what is of another.
func TestEveryEndpointOfASite(t *testing.T) {
	f := realmsuite.New(t)
	all, err := services.New(t.Context(), services.Config{Keys: t.TempDir(), Domain: f.Config})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := New(Config{Services: all, Spool: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ken := http.Client{Transport: srv.Local(f.Token)}
	names := strings.NewReplacer("{device}", realmsuite.Outside, "{site}", "Osaka", "{profile}", "desks", "{model}",
		"7961", "{load}", "b1", "{rollout}", realmsuite.Elsewhere, "{release}", "9.4", "{user}", "bob", "{role}",
		"targets", "{", "", "}", "")
	before := f.Others(t)
	for path, item := range srv.document().Paths {
		for method, o := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put,
			"PATCH": item.Patch, "DELETE": item.Delete} {
			if o == nil {
				continue
			}
			want, ok := ofSite[o.OperationID]
			switch o.Metadata[needKey] {
			case needLoads, needEnterprise, needAccess:
				want.code, ok = 403, !ok // what holds for all is not in the table
			}
			if !ok {
				t.Errorf("%s: say what an operator of one site gets from it", o.OperationID)
				continue
			}
			var body io.Reader = http.NoBody
			if want.body != nil {
				body = strings.NewReader(jsonOf(t, want.body))
			}
			q, err := http.NewRequestWithContext(t.Context(), method, "http://here"+Prefix+names.Replace(path), body)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", "application/json")
			a, err := ken.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(a.Body)
			if err != nil || a.StatusCode != want.code {
				t.Errorf("%s: %d, want %d: %.300s, %v", o.OperationID, a.StatusCode, want.code, text, err)
			}
			if told := realmsuite.Leak(string(text)); told != "" {
				t.Errorf("%s tells of others: %s", o.OperationID, told)
			}
			if f.Others(t) != before {
				t.Fatalf("%s has changed something outside", o.OperationID)
			}
		}
	}
	q := httptest.NewRequest("GET", "/metrics", nil)
	if a, err := ken.Do(q.WithContext(t.Context())); err == nil && a.StatusCode != 403 {
		t.Errorf("/metrics, which count everything: %d", a.StatusCode)
	}
}

// TestModelRowsAndUndo: a row that was replaced, or removed with the load of its model,
// comes back whole, and one that was added goes.
func TestModelRowsAndUndo(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := changeRig(t)
	row := func(group string) object {
		return object{"name": "Camera 1", "family": "camera", "can_share": true, "type_number": 40001, "group": group,
			"aliases": []string{"cam", "1"}, "lacks": []string{"timing"}, "defaults": object{"peer-sharing": "on"}}
	}
	camera := func() string {
		text, _ := s.want(200, "GET", "/models/Camera%201", nil)
		return jsonOf(t, without(decode[any](t, text)))
	}
	unknown := camera()
	added := s.change(false, object{"models": []object{row("a")}})
	first := camera()
	s.want(201, "POST", "/devices", object{"name": "SEP0000000000CA", "model": "cam"})
	replaced := s.change(false, object{"models": []object{row("b")}})
	second := camera()
	if first == second || first == unknown || added.Reach.Devices != 0 || replaced.Reach.Devices != 1 {
		t.Fatalf("the rows are %s and %s, after %s", first, second, unknown)
	}
	s.want(409, "POST", "/changes", object{"undo": added.Audit}) // replaced since
	s.change(false, object{"undo": replaced.Audit})
	if got := camera(); got != first {
		t.Errorf("undone, the row is %s, want %s", got, first)
	}
	gone := s.change(false, object{"delete_model": "cam"})
	if got := camera(); got != unknown {
		t.Errorf("removed, the row is %s", got)
	}
	s.change(false, object{"undo": gone.Audit})
	if got := camera(); got != first {
		t.Errorf("brought back, the row is %s, want %s", got, first)
	}
	s.want(404, "POST", "/changes", object{"delete_model": "7961"}) // a built-in row
	for _, bad := range []object{{"models": []object{}, "undo": "x"}, {"models": []object{row("a")}, "load": "a1"},
		{"delete_model": "cam", "site": "Kyoto"}, {"models": []object{{"name": "x"}}}} {
		s.want(422, "POST", "/changes", bad)
	}
}

// TestReachOfLoad: before a load or a file set is changed under its name, one can ask whom
// that touches; from which versions it is installed can be undone.
func TestReachOfLoad(t *testing.T) {
	s := changeRig(t)
	reach := func(name string) string {
		text, _ := s.want(200, "GET", "/loads/"+name+"/reach", nil)
		return jsonOf(t, decode[domain.Reach](t, text))
	}
	want := `{"devices":1,"sites":{"Kyoto":1},"models":{"CP-7961G":1},"some":["` + phoneB + `"]}`
	if got := reach("b1"); got != want {
		t.Errorf("b1 touches %s, want %s", got, want)
	}
	if got := reach("none"); !strings.Contains(got, `"devices":0`) {
		t.Errorf("a load that nobody knows touches %s", got)
	}
	before, _ := s.want(200, "GET", "/loads/b1", nil)
	s.want(200, "PUT", "/loads/b1/from", object{"from": []string{"9.3(*)", "none"}})
	s.change(false, object{"undo": s.lastAudit("load.from")})
	after, _ := s.want(200, "GET", "/loads/b1", nil)
	if got, want := jsonOf(t, without(decode[any](t, after))), jsonOf(t, without(decode[any](t, before))); got != want {
		t.Errorf("undone, the load is %s, want %s", got, want)
	}
}

// lastAudit is the id of the latest entry with an action.
func (s *rig) lastAudit(action string) string {
	s.t.Helper()
	text, _ := s.want(200, "GET", "/audit?limit=1&action="+action, nil)
	l := decode[domain.List[domain.AuditEntry]](s.t, text)
	if len(l.Items) != 1 {
		s.t.Fatalf("the audit log has %s", text)
	}
	return l.Items[0].ID
}
