package api

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/oidc"
	"github.com/peerload/peerload/internal/testkit/issuer"
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
	if code, text, _ := s.call("GET", Prefix+"/users", l.Secret, nil); code != 403 ||
		!strings.Contains(text, "operator has role operator, this needs admin") {
		t.Errorf("more than an operator may: %d %s", code, text)
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

// withIssuer gives a rig another server, at which people sign in by an issuer.
func (s *rig) withIssuer() *issuer.Issuer {
	s.t.Helper()
	h := httptest.NewUnstartedServer(nil)
	s.url = "http://" + h.Listener.Addr().String()
	at, stop := issuer.Start(s.url + callbackPath)
	s.t.Cleanup(stop)
	p, err := oidc.New(oidc.Config{Issuer: at.URL, ClientID: issuer.ClientID, Secret: issuer.Secret,
		Redirect: s.url + callbackPath,
		Roles:    []oidc.RoleOf{{Value: "root", Role: domain.RoleAdmin}, {Value: "staff", Role: domain.RoleOperator}}})
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := Config{Services: s.srv.cfg.Services, Spool: s.t.TempDir(), OIDC: p, PublicURL: s.url}
	if s.srv, err = New(cfg); err != nil {
		s.t.Fatal(err)
	}
	h.Config.Handler = s.srv
	h.Start()
	s.t.Cleanup(h.Close)
	at.Add("carol", "staff")
	at.Add("guest", "visitors")
	return at
}

// page signs in with a new browser.
func (s *rig) page(user, query string) (issuer.Page, *http.Client) {
	s.t.Helper()
	b := issuer.Browser(nil)
	p, err := issuer.SignIn(b, s.url+LoginPath+query, user)
	if err != nil {
		s.t.Fatal(err)
	}
	return p, b
}

// who is whom a browser's cookies stand for, "" for nobody.
func (s *rig) who(b *http.Client) string {
	s.t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == cookieName {
			if a, _, err := s.ctl.ActorBySession(s.t.Context(), c.Value, "127.0.0.1"); err == nil {
				return a.User
			}
		}
	}
	return ""
}

// TestSignInByIssuer: a person signs in at the issuer and has a session like any
// other, with the role that the issuer's groups stand for.
func TestSignInByIssuer(t *testing.T) {
	s := newRig(t)
	at := s.withIssuer()
	p, b := s.page("carol", "?return=/oidc/device%3Fa%3Db")
	if who := s.who(b); p.Code != 200 || who != "carol@127.0.0.1" || !strings.Contains(p.Text, who+" (operator)") ||
		!strings.Contains(p.Text, `url=/oidc/device?a=b"`) {
		t.Fatalf("%q: %d %s", who, p.Code, p.Text)
	}
	if p, b := s.page("guest", ""); p.Code != 403 || s.who(b) != "" || !strings.Contains(p.Text, "group") {
		t.Errorf("who has no role: %d %s", p.Code, p.Text)
	}
	at.Add("carol", "visitors")
	if p, other := s.page("carol", ""); p.Code != 403 || s.who(other) != "" || s.who(b) != "" {
		t.Errorf("who has lost the role: %d %s", p.Code, p.Text)
	}
	at.Add("carol", "root")
	if p, b := s.page("carol", ""); p.Code != 200 || s.who(b) == "" || !strings.Contains(p.Text, "(admin)") {
		t.Errorf("who has a greater one: %d %s", p.Code, p.Text)
	}
	disabled := true
	if _, err := s.ctl.UpdateUser(t.Context(), domain.Local("root"), "carol@127.0.0.1",
		domain.UserChange{Disabled: &disabled}, 0); err != nil {
		t.Fatal(err)
	}
	if p, b := s.page("carol", ""); p.Code != 403 || s.who(b) != "" || !strings.Contains(p.Text, "disabled") {
		t.Errorf("who is disabled: %d %s", p.Code, p.Text)
	}
	at.Down(true)
	plain, err := issuer.Open(b, s.url+LoginPath)
	if err != nil || plain.Code == 200 && strings.Contains(plain.Text, "signed in as") {
		t.Errorf("the issuer is down: %+v, %v", plain, err)
	}
	if code, _, _ := s.call("POST", Prefix+"/session", "", nil, basic("operator", password)...); code != 201 {
		t.Errorf("a user with a password, while the issuer is down: %d", code)
	}
}

