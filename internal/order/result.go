package order

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"
)

// Limits of results, in bytes.
const (
	// MaxText bounds what a result says, such as a log.
	MaxText = 16 << 10
	// MaxResult bounds a result with its code.
	MaxResult = 8*MaxText + 1024
)

// Outcome is how an order ended on a device.
type Outcome string

// The outcomes.
const (
	Done   Outcome = "done"
	Failed Outcome = "failed"
	// Refused: the device is not set up for it, or it would do harm now.
	Refused Outcome = "refused"
	// Unsupported: the device's program does not know the kind.
	Unsupported Outcome = "unsupported"
	// Late: it expired before it was carried out.
	Late Outcome = "late"
)

// Known reports whether it is one of the outcomes.
func (o Outcome) Known() bool {
	switch o {
	case Done, Failed, Refused, Unsupported, Late:
		return true
	}
	return false
}

// Result is a device's answer to an order.
type Result struct {
	Order   string
	Device  string
	Outcome Outcome
	// Text says why, or is what was asked for; at most MaxText bytes.
	Text string
	// At is when, by the device's clock, in whole seconds; it need not be right.
	At time.Time
}

// Secret is what a device and its controller share, from which the codes of
// results are made.
type Secret [sha256.Size]byte

// NewSecret derives it from the device's own secret.
func NewSecret(secret string) Secret {
	return secretOf(sha256.Sum256([]byte(secret)))
}

// SecretOfHash derives it from the hash of the secret in hexadecimal digits,
// which is all that a controller keeps. An error matches ErrMalformed.
func SecretOfHash(digits string) (Secret, error) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != sha256.Size {
		return Secret{}, malformed("it is no SHA-256")
	}
	return secretOf([sha256.Size]byte(b)), nil
}

func secretOf(hash [sha256.Size]byte) Secret {
	return Secret(code(hash[:], "peerload device code 1\x00", nil))
}

// code is HMAC-SHA256.
func code(key []byte, purpose string, text []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(purpose))
	m.Write(text)
	return m.Sum(nil)
}

// Codes have purposes as signatures have.
const (
	forResult = "peerload result 1\x00"
	forAck    = "peerload ack 1\x00"
)

// ErrCode says that the device's secret has not made the code.
var ErrCode = errors.New("order: the code is not of the device's secret")

type resultBody struct {
	Order   string  `json:"order"`
	Device  string  `json:"device"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text,omitempty"`
	At      int64   `json:"at"`
}

// Validate says what is wrong with a result.
func (r Result) Validate() error {
	switch {
	case !word(r.Order, maxID), !IsDevice(r.Device), !word(string(r.Outcome), maxWord):
		return malformed("a result names an order, a device and an outcome")
	case len(r.Text) > MaxText, !utf8.ValidString(r.Text):
		return malformed("a text of %d bytes: UTF-8, at most %d", len(r.Text), MaxText)
	}
	return nil
}

// Seal writes a result with its code. It fails if the result is not valid.
func (s Secret) Seal(r Result) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	text, err := json.Marshal(resultBody{r.Order, r.Device, r.Outcome, r.Text, r.At.Unix()})
	if err != nil {
		return nil, err
	}
	return append(code(s[:], forResult, text), text...), nil
}

// Claim reads a result without believing it: it says whose secret is to be asked.
// An error matches ErrMalformed.
func Claim(sealed []byte) (Result, error) {
	if len(sealed) < sha256.Size || len(sealed) > MaxResult {
		return Result{}, malformed("%d bytes", len(sealed))
	}
	var b resultBody
	if err := json.Unmarshal(sealed[sha256.Size:], &b); err != nil {
		return Result{}, malformed("%v", err)
	}
	r := Result{b.Order, b.Device, b.Outcome, b.Text, time.Unix(b.At, 0).UTC()}
	return r, r.Validate()
}

// Open reads a result of a device that has the secret. Errors match ErrMalformed
// or ErrCode.
func (s Secret) Open(sealed []byte) (Result, error) {
	r, err := Claim(sealed)
	if err == nil && !hmac.Equal(sealed[:sha256.Size], code(s[:], forResult, sealed[sha256.Size:])) {
		return Result{}, ErrCode
	}
	return r, err
}

// Ack is the code by which the controller says to the device, and to nobody else,
// that it has something that the device has sealed.
func (s Secret) Ack(sealed []byte) []byte {
	sum := sha256.Sum256(sealed)
	return code(s[:], forAck, sum[:])
}

// Acked reports whether ack is that of what the device has sealed.
func (s Secret) Acked(sealed, ack []byte) bool { return hmac.Equal(s.Ack(sealed), ack) }
