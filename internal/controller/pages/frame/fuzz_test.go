package frame

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzForms: whatever a browser sends back of what it was given, nothing leads to
// another host.
func FuzzForms(f *testing.F) {
	f.Add("eyJwYXRoIjoiL2NoYW5nZXMiLCJmaWVsZHMiOnsiYSI6WyJiIl19fQ", "/x?y=1", `{"undo":"1"}`, "ja;q=1,en")
	f.Add("", "//evil.example", `{`, "")
	f.Add("eyJwYXRoIjoiLy9ldmlsIn0", "/\\evil.example", `{"version":-1}`, "en")
	f.Fuzz(func(t *testing.T, text, path, order, accept string) {
		k, ok := readKept(text)
		for _, p := range []string{k.Path, localPath(path)} {
			u, err := url.Parse(p)
			if ok && p == k.Path && localPath(p) == "" || p != "" && p == localPath(p) &&
				(err != nil || u.Host != "" || u.Scheme != "" || strings.HasPrefix(p, "//")) {
				t.Errorf("%q leads to %q", text, p)
			}
		}
		if o, err := readOrder(order); err == nil && o.Version != nil && order == "" {
			t.Errorf("%q is %+v", order, o)
		}
		if n, ok := Int(text); ok && !strings.Contains(text, strings.TrimLeft(strconv.FormatInt(n, 10), "-")) &&
			!strings.ContainsAny(text, "+0") {
			t.Errorf("%q is %d", text, n)
		}
		if at, ok := Moment(text); ok && (at.Year() < 0 || at.Year() > 9999 || at.Location() != time.UTC) {
			t.Errorf("%q is %v", text, at)
		}
		if b, ok := Packed(text); ok && len(b) > len(text) {
			t.Errorf("%q has %d bytes", text, len(b))
		}
		if prefersJapanese(accept) && !strings.Contains(strings.ToLower(accept), "ja") {
			t.Errorf("%q prefers Japanese", accept)
		}
	})
}
