package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/livesite"
	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// reports has a device report from an address.
func (s *rig) reports(device, from string, said object) {
	s.t.Helper()
	r := httptest.NewRequest("POST", Prefix+"/devices/"+device+"/check-in", strings.NewReader(jsonOf(s.t, said)))
	r.RemoteAddr = from + ":999"
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+s.devices[device])
	w := httptest.NewRecorder()
	if s.srv.ServeHTTP(w, r); w.Code != http.StatusNoContent {
		s.t.Fatalf("%s reports: %d %s", device, w.Code, w.Body)
	}
}

// names of the devices of a list.
func (s *rig) names(path string) string {
	s.t.Helper()
	text, _ := s.want(200, "GET", path, nil)
	var all []string
	for _, d := range decode[domain.List[domain.DeviceRow]](s.t, text).Items {
		all = append(all, d.Name)
	}
	return strings.Join(all, " ")
}

// TestSites: a device belongs to the site of its row, else to that of the most
// specific network that it reports from, at once when networks change.
func TestSites(t *testing.T) {
	s := newRig(t)
	text, h := s.want(201, "POST", "/sites", object{"name": "Kyoto", "time_zone": "Asia/Tokyo", "networks": []string{
		"10.1.2.3/16"}, "wan_rate": 250_000, "window": "Mon-Fri 22:00-05:00", "transfers": 2, "rate": 100_000, "note": "n"})
	made := decode[domain.Site](t, text)
	if made.Networks[0] != "10.1.0.0/16" || made.Window != "mon-fri 22:00-05:00" || made.Limits.Transfers != 2 ||
		made.Limits.Rate != 100_000 || made.WANRate != 250_000 || h.Get("ETag") != `"1"` {
		t.Errorf("made was %s", text)
	}
	s.want(201, "POST", "/sites", object{"name": "Osaka"})
	s.reports(one, "10.1.7.1", object{"schema": 1, "state": "idle", "active": "old", "files": []object{
		{"file": "a", "bytes_from_origin": 100, "bytes_from_peers": 900}}})
	s.reports(two, "192.0.2.1", object{"schema": 1, "state": "failed"})
	if got := s.names("/devices?site=Kyoto"); got != one {
		t.Errorf("in Kyoto is %q", got)
	}
	// A part of a network may be another site's; the row wins over both.
	s.want(201, "POST", "/sites", object{"name": "Lab", "networks": []string{"10.1.7.0/24"}})
	if a, b := s.names("/devices?site=Kyoto"), s.names("/devices?site=Lab"); a != "" || b != one {
		t.Errorf("in Kyoto is %q, in the lab %q", a, b)
	}
	s.want(200, "PATCH", "/devices/"+one, object{"site": "Osaka"})
	if a, b := s.names("/devices?site=Osaka"), s.names("/devices?site=Lab"); a != one || b != "" {
		t.Errorf("in Osaka is %q, in the lab %q", a, b)
	}
	s.want(200, "PATCH", "/devices/"+two, object{"site": "Osaka"})
	text, _ = s.want(200, "GET", "/sites/Osaka", nil)
	n := decode[domain.SiteRow](t, text).Counts
	if n != (domain.SiteCounts{Devices: 2, Failed: 1, WANBytes: 100, SavedBytes: 900}) {
		t.Errorf("Osaka counts %+v", n)
	}
	text, _ = s.want(200, "GET", "/sites?text=KYO", nil)
	l := decode[domain.List[domain.SiteRow]](t, text)
	if l.Total != 1 || l.Items[0].Name != "Kyoto" || l.Items[0].Counts != (domain.SiteCounts{}) {
		t.Errorf("the list: %s", text)
	}
	// Of a site that has devices, nothing is removed, and it says how many.
	text, _ = s.want(409, "DELETE", "/sites/Osaka", nil)
	if !strings.Contains(text, "2 devices") {
		t.Error(text)
	}
	s.want(200, "PATCH", "/devices/"+one, object{"site": ""})
	text, _ = s.want(409, "DELETE", "/sites/Lab", nil)
	if !strings.Contains(text, "1 device") || !strings.Contains(text, one) {
		t.Error(text)
	}
	s.want(200, "PATCH", "/sites/Lab", object{"networks": []string{}})
	if got := s.names("/devices?site=Kyoto"); got != one {
		t.Errorf("in Kyoto is %q again", got)
	}
	s.want(204, "DELETE", "/sites/Lab", nil)
	s.want(404, "GET", "/sites/Lab", nil)
}

