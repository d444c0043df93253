package tuf

import (
	"context"
	"errors"

	"github.com/peerload/peerload/load"
)

// Why something is not trusted: package trust exports these and says what each means.
// They are here for those who tell them apart without verifying anything.
var (
	ErrNoRoot        = errors.New("no pinned root")
	ErrExpired       = errors.New("metadata has expired")
	ErrClock         = errors.New("this device's clock may be wrong")
	ErrRolledBack    = errors.New("metadata is older than what was accepted before")
	ErrMixed         = errors.New("metadata files do not belong together")
	ErrBadSignature  = errors.New("metadata is not signed by the trusted keys")
	ErrUnknownTarget = errors.New("the repository has no such load")
	ErrNotFound      = errors.New("not found")
	ErrStore         = errors.New("trust directory")
)

// MaxBundleSize bounds a bundle of metadata and manifest, in bytes.
const MaxBundleSize = 4 << 20

// Fetcher brings one file of a repository, as trust.Fetcher says.
type Fetcher interface {
	Fetch(ctx context.Context, path string, max int64) ([]byte, error)
}

// Trust opens what verifies. A device that fetches signed loads is given one; a program
// that fetches none does without the library that it takes.
type Trust interface{ Open() (Publisher, error) }

// Publisher verifies what a publisher has signed.
type Publisher interface {
	// Bundle packs what a server has of a load: metadata and manifest, both verified.
	Bundle(ctx context.Context, from Fetcher, name string) ([]byte, error)
	// Manifest verifies such a bundle, whoever has made it.
	Manifest(ctx context.Context, bundle []byte, name string) (*load.Manifest, error)
	// Ask verifies what a server has, without a bundle.
	Ask(ctx context.Context, from Fetcher, name string) (*load.Manifest, error)
}
