package diff_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/policy"
)

// text writes changes as field:old>new, with - for unset.
func text(all []diff.FieldChange) string {
	or := func(v *string) string {
		if v == nil {
			return "-"
		}
		return *v
	}
	var words []string
	for _, f := range all {
		words = append(words, fmt.Sprintf("%s:%s>%s", f.Field, or(f.Old), or(f.New)))
	}
	return strings.Join(words, " ")
}

// TestBetween: fields that are empty are unset, but a setting may be set to nothing;
// what nobody wants to know, or may know, is left out.
func TestBetween(t *testing.T) {
	type thing struct {
		Name     string            `json:"name"`
		On       bool              `json:"on"`
		Count    int               `json:"count"`
		Sets     []string          `json:"sets"`
		Settings map[string]string `json:"settings,omitempty"`
		Version  int               `json:"version"`
		Hash     string            `json:"hash"`
	}
	a := thing{Name: "a", On: true, Sets: []string{"x"}, Settings: map[string]string{"log": "", "rate": "1k"}, Version: 1,
		Hash: "h"}
	b := thing{Name: "b", Count: 3, Sets: []string{}, Settings: map[string]string{"rate": "1k"}, Version: 2, Hash: "i"}
	for _, c := range []struct {
		before, after any
		want          string
	}{
		{a, a, ""},
		{nil, nil, ""},
		{a, b, "count:->3 name:a>b on:true>- sets:[\"x\"]>- settings.log:>-"},
		{nil, b, "count:->3 name:->b settings.rate:->1k"},
		{b, nil, "count:3>- name:b>- settings.rate:1k>-"},
	} {
		if got := text(diff.Between(c.before, c.after)); got != c.want {
			t.Errorf("between %v and %v: %s, want %s", c.before, c.after, got, c.want)
		}
	}
}

// TestRead: what Fields writes of a row of models is read back, whatever its texts look like.
func TestRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"", "115", "true", "null", `"q"`, "[]", "a.b", "é 機"})
		key := rapid.SampledFrom([]string{"log", "peer-sharing", "a.b"})
		type wrapped struct {
			Row policy.ModelRow `json:"row"`
		}
		in := wrapped{policy.ModelRow{Name: word.Draw(t, "name"), Family: word.Draw(t, "family"),
			CanShare: rapid.Bool().Draw(t, "can share"), TypeNumber: rapid.IntRange(0, 70000).Draw(t, "number"),
			Aliases: rapid.SliceOfN(word, 0, 3).Draw(t, "aliases")}}
		if d := rapid.MapOfN(key, word.Filter(func(s string) bool { return s != "" }), 0, 3).Draw(t, "defaults"); len(d) > 0 {
			in.Row.Defaults = d
		}
		if len(in.Row.Aliases) == 0 {
			in.Row.Aliases = nil
		}
		var out wrapped
		if err := diff.Read(diff.Fields(in), "row.", &out.Row); err != nil {
			t.Fatal(err)
		}
		if len(out.Row.Defaults) == 0 {
			out.Row.Defaults = nil
		}
		if !reflect.DeepEqual(in, out) {
			t.Fatalf("read back as %+v, was %+v", out, in)
		}
	})
}
