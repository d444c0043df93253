package slot

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"syscall"
)

// FS has the few operations on a file system that this package needs. OS is the
// real one; faultdisk.Disk is a simulated one that can lose power. Errors are
// those of package os: errors.Is finds fs.ErrNotExist, fs.ErrExist,
// syscall.ENOSPC.
type FS interface {
	// OpenFile opens a regular file with the flags of package os. It never
	// follows a symbolic link in the last element of the name.
	OpenFile(name string, flag int, perm iofs.FileMode) (File, error)
	// Rename replaces newname by oldname at once. It is durable after SyncDir.
	Rename(oldname, newname string) error
	// Link gives a file a second name. Where that cannot be done the error is
	// other than fs.ErrExist and fs.ErrNotExist.
	Link(oldname, newname string) error
	// Remove removes a file, a symbolic link or an empty directory.
	Remove(name string) error
	// Mkdir makes one directory.
	Mkdir(name string, perm iofs.FileMode) error
	// ReadDir returns the entries of a directory, sorted by name.
	ReadDir(name string) ([]iofs.DirEntry, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Symlink makes name a symbolic link to target.
	Symlink(target, name string) error
	// Readlink returns the target of a symbolic link.
	Readlink(name string) (string, error)
	// Lstat describes a name without following a symbolic link.
	Lstat(name string) (iofs.FileInfo, error)
	// SameFile reports whether two descriptions, by Lstat or File.Stat, are of
	// one file.
	SameFile(a, b iofs.FileInfo) bool
	// Owned reports whether what is described, by Lstat or File.Stat, belongs to
	// this user or to root, and nobody else may write it.
	Owned(fi iofs.FileInfo) bool
	// Links returns how many names a file has that is described so.
	Links(fi iofs.FileInfo) int
	// Lock takes the lock file name, making it if missing, without waiting.
	// The second holder gets a *LockedError. Close releases and removes it; so
	// does the end of the process, except for the removal. What is no file of
	// this user's with one name, and not locked, is replaced: nothing is written
	// to a file of somebody else's.
	Lock(name string) (io.Closer, error)
	// StatFree returns the bytes that this process may still store in the file
	// system that holds name.
	StatFree(name string) (int64, error)
}

// File is an open regular file. All methods may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Stat describes the open file, whatever its name is now.
	Stat() (iofs.FileInfo, error)
	// Truncate sets the length in bytes and frees what Reserve allocated beyond
	// it.
	Truncate(size int64) error
	// Sync makes the content and the length durable, not the name.
	Sync() error
	// Flush writes n bytes from off to the medium and forgets the copy in
	// memory where the system can, so that ReadAt reads what the medium holds.
	// It promises nothing about a power cut.
	Flush(off, n int64) error
	// Reserve allocates room for a length of size bytes without changing the
	// length and without writing to the medium. The error is
	// errors.ErrUnsupported where that cannot be done.
	Reserve(size int64) error
}

// Errors that a caller tells apart with errors.Is.
var (
	// ErrLocked: another process works on the same file.
	ErrLocked = errors.New("in use by another process")
	// ErrNoSymlinks: the file system of a directory has none, and slots need one.
	ErrNoSymlinks = errors.New("slots need a file system with symbolic links: choose a directory on another one, or " +
		"do without slots")
	// ErrFoldsCase: two files would be one on this file system.
	ErrFoldsCase = errors.New("this file system does not tell upper from lower case, and the names of two files differ " +
		"in nothing else: choose a directory on another one")
	// ErrNotFile: the name is not that of a regular file but, for example, of a
	// directory or a device.
	ErrNotFile = errors.New("it exists and is not a regular file: choose another name")
	// ErrNoSpace: the medium is full. The error is a *NoSpaceError.
	ErrNoSpace = errors.New("no space left")
	// ErrBadChunk: the bytes are not the chunk that they are said to be.
	// Nothing was stored.
	ErrBadChunk = errors.New("wrong chunk")
	// ErrNotHeld: the chunk asked for is not stored yet.
	ErrNotHeld = errors.New("chunk not held")
	// ErrReadBack: the medium returned other bytes than were written. The
	// error is a *ReadBackError; the chunk must be fetched again.
	ErrReadBack = errors.New("the medium returned other bytes than were written")
	// ErrDigest: the whole file has another digest than it should.
	ErrDigest = errors.New("wrong digest of the whole file")
	// ErrIncomplete: chunks or components are missing.
	ErrIncomplete = errors.New("incomplete")
	// ErrSize: the file was already known to have another size.
	ErrSize = errors.New("the size changed")
	// ErrDamaged: a stored component is not what it should be.
	ErrDamaged = errors.New("damaged component")
	// ErrTrial: the active slot is on trial; confirm it or roll it back first.
	ErrTrial = errors.New("the active slot is on trial")
	// ErrNoSlot: no slot is in the state that the operation needs.
	ErrNoSlot = errors.New("no such slot")
)

// LockedError says who holds a lock. It is ErrLocked.
type LockedError struct {
	// Name of the lock file.
	Name string
	// PID of the holder, 0 if unknown.
	PID int
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s holds %s: wait until it is done, or stop it", who, e.Name)
}

func (e *LockedError) Unwrap() error { return ErrLocked }

// NoSpaceError says how much room is missing and where. It is both ErrNoSpace
// and syscall.ENOSPC.
type NoSpaceError struct {
	// Dir is a directory in the full file system.
	Dir string
	// Need is the number of bytes still to be stored.
	Need int64
	// Free is the number of bytes left, negative if unknown.
	Free int64
}

func (e *NoSpaceError) Error() string {
	if e.Free < 0 {
		return fmt.Sprintf("no space left in %s: %d bytes are needed", e.Dir, e.Need)
	}
	return fmt.Sprintf("no space left in %s: %d bytes are needed, %d are free", e.Dir, e.Need, e.Free)
}

func (e *NoSpaceError) Unwrap() []error { return []error{ErrNoSpace, syscall.ENOSPC} }

// ReadBackError names the chunk that the medium lost. It is ErrReadBack.
type ReadBackError struct {
	// Name of the file.
	Name string
	// Chunk that was dropped.
	Chunk int
	// Err is the error of the medium, nil when it returned wrong bytes.
	Err error
}

func (e *ReadBackError) Error() string {
	s := fmt.Sprintf("%s: chunk %d: %v: fetch it again, and suspect the medium", e.Name, e.Chunk, ErrReadBack)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ReadBackError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrReadBack}
	}
	return []error{ErrReadBack, e.Err}
}

// isFull reports whether the medium, or the user's share of it, is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// spaceError makes a *NoSpaceError of err if the medium is full, and returns
// err as it is otherwise.
func spaceError(fs FS, dir string, need int64, err error) error {
	if !isFull(err) {
		return err
	}
	free, ferr := fs.StatFree(dir)
	if ferr != nil {
		free = -1
	}
	return &NoSpaceError{Dir: dir, Need: need, Free: free}
}
