package pages

import (
	"net/http"
	"time"

	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// cell is what stands in a table, or behind the name of a fact.
type cell struct {
	Text, Link string
	// State is shown by its mark, with Text as its word.
	State string
	// Time is shown if it is not nil; zero is never.
	Time *time.Time
	// Number stands at the right.
	Number bool
}

func text(s string) cell               { return cell{Text: s} }
func link(s string, to ...string) cell { return cell{Text: s, Link: frame.At(to...)} }
func moment(t time.Time) cell          { return cell{Time: &t} }

// table is a list for people.
type table struct {
	Title string
	Head  []string
	Rows  [][]cell
}

// action is a link that does something.
type action struct {
	Text, Path string
	// Second and Danger are how it looks.
	Second, Danger bool
}

// tab is a page beside this one.
type tab struct {
	Text, Path string
}

// listing is a page with one list.
type listing struct {
	Title, Intro string
	Tabs         []tab
	Actions      []action
	Table        table
	// Search says that the list can be searched by a text.
	Search bool
	// Empty says what to do first where the list is empty.
	Empty string
	// Pages of the list; nil if it is whole.
	Pages *frame.Rows[struct{}]
}

// fact is what is known of a thing.
type fact struct {
	Name  string
	Cells []cell
}

// thing is a page about one thing.
type thing struct {
	Title, Intro string
	Tabs         []tab
	Actions      []action
	Facts        []fact
	Tables       []table
	// Pages of the last table; nil if it is whole.
	Pages *frame.Rows[struct{}]
}

// pagesOf are the pages of a list.
func pagesOf[T any](r frame.Rows[T]) *frame.Rows[struct{}] {
	return &frame.Rows[struct{}]{Next: r.Next, Total: r.Total, Limit: r.Limit, First: r.First}
}

// only are the actions that whoever is signed in may do.
func only(may bool, actions ...action) []action {
	if !may {
		return nil
	}
	return actions
}

// know adds a fact that is not empty.
func (t *thing) know(name string, cells ...cell) {
	for _, c := range cells {
		if c.Text != "" || c.Time != nil {
			t.Facts = append(t.Facts, fact{name, cells})
			return
		}
	}
}

// sure asks before do is done to a thing. intro says what it touches.
func sure(v *frame.Visit, title, intro, back, after string, do func() error) error {
	f := frame.Form{Title: title, Intro: intro, Action: v.R.URL.EscapedPath(), Button: title, Back: back, Danger: true}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	if err := do(); err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("Done: %s", title), "")
	return v.Go(after)
}

// save shows a form, and saves it when it was sent; a version that is older than that
// of the thing shows both.
func save(v *frame.Visit, f frame.Form, do func() (after string, err error)) error {
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	after, err := do()
	if conflict(err) && f.Hidden["version"] != "" {
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
