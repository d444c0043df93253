package pages

import (
	"strings"
	"testing"

	"github.com/peerload/peerload/client"
)

// Sites are made, changed and deleted; what is wrong stands beside its field.
func TestSitePages(t *testing.T) {
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
	b.get("/sites/Kobe/delete").want(t, 200, "1 devices belong to it", "!Delete the site Kobe</button>", "Back")
	if err := s.api.Devices.Delete(t.Context(), "SEP001122334455", client.AnyVersion); err != nil {
		t.Fatal(err)
	}
	b.post("/sites/Kobe/delete").want(t, 200, "No site yet")
	s.user("viewer").get("/sites").want(t, 200, "!New site")
}

// Profiles, the enterprise and models.
func TestConfigPages(t *testing.T) {
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
	b.post("/models/Camera%201/delete").want(t, 200, "!>Camera 1<")
	b.get("/models/7941").want(t, 200, "peer-sharing", "third-generation phone")
	b.lang = "ja"
	b.get("/models").want(t, 200, "第 3 世代の電話機", "!third-generation", "!second-generation", "!Linux device")
	b.get("/nothing").want(t, 404, "このページはありません", "!no such page")
	v := s.user("viewer")
	for _, path := range []string{"/profiles", "/enterprise", "/models", "/models/7941"} {
		if p := v.get(path).want(t, 200); strings.Contains(p.text, `class="button`) {
			t.Errorf("%s offers a viewer something: %s", path, p.text)
		}
	}
	v.post("/profiles/new", "name", "x").want(t, 403)
}
