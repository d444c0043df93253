package origin

import (
	"net/url"
	"slices"
	"strings"
)

// Shown is a URL as people, logs and peers' reports may have it: without a password,
// and without the values of its query, which may grant access as those of a presigned
// URL do.
func Shown(u *url.URL) string {
	if u.RawQuery == "" {
		return u.Redacted()
	}
	var names []string
	for _, p := range strings.Split(u.RawQuery, "&") {
		if name, _, valued := strings.Cut(p, "="); valued {
			p = name + "=xxxxx"
		} else if p != "" {
			p = "xxxxx" // the whole may be a token
		}
		names = append(names, p)
	}
	c := *u
	c.RawQuery = strings.Join(slices.DeleteFunc(names, func(n string) bool { return n == "" }), "&")
	return c.Redacted()
}
