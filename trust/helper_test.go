package trust_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bundled is a tree as a bundle that a dishonest peer made: its metadata and
// every file that looks like a manifest.
func bundled(t testing.TB, f publisher.Files) *trust.Bundle {
	t.Helper()
	in := map[string][]byte{}
	for p, b := range f {
		if strings.HasPrefix(p, tuf.MetadataDir) || strings.HasSuffix(p, load.ManifestSuffix) {
			in[p] = b
		}
	}
	b, err := trust.NewBundle(in)
	must(t, err)
	b, err = trust.ParseBundle(trust.PackBundle(b))
	must(t, err)
	return b
}

// forge signs m as a thief of the publisher's key of a role would.
func forge[T metadata.Roles](t testing.TB, p *publisher.Publisher, role string, m *metadata.Metadata[T]) []byte {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(p.Keys, role+".*.pem"))
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	text, err := os.ReadFile(keys[0])
	must(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	signer, err := signature.LoadSigner(key, crypto.Hash(0))
	must(t, err)
	m.Signatures = nil
	_, err = m.Sign(signer)
	must(t, err)
	raw, err := m.ToBytes(false)
	must(t, err)
	return raw
}

// put returns what replaces a file by b.
func put(b []byte) func([]byte) []byte { return func([]byte) []byte { return b } }

// kept is what a device keeps of what it has accepted.
func kept(t testing.TB, d *publisher.Device) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(d.Dir, "*.json"))
	must(t, err)
	out := map[string]string{}
	for _, n := range names {
		b, err := os.ReadFile(n)
		must(t, err)
		out[filepath.Base(n)] = string(b)
	}
	return out
}
