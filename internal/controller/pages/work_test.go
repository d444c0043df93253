package pages

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// Loads and file sets are sent, signed, retired; releases put loads together.
func TestSoftwarePages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	b := s.user("operator")
	b.get("/loads").want(t, 200, "No load yet")
	fields := []string{"name", "fw-1", "version", "1.0", "model", "7941", "model", "7961", "from", "0.8 0.9"}
	b.upload("/loads/new", append(fields, "@file/app.bin", "firmware", "@file/dsp.bin", "more")...).want(t, 200, "fw-1",
		"7941", "7961", "app.bin", "dsp.bin", "0.8, 0.9", "signed")
	b.get("/loads/new")
	b.upload("/loads/new", append(fields, "@file/app.bin", "other")...).want(t, 409, `value="fw-1"`)
	b.upload("/loads/new", "name", "fw-2", "version", "2").want(t, 422, `value="fw-2"`)
	// Another version of one that is assigned takes its place only if somebody says so.
	must(s.api.AssignLoad(t.Context(), client.Target{Level: "model", Name: "7941"}, "fw-1", client.AnyVersion))
	fields[3] = "1.1"
	b.get("/loads/new").want(t, 200, "More rules", `name="replace"`, `value="true"`,
		"If its name is assigned in another version")
	refused := b.upload("/loads/new", append(fields, "@file/app.bin", "newer", "replace", "")...).want(t, 409, "Refused",
		"!refused: ")
	if l := must(s.api.Load(t.Context(), "fw-1")); l.Release != "1.0" || !strings.Contains(refused.text, `value="1.1"`) {
		t.Errorf("it was replaced, or what was typed is lost: %+v\n%s", l, refused.text)
	}
	b.upload("/loads/new", append(fields, "@file/app.bin", "newer", "replace", "true")...).want(t, 200,
		"1.1", "!dsp.bin")
	must(s.api.AssignLoad(t.Context(), client.Target{Level: "model", Name: "7941"}, "", client.AnyVersion))
	fields[3] = "1.0"
	mine := b.csrf
	b.csrf = "another"
	b.upload("/loads/new", append(fields, "@file/app.bin", "x")...).want(t, 403)
	b.csrf = mine
	b.get("/loads").want(t, 200, "fw-1", "Check all")
	b.post("/loads/verify").want(t, 200, "as signed")
	b.post("/releases/new", "name", "9.4(2)", "loads", "fw-1", "note", "autumn").want(t, 200, "9.4(2)", "fw-1", "autumn")
	p := b.get("/releases/9.4%282%29/edit").want(t, 200, "selected")
	b.post("/releases/9.4%282%29/edit", "version", versionField.FindStringSubmatch(p.text)[1], "loads", "fw-1", "note",
		"winter").want(t, 200, "winter")
	b.post("/releases/9.4%282%29/delete").want(t, 200, "No release yet")
	b.post("/loads/fw-1/retire").want(t, 200, "retired", "Take back into use")
	b.post("/loads/fw-1/retire").want(t, 200, "!>Take back into use<")
	p = b.get("/loads/fw-1/from")
	b.post("/loads/fw-1/from", "version", versionField.FindStringSubmatch(p.text)[1], "from", "0.7").want(t, 200, "0.7")
	b.get("/filesets").want(t, 200, "No file set yet")
	b.upload("/filesets/new", "name", "tones", "version", "1", "model", "7941", "directory", "ringtones", "@file/a.raw",
		"tone").want(t, 200, "ringtones", "a.raw")
	b.post("/filesets/tones/retire").want(t, 200, "retired")
	v := s.user("viewer")
	v.get("/loads").want(t, 200, "!Add a load", "!Check all")
	v.upload("/loads/new", append(fields, "@file/app.bin", "x")...).want(t, 403)
}

