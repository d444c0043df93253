package api

import (
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// change carries out an order, or a dry run of it.
func (s *rig) change(dry bool, order object) domain.Changed {
	s.t.Helper()
	path := "/changes"
	if dry {
		path += "?dry_run=true"
	}
	text, _ := s.want(200, "POST", path, order)
	c := decode[domain.Changed](s.t, text)
	if c.DryRun != dry || dry && c.Audit != "" {
		s.t.Errorf("the answer is %s", text)
	}
	return c
}

// state is what the levels and all devices are, but their versions and times.
func (s *rig) state() string {
	s.t.Helper()
	var all []string
	for _, path := range []string{"/enterprise", "/profiles", "/devices", "/models/7941", "/sites"} {
		text, _ := s.want(200, "GET", path, nil)
		v := decode[any](s.t, text)
		all = append(all, jsonOf(s.t, without(v)))
	}
	return strings.Join(all, "\n")
}

// without leaves out what every write changes, and what was before.
func without(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if k == "version" || k == "changed" || k == "created" || strings.Contains(k, "previous") {
				delete(v, k)
			} else {
				v[k] = without(item)
			}
		}
	case []any:
		for i := range v {
			v[i] = without(v[i])
		}
	}
	return v
}

// changeRig has two phones in two sites, with a load of each model at every
// level, and settings.
func changeRig(t *testing.T) *rig {
	s := releaseRig(t)
	s.want(201, "POST", "/sites", object{"name": "Kyoto"})
	s.want(201, "POST", "/sites", object{"name": "Osaka", "networks": []string{"10.2.0.0/16"}})
	s.want(200, "PATCH", "/devices/"+phoneA, object{"site": "Kyoto"})
	s.want(200, "PATCH", "/devices/"+phoneB, object{"site": "Kyoto", "load": "b1"})
	s.reports(one, "10.2.0.9", object{"schema": 1, "state": "idle"})
	s.want(200, "PATCH", "/enterprise/settings", object{"set": object{"peer-sharing": "on", "timing": "classic"}})
	return s
}

