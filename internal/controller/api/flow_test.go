package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

// decode reads a JSON answer.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

type object = map[string]any

// TestLostUpdate: a caller that has read an older version does not overwrite a
// newer one.
func TestLostUpdate(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "Kyoto"})
	s.want(201, "POST", "/sites", object{"name": "Osaka"})
	_, h := s.want(200, "GET", "/devices/"+one, nil)
	tag := h.Get("ETag")
	s.want(200, "PATCH", "/devices/"+one, object{"site": "Kyoto"}, "If-Match", tag)
	text, _ := s.want(412, "PATCH", "/devices/"+one, object{"site": "Osaka"}, "If-Match", tag)
	if !strings.Contains(text, ProblemPrefix+"conflict") {
		t.Error(text)
	}
	s.want(412, "DELETE", "/devices/"+one, nil, "If-Match", tag)
	s.want(412, "DELETE", "/devices/"+one, nil, "If-Match", "W/nonsense")
	text, _ = s.want(200, "GET", "/devices/"+one, nil)
	if d := decode[domain.DeviceRow](t, text); d.Site != "Kyoto" {
		t.Errorf("the site is %q", d.Site)
	}
	s.want(200, "PATCH", "/devices/"+one, object{"site": "Osaka"}, "If-Match", "*")
	// Of two who have read what nobody has written, one is the first to write.
	_, h = s.want(200, "GET", "/enterprise", nil)
	unwritten := h.Get("ETag")
	s.want(412, "PATCH", "/enterprise", object{"auto_registration": true}, "If-Match", `"1"`)
	_, h = s.want(200, "PATCH", "/enterprise", object{"auto_registration": true}, "If-Match", unwritten)
	tag = h.Get("ETag")
	if unwritten == "" || tag == unwritten {
		t.Errorf("the ETag is %q before the first write and %q after it", unwritten, tag)
	}
	s.want(412, "PATCH", "/enterprise", object{"auto_registration": false}, "If-Match", unwritten)
	s.want(412, "PATCH", "/enterprise/settings", object{"set": object{"peer-sharing": "off"}}, "If-Match", unwritten)
	s.want(200, "PATCH", "/enterprise/settings", object{"set": object{"peer-sharing": "on"}}, "If-Match", tag)
	s.want(412, "PATCH", "/enterprise/settings", object{"set": object{"peer-sharing": "off"}}, "If-Match", tag)
	s.want(201, "POST", "/profiles", object{"name": "Lobby phones"})
	s.want(200, "GET", "/profiles/Lobby%20phones", nil)
}

// TestListing: pages, filters, and what is refused.
func TestListing(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "A"})
	s.want(201, "POST", "/sites", object{"name": "B"})
	for i := range 7 {
		s.want(201, "POST", "/devices", object{"name": fmt.Sprintf("00:11:22:33:44:%02x", i), "model": "7941",
			"site": []string{"A", "B"}[i%2]})
	}
	var names []string
	for after, n := "", 0; n < 10; n++ {
		text, _ := s.want(200, "GET", "/devices?limit=2&model=CP-7941G&after="+after, nil)
		l := decode[domain.List[domain.DeviceRow]](t, text)
		if l.Total != 7 || len(l.Items) > 2 {
			t.Fatalf("%d of %d", len(l.Items), l.Total)
		}
		for _, d := range l.Items {
			names = append(names, d.Name)
		}
		if after = l.Next; after == "" {
			break
		}
	}
	if len(names) != 7 || names[0] != "SEP001122334400" || names[6] != "SEP001122334406" {
		t.Error(names)
	}
	text, _ := s.want(200, "GET", "/devices?site=A&model=7941", nil)
	if l := decode[domain.List[domain.DeviceRow]](t, text); l.Total != 4 {
		t.Errorf("%d in A", l.Total)
	}
	for path, says := range map[string]string{"/devices?colour=red": "colour", "/devices?limit=100000": "limit"} {
		if text, _ := s.want(422, "GET", path, nil); !strings.Contains(text, says) {
			t.Errorf("%s: %s", path, text)
		}
	}
	// A word that means nothing is not passed over in silence.
	s.want(422, "PATCH", "/devices/"+one, object{"sites": "A"})
	s.want(422, "PATCH", "/devices/"+one+"/settings", object{"set": object{"peer-sharing": "maybe"}})
	s.want(404, "GET", "/devices/SEP0EFFFFFFFFFF", nil)
	s.want(409, "POST", "/devices", object{"name": one, "model": "7941"})
}