// An order says first whom it reaches, and then what they have answered.
func TestOrderPages(t *testing.T) {
	tiers.Long(t, "it goes through every page of orders")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/orders/new?site=Kyoto").want(t, 200, "This touches 6 devices")
	b.get("/orders/new").want(t, 422, "no device is selected")
	b.post("/orders/new", "kind", "retry", "life", "5").want(t, 422, "no device is selected")
	b.get("/orders/new?all=yes").want(t, 200, "This touches 12 devices", `name="all" value="yes"`)
	b.get("/orders/new?all=yes&site=Kyoto").want(t, 422)
	b.get("/orders/new?site=Kyoto&about=edge-2.0").want(t, 422, "one by one")
	b.get("/orders/new?device=SEP000000000001")
	at := time.Now().UTC().Add(time.Hour).Truncate(time.Minute)
	b.post("/orders/new", "device", "SEP000000000001", "kind", "reset-together", "life", "90", "at", "soon").want(t, 422,
		"Write a date and a time")
	b.post("/orders/new", "device", "SEP000000000001", "kind", "reset-together", "life", "90", "at",
		at.Format("2006-01-02T15:04")).want(t, 200, "At the moment", at.Format("2006-01-02 15:04"))
	// What the list of devices leads to is about those that it shows.
	links := regexp.MustCompile(`href="(/(?:orders/new|devices/export)\?[^"]*)"`)
	for from, want := range map[string]string{"/devices?site=Kyoto&model=linux-amd64": "6", "/devices": "12"} {
		all := links.FindAllStringSubmatch(b.get(from).text, -1)
		if len(all) != 3 {
			t.Fatalf("%s: %v", from, all)
		}
		b.get(unescape(all[2][1])).want(t, 200, "This touches "+want+" devices")
		lines := strings.Count(b.get(unescape(all[0][1])).want(t, 200).text, "\nSEP")
		if strconv.Itoa(lines) != want {
			t.Errorf("%s: the table has %d devices, want %s", from, lines, want)
		}
	}
	s.ordersOfViews(b)
	b.get("/orders/new?device=SEP000000000001&device=SEP000000000002").want(t, 200, "This touches 2 devices")
	b.post("/orders/new", "site", "Kyoto", "kind", "retry", "life", "soon").want(t, 422, "number of minutes",
		`name="site" value="Kyoto"`)
	p := b.post("/orders/new", "site", "Kyoto", "kind", "retry", "life", "60").want(t, 200, "try again",
		"SEP000000000001", "!SEP000000000002", "on its way to 6 devices")
	id := strings.TrimPrefix(p.path, "/orders/")
	b.post("/orders/"+id+"/cancel").want(t, 200, "taken back")
	b.get("/orders").want(t, 200, "try again", "check in")
	b.get("/orders?open=true").want(t, 200, "!try again")
	b.post("/orders/new", "device", "SEP000000000001", "kind", "collect-log", "life", "5", "lines", "9999").want(t, 422,
		"from 1 to 1000")
	s.user("viewer").get("/orders").want(t, 200, "!/orders/new")
}

// ordersOfViews: whatever the list of devices is narrowed by, an order to all that match
// reaches those that it shows, and goes by the same conditions when it is sent.
func (s *rig) ordersOfViews(b *visitor) {
	s.t.Helper()
	load, release := "edge-1.0", "2026.11"
	must(s.api.Devices.Update(s.t.Context(), "SEP000000000003", client.DeviceChange{Load: &load}, client.AnyVersion))
	must(s.api.Devices.Update(s.t.Context(), "SEP000000000005", client.DeviceChange{Release: &release},
		client.AnyVersion))
	shown := regexp.MustCompile(`<a href="/devices/(SEP[0-9A-F]+)">`)
	to := regexp.MustCompile(`href="(/orders/new\?[^"]*)"`)
	for _, view := range []string{"text=Desk+1", "model=linux-amd64", "site=Osaka", "profile=lobby", "state=failed",
		"active=edge-1.0", "no_profile=true", "origin=administrator", "load=edge-1.0", "release=2026.11", "failed=true",
		"silent=true", "silent=true&no_profile=true"} {
		p := b.get("/devices?" + view)
		is, link := shown.FindAllStringSubmatch(p.text, -1), to.FindStringSubmatch(p.text)
		if len(is) == 0 || link == nil {
			s.t.Errorf("%s: %d devices, %v", view, len(is), link)
			continue
		}
		form := b.get(unescape(link[1])).want(s.t, 200, "This touches "+plural(len(is)))
		fields := []string{"kind", "check-in", "life", "60"}
		for _, f := range hiddenField.FindAllStringSubmatch(form.text, -1) {
			if f[1] != "csrf" {
				fields = append(fields, f[1], unescape(f[2]))
			}
		}
		b.post("/orders/new", replaced(slices.Clone(fields), "life", "soon")...).want(s.t, 422, "number of minutes")
		sent := b.post("/orders/new", fields...).want(s.t, 200, wording.Fill("on its way to %d {device|devices}", len(is)))
		for _, d := range is {
			sent.want(s.t, 200, d[1])
		}
	}
}

