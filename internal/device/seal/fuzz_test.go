package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/peerload/peerload/internal/device/seal"
)

// FuzzCheck: what was sealed is whole, what was changed behind the seal's start
// is not, and any other text is whole or broken.
func FuzzCheck(f *testing.F) {
	f.Add([]byte("{\n  \"a\": 1\n}\n"), 20, byte(1))
	f.Add(seal.Add([]byte("{\n  \"a\": 1\n}")), 3, byte(0x80))
	f.Fuzz(func(t *testing.T, text []byte, at int, flip byte) {
		if err := seal.Check(text); err != nil && !errors.Is(err, seal.ErrBroken) {
			t.Fatalf("an error of no kind: %v", err)
		}
		sealed := seal.Add(text)
		if err := seal.Check(sealed); err != nil {
			t.Fatalf("%q sealed: %v", text, err)
		}
		body := bytes.LastIndex(sealed, []byte("\"sum\""))
		if body == 0 || flip == 0 {
			return
		}
		at = int(uint(at) % uint(body))
		sealed[at] ^= flip
		if bytes.LastIndex(sealed, []byte(",\n  \"sum\": \"")) < 0 {
			return // a text without a seal was written by a version that made none
		}
		if err := seal.Check(sealed); err == nil {
			t.Fatalf("%q is whole, changed at %d", sealed, at)
		}
	})
}
