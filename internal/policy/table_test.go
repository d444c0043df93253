package policy

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// TestCSCsh20977_Labels: every setting has its label and help in English and
// in Japanese, and a name of its own everywhere.
func TestCSCsh20977_Labels(t *testing.T) {
	seen := map[string]string{}
	for _, s := range Settings() {
		for _, own := range []string{"name " + s.Name, "element " + s.Element, "label " + s.Label, "label " + s.LabelJA} {
			if other, ok := seen[own]; ok || strings.HasSuffix(own, " ") {
				t.Errorf("%s: %q is missing or that of %s", s.Name, own, other)
			}
			seen[own] = s.Name
		}
		japanese := func(text string) bool {
			return strings.ContainsFunc(text,
				func(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han) })
		}
		if !japanese(s.LabelJA) || !japanese(s.HelpJA) || japanese(s.Label) || japanese(s.Help) || s.Help == "" {
			t.Errorf("%s: labels %q %q, help %q %q", s.Name, s.Label, s.LabelJA, s.Help, s.HelpJA)
		}
		if got, ok := ByElement(s.Element); !ok || got.Name != s.Name {
			t.Errorf("element %s is %s", s.Element, got.Name)
		}
		if got, err := Lookup(s.Name); err != nil || got.Element != s.Element {
			t.Errorf("%s: %v", s.Name, err)
		}
	}
	if s, ok := ByElement("peerfirmwaresharing"); ok {
		t.Errorf("XML tells upper and lower case apart, yet found %s", s.Name)
	}
	for name, element := range map[string]string{PeerSharing: "peerFirmwareSharing", LoadServer: "loadServer",
		LogServer: "logServer"} {
		if s, err := Lookup(name); err != nil || s.Element != element {
			t.Errorf("real phones read %s as %s: %+v, %v", name, element, s, err)
		}
	}
}

// TestNormalise has ways of writing a value and the one that is stored.
func TestNormalise(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{PeerSharing, "1", "on"}, {PeerSharing, " ON ", "on"}, {PeerSharing, "Disabled", "off"}, {PeerSharing, "0", "off"},
		{Timing, "Classic", "classic"}, {WANLimit, "1024", "1k"}, {WANLimit, "1000", "1000"}, {WANLimit, "2048K", "2M"},
		{WANLimit, "0", "0"},
		{Retention, "1024m", "1G"}, {LogServer, " log.example:514 ", "log.example:514"}, {LoadServer, "", ""},
	} {
		s, err := Lookup(c.name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Normalise(c.in); got != c.want || err != nil {
			t.Errorf("%s %q is %q, %v; want %q", c.name, c.in, got, err, c.want)
		}
	}
	on, err := Lookup(PeerSharing)
	if err != nil || on.ElementText(On) != "1" || on.ElementText(Off) != "0" {
		t.Errorf("a switch in XML: %v", err)
	}
}

// FuzzNormalise: what is taken is taken again as it is, and survives its element.
func FuzzNormalise(f *testing.F) {
	for _, s := range []string{"", "on", "1", "2048k", "9223372036854775807", "lan", "h:1", "http://h/p", "[::1]:5",
		"\xff", "-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, s := range Settings() {
			v, err := s.Normalise(in)
			if err != nil {
				if !errors.Is(err, ErrSetting) {
					t.Fatal(err)
				}
				continue
			}
			if again, err := s.Normalise(v); again != v || err != nil || s.Check(v) != nil {
				t.Fatalf("%s: %q is %q, and that %q, %v", s.Name, in, v, again, err)
			}
			if back, err := s.FromElement(s.ElementText(v)); back != v || err != nil {
				t.Fatalf("%s: %q came out of its element as %q, %v", s.Name, v, back, err)
			}
			a, err := s.Admit(in)
			if err != nil && !errors.Is(err, ErrSetting) {
				t.Fatal(err)
			}
			if again, err2 := s.Admit(a); err == nil && (a != v || again != a || err2 != nil) {
				t.Fatalf("%s: %q is admitted as %q, and that %q, %v", s.Name, in, a, again, err2)
			}
		}
	})
}

