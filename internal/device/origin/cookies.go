package origin

import (
	"net/http"
	"net/url"
	"slices"
)

// Bounds of what servers may have a request carry.
const (
	maxCookies = 16
	maxCookie  = 4096
)

// cookies are those that servers set by the redirects of one request: some, and
// what stands before them, send a client round once and want the cookie back.
// Each host gets its own, and the next request begins without any. It implements
// http.CookieJar; one request at a time uses it.
type cookies struct {
	of map[string][]*http.Cookie // by scheme and host
}

// siteOf is whom a cookie belongs to: one that came by TLS does not leave without.
func siteOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// SetCookies implements http.CookieJar.
func (c *cookies) SetCookies(u *url.URL, set []*http.Cookie) {
	for _, one := range set {
		kept := slices.DeleteFunc(c.of[siteOf(u)], func(old *http.Cookie) bool { return old.Name == one.Name })
		if one.MaxAge >= 0 && len(kept) < maxCookies && len(one.Name)+len(one.Value) <= maxCookie {
			kept = append(kept, &http.Cookie{Name: one.Name, Value: one.Value})
		}
		if c.of == nil {
			c.of = map[string][]*http.Cookie{}
		}
		c.of[siteOf(u)] = kept
	}
}

// Cookies implements http.CookieJar.
func (c *cookies) Cookies(u *url.URL) []*http.Cookie { return c.of[siteOf(u)] }
