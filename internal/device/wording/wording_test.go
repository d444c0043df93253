package wording

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/pdp/wire"
)

// TestCSCsh20977_NoTextIsMissing: every word and every reason has its text in
// both languages, and every reason of the protocol has one.
func TestCSCsh20977_NoTextIsMissing(t *testing.T) {
	for key, w := range words {
		if w[0] == "" || w[1] == "" {
			t.Errorf("%s is missing in a language", key)
		}
	}
	for code, w := range reasons {
		if w[0] == "" || w[1] == "" || code != wire.ReasonNone.String() && w[0] == w[1] {
			t.Errorf("reason %s is missing in a language", code)
		}
	}
	n := 0
	for ; !strings.HasPrefix(wire.Reason(n).String(), "reason-"); n++ {
		if _, ok := reasons[wire.Reason(n).String()]; !ok {
			t.Errorf("the page has no text for the reason %s", wire.Reason(n))
		}
	}
	if n < 40 {
		t.Errorf("only %d reasons are looked at", n)
	}
}

// TestReasonsAreTold: package report lists the codes that are not the protocol's.
func TestReasonsAreTold(t *testing.T) {
	text, err := os.ReadFile("../../../report/device.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(strings.ReplaceAll(string(text), "\n\t//", ""), "one of the agent's own: ")
	list, _, _ := strings.Cut(rest, ".")
	told := strings.Split(list, ", ")
	var want []string
	for code := range reasons {
		if code != engine.ReasonMetadataRefused { // an event's only
			want = append(want, code)
		}
	}
	for n := wire.Reason(0); !strings.HasPrefix(n.String(), "reason-"); n++ {
		want = slices.DeleteFunc(want, func(code string) bool { return code == n.String() })
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("package report tells of %q, not of %q", told, want)
	}
}
