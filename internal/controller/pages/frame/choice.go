package frame

import (
	"net/http"
	"net/url"
	"strings"
)

// What a browser remembers of its reader: the language and the look.
const (
	langCookie = "peerload_language"
	lookCookie = "peerload_look"
	rememberS  = 400 * 24 * 60 * 60 // as long as browsers keep a cookie
)

// choices are the parameters that choose, and what they may be.
var choices = map[string]struct {
	cookie string
	words  []string
}{
	"lang": {langCookie, []string{"en", "ja"}},
	"look": {lookCookie, []string{"auto", "light", "dark"}},
}

// chose remembers what the address chooses and sends the browser to the same page
// without it. It is false if the address chooses nothing.
func chose(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodGet || r.URL.RawQuery == "" {
		return false
	}
	q, some := r.URL.Query(), false
	for name, c := range choices {
		is := q.Get(name)
		for _, word := range c.words {
			if word == is {
				http.SetCookie(w, &http.Cookie{Name: c.cookie, Value: is, Path: "/", MaxAge: rememberS, HttpOnly: true,
					SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil})
				some = true
				q.Del(name)
			}
		}
	}
	if !some {
		return false
	}
	to := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: q.Encode()}
	if strings.HasPrefix(to.Path, "//") { // it would name another host
		to = url.URL{Path: "/"}
	}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return true
}

// japanese reports whether a page is in Japanese: if somebody has chosen it, else if
// the browser prefers it to English.
func japanese(r *http.Request) bool {
	if c, err := r.Cookie(langCookie); err == nil && (c.Value == "ja" || c.Value == "en") {
		return c.Value == "ja"
	}
	return prefersJapanese(r.Header.Get("Accept-Language"))
}

// prefersJapanese reads Accept-Language: the first of the two languages counts, since
// browsers write them in the order of preference.
func prefersJapanese(accept string) bool {
	for l := range strings.SplitSeq(strings.ToLower(accept), ",") {
		l, _, _ = strings.Cut(strings.TrimSpace(l), ";")
		l, _, _ = strings.Cut(l, "-")
		if l == "ja" || l == "en" {
			return l == "ja"
		}
	}
	return false
}

// Lang is the language of the page, as HTML names it.
func (v *Visit) Lang() string {
	if v.JA {
		return "ja"
	}
	return "en"
}

// Look is the look that somebody has chosen: auto, light or dark.
func (v *Visit) Look() string {
	if c, err := v.R.Cookie(lookCookie); err == nil && (c.Value == "light" || c.Value == "dark") {
		return c.Value
	}
	return "auto"
}

// With is the address of this page with a parameter changed, "" to leave it out; it
// begins at the first page of a list again.
func (v *Visit) With(name, value string) string {
	q := v.R.URL.Query()
	q.Del(name)
	q.Del("after")
	q.Del("page")
	if value != "" {
		q.Set(name, value)
	}
	path := v.R.URL.EscapedPath()
	if v.R.Method != http.MethodGet {
		path = "/"
	}
	if strings.HasPrefix(path, "//") {
		path = "/"
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
