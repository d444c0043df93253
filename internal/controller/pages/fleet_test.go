package pages

import (
	"encoding/csv"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/pages/words"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// The overview tells what needs attention, what runs and what was saved.
func TestOverview(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	b := s.user("viewer")
	b.get("/").want(t, 200, "No device is known yet")
	s.fleetOf("")
	b.get("/").want(t, 200, "What needs attention", "/devices/SEP000000000004", "the installer failed",
		"5 devices have not", "9.0 MB", "edge-1.0", "3 devices", "!Last changes")
	b.lang = "ja"
	b.get("/").want(t, 200, "要対応", "インストーラの失敗", "!What needs attention")
}

// The overview tells of a controller's disk that is nearly full, and counts that as
// something to do.
func TestDiskLow(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	size := int64(100_000_000_000)
	for free, low := range map[int64]bool{0: true, 4_999_999_999: true, 5_000_000_000: false, size: false} {
		p := overviewPage{Overview: client.Overview{DiskFree: &free, DiskSize: &size}}
		if p.DiskLow() != low || p.Calm() == low {
			t.Errorf("%d free: %d %%, low %v, calm %v", free, p.DiskPercent(), p.DiskLow(), p.Calm())
		}
	}
	if p := (overviewPage{}); p.DiskLow() {
		t.Error("what is not known is held to be full")
	}
	s := newRig(t)
	s.fleetOf("")
	o := must(s.api.Overview(t.Context(), "", time.Hour))
	if o.DiskFree == nil || o.DiskSize == nil || *o.DiskFree < 0 || *o.DiskSize < *o.DiskFree || *o.DiskSize == 0 {
		t.Fatalf("the disk: %v of %v", o.DiskFree, o.DiskSize)
	}
	if o := must(s.api.Overview(t.Context(), "Kyoto", time.Hour)); o.DiskFree != nil {
		t.Error("a site has a disk")
	}
	want := "!Make room"
	if (overviewPage{Overview: o}).DiskLow() { // the machine of the test has little
		want = "Make room"
	}
	s.user("viewer").get("/").want(t, 200, want)
	s.user("operator", "Kyoto").get("/").want(t, 200, "!Make room")
}

// Every view of the list of devices is an address.
func TestFleet(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/devices").want(t, 200, "SEP000000000001", "SEP00000000000C", "12 in all", "Desk 3")
	b.get("/devices?state=failed").want(t, 200, "SEP000000000004", "!SEP000000000001", "1 in all")
	b.get("/devices?site=Kyoto&failed=true").want(t, 200, "SEP000000000005", "!SEP000000000004")
	b.get("/devices?silent=true&col=address").want(t, 200, "SEP000000000008", "!SEP000000000001", "!Desk 7")
	b.get("/devices?no_profile=true").want(t, 200, "SEP000000000002", "!SEP000000000001", "8 in all")
	b.get("/devices?origin=enrolled").want(t, 200, "No device matches")
	b.get("/devices?origin=administrator").want(t, 200, "12 in all")
	b.get("/devices?load=edge-1.0").want(t, 200, "No device matches")
	b.get("/devices?release=2026.11").want(t, 200, "No device matches") // it is the enterprise's
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
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("")
	b := s.user("operator")
	b.get("/devices/SEP000000000002").want(t, 200, "It downloads edge-2.0: 43 % are there",
		"It is the root: it downloads from the server", "It passes them on to 10.1.0.3, 10.1.0.4", "the enterprise says")
	b.get("/devices/SEP000000000004").want(t, 200, "the installer failed", "no space left", "What to do",
		"profile", "200k")
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
	was := frame.VersionField(d.Version)["version"]
	edit(was).want(t, 200, "Reception", "Saved.")
	// The slower user sees both values, and can save all the same.
	p := b.post("/devices/SEP000000000001/edit", "version", was, "model", "linux-amd64",
		"description", "Lounge").want(t, 409, "Somebody else has changed it", `value="Lounge"`, "Reception")
	if again := versionField.FindStringSubmatch(p.text); again == nil || again[1] == was {
		t.Errorf("the form has the version %v", again)
	}
}

// A setting is changed at the level that is chosen, once it was shown what that touches.
func TestThreeLevels(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
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

// Sites are made, changed and deleted; what is wrong stands beside its field.
func TestSitePages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	b := s.user("operator")
	b.get("/sites").want(t, 200, "No site yet", "New site")
	b.post("/sites/new", "name", "Kobe", "networks", "10.9.0.0/16\nnonsense").want(t, 422, "nonsense", `value="Kobe"`)
	b.post("/sites/new", "name", "Kobe", "wan_rate", "-5").want(t, 422, "not a valid number", `aria-invalid="true"`)
	b.post("/sites/new", "name", "Kobe", "networks", "10.9.0.0/16 10.10.0.0/16", "wan_rate", "2000000", "time_zone",
		"Asia/Tokyo").want(t, 200, "10.9.0.0/16, 10.10.0.0/16", "2.0 MB/s", "Asia/Tokyo")
	b.post("/sites/new", "name", "Kobe").want(t, 409, "That name is taken")
	b.get("/sites").want(t, 200, "Kobe")
	p := b.get("/sites/Kobe/edit").want(t, 200, `value="Asia/Tokyo"`)
	v := versionField.FindStringSubmatch(p.text)[1]
	b.post("/sites/Kobe/edit", "version", v, "note", "mine", "time_zone", "Asia/Tokyo").want(t, 200, "mine")
	b.post("/sites/Kobe/edit", "version", v, "note", "later").want(t, 409, "Somebody else has written: mine",
		`value="later"`)
	b.get("/sites/Kobe/delete").want(t, 200, "Delete the site Kobe</button>")
	b.post("/devices/new", "name", "00:11:22:33:44:55", "model", "7941", "site", "Kobe").want(t, 200)
	b.get("/sites/Kobe/delete").want(t, 200, "1 device belongs to it", "!Delete the site Kobe</button>", "Back")
	if err := s.api.Devices.Delete(t.Context(), "SEP001122334455", client.AnyVersion); err != nil {
		t.Fatal(err)
	}
	b.post("/sites/Kobe/delete").want(t, 200, "No site yet")
	s.user("viewer").get("/sites").want(t, 200, "!New site")
}

// Profiles, the enterprise and models.
func TestConfigPages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	b := s.user("admin")
	b.get("/profiles").want(t, 200, "No profile yet")
	b.post("/profiles/new", "name", strings.Repeat("x", 65)).want(t, 422, strings.Repeat("x", 65)+`"`)
	b.post("/profiles/new", "name", "lobby", "description", "Phones").want(t, 200, "lobby", "Phones")
	p := b.get("/profiles/lobby/edit")
	b.post("/profiles/lobby/edit", "version", versionField.FindStringSubmatch(p.text)[1], "description",
		"Desks").want(t, 200, "Desks", "Saved.")
	b.post("/enterprise/edit", "auto", "on", "register_profile", "lobby").want(t, 200, "on: a device becomes known",
		"lobby")
	b.post("/enterprise/edit", "register_profile", "").want(t, 200, "off: unknown")
	b.post("/profiles/lobby/delete").want(t, 200, "No profile yet")
	b.get("/models").want(t, 200, "7941", "built in")
	b.post("/models/new", "name", "Camera 1", "family", "camera", "can_share", "on").want(t, 200, "Camera 1", "camera")
	b.post("/models/new", "name", "Camera 2", "family", "camera", "type_number", "many").want(t, 422, "This is none: many")
	b.post("/models/new", "name", "Camera 2", "family", "camera", "defaults", "peer-sharing").want(t, 422,
		"not name=value: peer-sharing")
	b.post("/models/new", "name", "Camera 2", "family", "camera", "type_number", "700", "aliases", "Cam 2\nC2", "defaults",
		"peer-sharing=on", "provision", "cam2", "lacks", "wan-limit").want(t, 200, "Cam 2, C2", "cam2", "700",
		"Peer firmware sharing (peer-sharing)", "the model does not have it")
	b.post("/models/Camera%202/delete").want(t, 200, "!>Camera 2<")
	b.post("/models/Camera%201/delete").want(t, 200, "!>Camera 1<")
	b.get("/models/7941").want(t, 200, "peer-sharing", "third-generation phone", "0 (no limit)")
	b.lang = "ja"
	b.get("/models").want(t, 200, "第 3 世代の電話機", "!third-generation", "!second-generation", "!Linux device")
	b.get("/models/new").want(t, 200, "名前を 1 行に 1 つ", "!1 行に 1 台")
	b.get("/models/7960").want(t, 200, "このモデルは共有できません", "!cannot share", "0 (無制限)")
	b.get("/nothing").want(t, 404, "このページはありません", "!no such page")
	v := s.user("viewer")
	for _, path := range []string{"/profiles", "/enterprise", "/models", "/models/7941"} {
		if p := v.get(path).want(t, 200); strings.Contains(p.text, `class="button`) {
			t.Errorf("%s offers a viewer something: %s", path, p.text)
		}
	}
	v.post("/profiles/new", "name", "x").want(t, 403)
	s.fleetOf("")
	b.lang = "en"
	b.get("/models/new")
	b.post("/models/new", "name", "linux-amd64", "family", "linux", "default_load", "edge-1.0").want(t, 200,
		"Load where nothing else assigns one", `href="/loads/edge-1.0"`)
}

