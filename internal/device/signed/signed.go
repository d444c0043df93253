// Package signed gives the engine the publisher's signed metadata: it implements
// tuf.Trust by package trust.
//
// What lives here: the adapter between the two. What must not: verifying, which is in
// package trust, and fetching, which is in the engine. Programs that fetch single files
// alone leave this package out, and with it the library of TUF.
package signed

import (
	"context"

	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// Dir is the directory in which a publisher's root is pinned.
type Dir string

// Open implements tuf.Trust. What another process has accepted meanwhile counts.
func (d Dir) Open() (tuf.Publisher, error) {
	c, err := trust.New(trust.Config{Dir: string(d)})
	return publisher{c}, err
}

type publisher struct{ client *trust.Client }

// Bundle implements tuf.Publisher.
func (p publisher) Bundle(ctx context.Context, from tuf.Fetcher, name string) ([]byte, error) {
	b, _, err := p.client.BuildBundle(ctx, from, name)
	if err != nil {
		return nil, err
	}
	return trust.PackBundle(b), nil
}

// Manifest implements tuf.Publisher.
func (p publisher) Manifest(ctx context.Context, bundle []byte, name string) (*load.Manifest, error) {
	b, err := trust.ParseBundle(bundle)
	if err != nil {
		return nil, err
	}
	m, _, err := p.client.Manifest(ctx, b, name)
	return m, err
}

// Ask implements tuf.Publisher.
func (p publisher) Ask(ctx context.Context, from tuf.Fetcher, name string) (*load.Manifest, error) {
	m, _, err := p.client.Manifest(ctx, from, name)
	return m, err
}