func TestLevels(t *testing.T) {
	for l := LevelDefault; l <= LevelDevice; l++ {
		b, err := json.Marshal(At{Level: l})
		var at At
		if err != nil || json.Unmarshal(b, &at) != nil || at.Level != l || !strings.Contains(string(b), `"`+l.String()+`"`) {
			t.Errorf("%s, %v", b, err)
		}
	}
	if _, err := ParseLevel("nowhere"); !errors.Is(err, ErrSetting) {
		t.Error(err)
	}
	// The levels' own names are those in JSON.
	b, err := json.Marshal(Levels{Enterprise: Values{LoadServer: "e"}, Profile: Values{LoadServer: "p"},
		Device: Values{LoadServer: "d"}})
	var of map[Level]Values
	if err == nil {
		err = json.Unmarshal(b, &of)
	}
	if err != nil || len(of) != 3 || of[LevelEnterprise][LoadServer] != "e" || of[LevelProfile][LoadServer] != "p" ||
		of[LevelDevice][LoadServer] != "d" {
		t.Errorf("%s: %v, %v", b, of, err)
	}
}

// TestModelFile: rows of a file and rows of the table are the same.
func TestModelFile(t *testing.T) {
	var f ModelFile
	text := `{"model":[{"name":"Camera 1","family":"camera","can_share":true,"type_number":900,"defaults":{"peer-sharing":"1"},"lacks":["log-server"]}]}`
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	rows, err := f.Models()
	if err != nil {
		t.Fatal(err)
	}
	table, err := Builtin().Extend(rows)
	if err != nil {
		t.Fatal(err)
	}
	m := table.Lookup("camera 1")
	if m.Defaults[PeerSharing] != On || !reflect.DeepEqual(ToRow(m).Lacks, []string{LogServer}) ||
		m.ProvisionName() != "Camera 1" {
		t.Errorf("%+v", m)
	}
	a, err := Effective(LogServer, m, Levels{Device: Values{LogServer: "h"}})
	if err != nil || a.Value != "" || a.Level != LevelModel || a.Reason == "" ||
		!slices.Equal(a.Others, []At{{LevelDevice, "h"}}) {
		t.Errorf("what a model lacks: %+v, %v", a, err)
	}
	for _, m := range Builtin().Models() {
		if back, err := ToRow(m).Row(); err != nil || back.Name != m.Name || back.TypeNumber != m.TypeNumber ||
			!slices.Equal(back.Aliases, m.Aliases) {
			t.Errorf("%s: %+v, %v", m.Name, back, err)
		}
	}
	for _, bad := range []ModelRow{{Name: "x", Family: "f", TypeNumber: 115}, {Name: "x", Family: "f", TypeNumber: -1},
		{Name: "x", Family: "f", Lacks: []string{"colour"}},
		{Name: strings.Repeat("x", 200), Family: "f"}, {Name: "x\x00", Family: "f"},
		{Name: "x", Family: "f", Provision: "Cisco IP Phone 7941"}} {
		row, err := bad.Row()
		if err == nil {
			_, err = Builtin().Extend([]Model{row})
		}
		if !errors.Is(err, ErrModel) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := (ModelFile{Model: make([]ModelRow, MaxModelRows+1)}).Models(); !errors.Is(err, ErrModel) {
		t.Error(err)
	}
}

// TestModelFileIsBounded: neither more rows are taken than may be, nor one with a
// default that cannot be.
func TestModelFileIsBounded(t *testing.T) {
	if _, err := (ModelFile{make([]ModelRow, MaxModelRows)}).Models(); err != nil {
		t.Errorf("the most rows: %v", err)
	}
	if _, err := (ModelFile{make([]ModelRow, MaxModelRows+1)}).Models(); !errors.Is(err, ErrModel) {
		t.Errorf("a row more: %v", err)
	}
	bad := ModelRow{Name: "X", Family: "f", Defaults: map[string]string{Timing: "fast"}}
	if _, err := (ModelFile{[]ModelRow{bad}}).Models(); !errors.Is(err, ErrModel) || !errors.Is(err, ErrSetting) {
		t.Errorf("a default that cannot be: %v", err)
	}
}

// TestValues: one value that means nothing is enough to refuse them all.
func TestValues(t *testing.T) {
	good := Values{PeerSharing: On, LoadServer: "", WANLimit: "0"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, v := range map[string]Values{
		"unknown": {PeerSharing: On, "zz": "1"}, "a value": {PeerSharing: On, WANLimit: "fast"},
	} {
		if err := v.Validate(); !errors.Is(err, ErrSetting) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := v.Normalise(); !errors.Is(err, ErrSetting) || n != nil {
			t.Errorf("%s: %v, %v", name, n, err)
		}
	}
	if err := (Setting{Name: "s", Kind: "new"}).Check("v"); !errors.Is(err, ErrSetting) {
		t.Errorf("a kind that there is not: %v", err)
	}
	if s := Level(-1).String(); s != "level -1" {
		t.Errorf("a level that there is not is called %q", s)
	}
	if s := Level(99).String(); s != "level 99" {
		t.Errorf("a level that there is not is called %q", s)
	}
}
