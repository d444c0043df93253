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
		Loads:    []provision.Assignment{{Load: "SCCP41.9-4-2SR3-1S", Model: `7941 "<&>"`}},
		Group:    "cameras",
		FileSets: provision.TellFileSets(map[string]string{"locale": "jp", "rings": "r"}),
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
		"another element": {"<{{.Root}}>", "<{{.Root}}><webAccess>0</webAccess>", nil},
		"no loads":        {"{{range .Loads}}", "{{range slice .Loads 0 0}}", ErrLost},
		"no settings":     {"{{.Value}}", "", ErrLost},
		"a setting of its own": {"\n</{{.Root}}>",
			"<commonConfig><peerFirmwareSharing>0</peerFirmwareSharing></commonConfig></{{.Root}}>", ErrLost},
		"not well-formed": {"</{{.Root}}>", "", ErrLost},
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

// TestRenderComparesEverything: a template that says something else than it is
// given, of whatever kind, makes no file.
func TestRenderComparesEverything(t *testing.T) {
	inside := func(text string) string { return strings.Replace(Default, "\n</{{.Root}}>", text+"\n</{{.Root}}>", 1) }
	for name, text := range map[string]string{
		"for all devices":        strings.ReplaceAll(Default, "{{.Root}}", "Default"),
		"another group":          inside("<modelConfig><peerGroup>phones</peerGroup></modelConfig>"),
		"another set":            strings.Replace(Default, "{{.Name}}", "x{{.Name}}", 1),
		"a set in another place": strings.Replace(Default, "{{.Directory}}", "x{{.Directory}}", 1),
		"a set more":             inside("<fileSets><fileSet directory='a'>b</fileSet></fileSets>"),

		"another load":          strings.Replace(Default, "{{.Load}}", "x{{.Load}}", 1),
		"a load more":           inside("<loadInformation>x</loadInformation>"),
		"another model":         strings.Replace(Default, `model="{{.}}"`, `model="x{{.}}"`, 1),
		"a model's default":     inside("<modelConfig><wanLimit>3M</wanLimit></modelConfig>"),
		"an enterprise setting": inside("<enterpriseConfig><peerFirmwareSharing>0</peerFirmwareSharing></enterpriseConfig>"),
		"a profile's setting":   inside("<commonConfig><wanLimit>3M</wanLimit></commonConfig>"),
		"a device's setting":    inside("<vendorConfig><loadServer>x</loadServer></vendorConfig>"),
	} {
		if text == Default {
			t.Fatalf("%s: nothing was edited", name)
		}
		tmpl, err := New(text)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b, err := tmpl.Render(sample()); !errors.Is(err, ErrLost) || b != nil {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
	}
}

// TestTemplateOfBefore: a template that knows no file sets does where there are none.
func TestTemplateOfBefore(t *testing.T) {
	begin, end := strings.Index(Default, "{{- with .FileSets}}"), strings.Index(Default, "{{- range .Sections}}")
	tmpl, err := New(Default[:begin] + Default[end:])
	if err != nil {
		t.Fatal(err)
	}
	f := sample()
	if _, err := tmpl.Render(f); !errors.Is(err, ErrLost) {
		t.Errorf("sets were lost: %v", err)
	}
	f.FileSets = provision.TellFileSets(nil)
	if _, err := tmpl.Render(f); err != nil {
		t.Error(err)
	}
	always, err := New(strings.Replace(Default, "</{{.Root}}>", "<fileSets></fileSets></{{.Root}}>", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := always.Render(&provision.File{}); !errors.Is(err, ErrLost) {
		t.Errorf("a file that is to say nothing of sets says that there are none: %v", err)
	}
}

// TestBounds: neither a template nor what it writes is longer than it may be, and
// what could not be read back is not written.
func TestBounds(t *testing.T) {
	pad := strings.Repeat(" ", maxTemplate-len(Default))
	tmpl, err := New(Default + pad)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Render(sample()); err != nil {
		t.Errorf("the longest template: %v", err)
	}
	if _, err := New(Default + pad + " "); err == nil {
		t.Error("a template beyond its bound was taken")
	}
	long, err := New(strings.Replace(Default, "{{- range .Loads}}", "{{- range .Loads}}"+strings.Repeat(" ", 1<<10), 1))
	if err != nil {
		t.Fatal(err)
	}
	many := &provision.File{Loads: make([]provision.Assignment, provision.MaxLoads)}
	for i := range many.Loads {
		many.Loads[i].Load = "fw"
	}
	if _, err := long.Render(many); err == nil || !strings.Contains(err.Error(), "writes more than") {
		t.Errorf("a file beyond its bound: %v", err)
	}
	bad := &provision.File{Loads: []provision.Assignment{{Load: "../x"}}}
	if _, err := tmpl.Render(bad); !errors.Is(err, provision.ErrFile) {
		t.Errorf("a load that cannot be: %v", err)
	}
	if tmpl, err = New(strings.Replace(Default, "{{.Root}}", "{{.Rot}}", 1)); err == nil {
		_, err = tmpl.Render(sample())
	}
	if err == nil {
		t.Error("a field that there is not was passed over")
	}
}
