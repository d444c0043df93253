// Package replica keeps the files that all replicas of a controller must have, and
// that no row holds: signing keys, the order key, the certificate and templates. Each
// replica has them in its data directory, where everything else expects them. The
// database has them too, sealed with a secret that only the replicas know, and is what
// the replicas are brought to.
//
// What lives here: which files those are, how a change gets from one replica to the
// others, and what happens to two changes at once. What must not: what the files mean;
// SQL.
//
// Read first: Files, Sync.
package replica

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/durable"
)

const (
	// maxFile bounds a shared file, in bytes, and maxState what is kept of all.
	maxFile, maxState = 1 << 20, 1 << 20
	// maxPath bounds a path, in bytes.
	maxPath = 220
	// MinSecret is how long the secret is at least, in bytes.
	MinSecret = 32
	// stateDir has the state of a data directory, and its lock.
	stateDir = "replica"
)

// shared are the paths of shared files below the data directory.
var shared = regexp.MustCompile(`^(keys|tls|templates)/[A-Za-z0-9][A-Za-z0-9._-]*\.(pem|json|xml)$`)

// own are those that a replica keeps for itself: root keys belong offline.
var own = regexp.MustCompile(`^keys/root\.`)

// isShared reports whether all replicas have a path.
func isShared(path string) bool {
	return len(path) <= maxPath && shared.MatchString(path) && !own.MatchString(path)
}

// folders are those that they are in.
var folders = []string{"keys", "tls", "templates"}

// ErrSecret says that the secret is not the one that the files were sealed with.
var ErrSecret = errors.New("the secret of the replicas is not the one that the shared files were sealed with")

// Store keeps the sealed files for all replicas.
type Store interface {
	SharedFiles(ctx context.Context) ([]postgres.SharedFile, error)
	PutShared(ctx context.Context, f postgres.SharedFile) (version int64, written bool, err error)
	Hold(ctx context.Context, name string) (held func() error, release func(), err error)
}

// Config configures Files.
type Config struct {
	// Store that all replicas use. Required.
	Store Store
	// Secret that all replicas have, MinSecret bytes or more.
	Secret []byte
	// Dir is the data directory. Required.
	Dir string
	// Log is told of changes that met another one. nil: nobody is.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.Store == nil || c.Dir == "" {
		return errors.New("replica: no store, or no directory")
	}
	if len(c.Secret) < MinSecret {
		return fmt.Errorf("the secret of the replicas has %d bytes, and needs %d: make one with \"openssl rand -base64 32\"",
			len(c.Secret), MinSecret)
	}
	return nil
}

// Files are the shared files of one data directory. Several goroutines may use them,
// and several processes one directory.
type Files struct {
	cfg  Config
	seal cipher.AEAD
	disk durable.Writer
	mu   sync.Mutex

	lock sync.Mutex   // guards held
	held func() error // of who has the lock in this process; nil: nobody
}

// known is what a data directory had when it was the same as the database.
type known struct {
	Version int64  `json:"version"`
	SHA256  string `json:"sha256"` // "": there was none
}

// Open returns the files. It reads and writes none.
func Open(cfg Config) (*Files, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	key, err := hkdf.Key(sha256.New, cfg.Secret, nil, "peerload shared files 1", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	f := &Files{cfg: cfg}
	f.seal, err = cipher.NewGCM(block)
	return f, err
}

const (
	// patience bounds what is asked of a database that does not answer, and holdPatience
	// the wait for the other replicas, longer than the database lets one wait: who waits
	// holds locks here, which everything else that signs waits for.
	patience     = 30 * time.Second
	holdPatience = 90 * time.Second
)

// Lock keeps all other replicas from what needs the newest keys alone, such as
// signing, and brings the files here up to date. It is the Shared of a repository
// and of order keys.
func (f *Files) Lock() (unlock func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), holdPatience)
	defer cancel()
	held, release, err := f.cfg.Store.Hold(ctx, "keys")
	if err != nil {
		return nil, err
	}
	if _, err := f.Sync(context.Background()); err != nil {
		release()
		return nil, err
	}
	f.holds(held)
	return func() { f.holds(nil); release() }, nil
}

