package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
)

// TestUnknownPaths: what no route takes is answered as all errors are.
func TestUnknownPaths(t *testing.T) {
	s := newRig(t)
	for _, c := range []struct {
		method, path string
		code         int
		says         string
	}{{"GET", "/nothing", 404, "/nothing"}, {"POST", "/devices/x/y/z", 404, "/devices/x/y/z"},
		{"PUT", "/devices", 405, "GET"}} {
		text, h := s.want(c.code, c.method, c.path, nil)
		if p := decode[huma.ErrorModel](t, text); h.Get("Content-Type") != "application/problem+json" || p.Status != c.code ||
			!strings.Contains(p.Detail, c.says) {
			t.Errorf("%s %s: %s %s", c.method, c.path, h.Get("Content-Type"), text)
		}
	}
	if _, _, h := s.call("GET", "/", "", nil); h.Get("Content-Type") == "application/problem+json" {
		t.Error("outside of the API, too")
	}
}

// TestRotateWithoutTheRootKey: who keeps it offline is told what to do.
func TestRotateWithoutTheRootKey(t *testing.T) {
	s := newRig(t)
	if code, text := s.upload([][2]string{{"name", "fw1"}, {"version", "1"}, {"model", "linux-arm"}}, "a.bin",
		"x"); code != 201 {
		t.Fatal(code, text)
	}
	key, err := filepath.Glob(filepath.Join(s.srv.cfg.Spool, "../keys/root.*.pem"))
	if err != nil || len(key) != 1 {
		t.Fatal(key, err)
	}
	if err := os.Rename(key[0], key[0]+".away"); err != nil {
		t.Fatal(err)
	}
	text, _ := s.want(409, "POST", "/trust/keys/targets/rotate", nil)
	if p := decode[huma.ErrorModel](t, text); p.Type != ProblemPrefix+"keys" ||
		!strings.Contains(p.Detail, "root.*.pem back") {
		t.Error(text)
	}
	if code, text := s.upload([][2]string{{"name", "fw2"}, {"version", "1"}, {"model", "linux-arm"}}, "a.bin",
		"x"); code != 201 {
		t.Errorf("a load needs no root key: %d %s", code, text)
	}
	if err := os.Rename(key[0]+".away", key[0]); err != nil {
		t.Fatal(err)
	}
	s.want(204, "POST", "/trust/keys/targets/rotate", nil)
}

// TestFullDisk: it has a problem of its own, which a client can tell apart and
// which does not say where the controller keeps its files.
func TestFullDisk(t *testing.T) {
	s := newRig(t)
	err := s.srv.fail(t.Context(), fmt.Errorf("adding: %w",
		&os.PathError{Op: "write", Path: "/var/secret/place", Err: syscall.ENOSPC}), 0)
	var p *huma.ErrorModel
	if !errors.As(err, &p) || p.Status != 507 || strings.Contains(p.Detail, "place") ||
		p.Type != ProblemPrefix+"disk-full" {
		t.Errorf("%+v", err)
	}
}

// TestKindsAreTold: package client tells programs every word that a problem has.
func TestKindsAreTold(t *testing.T) {
	b, err := os.ReadFile("../../../client/error.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		if !regexp.MustCompile(`(?m)(^//\t` + k.word + ` |"` + k.word + `")`).Match(b) {
			t.Errorf("client/error.go does not know the kind %s", k.word)
		}
	}
}

// TestProblemsRepeatNothing: what was wrong may be a password.
func TestProblemsRepeatNothing(t *testing.T) {
	s := newRig(t)
	for _, body := range []any{object{"name": "bob", "role": "viewer", "password": []string{"hunter2"}},
		object{"name": "bob", "pass": "hunter2"}, []string{"hunter2"}} {
		if text, _ := s.want(422, "POST", "/users", body); strings.Contains(text, "hunter2") ||
			!strings.Contains(text, "location") ||
			decode[huma.ErrorModel](t, text).Type != ProblemPrefix+"invalid" {
			t.Error(text)
		}
	}
	if code, text, _ := s.call("POST", Prefix+"/users", s.tokens[domain.RoleAdmin], "hunter2", "Content-Type",
		"text/plain"); code != 415 || strings.Contains(text, "hunter2") {
		t.Error(code, text)
	}
}

