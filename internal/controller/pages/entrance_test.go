package pages

import (
	"encoding/base64"
	"io"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// The set-up link makes an administrator, signs them in, and leads to the overview.
func TestSetup(t *testing.T) {
	s := newRig(t)
	secret := must(s.all.Controller.BeginSetup(t.Context()))
	b := s.browser()
	b.get("/setup").want(t, 401, "incomplete", "!<form class")
	b.get("/setup?secret="+secret).want(t, 200, "Name of the first administrator")
	b.post("/setup", "secret", secret, "name", "alice", "password", "short").want(t, 422, `value="alice"`, "10")
	b.post("/setup", "secret", secret, "name", "alice", "password", strings.Repeat("x", 17<<10)).want(t, 401)
	p := b.post("/setup", "secret", secret, "name", "alice", "password", password).want(t, 200,
		"first administrator", "No device is known yet", ">alice<")
	if p.path != "/" {
		t.Errorf("the set-up ends at %s", p.path)
	}
	b.get("/").want(t, 200, "!You are the first administrator") // it is said once
	s.browser().post("/setup", "secret", secret, "name", "eve", "password", password).want(t, 401, "void")
}

// TestSignIn: a user who is not signed in is asked to, and then gets to the page that
// was asked for.
func TestSignIn(t *testing.T) {
	s := newRig(t)
	b := s.user("viewer")
	b.get("/").want(t, 200, "Overview", "!First administrator")
	other := s.browser()
	other.get("/?x=1").want(t, 401, `name="next" value="/?x=1"`)
	other.post("/sign-in", "name", "viewer", "password", "wrong password", "next", "/?x=1").want(t, 401,
		"Name or password is wrong", `value="viewer"`, `value="/?x=1"`, "!wrong password\"")
	p := other.post("/sign-in", "name", "viewer", "password", password, "next", "/?x=1").want(t, 200)
	if p.path != "/?x=1" {
		t.Errorf("came to %s", p.path)
	}
	for _, next := range []string{"//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"} {
		third := s.browser()
		if p := third.post("/sign-in", "name", "viewer", "password", password, "next", next).want(t, 200); p.path != "/" {
			t.Errorf("%q led to %s", next, p.path)
		}
	}
	other.post("/sign-out").want(t, 200, "Sign in")
	other.get("/").want(t, 401)
	b.get("/").want(t, 200) // another session goes on
}

// sentence finds English sentences: four words in a row, of small letters but for the first.
var sentence = regexp.MustCompile(`[A-Za-z][a-z']*,? [a-z']+,? [a-z']+:?,? [a-z']+`)

// englishIn are the English sentences that a page shows.
func englishIn(t *testing.T, text string) (found []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && (n.Parent == nil || n.Parent.Data != "script" && n.Parent.Data != "textarea") &&
			sentence.MatchString(n.Data) {
			found = append(found, n.Data)
		}
		for _, at := range n.Attr {
			if (at.Key == "aria-label" || at.Key == "title" || at.Key == "placeholder" || at.Key == "data-words") &&
				sentence.MatchString(at.Val) {
				found = append(found, at.Val)
			}
		}
	}
	return found
}

