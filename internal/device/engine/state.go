package engine

import (
	"bytes"
	"cmp"
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
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/report"
)

// State is a device's state directory: its id, and one status file per running
// process, which `peerload status` and `peerload explain` read.
type State struct{ dir string }

// OpenState opens the directory and makes it if it is missing.
func OpenState(dir string) (*State, error) {
	if err := os.MkdirAll(filepath.Join(dir, "status"), 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w; choose another with --state", err)
	}
	return &State{dir}, nil
}

// Dir returns the directory.
func (s *State) Dir() string { return s.dir }

// ID returns the device's id, drawn at its first use, and again if the file is
// damaged: a power cut must not keep a device from its upgrades for good.
func (s *State) ID() (uint64, error) {
	name := filepath.Join(s.dir, "id")
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

// Limits of what a status keeps.
const (
	keepDecisions = 40 // per file
	keepStatus    = 8  // status files of processes that ended
	statusEvery   = 500 * time.Millisecond
	maxStatusFile = 4 << 20
)

// Decision is one explained event.
type Decision struct {
	Time    string `json:"time"`
	Event   string `json:"event"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// FileStatus is where one file stands.
type FileStatus struct {
	report.Event            // the last event of the file, with role, source, peers and bytes
	Since        string     `json:"since"`
	Decisions    []Decision `json:"decisions,omitempty"`
	Done         bool       `json:"done,omitempty"`
	Failed       bool       `json:"failed,omitempty"`
}

// ProcessStatus is what one process tells of itself.
type ProcessStatus struct {
	Schema  int           `json:"schema"`
	PID     int           `json:"pid"`
	Born    string        `json:"born,omitempty"` // the process's start by the kernel's clock: numbers come again
	Device  string        `json:"device"`
	Address string        `json:"address,omitempty"`
	Started string        `json:"started"`
	Updated string        `json:"updated"`
	Command string        `json:"command,omitempty"`
	Ended   bool          `json:"ended,omitempty"`
	Running bool          `json:"running"`
	Files   []*FileStatus `json:"files"`
}

// Recorder keeps the status file of this process.
type Recorder struct {
	mu    sync.Mutex
	name  string
	st    ProcessStatus
	files map[string]*FileStatus
	wrote time.Time
}

// Record begins the status file of this process.
func (s *State) Record(command string) *Recorder {
	s.sweep()
	now := Stamp(time.Now())
	return &Recorder{
		name:  filepath.Join(s.dir, "status", fmt.Sprintf("%d.json", os.Getpid())),
		files: map[string]*FileStatus{},
		st:    ProcessStatus{Schema: report.Schema, PID: os.Getpid(), Born: born(os.Getpid()), Command: command, Started: now},
	}
}

// Stamp is a time as events carry it.
func Stamp(t time.Time) string { return t.Format("2006-01-02T15:04:05.000000Z07:00") }

// Take takes an event.
func (r *Recorder) Take(e report.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Device = e.Device
	if e.Event == report.KindListening {
		r.st.Address = e.Address
	}
	if e.File != "" {
		r.file(e)
	}
	if time.Since(r.wrote) >= statusEvery || e.Event == report.KindDone || e.Event == report.KindFailed {
		r.write()
	}
}

func (r *Recorder) file(e report.Event) {
	f := r.files[e.File]
	if f == nil {
		if len(r.files) >= keepFiles {
			oldest := r.st.Files[0]
			r.forget(func(f *FileStatus) bool { return f == oldest })
		}
		f = &FileStatus{Since: e.Time}
		r.files[e.File] = f
		r.st.Files = append(r.st.Files, f)
	}
	old := f.Event
	switch {
	case e.Event == report.KindDone || e.Event == report.KindCommitted || e.Event == report.KindFailed:
		// These tell the end; where the bytes came from stands in Final.
		f.Event = e
		f.Event.Root, f.Event.Parent, f.Event.Children = old.Root, old.Parent, old.Children
		if e.Final != nil {
			f.Event.Root, f.Event.Parent = cmp.Or(old.Root, e.Final.Root), cmp.Or(old.Parent, e.Final.Parent)
		}
		f.Done = f.Done || e.Event != report.KindFailed
		f.Failed = e.Event == report.KindFailed
	case f.Done:
		// It serves on, and where its own bytes came from stays true.
		f.Event.Time, f.Event.Children = e.Time, e.Children
	default:
		f.Event = e
	}
	if e.Event == report.KindProgress || e.Event == report.KindLog || e.Message == "" {
		return // the console log repeats itself; decisions do not
	}
	f.Decisions = append(f.Decisions, Decision{e.Time, e.Event, e.Reason, e.Message})
	if len(f.Decisions) > keepDecisions {
		f.Decisions = append(f.Decisions[:0], f.Decisions[1:]...)
	}
}

// Close writes the last state.
func (r *Recorder) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Ended = true
	r.write()
}

// write replaces the file at once. The status is for people: a disk that does
// not take it stops no upgrade.
func (r *Recorder) write() {
	r.wrote = time.Now()
	r.st.Updated = Stamp(r.wrote)
	b, err := json.Marshal(r.st)
	if err != nil {
		return
	}
	tmp := r.name + ".new"
	if os.WriteFile(tmp, b, 0o644) == nil {
		_ = os.Rename(tmp, r.name)
	}
}

// Processes returns what the running processes and the last ended ones told,
// the latest first.
func (s *State) Processes() ([]ProcessStatus, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "status"))
	if err != nil {
		return nil, err
	}
	var out []ProcessStatus
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		name := filepath.Join(s.dir, "status", e.Name())
		if st, err := os.Lstat(name); err != nil || !st.Mode().IsRegular() || st.Size() > maxStatusFile {
			continue
		}
		b, err := os.ReadFile(name)
		var p ProcessStatus
		if err != nil || json.Unmarshal(b, &p) != nil {
			continue
		}
		p.Running = !p.Ended && alive(p.PID) && p.Born == born(p.PID)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b ProcessStatus) int { return strings.Compare(b.Updated, a.Updated) })
	return out, nil
}

// sweep removes all but the latest status files of processes that ended.
func (s *State) sweep() {
	ps, err := s.Processes()
	if err != nil {
		return
	}
	kept := 0
	for _, p := range ps {
		if p.Running {
			continue
		}
		if kept++; kept > keepStatus {
			_ = os.Remove(filepath.Join(s.dir, "status", fmt.Sprintf("%d.json", p.PID)))
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