// TestChangesAndUndo: each kind of order says beforehand what it touches, changes
// nothing in a dry run, and is undone, and that again, by the id of its entry.
func TestChangesAndUndo(t *testing.T) {
	tiers.Long(t, "it undoes each kind of change")
	s := changeRig(t)
	for name, c := range map[string]struct {
		order        object
		devices      int
		sites, model string // one of each, with its count
	}{
		"settings of the enterprise": {object{"target": object{"level": "enterprise", "name": ""},
			"settings": object{"set": object{"timing": "lan", "log-server": "h:1"}, "unset": []string{"peer-sharing"}}}, 4,
			`"Kyoto":2,"Osaka":1`, `"CP-7941G":1,"CP-7961G":1,"linux-arm":2`},
		"settings of a profile": {object{"target": object{"level": "profile", "name": "desks"},
			"settings": object{"set": object{"wan-limit": "1k"}}}, 2, `"Kyoto":2`, `"CP-7941G":1`},
		"settings of a site": {object{"site": "Osaka", "settings": object{"set": object{"wan-limit": "1k"}}}, 1,
			`"Osaka":1`, `"linux-arm":1`},
		"a release of a profile": {object{"target": object{"level": "profile", "name": "desks"}, "release": "9.4(1)"}, 1,
			`"Kyoto":1`, `"CP-7941G":1`}, // the other has a load of its own
		"a release of a site": {object{"site": "Kyoto", "release": "9.4(2)"}, 2, `"Kyoto":2`, `"CP-7961G":1`},
		"a load of a site":    {object{"site": "Kyoto", "load": "ab"}, 2, `"Kyoto":2`, `"CP-7961G":1`},
		"no load of a site":   {object{"site": "Kyoto", "load": ""}, 1, `"Kyoto":1`, `"CP-7961G":1`},
		"a load of a model": {object{"target": object{"level": "model", "name": "7941"}, "load": "a2"}, 1,
			`"Kyoto":1`, ""},
		"a load of a device": {object{"target": object{"level": "device", "name": phoneA}, "load": "a2"}, 1,
			`"Kyoto":1`, ""},
		"a roll back of a device": {object{"target": object{"level": "device", "name": phoneB}, "roll_back": true},
			1, "", ""},
		"rows of models": {object{"models": []object{
			{"name": "CP-7941G", "family": "CP-79x1", "can_share": false, "aliases": []string{"7941"},
				"defaults": object{"peer-sharing": "off"}, "lacks": []string{"wan-limit"}},
			{"name": "Camera 1", "family": "camera", "can_share": false}}}, 1, `"Kyoto":1`, `"CP-7941G":1`},
		"rows": {object{"rows": []object{{"device": phoneA, "change": object{"description": "x", "release": "9.4(2)"}},
			{"device": phoneB, "change": object{"site": "Osaka", "load": "b2", "settings": object{"set": object{
				"timing": "lan"}}}}}}, 2, `"Kyoto":1,"Osaka":1`, `"CP-7961G":1`},
	} {
		all, before := s.export(), s.state()
		dry := s.change(true, c.order)
		if s.export() != all {
			t.Fatalf("%s: a dry run has changed something", name)
		}
		reach := jsonOf(t, dry.Reach)
		if dry.Reach.Devices != c.devices || !strings.Contains(reach, c.sites) || !strings.Contains(reach, c.model) {
			t.Errorf("%s would touch %s", name, reach)
		}
		done := s.change(false, c.order)
		if got := jsonOf(t, done.Reach); got != reach || done.Audit == "" {
			t.Errorf("%s touched %s, and said %s before; audit %q", name, got, reach, done.Audit)
		}
		after := s.state()
		if after == before {
			t.Errorf("%s changed nothing", name)
		}
		undone := s.change(false, object{"undo": done.Audit})
		if got := s.state(); got != before || undone.Reach.Devices != c.devices || undone.Audit == done.Audit {
			t.Errorf("%s, undone: %+v\n%s\n%s", name, undone.Reach, got, before)
		}
		again := s.change(false, object{"undo": undone.Audit})
		if got := s.state(); got != after {
			t.Errorf("%s, and the undoing undone:\n%s\n%s", name, got, after)
		}
		s.change(false, object{"undo": again.Audit})
	}
}

// TestDeletedDeviceComesBack: a device that was deleted comes back as it was set up,
// unless there is one of its name by then, or something that it had is gone.
func TestDeletedDeviceComesBack(t *testing.T) {
	s := changeRig(t)
	s.want(200, "PATCH", "/devices/"+phoneA, object{"description": "Lobby", "release": "9.4(2)",
		"settings": object{"set": object{"timing": "lan", "log-server": ""}}})
	order := object{"target": object{"level": "device", "name": phoneA}, "delete": true}
	all, before := s.export(), s.state()
	dry := s.change(true, order)
	if r := dry.Reach; s.export() != all || r.Devices != 1 || r.Sites["Kyoto"] != 1 || r.Models["CP-7941G"] != 1 {
		t.Fatalf("a dry run: %+v", r)
	}
	order["version"] = 77
	s.want(409, "POST", "/changes", order)
	delete(order, "version")
	order["shown"] = dry.Shown
	s.want(200, "PATCH", "/devices/"+phoneA, object{"description": "Hall"})
	s.want(409, "POST", "/changes", order) // it is not as it was shown
	s.want(200, "PATCH", "/devices/"+phoneA, object{"description": "Lobby"})
	done := s.change(false, order)
	s.want(404, "GET", "/devices/"+phoneA, nil)
	undo := object{"undo": done.Audit}
	s.want(201, "POST", "/devices", object{"name": phoneA, "model": "7941"})
	s.want(409, "POST", "/changes", undo)
	again := s.change(false, deletes(phoneA))
	// It offers no undo: a device is deleted by its name only.
	if undone := s.change(false, undo); undone.Reach.Devices != 1 || undone.Audit != "" || s.state() != before {
		t.Errorf("%+v\n%s\n%s", undone, s.state(), before)
	}
	s.want(409, "POST", "/changes", object{"undo": again.Audit})
	for _, bad := range []object{{"site": "Kyoto", "delete": true}, {"delete": true},
		{"target": object{"level": "profile", "name": "desks"}, "delete": true},
		{"target": object{"level": "device", "name": phoneA}, "delete": true, "load": "a2"}} {
		s.want(422, "POST", "/changes", bad)
	}
	if s.state() != before {
		t.Error("what was refused has changed something")
	}
	gone := s.change(false, deletes(phoneA))
	s.want(204, "DELETE", "/releases/9.4(2)", nil)
	s.want(404, "POST", "/changes", object{"undo": gone.Audit})
}