// TestAnswersOfOthers: an answer of the issuer counts in the browser that asked,
// once.
func TestAnswersOfOthers(t *testing.T) {
	s := newRig(t)
	s.withIssuer()
	// An attacker signs in, and keeps the answer from the controller.
	evil := issuer.Browser(nil)
	var kept string
	evil.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == callbackPath {
			kept = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	if _, err := issuer.SignIn(evil, s.url+LoginPath, "carol"); err != nil || kept == "" {
		t.Fatal(kept, err)
	}
	victim := issuer.Browser(nil)
	if p, err := issuer.Open(victim, kept); err != nil || p.Code != 401 || s.who(victim) != "" {
		t.Errorf("in a browser that has not begun: %+v, %v", p, err)
	}
	begun := issuer.Browser(nil)
	begun.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if _, err := issuer.Open(begun, s.url+LoginPath); err != nil {
		t.Fatal(err)
	}
	if p, err := issuer.Open(begun, kept); err != nil || p.Code != 401 || s.who(begun) != "" {
		t.Errorf("in a browser that has begun otherwise: %+v, %v", p, err)
	}
	if p, err := issuer.Open(evil, kept); err != nil || p.Code != 200 || s.who(evil) == "" {
		t.Errorf("where it belongs: %+v, %v", p, err)
	}
	if p, err := issuer.Open(evil, kept); err != nil || p.Code != 401 {
		t.Errorf("again: %+v, %v", p, err)
	}
	for name, cookie := range map[string]string{"no base64": "?", "no JSON": "eA", "nothing": ""} {
		r := httptest.NewRequest("GET", callbackPath+"?state=&code=x", nil)
		r.AddCookie(&http.Cookie{Name: flowCookie, Value: cookie})
		w := httptest.NewRecorder()
		if s.srv.ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("%s in the cookie: %d", name, w.Code)
		}
	}
}

// TestReturn: a sign-in leads back to this controller, never elsewhere.
func TestReturn(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/oidc/device?a=b#c": "/oidc/device?a=b#c", "": "", "x": "", "https://evil.example": "",
		"//evil.example": "", "///evil.example": "", `/\evil.example`: "", `\\evil.example`: "", "/\t/evil.example": "",
		"javascript:alert(1)": "", "http:/evil.example": "", "/" + strings.Repeat("a", maxReturn): "", "/%": "",
	} {
		if got := localPath(in); got != want {
			t.Errorf("%q leads to %q", in, got)
		}
	}
	s := newRig(t)
	s.withIssuer()
	p, _ := s.page("carol", "?return="+url.QueryEscape("//evil.example"))
	if p.Code != 200 || strings.Contains(p.Text, "evil") {
		t.Errorf("%d %s", p.Code, p.Text)
	}
}

// TestFlowCookie: what a browser keeps of a sign-in is out of reach of scripts
// and, over TLS, of other hosts.
func TestFlowCookie(t *testing.T) {
	s := newRig(t)
	s.withIssuer()
	for secure, name := range map[string]string{"http": flowCookie, "https": "__Host-" + flowCookie} {
		r := httptest.NewRequest("GET", LoginPath, nil)
		r.Header.Set("X-Forwarded-Proto", secure)
		w := httptest.NewRecorder()
		s.srv.ServeHTTP(w, r)
		all := w.Result().Cookies()
		if w.Code != 302 || len(all) != 1 || all[0].Name != name || !all[0].HttpOnly || all[0].Path != "/" ||
			all[0].Secure != (secure == "https") || all[0].SameSite != http.SameSiteLaxMode || all[0].MaxAge <= 0 {
			t.Errorf("%s: %d %+v", secure, w.Code, all)
		}
	}
}

