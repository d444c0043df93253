// Package template makes provisioning files from templates that an
// administrator may edit. It is the controller's: a device carries no template
// language.
//
// What lives here: the default template, rendering, and the check that what was
// rendered says what it should. What must not: where templates are kept, and
// which values a device gets.
package template

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"text/template"

	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
)

// Default is the template to start from. Its data is a Data.
const Default = `<?xml version="1.0" encoding="UTF-8"?>
<{{.Root}}>
{{- range .Loads}}
  <{{.Element}}{{with .Model}} model="{{.}}"{{end}}>{{.Load}}</{{.Element}}>
{{- end}}
{{- with .FileSets}}
  <fileSets>
{{- range .Sets}}
    <fileSet directory="{{.Directory}}">{{.Name}}</fileSet>
{{- end}}
  </fileSets>
{{- end}}
{{- range .Sections}}
  <{{.Element}}>
{{- range .Settings}}
    <{{.Element}}>{{.Value}}</{{.Element}}>
{{- end}}
  </{{.Element}}>
{{- end}}
</{{.Root}}>
`

// Data is what a template sees. All text in it is escaped already and can
// stand in an element or a quoted attribute: nothing can be forgotten.
type Data struct {
	// Root is the name of the outermost element.
	Root string
	// Loads that are assigned.
	Loads []Load
	// FileSets that the device is to have, nil if the file is not to say it. They are
	// to be written even if there are none: else the device keeps those that it has.
	FileSets *FileSets
	// Sections are what a rollout allows, and those levels that set something, the
	// weakest first.
	Sections []Section
}

// Load is one load.
type Load struct{ Element, Model, Load string }

// FileSets are the file sets of a device.
type FileSets struct{ Sets []FileSet }

// FileSet is one of them.
type FileSet struct{ Directory, Name string }

// Section is one level.
type Section struct {
	Element  string
	Settings []Setting
}

// Setting is one setting.
type Setting struct{ Element, Value string }

// ErrLost says that a template leaves out, adds or changes what devices read.
var ErrLost = errors.New("the template does not say what it should")

// maxTemplate bounds the text of a template, in bytes.
const maxTemplate = 256 << 10

// Template is a template that was understood. It may be used by several
// goroutines.
type Template struct{ t *template.Template }

// New understands a template.
func New(text string) (*Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("a template of %d bytes, more than %d", len(text), maxTemplate)
	}
	t, err := template.New("cnf.xml").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	return &Template{t}, nil
}

// Render makes the file and reads it back: ErrLost if a device would not find
// the loads and settings of f in it, and only those. Other elements are the
// administrator's.
func (t *Template) Render(f *provision.File) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	out := bounded{most: provision.MaxSize}
	if err := t.t.Execute(&out, dataOf(f)); err != nil {
		return nil, err
	}
	back, err := provision.Parse(out.b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err := same(f, back); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLost, err)
	}
	return out.b.Bytes(), nil
}

func dataOf(f *provision.File) Data {
	d := Data{Root: "device"}
	if f.Default {
		d.Root = "Default"
	}
	for _, a := range f.Loads {
		d.Loads = append(d.Loads, Load{"loadInformation" + a.Type, provision.Escape(a.Model), provision.Escape(a.Load)})
	}
	if by, told := f.FileSets.Told(); told {
		d.FileSets = &FileSets{}
		for _, dir := range slices.Sorted(maps.Keys(by)) {
			d.FileSets.Sets = append(d.FileSets.Sets, FileSet{provision.Escape(dir), provision.Escape(by[dir])})
		}
	}
	for _, s := range provision.Written(f) {
		sec := Section{Element: s.Element}
		for _, e := range s.Settings {
			sec.Settings = append(sec.Settings, Setting{e.Element, provision.Escape(e.Text)})
		}
		d.Sections = append(d.Sections, sec)
	}
	return d
}

func same(want, got *provision.File) error {
	if want.Default != got.Default {
		return errors.New("it is for one device, or for all, and should be the other")
	}
	plain := func(f *provision.File) (out []provision.Assignment) {
		for _, a := range f.Loads {
			a.Line = 0
			out = append(out, a)
		}
		return out
	}
	if (want.Grant == nil) != (got.Grant == nil) || want.Grant != nil && *want.Grant != *got.Grant {
		return errors.New("what a rollout allows is not as it should be: the section of it is among the sections")
	}
	if want.Group != got.Group {
		return fmt.Errorf("the model's group is %q, not %q", got.Group, want.Group)
	}
	if !slices.Equal(plain(want), plain(got)) {
		return fmt.Errorf("it assigns the loads %v, not %v", plain(got), plain(want))
	}
	// A template of before may say nothing of file sets where there are none.
	sets, said := want.FileSets.Told()
	if has, told := got.FileSets.Told(); !maps.Equal(sets, has) || told && !said {
		return fmt.Errorf("its file sets are %v, not %v", has, sets)
	}
	told := provision.Told(want.Levels)
	for _, l := range []struct {
		level     policy.Level
		want, got policy.Values
	}{
		{policy.LevelModel, told.Model, got.Levels.Model},
		{policy.LevelEnterprise, told.Enterprise, got.Levels.Enterprise},
		{policy.LevelProfile, told.Profile, got.Levels.Profile},
		{policy.LevelDevice, told.Device, got.Levels.Device},
	} {
		if !maps.Equal(l.want, l.got) {
			return fmt.Errorf("level %s sets %v, not %v", l.level, l.got, l.want)
		}
	}
	return nil
}

// bounded is a buffer that refuses to grow beyond most bytes.
type bounded struct {
	b    bytes.Buffer
	most int
}

// Write implements io.Writer.
func (w *bounded) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > w.most {
		return 0, fmt.Errorf("the template writes more than %d bytes", w.most)
	}
	return w.b.Write(p)
}
