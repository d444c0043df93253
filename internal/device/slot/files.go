package slot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/peerload/peerload/load"
)

const (
	filePerm = 0o644
	dirPerm  = 0o755
	// othersWrite are the permissions by which others than the owner write.
	othersWrite = 0o022
	// bufSize is how much is read at a time, in bytes: memory does not grow
	// with the chunk.
	bufSize = 128 << 10
)

// Expected says which digest a whole file must have, or that none was given. It
// is made by Expect and ExpectAny. The zero Expected says neither and is
// refused: that nothing is checked must be said.
type Expected struct {
	digest load.Digest
	how    expectation
}

type expectation int

const (
	unsaid expectation = iota
	thisDigest
	anyDigest
)

// Expect says that the file must have a digest. The zero digest is no file's, and
// so no file is taken.
func Expect(d load.Digest) Expected { return Expected{d, thisDigest} }

// ExpectAny says that no digest was given: whatever comes is taken.
func ExpectAny() Expected { return Expected{how: anyDigest} }

// Given returns the digest; ok is false if none was given.
func (e Expected) Given() (d load.Digest, ok bool) { return e.digest, e.how == thisDigest }

// fits reports whether a file with digest d is what was expected.
func (e Expected) fits(d load.Digest) bool {
	return e.how == anyDigest || e.how == thisDigest && d == e.digest
}

// checkName refuses a name that is neither a component's nor a manifest's. The
// names of this package's own files begin with a dot, which theirs never do. What
// was stored before names were confined to an alphabet can still be read.
func checkName(name string) error {
	return load.CheckFileName(strings.TrimSuffix(name, load.ManifestSuffix))
}

// WriteAtomic puts b under name, durably: whatever happens, name holds the old
// content or the new.
func WriteAtomic(fs FS, name string, b []byte) error {
	tmp := name + ".new"
	if err := makeRoom(fs, tmp); err != nil {
		return err
	}
	if err := writeSynced(fs, tmp, b); err != nil {
		return errors.Join(spaceError(fs, filepath.Dir(name), int64(len(b)), err), removeAny(fs, tmp))
	}
	if err := fs.Rename(tmp, name); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(name))
}

func writeSynced(fs FS, name string, b []byte) error {
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// ReadBounded returns the content of a file of at most limit bytes that nobody
// else can write.
func ReadBounded(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := own(fs, name, f); err != nil {
		return nil, err
	}
	return readFile(f, name, limit)
}

// readFile returns the content of an open file of at most limit bytes.
func readFile(f File, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrDamaged, name, limit)
	}
	return b, nil
}

