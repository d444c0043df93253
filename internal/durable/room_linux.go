package durable

import (
	"os"
	"syscall"
)

// Room is how many bytes an unprivileged program may still write to the file system of a
// path, and how large that is.
func Room(path string) (free, size int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}
