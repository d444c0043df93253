package frame

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/peerload/peerload/client"
)

// entrances are the pages for people who are not signed in yet, and the way out.
func (f *Frame) entrances() {
	f.Open("GET /sign-in", func(v *Visit) error {
		return v.Show("sign-in", signIn{Next: localPath(v.Query("next")), At: v.issuer(v.Query("next"))})
	})
	f.Open("POST /sign-in", enter)
	f.Page("POST /sign-out", leave)
	f.Open("GET /setup", func(v *Visit) error {
		s := setUp{Secret: v.Query("secret")}
		if s.Secret == "" {
			v.Status(http.StatusUnauthorized)
			s.Problem = v.T("The set-up link is incomplete. Copy the whole line that the controller printed when it started.")
		}
		return v.Show("setup", s)
	})
	f.Open("POST /setup", setUpForm)
}

// signIn is the page on which people sign in.
type signIn struct {
	// Next is where they go then, At where an issuer signs them in.
	Next, At string
	Name     string
	Problem  string
	// Kept is the form that could not be taken, since the session had ended.
	Kept string
}

// kept is a form that waits for its sender to sign in again.
type kept struct {
	Path   string     `json:"path"`
	Fields url.Values `json:"fields"`
}

// maxKept bounds a form that is kept: it comes back as a field of another one.
const maxKept = maxForm / 4

// askSignIn shows the page to sign in in the place of the one that was asked for. A
// form that was sent is kept, so that nothing need be typed again.
func (v *Visit) askSignIn() {
	if v.R.Header.Get("HX-Request") == "true" {
		v.W.Header().Set("HX-Refresh", "true")
		v.W.WriteHeader(http.StatusUnauthorized)
		return
	}
	if v.R.Method == http.MethodGet && v.R.Header.Get("Sec-Fetch-Site") == "cross-site" {
		// The cookie does not come along from another site: asked for again by this page, it does.
		v.R.Header.Del("Sec-Fetch-Site")
		if err := v.Show("again", localPath(v.R.URL.RequestURI())); err != nil {
			v.f.cfg.Log.Info("a page was not sent", "error", err)
		}
		return
	}
	s := signIn{}
	switch {
	case v.R.Method == http.MethodGet:
		s.Next = localPath(v.R.URL.RequestURI())
	case v.R.PostForm != nil:
		fields := url.Values{}
		for name, is := range v.R.PostForm {
			if name != "csrf" && !strings.Contains(name, "password") {
				fields[name] = is
			}
		}
		b, err := json.Marshal(kept{Path: v.R.URL.Path, Fields: fields})
		if err == nil && len(b) <= maxKept {
			s.Kept = base64.RawURLEncoding.EncodeToString(b)
		}
	}
	s.At = v.issuer(s.Next)
	v.Status(http.StatusUnauthorized)
	if err := v.Show("sign-in", s); err != nil {
		v.f.cfg.Log.Info("a page was not sent", "error", err)
	}
}

// issuer is the path by which an issuer signs people in and sends them on.
func (v *Visit) issuer(next string) string {
	if v.f.cfg.SignInAt == "" {
		return ""
	}
	if next = localPath(next); next == "" {
		next = "/"
	}
	return v.f.cfg.SignInAt + "?" + url.Values{"return": {next}}.Encode()
}

// open opens a session by name and password; the browser gets its cookie.
func (v *Visit) open(ctx context.Context, name, password string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://controller/api/v1/session", http.NoBody)
	if err != nil {
		return err
	}
	r.SetBasicAuth(name, password)
	resp, err := v.door.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return problemOf(resp)
	}
	for _, c := range resp.Header.Values("Set-Cookie") {
		v.W.Header().Add("Set-Cookie", c)
	}
	before, opened := v.R.Cookies(), resp.Cookies()
	v.R.Header.Del("Cookie")
	for _, c := range append(opened, before...) {
		isOpened := func(o *http.Cookie) bool { return o.Name == c.Name && o != c }
		if !slices.ContainsFunc(opened, isOpened) {
			v.R.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	v.Who, err = v.API.Who(ctx)
	return err
}

func enter(v *Visit) error {
	v.R.Body = http.MaxBytesReader(v.W, v.R.Body, maxForm)
	s := signIn{Next: localPath(v.Form("next")), Name: v.Form("name"), Kept: v.Form("kept")}
	err := v.open(v.Context(), s.Name, v.R.PostFormValue("password"))
	if err == nil {
		return v.resume(s)
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	s.At, s.Problem = v.issuer(s.Next), v.Explain(e).Text
	if e.Kind == client.Unauthenticated {
		s.Problem = v.T("Name or password is wrong.")
	}
	v.Status(e.Status)
	return v.Show("sign-in", s)
}

// resume goes on where somebody was sent to sign in.
func (v *Visit) resume(s signIn) error {
	if s.Kept == "" {
		if s.Next == "" {
			s.Next = "/"
		}
		return v.Go(s.Next)
	}
	k, ok := readKept(s.Kept)
	if !ok {
		return v.Go("/")
	}
	return v.Show("resume", k)
}

// readKept reads a form that was kept, as it comes back from the browser.
func readKept(text string) (k kept, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	return k, err == nil && localPath(k.Path) != ""
}

// Names of the fields, in order.
func (k kept) Names() (names []string) {
	for name := range k.Fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func leave(v *Visit) error {
	r, err := http.NewRequestWithContext(v.Context(), http.MethodDelete, "http://controller/api/v1/session", http.NoBody)
	if err != nil {
		return err
	}
	resp, err := v.door.RoundTrip(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return problemOf(resp) // the session goes on, and nobody is told otherwise
	}
	for _, c := range resp.Header.Values("Set-Cookie") {
		v.W.Header().Add("Set-Cookie", c)
	}
	return v.Go("/sign-in")
}

// setUp is the page behind the set-up link. It has the link's secret: whoever has it
// may make the first administrator.
type setUp struct{ Secret, Name, Problem string }

// setUpForm makes the first administrator and signs them in.
func setUpForm(v *Visit) error {
	v.R.Body = http.MaxBytesReader(v.W, v.R.Body, 16<<10)
	s := setUp{Secret: v.Form("secret"), Name: v.Form("name")}
	password := v.R.PostFormValue("password")
	err := v.complete(s, password)
	if err == nil {
		err = v.open(v.Context(), s.Name, password)
	}
	if err == nil {
		v.Say(v.T("You are the first administrator. The set-up link is void now."), "")
		return v.Go("/")
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	s.Problem = v.Explain(e).Text
	if e.Kind == client.Unauthenticated {
		s.Problem = v.T("The set-up link is void: it was used, or is older than a day. Restart the controller for another.")
	}
	v.Status(e.Status)
	return v.Show("setup", s)
}

// complete calls the API with the link's secret as its token.
func (v *Visit) complete(s setUp, password string) error {
	if s.Secret == "" || strings.ContainsFunc(s.Secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return &client.Error{Status: http.StatusUnauthorized, Kind: client.Unauthenticated}
	}
	in := map[string]string{"name": s.Name, "password": password}
	return v.Call(v.Context(), http.MethodPost, "/setup", s.Secret, in, nil)
}

// localPath is the path if it leads to this server, else "".
func localPath(p string) string {
	u, err := url.Parse(p)
	if err != nil || len(p) > 1000 || u.Scheme != "" || u.Host != "" || u.User != nil ||
		!strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") ||
		strings.ContainsFunc(p, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return ""
	}
	return p
}
