package template

import (
	"errors"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
)

func sample() *provision.File {
	return &provision.File{
		Loads: []provision.Assignment{{Load: "SCCP41.9-4-2SR3-1S", Model: `7941 "<&>"`}},
		Group: "cameras",
		Levels: policy.Levels{
			Model:      policy.Values{policy.WANLimit: "2M"},
			Enterprise: policy.Values{policy.PeerSharing: policy.On},
			Device:     policy.Values{policy.LoadServer: "http://10.0.0.5/a?b&c", policy.LogServer: ""},
		},
	}
}

func TestDefault(t *testing.T) {
	tmpl, err := New(Default)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*provision.File{sample(), {Default: true}, {}} {
		got, err := tmpl.Render(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := f.Marshal()
		if err != nil || string(got) != string(want) {
			t.Errorf("the default template differs from Marshal: %v\n%s\n%s", err, got, want)
		}
	}
}

// TestEdited: what an administrator adds stays; what he loses is refused.
func TestEdited(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		err      error
	}{
		"another element":      {"<{{.Root}}>", "<{{.Root}}><webAccess>0</webAccess>", nil},
		"no loads":             {"{{range .Loads}}", "{{range slice .Loads 0 0}}", ErrLost},
		"no settings":          {"{{.Value}}", "", ErrLost},
		"a setting of its own": {"\n</{{.Root}}>", "<commonConfig><peerFirmwareSharing>0</peerFirmwareSharing></commonConfig></{{.Root}}>", ErrLost},
		"not well-formed":      {"</{{.Root}}>", "", ErrLost},
	} {
		text := Default
		if name == "no loads" {
			text = strings.Replace(text, "{{- range .Loads}}", "{{- range slice .Loads 0 0}}", 1)
		} else {
			text = strings.Replace(text, c.old, c.new, 1)
		}
		if text == Default {
			t.Fatalf("%s: nothing was edited", name)
		}
		tmpl, err := New(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := tmpl.Render(sample()); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New("{{"); err == nil {
		t.Error("a torn template was taken")
	}
	endless, err := New(`{{define "a"}}` + strings.Repeat("x", 1<<10) + `{{template "a" .}}{{end}}{{template "a" .}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := endless.Render(sample()); err == nil {
		t.Error("an endless template ended")
	}
}
