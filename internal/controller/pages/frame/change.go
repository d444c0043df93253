package frame

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/peerload/peerload/client"
)

// change is a change that waits for a yes: the page says what it would touch.
type change struct {
	// What it does, in words.
	What string
	// Order is the change as the API takes it, Shown what was shown of it.
	Order, Shown string
	Back         string
	Danger       bool
	Reach        client.Reach
	Kept         []string
	// Conflict says that somebody else was faster; Rows have what they wrote beside
	// what this form says.
	Conflict bool
	Rows     []conflictRow
}

// conflictRow is one value that two people have changed.
type conflictRow struct{ Name, Now, Yours string }

// Ask shows what a change would touch, and asks before it is made. what says it in
// words; back is where the answer no, and what follows, lead.
func (v *Visit) Ask(o client.Order, what, back string, danger bool) error {
	v.Guard(v.CSRF()) // a dry run changes nothing
	dry, err := v.API.Change(v.Context(), o, true)
	if errors.Is(err, client.Conflict) && o.Version != nil {
		return v.showConflict(o, what, back)
	}
	if err != nil {
		return err
	}
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return v.Show("change", change{What: what, Order: string(b), Shown: dry.Shown, Back: localPath(back), Danger: danger,
		Reach: dry.Reach, Kept: dry.Kept})
}

// runChange makes a change that was shown.
func runChange(v *Visit) error {
	o, err := readOrder(v.Form("order"))
	if err != nil {
		return err
	}
	what, back := v.Form("what"), localPath(v.Form("back"))
	if back == "" {
		back = "/"
	}
	if v.Form("over") != "" { // whoever was shown a conflict has decided: what counts is what is there now
		o.Version = nil
		return v.Ask(o, what, back, false)
	}
	o.Shown = v.Form("shown")
	done, err := v.API.Change(v.Context(), o, false)
	switch {
	case errors.Is(err, client.Conflict) && o.Version != nil:
		o.Shown = ""
		return v.showConflict(o, what, back)
	case errors.Is(err, client.Conflict): // it would touch something else by now
		o.Shown = ""
		return v.Ask(o, what, back, false)
	case err != nil:
		return err
	}
	v.Say(v.T("Done: %s", what), done.Audit)
	return v.Go(back)
}

// readOrder reads a change that was shown, as it comes back from the browser.
func readOrder(text string) (o client.Order, err error) {
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return o, &client.Error{Status: http.StatusUnprocessableEntity, Kind: client.Invalid,
			Detail: "the form is damaged: load the page again"}
	}
	return o, nil
}

// showConflict shows what the other has written beside what this form says.
func (v *Visit) showConflict(o client.Order, what, back string) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	c := change{What: what, Order: string(b), Back: localPath(back), Conflict: true}
	if o.Settings != nil && o.Target != nil {
		now, err := v.API.Settings(v.Context(), *o.Target)
		if err != nil {
			return err
		}
		for _, s := range now.Settings {
			row := conflictRow{Name: s.Label, Now: v.T("not set")}
			if v.JA {
				row.Name = s.LabelJA
			}
			if s.Value != nil {
				row.Now = *s.Value
			}
			row.Yours = row.Now
			if is, ok := o.Settings.Set[s.Name]; ok {
				row.Yours = is
			} else if slices.Contains(o.Settings.Unset, s.Name) {
				row.Yours = v.T("not set")
			}
			c.Rows = append(c.Rows, row)
		}
	}
	v.Status(http.StatusConflict)
	return v.Show("change", c)
}
