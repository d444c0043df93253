package faultdisk

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// CutsVariable is the variable with the number of states that are looked at for
// each operation. The default is a sample that takes a few seconds.
const (
	CutsVariable = "PEERLOAD_POWER_CUTS"
	defaultCuts  = 6
	shortCuts    = 3
)

// CutsLine begins the line in which a test says how many states it saw.
const CutsLine = "crash states:"

// Every runs a story on a disk, and lets check judge each state in which the
// power can be cut in it, as a device would find it. Whatever was there before
// counts as durable. promised says what the story has reported as durable so
// far, nil for nothing; check reads the same variables.
func Every(t *testing.T, d *Disk, story func() error, promised func() string, check func(t *testing.T, found *Disk)) {
	t.Helper()
	EveryNth(t, 1, d, story, promised, check)
}

// EveryNth is Every for a check that takes longer: it sees one nth of the states.
func EveryNth(t *testing.T, nth int, d *Disk, story func() error, promised func() string,
	check func(t *testing.T, found *Disk)) {
	t.Helper()
	c := &Cuts{Most: max(2, most(t)/nth), Seed: 1, Promised: promised}
	c.Look = func(op int, states []*Disk) {
		t.Run(fmt.Sprintf("op=%d", op), func(t *testing.T) {
			for _, s := range states {
				judge(t, d, op, s, check)
			}
		})
	}
	before := d.Ops()
	d.Watch(c)
	if err := story(); err != nil {
		t.Fatalf("the story fails by itself: %v", err)
	}
	tell(t, d.Unwatch(), d.Ops()-before)
}

// tell says how many states were seen, and fails if they are too few to show
// anything.
func tell(t *testing.T, states, operations int) {
	t.Helper()
	t.Logf("%s %d, after each of %d operations", CutsLine, states, operations)
	if states <= operations/2 {
		t.Errorf("only %d states of %d operations: nothing is at stake", states, operations)
	}
}

// most is how many states are looked at for each operation.
func most(t *testing.T) int {
	t.Helper()
	text := os.Getenv(CutsVariable)
	switch {
	case text == "" && testing.Short():
		return shortCuts
	case text == "":
		return defaultCuts
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s: give it a number of states for each operation, 1 or more", CutsVariable, text)
	}
	return n
}

// judge tells, if a check fails, which state it is about.
func judge(t *testing.T, d *Disk, op int, s *Disk, check func(t *testing.T, found *Disk)) {
	failed := t.Failed()
	tree := strings.Join(s.Tree(), "\n  ")
	defer func() {
		if t.Failed() && !failed {
			t.Logf("the power was cut after operation %d; the last were %q; found is\n  %s", op, d.log[max(0, op-12):op], tree)
		}
	}()
	check(t, s)
}

// Tree lists the names on a disk, with what they are.
func (d *Disk) Tree() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	var walk func(dir *node, at string)
	walk = func(dir *node, at string) {
		for _, name := range sortedNames(dir.names) {
			n := dir.names[name]
			switch {
			case n.mode.IsDir():
				all = append(all, at+name+"/")
				walk(n, at+name+"/")
			case n.target != "":
				all = append(all, at+name+" -> "+n.target)
			default:
				all = append(all, fmt.Sprintf("%s%s, %d bytes", at, name, len(n.data)))
			}
		}
	}
	walk(d.root, "/")
	return all
}

// InDir writes what is on the disk into a directory as Scratch makes it.
func (d *Disk) InDir(t *testing.T) string {
	t.Helper()
	dir := Scratch(t)
	if err := d.Materialize(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Scratch makes a directory of the real file system that ends with the test: in
// memory, where there is such a file system, because thousands of states are
// synced there.
func Scratch(t *testing.T) string {
	t.Helper()
	memory := "/dev/shm"
	if fi, err := os.Stat(memory); err != nil || !fi.IsDir() {
		memory = ""
	}
	dir, err := os.MkdirTemp(memory, "peerload-cut-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Recorded is Every for a story that runs on a recorded directory. Its states
// are looked at when it has ended: no clock of it stands still meanwhile.
// promised says at each moment what the story has reported as durable; check gets
// it back.
func Recorded(t *testing.T, nth int, dir string, story func(r *Recorder) error, promised func() string,
	check func(t *testing.T, dir, promise string)) {
	t.Helper()
	r, d, err := Record(dir)
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		op      int
		promise string
		states  []*Disk
	}
	var all []seen
	c := &Cuts{Most: max(2, most(t)/nth), Seed: 1, Promised: promised}
	c.Look = func(op int, states []*Disk) { all = append(all, seen{op, promised(), states}) }
	before := d.Ops()
	d.Watch(c)
	if err := story(r); err != nil {
		t.Fatalf("the story fails by itself: %v", err)
	}
	n := d.Unwatch()
	if err := r.Err(); err != nil {
		t.Fatalf("the directory was changed by others: %v", err)
	}
	for _, s := range all {
		t.Run(fmt.Sprintf("op=%d", s.op), func(t *testing.T) {
			for _, found := range s.states {
				judge(t, d, s.op, found, func(t *testing.T, found *Disk) { check(t, found.InDir(t), s.promise) })
			}
		})
	}
	tell(t, n, d.Ops()-before)
}
