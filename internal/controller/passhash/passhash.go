// Package passhash keeps passwords as hashes that are slow to guess: argon2id,
// in PHC string format.
//
// What lives here: the cost of a hash, what a password must be, and a Hasher.
// What must not: users, and how often somebody may try, which are package
// domain's.
package passhash

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Cost are the parameters of argon2id (RFC 9106).
type Cost struct {
	// Memory in KiB, 8 to 1 GiB; 0 means that of Default.
	Memory uint32
	// Time is the number of passes, 1 to 64; 0 likewise.
	Time uint32
	// Threads, 1 to 16; 0 likewise.
	Threads uint8
}

// Default is the second recommended option of RFC 9106 section 4: 64 MiB and 3
// passes.
var Default = Cost{Memory: 64 << 10, Time: 3, Threads: 4}

// WithDefaults has the default for each field that is 0.
func (p Cost) WithDefaults() Cost {
	if p.Memory == 0 {
		p.Memory = Default.Memory
	}
	if p.Time == 0 {
		p.Time = Default.Time
	}
	if p.Threads == 0 {
		p.Threads = Default.Threads
	}
	return p
}

// Validate refuses a cost out of range.
func (p Cost) Validate() error {
	if p.Memory < 8*uint32(p.Threads) || p.Memory > 1<<20 || p.Time < 1 || p.Time > 64 || p.Threads < 1 || p.Threads > 16 {
		return errors.New("passhash: the cost of a hash is out of range")
	}
	return nil
}

// Limits of passwords, in bytes.
const (
	MinLen = 10
	MaxLen = 256
)

const (
	saltLen, keyLen = 16, 32
	// maxHashing bounds the hashes computed at a time, and with it memory.
	maxHashing = 2
)

// errHash says that a stored hash cannot be read.
var errHash = errors.New("passhash: bad hash")

// Check says what a password lacks.
func Check(text string) error {
	if len(text) < MinLen || len(text) > MaxLen || !utf8.ValidString(text) {
		return fmt.Errorf("a password has %d to %d bytes of text", MinLen, MaxLen)
	}
	return nil
}

// Hasher makes and compares hashes, a few at a time. It may be used by several
// goroutines.
type Hasher struct {
	cost    Cost
	random  io.Reader
	hashing chan struct{}
	decoy   string // a hash that no password has, made at the first need
	once    sync.Once
}

// NewHasher returns a hasher; random makes the salts.
func NewHasher(cost Cost, random io.Reader) *Hasher {
	return &Hasher{cost: cost, random: random, hashing: make(chan struct{}, maxHashing)}
}

// Hash returns the argon2id hash in PHC string format.
func (h *Hasher) Hash(ctx context.Context, text string) (string, error) {
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(h.random, salt); err != nil {
		return "", fmt.Errorf("no random numbers: %w", err)
	}
	p := h.cost
	key, err := h.argon(ctx, text, salt, p)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// argon computes one hash, a few at a time.
func (h *Hasher) argon(ctx context.Context, text string, salt []byte, p Cost) ([]byte, error) {
	select {
	case h.hashing <- struct{}{}:
		defer func() { <-h.hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(text), salt, p.Time, p.Memory, p.Threads, keyLen), nil
}

// Verify compares a password with a hash, by the hash's own cost.
func (h *Hasher) Verify(ctx context.Context, text, hash string) (bool, error) {
	p, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	got, err := h.argon(ctx, text, salt, p)
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}

func parseHash(hash string) (p Cost, salt, key []byte, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil ||
		p.Validate() != nil {
		return p, nil, nil, errHash
	}
	salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) == 0 {
		return p, nil, nil, errHash
	}
	key, err = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) != keyLen {
		return p, nil, nil, errHash
	}
	return p, salt, key, nil
}

// Decoy is compared with the password of a user that does not exist, so that
// the time of an answer does not reveal which users exist.
func (h *Hasher) Decoy(ctx context.Context) (string, error) {
	h.once.Do(func() {
		random := make([]byte, saltLen)
		if _, err := io.ReadFull(h.random, random); err == nil {
			h.decoy, _ = h.Hash(context.WithoutCancel(ctx), hex.EncodeToString(random))
		}
	})
	if h.decoy == "" {
		return "", errHash
	}
	return h.decoy, nil
}
