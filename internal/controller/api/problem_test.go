package api

import (
	"errors"
	"fmt"
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
