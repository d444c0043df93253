package pages

import (
	"encoding/csv"
	"strings"
	"testing"

	"github.com/peerload/peerload/client"
)

// The overview tells what needs attention, what runs and what was saved.
func TestOverview(t *testing.T) {
	s := newRig(t)
	b := s.user("viewer")
	b.get("/").want(t, 200, "No device is known yet")
	s.fleetOf("")
	b.get("/").want(t, 200, "What needs attention", "/devices/SEP000000000004", "the installer failed",
		"5 devices have not", "9.0 MB", "edge-1.0", "3 devices", "!Last changes")
	b.lang = "ja"
	b.get("/").want(t, 200, "要対応", "インストーラの失敗", "!What needs attention")
}

// Every view of the list of devices is an address.
func TestFleet(t *testing.T) {
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/devices").want(t, 200, "SEP000000000001", "SEP00000000000C", "12 in all", "Desk 3")
	b.get("/devices?state=failed").want(t, 200, "SEP000000000004", "!SEP000000000001", "1 in all")
	b.get("/devices?site=Kyoto&failed=true").want(t, 200, "SEP000000000005", "!SEP000000000004")
	b.get("/devices?silent=true&col=address").want(t, 200, "SEP000000000008", "!SEP000000000001", "!Desk 7")
	b.get("/devices/new").want(t, 200, `<option value="" selected>choose one</option>`)
	b.get("/devices?text=nothing").want(t, 200, "No device matches")
	p := b.get("/devices?sort=description&down=1").want(t, 200, `aria-sort="descending"`)
	if strings.Index(p.text, "Desk 9") > strings.Index(p.text, "Desk 10") {
		t.Error("not sorted by the description, downwards")
	}
	p = b.get("/devices/export?format=csv&site=Kyoto").want(t, 200, "SEP000000000001", "!SEP000000000002")
	if rows, err := csv.NewReader(strings.NewReader(p.text)).ReadAll(); err != nil || len(rows) != 7 {
		t.Errorf("the export has %d rows, %v", len(rows), err)
	}
	b.get("/devices/export?format=exe").want(t, 404)
	b.post("/devices/new", "name", "nonsense", "model", "linux-amd64").want(t, 422, `value="nonsense"`,
		`aria-invalid="true"`)
	b.post("/devices/new", "name", "00:11:22:33:44:55", "model", "7941", "site", "Kyoto").want(t, 200, "SEP001122334455")
	s.user("viewer").get("/devices").want(t, 200, "!Add a device", "!Order to", "!checkbox\" name=\"device\"")
	s.user("operator", "Osaka").get("/devices").want(t, 200, "SEP000000000002", "!SEP000000000001", "6 in all")
}

// The page of a device says what it does and why, and whose each setting is.
func TestDevicePage(t *testing.T) {
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/devices/SEP000000000002").want(t, 200, "It downloads edge-2.0: 43 % are there",
		"It is the root: it downloads from the server", "It passes them on to 10.1.0.3, 10.1.0.4", "the enterprise says")
	b.get("/devices/SEP000000000004").want(t, 200, "the installer failed", "no space left", "What to do",
		"common phone profile", "200k")
	b.get("/devices/SEP00000000000C").want(t, 200, "It has not reported yet")
	b.get("/devices/SEP0000000000FF").want(t, 404)
	v := s.user("viewer")
	v.get("/devices/SEP000000000004").want(t, 200, "!/edit", "!/delete", "!Assign", "!/settings/")
	v.post("/devices/SEP000000000004/edit", "description", "mine").want(t, 403, "You may not do this")
	s.user("operator", "Kyoto").get("/devices/SEP000000000002").want(t, 404)

	b.get("/devices/SEP000000000001/edit").want(t, 200, `value="Desk 0"`)
	d := must(s.api.Devices.Get(t.Context(), "SEP000000000001"))
	edit := func(version string) page {
		return b.post("/devices/SEP000000000001/edit", "version", version, "model", "linux-amd64", "site", "Kyoto",
			"description", "Reception")
	}
	edit(version(d.Version)["version"]).want(t, 200, "Reception", "Saved.")
	// Whoever was slower sees both, and may write all the same.
	p := b.post("/devices/SEP000000000001/edit", "version", version(d.Version)["version"], "model", "linux-amd64",
		"description", "Lounge").want(t, 409, "Somebody else has changed it", `value="Lounge"`, "Reception")
	if again := versionField.FindStringSubmatch(p.text); again == nil || again[1] == version(d.Version)["version"] {
		t.Errorf("the form has the version %v", again)
	}
}

// A setting is changed at the level that is chosen, once it was shown what that touches.
func TestThreeLevels(t *testing.T) {
	s := newRig(t)
	s.fleetOf("")
	b := s.user("admin")
	form := func(path string, fields ...string) page {
		p := b.get(path).want(t, 200, "peer-sharing")
		return b.post(path, append([]string{"version", versionField.FindStringSubmatch(p.text)[1]}, fields...)...)
	}
	yes := func(p page) page {
		order, shown := orderField.FindStringSubmatch(p.text), shownField.FindStringSubmatch(p.text)
		if order == nil || shown == nil {
			t.Fatalf("nothing is asked: %s", p.text)
		}
		return b.post("/changes", "order", unescape(order[1]), "shown", shown[1], "what", "it", "back", "/devices")
	}
	for _, c := range []struct{ path, sharing, limit, touched string }{
		{"/settings/enterprise", "on", "300k", "8 devices"},
		{"/settings/profile/lobby", "-", "400k", "4 devices"},
		{"/settings/device/SEP000000000001", "-", "500k", "1 device."},
	} {
		p := form(c.path, "peer-sharing", c.sharing, "timing", "-", "unsigned", "-", "wan-limit", c.limit,
			"set-wan-limit", "on")
		yes(p.want(t, 200, "This touches "+c.touched)).want(t, 200, "Done: it", "/undo/")
	}
	d := must(s.api.Desired(t.Context(), "SEP000000000001"))
	for _, e := range d.Settings {
		if e.Setting == "wan-limit" && (e.Value != "500k" || e.Level != "device" || len(e.Others) != 3) {
			t.Errorf("%+v", e)
		}
	}
	p := form("/settings/device/SEP000000000001", "peer-sharing", "-", "timing", "-", "unsigned", "-", "wan-limit", "many")
	p.want(t, 422, `value="many"`, `aria-invalid="true"`)
	// Two editors: the slower one sees what is there now beside what they typed.
	p = form("/settings/device/SEP000000000001", "peer-sharing", "on", "timing", "-", "unsigned", "-", "wan-limit", "500k",
		"set-wan-limit", "on")
	must(s.api.ChangeSettings(t.Context(), client.Target{Level: "device", Name: "SEP000000000001"},
		client.SettingsChange{Set: map[string]string{"peer-sharing": "off"}}, client.AnyVersion))
	p = yes(p).want(t, 409, "Nothing of yours was written", "differs", "Make my change all the same")
	order := unescape(orderField.FindStringSubmatch(p.text)[1])
	p = b.post("/changes", "order", order, "over", "yes", "back", "/devices").want(t, 200, "This touches")
	yes(p).want(t, 200, "Done")
	s.user("viewer").post("/settings/enterprise", "peer-sharing", "off").want(t, 403)
}
