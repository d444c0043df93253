package order

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Errors of what a controller has, or has not, signed.
var (
	// ErrSignature says that a pinned key has not signed it.
	ErrSignature = errors.New("order: not signed by the controller's order key")
	// ErrExpired says that an order came too late.
	ErrExpired = errors.New("order: expired")
	// ErrNotForMe says that an order has other targets.
	ErrNotForMe = errors.New("order: for other devices")
	// ErrVersion says that a statement is not the next one.
	ErrVersion = errors.New("order: not the next key")
)

// What is signed begins with one of these, so that nothing that is signed can be
// taken for something else.
const (
	forOrder = "peerload order 1\x00"
	forBeat  = "peerload beat 1\x00"
	forKey   = "peerload order key 1\x00"
)

// Key is the public half of a controller's order key. Versions count from 1.
type Key struct {
	Version int
	Public  ed25519.PublicKey
}

// keyID names a key in what it has signed.
type keyID [8]byte

func (k Key) id() (id keyID) {
	sum := sha256.Sum256(k.Public)
	copy(id[:], sum[:])
	return id
}

// A seal is the id of the key, the signature, and what is signed.
const sealSize = len(keyID{}) + ed25519.SignatureSize

func seal(private ed25519.PrivateKey, purpose string, text []byte) []byte {
	id := Key{Public: private.Public().(ed25519.PublicKey)}.id()
	out := append(id[:], ed25519.Sign(private, append([]byte(purpose), text...))...)
	return append(out, text...)
}

func (k Key) open(purpose string, most int, sealed []byte) ([]byte, error) {
	if len(sealed) < sealSize || len(sealed) > most {
		return nil, malformed("%d bytes", len(sealed))
	}
	id := k.id()
	text := sealed[sealSize:]
	if len(k.Public) != ed25519.PublicKeySize || !bytes.Equal(sealed[:len(id)], id[:]) ||
		!ed25519.Verify(k.Public, append([]byte(purpose), text...), sealed[len(id):sealSize]) {
		return nil, ErrSignature
	}
	return text, nil
}

// Seal signs an order. It fails if the order is not valid or too large.
func Seal(private ed25519.PrivateKey, o Order) ([]byte, error) {
	text, err := o.Marshal()
	if err != nil {
		return nil, err
	}
	if len(text)+sealSize > MaxEnvelope {
		return nil, malformed("%d bytes with its signature", len(text)+sealSize)
	}
	return seal(private, forOrder, text), nil
}

// Open reads a signed order that device has got at a time. Errors match
// ErrMalformed, ErrSignature, ErrExpired or ErrNotForMe; with the last two the order
// is genuine.
func (k Key) Open(sealed []byte, device string, now time.Time) (Order, error) {
	text, err := k.open(forOrder, MaxEnvelope, sealed)
	if err != nil {
		return Order{}, err
	}
	o, err := Parse(text)
	switch {
	case err != nil:
		return Order{}, err
	case !o.For(device):
		return o, ErrNotForMe
	case !now.Before(o.Expires):
		return o, ErrExpired
	}
	return o, nil
}

// Beat is a sign of life of the controller, which says what a device must have
// got by then.
type Beat struct {
	// Time of the controller's clock, in whole seconds.
	Time time.Time
	// Feed is what the controller sends through one connection, to all devices
	// behind it. Last is the number of its last order, 0 before the first: who has
	// not got them all is behind somebody who keeps orders back.
	Feed string
	Last uint64
}

type beatBody struct {
	Time int64  `json:"time"`
	Feed string `json:"feed"`
	Last uint64 `json:"last"`
}

// maxSmall bounds signed beats and statements, in bytes.
const maxSmall = 1024

// SealBeat signs a beat.
func SealBeat(private ed25519.PrivateKey, b Beat) []byte {
	text, err := json.Marshal(beatBody{b.Time.Unix(), b.Feed, b.Last})
	if err != nil {
		panic(fmt.Sprintf("order: %v", err)) // two numbers have a form
	}
	return seal(private, forBeat, text)
}

// OpenBeat reads a signed beat. Errors match ErrMalformed or ErrSignature.
func (k Key) OpenBeat(sealed []byte) (Beat, error) {
	text, err := k.open(forBeat, maxSmall, sealed)
	if err != nil {
		return Beat{}, err
	}
	var b beatBody
	if err := json.Unmarshal(text, &b); err != nil {
		return Beat{}, malformed("%v", err)
	}
	if !word(b.Feed, maxWord) {
		return Beat{}, malformed("a beat of no feed")
	}
	return Beat{time.Unix(b.Time, 0).UTC(), b.Feed, b.Last}, nil
}

type keyBody struct {
	Version int    `json:"version"`
	Key     []byte `json:"key"`
}

// SealNext states with the key in use which key is the next one.
func SealNext(private ed25519.PrivateKey, next Key) ([]byte, error) {
	text, err := json.Marshal(keyBody{next.Version, next.Public})
	if err != nil {
		return nil, err
	}
	return seal(private, forKey, text), nil
}

// Next returns the key that a statement of k names. Errors match ErrMalformed,
// ErrSignature, or ErrVersion if it is not the very next one.
func (k Key) Next(statement []byte) (Key, error) {
	text, err := k.open(forKey, maxSmall, statement)
	if err != nil {
		return Key{}, err
	}
	var b keyBody
	if err := json.Unmarshal(text, &b); err != nil {
		return Key{}, malformed("%v", err)
	}
	if len(b.Key) != ed25519.PublicKeySize {
		return Key{}, malformed("a key of %d bytes", len(b.Key))
	}
	if b.Version != k.Version+1 {
		return Key{}, fmt.Errorf("%w: version %d after %d", ErrVersion, b.Version, k.Version)
	}
	return Key{b.Version, b.Key}, nil
}

// ParseKey reads a key as Marshal writes it. Errors match ErrMalformed.
func ParseKey(text []byte) (Key, error) {
	var b keyBody
	if len(text) > maxSmall {
		return Key{}, malformed("%d bytes", len(text))
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return Key{}, malformed("%v", err)
	}
	if b.Version < 1 || len(b.Key) != ed25519.PublicKeySize {
		return Key{}, malformed("version %d of %d bytes", b.Version, len(b.Key))
	}
	return Key{b.Version, b.Key}, nil
}

// Marshal writes a key.
func (k Key) Marshal() ([]byte, error) { return json.Marshal(keyBody{k.Version, k.Public}) }
