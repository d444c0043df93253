package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/lab/units"
)

// runPrefix starts the name of every directory that a run makes.
const runPrefix = "pl-lab-"

// memoryDir is where Linux systems have a tmpfs for all users.
const memoryDir = "/dev/shm"

// RunDir is the directory of one run: the file server's files and the devices'
// state. A lock on a file in it distinguishes a running run from a dead one.
type RunDir struct {
	Path string
	// Filesystem is "tmpfs" or "disk".
	Filesystem string
	lock       *os.File
}

// NewRunDir makes a directory with room for need bytes. It is under base or, if
// base is empty, on a tmpfs that has the room and as much free memory besides,
// else in the directory for temporary files: on tmpfs a run measures the
// network and not the machine's disk.
func NewRunDir(base string, need int64) (*RunDir, error) {
	if base == "" {
		base = os.TempDir()
		if room(memoryDir) > need+need/8 && freeMemory() > 2*need {
			base = memoryDir
		}
	}
	if free := room(base); free < need {
		return nil, fmt.Errorf("the run needs %s in %s, which has %s", units.Size(need), base, units.Size(max(free, 0)))
	}
	path, err := os.MkdirTemp(base, runPrefix)
	if err != nil {
		return nil, err
	}
	d := &RunDir{Path: path, Filesystem: "disk"}
	var st unix.Statfs_t
	if unix.Statfs(path, &st) == nil && st.Type == unix.TMPFS_MAGIC {
		d.Filesystem = "tmpfs"
	}
	if d.lock, err = os.Create(filepath.Join(path, "lock")); err == nil {
		err = unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return d, nil
}

// Close removes the directory.
func (d *RunDir) Close() error {
	return errors.Join(os.RemoveAll(d.Path), d.lock.Close())
}

// Sweep removes the directories of runs that died, under those in which
// NewRunDir makes them by itself, and under base if that is not empty. It
// returns the paths. Links, namespaces and processes of a dead run need no
// sweeping: the kernel has ended them with it.
func Sweep(base string) (removed []string, err error) {
	dirs := []string{memoryDir, os.TempDir()}
	if base != "" {
		dirs = append(dirs, base)
	}
	for _, dir := range dirs {
		found, _ := filepath.Glob(filepath.Join(dir, runPrefix+"*"))
		for _, path := range found {
			if !dead(path) {
				continue
			}
			if e := os.RemoveAll(path); e != nil {
				err = errors.Join(err, e)
				continue
			}
			removed = append(removed, path)
		}
	}
	return removed, err
}

// dead reports whether path is a run's directory of this user that no process
// holds. For a minute, one without a lock counts as being created.
func dead(path string) bool {
	st, err := os.Lstat(path)
	if err != nil || !st.IsDir() {
		return false
	}
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return time.Since(st.ModTime()) > time.Minute
	}
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}

// room returns the bytes that this user may still store under path.
func room(path string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

// TotalMemory returns the bytes of memory that this machine has; 0 if unknown.
func TotalMemory() int64 {
	n, _ := procField("/proc/meminfo", "MemTotal:")
	return n
}

// freeMemory returns the bytes of memory that programs can still get.
func freeMemory() int64 {
	n, _ := procField("/proc/meminfo", "MemAvailable:")
	return n
}