// plural is how pages say how many devices they mean.
func plural(n int) string {
	return wording.Fill("%d {device|devices}", n)
}

// A table is shown line by line before it is run, and taken back after.
func TestBulkPages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/bulk").want(t, 200, "phones.csv")
	table := "device,description,wan-limit\nSEP000000000001,Lift,100k\nSEP0000000000FF,Nobody,1k\n"
	b.upload("/bulk/plan", "@table/lift.csv", table).want(t, 200, "Plan of lift.csv", "Some lines are wrong", "not found",
		"Lift")
	p := b.upload("/bulk/plan", "skip_bad", "on", "@table/lift.csv", table).want(t, 200, "1 changed", "1 refused",
		"!Some lines are wrong")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000001")); d.Description != "Desk 0" {
		t.Errorf("the plan has changed %+v", d)
	}
	sent := regexp.MustCompile(`name="table" value="([^"]+)"`).FindStringSubmatch(p.text)
	p = b.upload("/bulk/run", "table", unescape(sent[1]), "file", "lift.csv", "skip_bad", "on").want(t, 200, "lift.csv")
	s.job = strings.TrimPrefix(p.path, "/bulk/")
	s.steps()
	b.get(p.path).want(t, 200, "1 changed", "1 refused", "Undo", "Lift")
	b.get(p.path+"?bad=true").want(t, 200, "not found", "!Lift")
	b.get(p.path+"/undo").want(t, 200, "1 device gets back what it had before. Those")
	b.post(p.path+"/undo").want(t, 200)
	s.steps()
	b.get(p.path).want(t, 200, "1 taken back")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000001")); d.Description != "Desk 0" {
		t.Errorf("not taken back: %+v", d)
	}
	b.upload("/bulk/plan", "create", "on").want(t, 422, "Choose a table", "checked")
	b.upload("/bulk/plan", "@table/x.csv", "nothing that is known\n1\n").want(t, 422, "Bulk changes")
	s.user("viewer").get("/bulk").want(t, 200, "!Show the plan")
}

