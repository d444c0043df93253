package oidc

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/testkit/issuer"
)

// rig is a controller's side of sign-ins, at a real issuer. What the browser
// brings back arrives in answers.
type rig struct {
	*Provider
	t       *testing.T
	at      *issuer.Issuer
	answers chan url.Values
	now     time.Time
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, answers: make(chan url.Values, 10)}
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		r.answers <- q.URL.Query()
	}))
	t.Cleanup(back.Close)
	at, stop := issuer.Start(back.URL + "/oidc/callback")
	t.Cleanup(stop)
	r.at = at
	r.at.Add("carol", "staff", "phones")
	r.at.Add("boss", "staff", "phones", "root")
	r.at.Add("guest", "Root")
	cfg := Config{Issuer: at.URL, ClientID: issuer.ClientID, Secret: issuer.Secret, Redirect: back.URL + "/oidc/callback",
		Roles: []RoleOf{{Value: "root", Role: domain.RoleAdmin}, {Value: "phones", Role: domain.RoleOperator},
			{Value: "staff", Role: domain.RoleViewer}},
		Now: func() time.Time { return time.Now().Add(r.now.Sub(time.Time{})) }}
	for _, c := range change {
		c(&cfg)
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Provider = p
	return r
}

// begin begins a sign-in and goes through it at the issuer.
func (r *rig) begin(user string) (Flow, url.Values) {
	r.t.Helper()
	f, to, err := r.Begin(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := issuer.SignIn(issuer.Browser(nil), to, user); err != nil {
		r.t.Fatal(err)
	}
	return f, <-r.answers
}

func (r *rig) signIn(user string) (domain.Identity, error) {
	r.t.Helper()
	f, q := r.begin(user)
	return r.Finish(r.t.Context(), f, q)
}

// refused fails the test unless the error is that one and says so much.
func refused(t *testing.T, name string, err, want error, says string) {
	t.Helper()
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %v, want %v with %q", name, err, want, says)
	}
}

// TestSignIn: a real issuer says who somebody is, and its claim which role they
// have: the strongest, and none for a group that is only spelt alike.
func TestSignIn(t *testing.T) {
	r := newRig(t)
	for user, role := range map[string]domain.Role{"carol": domain.RoleOperator, "boss": domain.RoleAdmin, "guest": ""} {
		id, err := r.signIn(user)
		if want := (domain.Identity{Issuer: r.at.URL, Subject: "id of " + user, Name: user, FullName: "Given " + user,
			Role: role}); err != nil || !reflect.DeepEqual(id, want) {
			t.Errorf("%+v, %v; want %+v", id, err, want)
		}
	}
	r.at.Add("carol")
	if id, err := r.signIn("carol"); err != nil || id.Role != "" {
		t.Errorf("who was taken out of the groups: %+v, %v", id, err)
	}
}

// TestWhatIsAsked: the issuer is sent state, nonce and the challenge of a
// verifier that it does not see, all of them new each time.
func TestWhatIsAsked(t *testing.T) {
	r := newRig(t)
	seen := map[string]bool{}
	for range 2 {
		f, to, err := r.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" ||
			q.Get("state") != f.State || q.Get("nonce") != f.Nonce || strings.Contains(to, f.Verifier) ||
			!strings.Contains(q.Get("scope"), "openid") {
			t.Errorf("the issuer is asked %s", to)
		}
		for _, s := range []string{f.State, f.Nonce, f.Verifier} {
			if len(s) < 43 || seen[s] {
				t.Errorf("%q is short, or was seen before", s)
			}
			seen[s] = true
		}
	}
}

// TestForgedAnswers: what an attacker can bring into the browser is not believed.
func TestForgedAnswers(t *testing.T) {
	r := newRig(t)
	f, q := r.begin("carol")
	_, others := r.begin("boss")
	finish := func(f Flow, q url.Values) error {
		_, err := r.Finish(t.Context(), f, q)
		return err
	}
	with := func(name, value string) url.Values {
		c := url.Values{"code": q["code"], "state": q["state"]}
		c.Set(name, value)
		return c
	}
	refused(t, "the state of another browser", finish(f, others), ErrAnswer, "this browser")
	refused(t, "no state", finish(f, with("state", "")), ErrAnswer, "this browser")
	refused(t, "no flow", finish(Flow{Begun: r.cfg.Now()}, with("state", "")), ErrAnswer, "this browser")
	refused(t, "another issuer's answer", finish(f, with("iss", "https://evil.example")), ErrAnswer, "another issuer")
	refused(t, "an error", finish(f, with("error", "access_denied")), ErrAnswer, "access_denied")
	refused(t, "no code", finish(f, with("code", "")), ErrAnswer, "no code")
	refused(t, "a made-up code", finish(f, with("code", "x")), ErrAnswer, "does not take the code")
	refused(t, "a long code", finish(f, with("code", strings.Repeat("x", 5000))), ErrAnswer, "no code")
	stolen := with("code", others.Get("code")) // somebody else's code, brought into this browser
	refused(t, "a code of another browser", finish(f, stolen), ErrAnswer, "does not take the code")
	old := f
	old.Begun = f.Begun.Add(-FlowLife - time.Second)
	refused(t, "late", finish(old, q), ErrAnswer, "took longer")
	if err := finish(f, q); err != nil {
		t.Errorf("the right answer: %v", err)
	}
	refused(t, "the code again", finish(f, q), ErrAnswer, "does not take the code")
}

