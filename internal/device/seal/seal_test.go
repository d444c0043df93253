package seal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/peerload/peerload/internal/device/seal"
)

// TestEveryBit: whichever bit of a sealed text flips, and however much of it is
// lost or added, it is noticed, or the text means the same.
func TestEveryBit(t *testing.T) {
	type content struct {
		A string `json:"a"`
		B int    `json:"b"`
	}
	is := content{"x", 7}
	plain, err := json.MarshalIndent(is, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal.Add(plain)
	same := func(b []byte) bool {
		var got content
		return json.Unmarshal(b, &got) == nil && got == is
	}
	if err := seal.Check(sealed); err != nil || !same(sealed) {
		t.Fatalf("%v: %s", err, sealed)
	}
	for bit := range 8 * len(sealed) {
		b := bytes.Clone(sealed)
		b[bit/8] ^= 1 << (bit % 8)
		if seal.Check(b) == nil && json.Valid(b) && !same(b) {
			t.Errorf("bit %d: %s", bit, b)
		}
	}
	for n := range sealed {
		if seal.Check(sealed[:n]) == nil && json.Valid(sealed[:n]) && !same(sealed[:n]) {
			t.Errorf("the first %d bytes pass: %s", n, sealed[:n])
		}
	}
	if err := seal.Check(append(sealed, ' ')); !errors.Is(err, seal.ErrBroken) {
		t.Errorf("a longer text: %v", err)
	}
	if err := seal.Check(plain); err != nil {
		t.Errorf("a text without a seal: %v", err)
	}
}