// Users, tokens, enrolment, webhooks and keys are an administrator's.
func TestAccessPages(t *testing.T) {
	s := newRig(t)
	b := s.user("admin")
	b.post("/users/new", "name", "Bad Name", "role", "viewer", "password", password).want(t, 422, `value="Bad Name"`,
		"!"+password)
	b.post("/users/new", "name", "ken", "role", "operator", "password", "short").want(t, 422, `value="ken"`)
	b.post("/users/new", "name", "ken", "role", "operator", "password", password).want(t, 200, "ken", "operator")
	p := b.get("/users/ken/edit")
	v := versionField.FindStringSubmatch(p.text)[1]
	b.post("/users/ken/edit", "version", v, "full_name", "Ken Example", "role", "viewer").want(t, 200, "Ken Example",
		"viewer")
	b.post("/users/ken/edit", "version", v, "full_name", "Other", "role", "admin").want(t, 409,
		"Somebody else has written")
	b.post("/users/ken/sign-out").want(t, 200)
	b.post("/users/ken/delete").want(t, 200, "!>ken<")
	secret := regexp.MustCompile(`<pre[^>]*>([^<]+)</pre>`)
	p = b.post("/tokens/new", "name", "laptop", "role", "viewer", "scopes", "read", "days", "30").want(t, 200,
		"shown once")
	token := secret.FindStringSubmatch(p.text)
	if token == nil || !strings.HasPrefix(token[1], "plt_") {
		t.Fatalf("no token: %s", p.text)
	}
	p = b.get("/tokens").want(t, 200, "laptop", "!"+token[1])
	id := regexp.MustCompile(`/tokens/([^/"]+)/delete`).FindStringSubmatch(p.text)[1]
	b.post("/tokens/new", "name", "x", "role", "viewer", "scopes", "read", "days", "0").want(t, 422, "five years")
	b.post("/tokens/"+id+"/delete").want(t, 200, "!laptop")
	b.post("/enrolments/new", "name", "kyoto", "site_key", "on", "days", "1826").want(t, 422, "five years at most")
	b.post("/enrolments/new", "name", "kyoto", "site_key", "on", "networks", "10.1.0.0/16", "days", "30").want(t, 200,
		"shown once")
	b.get("/enrolments").want(t, 200, "kyoto", "key of a site", "10.1.0.0/16")
	b.post("/webhooks/new", "name", "pager", "url", "nonsense", "failed", "on").want(t, 422, `value="nonsense"`)
	b.post("/webhooks/new", "name", "pager", "url", "https://hooks.example.com/", "failed", "on").want(t, 200,
		"shown once")
	b.get("/webhooks/pager").want(t, 200, "devices that fail", "!rollouts that change")
	b.post("/webhooks/pager/delete").want(t, 200, "No webhook yet")
	b.get("/trust").want(t, 200, "Key of orders", "version 1")
	b.post("/trust/orders/rotate").want(t, 200, "version 2")
	o := s.user("operator")
	o.get("/").want(t, 200, "!href=\"/users\"")
	o.post("/users/new", "name", "eve", "role", "admin", "password", password).want(t, 403)
}

// The audit log finds entries, and takes changes back.
func TestAuditPage(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("admin")
	must(s.api.Change(t.Context(), client.Order{Target: &client.Target{Level: "profile", Name: "lobby"},
		Settings: &client.SettingsChange{Set: map[string]string{"wan-limit": "1M"}}}, false))
	p := b.get("/audit?target=profile+lobby").want(t, 200, "settings.", "200k", "1M", "!SEP000000000001")
	undo := regexp.MustCompile(`href="(/undo/[^"]+)"`).FindStringSubmatch(p.text)
	if undo == nil {
		t.Fatalf("nothing can be taken back: %s", p.text)
	}
	p = b.get(undo[1]).want(t, 200, "This touches 4 devices", "Take back the change")
	b.post("/changes", "order", unescape(orderField.FindStringSubmatch(p.text)[1]), "shown",
		shownField.FindStringSubmatch(p.text)[1], "what", "Taken back", "back", "/profiles/lobby").want(t, 200, "200k",
		"Done: Taken back")
	b.get("/audit?action=login").want(t, 200, "user admin", "!part_of=")
	b.get("/audit?action=bulk.run").want(t, 200, "part_of=")
	b.get("/audit?action=template.put").want(t, 200, "template desk", "!part_of=")
	b.get("/audit?action=site.create").want(t, 200, "time zone: ", "!not set")
	b.get("/bulk/"+s.job).want(t, 200, "nonsense", "!/devices/nonsense", "/devices/SEP000000000009")
	s.user("viewer").get("/audit").want(t, 403)
}

// Everybody changes their own password, and ends their own sessions.
func TestAccountPages(t *testing.T) {
	s := newRig(t)
	b := s.user("viewer")
	b.get("/account").want(t, 200, "viewer", "Change the password")
	b.post("/account/password", "old_password", "wrong", "new_password", "another pass phrase").want(t, 422, "is wrong",
		"!another pass")
	b.post("/account/password", "old_password", password, "new_password", "another pass phrase").want(t, 200,
		"Sign in with the new one")
	b.get("/").want(t, 401)
	b.post("/sign-in", "name", "viewer", "password", "another pass phrase").want(t, 200, "Overview")
	b.post("/account/sign-out").want(t, 200, "Sign in")
	b.get("/").want(t, 401)
}

