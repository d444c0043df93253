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
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Dir is a device's state directory. Use Open.
type Dir struct{ path string }

// Open opens the directory and makes it if it is missing.
func Open(dir string) (*Dir, error) {
	if err := os.MkdirAll(filepath.Join(dir, "status"), 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w; choose another state directory", err)
	}
	return &Dir{dir}, nil
}

// Path returns the directory's path.
func (d *Dir) Path() string { return d.path }

// ID returns the device's id, drawn at its first use, and again if the file is
// damaged: a power cut must not keep a device from its upgrades for good.
func (d *Dir) ID() (uint64, error) {
	name := filepath.Join(d.path, "id")
	for range 3 {
		b, err := os.ReadFile(name)
		missing := errors.Is(err, fs.ErrNotExist)
		if err != nil && !missing {
			return 0, err
		}
		var id uint64
		if _, err := fmt.Sscanf(strings.TrimSpace(string(b)), "%016x", &id); err == nil && id != 0 {
			return id, nil
		}
		if err := drawID(name, missing); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s: cannot be read", name)
}

// drawID writes a new id under a name. If that was missing, another process
// that is quicker wins.
func drawID(name string, missing bool) error {
	var raw [8]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return err
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%d", name, os.Getpid()), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "%016x\n", binary.BigEndian.Uint64(raw[:])|1)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if !missing {
		return os.Rename(f.Name(), name)
	}
	if err = os.Link(f.Name(), name); errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Limits of what is kept of processes that ended: their number, and the size
// of a status file in bytes.
const (
	keepStatus    = 8
	maxStatusFile = 4 << 20
)

// Processes returns what the running processes and the last ended ones told,
// the latest first.
func (d *Dir) Processes() ([]Process, error) {
	entries, err := os.ReadDir(filepath.Join(d.path, "status"))
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		name := filepath.Join(d.path, "status", e.Name())
		if st, err := os.Lstat(name); err != nil || !st.Mode().IsRegular() || st.Size() > maxStatusFile {
			continue
		}
		b, err := os.ReadFile(name)
		var p Process
		if err != nil || json.Unmarshal(b, &p) != nil {
			continue
		}
		p.Running = !p.Ended && alive(p.PID) && p.Born == born(p.PID)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Process) int { return strings.Compare(b.Updated, a.Updated) })
	return out, nil
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
			_ = os.Remove(filepath.Join(d.path, "status", fmt.Sprintf("%d.json", p.PID)))
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

func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
