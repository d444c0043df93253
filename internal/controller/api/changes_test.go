package api

import (
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
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