// Templates are made, changed and deleted; what they say comes back into the form.
func TestTemplatePages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/templates").want(t, 200, "desk", "lobby", "WAN limit (wan-limit): 300k",
		"Timing profile (timing): not set")
	b.get("/templates/desk").want(t, 200, "For desks", "300k")
	b.get("/templates/desk/edit").want(t, 200, "wan-limit=300k\n-timing", `value="lobby" selected`)
	b.post("/templates/desk/edit", "note", "For rooms", "set_settings", "wan-limit: 5").want(t, 422,
		"neither name=value nor -name: wan-limit: 5", `value="For rooms"`)
	b.post("/templates/desk/edit", "note", "For rooms", "set_site", "Osaka", "set_profile", "", "set_model", "-",
		"set_settings", "wan-limit = 600k\n").want(t, 200, "For rooms", "Osaka", "600k", "!timing")
	is := must(templateOf(t, s, "desk"))
	if c := is.Change; c.Model != nil || c.Profile == nil || *c.Profile != "" || *c.Site != "Osaka" ||
		len(c.Settings.Unset) != 0 || c.Settings.Set["wan-limit"] != "600k" {
		t.Errorf("%+v", c)
	}
	b.post("/templates/new", "name", "empty").want(t, 422, "a template says something", `value="empty"`)
	b.post("/templates/new", "name", "room", "set_site", "Kyoto").want(t, 200, "Kyoto")
	b.post("/templates/new", "name", "room", "set_site", "Osaka").want(t, 422, "a template of this name", `value="room"`)
	b.get("/templates/room").want(t, 200, "Kyoto", "!Osaka")
	b.post("/templates/room/delete").want(t, 200, "!/templates/room\"", "/templates/desk\"")
	b.get("/templates/room").want(t, 404)
	v := s.user("viewer")
	v.get("/templates").want(t, 200, "!New template")
	v.get("/templates/desk").want(t, 200, "!/edit", "!/delete")
	v.post("/templates/desk/delete").want(t, 403)
}

// templateOf is a template as the API has it.
func templateOf(t *testing.T, s *rig, name string) (client.Template, error) {
	for is, err := range s.api.Templates.List(t.Context(), client.Filter{}) {
		if err != nil || is.Name == name {
			return is, err
		}
	}
	return client.Template{}, client.NotFound
}

// All devices that a search finds are changed, and get back what they had.
func TestBulkQuery(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/devices?site=Kyoto&text=Desk").want(t, 200, "/bulk/query?site=Kyoto&amp;text=Desk")
	b.get("/devices?state=failed").want(t, 200, "!/bulk/query")
	b.get("/bulk/query?site=Kyoto&text=Desk").want(t, 200, `value="Kyoto" selected`, `value="Desk"`)
	b.post("/bulk/query", "site", "Kyoto", "set_settings", "wan-limit=many").want(t, 200,
		"0 changed, 0 as they are, 6 refused",
		"is not a number of bytes", "!Change 0 devices", `href="/bulk/query"`)
	b.post("/bulk/query", "site", "Kyoto").want(t, 422, "Choose something to change",
		`aria-describedby="h-set_model e-set_model"`)
	p := b.post("/bulk/query", "site", "Kyoto", "text", "Desk", "set_profile", "-", "set_settings",
		"wan-limit=700k").want(t, 200, "5 lines: 0 made, 5 changed", "SEP000000000001", "!SEP000000000002", "700k",
		"Change 5 devices")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000001")); d.Settings["wan-limit"] != "" {
		t.Error("the plan has changed a device")
	}
	fields := []string{}
	for _, m := range hiddenField.FindAllStringSubmatch(p.text, -1) {
		if m[1] != "csrf" {
			fields = append(fields, unescape(m[1]), unescape(m[2]))
		}
	}
	p = b.upload("/bulk/run", fields...).want(t, 200, "5 lines", "site Kyoto")
	s.job = strings.TrimPrefix(p.path, "/bulk/")
	s.steps()
	d := must(s.api.Devices.Get(t.Context(), "SEP000000000001"))
	if d.Settings["wan-limit"] != "700k" || d.Profile != "lobby" {
		t.Errorf("%+v", d)
	}
	s.user("viewer").post("/bulk/query", "site", "Kyoto", "set_settings", "wan-limit=1M").want(t, 403)
}