// removeAny removes name if it is there.
func removeAny(fs FS, name string) error {
	err := fs.Remove(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	return err
}

// OpenVerified opens name and checks its size and digest, and that nobody else
// can write it. The open file is the one that was checked: StillOpen tells
// whether the name still means it.
func OpenVerified(fs FS, name string, size int64, want load.Digest) (File, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fs.Owned(fi) {
		err = fmt.Errorf("%w: %s: %w", ErrDamaged, name, errForeign)
	}
	if err == nil && size != load.UnknownSize && fi.Size() != size {
		err = fmt.Errorf("%w: %s has %d bytes, not %d", ErrDamaged, name, fi.Size(), size)
	}
	if err == nil {
		h := sha256.New()
		var n int64
		n, err = io.CopyBuffer(writerOnly{h}, io.NewSectionReader(f, 0, fi.Size()), make([]byte, bufSize))
		if got := load.Digest(h.Sum(nil)); err == nil && (n != fi.Size() || got != want) {
			err = fmt.Errorf("%w: %s has digest %s, not %s", ErrDamaged, name, got.Short(), want.Short())
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// writerOnly makes io.CopyBuffer use the buffer that it was given.
type writerOnly struct{ io.Writer }

// StillOpen refuses if name is no longer the open file f: what was checked
// must be what is put in place.
func StillOpen(fs FS, name string, f File) error {
	a, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := fs.Lstat(name)
	if err != nil {
		return fmt.Errorf("%w: %s vanished after it was checked: %w", ErrDamaged, name, err)
	}
	if !fs.SameFile(a, b) {
		return fmt.Errorf("%w: %s was exchanged after it was checked", ErrDamaged, name)
	}
	return nil
}

// errForeign says that somebody else can write a file, or could when it was
// made.
var errForeign = errors.New("another user can write it")

// own refuses an open file that somebody else can write: what is verified in it
// may be changed afterwards.
func own(fs FS, name string, f File) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fs.Owned(fi) {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, errForeign)
	}
	return nil
}

// private reports whether only this user and root can change the names in a
// directory, which may be named by a symbolic link.
func private(fs FS, dir string) bool {
	fi, err := fs.Lstat(dir + "/.")
	return err == nil && fi.IsDir() && fs.Owned(fi)
}

// damagedSuffix ends the name of what was put aside.
const damagedSuffix = ".damaged"

// PutAside gives what is called name another name, so that it can be made
// anew, and returns that. What was put aside before is removed.
func PutAside(fs FS, name string) (aside string, err error) {
	aside = name + damagedSuffix
	if err := RemoveTree(fs, aside); err != nil {
		return "", err
	}
	return aside, fs.Rename(name, aside)
}

// Damage is what was found damaged and put aside, in words for people.
type Damage []error

// PutAside puts aside what is damaged, and notes it with its cause.
func (d *Damage) PutAside(fs FS, name string, cause error) error {
	aside, err := PutAside(fs, name)
	if err != nil {
		return errors.Join(cause, err)
	}
	*d = append(*d, fmt.Errorf("%s is damaged: %w; it is kept as %s", name, cause, filepath.Base(aside)))
	return nil
}

// RemoveTree removes a file, or a directory with all that is in it. It follows
// no symbolic link.
func RemoveTree(fs FS, name string) error {
	fi, err := fs.Lstat(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if fi.IsDir() {
		entries, err := fs.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := RemoveTree(fs, name+"/"+e.Name()); err != nil {
				return err
			}
		}
	}
	return removeAny(fs, name)
}

// makeRoom removes name, or puts it aside if it is a directory that is not empty.
func makeRoom(fs FS, name string) error {
	err := removeAny(fs, name)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		_, err = PutAside(fs, name)
	}
	if errors.Is(err, iofs.ErrPermission) {
		err = fmt.Errorf("%w: it belongs to another user; choose another directory", err)
	}
	return err
}

// NoFile reports whether an error of opening or reading a file says that it is
// no regular file or that it may not be read: it can be put aside. Other errors
// may pass.
func NoFile(err error) bool {
	for _, e := range []error{syscall.EISDIR, syscall.ELOOP, syscall.ENXIO, syscall.ENOTDIR, iofs.ErrPermission,
		errNotRegular} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// errNotRegular says that what is open is no regular file.
var errNotRegular = errors.New("not a regular file")

// Sweep removes the partial files in a directory that no process works on any
// more and whose target's name match accepts: what a process that was killed
// left and nobody will continue. A directory that is missing holds none.
func Sweep(fs FS, dir string, match func(name string) bool) error {
	entries, err := fs.ReadDir(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), ".")
		name = strings.TrimSuffix(strings.TrimSuffix(name, ".lock"), ".idx")
		name, is := strings.CutSuffix(name, ".part")
		if !ok || !is || seen[name] || !match(name) {
			continue
		}
		seen[name] = true
		target := filepath.Join(dir, name)
		lock, lerr := fs.Lock(lockName(target))
		if errors.Is(lerr, ErrLocked) {
			continue
		}
		if lerr == nil {
			lerr = errors.Join(removeAny(fs, partName(target)), removeAny(fs, indexName(target)), lock.Close())
		}
		err = errors.Join(err, lerr)
	}
	return err
}

// CanSwitch says why slots below dir, which must exist, could not be switched:
// the file system has no symbolic links. It is asked before a load is fetched.
func CanSwitch(fs FS, dir string) error {
	if _, err := fs.Readlink(filepath.Join(dir, currentLink)); err == nil {
		return nil // it has one
	}
	probe := filepath.Join(dir, "."+currentLink+".new") // Slots makes room for it in any case
	if err := makeRoom(fs, probe); err != nil {
		return err
	}
	if err := fs.Symlink(slotA, probe); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNoSymlinks, dir, err)
	}
	return fs.Remove(probe)
}

// CheckNames says which of the files, given by their paths in directories that
// exist, would be one and the same on this file system: one that does not tell
// upper from lower case. Fetched one over the other, none would be right.
func CheckNames(fs FS, paths []string) error {
	seen := map[string]string{}
	for _, p := range paths {
		key := filepath.Join(filepath.Dir(p), strings.ToLower(filepath.Base(p)))
		other, twice := seen[key]
		seen[key] = p
		if !twice || filepath.Base(other) == filepath.Base(p) {
			continue
		}
		folds, err := foldsCase(fs, filepath.Dir(p))
		if err != nil {
			return err
		}
		if folds {
			return fmt.Errorf("%w: %s and %s", ErrFoldsCase, other, filepath.Base(p))
		}
	}
	return nil
}

// foldsCase makes a file in a directory and looks for it by another name. That it
// is the same file cannot be asked: some file systems of FUSE number each name.
func foldsCase(fs FS, dir string) (folds bool, err error) {
	lower, upper := filepath.Join(dir, ".case-probe"), filepath.Join(dir, ".CASE-PROBE")
	if err := errors.Join(makeRoom(fs, lower), makeRoom(fs, upper)); err != nil {
		return false, err
	}
	f, err := fs.OpenFile(lower, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	_, lost := fs.Lstat(upper)
	return lost == nil, errors.Join(f.Close(), removeAny(fs, lower))
}