// TestSitesAreMade: a name that nobody has made finds nothing and makes nothing,
// and the answer says what was probably meant.
func TestSitesAreMade(t *testing.T) {
	s := newRig(t)
	for _, name := range []string{"Kyoto", "Osaka", "a/b ü?"} { // the last as of old, before names were checked
		code := 201
		if name == "a/b ü?" {
			code = 422
		}
		s.want(code, "POST", "/sites", object{"name": name})
	}
	before := s.export()
	for path, body := range map[string]object{
		"GET /devices?site=Kyotoo": nil, "GET /history?site=Kyotoo": nil, "GET /audit?site=Kyotoo": nil,
		"GET /overview?site=Kyotoo": nil, "GET /enrolments?site=Kyotoo": nil, "GET /sites/Kyotoo": nil,
		"DELETE /sites/Kyotoo": nil, "PATCH /sites/Kyotoo": {}, "PATCH /devices/" + one: {"site": "Kyotoo"},
		"POST /devices":    {"name": "00:11:22:33:44:55", "model": "7941", "site": "Kyotoo"},
		"POST /enrolments": {"name": "e", "site": "Kyotoo"},
	} {
		method, path, _ := strings.Cut(path, " ")
		var in any
		if body != nil {
			in = body
		}
		text, _ := s.want(404, method, path, in)
		if !strings.Contains(text, `did you mean Kyoto?`) || !strings.Contains(text, ProblemPrefix+"not-found") {
			t.Errorf("%s %s: %s", method, path, text)
		}
	}
	text, _ := s.want(200, "POST", "/bulk", object{"rows": []object{{"device": one, "change": object{"site": "Osak"}}}})
	if a := decode[BulkAnswer](t, text); a.Failed != 1 || !strings.Contains(text, "did you mean Osaka?") {
		t.Error(text)
	}
	if after := s.export(); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
}

// TestSitesOfReports: history, audit log, overview and enrolments of a site.
func TestSitesOfReports(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "Kyoto", "networks": []string{"10.1.0.0/16"}})
	s.want(201, "POST", "/enrolments", object{"name": "k", "site_key": true, "site": "Kyoto"})
	s.want(409, "DELETE", "/sites/Kyoto", nil)
	s.reports(one, "10.1.0.1", object{"schema": 1, "state": "idle"})
	s.reports(two, "10.2.0.1", object{"schema": 1, "state": "idle"})
	s.want(200, "PATCH", "/devices/"+one, object{"description": "here"})
	s.want(200, "PATCH", "/devices/"+two, object{"description": "there"})
	for path, want := range map[string]int{"/history?kind=state": 2, "/history?kind=state&site=Kyoto": 1,
		"/audit?action=device.update": 2, "/audit?action=device.update&site=Kyoto": 1,
		"/audit?action=site.create&site=Kyoto": 1,
	} {
		text, _ := s.want(200, "GET", path, nil)
		if l := decode[domain.List[object]](t, text); l.Total != want {
			t.Errorf("%s: %d, want %d", path, l.Total, want)
		}
	}
	for path, want := range map[string]int{"/overview": 2, "/overview?site=Kyoto": 1} {
		text, _ := s.want(200, "GET", path, nil)
		if o := decode[domain.Overview](t, text); o.Devices != want || len(o.BySite) != 1 || o.BySite["Kyoto"] != 1 {
			t.Errorf("%s: %s", path, text)
		}
	}
	for path, want := range map[string]int{"/enrolments": 2, "/enrolments?site=Kyoto": 1} {
		text, _ := s.want(200, "GET", path, nil)
		if l := decode[EnrolmentList](t, text); len(l.Items) != want {
			t.Errorf("%s: %s", path, text)
		}
	}
}