func (f *Files) holds(held func() error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.held = held
}

// Held is an error if the lock is not held any more: it ends with its connection to the
// database, and then another replica may have it.
func (f *Files) Held() error {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.held == nil {
		return errors.New("replica: the lock is not held")
	}
	return f.held()
}

// Keep gives what has changed here to all replicas, keys that were removed too: when it
// returns, the database has it.
func (f *Files) Keep() error {
	_, err := f.sync(context.Background(), true)
	return err
}

// Sync brings directory and database together, and returns the paths that it has
// changed in the directory. What has changed on one side since they were the same goes
// to the other one. If it has changed on both, the database's stays, and the directory's
// is put aside under another name. A key or certificate that is missing here comes
// back; a template that was removed goes.
func (f *Files) Sync(ctx context.Context) (changed []string, err error) { return f.sync(ctx, false) }

// tries is how often a file is brought together that others change at the same time.
const tries = 10

func (f *Files) sync(ctx context.Context, removing bool) (changed []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir := filepath.Join(f.cfg.Dir, stateDir)
	if err := f.disk.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := durable.Lock(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for range tries {
		var some []string
		some, err = f.once(ctx, removing)
		if changed = append(changed, some...); !errors.Is(err, errAgain) {
			break
		}
	}
	return changed, err
}

// once brings all files together, until one fails.
func (f *Files) once(ctx context.Context, removing bool) (changed []string, err error) {
	state, before, err := f.readState()
	if err != nil {
		return nil, err
	}
	all, err := f.cfg.Store.SharedFiles(ctx)
	if err != nil {
		return nil, err
	}
	there := map[string]sealedFile{}
	for _, s := range all {
		if !isShared(s.Path) {
			continue // of a newer program
		}
		o := sealedFile{SharedFile: s}
		// All are opened before any is written: a replica with another secret must give
		// the others nothing that they cannot open.
		if s.Sealed != nil {
			if o.content, err = f.opened(s); err != nil {
				return nil, fmt.Errorf("shared file %s: %w", s.Path, err)
			}
		}
		there[s.Path] = o
	}
	here, err := f.list()
	if err != nil {
		return nil, err
	}
	paths := keysOf(state)
	maps.Copy(paths, keysOf(there))
	maps.Copy(paths, keysOf(here))
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !isShared(path) {
			continue // of a newer program
		}
		now, pulled, err := f.one(ctx, file{path, here[path], there[path], state[path], removing})
		if state[path] = now; pulled {
			changed = append(changed, path)
		}
		if err != nil {
			return changed, errors.Join(fmt.Errorf("shared file %s: %w", path, err), f.writeState(state, before))
		}
	}
	return changed, f.writeState(state, before)
}

// sealedFile is a file of the database, and what it says; nil if it was removed.
type sealedFile struct {
	postgres.SharedFile
	content []byte
}

// file is a shared file as it is here, nil for not at all, in the database, and as
// both were when they were the same.
type file struct {
	path     string
	here     []byte
	there    sealedFile
	was      known
	removing bool
}

// action is what brings a file together.
type action int

const (
	nothing action = iota
	push
	pull
	pullAside // what is here is put aside
)

// decide says what to do with a file; theirs is the digest of what the database has.
func (o file) decide(theirs string) action {
	mine := sumOf(o.here)
	switch {
	case mine == theirs:
		return nothing
	case o.there.Version < o.was.Version: // the database is an older one, from a backup
		if mine == "" {
			return pull
		}
		return push
	case o.there.Version > o.was.Version:
		if mine == "" || mine == o.was.SHA256 {
			return pull
		}
		return pullAside
	case mine == "" && !o.removing && !strings.HasPrefix(o.path, "templates/"):
		return pull
	}
	return push
}