// TestWithoutIssuer: nobody is left in the dark.
func TestWithoutIssuer(t *testing.T) {
	s := newRig(t)
	for _, path := range []string{LoginPath, callbackPath} {
		if code, text, _ := s.call("GET", path, "", nil); code != 503 || !strings.Contains(text, "no issuer") {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	code, text, _ := s.call("POST", Prefix+"/logins/requests", "", object{"client": "c"})
	if code != 503 || !strings.Contains(text, "name and password") {
		t.Errorf("a command line: %d %s", code, text)
	}
}

// csrfField finds the token of a form.
var csrfField = regexp.MustCompile(`name="csrf" value="([0-9a-f]+)"`)

// TestCommandLineByBrowser: a command line waits with a code; somebody who signs
// in at the issuer enters it, sees who asks, and lets it in, in two languages.
func TestCommandLineByBrowser(t *testing.T) {
	s := newRig(t)
	s.withIssuer()
	ask := func() SignInRequest {
		t.Helper()
		code, text, _ := s.call("POST", Prefix+"/logins/requests", "", object{"client": "laptop <1>"})
		if code != 201 {
			t.Fatalf("%d %s", code, text)
		}
		return decode[SignInRequest](t, text)
	}
	redeem := func(secret string) (int, SignedIn) {
		t.Helper()
		code, text, _ := s.call("POST", Prefix+"/logins/redeem", secret, nil)
		return code, decode[SignedIn](t, text)
	}
	q := ask()
	if code, got := redeem(q.Secret); code != 200 || got.Login != nil {
		t.Fatalf("before: %d %+v", code, got)
	}
	b := issuer.Browser(nil)
	p, err := issuer.SignIn(b, q.URL, "carol") // the page sends to the issuer
	if err != nil {
		t.Fatal(err)
	}
	if p, err = issuer.Open(b, s.url+devicePath+"?lang=ja"); err != nil || !strings.Contains(p.Text, "コマンドライン") {
		t.Fatalf("%+v, %v", p, err)
	}
	csrf := csrfField.FindStringSubmatch(p.Text)
	if csrf == nil {
		t.Fatalf("no form: %s", p.Text)
	}
	send := func(code, answer, csrf string) issuer.Page {
		t.Helper()
		p, err := issuer.Send(b, s.url+devicePath, url.Values{"code": {code}, "answer": {answer}, "csrf": {csrf}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := send(q.Code, "allow", "!"+csrf[1][1:]); p.Code != 403 {
		t.Errorf("from another site: %d %s", p.Code, p.Text)
	}
	if p := send("BBBB-BBBB", "", csrf[1]); p.Code != 404 || !strings.Contains(p.Text, `name="code"`) {
		t.Errorf("a code of nobody: %d %s", p.Code, p.Text)
	}
	if p := send(q.Code, "", csrf[1]); p.Code != 200 || !strings.Contains(p.Text, html.EscapeString("laptop <1>")) ||
		!strings.Contains(p.Text, "127.0.0.1") || !strings.Contains(p.Text, q.Code) {
		t.Errorf("who asks: %d %s", p.Code, p.Text)
	}
	if p := send(q.Code, "allow", csrf[1]); p.Code != 200 || !strings.Contains(p.Text, "signed in") {
		t.Errorf("the answer: %d %s", p.Code, p.Text)
	}
	code, got := redeem(q.Secret)
	if code != 200 || got.Login == nil || got.Login.User != "carol@127.0.0.1" {
		t.Fatalf("after it: %d %+v", code, got)
	}
	if code, text, _ := s.call("GET", Prefix+"/devices", got.Login.Secret, nil); code != 200 {
		t.Errorf("the sign-in: %d %s", code, text)
	}
	if code, _ := redeem(q.Secret); code != 401 {
		t.Errorf("redeemed twice: %d", code)
	}
	no := ask()
	if p := send(no.Code, "deny", csrf[1]); p.Code != 200 || !strings.Contains(p.Text, "refused") {
		t.Errorf("no: %d %s", p.Code, p.Text)
	}
	if code, _ := redeem(no.Secret); code != 401 {
		t.Errorf("after a no: %d", code)
	}
}

// FuzzReturn: whatever stands in a link, a browser that follows what is left of it
// stays at this controller.
func FuzzReturn(f *testing.F) {
	f.Add("/oidc/device?a=b")
	f.Add("//evil.example")
	f.Add("/\\evil.example")
	f.Fuzz(func(t *testing.T, text string) {
		p := localPath(text)
		if p == "" {
			return
		}
		base := &url.URL{Scheme: "https", Host: "controller"}
		to, err := base.Parse(p)
		if err != nil || to.Host != "controller" || strings.HasPrefix(p, "//") || strings.HasPrefix(p, "/\\") {
			t.Errorf("%q leads to %v, %v", text, to, err)
		}
	})
}

// FuzzFlow: whatever a browser brings as a cookie is a sign-in or none.
func FuzzFlow(f *testing.F) {
	f.Add("eyJTdGF0ZSI6InMifQ")
	f.Add("?")
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest("GET", callbackPath, nil)
		r.AddCookie(&http.Cookie{Name: flowCookie, Value: value})
		if flow := (&Server{}).flow(r); len(flow.State) > len(value) {
			t.Errorf("%q is the state of %q", flow.State, value)
		}
	})
}