// deletes deletes a device, whatever it is by now.
func deletes(device string) object {
	return object{"target": object{"level": "device", "name": device}, "delete": true}
}

// TestChangesAreOne: what is refused for one device is refused as a whole, with
// the count, by a dry run too; what was changed since is not overwritten.
func TestChangesAreOne(t *testing.T) {
	s := changeRig(t)
	s.want(201, "POST", "/releases", object{"name": "half", "loads": []string{"a1"}})
	s.want(201, "POST", "/sites", object{"name": "Empty"})
	for name, c := range map[string]struct {
		order object
		code  int
		says  string
	}{
		"a release that fits not all": {object{"site": "Kyoto", "release": "half"}, 409,
			"no load for CP-7961G, which 1 device is"},
		"a load that fits not all": {object{"site": "Kyoto", "load": "a1"}, 409, "1 device is not: " + phoneB},
		"a site that is none":      {object{"site": "Kyotoo", "load": "ab"}, 404, "did you mean Kyoto?"},
		"a site without devices":   {object{"site": "Empty", "load": "ab"}, 409, "no device belongs"},
		"a roll back to nothing":   {object{"site": "Kyoto", "roll_back": true}, 409, "1 device of site"},
		"an entry that is none":    {object{"undo": "none"}, 404, "audit entry"},
	} {
		for _, path := range []string{"/changes?dry_run=true", "/changes"} {
			before := s.export()
			text, _ := s.want(c.code, "POST", path, c.order)
			if !strings.Contains(text, c.says) {
				t.Errorf("%s: %s", name, text)
			}
			if s.export() != before {
				t.Errorf("%s: something was changed", name)
			}
		}
	}
	done := s.change(false, object{"site": "Kyoto", "settings": object{"set": object{"wan-limit": "1k"}}})
	s.want(200, "PATCH", "/devices/"+phoneB+"/settings", object{"set": object{"wan-limit": "2k"}})
	before := s.export()
	text, _ := s.want(409, "POST", "/changes", object{"undo": done.Audit})
	if !strings.Contains(text, "wan-limit is") || !strings.Contains(text,
		ProblemPrefix+"conflict") || s.export() != before {
		t.Errorf("undone although changed since: %s", text)
	}
	// A setting that was set to nothing since is not unset.
	logs := func(change object) domain.Changed {
		return s.change(false, object{"target": object{"level": "enterprise", "name": ""}, "settings": change})
	}
	logs(object{"set": object{"log-server": "h:1"}})
	gone := logs(object{"unset": []string{"log-server"}})
	logs(object{"set": object{"log-server": ""}})
	if text, _ = s.want(409, "POST", "/changes", object{"undo": gone.Audit}); !strings.Contains(text, "and was unset") {
		t.Error(text)
	}
	// What makes things is not undone; a part that made one stays, and is told.
	text, _ = s.want(200, "GET", "/audit?action=site.create&target=site%20Empty", nil)
	l := decode[domain.List[domain.AuditEntry]](t, text)
	if text, _ = s.want(409, "POST", "/changes", object{"undo": l.Items[0].ID}); !strings.Contains(text,
		"cannot be undone") {
		t.Error(text)
	}
	rows := s.change(false, object{"rows": []object{{"device": "00:11:22:33:44:0c", "create": true, "change": object{
		"model": "7941"}}, {"device": phoneA, "change": object{"description": "y"}}, {"device": "nonsense",
		"change": object{}}}})
	if len(rows.Rows) != 3 || !rows.Rows[0].OK || !rows.Rows[1].OK || rows.Rows[2].OK {
		t.Errorf("the rows: %+v", rows.Rows)
	}
	undone := s.change(false, object{"undo": rows.Audit})
	if strings.Join(undone.Kept, " ") != "device SEP00112233440C" {
		t.Errorf("kept are %v", undone.Kept)
	}
	// The entry has its parts, and each can be told.
	text, _ = s.want(200, "GET", "/audit?part_of="+rows.Audit, nil)
	if l := decode[domain.List[domain.AuditEntry]](t, text); l.Total != 2 {
		t.Errorf("the parts: %s", text)
	}
}

