package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
)

// basic are the header of name and password.
func basic(name, password string) []string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return []string{"Authorization", r.Header.Get("Authorization")}
}

// TestSignIn: a command line comes in with name and password, changes things
// without a CSRF token, learns who it is, and goes out.
func TestSignIn(t *testing.T) {
	s := newRig(t)
	in := func() domain.NewLogin {
		t.Helper()
		code, text, _ := s.call("POST", Prefix+"/logins", "", object{"client": "laptop"}, basic("operator", password)...)
		if code != 201 {
			t.Fatalf("%d %s", code, text)
		}
		return decode[domain.NewLogin](t, text)
	}
	l := in()
	if code, text, _ := s.call("PATCH", Prefix+"/devices/"+one, l.Secret, object{"description": "x"}); code != 200 {
		t.Errorf("a change: %d %s", code, text)
	}
	if code, _, _ := s.call("GET", Prefix+"/users", l.Secret, nil); code != 403 {
		t.Errorf("more than an operator may: %d", code)
	}
	code, text, _ := s.call("GET", Prefix+"/session", l.Secret, nil)
	who := decode[Who](t, text)
	if code != 200 || who.Name != "operator" || who.Kind != domain.ActorUser || who.Session == nil ||
		who.Session.ID != l.ID || !who.Session.Expires.Equal(l.Expires) {
		t.Errorf("who am I: %d %s", code, text)
	}
	if code, _, _ := s.call("GET", Prefix+"/session", "", nil, "Cookie", cookieName+"="+l.Secret); code != 401 {
		t.Errorf("the secret as a cookie: %d", code)
	}
	if code, _, _ := s.call("DELETE", Prefix+"/session", l.Secret, nil); code != 204 {
		t.Errorf("out: %d", code)
	}
	if code, text, _ := s.call("GET", Prefix+"/session", l.Secret, nil); code != 401 {
		t.Errorf("after it: %d %s", code, text)
	}
	if code, text, _ := s.call("POST", Prefix+"/logins", "", object{"client": "c"},
		basic("operator", "wrong password")...); code != 401 || strings.Contains(text, "wrong password ") {
		t.Errorf("a wrong password: %d %s", code, text)
	}
	for name, end := range map[string]func(l domain.NewLogin) (int, string, http.Header){
		"one's own": func(l domain.NewLogin) (int, string, http.Header) {
			return s.call("DELETE", Prefix+"/users/operator/sessions", l.Secret, nil)
		},
		"an admin's": func(domain.NewLogin) (int, string, http.Header) {
			return s.call("DELETE", Prefix+"/users/operator/sessions", s.tokens[domain.RoleAdmin], nil)
		},
	} {
		l, other := in(), in()
		if code, text, _ := end(l); code != 204 {
			t.Errorf("%s: %d %s", name, code, text)
		}
		if code, _, _ := s.call("GET", Prefix+"/session", other.Secret, nil); code != 401 {
			t.Errorf("%s leaves a sign-in: %d", name, code)
		}
	}
}