// A load that nobody signs becomes known by its name and its files.
func TestUnsignedLoadPage(t *testing.T) {
	s := newRig(t)
	b := s.user("admin")
	b.get("/loads").want(t, 200, "/loads/unsigned")
	b.post("/loads/unsigned", "name", "SIP41").want(t, 422, `value="SIP41"`)
	b.post("/loads/unsigned", "name", "SIP41", "models", "7941", "components", "cnu41.sbn\napps41.sbn").want(t, 200,
		"not signed", "7941", "cnu41.sbn", "apps41.sbn")
	s.user("viewer").get("/loads").want(t, 200, "!/loads/unsigned")
}

// TestRareActions: rare actions have pages, too, which ask first.
func TestRareActions(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("admin")
	// ask looks at a page that asks, and sends its form.
	ask := func(path, want string, fields ...string) page {
		t.Helper()
		p := b.get(path).want(t, 200, want)
		if m := versionField.FindStringSubmatch(p.text); m != nil {
			fields = append(fields, "version", m[1])
		}
		return b.post(path, fields...)
	}
	ask("/devices/SEP000000000001/reset", "enrol").want(t, 200, "It must enrol again")
	ask("/trust/targets/rotate", "New key of targets").want(t, 200, "Done:")
	ask("/webhooks/pager/retry", "tried anew").want(t, 200, "Done:")
	ask("/webhooks/pager/test", "One message is sent at once").want(t, 409, "hooks.example.com")
	key := regexp.MustCompile(`/enrolments/[^/"]+/delete`).FindString(b.get("/enrolments").text)
	ask(key, "no other can").want(t, 200, "Done:")
	ask("/rollouts/winter/order/replace", `<option value="edge-2.0"`, "from", "edge-2.0", "to",
		"edge-1.0").want(t, 200, "edge-2.0 → edge-1.0")
	ask("/rollouts/winter/order/skip", "Devices to skip", "devices", "SEP000000000002").want(t, 200, "skipped")
	ask("/rollouts/winter/order/retry", "Only these devices", "devices", "SEP000000000002").want(t, 200, "Done:")
	ask("/rollouts/winter/order/abort", "Why", "why", "over").want(t, 200, "aborted")
	ask("/rollouts/winter/order/roll-back", "It goes by a plan of its own", "id", "back", "own", "on", "waves", "many").
		want(t, 422, "Write numbers from 1 to 100", "<details open>")
	ask("/rollouts/winter/order/roll-back", "It goes by a plan of its own", "id", "back", "own", "on", "waves", "50 100",
		"opener", "person").want(t, 200, "Done:")
	if r := must(s.api.Rollout(t.Context(), "back")); len(r.Plan.Waves) != 2 || r.Links.Undoes != "winter" {
		t.Errorf("%+v", r)
	}
	draft := must(s.api.Rollout(t.Context(), "autumn"))
	draft.Plan.Approval = true
	must(s.api.UpdateRollout(t.Context(), "autumn", client.RolloutChange{Plan: &draft.Plan}, draft.Version))
	ask("/rollouts/autumn/order/start", "This touches").want(t, 200, "awaits approval")
	ask("/rollouts/autumn/order/approve", "This touches").want(t, 200, "scheduled")
}

