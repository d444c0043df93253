// Package status keeps a device's state directory: its id, and one status file
// per running process, which `peerload status` and `peerload explain` read.
//
// What lives here: the files, and which events a status keeps. What must not:
// what an event means (package report), and the device that it is about.
//
// Read dir.go (the directory), then recorder.go (what a process writes).
package status

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
)

// Dir is a device's state directory. Use Open.
type Dir struct {
	fs   slot.FS
	path string
}

// Open opens the directory and makes it if it is missing. What is in the place
// of its own directory is put aside.
func Open(dir string) (*Dir, error) { return OpenOn(slot.OS{}, dir) }

// OpenOn is Open on a file system.
func OpenOn(files slot.FS, dir string) (*Dir, error) {
	d := &Dir{files, dir}
	sub := filepath.Join(dir, "status")
	err := durable.MkdirAll(d.fs, sub, 0o755)
	if st, lerr := d.fs.Lstat(sub); err != nil && lerr == nil && !st.IsDir() {
		if _, err = slot.PutAside(d.fs, sub); err == nil {
			err = durable.MkdirAll(d.fs, sub, 0o755)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("state directory: %w; choose another state directory", err)
	}
	return d, nil
}

// Path returns the directory's path.
func (d *Dir) Path() string { return d.path }

// maxID bounds the file of the id, in bytes.
const maxID = 64

// ID returns the device's id, which is drawn on first use, and again if the
// file is damaged, or none at all: nothing must block a device's upgrades
// forever. An
// id that it has returned survives a power cut.
func (d *Dir) ID() (uint64, error) {
	name := filepath.Join(d.path, "id")
	for range 4 {
		b, err := d.read(name, maxID)
		missing := errors.Is(err, fs.ErrNotExist)
		if slot.NoFile(err) {
			if _, err := slot.PutAside(d.fs, name); err != nil {
				return 0, err
			}
			continue
		}
		if err != nil && !missing && !errors.Is(err, errTooLong) {
			return 0, err
		}
		if id, ok := parseID(b); ok {
			return id, nil
		}
		if err := d.drawID(name, missing); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s: cannot be read", name)
}

// parseID reads the file of the id.
func parseID(b []byte) (id uint64, ok bool) {
	_, err := fmt.Sscanf(strings.TrimSpace(string(b)), "%016x", &id)
	return id, err == nil && id != 0
}

// drawID writes a new id to a file. If the file was missing, the first process
// to write it wins.
func (d *Dir) drawID(name string, missing bool) (err error) {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	id := binary.BigEndian.Uint64(raw[:]) | 1
	// A name of its own: another goroutine of this process may draw as well.
	tmp := fmt.Sprintf("%s.%016x", name, id)
	defer func() {
		if lost := d.fs.Remove(tmp); lost != nil && !errors.Is(lost, fs.ErrNotExist) {
			err = errors.Join(err, lost)
		}
	}()
	if err := d.write(tmp, fmt.Appendf(nil, "%016x\n", id), true); err != nil {
		return err
	}
	if missing {
		if err = d.fs.Link(tmp, name); durable.NoLinks(err) {
			err = d.renameFirst(tmp, name)
		}
	} else {
		err = d.fs.Rename(tmp, name)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.fs.SyncDir(d.path)
}

// renameFirst is for file systems without hard links, such as exFAT: a rename
// that replaces nothing, since a lock keeps others away. Whoever does not get
// the lock reads what the other has written.
func (d *Dir) renameFirst(tmp, name string) error {
	lock, err := d.fs.Lock(name + ".lock")
	if err != nil && errors.Is(err, slot.ErrLocked) {
		return fs.ErrExist
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := d.fs.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return d.fs.Rename(tmp, name)
}

// write replaces the content of a file, and with sync makes it durable.
func (d *Dir) write(name string, b []byte, sync bool) error {
	f, err := d.fs.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

var errTooLong = errors.New("longer than it may be")

// read reads a regular file of at most max bytes.
func (d *Dir) read(name string, max int64) ([]byte, error) {
	f, err := d.fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, max+1))
	if err == nil && int64(len(b)) > max {
		return nil, fmt.Errorf("%s: %w", name, errTooLong)
	}
	return b, err
}

// Limits of what is kept of processes that ended: their number, and the size
// of a status file in bytes.
const (
	keepStatus    = 8
	maxStatusFile = 4 << 20
)

// Processes returns the status of the running processes and of the last ended
// ones, the latest first.
func (d *Dir) Processes() ([]Process, error) {
	entries, err := d.fs.ReadDir(filepath.Join(d.path, "status"))
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		name := filepath.Join(d.path, "status", e.Name())
		b, err := d.read(name, maxStatusFile)
		p, ok := parseProcess(b)
		if err != nil || !ok {
			continue
		}
		p.Running = !p.Ended && alive(p.PID) && p.Born == born(p.PID)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Process) int { return strings.Compare(b.Updated, a.Updated) })
	return out, nil
}

// parseProcess reads a status file.
func parseProcess(b []byte) (p Process, ok bool) {
	err := json.Unmarshal(b, &p)
	return p, err == nil && !slices.Contains(p.Files, nil)
}

// sweep removes all but the latest status files of processes that ended.
func (d *Dir) sweep() {
	ps, err := d.Processes()
	if err != nil {
		return
	}
	kept := 0
	for _, p := range ps {
		if p.Running {
			continue
		}
		if kept++; kept > keepStatus {
			_ = d.fs.Remove(filepath.Join(d.path, "status", fmt.Sprintf("%d.json", p.PID)))
		}
	}
}

// born returns when a process started, in the kernel's ticks since it booted
// (field 22 of proc_pid_stat(5)), empty where that cannot be read.
func born(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field, the program's name in parentheses, may hold spaces.
	rest := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(rest) < 20 {
		return ""
	}
	return rest[19]
}

// alive reports whether there is a process with that id: 0 and less mean
// process groups.
func alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
