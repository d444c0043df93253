package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/tuf"
)

// Why something is not trusted, for errors.Is.
var (
	// ErrNoRoot says that the trust directory has no usable pinned root.
	ErrNoRoot = tuf.ErrNoRoot
	// ErrExpired says that metadata is past its expiry: nobody has vouched
	// lately that it is still current.
	ErrExpired = tuf.ErrExpired
	// ErrClock accompanies ErrExpired if the expiry is so long past that a
	// wrong clock on this device is the more likely reason.
	ErrClock = tuf.ErrClock
	// ErrRolledBack says that metadata is older than what was accepted before.
	ErrRolledBack = tuf.ErrRolledBack
	// ErrMixed says that metadata files of different states were put together.
	ErrMixed = tuf.ErrMixed
	// ErrBadSignature says that metadata is not signed by the keys the root names.
	ErrBadSignature = tuf.ErrBadSignature
	// ErrMalformed says that metadata or a manifest cannot be understood.
	ErrMalformed = errors.New("metadata cannot be understood")
	// ErrUnknownTarget says that the repository does not vouch for a load of that name.
	ErrUnknownTarget = tuf.ErrUnknownTarget
	// ErrWrongLength says that a manifest does not have the signed length.
	ErrWrongLength = errors.New("the manifest has not the signed length")
	// ErrWrongHash says that a manifest does not have the signed digest.
	ErrWrongHash = errors.New("the manifest has not the signed digest")
	// ErrNotFound is what a Fetcher returns for a file that does not exist.
	ErrNotFound = tuf.ErrNotFound
	// ErrTooLarge says that a file is longer than it may be.
	ErrTooLarge = durable.ErrTooLarge
	// ErrStore says that the trust directory cannot be read or written.
	ErrStore = tuf.ErrStore
)

// errBundle says that bytes are not a bundle.
var errBundle = errors.New("bad bundle")

// clockDoubt is how long after the expiry of metadata the clock is suspected. A
// signature is usually valid for a year at most, so a device that was merely
// stored in a box reaches it too: it is a hint.
const clockDoubt = 180 * 24 * time.Hour

// classify turns an error of go-tuf about a role's file into one of this
// package.
func classify(role string, raw []byte, now time.Time, err error) error {
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		return expired(role, raw, now)
	case errors.Is(err, &metadata.ErrUnsignedMetadata{}):
		return fmt.Errorf("%w: %s", ErrBadSignature, role)
	case errors.Is(err, &metadata.ErrLengthOrHashMismatch{}):
		return fmt.Errorf("%w: %s: %w", ErrMixed, role, err)
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		return fmt.Errorf("%w: %s: %w", ErrRolledBack, role, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrMalformed, role, err)
}

// expired says which file expired when, and by which clock. raw is the file.
func expired(role string, raw []byte, now time.Time) error {
	var m struct {
		Signed struct {
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&m); err != nil {
		return fmt.Errorf("%w: %s", ErrExpired, role)
	}
	at := m.Signed.Expires
	err := fmt.Errorf("%w: %s was good until %s and it is %s now; the publisher has to refresh the repository",
		ErrExpired, role, at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	if now.Sub(at) > clockDoubt {
		err = fmt.Errorf("%w, unless %w", err, ErrClock)
	}
	return err
}
