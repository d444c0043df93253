package frame

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/words"
	"github.com/peerload/peerload/internal/controller/refusals"
)

// Option is one choice of a field.
type Option struct{ Value, Label string }

// Field is a field of a form.
type Field struct {
	// Name in the form; Label and Help for people.
	Name, Label, Help string
	Value             string
	// Values are those that are chosen of a field with Many.
	Values []string
	// Kind is that of an input element, or "area", "select", "check" or "file"; "" is
	// text.
	Kind     string
	Options  []Option
	Many     bool
	Required bool
	// Rare says that it stands behind the others, out of sight until somebody asks.
	Rare bool
	// Error stands beside the field.
	Error string
	// Auto is how browsers may fill the field in.
	Auto string
}

// Choices are the options, and what is chosen already although it is not among them: a
// list that is cut must not unset it when the form is sent.
func (f Field) Choices() []Option {
	all, chosen := slices.Clone(f.Options), f.Values
	if !f.Many {
		chosen = []string{f.Value}
	}
	for _, is := range chosen {
		if is != "" && !slices.ContainsFunc(all, func(o Option) bool { return o.Value == is }) {
			all = append(all, Option{is, is})
		}
	}
	return all
}

// Usual are the fields that all see.
func (f Form) Usual() []Field { return f.those(false) }

// Rare are the fields that stand behind the others.
func (f Form) Rare() []Field { return f.those(true) }

// Wide reports whether a rare field is wrong, and so must be seen.
func (f Form) Wide() bool {
	return slices.ContainsFunc(f.Fields, func(is Field) bool { return is.Rare && is.Error != "" })
}

func (f Form) those(rare bool) (some []Field) {
	for _, is := range f.Fields {
		if is.Rare == rare {
			some = append(some, is)
		}
	}
	return some
}

// Form is a form of fields that one template shows.
type Form struct {
	Title, Intro string
	Action       string
	Fields       []Field
	// Hidden are sent along as they are.
	Hidden map[string]string
	// Button sends it. "": it is not sent, and only Back leads on.
	Button string
	Danger bool
	// Files says that it sends files.
	Files bool
	// Back is where whoever changes their mind goes.
	Back string
	// Problem is what was wrong as a whole.
	Problem *Problem
}

// Fill takes what was typed into the form.
func (f *Form) Fill(v *Visit) {
	for i := range f.Fields {
		is := &f.Fields[i]
		switch {
		case is.Kind == "password" || is.Kind == "file":
		case is.Kind == "check":
			is.Value = v.Form(is.Name)
		case is.Many:
			is.Values = v.R.PostForm[is.Name]
		default:
			is.Value = v.R.PostFormValue(is.Name)
		}
	}
}

// Again shows the form again with what was typed and what was wrong with it. An error
// that is not about what was sent is returned.
func (v *Visit) Again(f Form, err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Kind == client.Unauthenticated || e.Status >= http.StatusInternalServerError {
		return err
	}
	f.Fill(v)
	p := v.Explain(e)
	for _, wrong := range e.Fields {
		where := wrong.Location[strings.LastIndexByte(wrong.Location, '.')+1:]
		where, _, _ = strings.Cut(where, "[")
		f.mark(where, v.Refusal(wrong.Message))
	}
	if len(e.Fields) == 0 {
		f.guess(e.Error(), p.Detail)
	}
	f.Problem = &p
	v.Status(e.Status)
	return v.Show("form", f)
}

// Beside shows a form again that somebody else was faster than: what was typed stays,
// and what is there now, which the fields still have, stands beside it. Whoever sends it
// again has seen both.
func (v *Visit) Beside(f Form, err error) error {
	now := slices.Clone(f.Fields)
	f.Fill(v)
	for i, was := range now {
		if is := f.Fields[i]; is.Value != was.Value && is.Kind != "password" && !is.Many {
			f.Fields[i].Error = v.T("Somebody else has written: %s", cmp.Or(was.Value, v.T("empty")))
		}
	}
	f.Problem = &Problem{Title: v.T("Somebody else has changed it since you read it. Nothing of yours was written."),
		Detail: v.Refusal(err.Error())}
	v.Status(http.StatusConflict)
	return v.Show("form", f)
}

func (f *Form) mark(name, text string) bool {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			f.Fields[i].Error = text
			return true
		}
	}
	return false
}

// guess puts an error beside the field that it is about: the first whose value, or
// whose name as the API says it, is in its text; said is that in the reader's language.
func (f *Form) guess(detail, said string) {
	text := strings.ToLower(detail)
	words := " " + strings.Join(strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }), " ") + " "
	for _, field := range f.Fields {
		name := " " + strings.ToLower(strings.ReplaceAll(field.Name, "_", " ")) + " "
		if value := strings.ToLower(field.Value); strings.Contains(words, name) ||
			len(value) > 1 && strings.Contains(text, value) {
			f.mark(field.Name, said)
			return
		}
	}
}

