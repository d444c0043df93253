package frame

import (
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/pages/words"
	"github.com/peerload/peerload/internal/controller/refusals"
	"github.com/peerload/peerload/internal/device/wording"
)

// pageSet has the templates of pages, in both languages.
type pageSet struct {
	f *Frame
	// base has the layout and the pieces that all pages may use, by language.
	base  map[bool]*template.Template
	pages map[string]map[bool]*template.Template
}

// shown is what a template gets.
type shown struct {
	// V is the visit, D what the page is about.
	V *Visit
	D any
	// Said was said by the page before: a change that was made.
	Said *said
}

// layout are the files of this package that are no pages.
var layout = []string{"templates/layout.tmpl", "templates/pieces.tmpl"}

func newPageSet(f *Frame) (*pageSet, error) {
	s := &pageSet{f: f, base: map[bool]*template.Template{}, pages: map[string]map[bool]*template.Template{}}
	for _, ja := range []bool{false, true} {
		t, err := template.New("layout").Funcs(f.funcs(ja)).ParseFS(own, layout...)
		if err != nil {
			return nil, err
		}
		s.base[ja] = t
	}
	return s, nil
}

// add parses the pages of a folder.
func (s *pageSet) add(files fs.FS) error {
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return err
	}
	for _, name := range names {
		both := map[bool]*template.Template{}
		for ja, base := range s.base {
			t, err := base.Clone()
			if err == nil {
				t, err = t.ParseFS(files, name)
			}
			if err != nil {
				return err
			}
			both[ja] = t
		}
		s.pages[strings.TrimSuffix(path.Base(name), ".html")] = both
	}
	return nil
}

// write writes a page, or its part "live" alone if a script asks for that.
func (s *pageSet) write(w io.Writer, name string, v *Visit, data any) error {
	t := s.pages[name][v.JA]
	if t == nil {
		return fmt.Errorf("frame: there is no page %q", name)
	}
	root := "layout"
	if v.R.Header.Get("HX-Request") == "true" && t.Lookup("live") != nil {
		root = "live"
	}
	said := v.takeSaid()
	return t.ExecuteTemplate(w, root, shown{V: v, D: data, Said: said})
}

// funcs are what templates may call.
func (f *Frame) funcs(ja bool) template.FuncMap {
	return template.FuncMap{
		"t":            func(en string, args ...any) string { return words.Say(ja, en, args...) },
		"say":          func(key string) string { return wording.Say(ja, key) },
		"settingvalue": func(setting, is string) string { return SettingValue(ja, setting, is) },
		"asset":        assetPath,
		"target":       func(is string) string { return Target(ja, is) },
		"actor":        func(kind, name string) string { return Actor(ja, kind, name) },
		"why":          func(code, message string) string { return Why(ja, code, message) },
		"refusal":      func(text string) string { return refusal(ja, text) },
		"pieces":       pieces,
		"foreign":      func(text string) bool { return ja && !refusals.Known(text) },
		"at":           At,
		"bytes":        Bytes,
		"rate":         func(n int64) string { return Bytes(n) + "/s" },
		"num":          number,
		"when":         func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
		"iso":          func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"ago":          func(t time.Time) string { return Ago(ja, f.cfg.Now().Sub(t)) },
		"span":         func(seconds float64) string { return Span(ja, time.Duration(seconds*float64(time.Second))) },
		"seconds":      func(s *float64) string { return Span(ja, time.Duration(*s*float64(time.Second))) },
		"join":         func(list []string) string { return strings.Join(list, ", ") },
		"keys":         func(m map[string]int) []string { return slices.Sorted(maps.Keys(m)) },
		"add":          func(a, b int) int { return a + b },
		"has":          slices.Contains[[]string],
		"mark":         markOf,
		"share":        share,
		"dict": func(pairs ...any) (map[string]any, error) {
			if len(pairs)%2 != 0 {
				return nil, fmt.Errorf("frame: a name without a value")
			}
			m := map[string]any{}
			for i := 0; i < len(pairs); i += 2 {
				m[fmt.Sprint(pairs[i])] = pairs[i+1]
			}
			return m, nil
		},
	}
}

// mark is how a state is told by shape, beside its word and its color.
type mark struct{ Class, Shape string }

// markOf is the mark of a state: of devices, rollouts, jobs, orders and their parts.
func markOf(state string) mark {
	switch state {
	case "idle", "done", "finished", "had", "ok", "created", "changed":
		return mark{"ok", "●"}
	case "failed", "refused", "aborted", "expired", "unsupported", "late":
		return mark{"bad", "▲"}
	case "rolled-back", "undone", "cancelled", "paused", "kept", "warn":
		return mark{"warn", "◆"}
	case "downloading", "installing", "rebooting", "trial", "ready", "running", "began", "granted", "checking", "undoing":
		return mark{"run", "◐"}
	}
	return mark{"none", "○"}
}

// share is how many of a hundred a part is of the whole, 0 of nothing.
func share(part, whole int) int {
	if whole <= 0 {
		return 0
	}
	return part * 100 / whole
}

// piece is a part of a text; one that is Whole stays in one line.
type piece struct {
	Text  string
	Whole bool
}

// minus is a word that begins with a hyphen, behind which browsers break lines.
var minus = regexp.MustCompile(`(?:^|[^\w-])(-{1,2}[a-z][a-z-]*)`)

// pieces takes a text apart, so that a word like -name is not broken behind its hyphen.
func pieces(text string) (all []piece) {
	last := 0
	for _, at := range minus.FindAllStringSubmatchIndex(text, -1) {
		all = append(all, piece{Text: text[last:at[2]]}, piece{text[at[2]:at[3]], true})
		last = at[3]
	}
	return append(all, piece{Text: text[last:]})
}

// number groups the digits of a number.
func number(n int) string {
	s := fmt.Sprint(max(n, -n))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if n < 0 {
		return "-" + s
	}
	return s
}

// Bytes is a number of bytes for people, in powers of 1,000.
func Bytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), ' '
	for _, p := range "kMGTP" {
		if value /= unit; value < unit || p == 'P' {
			prefix = p
			break
		}
	}
	if value < 10 {
		return fmt.Sprintf("%.1f %cB", value, prefix)
	}
	return fmt.Sprintf("%.0f %cB", value, prefix)
}

// Ago is a time that has passed, for people.
func Ago(ja bool, d time.Duration) string {
	if d < -time.Minute {
		return words.Say(ja, "in %s", Span(ja, -d))
	}
	if d < time.Minute {
		return words.Say(ja, "just now")
	}
	return words.Say(ja, "%s ago", Span(ja, d))
}

// Span is a time for people, in its largest unit, or in seconds with one digit.
func Span(ja bool, d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return words.Say(ja, "%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return words.Say(ja, "%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return words.Say(ja, "%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return words.Say(ja, "%d h", int(d.Hours()))
	}
	return words.Say(ja, "%d {day|days}", int(d.Hours()/24))
}