// TestMalformedChanges: each gets a clear verdict, and nothing is changed.
func TestMalformedChanges(t *testing.T) {
	s := changeRig(t)
	const one = "names one of target and site"
	level := func(text string) string { return `{"target":` + text + `,"load":"a1"}` }
	all := []malformed{
		{"no body at all", ``, 400, "body"}, {"a list", `[]`, 422, "expected object"}, {"null", `null`, 422,
			"expected object"},
		{"no JSON", `{"site"`, 400, ""}, {"nothing", `{}`, 422, one}, {"a site alone", `{"site":"Kyoto"}`, 422, one},
		{"a load alone", `{"load":"a1"}`, 422, one}, {"two places", `{"site":"Kyoto","target":{"level":"enterprise",` +
			`"name":""},"load":"a1"}`, 422, one},
		{"two things", `{"site":"Kyoto","load":"a1","release":"9.4(1)"}`, 422, one},
		{"a load and a roll back", `{"site":"Kyoto","load":"a1","roll_back":true}`, 422, one},
		{"undo and rows", `{"undo":"x","rows":[]}`, 422, one}, {"undo of a site", `{"undo":"x","site":"Kyoto"}`, 422, one},
		{"rows and a load", `{"rows":[],"load":"a1"}`, 422, one}, {"rows that are a text", `{"rows":"x"}`, 422,
			"expected array"},
		{"a row that is a text", `{"rows":["x"]}`, 422, "expected object"},
		{"a row with an unknown field", `{"rows":[{"device":"x","change":{"colour":"red"}}]}`, 422, "unexpected property"},
		{"undo that is a number", `{"undo":7}`, 422, "expected string"}, {"an unknown entry", `{"undo":"7"}`, 404,
			"audit entry"},
		{"an entry with a strange id", `{"undo":"a\u0000b"}`, 404, "audit entry"},
		{"a load that is a number", `{"site":"Kyoto","load":7}`, 422, "expected string"},
		{"a load that is none", `{"site":"Kyoto","load":"none"}`, 404, "load"},
		{"a release that is none", `{"site":"Kyoto","release":"none"}`, 404, "release"},
		{"settings that are none", `{"site":"Kyoto","settings":{"set":{"colour":"red"}}}`, 422, "unknown setting"},
		{"a setting both set and unset", `{"site":"Kyoto","settings":{"set":{"timing":"lan"},"unset":["timing"]}}`,
			422, "both"},
		{"a value that is none", `{"site":"Kyoto","settings":{"set":{"timing":"soon"}}}`, 422, "timing"},
		{"settings that are a list", `{"site":"Kyoto","settings":[]}`, 422, "expected object"},
		{"a roll back that is a word", `{"site":"Kyoto","roll_back":"yes"}`, 422, "expected boolean"},
		{"a target that is a text", level(`"enterprise"`), 422, "expected object"},
		{"a level that is none", level(`{"level":"site","name":"Kyoto"}`), 422, ""},
		{"an enterprise with a name", level(`{"level":"enterprise","name":"x"}`), 422, "has no name"},
		{"a profile that is none", level(`{"level":"profile","name":"none"}`), 404, "profile"},
		{"a device that is none", level(`{"level":"device","name":"none"}`), 422, "is not a device"},
		{"a model that is none", level(`{"level":"model","name":"none"}`), 404, "model"},
		{"settings of a model", `{"target":{"level":"model","name":"7941"},"settings":{}}`, 422, "no settings at level"},
		{"an unknown field", `{"site":"Kyoto","load":"a1","colour":"red"}`, 422, "unexpected property"},
	}
	s.refuses("POST", "/changes", all)
	s.refuses("POST", "/changes?dry_run=true", all)
	s.refuses("POST", "/changes?dry_run=perhaps", []malformed{{"a dry run that is a word", `{"undo":"x"}`, 422,
		"boolean"}})
}

