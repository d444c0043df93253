package frame

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/inprocess"
	"github.com/peerload/peerload/internal/controller/pages/words"
)

// maxForm bounds a form in bytes. Pages that take files read them by themselves.
const maxForm = 1 << 20

// Visit is one request for a page.
type Visit struct {
	W http.ResponseWriter
	R *http.Request
	// API is the controller's, called as whoever is signed in. Calls that change
	// something carry the CSRF token that came with the form.
	API *client.Client
	// Who is signed in; zero on pages for everybody.
	Who client.Who
	// JA says that the page is in Japanese.
	JA bool

	f      *Frame
	status int
	door   *door
	// body is that of the request, without the bound of a form.
	body io.ReadCloser
}

// Sentences are put behind each other, as the language of the page does.
func (v *Visit) Sentences(all ...string) string {
	if v.JA {
		return strings.Join(all, "")
	}
	return strings.Join(all, " ")
}

// T is a text in the language of the page.
func (v *Visit) T(en string, args ...any) string { return words.Say(v.JA, en, args...) }

// Context is that of the request.
func (v *Visit) Context() context.Context { return v.R.Context() }

// May reports whether whoever is signed in may do what a scope covers, somewhere.
func (v *Visit) May(scope string) bool {
	return domain.Actor{Kind: domain.ActorUser, Role: domain.Role(v.Who.Role)}.Can(domain.Scope(scope))
}

// MayAll is May for what is about the whole fleet: whoever is limited to sites may not.
func (v *Visit) MayAll(scope string) bool { return len(v.Who.Sites) == 0 && v.May(scope) }

// CSRF is the token that each form must carry.
func (v *Visit) CSRF() string {
	if v.Who.Session == nil {
		return ""
	}
	return v.Who.Session.CSRF
}

// Query is a parameter of the address.
func (v *Visit) Query(name string) string { return v.R.URL.Query().Get(name) }

// AtLeast reports whether there may be more than a total: what a text finds is counted
// so far and no further.
func (v *Visit) AtLeast(total int) bool { return v.Query("text") != "" && total >= domain.MaxFound }

// Form is a field of the form that was sent, without blanks around it.
func (v *Visit) Form(name string) string { return strings.TrimSpace(v.R.PostFormValue(name)) }

// Path is a part of the path, as the pattern names it.
func (v *Visit) Path(name string) string { return v.R.PathValue(name) }

// Go sends the browser to another page.
func (v *Visit) Go(path string) error {
	http.Redirect(v.W, v.R, path, http.StatusSeeOther)
	return nil
}

// Status says with which status the page is shown, if not with 200.
func (v *Visit) Status(code int) { v.status = code }

// HTTP calls the API where package client does not: with the cookie and the token of
// this visit.
func (v *Visit) HTTP() http.RoundTripper { return v.door }

// At is a path of names, each escaped: At("devices", name).
func At(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString("/" + url.PathEscape(n))
	}
	return b.String()
}

var errNoPage = &client.Error{Status: http.StatusNotFound, Kind: client.NotFound, Detail: "there is no such page"}

// page is the handler of a page; signedIn, of one for people who are signed in.
func (f *Frame) page(signedIn bool, show func(*Visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if chose(w, r) {
			return
		}
		v := &Visit{W: w, R: r, JA: japanese(r), f: f}
		err := v.enter(signedIn)
		if err == nil {
			err = show(v)
		}
		if err != nil {
			v.fail(err)
		}
	}
}

// enter finds out who asks.
func (v *Visit) enter(signedIn bool) (err error) {
	v.door = &door{api: v.f.cfg.API, from: v.R}
	if v.API, err = client.New("http://controller", "", &http.Client{Transport: v.door}); err != nil || !signedIn {
		return err
	}
	// A page that takes files bounds its form by itself: any other one reads no more of it.
	v.body, v.R.Body = v.R.Body, http.MaxBytesReader(v.W, v.R.Body, maxForm)
	if v.R.Method == http.MethodPost && !strings.HasPrefix(v.R.Header.Get("Content-Type"), "multipart/") {
		if err := v.R.ParseForm(); err != nil {
			return &client.Error{Status: http.StatusRequestEntityTooLarge, Kind: client.Invalid, Detail: err.Error()}
		}
		v.Guard(v.R.PostForm.Get("csrf"))
	}
	if v.Who, err = v.API.Who(v.Context()); err != nil {
		return err
	}
	if v.R.Method == http.MethodPost && v.R.PostForm != nil && v.R.PostForm.Get("csrf") != v.CSRF() {
		return errForged
	}
	return nil
}

