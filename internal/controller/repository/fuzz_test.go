package repository

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/trust"
)

// FuzzKey: a file is that of a key, which is written as it was read, or it is
// refused.
func FuzzKey(f *testing.F) {
	text, err := marshalKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.ReplaceAll(text, []byte("PRIVATE"), []byte("PUBLIC")))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parseKey("k.pem", text)
		if err != nil {
			if !errors.Is(err, ErrKeys) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if k.id == "" {
			t.Fatal("a key without an id")
		}
	})
}

// FuzzRole: metadata of a tree that somebody else may have written to is read or
// refused; what uses it does not fail otherwise.
func FuzzRole(f *testing.F) {
	dir := f.TempDir()
	r, err := Open(Config{Dir: filepath.Join(dir, "pub"), Keys: filepath.Join(dir, "keys")})
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Init(); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"} {
		if b, err := os.ReadFile(filepath.Join(dir, "pub", "metadata", name)); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte(`{"signed":{"_type":"timestamp","meta":{"snapshot.json":null}},"signatures":[null]}`))
	f.Add([]byte(`{"signed":{"_type":"targets","version":1,"spec_version":"1.0.31","expires":"2030-01-01T00:00:00Z",` +
		`"targets":{"a.load":null}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"root","version":1,"spec_version":"1.0.31","expires":"2030-01-01T00:00:00Z",` +
		`"keys":{"k":null},"roles":{"root":null}},"signatures":[]}`))
	f.Add([]byte(`{"signed":{"_type":"timestamp","version":1,"spec_version":"1.0.31","expires":"2030-01-01T00:00:00Z",` +
		`"meta":{"snapshot.json":null,"x":null}},"signatures":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		check := func(err error) {
			if err != nil && !errors.Is(err, trust.ErrMalformed) {
				t.Fatalf("an error of no kind: %v", err)
			}
		}
		var root *metadata.Metadata[metadata.RootType]
		check(parseRole(&root, "root.json", raw))
		var timestamp *metadata.Metadata[metadata.TimestampType]
		check(parseRole(&timestamp, "timestamp.json", raw))
		var targets *metadata.Metadata[metadata.TargetsType]
		check(parseRole(&targets, "targets.json", raw))
		// As the users of a catalog do it.
		if root != nil {
			_ = root.Signed.Roles["snapshot"].KeyIDs
			for _, k := range root.Signed.Keys {
				_ = k.Type
			}
		}
		if timestamp != nil {
			for _, m := range timestamp.Signed.Meta {
				_ = m.Version
			}
		}
		if targets != nil {
			targets.Signed.Targets["new.load"] = &metadata.TargetFiles{}
			for _, m := range targets.Signed.Targets {
				_ = m.Hashes
			}
		}
	})
}
