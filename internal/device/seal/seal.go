// Package seal shows whether a text that a device keeps was changed since it
// was written: a medium may give back other bytes than it took.
//
// What lives here: the last field of a JSON object, with the sum of the rest.
// What must not: protection against somebody who can write the file, who can
// write the sum as well. Read Add first.
package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
)

// ErrBroken says that a sealed text is not as it was written.
var ErrBroken = errors.New("damaged: its sum is another one")

// The seal of a JSON object is its last field: the SHA-256 of the text with
// zeros in place of the sum.
const (
	begin = ",\n  \"sum\": \""
	end   = "\"\n}\n"
	size  = 2 * sha256.Size
)

// Add adds to a JSON object, indented by two blanks and with at least one
// field, a field that shows whether the text was changed since.
func Add(object []byte) []byte {
	b := bytes.TrimSuffix(bytes.TrimRight(object, "\n"), []byte("\n}"))
	b = append(b[:len(b):len(b)], begin...)
	at := len(b)
	b = append(b, bytes.Repeat([]byte{'0'}, size)...)
	b = append(b, end...)
	return setSum(b, at)
}

// Marshal is the sealed text of a value that is a JSON object with a field.
func Marshal(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	return Add(b), nil
}

// setSum puts the sum of a text whose sum is zero at its place.
func setSum(b []byte, at int) []byte {
	sum := sha256.Sum256(b)
	hex.Encode(b[at:], sum[:])
	return b
}

// Check refuses a text that Add has sealed and that was changed since. A text
// without a seal was written by a version that made none.
func Check(b []byte) error {
	at := bytes.LastIndex(b, []byte(begin))
	if at < 0 {
		return nil
	}
	at += len(begin)
	if len(b) != at+size+len(end) || string(b[at+size:]) != end {
		return ErrBroken
	}
	zero := bytes.Clone(b)
	copy(zero[at:], bytes.Repeat([]byte{'0'}, size))
	if !bytes.Equal(setSum(zero, at), b) {
		return ErrBroken
	}
	return nil
}