// Problem is an error for people.
type Problem struct {
	// Title says what kind it is, Text what happened and what to do, Detail what the
	// API says.
	Title, Text, Detail string
	// English says that Detail is in English whatever the language of the page is.
	English bool
	Status  int
}

// Explain says an error of the API in the language of the page. What has no words there
// is in English.
func (v *Visit) Explain(e *client.Error) Problem {
	p := Problem{Status: e.Status}
	p.Detail, p.English = v.detail(e)
	if own := "problem " + p.Detail; words.Known(own) { // a page says it, not the API
		p.Detail, p.English = v.T("problem "+p.Detail), false
	}
	switch e.Kind {
	case client.NotFound:
		p.Title = v.T("Not found")
	case client.Exists:
		p.Title = v.T("That name is taken")
	case client.Conflict:
		p.Title = v.T("Somebody else has changed it")
	case client.Refused, client.Unfit:
		p.Title = v.T("Refused")
	case client.Forbidden:
		p.Title = v.T("You may not do this")
	case client.Throttled:
		p.Title = v.T("Too many attempts: wait a little")
	case client.Unavailable:
		p.Title = v.T("Not available now")
	case client.BadKeys:
		p.Title = v.T("A signing key is missing")
	case client.DiskFull:
		p.Title = v.T("The controller's disk is full")
	case client.Invalid:
		p.Title = v.T("Something is not valid")
	default:
		p.Title = v.T("It did not work")
	}
	p.Text = p.Title
	if p.Detail != "" {
		p.Text += ": " + p.Detail
	}
	return p
}

// Refusal is why something was refused or failed, as the API has it, in the language of
// the page if there are words for it. A page has said that it is refused.
func (v *Visit) Refusal(text string) string { return refusal(v.JA, text) }

func refusal(ja bool, text string) string {
	return strings.TrimPrefix(refusals.Say(text, ja), "refused: ")
}

// detail is what the API says in the language of the page, and whether it is in English.
func (v *Visit) detail(e *client.Error) (text string, english bool) {
	if !v.JA || len(e.Fields) == 0 {
		return v.Refusal(e.Error()), !v.JA || !refusals.Known(e.Error())
	}
	var all []string
	for _, wrong := range e.Fields {
		said := v.Refusal(wrong.Message)
		all = append(all, strings.TrimPrefix(strings.TrimPrefix(wrong.Location, "body.")+": "+said, ": "))
		english = english || said == wrong.Message && !strings.ContainsFunc(said, isKana)
	}
	return strings.Join(all, "; "), english
}

// isKana finds what a page has said itself, in Japanese.
func isKana(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana) }

// said is what a page says at the top of the next one.
type said struct {
	Text string `json:"text"`
	// Undo is the entry of the audit log that takes it back, "" for none.
	Undo string `json:"undo,omitempty"`
}

const (
	saidCookie = "peerload_said"
	maxSaid    = 1000
	saidS      = 60
)

// Say has the next page say what was done; undo is the entry of the audit log by
// which it can be taken back, "" if it cannot.
func (v *Visit) Say(text, undo string) {
	if len(text) > maxSaid {
		text = strings.ToValidUTF8(text[:maxSaid], "")
	}
	b, err := json.Marshal(said{text, undo})
	if err != nil {
		return // it is text
	}
	http.SetCookie(v.W, &http.Cookie{Name: saidCookie, Value: base64.RawURLEncoding.EncodeToString(b), Path: "/",
		MaxAge: saidS, HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: v.R.TLS != nil})
}

// takeSaid is what the page before had to say, once.
func (v *Visit) takeSaid() *said {
	c, err := v.R.Cookie(saidCookie)
	if err != nil || v.R.Header.Get("HX-Request") == "true" {
		return nil
	}
	http.SetCookie(v.W, &http.Cookie{Name: saidCookie, Path: "/", MaxAge: -1, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: v.R.TLS != nil})
	var s said
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(b, &s) != nil || s.Text == "" {
		return nil
	}
	return &s
}

// Wrong explains an error that is about what was sent; ok is false for any other.
func (v *Visit) Wrong(err error) (p Problem, ok bool) {
	var e *client.Error
	if !errors.As(err, &e) || e.Kind == client.Unauthenticated || e.Status >= http.StatusInternalServerError {
		return p, false
	}
	return v.Explain(e), true
}
