package provision

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func grantOfTests() *Grant {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &Grant{Rollout: "9.4(2)-kyoto", Try: 2, Load: "A.9-4", Download: Span{noon, noon.Add(time.Hour)},
		Activate: Span{noon.Add(10 * time.Hour), noon.Add(14*time.Hour + time.Microsecond)}}
}

// TestGrant: what a rollout allows is written and read, in each form.
func TestGrant(t *testing.T) {
	want := grantOfTests()
	b, err := (&File{Loads: []Assignment{{Load: "A"}}, Grant: want}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(b)
	if err != nil || !reflect.DeepEqual(f.Grant, want) || len(f.Others) > 0 {
		t.Errorf("%s\nis read as %+v, %v", b, f.Grant, err)
	}
	if !want.Download.Contains(want.Download.From) || want.Download.Contains(want.Download.Until) {
		t.Error("a span has its beginning, and not its end")
	}
	toml := `load = "A"
[rollout]
id = "9.4(2)-kyoto"
try = 2
load = "A.9-4.loads"
download-from = 2026-03-01T12:00:00Z
download-until = "2026-03-01T13:00:00Z"
activate-from = 2026-03-02T07:00:00+09:00
activate-until = 2026-03-02T02:00:00.000001Z
`
	if f, err = ParseTOML([]byte(toml)); err != nil || !reflect.DeepEqual(f.Grant, want) {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err = Parse([]byte("<device><rolloutGrant/></device>")); err != nil || f.Grant != nil {
		t.Errorf("an empty one is %+v, %v", f.Grant, err)
	}
}

// TestGrantRefused: what is not whole allows nothing, and the file is refused: the
// last good one stays in force, with its ends.
func TestGrantRefused(t *testing.T) {
	xml := func(inner string) string { return "<device><rolloutGrant>" + inner + "</rolloutGrant></device>" }
	whole := func(g *Grant) string {
		b, err := (&File{Grant: g}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good := whole(grantOfTests())
	for _, text := range []string{
		xml("<load>A</load>"), xml("<try>x</try>"), xml("<downloadFrom>noon</downloadFrom>"),
		xml("<rollout>r</rollout><try>1</try><load>A</load>"),
		xml("<activateUntil>1969-12-31T23:59:59Z</activateUntil>"),
		strings.Replace(good, "<try>2</try>", "<try>0</try>", 1),
		strings.Replace(good, "<try>2</try>", "<try>9999999999</try>", 1),
		strings.Replace(good, "<load>A.9-4</load>", "<load>../a</load>", 1),
		strings.Replace(good, "<load>A.9-4</load>", "", 1),
		strings.Replace(good, "9.4(2)-kyoto", strings.Repeat("r", 65), 1),
		strings.Replace(good, "<downloadUntil>2026-03-01T13", "<downloadUntil>2026-03-01T11", 1),
		strings.Replace(good, "<activateFrom>2026-03-01T22:00:00Z</activateFrom>", "", 1),
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{`{"rollout": 5}`, `{"rollout": {"id": "r"}}`, `{"rollout": {"name": "r"}}`,
		`{"rollout": {"try": []}}`} {
		if _, err := ParseJSON([]byte(text)); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", text, err)
		}
	}
	g := grantOfTests()
	g.Download, g.Activate = Span{}, Span{}
	if _, err := (&File{Grant: g}).Marshal(); !errors.Is(err, ErrFile) {
		t.Errorf("one that allows nothing is written: %v", err)
	}
}