// TestDeviceChecksIn: a device reports itself, is told what to do, and its
// report is read back.
func TestDeviceChecksIn(t *testing.T) {
	s := newRig(t)
	s.want(200, "PATCH", "/enterprise/settings", object{"set": object{"peer-sharing": "on"}})
	s.want(200, "PATCH", "/devices/"+one+"/settings", object{"set": object{"peer-sharing": "off"}})
	said := object{"schema": 1, "state": "downloading", "active": "old", "model": "linux-arm",
		"field_of_the_future": object{"a": 1},
		"files":               []object{{"file": "a.bin", "source": "peer", "bytes_from_peers": 1000}}}
	code, text, _ := s.call("POST", Prefix+"/devices/"+one+"/check-in", s.devices[one], said)
	if code != 204 || text != "" { // what it should do stands in its provisioning file
		t.Fatal(code, text)
	}
	if code, text, _ := s.call("GET", Prefix+"/devices/"+one+"/desired", s.devices[one], nil); code != 200 ||
		decode[domain.Desired](t, text).Setting("peer-sharing") != "off" {
		t.Errorf("its settings, for people: %d %s", code, text)
	}
	if code, text, _ := s.call("GET", Prefix+"/devices/"+two+"/desired", s.devices[two], nil); code != 200 ||
		!strings.Contains(text, `"value":"on"`) {
		t.Errorf("the other device: %d %s", code, text)
	}
	text, _ = s.want(200, "GET", "/devices/"+one, nil)
	row := decode[domain.DeviceRow](t, text)
	if row.State == nil || row.State.Last.State != "downloading" || row.State.Traffic.FromPeers != 1000 {
		t.Errorf("read back: %s", text)
	}
	text, _ = s.want(200, "GET", "/devices/"+one+"/history?kind=file", nil)
	if l := decode[domain.List[domain.HistoryEntry]](t, text); l.Total != 1 {
		t.Errorf("history: %s", text)
	}
	if code, _, _ := s.call("POST", Prefix+"/devices/"+one+"/check-in", s.devices[one],
		[]string{"nonsense"}); code != 422 {
		t.Errorf("nonsense: %d", code)
	}
	s.want(204, "POST", "/devices/"+one+"/reset-identity", nil)
	if code, _, _ := s.call("GET", Prefix+"/devices/"+one, s.devices[one], nil); code != 401 {
		t.Errorf("after the reset: %d", code)
	}
}

// TestSession: cookie, CSRF token, back-off, end.
func TestSession(t *testing.T) {
	s := newRig(t)
	login := func(pw string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+Prefix+"/session", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("operator", pw)
		return http.DefaultClient.Do(r)
	}
	resp, err := login(password)
	if err != nil || resp.StatusCode != 201 {
		t.Fatal(resp, err)
	}
	var session domain.Session
	if err := json.NewDecoder(resp.Body).Decode(&session); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || session.CSRF == "" ||
		strings.Contains(fmt.Sprint(session), c.Value) {
		t.Errorf("cookie %+v, session %+v", c, session)
	}
	with := []string{"Cookie", c.Name + "=" + c.Value}
	if code, text, _ := s.call("GET", Prefix+"/session", "", nil, with...); code != 200 ||
		!strings.Contains(text, `"operator"`) {
		t.Errorf("who am I: %d %s", code, text)
	}
	change := object{"description": "X"}
	if code, _, _ := s.call("PATCH", Prefix+"/devices/"+one, "", change, with...); code != 403 {
		t.Errorf("without the CSRF token: %d", code)
	}
	if code, text, _ := s.call("PATCH", Prefix+"/devices/"+one, "", change,
		append(with, csrfHeader, session.CSRF)...); code != 200 {
		t.Errorf("with it: %d %s", code, text)
	}
	if code, _, _ := s.call("DELETE", Prefix+"/session", "", nil, append(with, csrfHeader, session.CSRF)...); code != 204 {
		t.Errorf("log out: %d", code)
	}
	if code, _, _ := s.call("GET", Prefix+"/session", "", nil, with...); code != 401 {
		t.Errorf("after the end: %d", code)
	}
	throttled := false
	for range 20 {
		resp, err := login("wrong")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		throttled = throttled || resp.StatusCode == 429 && resp.Header.Get("Retry-After") != ""
	}
	if !throttled {
		t.Error("nobody slows down who guesses")
	}
}

// TestBulk: CSCsh98792. Each row is read back, and one that fails stops no other.
func TestBulk(t *testing.T) {
	s := newRig(t)
	set := object{"settings": object{"set": object{"peer-sharing": "1"}}}
	text, _ := s.want(200, "POST", "/bulk", object{"rows": []object{
		{"device": one, "change": set},
		{"device": "nonsense", "change": set},
		{"device": "00-11-22-33-44-55", "create": true,
			"change": object{"model": "7975", "settings": object{"set": object{"peer-sharing": "on"}}}},
		{"device": two, "change": object{"profile": "there is none"}}}})
	a := decode[BulkAnswer](t, text)
	if a.OK != 2 || a.Failed != 2 || !a.Results[0].OK || a.Results[1].OK || !a.Results[2].Created ||
		a.Results[3].Error == "" {
		t.Errorf("%s", text)
	}
	if a.Results[0].Stored == nil || a.Results[0].Stored.Settings["peer-sharing"] != "on" {
		t.Errorf("read back: %s", text)
	}
}