// TestJapanesePages: no page has an English sentence for whoever reads Japanese, also if
// something is refused.
func TestJapanesePages(t *testing.T) {
	tiers.Long(t, "it goes through many pages of a whole controller")
	s := newRig(t)
	s.fleetOf("x")
	b := s.user("admin")
	if found := englishIn(t, b.get("/").text); len(found) == 0 {
		t.Error("no sentence was found in English")
	}
	b.lang = "ja"
	see := func(what string, p page, status int) {
		t.Helper()
		if p.code != status {
			t.Errorf("%s: %d, want %d", what, p.code, status)
		}
		for _, text := range englishIn(t, p.text) {
			if !strings.Contains(text, "Phones in lobbies") && text != "no space left x" { // people and devices say so
				t.Errorf("%s: in English: %s", what, text)
			}
		}
	}
	for _, path := range everyPage {
		p := b.get(s.path(path))
		see(path, p, p.code)
	}
	see("another version", b.post("/rollouts/winter/order/pause", "version", "1"), 412)
	see("an order in the wrong state", b.get("/rollouts/autumn/order/resume"), 200)
	see("a load that is not there", b.get("/loads/nothing"), 404)
	for _, form := range [][]string{
		{"/rollouts/new", "id", "spring", "waves", "5 many", "opener", "person"},
		{"/rollouts/new", "id", "winter", "waves", "100", "opener", "person", "release", "2026.11", "success", "100"},
		{"/orders/new", "device", "SEP000000000001", "kind", "check-in", "life", "999999999"},
		{"/sites/new", "name", "Nara", "networks", "10.1.0.0"},
		{"/sites/new", "name", "Nara", "time_zone", "Asia/Nowhere"},
		{"/sites/new", "name", "a/b"},
		{"/devices/new", "name", "phone", "model", "linux-amd64"},
		{"/settings/device/SEP000000000001", "wan-limit", "much", "set-wan-limit", "on"},
		{"/profiles/new", "name", " "},
		{"/users/new", "name", "Ann B", "role", "viewer", "password", "long enough for all"},
		{"/users/new", "name", "ann", "role", "viewer", "password", "short"},
		{"/webhooks/new", "name", "x", "url", "nowhere"},
		{"/tokens/new", "name", "", "role", "admin"},
		{"/releases/new", "name", "2026.12"},
		{"/bulk/query", "site", "Nowhere"},
		{"/templates/new", "name", "empty"},
	} {
		b.get(form[0])
		p := b.post(form[0], form[1:]...)
		if p.code < 400 {
			t.Errorf("%v was not refused: %d", form, p.code)
		}
		see(strings.Join(form, " "), p, p.code)
	}
	b.upload("/bulk/plan", "@table/x.csv", "no,such,columns\n1,2,3\n")
	p := b.upload("/bulk/plan", "@table/x.csv", "no,such,columns\n1,2,3\n")
	see("a table without devices", p, p.code)
}

// TestRolloutReasons: what a rollout says of a device has words in both languages, and a
// plan tries again after failures alone.
func TestRolloutReasons(t *testing.T) {
	text := string(must(os.ReadFile("../rollout/record.go")))
	all := regexp.MustCompile(`(?m)^\tReason\w+ += "([a-z-]+)"`).FindAllStringSubmatch(text, -1)
	if len(all) < 14 {
		t.Fatalf("only %d reasons", len(all))
	}
	for _, m := range all {
		en, ja := frame.Why(false, m[1], ""), frame.Why(true, m[1], "")
		if en == m[1] || ja == m[1] || en == ja {
			t.Errorf("%s is %q and %q", m[1], en, ja)
		}
	}
	s := newRig(t)
	s.user("operator").get("/rollouts/new").want(t, 200, `<option value="disk">`, `<option value="never-came-back">`,
		`!<option value="alone">`, `!<option value="strongest">`, `!<option value="too-small">`)
}

// A form is taken from this session's own pages alone.
func TestForgery(t *testing.T) {
	s := newRig(t)
	b := s.user("admin")
	b.csrf = "another"
	b.post("/sign-out").want(t, 403, "not of this session")
	b.get("/").want(t, 200)
	r := must(newPost(t, b, "/sign-out"))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if p := b.do(r); p.code != 403 {
		t.Errorf("from another site: %d", p.code)
	}
	r = must(newPost(t, b, "/sign-in"))
	r.Header.Set("Origin", "https://evil.example")
	if p := b.do(r); p.code != 403 {
		t.Errorf("from another origin: %d", p.code)
	}
}

// A form that was sent after the session had ended is kept while its sender signs in.
func TestSessionExpiry(t *testing.T) {
	s := newRig(t)
	b := s.user("admin")
	b.get("/")
	if err := s.api.EndSessions(t.Context(), "admin"); err != nil {
		t.Fatal(err)
	}
	p := b.post("/changes", "order", `{"typed":"by hand"}`, "password", "a secret").want(t, 401, "what you typed is kept",
		"!a secret")
	kept := regexp.MustCompile(`name="kept" value="([^"]+)"`).FindStringSubmatch(p.text)
	if kept == nil {
		t.Fatalf("nothing is kept: %s", p.text)
	}
	b.post("/sign-in", "name", "admin", "password", password, "kept", kept[1]).want(t, 200, `action="/changes"`,
		"by hand", "Send what I typed")
}

// tooMuch counts how much is read of a form that does not end.
type tooMuch struct{ n int }

func (r *tooMuch) Read(b []byte) (int, error) {
	if r.n > 16<<20 {
		return 0, io.EOF
	}
	clear(b)
	r.n += len(b)
	return len(b), nil
}

