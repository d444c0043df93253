package template

import (
	"bytes"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/provision"
)

// FuzzTemplate: a template is refused, or makes a file that says what it should.
func FuzzTemplate(f *testing.F) {
	f.Add(Default)
	f.Add(strings.Replace(Default, "{{.Value}}", "{{.Value | printf \"%s\"}}", 1))
	f.Add("<{{.Root}}>{{range .Loads}}<{{.Element}}>{{.Load}}</{{.Element}}>{{end}}</{{.Root}}>")
	f.Add("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}")
	want := sample()
	f.Fuzz(func(t *testing.T, text string) {
		// A loop without end is the administrator's, whose file it is.
		if strings.Contains(text, "range") && strings.ContainsAny(text, "0123456789") {
			return
		}
		tmpl, err := New(text)
		if err != nil {
			return
		}
		out, err := tmpl.Render(want)
		if err != nil {
			return
		}
		back, err := provision.Parse(out)
		if err != nil || same(want, back) != nil || len(out) > provision.MaxSize {
			t.Fatalf("%q makes %q: %v", text, out, err)
		}
		if again, err := tmpl.Render(want); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q makes %q, and then %q, %v", text, out, again, err)
		}
	})
}
