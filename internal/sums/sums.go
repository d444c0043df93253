// Package sums says whether the files of a release are those that its publisher
// made: a list of their SHA-256 sums, as sha256sum writes it, and an Ed25519
// signature over the bytes of that list.
//
// What must not be here: loads for devices, whose trust has expiry and roles
// (package trust); private keys, which the release command alone reads. The
// signature is the plain one of RFC 8032, so that openssl can verify it as well.
//
// Read [Open], then [Verify].
package sums

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peerload/peerload/load"
)

// Limits of what is read, in bytes.
const (
	MaxList = 1 << 20
	MaxKey  = 16 << 10
	maxName = 255
)

var (
	// ErrSignature: the list is not signed by this key.
	ErrSignature = errors.New("the signature is not by this key over this list")
	// ErrKey: what should be a public key is none.
	ErrKey = errors.New("no Ed25519 public key in PEM form, as \"openssl pkey -pubout\" writes it")
	// ErrList: the list breaks its form. Whoever signs such a list made a mistake.
	ErrList = errors.New("the list of sums breaks its form")
	// ErrDigest: a file is not the one that was signed.
	ErrDigest = errors.New("it is not the file that was signed: download it again, and do not use this one")
	// ErrMissing: a file that is needed is not there.
	ErrMissing = errors.New("no such file")
	// ErrRead: a file is there and cannot be read.
	ErrRead = errors.New("it cannot be read")
	// ErrUnknown: the list has no file of this name.
	ErrUnknown = errors.New("the list has no file of this name")
)

// Sums are the digests of the files of a release, by name.
type Sums map[string]load.Digest

// Text is the list as it is signed, in the order of the names.
func (s Sums) Text() []byte {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s)) {
		b.WriteString(s[name].String() + "  " + name + "\n")
	}
	return []byte(b.String())
}

// Parse reads a list: lines of 64 hexadecimal digits, two spaces and the name of
// a file, without a path.
func Parse(raw []byte) (Sums, error) {
	if len(raw) > MaxList {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrList, MaxList)
	}
	s := Sums{}
	rest := string(raw)
	for n := 1; rest != ""; n++ {
		line, after, ended := strings.Cut(rest, "\n")
		rest = after
		sum, name, ok := strings.Cut(line, "  ")
		d, err := load.ParseDigest(sum)
		_, twice := s[name]
		switch {
		case !ended:
			return nil, fmt.Errorf("%w: line %d has no end, the list was cut off", ErrList, n)
		case !ok || err != nil || d.String() != sum:
			return nil, fmt.Errorf("%w: line %d is no sum, two spaces and a name", ErrList, n)
		case !plain(name):
			return nil, fmt.Errorf("%w: line %d: %q is no plain name of a file", ErrList, n, name)
		case twice:
			return nil, fmt.Errorf("%w: line %d has %q again", ErrList, n, name)
		}
		s[name] = d
	}
	if len(s) == 0 {
		return nil, fmt.Errorf("%w: it has no file", ErrList)
	}
	return s, nil
}

// plain reports whether name can be only a file next to the list.
func plain(name string) bool {
	return name != "" && len(name) <= maxName && !strings.HasPrefix(name, ".") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '/' || r == '\\' || r > '~' })
}

// ParseKey reads a public key: a PEM block of a SubjectPublicKeyInfo of Ed25519.
func ParseKey(raw []byte) (ed25519.PublicKey, error) {
	if len(raw) > MaxKey {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrKey, MaxKey)
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, ErrKey
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, ErrKey
	}
	return key, nil
}

// Open returns the sums of a list, if the signature over it is by key; nothing of
// the list is believed before.
func Open(key ed25519.PublicKey, list, signature []byte) (Sums, error) {
	if len(key) != ed25519.PublicKeySize {
		return nil, ErrKey
	}
	if len(signature) != ed25519.SignatureSize || !ed25519.Verify(key, list, signature) {
		return nil, ErrSignature
	}
	return Parse(list)
}
