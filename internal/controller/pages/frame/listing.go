package frame

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/peerload/peerload/client"
)

// Cell is what stands in a table, or behind the name of a fact.
type Cell struct {
	Text, Link string
	// State is shown by its mark, with Text as its word.
	State string
	// Time is shown if it is not nil; zero is never.
	Time *time.Time
	// Number stands at the right, and what is Whole in one line.
	Number, Whole bool
}

// Text is a text in a cell.
func Text(s string) Cell { return Cell{Text: s} }

// Link is a text that leads to the page of names.
func Link(s string, to ...string) Cell { return Cell{Text: s, Link: At(to...)} }

// Time is a time in a cell.
func Time(t time.Time) Cell { return Cell{Time: &t} }

// Num is a number.
func Num(n int) Cell { return Cell{Text: strconv.Itoa(n), Number: true} }

// Table is a list for people.
type Table struct {
	Title string
	Head  []string
	Rows  [][]Cell
}

// Action is a link that does something.
type Action struct {
	Text, Path string
	// Second and Danger are how it looks.
	Second, Danger bool
}

// Tab is a page beside this one.
type Tab struct {
	Text, Path string
}

// Listing is a page with one list.
type Listing struct {
	Title, Intro string
	Tabs         []Tab
	Actions      []Action
	Table        Table
	// Search says in which fields of the list a text is looked for; "" if it cannot be.
	Search string
	// Filters are the conditions that the list can be narrowed by.
	Filters []Field
	// Empty says what to do first where the list is empty.
	Empty string
	// Pages of the list; nil if it is whole.
	Pages *Rows[struct{}]
}

// Fact is what is known of a thing.
type Fact struct {
	Name  string
	Cells []Cell
}

// Thing is a page about one thing.
type Thing struct {
	Title, Intro string
	Tabs         []Tab
	Actions      []Action
	Facts        []Fact
	Tables       []Table
	// Filters are asked for what the page is to show, by a button that says FilterButton.
	Filters      []Field
	FilterButton string
	// Reach is whom a change of it would touch; nil for nobody in particular.
	Reach *client.Reach
	// Pages of the last table; nil if it is whole.
	Pages *Rows[struct{}]
}

// PagesOf are the pages of a list.
func PagesOf[T any](r Rows[T]) *Rows[struct{}] {
	return &Rows[struct{}]{Next: r.Next, Total: r.Total, Limit: r.Limit, First: r.First}
}

// Only are the actions that whoever is signed in may do.
func Only(may bool, actions ...Action) []Action {
	if !may {
		return nil
	}
	return actions
}

// Know adds a fact that is not empty.
func (t *Thing) Know(name string, cells ...Cell) {
	for _, c := range cells {
		if c.Text != "" || c.Time != nil {
			t.Facts = append(t.Facts, Fact{name, cells})
			return
		}
	}
}

// Sure asks before do is done to a thing. intro says what it touches.
func Sure(v *Visit, title, intro, back, after string, do func() error) error {
	f := Form{Title: title, Intro: intro, Action: v.R.URL.EscapedPath(), Button: title, Back: back, Danger: true}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	if err := do(); err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("Done: %s", title), "")
	return v.Go(after)
}

// Save shows a form, and saves it when it was sent; a version that is older than that
// of the thing shows both.
func Save(v *Visit, f Form, do func() (after string, err error)) error {
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	after, err := do()
	if errors.Is(err, client.Conflict) && f.Hidden["version"] != "" {
		return v.Beside(f, err)
	}
	if err != nil {
		if f.Hidden["version"] != "" {
			f.Hidden["version"] = v.Form("version")
		}
		return v.Again(f, err)
	}
	if after == "" {
		return nil // the page was shown already
	}
	v.Say(v.T("Saved."), "")
	return v.Go(after)
}

// VersionField has the version that a form was made of, as a hidden field.
func VersionField(is client.Version) map[string]string {
	return map[string]string{"version": strconv.FormatInt(int64(is), 10)}
}

// VersionOf is the version that came back with a form; a form without one compares
// nothing.
func VersionOf(v *Visit) client.Version {
	n, ok := Int(v.Form("version"))
	if !ok || n < 0 {
		return client.AnyVersion
	}
	return client.Version(n)
}

// WrongField is an error of one field of a form.
func WrongField(field, text string) error {
	e := &client.Error{Status: http.StatusUnprocessableEntity, Kind: client.Invalid, Detail: "validation failed"}
	e.Fields = append(e.Fields, struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	}{field, text})
	return e
}
