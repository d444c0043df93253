package orders

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/order"
)

// keyName is the file of the order key in the directory of the keys.
const keyName = "order.json"

// maxKeyFile bounds it, in bytes.
const maxKeyFile = 64 << 10

// ErrKey says that the order key cannot be used. It matches domain.ErrKeys.
var ErrKey = fmt.Errorf("%w: the order key cannot be used", domain.ErrKeys)

// keyFile is the order key as it is kept.
type keyFile struct {
	Format  int    `json:"format"`
	Version int    `json:"version"`
	Seed    []byte `json:"seed"`
	// Next are the last statements, the latest of which leads to this key.
	Next [][]byte `json:"next,omitempty"`
}

// parseKeyFile reads the file of the key. An error matches ErrKey.
func parseKeyFile(text []byte) (f keyFile, err error) {
	if err := json.Unmarshal(text, &f); err != nil {
		return keyFile{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if f.Format != 1 || f.Version < 1 || len(f.Seed) != ed25519.SeedSize || len(f.Next) >= f.Version ||
		len(f.Next) > order.MaxNext {
		return keyFile{}, fmt.Errorf("%w: format %d, version %d, %d statements", ErrKey, f.Format, f.Version, len(f.Next))
	}
	return f, nil
}

func (f keyFile) private() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(f.Seed) }

func (f keyFile) key() order.Key {
	return order.Key{Version: f.Version, Public: f.private().Public().(ed25519.PublicKey)}
}

// Keys keeps the order key in a file that only its owner can read. Another process
// may replace the file: it is looked at before each use.
type Keys struct {
	dir    string
	random io.Reader
	disk   durable.Writer
	shared Shared // nil: there are no other replicas

	mu   sync.Mutex
	file keyFile
	read stamp
}

// stamp tells whether a file was replaced.
type stamp struct {
	size int64
	at   time.Time
	node os.FileInfo
}

// OpenKeys returns the order key of a directory. One that cannot be used keeps the
// controller from nothing but orders: each use says why, and the next one tries again.
func OpenKeys(dir string, random io.Reader, shared Shared) *Keys {
	return &Keys{dir: dir, random: random, shared: shared}
}

// Shared are the order key of several replicas.
type Shared interface {
	// Lock keeps all other replicas from changing the key until unlock, and brings the
	// directory up to date.
	Lock() (unlock func(), err error)
	// Keep gives a change of the key to all others.
	Keep() error
}

// lock keeps all other processes and replicas from changing the key.
func (k *Keys) lock() (unlock func(), err error) {
	here, err := durable.Lock(k.dir)
	if err != nil || k.shared == nil {
		return here, err
	}
	there, err := k.shared.Lock()
	if err != nil {
		here()
		return nil, err
	}
	return func() { there(); here() }, nil
}

// current is the key in use. The first one is made with bytes of random. An error
// matches ErrKey.
func (k *Keys) current() (keyFile, error) {
	f, err := k.load()
	if errors.Is(err, fs.ErrNotExist) {
		f, err = k.first()
	}
	if err != nil && !errors.Is(err, ErrKey) {
		err = fmt.Errorf("%w: %w", ErrKey, err)
	}
	return f, err
}

// first makes the first key.
func (k *Keys) first() (f keyFile, err error) {
	if err := k.disk.MkdirAll(k.dir, 0o700); err != nil {
		return f, err
	}
	unlock, err := k.lock()
	if err != nil {
		return f, err
	}
	defer unlock()
	if f, err = k.load(); !errors.Is(err, fs.ErrNotExist) {
		return f, err // another process was faster
	}
	f = keyFile{Format: 1, Version: 1}
	if f.Seed, err = k.seed(); err != nil {
		return f, err
	}
	return f, k.write(f)
}

func (k *Keys) path() string { return filepath.Join(k.dir, keyName) }

func (k *Keys) seed() ([]byte, error) {
	seed := make([]byte, ed25519.SeedSize)
	_, err := io.ReadFull(k.random, seed)
	return seed, err
}

func (k *Keys) write(f keyFile) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := k.disk.Replace(k.path(), append(b, '\n'), 0o600); err != nil || k.shared == nil {
		return err
	}
	return k.shared.Keep()
}

// load reads the key, if the file has changed.
func (k *Keys) load() (keyFile, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Lstat(k.path())
	if err != nil {
		return keyFile{}, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return keyFile{}, fmt.Errorf("%w: %s may be read by others: chmod 600 it, and rotate it with \"peerload-server "+
			"order key rotate\" if they may have done so", ErrKey, k.path())
	}
	if old := k.read; old.node != nil && os.SameFile(old.node, info) && old.size == info.Size() &&
		old.at.Equal(info.ModTime()) {
		return k.file, nil
	}
	b, err := durable.Read(k.path(), maxKeyFile)
	if err != nil {
		return keyFile{}, err
	}
	f, err := parseKeyFile(b)
	if err != nil {
		return keyFile{}, fmt.Errorf("%w; restore %s from a backup", err, k.path())
	}
	k.file, k.read = f, stamp{info.Size(), info.ModTime(), info}
	return f, nil
}

// rotate makes the next key, which the key in use states.
func (k *Keys) rotate() (order.Key, error) {
	unlock, err := k.lock()
	if err != nil {
		return order.Key{}, err
	}
	defer unlock()
	old, err := k.current()
	if err != nil {
		return order.Key{}, err
	}
	next := keyFile{Format: 1, Version: old.Version + 1}
	if next.Seed, err = k.seed(); err != nil {
		return order.Key{}, err
	}
	statement, err := order.SealNext(old.private(), next.key())
	if err != nil {
		return order.Key{}, err
	}
	all := append(append([][]byte{}, old.Next...), statement)
	next.Next = all[max(0, len(all)-order.MaxNext):]
	return next.key(), k.write(next)
}

// lead is the line that leads a device with a key of that version to this one;
// false if none is needed, or none can.
func (f keyFile) lead(version int) (order.Line, bool) {
	if version == 0 {
		text, err := f.key().Marshal()
		return order.Line{Key: text}, err == nil
	}
	behind := f.Version - version
	if behind <= 0 || behind > len(f.Next) {
		return order.Line{}, false
	}
	return order.Line{Next: f.Next[len(f.Next)-behind:]}, true
}