// TestForgedTokens: identity tokens that the issuer has not made for this sign-in
// are not believed, however they come.
func TestForgedTokens(t *testing.T) {
	r := newRig(t)
	plain := func(claims map[string]any) string {
		text, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." +
			base64.RawURLEncoding.EncodeToString(text) + "."
	}
	set := func(name string, value any) func(map[string]any) string {
		return func(claims map[string]any) string { claims[name] = value; return r.at.Sign(claims) }
	}
	foreign, stop := issuer.Start("http://127.0.0.1/unused")
	defer stop()
	for name, c := range map[string]struct {
		token func(map[string]any) string
		says  string
	}{
		"the nonce of another sign-in": {set("nonce", "another"), "another sign-in"},
		"no nonce":                     {set("nonce", ""), "another sign-in"},
		"another audience":             {set("aud", []string{"another"}), "audience"},
		"several audiences, no client": {func(c map[string]any) string {
			delete(c, "azp")
			c["aud"] = []string{"a", issuer.ClientID}
			return r.at.Sign(c)
		}, "another client"},
		"several audiences, another's": {func(c map[string]any) string {
			c["azp"], c["aud"] = "a", []string{"a", issuer.ClientID}
			return r.at.Sign(c)
		}, "another client"},
		"alg none":                        {plain, "not good"},
		"signed with the client's secret": {r.at.SignWithSecret, "not good"},
		"the key of another issuer":       {foreign.Sign, "not good"},
		"in the name of another issuer":   {set("iss", "https://evil.example"), "not good"},
		"expired":                         {set("exp", time.Now().Add(-time.Hour).Unix()), "expired"},
		"no token":                        {func(map[string]any) string { return "" }, "not good"},
		"no signature": {func(c map[string]any) string {
			signed := r.at.Sign(c)
			return signed[:strings.LastIndex(signed, ".")+1]
		}, "not good"},
		"another's subject": {set("sub", "id of boss"), "somebody else"},
	} {
		r.at.Meddle(c.token)
		id, err := r.signIn("carol")
		refused(t, name, err, ErrAnswer, c.says)
		if !reflect.DeepEqual(id, domain.Identity{}) {
			t.Errorf("%s: %+v", name, id)
		}
	}
	r.at.Meddle(func(c map[string]any) string { return r.at.Sign(c) })
	if _, err := r.signIn("carol"); err != nil {
		t.Errorf("the same, as it should be: %v", err)
	}
}

// TestIssuerNamesItself: an issuer that says it does must do so in every answer.
func TestIssuerNamesItself(t *testing.T) {
	r := newRig(t)
	r.at.Rewrite(func(path string, body []byte) []byte {
		if path != "/.well-known/openid-configuration" {
			return body
		}
		return []byte(strings.Replace(string(body), "{", `{"authorization_response_iss_parameter_supported":true,`, 1))
	})
	f, q := r.begin("carol")
	q.Del("iss")
	_, err := r.Finish(t.Context(), f, q)
	refused(t, "no name", err, ErrAnswer, "another issuer")
	q.Set("iss", r.at.URL)
	if _, err := r.Finish(t.Context(), f, q); err != nil {
		t.Errorf("its name: %v", err)
	}
}

// TestIssuerAway: an issuer that is down is told as such, and asked again later;
// what it has said of itself before is good for a while.
func TestIssuerAway(t *testing.T) {
	r := newRig(t)
	r.at.Down(true)
	_, _, err := r.Begin(t.Context())
	refused(t, "down", err, ErrAway, "a user with a password")
	r.at.Down(false)
	_, _, err = r.Begin(t.Context())
	refused(t, "just after that", err, ErrAway, "")
	r.now = r.now.Add(restFor)
	f, q := r.begin("carol")
	r.at.Down(true)
	_, err = r.Finish(t.Context(), f, q)
	refused(t, "down for the code", err, ErrAway, "")
	r.now = r.now.Add(knownFor)
	if _, _, err := r.Begin(t.Context()); err != nil {
		t.Errorf("what is known serves on: %v", err)
	}
}