// A search that finds other devices than were shown changes nothing before somebody has
// seen them, and a template that somebody else has changed meanwhile is not overwritten.
func TestAsShown(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/bulk/query").want(t, 200, "Empty: at once")
	ask := []string{"model", "", "site", "Kyoto", "profile", "", "text", "", "set_model", "-", "set_site", "-",
		"set_profile", "-", "set_load", "-", "set_release", "-", "set_description", "Lobby", "set_settings", "", "at", ""}
	b.post("/bulk/query", replaced(slices.Clone(ask), "at", "soon")...).want(t, 422, "Write a date and a time")
	p := b.post("/bulk/query", ask...).want(t, 200, "6 changed")
	hidden := func(p page) (all []string) {
		for _, m := range hiddenField.FindAllStringSubmatch(p.text, -1) {
			if m[1] != "csrf" {
				all = append(all, m[1], unescape(m[2]))
			}
		}
		return all
	}
	site := "Kyoto"
	must(s.api.Devices.Update(t.Context(), "SEP000000000002", client.DeviceChange{Site: &site}, client.AnyVersion))
	again := b.upload("/bulk/run", hidden(p)...).want(t, 409, "another plan by now", "other devices now, 7 and not the 6",
		"7 changed")
	if d := must(s.api.Devices.Get(t.Context(), "SEP000000000001")); d.Description == "Lobby" {
		t.Error("it was changed")
	}
	b.upload("/bulk/run", hidden(again)...).want(t, 200, "waiting")
	form := b.get("/templates/desk/edit")
	read := versionField.FindStringSubmatch(form.text)[1]
	edit := func(note, version string) page {
		return b.post("/templates/desk/edit", "version", version, "note", note, "set_model", "-", "set_site", "-",
			"set_profile", "lobby", "set_load", "-", "set_release", "-", "set_description", "", "set_settings", "")
	}
	edit("of the first", read).want(t, 200, "Saved.", "of the first")
	edit("of the second", read).want(t, 409, "Somebody else has written: of the first", `value="of the second"`)
}

// TestWordsForAll: what the log, a bulk change and a level tell of is in the language of
// the page, and a draft has no waves yet.
func TestWordsForAll(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("admin")
	b.get("/").want(t, 200, "bulk change of 3 lines: phones.csv", "user admin")
	b.get("/rollouts").want(t, 200, "2 planned", "1 / 2", "!0 / 0")
	b.get("/profiles/lobby").want(t, 200, "WAN limit (wan-limit)")
	b.lang = "ja"
	b.get("/").want(t, 200, "3 行の一括変更: phones.csv", "ユーザー admin", "!user admin")
	b.get("/audit").want(t, 200, "3 行の一括変更: phones.csv", `href="/audit?target=user%20admin">ユーザー admin</a>`)
	b.get("/audit?target=user%20admin").want(t, 200, "ユーザー admin", "!一括変更: phones.csv")
	b.get("/rollouts").want(t, 200, "2 件の予定", "!0 / 0")
	b.get(s.path("JOB")).want(t, 200, "説明: ", `<th scope="row" data-l="行">2</th>`, "!description")
	b.get("/profiles/lobby").want(t, 200, "WAN 帯域上限 (wan-limit)")
	b.get("/history").want(t, 200, "<th scope=\"col\">種類</th>")
}

// TestDamagedLoads: what a check of all loads finds is said in the language of the page.
func TestDamagedLoads(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("harmless")
	b := s.user("admin")
	b.lang = "ja"
	for _, c := range []struct{ pattern, with, en, ja string }{
		{"components/*app1.0.bin", "longer than it was", "longer than stated", "より長くなっています"},
		{"components/*app1.0.bin", "", "shorter than stated", "より短くなっています"},
		{"components/*app1.0.bin", "gone", "is missing", "構成ファイルがありません"},
		{"metadata/*timestamp.json", "{}", "cannot be understood", "メタデータを解釈できません"},
		{"metadata/*timestamp.json", "gone", "not found", "ファイルがありません"},
	} {
		files := must(filepath.Glob(filepath.Join(s.tree, c.pattern)))
		if len(files) == 0 {
			t.Fatal(c.pattern)
		}
		for _, f := range files {
			err := os.Remove(f)
			if err == nil && c.with != "gone" {
				err = os.WriteFile(f, []byte(c.with), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		b.lang = "en"
		b.get("/loads/verify")
		b.post("/loads/verify").want(t, 200, c.en)
		b.lang = "ja"
		b.post("/loads/verify").want(t, 200, c.ja, "!"+c.en)
	}
}