// siteBodies are malformed bodies for a site, with words of the answer.
var siteBodies = []malformed{
	{"no body at all", ``, 400, "body"},
	{"no JSON", `{"name"`, 400, "unexpected end"},
	{"a list", `[]`, 422, "expected object"},
	{"null", `null`, 422, "expected object"},
	{"a text", `"Nara"`, 422, "expected object"},
	{"two values", `{"name":"Nara"}{}`, 400, ""},
	{"no name", `{}`, 422, "name"},
	{"an empty name", `{"name":""}`, 422, "1 to 64 bytes"},
	{"a long name", `{"name":"` + strings.Repeat("n", 65) + `"}`, 422, "1 to 64 bytes"},
	{"a name with a slash", `{"name":"a/b"}`, 422, "has none of"},
	{"a name that leads up", `{"name":".."}`, 422, "1 to 64 bytes"},
	{"a name with spaces at its ends", `{"name":" Nara"}`, 422, "no space at its ends"},
	{"a name that rings", `{"name":"Nara\u0007"}`, 422, "plain text"},
	{"a name that is a number", `{"name":7}`, 422, "expected string"},
	{"a name that is there", `{"name":"Kyoto"}`, 409, "exists"},
	{"an unknown field", `{"name":"Nara","colour":"red"}`, 422, "unexpected property"},
	{"a zone that is none", `{"name":"Nara","time_zone":"Asia/Nara"}`, 422, "no time zone"},
	{"the zone of the host", `{"name":"Nara","time_zone":"Local"}`, 422, "no time zone"},
	{"a zone that leads away", `{"name":"Nara","time_zone":"../../etc/passwd"}`, 422, "no time zone"},
	{"a network that is none", `{"name":"Nara","networks":["10.1"]}`, 422, "10.1.0.0/16"},
	{"a network of another site", `{"name":"Nara","networks":["10.1.99.0/16"]}`, 409, "two sites, Kyoto and Nara"},
	{"networks that are a text", `{"name":"Nara","networks":"10.1.0.0/16"}`, 422, "expected array"},
	{"too many networks", `{"name":"Nara","networks":[` + strings.Repeat(`"10.9.0.0/16",`, 64) + `"10.9.0.0/16"]}`, 422,
		"at most 64"},
	{"a rate below zero", `{"name":"Nara","wan_rate":-1}`, 422, "0 to"},
	{"a rate beyond all", `{"name":"Nara","wan_rate":9000000000000000000}`, 422, "0 to"},
	{"a rate that is a text", `{"name":"Nara","wan_rate":"2M"}`, 422, "expected integer"},
	{"a rate with a fraction", `{"name":"Nara","rate":1.5}`, 422, "expected integer"},
	{"transfers below zero", `{"name":"Nara","transfers":-1}`, 422, "0 to"},
	{"transfers beyond all", `{"name":"Nara","transfers":1000001}`, 422, "0 to"},
	{"a window without a zone", `{"name":"Nara","window":"22:00-05:00"}`, 422, "needs the time zone"},
	{"a window that is none", `{"name":"Nara","time_zone":"UTC","window":"at night"}`, 422, "no window"},
	{"a window without length", `{"name":"Nara","time_zone":"UTC","window":"22:00-22:00"}`, 422, "no length"},
	{"a window of no hour", `{"name":"Nara","time_zone":"UTC","window":"25:00-26:00"}`, 422, "no window"},
	{"a note that rings", `{"name":"Nara","note":"a\u0000b"}`, 422, "plain text"},
	{"a long note", `{"name":"Nara","note":"` + strings.Repeat("n", 501) + `"}`, 422, "at most 500"},
	{"a very long body", `{"name":"Nara","note":"` + strings.Repeat("n", 2<<20) + `"}`, 413, ""},
}

// TestMalformedSites: each gets a clear verdict, when a site is made and when one
// is changed, and nothing is changed.
func TestMalformedSites(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "Kyoto", "networks": []string{"10.1.0.0/16"}})
	s.want(201, "POST", "/sites", object{"name": "Uji"})
	s.refuses("POST", "/sites", siteBodies)
	for _, m := range siteBodies {
		if !strings.Contains(m.body, `"name":"Nara",`) {
			continue
		}
		m.body = strings.Replace(m.body, `"name":"Nara",`, "", 1)
		m.says = strings.Replace(m.says, "Kyoto and Nara", "Kyoto and Uji", 1)
		s.refuses("PATCH", "/sites/Uji", []malformed{m})
	}
	s.refuses("PATCH", "/sites/Uji", []malformed{{"another name", `{"name":"Nara"}`, 422, "unexpected property"}})
}

// malformed is a body that is refused with a status and words.
type malformed struct {
	name, body string
	code       int
	says       string
}

// refuses sends malformed bodies as an administrator.
func (s *rig) refuses(method, path string, all []malformed) {
	s.t.Helper()
	for _, m := range all {
		before := s.export()
		r := httptest.NewRequest(method, Prefix+path, strings.NewReader(m.body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleAdmin])
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		text := w.Body.String()
		if w.Code != m.code || !strings.Contains(text, m.says) {
			s.t.Errorf("%s %s, %s: %d %.300s; want %d and %q", method, path, m.name, w.Code, text, m.code, m.says)
		}
		for _, wrong := range s.undocumented(method, Prefix+path, w.Code, w.Header(), w.Body.Bytes()) {
			s.t.Errorf("%s %s, %s: %s: %.300s", method, path, m.name, wrong, text)
		}
		if len(text) > 2000 {
			s.t.Errorf("%s %s, %s: the answer has %d bytes", method, path, m.name, len(text))
		}
		if after := s.export(); after != before {
			s.t.Fatalf("%s %s, %s: something was changed", method, path, m.name)
		}
	}
}