// TestAnswersAreBounded: neither what the issuer says of itself nor its keys nor
// its tokens fill the memory; nor does it send anybody elsewhere.
func TestAnswersAreBounded(t *testing.T) {
	for _, path := range []string{"/.well-known/openid-configuration", "/keys", "/oauth/token", "/userinfo"} {
		r := newRig(t)
		sent := 0
		r.at.Rewrite(func(at string, body []byte) []byte {
			if at != path {
				return body
			}
			sent++
			return append([]byte(strings.Repeat(" ", maxAnswer+1)), body...)
		})
		f, to, err := r.Begin(t.Context())
		if err == nil {
			if _, err = issuer.SignIn(issuer.Browser(nil), to, "carol"); err != nil {
				t.Fatal(err)
			}
			_, err = r.Finish(t.Context(), f, <-r.answers)
		}
		if err == nil || sent == 0 {
			t.Errorf("%s of more than %d bytes: %v, sent %d times", path, maxAnswer, err, sent)
		}
	}
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	moved := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer moved.Close()
	r := newRig(t, func(c *Config) { c.Issuer = moved.URL })
	_, _, err := r.Begin(t.Context())
	if refused(t, "a redirect", err, ErrAway, ""); elsewhere != 0 {
		t.Error("the redirect was followed")
	}
}

// TestClaims: where the name and the groups are is a setting, and what cannot be
// a name of the person's own is none.
func TestClaims(t *testing.T) {
	claims := map[string]any{"a": map[string]any{"b": map[string]any{"roles": []any{"x", 7, "root"}}},
		"https://example.com/roles": "root", "email": "carol@example.com", "name": 7.0, "groups": []any{}}
	for claim, want := range map[string]domain.Role{
		"a.b.roles": domain.RoleAdmin, "https://example.com/roles": domain.RoleAdmin,
		"a.b": "", "a.b.roles.x": "", "none": "", "groups": "", "name": ""} {
		r := newRig(t, func(c *Config) { c.RoleClaim, c.NameClaim = claim, "email" })
		id, err := r.identity("1", claims)
		if err != nil || id.Role != want || id.Name != "carol@example.com" || id.FullName != "" {
			t.Errorf("%s: %+v, %v", claim, id, err)
		}
	}
	r := newRig(t, func(c *Config) { c.NameClaim = "email" })
	if id, err := r.signIn("carol"); err != nil || id.Name != "carol@example.com" {
		t.Errorf("by email: %+v, %v", id, err)
	}
	_, err := r.identity("1", map[string]any{"email": "carol@example.com", "email_verified": false})
	refused(t, "an address that was not checked", err, ErrAnswer, "not checked")
	r = newRig(t, func(c *Config) { c.NameClaim = "nick" })
	_, err = r.signIn("carol")
	refused(t, "no name", err, ErrAnswer, "--oidc-name-claim")
}

// TestRoles: the strongest role counts, at all the sites that it is told for, or
// everywhere. A weaker one, at whichever site, adds nothing.
func TestRoles(t *testing.T) {
	c := Config{Roles: []RoleOf{{"look", domain.RoleViewer, ""}, {"k", domain.RoleOperator, "Kyoto"},
		{"o", domain.RoleOperator, "Osaka"}, {"all", domain.RoleOperator, ""}, {"look-n", domain.RoleViewer, "Nara"},
		{"root", domain.RoleAdmin, ""}}}
	for values, want := range map[string]string{"": " []", "look": "viewer []", "k": "operator [Kyoto]",
		"k look": "operator [Kyoto]", "look k o": "operator [Kyoto Osaka]", "k all": "operator []", "all o": "operator []",
		"look-n": "viewer [Nara]", "look look-n": "viewer []", "look-n k": "operator [Kyoto]", "o root": "admin []",
		"K Kyoto": " []"} {
		role, sites := c.role(strings.Fields(values))
		if got := fmt.Sprint(role, " ", sites); got != want {
			t.Errorf("%q stands for %s, not %s", values, got, want)
		}
	}
}

// TestConfig: what is missing or unsafe is refused.
func TestConfig(t *testing.T) {
	good := Config{Issuer: "https://login.example.com", ClientID: "c", Redirect: "https://controller/oidc/callback",
		Roles: []RoleOf{{Value: "g", Role: domain.RoleViewer}}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no issuer": func(c *Config) { c.Issuer = "" }, "no URL": func(c *Config) { c.Issuer = "login" },
		"in plain":         func(c *Config) { c.Issuer = "http://login.example.com" },
		"a query":          func(c *Config) { c.Issuer += "?a=b" },
		"a user":           func(c *Config) { c.Issuer = "https://a:b@c" },
		"no client":        func(c *Config) { c.ClientID = "" },
		"a plain redirect": func(c *Config) { c.Redirect = "http://controller/oidc/callback" },
		"no roles":         func(c *Config) { c.Roles = nil },
		"a false role":     func(c *Config) { c.Roles = []RoleOf{{Value: "g", Role: "god"}} },
		"a device's role":  func(c *Config) { c.Roles = []RoleOf{{Value: "g", Role: domain.RoleDevice}} },
		"an admin of a site": func(c *Config) {
			c.Roles = []RoleOf{{Value: "g", Role: domain.RoleAdmin, Site: "Kyoto"}}
		},
		"an empty value": func(c *Config) { c.Roles = []RoleOf{{Role: domain.RoleViewer}} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
