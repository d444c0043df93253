package wording

import (
	"strings"
	"testing"

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