// The history of the fleet, what was saved, and what an upgrade would take.
func TestReports(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	b := s.user("viewer")
	b.get("/history").want(t, 200, "No such entry")
	b.get("/savings").want(t, 200, "No device has told of a fetch yet")
	s.fleetOf("")
	b.get("/history").want(t, 200, "SEP000000000004", "the installer failed", "downloading", "Up to this day")
	b.get("/history?kind=failure").want(t, 200, "SEP000000000004", "!SEP000000000006")
	b.get("/history?site=Kyoto&kind=state").want(t, 200, "SEP000000000001", "!SEP000000000004")
	b.get("/history?before=2001-01-01").want(t, 200, "No such entry")
	b.get("/savings").want(t, 200, "9.0 MB", "99 %")
	p := b.get("/savings?by-site=on&by-load=on").want(t, 200, "Kyoto", "edge-2.0", "!in all")
	if strings.Count(p.text, `type="checkbox" id="f-by-`) != 4 || strings.Count(p.text, `value="on" checked`) != 2 {
		t.Errorf("the choices do not come back: %s", p.text)
	}
	b.get("/savings?until=2001-01").want(t, 200, "No device has told")
	b.get("/savings?site=Nara").want(t, 404)
	b.get("/sites/Kyoto/plan").want(t, 200, "Show what it takes", "!The classic way")
	b.get("/sites/Kyoto/plan?load=edge-2.0").want(t, 200, "Devices that would fetch something", "by TFTP", "1.0 MB/s")
	b.get("/sites/Kyoto/plan?load=edge-2.0&release=2026.11").want(t, 200, "not both")
	b.get("/sites/Nara/plan").want(t, 404)
	b.get("/loads/edge-2.0").want(t, 200, "Devices that should have it", "12 devices", "Kyoto: 6")
	b.get("/failures?site=Kyoto").want(t, 200, "!SEP000000000004")
	b.get("/failures?site=Osaka&about=edge-2.0").want(t, 200, "SEP000000000004")
	b.lang = "ja"
	b.get("/history").want(t, 200, "ダウンロード中", "!downloading")
	b.get("/savings").want(t, 200, "節約率", "!Saved in percent")
	b.get("/sites/Kyoto/plan?load=edge-2.0").want(t, 200, "取得が必要な機器", "!by HTTP")
	s.user("operator", "Osaka").get("/history").want(t, 200, "SEP000000000004", "!SEP000000000001")
}

