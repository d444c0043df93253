package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/rollouts/jobs"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

// rig is a controller behind real HTTP, on a real database.
type rig struct {
	t     *testing.T
	ctl   *domain.Controller
	srv   *Server
	store domain.Store
	url   string
	// tokens by role; every scope.
	tokens map[domain.Role]string
	// devices by name, their secrets.
	devices map[string]string
	// pinned is the order key that they were given when they enrolled.
	pinned order.Key
}

const (
	password = "correct horse battery"
	one, two = "SEP000000000001", "SEP000000000002"
)

// openStore opens a database of a controller, with the queue's tables in it.
var openStore = freshdb.With(func(ctx context.Context, s *sqlite.Store) error {
	_, err := jobs.Open(ctx, s)
	return err
})

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	store, err := openStore(t.Context(), filepath.Join(dir, "controller.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	repo, err := repository.Open(repository.Config{Dir: filepath.Join(dir, "repository"),
		Keys: filepath.Join(dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	all, err := services.New(t.Context(), services.Config{Keys: filepath.Join(dir, "keys"),
		Domain: domain.Config{Store: store, Repository: repo, Password: passhash.Cost{Memory: 64, Time: 1, Threads: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	ctl := all.Controller
	spool := filepath.Join(dir, "spool")
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	srv, err := New(Config{Services: all, Spool: spool, MaxUpload: 1 << 20, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(srv)
	t.Cleanup(h.Close)
	s := &rig{t: t, ctl: ctl, srv: srv, store: store, url: h.URL, tokens: map[domain.Role]string{},
		devices: map[string]string{}}
	root := domain.Local("root")
	for _, role := range []domain.Role{domain.RoleViewer, domain.RoleOperator, domain.RoleAdmin} {
		pw := password
		if _, err := ctl.CreateUser(t.Context(), root, string(role),
			domain.UserChange{Role: &role, Password: &pw}); err != nil {
			t.Fatal(err)
		}
		tok, err := ctl.CreateToken(t.Context(), root, string(role),
			domain.TokenRequest{Name: "t", Role: role, Scopes: domain.Scopes()})
		if err != nil {
			t.Fatal(err)
		}
		s.tokens[role] = tok.Secret
	}
	key, err := ctl.CreateEnrolment(t.Context(), root, domain.EnrolmentRequest{Name: "site", SiteKey: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{one, two} {
		s.devices[name] = "secret-of-" + name + "-0123456789abcdef"
		code, body, _ := s.call("POST", Prefix+"/enrol", key.Secret,
			map[string]string{"device": name, "model": "linux-arm", "secret": s.devices[name]})
		if code != 200 {
			t.Fatalf("enrol: %d %s", code, body)
		}
		if s.pinned, err = order.ParseKey(decode[order.Enrolled](t, body).OrderKey); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// call sends a request with a bearer token, "" for none; header are pairs.
func (s *rig) call(method, path, token string, body any, header ...string) (int, string, http.Header) {
	s.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	// A time that there is not is left out.
	if strings.Contains(string(b), "0001-01-01T") {
		s.t.Errorf("%s %s answers with the time zero: %s", method, path, b)
	}
	for _, wrong := range s.undocumented(method, path, resp.StatusCode, resp.Header, b) {
		s.t.Errorf("%s %s: %d: %s: %.300s", method, path, resp.StatusCode, wrong, b)
	}
	return resp.StatusCode, string(b), resp.Header
}

// want calls as an admin and checks the status.
func (s *rig) want(code int, method, path string, body any, header ...string) (string, http.Header) {
	s.t.Helper()
	got, text, h := s.call(method, Prefix+path, s.tokens[domain.RoleAdmin], body, header...)
	if got != code {
		s.t.Fatalf("%s %s: %d, want %d: %s", method, path, got, code, text)
	}
	return text, h
}

// roles of each operation, independent of what the code says. A device is
// allowed to its own only; another one's is refused everywhere.
var roles = map[string]string{
	"list-devices": "viewer", "create-device": "operator", "get-device": "viewer device", "update-device": "operator",
	"delete-device": "operator", "bulk-devices": "operator", "get-desired": "viewer device", "check-in": "only device",
	"reset-identity": "admin", "enrol": "other", "list-device-history": "viewer device",
	"get-device-settings": "viewer", "change-device-settings": "operator", "assign-device-load": "operator",
	"roll-back-device-load": "operator", "get-profile-settings": "viewer", "change-profile-settings": "operator",
	"assign-profile-load": "operator", "roll-back-profile-load": "operator",
	"get-enterprise-settings": "viewer", "change-enterprise-settings": "admin", "assign-enterprise-load": "admin",
	"roll-back-enterprise-load": "admin", "assign-model-load": "admin", "roll-back-model-load": "admin",
	"get-enterprise": "viewer", "update-enterprise": "admin",
	"change":        "operator",
	"list-rollouts": "viewer", "create-rollout": "operator", "get-rollout": "viewer", "update-rollout": "operator",
	"plan-rollout": "viewer", "list-rollout-devices": "viewer", "start-rollout": "operator",
	"approve-rollout": "operator", "next-rollout": "operator", "pause-rollout": "operator",
	"resume-rollout": "operator", "abort-rollout": "operator", "roll-back-rollout": "operator",
	"replace-rollout": "operator", "retry-rollout": "operator", "skip-rollout": "operator",
	"list-filesets": "viewer", "add-fileset": "operator", "get-fileset": "viewer", "retire-fileset": "operator",
	"change-device-filesets": "operator", "change-profile-filesets": "operator", "change-enterprise-filesets": "admin",
	"list-releases": "viewer", "create-release": "operator", "get-release": "viewer", "update-release": "operator",
	"delete-release": "operator", "assign-device-release": "operator", "assign-profile-release": "operator",
	"assign-model-release": "admin", "assign-enterprise-release": "admin",
	"list-sites": "viewer", "create-site": "operator", "get-site": "viewer", "plan-site": "viewer",
	"update-site":   "operator",
	"delete-site":   "operator",
	"list-profiles": "viewer", "create-profile": "operator", "get-profile": "viewer", "update-profile": "operator",
	"delete-profile": "operator", "list-models": "viewer", "put-models": "admin", "get-model": "viewer",
	"delete-model": "admin", "list-loads": "viewer", "add-load": "operator", "register-load": "operator",
	"verify-loads": "operator", "get-load": "viewer", "reach-of-load": "viewer",
	"retire-load": "operator", "set-load-from": "operator",
	"get-root": "viewer", "rotate-key": "admin",
	"list-failures": "viewer", "get-savings": "viewer",
	"get-overview": "viewer", "list-history": "viewer", "list-audit": "operator",
	"list-users": "admin", "create-user": "admin", "get-user": "admin", "update-user": "admin", "delete-user": "admin",
	"list-tokens": "viewer", "create-token": "viewer", "revoke-token": "admin", // here of a token that is not one's own

	"list-webhooks": "admin", "create-webhook": "admin", "revoke-webhook": "admin", "list-webhook-messages": "admin",
	"test-webhook": "admin", "retry-webhook": "admin",
	"list-enrolments": "admin", "create-enrolment": "admin", "revoke-enrolment": "admin",
	"ask-sign-in": "open", "redeem-sign-in": "other",
	"sign-in": "other", "end-sessions": "admin", // here of somebody else
	"log-in": "other", "who-am-i": "viewer", "log-out": "viewer", "change-password": "viewer", "set-up": "other",
	"get-openapi": "viewer",
	"list-orders": "viewer", "send-order": "operator", "get-order": "viewer", "list-order-devices": "viewer",
	"cancel-order": "operator", "get-order-key": "viewer", "rotate-order-key": "admin",
	"plan-job": "operator", "create-job": "operator", "list-jobs": "viewer", "get-job": "viewer",
	"list-job-rows": "viewer", "undo-job": "operator", "export-devices": "operator", "list-templates": "viewer",
	"put-template": "operator", "delete-template": "operator",
	"follow-orders": "only device", "answer-orders": "only device",
	"tell-live": "only device", "hand-over-reports": "only device", "follow-site": "viewer", "get-last-upgrade": "viewer",
}

// TestEveryEndpoint walks the document: without credentials 401, with each
// role, with a device's own identity, and with another's.
func TestEveryEndpoint(t *testing.T) {
	s := newRig(t)
	rank := map[string]int{"viewer": 0, "operator": 1, "admin": 2}
	seen := map[string]bool{}
	for path, item := range s.srv.document().Paths {
		ops := map[string]string{}
		for method, o := range map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put,
			"PATCH": item.Patch, "DELETE": item.Delete} {
			if o != nil {
				ops[method] = o.OperationID
			}
		}
		at := Prefix + strings.NewReplacer("{device}", one, "{role}", "targets", "{", "", "}", "").Replace(path)
		for method, id := range ops {
			seen[id] = true
			allowed, ok := roles[id]
			if !ok {
				t.Errorf("%s: the table has no %s", path, id)
				continue
			}
			if allowed == "open" {
				continue // TestCommandLineByBrowser
			}
			var body any
			if method != "GET" {
				body = map[string]any{}
			}
			for name, token := range map[string]string{"nobody": "", "a false token": "plt_false", "a false secret": "false"} {
				if allowed == "other" && name != "nobody" && (id == "log-in" || id == "sign-in") {
					continue // has no bearer token
				}
				switch id { // a body that could be right: these read it before they judge
				case "set-up":
					body = map[string]any{"name": "x", "password": password}
				case "enrol":
					body = map[string]any{"device": "SEP00000000000A", "secret": strings.Repeat("s", 40)}
				}
				if code, text, h := s.call(method, at, token, body); code != 401 || h.Get("WWW-Authenticate") == "" ||
					h.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s with %s: %d %s", id, name, code, text)
				}
			}
			if allowed == "other" {
				continue
			}
			for role, token := range s.tokens {
				want := strings.Fields(allowed)[0]
				may := want != "only" && rank[string(role)] >= rank[want]
				if may && (role == domain.RoleAdmin && method != "GET" || method == "DELETE") {
					continue // it would be done; other tests do it
				}
				code, text, _ := s.call(method, at, token, body)
				if refused := code == 403; refused == may || code == 401 && id != "log-out" && id != "change-password" {
					t.Errorf("%s as %s: %d %s", id, role, code, text)
				}
			}
			forDevice := strings.HasSuffix(allowed, "device")
			if code, text, _ := s.call(method, at, s.devices[one], body); (code == 403) == forDevice || code == 401 {
				t.Errorf("%s as the device: %d %s", id, code, text)
			}
			if code, text, _ := s.call(method, at, s.devices[two], body); code != 403 {
				t.Errorf("%s as another device: %d %s", id, code, text)
			}
		}
	}
	for id := range roles {
		if !seen[id] {
			t.Errorf("the document has no %s", id)
		}
	}
	if code, text, _ := s.call("GET", "/metrics", "", nil); code != 401 {
		t.Errorf("/metrics without credentials: %d %s", code, text)
	}
	if code, _, _ := s.call("GET", "/metrics", s.devices[one], nil); code != 403 {
		t.Errorf("/metrics as a device: %d", code)
	}
}
