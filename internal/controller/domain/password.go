package domain

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// PasswordCost are the parameters of argon2id (RFC 9106).
type PasswordCost struct {
	// Memory in KiB, 8 to 1 GiB; 0 means that of DefaultPassword.
	Memory uint32
	// Time is the number of passes, 1 to 64; 0 likewise.
	Time uint32
	// Threads, 1 to 16; 0 likewise.
	Threads uint8
}

// DefaultPassword is the second recommended option of RFC 9106 section 4: 64
// MiB and 3 passes.
var DefaultPassword = PasswordCost{Memory: 64 << 10, Time: 3, Threads: 4}

func (p PasswordCost) withDefaults() PasswordCost {
	if p.Memory == 0 {
		p.Memory = DefaultPassword.Memory
	}
	if p.Time == 0 {
		p.Time = DefaultPassword.Time
	}
	if p.Threads == 0 {
		p.Threads = DefaultPassword.Threads
	}
	return p
}

func (p PasswordCost) validate() error {
	if p.Memory < 8*uint32(p.Threads) || p.Memory > 1<<20 || p.Time < 1 || p.Time > 64 || p.Threads < 1 || p.Threads > 16 {
		return errors.New("domain: the cost of passwords is out of range")
	}
	return nil
}

// Limits of passwords, in bytes.
const (
	MinPasswordLen = 10
	MaxPasswordLen = 256
)

const (
	saltLen, keyLen = 16, 32
	// maxHashing bounds the hashes computed at a time, and with it memory.
	maxHashing = 2
)

// errPassword says that a stored hash cannot be read.
var errPassword = errors.New("domain: bad password hash")

func checkPassword(password string) error {
	if len(password) < MinPasswordLen || len(password) > MaxPasswordLen || !utf8.ValidString(password) {
		return invalid("a password has %d to %d bytes of text", MinPasswordLen, MaxPasswordLen)
	}
	return nil
}

// hashPassword returns the argon2id hash in PHC string format.
func (c *Controller) hashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltLen)
	if _, err := io.ReadFull(c.cfg.Random, salt); err != nil {
		return "", fmt.Errorf("no random numbers: %w", err)
	}
	p := c.cfg.Password
	key, err := c.argon(ctx, password, salt, p)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Threads,
		b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// argon computes one hash, a few at a time.
func (c *Controller) argon(ctx context.Context, password string, salt []byte, p PasswordCost) ([]byte, error) {
	select {
	case c.hashing <- struct{}{}:
		defer func() { <-c.hashing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Threads, keyLen), nil
}

// verifyPassword compares a password with a hash, by the hash's own cost.
func (c *Controller) verifyPassword(ctx context.Context, password, hash string) (bool, error) {
	p, salt, want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	got, err := c.argon(ctx, password, salt, p)
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1, err
}

func parseHash(hash string) (p PasswordCost, salt, key []byte, err error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return p, nil, nil, errPassword
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Threads); err != nil ||
		p.validate() != nil {
		return p, nil, nil, errPassword
	}
	salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil || len(salt) == 0 {
		return p, nil, nil, errPassword
	}
	key, err = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(key) != keyLen {
		return p, nil, nil, errPassword
	}
	return p, salt, key, nil
}

// decoyHash is compared with the password of a user that does not exist, so
// that the time of an answer does not reveal which users exist.
func (c *Controller) decoyHash(ctx context.Context) (string, error) {
	c.once.Do(func() { c.decoy, _ = c.hashPassword(context.WithoutCancel(ctx), c.random(16)) })
	if c.decoy == "" {
		return "", errPassword
	}
	return c.decoy, nil
}
