package frame

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Figures and times are as people read them.
func TestFigures(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := number(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9_949_999: "9.9 MB", 12e9: "12 GB",
		5e18: "5000 PB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d is %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "just now", 59 * time.Second: "just now", time.Minute: "60 s ago",
		3 * time.Minute: "3 min ago", 3 * time.Hour: "3 h ago", 49 * time.Hour: "2 days ago", -time.Hour: "in 60 min"} {
		if got := Ago(false, d); got != want {
			t.Errorf("%v is %q", d, got)
		}
	}
	if got := Ago(true, -3*time.Hour); got != "3 時間後" {
		t.Errorf("%q", got)
	}
	if share(1, 0) != 0 || share(1, 3) != 33 {
		t.Errorf("%d, %d", share(1, 0), share(1, 3))
	}
}

// A word that begins with a hyphen is a piece of its own; nothing is lost.
func TestPieces(t *testing.T) {
	for text, want := range map[string][]piece{
		"": {{}}, "22:00-05:00 and a-b": {{Text: "22:00-05:00 and a-b"}},
		"a=1 sets one, -wan-limit leaves it": {{Text: "a=1 sets one, "}, {"-wan-limit", true}, {Text: " leaves it"}},
		"設定、-wan-limit は":                    {{Text: "設定、"}, {"-wan-limit", true}, {Text: " は"}},
		"--open":                             {{}, {"--open", true}, {}},
	} {
		if got := pieces(text); !slices.Equal(got, want) {
			t.Errorf("%q is %v", text, got)
		}
	}
}

// TestChoices: a choice is kept even if the list that a field offers was cut before it.
// A user who is limited to a site must not lose the limit when their name is changed.
func TestChoices(t *testing.T) {
	f, err := New(Config{API: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	offered := []Option{{"a", "A"}, {"b", "B"}}
	for want, field := range map[string]Field{
		`<option value="a" selected>A</option><option value="b">B</option>`: {Value: "a"},
		`<option value="b">B</option><option value="z" selected>z</option>`: {Value: "z"},
		`<option value="b" selected>B</option><option value="y" selected>y</option><option value="z" selected>z</option>`: {
			Many: true, Values: []string{"y", "b", "z"}},
		`<option value="b">B</option></select>`: {},
	} {
		field.Name, field.Kind, field.Options = "f", "select", offered
		var b strings.Builder
		if err := f.pages.base[false].ExecuteTemplate(&b, "field", field); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
	if len(offered) != 2 {
		t.Error("the options of all were changed")
	}
}