// form makes an upload.
func form(t *testing.T, fields [][2]string, files ...string) (contentType string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for _, f := range fields {
		if err := w.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(files); i += 2 {
		p, err := w.CreateFormFile("file", files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), body
}

func (s *rig) upload(fields [][2]string, files ...string) (int, string) {
	s.t.Helper()
	ct, body := form(s.t, fields, files...)
	r, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url+Prefix+"/loads", body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", ct)
	r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleOperator])
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

// TestLoads: upload, assign, refuse what does not fit, roll back, verify.
func TestLoads(t *testing.T) {
	s := newRig(t)
	s.want(404, "GET", "/trust/root", nil) // nothing was published yet
	s.want(404, "POST", "/trust/keys/root/rotate", nil)
	fields := func(version, model string) [][2]string {
		return [][2]string{{"name", "fw" + version}, {"version", version}, {"model", model}}
	}
	for _, v := range []string{"1", "2"} {
		if code, text := s.upload(fields(v, "linux-arm"), "app.bin", "application "+v, "dsp.bin", "dsp"); code != 201 {
			t.Fatal(code, text)
		}
	}
	if code, text := s.upload(fields("3", "linux-arm"), ".hidden", "x"); code != 422 {
		t.Errorf("a hidden file: %d %s", code, text)
	}
	if code, text := s.upload(fields("3", "linux-arm"), "big.bin", strings.Repeat("x", 1<<20+1)); code != 422 ||
		!strings.Contains(text, "too large") {
		t.Errorf("a large file: %d %s", code, text)
	}
	if code, text := s.upload([][2]string{{"colour", "red"}}, "a.bin", "x"); code != 422 {
		t.Errorf("an unknown field: %d %s", code, text)
	}
	text, _ := s.want(200, "PUT", "/devices/"+one+"/load", object{"load": "fw1"})
	if a := decode[domain.Assigned](t, text); a.Load != "fw1" {
		t.Error(text)
	}
	s.want(200, "PUT", "/devices/"+one+"/load", object{"load": "fw2"})
	s.want(409, "PATCH", "/loads/fw2", object{"retired": true})
	s.want(200, "POST", "/devices/"+one+"/load/roll-back", nil)
	text, _ = s.want(200, "GET", "/devices/"+one+"/desired", nil)
	if d := decode[domain.Desired](t, text); d.Load.Load != "fw1" || d.LoadInfo == nil || !d.LoadInfo.Signed {
		t.Error(text)
	}
	s.want(201, "POST", "/devices", object{"name": "SEP00000000000A", "model": "7960"})
	text, _ = s.want(409, "PUT", "/devices/SEP00000000000A/load", object{"load": "fw1"})
	if !strings.Contains(text, ProblemPrefix+"unfit") {
		t.Error(text)
	}
	text, _ = s.want(200, "POST", "/loads/verify", nil)
	if v := decode[Verified](t, text); v.Problem != "" || len(v.Loads) != 2 || v.Loads[0].Problem != "" {
		t.Error(text)
	}
	text, _ = s.want(200, "GET", "/trust/root", nil)
	if r := decode[Root](t, text); r.Version != 1 || !json.Valid(r.Root) {
		t.Error(text)
	}
	text, _ = s.want(200, "GET", "/audit?action=load.assign", nil)
	if l := decode[domain.List[domain.AuditEntry]](t, text); l.Total != 2 || l.Items[0].Actor != "token t of admin" {
		t.Error(text)
	}
}

// TestSetup: the link makes one administrator, once.
func TestSetup(t *testing.T) {
	s := newRig(t)
	for _, u := range []string{"viewer", "operator"} {
		s.want(204, "DELETE", "/users/"+u, nil)
	}
	s.want(409, "DELETE", "/users/admin", nil) // the last one
	text, _ := s.want(200, "GET", "/openapi.json", nil)
	if d := decode[map[string]any](t, text); d["openapi"] != "3.1.0" {
		t.Error("no OpenAPI 3.1")
	}
	if code, _, _ := s.call("POST", Prefix+"/setup", "x", object{"name": "eve", "password": password}); code != 401 {
		t.Errorf("a secret that is none: %d", code)
	}
}

// TestMetrics: base units, no device, and the build.
func TestMetrics(t *testing.T) {
	s := newRig(t)
	code, text, _ := s.call("GET", "/metrics", s.tokens[domain.RoleViewer], nil)
	if code != 200 || !strings.Contains(text, `peerload_build_info{`) ||
		!strings.Contains(text, `peerload_devices{state="unknown"} 2`) ||
		!strings.Contains(text, "peerload_devices_received_bytes_total") ||
		!strings.Contains(text, "\npeerload_goroutines ") {
		t.Errorf("%d %s", code, text)
	}
	for _, le := range []string{"0.001", "0.003", "0.01", "0.03", "0.1", "0.3", "1", "3", "10", "+Inf"} {
		if !strings.Contains(text, `peerload_api_request_duration_seconds_bucket{le="`+le+`"}`) {
			t.Errorf("no requests of up to %s s are counted", le)
		}
	}
	if strings.Contains(text, "SEP") || strings.Contains(text, "00000000000") {
		t.Error("a device's name among the metrics")
	}
}
