package provision

import (
	"github.com/peerload/peerload/internal/policy"
)

// section is an element that holds the settings of one level.
type section struct {
	element string // in XML
	key     string // in the native form
	of      func(*policy.Levels) *policy.Values
}

// modelElement holds what the device's own model table may lack: the model's
// defaults and, in groupElement, its group. Real phones ignore it.
const (
	modelElement = "modelConfig"
	groupElement = "peerGroup"
)

// sections, the weakest level first: a later one wins (docs/ORIGINAL.md,
// "Provisioning and files"). The table of package policy says which elements
// they can contain.
var sections = []section{
	{modelElement, "model", func(l *policy.Levels) *policy.Values { return &l.Model }},
	{"enterpriseConfig", "enterprise", func(l *policy.Levels) *policy.Values { return &l.Enterprise }},
	{"commonConfig", "profile", func(l *policy.Levels) *policy.Values { return &l.Profile }},
	{"vendorConfig", "device", func(l *policy.Levels) *policy.Values { return &l.Device }},
}

// Section is a level as XML has it.
type Section struct {
	Element  string
	Settings []Setting
}

// Setting is a setting as XML has it; Text is not escaped.
type Setting struct{ Element, Text string }

// Told returns the levels as XML can say them. An empty value cannot be written:
// in these files it means that nothing is set. So where an empty value is in
// effect, what weaker levels set is left out: the device must not take that.
func Told(l policy.Levels) policy.Levels {
	var told policy.Levels
	for _, s := range policy.Settings() {
		effective := ""
		for _, sec := range sections {
			if v, ok := (*sec.of(&l))[s.Name]; ok {
				effective = v
			}
		}
		if effective == "" {
			continue
		}
		for _, sec := range sections {
			if v := (*sec.of(&l))[s.Name]; v != "" {
				values := sec.of(&told)
				if *values == nil {
					*values = policy.Values{}
				}
				(*values)[s.Name] = v
			}
		}
	}
	return told
}

// Written returns the grant of a file, and its levels that set something, as they
// are written in XML: the weakest first, settings in the order of the table, as
// Told has them.
func Written(f *File) []Section {
	var out []Section
	if f.Grant != nil {
		out = append(out, f.Grant.section())
	}
	told := Told(f.Levels)
	for _, sec := range sections {
		values := *sec.of(&told)
		w := Section{Element: sec.element}
		if sec.element == modelElement && f.Group != "" {
			w.Settings = append(w.Settings, Setting{groupElement, f.Group})
		}
		for _, s := range policy.Settings() {
			if v := values[s.Name]; v != "" {
				w.Settings = append(w.Settings, Setting{s.Element, s.ElementText(v)})
			}
		}
		if len(w.Settings) > 0 {
			out = append(out, w)
		}
	}
	return out
}
