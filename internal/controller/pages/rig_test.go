package pages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	xhtml "golang.org/x/net/html"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/rollouts/jobs"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

const password = "correct horse battery"

// rig is a controller with its pages behind real HTTP, on a real database.
type rig struct {
	t   *testing.T
	all services.Services
	url string
	// pages answer without a connection, too.
	pages http.Handler
	// order and job are those of the fixture.
	order, job string
	// tree is the folder of the published tree.
	tree string
	// key is one that devices enrol with, "" for none yet.
	key string
	// api calls it as the owner of the data directory.
	api *client.Client
	// watched is what the pages call.
	watched watched
}

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
	spool := filepath.Join(dir, "spool")
	if err := os.Mkdir(spool, 0o700); err != nil {
		t.Fatal(err)
	}
	srv, err := api.New(api.Config{Services: all, Spool: spool, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	w := watched{srv, new(atomic.Int64), new(atomic.Int64), new(writes)}
	people, err := New(frame.Config{API: w, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(people)
	t.Cleanup(h.Close)
	c, err := client.New("http://local", "", &http.Client{Transport: srv.Local(domain.Local("root"))})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, all: all, url: h.URL, pages: people, api: c, watched: w,
		tree: filepath.Join(dir, "repository")}
}

// user makes a user, limited to sites if some are given, and signs in as them.
func (s *rig) user(role string, sites ...string) *visitor {
	s.t.Helper()
	r, pw := domain.Role(role), password
	change := domain.UserChange{Role: &r, Password: &pw}
	if len(sites) > 0 {
		change.Sites = &sites
	}
	name := strings.ToLower(strings.Join(append([]string{role}, sites...), "-"))
	if _, err := s.all.Controller.CreateUser(s.t.Context(), domain.Local("root"), name, change); err != nil {
		s.t.Fatal(err)
	}
	b := s.browser()
	if p := b.post("/sign-in", "name", name, "password", password); p.code != 200 {
		s.t.Fatalf("sign in: %d %s", p.code, p.text)
	}
	return b
}

// visitor is a browser that keeps cookies and follows redirects.
type visitor struct {
	t    *testing.T
	url  string
	http *http.Client
	// lang is what it prefers.
	lang string
	csrf string
}

func (s *rig) browser() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &visitor{t: s.t, url: s.url, http: &http.Client{Jar: jar}, lang: "en"}
}

// page is what a browser shows.
type page struct {
	code       int
	text, path string
	header     http.Header
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (b *visitor) do(r *http.Request) page {
	b.t.Helper()
	r.Header.Set("Accept-Language", b.lang)
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if m := csrfField.FindSubmatch(text); m != nil {
		b.csrf = string(m[1])
	}
	return page{resp.StatusCode, string(text), resp.Request.URL.RequestURI(), resp.Header}
}

func (b *visitor) get(path string) page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.url+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(r)
}

// post sends a form with the token of the page before; fields are pairs.
func (b *visitor) post(path string, fields ...string) page {
	b.t.Helper()
	form := url.Values{"csrf": {b.csrf}}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// want fails unless a page has a status and shows texts; one that begins with "!" must
// not be there.
func (p page) want(t *testing.T, code int, texts ...string) page {
	t.Helper()
	if p.code != code {
		t.Fatalf("%s: %d, want %d:\n%s", p.path, p.code, code, p.text)
	}
	shown := strings.Join(strings.Fields(p.text), " ") // as a browser does
	for _, text := range texts {
		without, not := strings.CutPrefix(text, "!")
		if (strings.Contains(p.text, without) || strings.Contains(shown, without)) == not {
			t.Errorf("%s: %q:\n%s", p.path, text, p.text)
		}
	}
	return p
}

// must stops a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint("the test cannot begin: ", err))
	}
	return v
}

// newPost is a form of one field, with the token of the page before.
func newPost(t *testing.T, b *visitor, path string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+path,
		strings.NewReader(url.Values{"csrf": {b.csrf}}.Encode()))
	if err == nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r, err
}

// Fields of forms as they stand in a page.
var (
	versionField = regexp.MustCompile(`name="version" value="([^"]*)"`)
	hiddenField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	orderField   = regexp.MustCompile(`name="order" value="([^"]*)"`)
	shownField   = regexp.MustCompile(`name="shown" value="([^"]*)"`)
)

// unescape is a value of a page as a browser reads it.
func unescape(s string) string { return html.UnescapeString(s) }

// upload sends a form with files; fields are pairs, and those that begin with "@" are
// files with their names.
func (b *visitor) upload(path string, fields ...string) page {
	b.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	err := form.WriteField("csrf", b.csrf)
	for i := 0; err == nil && i < len(fields); i += 2 {
		if name, isFile := strings.CutPrefix(fields[i], "@"); isFile {
			field, file, _ := strings.Cut(name, "/")
			var w io.Writer
			if w, err = form.CreateFormFile(field, file); err == nil {
				_, err = io.WriteString(w, fields[i+1])
			}
		} else {
			err = form.WriteField(fields[i], fields[i+1])
		}
	}
	if err = errors.Join(err, form.Close()); err != nil {
		b.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, &body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	return b.do(r)
}

// outline is what a page says and offers, a line for each block: its texts, where its links
// lead, and its forms with their fields. Without nav it leaves out what stands on each page.
func (p page) outline(t *testing.T, nav bool) string {
	t.Helper()
	doc, err := xhtml.Parse(strings.NewReader(p.text))
	if err != nil {
		t.Fatal(err)
	}
	var o outliner
	for n := range doc.Descendants() {
		if n.Type == xhtml.ElementNode && (nav && n.Data == "body" || n.Data == "main") {
			o.walk(n)
			break
		}
	}
	o.end()
	return o.text.String()
}

// outliner writes outlines.
type outliner struct {
	text strings.Builder
	line []string
}

func (o *outliner) end() {
	if len(o.line) > 0 {
		o.text.WriteString(strings.Join(o.line, " ") + "\n")
		o.line = nil
	}
}

// walk writes a node and what is in it.
func (o *outliner) walk(n *xhtml.Node) {
	if n.Type == xhtml.TextNode {
		if text := strings.Join(strings.Fields(n.Data), " "); text != "" {
			o.line = append(o.line, text)
		}
		return
	}
	at := map[string]string{}
	for _, a := range n.Attr {
		at[a.Key] = a.Val
	}
	if n.Data == "script" || n.Data == "svg" || at["name"] == "csrf" {
		return
	}
	inline := slices.Contains([]string{"a", "b", "code", "em", "input", "option", "small", "span", "strong", "td", "th",
		"time", "label", "button", "kbd", "abbr"}, n.Data)
	if !inline {
		o.end()
	}
	var says []string
	for _, key := range []string{"href", "action", "method", "type", "name", "value", "checked", "selected", "disabled",
		"required", "aria-label", "aria-current", "title", "placeholder", "min", "max", "maxlength", "colspan"} {
		if v, is := at[key]; is {
			says = append(says, strings.TrimSuffix(key+"="+v, "="))
		}
	}
	if strings.Contains(at["class"], "danger") {
		says = append(says, "danger")
	}
	if len(says) > 0 || !inline {
		o.line = append(o.line, strings.TrimSpace("<"+n.Data+" "+strings.Join(says, " "))+">")
	}
	for c := range n.ChildNodes() {
		o.walk(c)
	}
	if !inline {
		o.end()
	}
}
