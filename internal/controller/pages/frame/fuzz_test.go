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

// FuzzValue: whatever the audit log has of a field, its words never stand in the place of
// a value without the value beside them.
func FuzzValue(f *testing.F) {
	f.Add("plan.waves", `[{"percent":50,"opener":"person"}]`)
	f.Add("components", `[{"name":"a","size":-1}]`)
	f.Add("plan.valid", "-1h")
	f.Fuzz(func(t *testing.T, field, is string) {
		for _, ja := range []bool{false, true} {
			if said := Value(ja, field, is); said.Code != is && (said.Code != "" || said.Text != is) {
				t.Errorf("%q of %q is %q", is, field, said)
			}
		}
	})
}
