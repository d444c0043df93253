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

// FuzzDigest: a text is that of a digest, which is written as it was read but for
// the case of its letters, or it is none.
func FuzzDigest(f *testing.F) {
	f.Add(DigestOf(nil).String())
	f.Add(strings.Repeat("0", 64))
	f.Add("9F86D081")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			if d != (Digest{}) {
				t.Fatalf("%q is %v with %v", s, d, err)
			}
			return
		}
		if d.String() != strings.ToLower(s) {
			t.Fatalf("%q is written %q", s, d)
		}
	})
}