// The box of each list says in what it looks for a text.
func TestSearch(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("harmless")
	b := s.user("admin")
	for _, c := range []struct{ path, label, found, missed string }{
		{"/loads", "Name", "edge-2", "linux-amd64"}, {"/releases", "Name or note", "Autumn", "edge-2.0"},
		{"/filesets", "Name or directory", "ringtones", "linux-amd64"}, {"/sites", "Name or note", "Main office", "10.1.0.0"},
		{"/profiles", "Name or description", "in lobbies", "wan-limit"}, {"/users", "Name or full name", "adm", "operator"},
		{"/devices", "Name or description", "Desk 3", "linux-amd64"},
	} {
		b.get(c.path+"?text="+url.QueryEscape(c.found)).want(t, 200, ">"+c.label+"</label>", `<tbody>`)
		b.get(c.path+"?text="+url.QueryEscape(c.missed)).want(t, 200, ">"+c.label+"</label>", "!<tbody>")
	}
}

// Each action that the audit log has is said in words.
func TestActions(t *testing.T) {
	action := regexp.MustCompile(`"((?:bulk|device|enrolment|enterprise|fileset|keys|load|login|model|models|order|` +
		`order-key|profile|release|rollout|settings|site|template|token|user|webhook)\.[a-z-]+)"`)
	fields := []string{"load.load", "load.release", "load.previous", "device.failed", "rollout.changed", "order.json"}
	n := 0
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") ||
			strings.HasPrefix(path, "../pages") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range action.FindAllStringSubmatch(string(b), -1) {
			if n++; !slices.Contains(fields, m[1]) && !words.Known("did "+m[1]) {
				t.Errorf("%s: no words for the action %q", path, m[1])
			}
		}
		return err
	})
	if err != nil || n < 50 {
		t.Errorf("%d actions, %v", n, err)
	}
}
