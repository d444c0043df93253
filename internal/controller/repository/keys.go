package repository

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/durable"
)

// ErrKeys says that a signing key is missing, unusable or not kept secret.
var ErrKeys = errors.New("signing keys")

const (
	keySuffix  = ".pem"
	pemType    = "PRIVATE KEY"
	maxKeySize = 4 << 10
	// keyIDShown is how much of a key's id is in its file name.
	keyIDShown = 16
)

// key is one ed25519 signing key.
type key struct {
	id      string
	public  *metadata.Key
	private ed25519.PrivateKey
}

func newKey(private ed25519.PrivateKey) (*key, error) {
	public, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	id, err := public.ID()
	if err != nil {
		return nil, err
	}
	return &key{id: id, public: public, private: private}, nil
}

// signer is what go-tuf signs with.
func (k *key) signer() (signature.Signer, error) {
	return signature.LoadSigner(k.private, crypto.Hash(0))
}

// keyring is the keys directory: one file ROLE.ID.pem (PKCS #8) per key. If a
// role has several keys, the root alone says which is valid, so that a rotation
// may be interrupted at any point.
type keyring struct {
	dir    string
	disk   durable.Writer
	shared Shared // nil: there are no other replicas
}

// lock keeps all other processes and replicas from signing.
func (r keyring) lock() (unlock func(), err error) {
	here, err := durable.Lock(r.dir)
	if err != nil || r.shared == nil {
		return here, err
	}
	there, err := r.shared.Lock()
	if err != nil {
		here()
		return nil, err
	}
	return func() { there(); here() }, nil
}

// held is an error if another replica may sign by now.
func (r keyring) held() error {
	if r.shared == nil {
		return nil
	}
	return r.shared.Held()
}

// keep gives a change of the keys to the other replicas.
func (r keyring) keep() error {
	if r.shared == nil {
		return nil
	}
	return r.shared.Keep()
}

// open makes the directory if it is missing, and refuses one that others can
// read.
func (r keyring) open() error {
	if err := r.disk.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(r.dir)
	if err != nil {
		return err
	}
	return private(r.dir, info, 0o700)
}

// private refuses what group or others may touch.
func private(path string, info fs.FileInfo, want fs.FileMode) error {
	if m := info.Mode().Perm(); m&0o077 != 0 {
		return fmt.Errorf("%w: %s can be reached by others (mode %04o); if nobody has copied it, run chmod %04o %s",
			ErrKeys, path, m, want, path)
	}
	return nil
}

// create makes a new key for a role and stores it.
func (r keyring) create(role string) (*key, error) {
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	k, err := newKey(priv)
	if err != nil {
		return nil, err
	}
	text, err := marshalKey(priv)
	if err != nil {
		return nil, err
	}
	if err := r.disk.Write(r.path(role, k.id), text, 0o600); err != nil {
		return nil, err
	}
	return k, r.keep() // before anything names it
}

// marshalKey writes the text of a key.
func marshalKey(priv ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

func (r keyring) path(role, id string) string {
	return filepath.Join(r.dir, role+"."+id[:keyIDShown]+keySuffix)
}

// list reads the keys of a role.
func (r keyring) list(role string) ([]*key, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var keys []*key
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), role+".") || !strings.HasSuffix(e.Name(), keySuffix) {
			continue
		}
		k, err := r.read(filepath.Join(r.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (r keyring) read(path string) (*key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := private(path, info, 0o600); err != nil {
		return nil, err
	}
	text, err := durable.ReadAll(f, path, maxKeySize)
	if err != nil {
		return nil, err
	}
	return parseKey(path, text)
}

// parseKey reads the text of the key of a file.
func parseKey(path string, text []byte) (*key, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, fmt.Errorf("%w: %s is no private key in PEM form", ErrKeys, path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeys, path, err)
	}
	priv, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: %s is no ed25519 key", ErrKeys, path)
	}
	return newKey(priv)
}

// find returns the key of a role that the root names.
func (r keyring) find(root *metadata.Metadata[metadata.RootType], role string) (*key, error) {
	keys, err := r.list(role)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if names(root, role, k) {
			return k, nil
		}
	}
	if role == metadata.ROOT {
		return nil, absentError{fmt.Errorf("%w: %s has no key for role root that the repository's root names; "+
			"if it is kept offline, put its file root.*.pem back there for as long as this takes", ErrKeys, r.dir)}
	}
	return nil, absentError{fmt.Errorf("%w: %s has no key for role %s that the repository's root names; "+
		"give the directory in which this repository's keys were made, or rotate the role if the key is lost",
		ErrKeys, r.dir, role)}
}

// absentError says that there is no key, and not that it cannot be read or used.
type absentError struct{ error }

func (e absentError) Unwrap() error { return e.error }

// names reports whether the root gives the role to the key.
func names(root *metadata.Metadata[metadata.RootType], role string, k *key) bool {
	for _, id := range root.Signed.Roles[role].KeyIDs {
		if id == k.id {
			return true
		}
	}
	return false
}

// retire removes the keys of a role that the root does not name.
func (r keyring) retire(root *metadata.Metadata[metadata.RootType], role string) error {
	keys, err := r.list(role)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if !names(root, role, k) {
			if err := r.disk.Remove(r.path(role, k.id)); err != nil {
				return err
			}
		}
	}
	if err := r.disk.SyncDir(r.dir); err != nil {
		return err
	}
	return r.keep()
}