// rolloutRig has two phones that run the loads of one release, and a draft that
// brings them another.
func rolloutRig(t *testing.T) *rig {
	s := changeRig(t)
	for name, load := range map[string]string{phoneA: "a1", phoneB: "b1"} {
		secret := strings.Repeat(name[len(name)-1:], 40)
		s.want(201, "POST", "/enrolments", object{"name": name, "site_key": true})
		s.identify(name, secret)
		s.reports(name, "10.1.0.1", object{"schema": 1, "state": "idle", "active": load})
	}
	s.want(201, "POST", "/rollouts", object{"id": "up", "release": "9.4(2)", "target": object{"site": "Kyoto"},
		"plan": object{"waves": []object{{"devices": []string{phoneA}, "opener": "person"}, {"percent": 100}}}})
	return s
}

// identify gives a device its secret.
func (s *rig) identify(name, secret string) {
	s.t.Helper()
	text, _ := s.want(201, "POST", "/enrolments", object{"name": name})
	token := decode[domain.NewEnrolmentToken](s.t, text).Secret
	if code, text, _ := s.call("POST", Prefix+"/enrol", token, object{"device": name, "secret": secret}); code != 200 {
		s.t.Fatalf("%d %s", code, text)
	}
	s.devices[name] = secret
}

// lists does the job of a rollout that was started.
func (s *rig) lists(id string) {
	s.t.Helper()
	if err := s.srv.cfg.Rollouts.Work(s.t.Context(), keeper.Job{Kind: keeper.KindList, Rollout: id}); err != nil {
		s.t.Fatal(err)
	}
}

// TestRollout: a rollout from the draft to its taking back, over the API.
func TestRollout(t *testing.T) {
	s := rolloutRig(t)
	text, h := s.want(200, "GET", "/rollouts/up", nil)
	if v := decode[rollouts.View](t, text); v.State != rollout.Draft || v.Ask.Target.Site != "Kyoto" ||
		h.Get("ETag") != `"1"` {
		t.Fatalf("%s %s", h.Get("ETag"), text)
	}
	s.want(200, "PATCH", "/rollouts/up", object{"plan": object{"lost": "2h",
		"waves": []object{{"devices": []string{phoneA}, "opener": "person"}, {"percent": 100}}}}, "If-Match", `"1"`)
	s.want(412, "PATCH", "/rollouts/up", object{"load": "ab"}, "If-Match", `"1"`)
	s.want(412, "POST", "/rollouts/up/start", nil, "If-Match", `"1"`)
	text, _ = s.want(200, "GET", "/rollouts/up/plan", nil)
	if p := decode[rollouts.Preview](t, text); p.Reach.Devices != 2 || p.Reach.Sites["Kyoto"] != 2 ||
		len(p.Waves) != 2 || p.Waves[0].Devices != 1 {
		t.Fatal(text)
	}
	text, _ = s.want(200, "POST", "/rollouts/up/start?dry_run=true", nil)
	if d := decode[rollouts.Done](t, text); !d.DryRun || d.Reach.Devices != 2 || d.Reach.Models["CP-7941G"] != 1 {
		t.Fatal(text)
	}
	if text, _ = s.want(200, "GET", "/rollouts?active=true", nil); !strings.Contains(text, `"total":0`) {
		t.Fatalf("a dry run started it: %s", text)
	}
	s.want(200, "POST", "/rollouts/up/start", nil, "If-Match", `"2"`)
	s.lists("up")
	s.want(409, "POST", "/rollouts/up/start", nil)
	text, _ = s.want(200, "GET", "/rollouts/up/devices?standing=waiting", nil)
	if l := decode[domain.List[rollout.Row]](t, text); l.Total != 2 || l.Items[0].Load != "a2" {
		t.Fatal(text)
	}
	told, err := s.srv.cfg.Rollouts.Told(t.Context(), phoneA)
	if err != nil || told.Grant == nil || told.Grant.Load != "a2" {
		t.Fatalf("%+v, %v", told, err)
	}
	about := object{"load": "a2", "rollout": "up", "try": 1}
	s.reports(phoneA, "10.1.0.1", object{"schema": 1, "state": "idle", "active": "a2", "upgrade": about})
	if !strings.HasPrefix(s.loadOf(phoneA), "a2 9.4(2)") {
		t.Errorf("it should run %s", s.loadOf(phoneA))
	}
	text, _ = s.want(200, "POST", "/rollouts/up/next?dry_run=true", nil)
	if d := decode[rollouts.Done](t, text); d.Reach.Devices != 1 || d.Reach.Some[0] != phoneB {
		t.Error(text)
	}
	s.want(200, "POST", "/rollouts/up/next", nil)
	s.want(200, "POST", "/rollouts/up/pause", object{"why": "the shop is full"})
	s.want(200, "POST", "/rollouts/up/resume", nil)
	text, _ = s.want(200, "POST", "/rollouts/up/roll-back", object{"id": "down"})
	if d := decode[rollouts.Done](t, text); d.Other == nil || d.Other.ID != "down" || d.Reach.Devices != 1 {
		t.Fatal(text)
	}
	s.lists("down")
	text, _ = s.want(200, "GET", "/rollouts", nil)
	if l := decode[domain.List[rollouts.View]](t, text); l.Total != 2 || l.Items[0].State != rollout.Running ||
		l.Items[1].State != rollout.RolledBack {
		t.Error(text)
	}
	text, _ = s.want(200, "GET", "/audit?target=rollout+up", nil)
	if l := decode[domain.List[domain.AuditEntry]](t, text); l.Total != 7 || l.Items[0].Action != "rollout.roll-back" {
		t.Errorf("the audit log has %s", text)
	}
	s.want(204, "DELETE", "/devices/"+phoneA, nil)
}

