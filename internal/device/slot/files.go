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

	"github.com/peerload/peerload/load"
)

const (
	filePerm = 0o644
	dirPerm  = 0o755
	// bufSize is how much is read at a time, in bytes: memory does not grow
	// with the chunk.
	bufSize = 128 << 10
)

// checkName refuses a name that is neither a component's nor a manifest's. The
// names of this package's own files begin with a dot, which theirs never do.
func checkName(name string) error {
	return load.CheckName(strings.TrimSuffix(name, load.ManifestSuffix))
}

// writeAtomic puts b under name, durably: whatever happens, name holds the old
// content or the new.
func writeAtomic(fs FS, name string, b []byte) error {
	tmp := name + ".new"
	if err := writeSynced(fs, tmp, b); err != nil {
		return errors.Join(spaceError(fs, filepath.Dir(name), int64(len(b)), err), removeAny(fs, tmp))
	}
	if err := fs.Rename(tmp, name); err != nil {
		return err
	}
	return fs.SyncDir(filepath.Dir(name))
}

func writeSynced(fs FS, name string, b []byte) error {
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// readBounded returns the content of a file of at most limit bytes.
func readBounded(fs FS, name string, limit int64) ([]byte, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, limit)
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

// openVerified opens name and checks its size and digest. The open file is
// the one that was checked: stillOpen tells whether the name still means it.
func openVerified(fs FS, name string, size int64, want load.Digest) (File, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
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

// stillOpen refuses if name is no longer the open file f: what was checked
// must be what is put in place.
func stillOpen(fs FS, name string, f File) error {
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