// one brings one file together.
func (f *Files) one(ctx context.Context, o file) (now known, pulled bool, err error) {
	theirs := o.there.content
	at := filepath.Join(f.cfg.Dir, o.path)
	now = known{o.there.Version, sumOf(theirs)}
	switch o.decide(now.SHA256) {
	case nothing:
		return now, false, nil
	case push:
		next := postgres.SharedFile{Path: o.path, Version: o.there.Version}
		if o.here != nil {
			next.Sealed = f.sealed(o.path, next.Version+1, o.here)
		}
		version, written, err := f.cfg.Store.PutShared(ctx, next)
		if err == nil && !written {
			err = errAgain
		}
		if err != nil {
			return o.was, false, err
		}
		return known{version, sumOf(o.here)}, false, nil
	case pullAside:
		f.cfg.Log.Warn("a file was changed here and at another replica: that one's is used, this one's is put aside",
			"file", o.path)
		if err := durable.PutAside(at); err != nil {
			return o.was, false, err
		}
	case pull:
	}
	if err := f.write(at, theirs); err != nil {
		return o.was, false, err
	}
	return now, true, nil
}

// errAgain says that a file is to be looked at again.
var errAgain = errors.New("it changes at another replica at the same time")

func keysOf[V any](m map[string]V) map[string]bool {
	all := make(map[string]bool, len(m))
	for k := range m {
		all[k] = true
	}
	return all
}

// write writes a file of the directory, or removes it.
func (f *Files) write(at string, content []byte) error {
	if err := f.disk.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	if content != nil {
		return f.disk.Replace(at, content, 0o600)
	}
	if err := f.disk.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.disk.SyncDir(filepath.Dir(at))
}

// list reads the shared files of the directory.
func (f *Files) list() (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, folder := range folders {
		entries, err := os.ReadDir(filepath.Join(f.cfg.Dir, folder))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := folder + "/" + e.Name()
			if !e.Type().IsRegular() || !isShared(path) {
				continue
			}
			b, err := durable.Read(filepath.Join(f.cfg.Dir, path), maxFile)
			if err != nil {
				return nil, err
			}
			if b != nil { // else it was removed just now
				all[path] = b
			}
		}
	}
	return all, nil
}

// sumOf is the digest of a content, "" of none.
func sumOf(content []byte) string {
	if content == nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// bound is what a sealed content belongs to: it opens under no other name or version.
func bound(path string, version int64) []byte {
	return []byte(path + "\x00" + strconv.FormatInt(version, 10))
}

func (f *Files) sealed(path string, version int64, content []byte) []byte {
	nonce := make([]byte, f.seal.NonceSize())
	rand.Read(nonce) //nolint:errcheck // it never fails
	return f.seal.Seal(nonce, nonce, content, bound(path, version))
}

// opened is the content of a sealed file, never nil.
func (f *Files) opened(s postgres.SharedFile) ([]byte, error) {
	n := f.seal.NonceSize()
	if len(s.Sealed) < n || len(s.Sealed) > maxFile+n+f.seal.Overhead() {
		return nil, ErrSecret
	}
	b, err := f.seal.Open([]byte{}, s.Sealed[:n], s.Sealed[n:], bound(s.Path, s.Version))
	if err != nil {
		return nil, ErrSecret
	}
	return b, nil
}

func (f *Files) statePath() string { return filepath.Join(f.cfg.Dir, stateDir, "state.json") }

// readState reads what was known of each file, and its text.
func (f *Files) readState() (state map[string]known, text []byte, err error) {
	if text, err = durable.Read(f.statePath(), maxState); err != nil {
		return nil, nil, err
	}
	state, err = parseState(text)
	if err != nil { // all is compared anew, and nothing is lost
		f.cfg.Log.Warn("what was known of shared files is damaged, and begun anew", "error", err)
		return map[string]known{}, text, nil
	}
	return state, text, nil
}

// parseState reads the text of the state.
func parseState(text []byte) (map[string]known, error) {
	state := map[string]known{}
	if text == nil {
		return state, nil
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return nil, err
	}
	if state == nil {
		return nil, errors.New("it is null")
	}
	return state, nil
}

func (f *Files) writeState(state map[string]known, before []byte) error {
	text, err := json.Marshal(state)
	if err != nil || string(text) == string(before) {
		return err
	}
	return f.disk.Replace(f.statePath(), text, 0o600)
}
