package origin

import (
	"net/url"
	"slices"
	"strings"
)

// Shown is a URL as people, logs and peers' reports may have it: without who asks, and
// without the values of its query, which may grant access as those of a presigned URL
// do. A user name may be a token by itself, and a fragment is the client's alone.
func Shown(u *url.URL) string {
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
	c.Fragment, c.RawFragment = "", ""
	if c.User != nil {
		c.User = url.User("xxxxx")
	}
	c.RawQuery = strings.Join(slices.DeleteFunc(names, func(n string) bool { return n == "" }), "&")
	return c.String()
}
