package load

import (
	"strings"
	"testing"
)

// TestParseDigest: a text is a digest or an error, and never "not known".
func TestParseDigest(t *testing.T) {
	want := DigestOf([]byte("test"))
	for _, s := range []string{want.String(), strings.ToUpper(want.String())} {
		if d, err := ParseDigest(s); d != want || err != nil {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
	for _, s := range []string{
		"", "0", want.String()[1:], want.String() + "0", strings.Repeat("g", 64), strings.Repeat("0", 64),
	} {
		var d Digest
		if err := d.UnmarshalText([]byte(s)); err == nil || !d.IsZero() {
			t.Errorf("%q: %v, %v", s, d, err)
		}
	}
}
