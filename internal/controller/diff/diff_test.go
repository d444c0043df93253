package diff_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/diff"
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