// errForged is a form that this browser was not given for this session.
var errForged = &client.Error{Status: http.StatusForbidden, Kind: client.Forbidden,
	Detail: "the form is not of this session: go back, load the page again, and send it from there"}

// Guard gives the CSRF token that came with a form to the calls of this visit. A page
// that reads its form by itself calls it.
func (v *Visit) Guard(token string) { v.door.csrf = token }

// door calls the API in this process as the browser would.
type door struct {
	api  http.Handler
	from *http.Request
	csrf string
}

// RoundTrip implements http.RoundTripper.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.TLS = r.URL.RequestURI(), d.from.RemoteAddr, d.from.TLS
	for _, name := range []string{"Cookie", "X-Forwarded-Proto"} {
		if is := d.from.Header.Values(name); len(is) > 0 {
			in.Header[name] = is
		}
	}
	if d.csrf != "" {
		in.Header.Set("X-CSRF-Token", d.csrf)
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := inprocess.NewAnswer(http.Header{})
	d.api.ServeHTTP(w, in)
	return w.Response(r), nil
}

// fail shows why there is no page, or asks to sign in.
func (v *Visit) fail(err error) {
	var e *client.Error
	switch {
	case v.Context().Err() != nil:
		return // nobody waits
	case errors.Is(err, client.Unauthenticated):
		v.askSignIn()
		return
	case !errors.As(err, &e):
		v.f.cfg.Log.Error("a page was not shown", "path", v.R.URL.Path, "error", err)
		e = &client.Error{Status: http.StatusInternalServerError, Kind: client.Internal,
			Detail: "the controller could not do it; its log says why"}
	}
	v.Status(e.Status)
	if err := v.Show("problem", v.Explain(e)); err != nil {
		v.f.cfg.Log.Info("a page was not sent", "error", err)
	}
}

// Show shows a page by its template.
func (v *Visit) Show(name string, data any) error {
	var b bytes.Buffer
	if err := v.f.pages.write(&b, name, v, data); err != nil {
		return err
	}
	v.W.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.W.Header().Set("Content-Language", v.Lang())
	v.W.Header().Set("Vary", "Accept-Language, Cookie, HX-Request")
	if v.status != 0 {
		v.W.WriteHeader(v.status)
	}
	_, err := b.WriteTo(v.W)
	if err != nil {
		v.f.cfg.Log.Info("a page was not sent", "error", err)
	}
	return nil
}

// In reports whether the page belongs to a part of the menu, by its path.
func (v *Visit) In(part string) bool {
	path := v.R.URL.Path
	if part == "/" {
		return path == "/"
	}
	for _, p := range parts[part] {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return path == part || strings.HasPrefix(path, part+"/")
}

// parts are the pages that a part of the menu has beside those below its path.
var parts = map[string][]string{
	"/loads":    {"/releases", "/filesets"},
	"/profiles": {"/enterprise", "/models", "/templates", "/settings", "/assign", "/sets", "/rollback"},
	"/users":    {"/tokens", "/enrolments", "/webhooks", "/trust"},
	"/failures": {"/history", "/savings", "/audit", "/undo"},
}

// Now is the time.
func (v *Visit) Now() time.Time { return v.f.cfg.Now() }

// Leads reports whether there is a page at a path.
func (v *Visit) Leads(path string) bool {
	r, err := http.NewRequestWithContext(v.Context(), http.MethodGet, path, http.NoBody)
	if err != nil {
		return false
	}
	_, pattern := v.f.mux.Handler(r)
	return pattern != "/"
}