// export is all that the controller knows, but when tokens were last used.
func (s *rig) export() string {
	s.t.Helper()
	var b strings.Builder
	if err := s.store.Export(s.t.Context(), &b); err != nil {
		s.t.Fatal(err)
	}
	var kept []string
	for _, line := range strings.Split(b.String(), "\n") {
		if !strings.Contains(line, `"table":"credentials"`) && !strings.Contains(line, `"table":"accounts"`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// jsonOf is the JSON form of a body.
func jsonOf(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLive: what a device tells over the API comes to who looks, at once and through a
// client; who breaks off goes on by the id; and the same is there to be replayed.
func TestLive(t *testing.T) {
	tiers.Long(t, "it waits for what a stream tells")
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "Kyoto"})
	s.want(200, "PATCH", "/devices/"+one, object{"site": "Kyoto"})
	tell := func(code int, states ...live.State) {
		t.Helper()
		b, err := live.Pack(states)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+Prefix+"/devices/"+one+"/live",
			bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/octet-stream")
		r.Header.Set("Authorization", "Bearer "+s.devices[one])
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != code {
			t.Fatalf("%d, %s", resp.StatusCode, text)
		}
	}
	file := live.File{Name: "app.bin", Size: 10, Have: 4, Source: "peer", Parents: []string{"10.0.0.2"}}
	state := live.State{Device: one, Load: "ab", Phase: "downloading", Files: []live.File{file}}
	tell(204, state, live.State{Device: two}) // which it does not carry for
	code, text, _ := s.call("POST", Prefix+"/devices/"+one+"/live", s.devices[one], object{})
	if code < 400 {
		t.Errorf("JSON is taken: %d, %s", code, text)
	}
	// events hands over the first events after an id, and ends with the last id.
	events := func(after string, each ...func(kind string, p livesite.Picture)) (last string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+Prefix+"/sites/Kyoto/live", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleViewer])
		r.Header.Set("Last-Event-ID", after)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if is := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || is != eventsType {
			t.Fatal(resp.Status, is)
		}
		kind := ""
		for lines := bufio.NewScanner(resp.Body); len(each) > 0 && lines.Scan(); {
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "id":
				last = value
			case "event":
				kind = value
			case "data":
				each[0](kind, decode[livesite.Picture](t, value))
				each = each[1:]
			}
		}
		if len(each) > 0 {
			t.Fatal("the stream has ended")
		}
		return last
	}
	has := func(kind string, have int64, then func()) func(string, livesite.Picture) {
		return func(is string, p livesite.Picture) {
			t.Helper()
			if is != kind || len(p.Devices) != 1 || p.Devices[0].Device != one || p.Devices[0].Files[0].Have != have {
				t.Errorf("%s %+v, want %s and %d bytes", is, p, kind, have)
			}
			then()
		}
	}
	grow := func() {
		state.Files[0].Have++
		tell(204, state)
	}
	last := events("", has("snapshot", 4, grow), has("change", 5, func() {}))
	grow()
	events(last, has("change", 6, func() {}))
	events("unknown-7", has("snapshot", 6, func() {}))
	s.want(404, "GET", "/sites/Osaka/live", nil)
	text, _ = s.want(200, "GET", "/sites/Kyoto/live/last", nil)
	if r := decode[livesite.Replay](t, text); r.Begun.IsZero() || len(r.Changes) != 3 {
		t.Error(text)
	}
}

// TestLiveEnds: a stream ends once its session has, and once whoever looks has other
// rights than when it began.
func TestLiveEnds(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "Kyoto"})
	root := domain.Local("root")
	// begin returns what sends a sign of life to the viewer, who has asked just now.
	begin := func() func() error {
		l, err := s.ctl.Login(t.Context(), "viewer", password, "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), "GET", Prefix+"/sites/Kyoto/live", nil)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: l.Secret})
		who, err := s.srv.identify(r, needRead)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		c := huma.WithValue(humago.NewContext(&huma.Operation{}, r, w), callerKey{}, who)
		send := s.srv.followed(c, r, &stream{w: w, out: http.NewResponseController(writable{w}), limit: time.Minute})
		for range 2 {
			if err := send(nil); err != nil {
				t.Fatalf("while it may look: %v", err)
			}
		}
		return func() error { return send(nil) }
	}
	send := begin()
	sites := []string{"Kyoto"}
	if _, err := s.ctl.UpdateUser(t.Context(), root, "viewer", domain.UserChange{Sites: &sites}, 0); err != nil {
		t.Fatal(err)
	}
	if err := send(); err == nil {
		t.Error("with other rights it goes on")
	}
	send = begin()
	if err := s.ctl.EndSessions(t.Context(), root, "viewer"); err != nil {
		t.Fatal(err)
	}
	if err := send(); !errors.Is(err, domain.ErrUnauthenticated) {
		t.Errorf("after its session: %v", err)
	}
}

// writable is an answer that takes deadlines.
type writable struct{ *httptest.ResponseRecorder }

func (writable) SetWriteDeadline(time.Time) error { return nil }