// TestDatabaseAway: while it does not answer, the caller is told to come again,
// and not what the database is or says.
func TestDatabaseAway(t *testing.T) {
	s := newRig(t)
	err := s.srv.fail(t.Context(), fmt.Errorf("%w: postgres://secret/place", domain.ErrAway), 0)
	var p *huma.ErrorModel
	var h huma.HeadersError
	if !errors.As(err, &p) || p.Status != 503 || strings.Contains(p.Detail, "place") ||
		p.Type != ProblemPrefix+"unavailable" {
		t.Errorf("%+v", p)
	}
	if !errors.As(err, &h) || h.GetHeaders().Get("Retry-After") != "5" {
		t.Errorf("the headers are %v", h)
	}
}

// body is one that knows whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

// TestLocal: who calls within this process gets what the network would bring, as
// the actor that was named, and keeps no body open.
func TestLocal(t *testing.T) {
	s := newRig(t)
	for _, c := range []struct {
		role         domain.Role
		method, path string
		body         string
		code         int
		says         string
	}{
		{domain.RoleAdmin, "GET", "/session", "", 200, `"role":"admin"`},
		{domain.RoleViewer, "GET", "/session", "", 200, `"role":"viewer"`},
		{"", "GET", "/devices", "", 403, "forbidden"},
		{domain.RoleViewer, "POST", "/profiles", `{"name":"lobby"}`, 403, "forbidden"},
		{domain.RoleAdmin, "POST", "/profiles", "{", 400, "invalid"},
		{domain.RoleAdmin, "GET", "/devices?x=y", "", 422, "query.x"},
		{domain.RoleAdmin, "GET", "/nothing", "", 404, "not-found"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://local"+Prefix+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		var in *body
		if c.body != "" {
			in = &body{Reader: strings.NewReader(c.body)}
			r.Body, r.ContentLength = in, int64(len(c.body))
			r.Header.Set("Content-Type", "application/json")
		}
		res, err := s.srv.Local(domain.Actor{Kind: domain.ActorUser, Name: "ann", User: "ann", Role: c.role}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != c.code || !strings.Contains(strings.ToLower(string(text)), c.says) {
			t.Errorf("%s %s as %q: %d %s, %v", c.method, c.path, c.role, res.StatusCode, text, err)
		}
		if res.ContentLength != int64(len(text)) || !res.ProtoAtLeast(1, 1) || res.ProtoAtLeast(1, 2) ||
			res.Status != http.StatusText(c.code) || res.Request != r {
			t.Errorf("%s %s: %d of %d bytes, %s, %q", c.method, c.path, res.ContentLength, len(text), res.Proto, res.Status)
		}
		if in != nil && !in.closed {
			t.Errorf("%s %s: the body is left open", c.method, c.path)
		}
	}
}

// TestNothingWritten: a handler that writes nothing has answered 200, here as on
// the network.
func TestNothingWritten(t *testing.T) {
	s := &Server{handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://local/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := s.Local(domain.Actor{}).RoundTrip(r); err != nil || res.StatusCode != 200 || res.ContentLength != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestDevicePageWithoutASession: a browser is sent to sign in, with no cookie and
// with one that opens nothing.
func TestDevicePageWithoutASession(t *testing.T) {
	s := newRig(t)
	for _, with := range []string{"", "pls_nonsense"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+devicePath, nil)
		if err != nil {
			t.Fatal(err)
		}
		if with != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: with})
		}
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		to := res.Header.Get("Location")
		if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, LoginPath+"?return=") {
			t.Errorf("%q: %d to %q", with, res.StatusCode, to)
		}
	}
}