// TestRolloutBodies: each body that says something wrong gets a verdict that says
// what, and nothing is changed.
func TestRolloutBodies(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := rolloutRig(t)
	state := func() string {
		a, _ := s.want(200, "GET", "/rollouts", nil)
		b, _ := s.want(200, "GET", "/rollouts/up/devices", nil)
		c, _ := s.want(200, "GET", "/audit?limit=1", nil)
		return s.state() + a + b + c
	}
	before := state()
	long := strings.Repeat("x", 3000)
	full := func(change object) object {
		o := object{"id": "new", "load": "ab", "target": object{"all": true}}
		for k, v := range change {
			o[k] = v
		}
		return o
	}
	plan := func(p any) object { return full(object{"plan": p}) }
	waves := func(all ...object) object { return plan(object{"waves": all}) }
	last := object{"percent": 100}
	for _, c := range []struct {
		path string
		body any
		code int
		says string
	}{
		{"", nil, 400, "body"}, {"", "{", 422, "object"}, {"", []int{1}, 422, "object"}, {"", object{}, 422, "id"},
		{"", full(object{"id": 5}), 422, "string"}, {"", full(object{"id": ""}), 422, "id of a rollout"},
		{"", full(object{"id": "a/b"}), 422, "id of a rollout"}, {"", full(object{"id": long}), 422, "64"},
		{"", full(object{"id": ".."}), 422, "id of a rollout"}, {"", full(object{"id": "a\x00"}), 422, "id of a rollout"},
		{"", full(object{"colour": "red"}), 422, "unexpected"}, {"", full(object{"id": "up"}), 409, "not used twice"},
		{"", full(object{"load": ""}), 422, "a load or a release"},
		{"", full(object{"release": "9.4(2)"}), 422, "one of them"},
		{"", full(object{"load": "none"}), 404, "none"},
		{"", object{"id": "new", "release": "9.9", "target": object{"all": true}}, 404, "9.9"},
		{"", full(object{"target": object{}}), 422, "names no device"}, {"", full(object{"target": 7}), 422, "object"},
		{"", full(object{"target": object{"all": true, "site": "Kyoto"}}), 422, "one of the two"},
		{"", full(object{"target": object{"site": "Kyotto"}}), 404, "did you mean Kyoto"},
		{"", full(object{"target": object{"profile": "nobody"}}), 422, "no profile"},
		{"", full(object{"target": object{"devices": []string{"phone"}}}), 422, "not a device"},
		{"", full(object{"target": object{"devices": []string{"SEP0A0000000009"}}}), 422, "no device SEP0A0000000009"},
		{"", full(object{"target": object{"all": true, "percent": 101}}), 422, "101"},
		{"", full(object{"check": "ftp://monitor"}), 422, "external check"},
		{"", full(object{"check": "http://user:pass@monitor/"}), 422, "without a user"}, {"", plan([]int{}), 422, "object"},
		{"", plan(object{"waves": []object{}}), 422, "0 waves"}, {"", waves(object{"percent": 50}), 422, "100 %"},
		{"", waves(object{"percent": 60}, object{"percent": 50}, last), 422, "rise"},
		{"", waves(object{}, last), 422, "wave 1"},
		{"", waves(object{"percent": 5, "sites": []string{"Kyoto"}}, last), 422, "or sites, or a percentage"},
		{"", waves(object{"percent": 5, "opener": "nobody"}, last), 422, "external"},
		{"", waves(object{"percent": 5, "opener": "external"}, last), 422, "name its URL"},
		{"", waves(object{"percent": 5, "soak": "soon"}, last), 422, "no time such as"},
		{"", waves(object{"percent": 5, "soak": "-1h"}, last), 422, "soak"},
		{"", waves(object{"percent": 5, "success": 101}, last), 422, "100"},
		{"", plan(object{"windows": []string{"25:00-26:00"}}), 422, "no window"},
		{"", plan(object{"windows": []string{"22:00-22:00"}}), 422, "no length"},
		{"", plan(object{"valid": "1s"}), 422, "5m"},
		{"", plan(object{"valid": long}), 422, "32"}, {"", plan(object{"lost": "10s"}), 422, "from 1m"},
		{"", plan(object{"max_failed": -1}), 422, "0"}, {"", plan(object{"max_failed_share": 200}), 422, "100"},
		{"", plan(object{"silence": object{"rule": "shout"}}), 422, "ignore"},
		{"", plan(object{"silence": object{"rule": "fail"}}), 422, "silent after"},
		{"", plan(object{"retry": object{"times": 3}}), 422, "no reason to try again"},
		{"", plan(object{"retry": object{"times": 3, "reasons": []string{"x"}}}), 422, "back-off"},
		{"", plan(object{"start": "tomorrow"}), 422, "date-time"},
		{"", plan(object{"start": "2026-03-02T00:00:00Z", "deadline": "2026-03-01T00:00:00Z"}), 422, "deadline"},
		{"/up/pause", nil, 409, "it is draft"}, {"/up/next", nil, 409, "it is draft"},
		{"/up/resume", nil, 409, "it is draft"},
		{"/up/approve", nil, 409, "it is draft"}, {"/up/roll-back", nil, 409, "it is draft"},
		{"/up/retry", nil, 409, "failed"}, {"/up/skip", nil, 422, "name the devices"},
		{"/up/start", object{"why": "because"}, 422, "another order"},
		{"/up/start", object{"force": true}, 422, "unexpected"},
		{"/up/pause", object{"why": long}, 422, "300"}, {"/up/replace", nil, 422, "name the load"},
		{"/up/replace", object{"from": "a1", "to": "b2"}, 409, "not for"}, {"/none/start", nil, 404, "none"},
		{"/up/skip", object{"devices": []string{"x"}}, 422, "not a device"},
		{"/up/skip", object{"devices": []string{phoneA}}, 409, "stand so that this can be done"},
	} {
		text, _ := s.want(c.code, "POST", "/rollouts"+c.path, c.body)
		if !strings.Contains(text, c.says) {
			t.Errorf("%s %.200v: %s does not say %q", c.path, c.body, text, c.says)
		}
	}
	if after := state(); after != before {
		t.Errorf("something has changed:\n%s\n%s", before, after)
	}
}

