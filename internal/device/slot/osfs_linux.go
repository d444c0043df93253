package slot

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Flush implements File: sync_file_range(2) writes the range without the cost
// of a journal commit, and clean pages can be dropped.
func (f osFile) Flush(off, n int64) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = c.Control(func(fd uintptr) {
		const how = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
		ferr = unix.SyncFileRange(int(fd), off, n, how)
		if unsupported(ferr) {
			ferr = unix.Fdatasync(int(fd))
		}
		if ferr == nil {
			// Advice: a refusal costs nothing but the reading from memory.
			_ = unix.Fadvise(int(fd), off, n, unix.FADV_DONTNEED)
		}
	})
	return errors.Join(err, ferr)
}

// Reserve implements File by fallocate(2), which keeps unwritten blocks: no
// zero reaches the medium.
func (f osFile) Reserve(size int64) error {
	if size <= 0 {
		return nil
	}
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = c.Control(func(fd uintptr) {
		for {
			ferr = unix.Fallocate(int(fd), unix.FALLOC_FL_KEEP_SIZE, 0, size)
			if ferr != unix.EINTR {
				return
			}
		}
	})
	if unsupported(ferr) {
		return errors.ErrUnsupported
	}
	return errors.Join(err, ferr)
}
