package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/oidc"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/stepping"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// TestConfig: what is missing or out of range is refused, each by itself.
func TestConfig(t *testing.T) {
	s := newRig(t)
	good := Config{Services: s.srv.cfg.Services, Spool: t.TempDir()}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(c *Config){
		"no controller":     func(c *Config) { c.Controller = nil },
		"no orders":         func(c *Config) { c.Orders = nil },
		"no rollouts":       func(c *Config) { c.Rollouts = nil },
		"no jobs":           func(c *Config) { c.Jobs = nil },
		"no file sets":      func(c *Config) { c.FileSets = nil },
		"no forecast":       func(c *Config) { c.Forecast = nil },
		"no spool":          func(c *Config) { c.Spool = "" },
		"a negative size":   func(c *Config) { c.MaxUpload = -1 },
		"an issuer, no URL": func(c *Config) { c.OIDC = &oidc.Provider{} },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestCookie: a session's cookie is for this server alone, out of reach of
// scripts, and for TLS only where the request came over TLS, here or at a proxy.
func TestCookie(t *testing.T) {
	s := newRig(t)
	login := func(change func(*http.Request)) *http.Cookie {
		t.Helper()
		r := httptest.NewRequest("POST", Prefix+"/session", nil)
		r.SetBasicAuth("operator", password)
		change(r)
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		all := w.Result().Cookies()
		if w.Code != 201 || len(all) != 1 {
			t.Fatalf("%d %v %s", w.Code, all, w.Body)
		}
		return all[0]
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		secure bool
	}{
		"in plain":            {func(*http.Request) {}, false},
		"over TLS":            {func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, true},
		"over TLS to a proxy": {func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }, true},
		"in plain to a proxy": {func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http") }, false},
	} {
		got := login(c.change)
		if got.Secure != c.secure || !got.HttpOnly || got.SameSite != http.SameSiteStrictMode ||
			got.Path != "/" || got.Domain != "" {
			t.Errorf("%s: %+v", name, got)
		}
		// The end of it is marked alike, or a browser would keep it.
		r := httptest.NewRequest("DELETE", Prefix+"/session", nil)
		r.AddCookie(got)
		_, session, err := s.ctl.ActorBySession(t.Context(), got.Value, "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(csrfHeader, session.CSRF)
		c.change(r)
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		end := w.Result().Cookies()
		if w.Code != 204 || len(end) != 1 || end[0].MaxAge >= 0 || end[0].Value != "" || end[0].Secure != c.secure {
			t.Errorf("%s: the end is %d %+v", name, w.Code, end)
		}
	}
}

// TestEveryChangeNeedsTheCSRFToken: with a session's cookie alone one reads, by
// whatever method something is changed; a bearer token goes before a cookie.
func TestEveryChangeNeedsTheCSRFToken(t *testing.T) {
	s := newRig(t)
	session, err := s.ctl.Login(t.Context(), "admin", password, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.ctl.Login(t.Context(), "admin", password, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cookie := []string{"Cookie", cookieName + "=" + session.Secret}
	for _, c := range [][2]string{{"POST", "/devices"}, {"PATCH", "/devices/" + one}, {"DELETE", "/devices/" + one},
		{"PUT", "/devices/" + one + "/load"}, {"POST", "/loads"}, {"PUT", "/session/password"}, {"DELETE", "/session"}} {
		for name, token := range map[string]string{"without a token": "", "with another session's": other.CSRF} {
			code, text, _ := s.call(c[0], Prefix+c[1], "", object{}, append(cookie, csrfHeader, token)...)
			if code != 403 || !strings.Contains(text, "CSRF") {
				t.Errorf("%s %s %s: %d %s", c[0], c[1], name, code, text)
			}
		}
	}
	if code, text, _ := s.call("GET", Prefix+"/devices", "", nil, cookie...); code != 200 {
		t.Errorf("reading: %d %s", code, text)
	}
	if code, _, _ := s.call("GET", Prefix+"/devices", "plt_false", nil, cookie...); code != 401 {
		t.Errorf("a false bearer token beside a good cookie: %d", code)
	}
	if code, _, _ := s.call("GET", Prefix+"/devices", session.Secret, nil); code != 401 {
		t.Errorf("a session's secret as a bearer token: %d", code)
	}
	cookie[1] = cookieName + "=" + s.tokens[domain.RoleAdmin]
	if code, _, _ := s.call("GET", Prefix+"/devices", "", nil, cookie...); code != 401 {
		t.Errorf("a token as a cookie: %d", code)
	}
}

// TestWhereARequestComesFrom: the address is the connection's, whatever headers
// say: guesses from one address are slowed down as one.
func TestWhereARequestComesFrom(t *testing.T) {
	s := newRig(t)
	guess := func(from, header string) int {
		r := httptest.NewRequest("POST", Prefix+"/session", nil)
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", header)
		r.Header.Set("X-Real-IP", header)
		r.Header.Set("Forwarded", "for="+header)
		r.SetBasicAuth("nobody", "wrong password")
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		return w.Code
	}
	throttled := 0
	for i := range 8 {
		if guess(fmt.Sprintf("[::ffff:10.0.0.1]:%d", 1000+i), fmt.Sprint("10.9.9.", i)) == 429 {
			throttled++
		}
	}
	if throttled == 0 {
		t.Error("whoever says another address each time guesses without end")
	}
	if code := guess("10.0.0.1:99", "10.9.9.9"); code != 429 {
		t.Errorf("the same address in its other form: %d", code)
	}
	if code := guess("[fe80::1%eth0]:99", "10.9.9.9"); code != 401 {
		t.Errorf("another address: %d", code)
	}
	for from, want := range map[string]string{
		"10.0.0.1:80": "10.0.0.1", "[::ffff:10.0.0.1]:80": "10.0.0.1", "[fe80::1%eth0]:80": "fe80::1",
		"[2001:db8::1]:80": "2001:db8::1", "local": "local",
	} {
		if got := fromOf(&http.Request{RemoteAddr: from}); got != want {
			t.Errorf("%s comes from %q, want %q", from, got, want)
		}
	}
}

// TestBodiesAreBounded: no request makes the controller read, or keep, more than
// its bound.
func TestBodiesAreBounded(t *testing.T) {
	tiers.Long(t, "it sends the largest bodies")
	s := newRig(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	admin, checkIn := s.tokens[domain.RoleAdmin], "/devices/"+one+"/check-in"
	for name, c := range map[string]struct {
		method, path, token string
		body                any
	}{
		"a device":   {"POST", "/devices", admin, object{"name": "x", "description": long(1 << 20)}},
		"a bulk":     {"POST", "/bulk", admin, object{"rows": []object{{"device": long(bulkBytes)}}}},
		"a check-in": {"POST", checkIn, s.devices[one], object{"schema": 1, "state": "idle", "message": long(checkInBytes)}},
	} {
		if code, text, _ := s.call(c.method, Prefix+c.path, c.token, c.body); code != 413 {
			t.Errorf("%s: %d %.200s", name, code, text)
		}
	}
	rows := object{"rows": make([]object, domain.MaxBulkRows+1)}
	if code, text, _ := s.call("POST", Prefix+"/bulk", admin, rows); code != 422 {
		t.Errorf("rows: %d %.200s", code, text)
	}
	report := object{"schema": 1, "state": "idle", "message": long(checkInBytes - 100)}
	if code, text, _ := s.call("POST", Prefix+checkIn, s.devices[one], report); code != 204 {
		t.Errorf("a long check-in: %d %.200s", code, text)
	}
}

// spooled is what stands in the directory for uploads.
func (s *rig) spooled() (names []string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.srv.cfg.Spool)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestUploads: each bound of an upload holds, no name leads out of the spool, and
// nothing is left there, however it ends.
func TestUploads(t *testing.T) {
	s := newRig(t)
	head := [][2]string{{"name", "fw"}, {"version", "1"}, {"model", "linux-arm"}}
	many := func(field string, n int) (all [][2]string) {
		for range n {
			all = append(all, [2]string{field, "linux-arm"})
		}
		return all
	}
	half, most := strings.Repeat("x", 1<<19+1), load.MaxComponents+load.MaxModels+stepping.MaxPatterns+9
	for name, c := range map[string]struct {
		fields [][2]string
		files  []string
		says   string
	}{
		"two files too large":   {head, []string{"a.bin", half, "b.bin", half}, "too large"},
		"a field too long":      {[][2]string{{"name", strings.Repeat("x", maxField+1)}}, nil, "more than 4096 bytes"},
		"too many parts":        {many("model", most+1), nil, "too many parts"},
		"an unknown field":      {[][2]string{{"colour", "red"}}, nil, "no such field"},
		"a hidden file":         {head, []string{".x", "x"}, "begins with a dot"},
		"a name with a slash":   {head, []string{`a\..\b`, "x"}, "path separator"},
		"no file":               {head, nil, "at least one file"},
		"two of one name":       {head, []string{"a.bin", "x", "A.bin", "y"}, "same name"},
		"an empty file":         {head, []string{"a.bin", ""}, "is empty"},
		"a model that is blank": {append(head[:2:2], [2]string{"model", " "}), []string{"a.bin", "x"}, "model"},
	} {
		if code, text := s.upload(c.fields, c.files...); code != 422 || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s, want %q", name, code, text, c.says)
		}
		if left := s.spooled(); len(left) > 0 {
			t.Errorf("%s: left are %v", name, left)
		}
	}
	code, text := s.upload([][2]string{{"name", strings.Repeat("x", maxField)}})
	if code != 422 || strings.Contains(text, "more than 4096") {
		t.Errorf("the longest field: %d %.200s", code, text)
	}
	if _, text := s.upload(many("model", most)); strings.Contains(text, "too many parts") {
		t.Errorf("as many parts as a load may need: %.200s", text)
	}
	// The name's directories are not taken.
	if code, text := s.upload(head, "../../../b.bin", "x"); code != 201 || !strings.Contains(text, `"name":"b.bin"`) {
		t.Errorf("a name with directories: %d %s", code, text)
	}
	if left := s.spooled(); len(left) > 0 {
		t.Errorf("after a publication: left are %v", left)
	}
	send := func(contentType string, body []byte) (int, string) {
		r := httptest.NewRequest("POST", Prefix+"/loads", bytes.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleOperator])
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	kind, body := form(t, head, "a.bin", half)
	for name, cut := range map[string]int{
		"in the fields": 100, "in the file": body.Len() - 1000, "before the end": body.Len() - 4,
	} {
		if code, text := send(kind, body.Bytes()[:cut]); code != 422 {
			t.Errorf("cut off %s: %d %s", name, code, text)
		}
		if left := s.spooled(); len(left) > 0 {
			t.Errorf("cut off %s: left are %v", name, left)
		}
	}
	for _, kind := range []string{"", "text/plain", "multipart/mixed; boundary=x", "multipart/form-data"} {
		code, text := send(kind, []byte("x"))
		want := "must be multipart/form-data"
		if kind == "multipart/form-data" {
			want = "broken" // it names no boundary
		}
		if code != 422 || !strings.Contains(text, want) {
			t.Errorf("content of type %q: %d %s", kind, code, text)
		}
	}
	l, err := s.ctl.Loads(t.Context(), domain.Local("root"), domain.LoadFilter{}, domain.Page{})
	if err != nil || l.Total != 1 {
		t.Errorf("%d loads were published, %v", l.Total, err)
	}
}

// TestSpoolFails: where a file of an upload cannot be kept, nothing is published,
// least of all a load without that file.
func TestSpoolFails(t *testing.T) {
	s := newRig(t)
	kind, body := form(t, [][2]string{{"name", "fw"}, {"version", "1"}, {"model", "linux-arm"}}, "a.bin", "aaaa",
		"b.bin", "bbbb")
	half := bytes.Index(body.Bytes(), []byte("b.bin"))
	// The parts are read as they come: when the second half is asked for, the first
	// file has its place. The second, the fifth part, gets none.
	between := readerFunc(func([]byte) (int, error) {
		if err := os.WriteFile(filepath.Join(s.srv.cfg.Spool, s.spooled()[0], "4"), nil, 0o600); err != nil {
			t.Error(err)
		}
		return 0, io.EOF
	})
	r := httptest.NewRequest("POST", Prefix+"/loads", io.MultiReader(bytes.NewReader(body.Bytes()[:half]), between,
		bytes.NewReader(body.Bytes()[half:])))
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleOperator])
	w := httptest.NewRecorder()
	if s.srv.ServeHTTP(w, r); w.Code != 500 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if left := s.spooled(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	l, err := s.ctl.Loads(t.Context(), domain.Local("root"), domain.LoadFilter{}, domain.Page{})
	if err != nil || l.Total != 0 {
		t.Errorf("%d loads were published, %v", l.Total, err)
	}
}

// readerFunc is a reader of one function.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestVersionsAreWellFormed: If-Match names a version in the one way in which it
// was told, or nothing is changed.
func TestVersionsAreWellFormed(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/sites", object{"name": "X"})
	for _, tag := range []string{`1`, `"01"`, `"-1"`, `"+1"`, `"1`, `W/"1"`, `"x"`, `""`, `"99999999999999999999"`} {
		s.want(412, "PATCH", "/devices/"+one, object{"site": "X"}, "If-Match", tag)
	}
	text, h := s.want(200, "GET", "/devices/"+one, nil)
	if d := decode[domain.DeviceRow](t, text); d.Site != "" || h.Get("ETag") != `"1"` {
		t.Errorf("the device is %s at %s", text, h.Get("ETag"))
	}
	s.want(200, "PATCH", "/devices/"+one, object{"site": "X"}, "If-Match", `"1"`)
	s.want(404, "POST", "/trust/keys/mirrors/rotate", nil)
}

// TestErrorsOfTheController: what is no matter of the caller's is logged, and not
// told.
func TestErrorsOfTheController(t *testing.T) {
	s := newRig(t)
	var log bytes.Buffer
	s.srv.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	err := s.srv.fail(t.Context(), errors.New("table users of /var/secret/place is broken"), 0)
	var p *huma.ErrorModel
	if !errors.As(err, &p) || p.Status != 500 || strings.Contains(fmt.Sprint(p.Detail, p.Errors), "place") {
		t.Errorf("told was %+v", err)
	}
	if !strings.Contains(log.String(), "secret/place") {
		t.Errorf("logged was %q", log.String())
	}
	if err := os.RemoveAll(s.srv.cfg.Spool); err != nil {
		t.Fatal(err)
	}
	code, text := s.upload([][2]string{{"name", "fw"}}, "a.bin", "x")
	if code != 500 || strings.Contains(text, filepath.Dir(s.srv.cfg.Spool)) {
		t.Errorf("without a spool: %d %s", code, text)
	}
}

// TestHeaders: no answer is kept by others, guessed at, framed, or run.
func TestHeaders(t *testing.T) {
	s := newRig(t)
	for _, path := range []string{LoginPath, Prefix + "/devices", Prefix + "/nothing", "/metrics", "/"} {
		_, _, h := s.call("GET", path, "", nil)
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Referrer-Policy": "no-referrer", "Content-Security-Policy": "default-src 'none'"} {
			if !strings.HasPrefix(h.Get(name), want) {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
}

// TestStatesInMetrics: which states there are is said by devices, and must not
// grow the metrics.
func TestStatesInMetrics(t *testing.T) {
	s := newRig(t)
	for i, name := range []string{one, two} {
		body := object{"schema": 1, "state": fmt.Sprint("made-up-", string(rune('a'+i)))}
		if code, text, _ := s.call("POST", Prefix+"/devices/"+name+"/check-in", s.devices[name], body); code != 204 {
			t.Fatal(code, text)
		}
	}
	_, text, _ := s.call("GET", "/metrics", s.tokens[domain.RoleViewer], nil)
	if strings.Contains(text, "made-up") || !strings.Contains(text, `peerload_devices{state="other"} 2`) {
		t.Error(text)
	}
}

// TestEveryIfMatchIsRead: no operation that compares versions passes one over
// that it cannot read.
func TestEveryIfMatchIsRead(t *testing.T) {
	s := newRig(t)
	s.want(201, "POST", "/profiles", object{"name": "p"})
	s.want(201, "POST", "/sites", object{"name": "s"})
	s.want(201, "POST", "/loads/unsigned", object{"name": "fw", "models": []string{"linux-arm"}})
	s.want(201, "POST", "/releases", object{"name": "r", "loads": []string{"fw"}})
	file := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(file, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.srv.ctl.AddFileSet(t.Context(), domain.Local("root"), publish.Request{Name: "set", Version: "1",
		Models: []string{"linux-arm"}, Directory: "locale", Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("{fileset}", "set",
		"{device}", one, "{profile}", "p", "{model}", "linux-arm", "{load}", "fw",
		"{site}", "s", "{release}", "r",
		"{user}", "viewer", "{template}", "desk", "{rollout}", "up")
	s.want(201, "POST", "/rollouts", object{"id": "up", "load": "fw", "target": object{"all": true}})
	compared := 0
	for path, item := range s.srv.document().Paths {
		ops := map[string]*huma.Operation{"POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}
		for method, o := range ops {
			if o == nil || !slices.ContainsFunc(o.Parameters, func(p *huma.Param) bool { return p.Name == "If-Match" }) {
				continue
			}
			compared++
			var body any
			switch {
			case strings.HasSuffix(o.OperationID, "-release") && strings.HasPrefix(o.OperationID, "assign-"):
				body = object{"release": ""}
			case strings.HasPrefix(o.OperationID, "assign-"):
				body = object{"load": ""}
			case o.OperationID == "put-template":
				body = object{"change": object{"model": "linux-arm"}}
			case o.OperationID == "set-load-from":
				body = object{"from": []string{}}
			case strings.HasSuffix(o.OperationID, "-filesets"):
				body = object{"assign": []string{"set"}}
			case o.OperationID == "retire-load" || o.OperationID == "retire-fileset":
				body = object{"retired": false}
			case o.RequestBody != nil:
				body = object{}
			}
			for _, tag := range []string{`"nonsense"`, `"99"`} {
				at := Prefix + names.Replace(path)
				code, text, _ := s.call(method, at, s.tokens[domain.RoleAdmin], body, "If-Match", tag)
				if code != 412 {
					t.Errorf("%s with If-Match %s: %d %s", o.OperationID, tag, code, text)
				}
			}
		}
	}
	if compared < 15 {
		t.Errorf("%d operations compare versions", compared)
	}
}

// broken is a store whose reads fail from some number on.
type broken struct {
	domain.Store
	left atomic.Int64
}

func (b *broken) View(ctx context.Context, fn func(domain.Tx) error) error {
	if b.left.Add(-1) < 0 {
		return errors.New("the store of /var/secret/place fails")
	}
	return b.Store.View(ctx, fn)
}

// TestBrokenStore: what cannot be read is no empty answer, and no way in.
func TestBrokenStore(t *testing.T) {
	s := newRig(t)
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(s.srv.cfg.Spool, "../controller.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b := &broken{Store: store}
	ctl, err := domain.New(domain.Config{Store: b})
	if err != nil {
		t.Fatal(err)
	}
	all := s.srv.cfg.Services
	all.Controller = ctl
	srv, err := New(Config{Services: all, Spool: s.srv.cfg.Spool})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/metrics", Prefix + "/devices", Prefix + "/overview", Prefix + "/users"} {
		for left := range int64(2) { // of the token, and of what is asked for
			b.left.Store(left)
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleAdmin])
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, r)
			if w.Code < 400 || path != "/metrics" && strings.Contains(w.Body.String(), "place") {
				t.Errorf("%s, read %d fails: %d %s", path, left+1, w.Code, w.Body)
			}
		}
	}
}

// closing tells when it is closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// deadlined takes a deadline for reading.
type deadlined struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlined) SetReadDeadline(at time.Time) error { d.read = at; return nil }

// TestRequestsEnd: a request within this process gives its body back, and an
// upload has a time of its own by which it must have come.
func TestRequestsEnd(t *testing.T) {
	s := newRig(t)
	body := &closing{Reader: strings.NewReader(`{}`)}
	r := httptest.NewRequest("PATCH", Prefix+"/devices/"+one, body)
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.srv.Local(domain.Actor{}).RoundTrip(r) // refused before it is read
	if err != nil || resp.StatusCode != 403 || !body.closed {
		t.Errorf("%v, %v, closed %v", resp, err, body.closed)
	}
	kind, content := form(t, nil)
	r = httptest.NewRequest("POST", Prefix+"/loads", content)
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Authorization", "Bearer "+s.tokens[domain.RoleAdmin])
	w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	if s.srv.ServeHTTP(w, r); w.read.IsZero() {
		t.Error("an upload has no deadline")
	}
}