// TestShown: an order that carries what a dry run has shown is refused once it
// would touch something else, and then changes nothing.
func TestShown(t *testing.T) {
	s := changeRig(t)
	order := object{"site": "Kyoto", "settings": object{"set": object{"wan-limit": "1k"}}}
	dry := s.change(true, order)
	order["shown"] = dry.Shown
	s.want(200, "PATCH", "/devices/"+one, object{"site": "Kyoto"}) // one more, which nobody has seen
	before := s.export()
	text, _ := s.want(409, "POST", "/changes", order)
	if !strings.Contains(text, "3 devices now, and not as it was shown") {
		t.Error(text)
	}
	if s.export() != before {
		t.Error("something was changed")
	}
	order["shown"] = ""
	again := s.change(true, order)
	order["shown"] = again.Shown
	if done := s.change(false, order); done.Reach.Devices != 3 || done.Shown != again.Shown || again.Shown == dry.Shown {
		t.Errorf("%+v after %+v", done, again)
	}
}

// TestShownOfALevel: an assignment to a level likewise is refused once it would touch
// somebody else, or once somebody else has changed the level; it says what was
// assigned, and is undone by its id.
func TestShownOfALevel(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := changeRig(t)
	desks := object{"level": "profile", "name": "desks"}
	for _, what := range []object{{"release": "9.4(1)"}, {"settings": object{"set": object{"wan-limit": "3k"}}}} {
		order := object{"target": desks}
		for k, v := range what {
			order[k] = v
		}
		order["shown"] = s.change(true, order).Shown
		s.want(201, "POST", "/devices", object{"name": "SEP0000000000C1", "model": "7941", "profile": "desks"})
		before := s.export()
		s.want(409, "POST", "/changes", order)
		if s.export() != before {
			t.Error("something was changed")
		}
		delete(order, "shown")
		order["version"] = 99
		s.want(409, "POST", "/changes", order)
		order["version"] = 0 // it was written
		s.want(409, "POST", "/changes", order)
		text, _ := s.want(200, "GET", "/profiles/desks", nil)
		order["version"] = decode[domain.Profile](t, text).Version
		order["shown"] = s.change(true, order).Shown
		done := s.change(false, order)
		if a := done.Assigned; what["release"] != nil && (a == nil || a.Release != "9.4(1)" || a.Target.Name != "desks") ||
			what["release"] == nil && a != nil || done.Audit == "" {
			t.Errorf("%+v", done)
		}
		s.change(false, object{"undo": done.Audit})
		s.want(204, "DELETE", "/devices/SEP0000000000C1", nil)
	}
	s.want(422, "POST", "/changes", object{"site": "Kyoto", "load": "ab", "version": 1})
	s.want(422, "POST", "/changes", object{"undo": "x", "version": 1})
}