// A page that takes no files reads no more than a form is long, however it is sent.
func TestLongForm(t *testing.T) {
	s := newRig(t)
	b := s.user("viewer")
	b.get("/")
	for _, path := range []string{"/changes", "/sign-out", "/account/password", "/sign-in"} {
		body := &tooMuch{}
		head := "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n"
		r := httptest.NewRequestWithContext(t.Context(), "POST", path, io.MultiReader(strings.NewReader(head), body))
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		for _, c := range b.http.Jar.Cookies(must(url.Parse(s.url))) {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		if s.pages.ServeHTTP(w, r); w.Code < 400 || body.n > 2<<20 {
			t.Errorf("%s: %d, %d bytes were read", path, w.Code, body.n)
		}
	}
}

// No password comes back in a page: neither where it is wrong, nor when the session has
// ended and all else that was typed is kept. What hinders otherwise is not told as a wrong
// password.
func TestChangePassword(t *testing.T) {
	s := newRig(t)
	b := s.user("viewer")
	p := b.get("/account/password").want(t, 200)
	fields := regexp.MustCompile(`name="([^"]+)" type="password"`).FindAllStringSubmatch(p.text, -1)
	if len(fields) != 2 {
		t.Fatalf("the form: %s", p.text)
	}
	old, changed := fields[0][1], fields[1][1]
	for range 30 { // until it is held to be an attack
		if p = b.post("/account/password", old, "not the old one", changed, "not the new one"); p.code != 422 {
			break
		}
		p.want(t, 422, "is wrong", "!not the old one", "!not the new one")
	}
	p.want(t, 429, "Too many attempts", "!is wrong")
	if err := s.api.EndSessions(t.Context(), "viewer"); err != nil {
		t.Fatal(err)
	}
	p = b.post("/account/password", old, "not the old one", changed, "not the new one").want(t, 401)
	if kept := regexp.MustCompile(`name="kept" value="([^"]+)"`).FindStringSubmatch(p.text); kept != nil {
		text := must(base64.RawURLEncoding.DecodeString(kept[1]))
		if strings.Contains(string(text), "not the") {
			t.Errorf("kept is %s", text)
		}
	}
}

// The language is that of the browser, until somebody chooses; so is the look.
func TestLanguageAndLook(t *testing.T) {
	s := newRig(t)
	b := s.browser()
	b.get("/sign-in").want(t, 200, `lang="en"`, "Password", "日本語", `data-look="auto"`)
	b.lang = "fr,ja-JP;q=0.9,en;q=0.5"
	b.get("/sign-in").want(t, 200, `lang="ja"`, "パスワード", "English")
	if p := b.get("/sign-in?lang=en&next=%2Fx").want(t, 200, "Password"); p.path != "/sign-in?next=%2Fx" {
		t.Errorf("the choice stays in the address: %s", p.path)
	}
	b.get("/sign-in").want(t, 200, `lang="en"`) // it is remembered
	b.get("/sign-in?look=dark").want(t, 200, `data-look="dark"`)
	b.get("/sign-in?look=pink&lang=xx").want(t, 200, `data-look="dark"`, `lang="en"`)
}

// No page runs what stands in its text, or fetches from elsewhere.
func TestPolicy(t *testing.T) {
	s := newRig(t)
	b := s.user("admin")
	for _, path := range []string{"/", "/sign-in", "/nothing"} {
		p := b.get(path)
		csp := p.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'",
			"frame-ancestors 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: no %s in %q", path, want, csp)
			}
		}
		if strings.Contains(csp, "unsafe") || p.header.Get("Cache-Control") != "no-store" ||
			p.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, p.header)
		}
	}
	b.get("/nothing").want(t, 404, "there is no such page")
	if p := b.get("/api/v1/nothing"); p.code != 404 || !strings.Contains(p.header.Get("Content-Type"), "problem+json") {
		t.Errorf("the API: %d %v", p.code, p.header)
	}
}

// The first page and all that it needs fit into 250 kB, and are kept for good.
func TestFirstPage(t *testing.T) {
	s := newRig(t)
	b := s.user("admin")
	p := b.get("/").want(t, 200)
	size := len(p.text)
	for _, m := range regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`).FindAllStringSubmatch(p.text, -1) {
		a := b.get(m[1])
		if a.code != 200 || !strings.Contains(a.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d %v", m[1], a.code, a.header)
		}
		size += len(a.text)
	}
	t.Logf("%d bytes", size)
	if size > 250_000 || size < 40_000 {
		t.Errorf("the first page has %d bytes", size)
	}
	b.get("/assets/x/app.css").want(t, 404)
	b.get("/assets/../frame.go").want(t, 404)
}