// TestSiteUndone: what a site was before comes back, field by field, and not over
// what was changed since.
func TestSiteUndone(t *testing.T) {
	tiers.Long(t, "it makes many calls of a whole controller")
	s := changeRig(t)
	s.want(200, "PATCH", "/sites/Osaka", object{"time_zone": "Asia/Tokyo", "window": "22:00-05:00", "wan_rate": 1000})
	before := s.state()
	last := func() string {
		text, _ := s.want(200, "GET", "/audit?limit=1", nil)
		return decode[domain.List[domain.AuditEntry]](t, text).Items[0].ID
	}
	for _, change := range []object{{"note": "changed"}, {"networks": []string{}}, {"networks": []string{"10.9.0.0/16"}},
		{"window": ""}, {"window": "", "time_zone": ""}, {"wan_rate": 0, "transfers": 3, "rate": 500},
		{"note": "n", "networks": []string{"10.2.0.0/16", "10.3.0.0/16"}, "wan_rate": 7}} {
		s.want(200, "PATCH", "/sites/Osaka", change)
		id := last()
		s.change(true, object{"undo": id})
		undone := s.change(false, object{"undo": id})
		if got := s.state(); got != before || undone.Audit == "" {
			t.Errorf("%v, undone:\n%s\n%s", change, got, before)
		}
	}
	s.want(200, "PATCH", "/sites/Osaka", object{"note": "first"})
	id := last()
	s.want(200, "PATCH", "/sites/Osaka", object{"note": "second"})
	s.want(409, "POST", "/changes", object{"undo": id})
}
