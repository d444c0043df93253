// Package faultdisk is a file system in memory, for tests and simulations. It
// knows what is durable and what is not, and fails on request. It can cut the
// power at any changing operation, after which what was not synced is there, or
// not, or torn; show all that can be found after a cut (Every); fill up; fail
// with an I/O error; and return other bytes than were written. Conformance holds
// it and the real file system to one behaviour.
//
// What lives here: the disk and its suite. What must not: anything that a
// device runs, and what a test expects of slot.
package faultdisk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
	"syscall"

	"github.com/peerload/peerload/internal/device/slot"
)

// ErrPowerCut is what every operation returns once the power is cut.
var ErrPowerCut = errors.New("the power is cut")

// pageSize is the unit in which bytes reach the medium; a page that is not
// synced may be torn at a multiple of sectorSize.
const (
	pageSize   = 4096
	sectorSize = 512
)

// Disk is a file system in memory. Create one with New; it is empty but for
// its root directory "/". Its methods may be called concurrently.
type Disk struct {
	mu       sync.Mutex
	rng      *rand.Rand
	root     *node
	pending  []change // of names, not yet durable, oldest first
	locks    map[string]bool
	nextID   uint64
	ops      int
	log      []string
	cutAt    int
	failures map[int]error
	down     bool
	capacity int64
	used     int64
	flushed  int64
	open     int
	watch    *Cuts
}

var _ slot.FS = (*Disk)(nil)

// node is a file, a directory or a symbolic link.
type node struct {
	id    uint64
	mode  iofs.FileMode
	links int

	data     []byte         // as processes see it
	stable   []byte         // as of the last sync, never changed in place
	shared   bool           // data is stable: copy before changing it
	dirty    map[int64]bool // pages that differ; true: already on the medium
	reserved int64
	past     *past // since the last sync, if somebody watches the disk

	names  map[string]*node // of a directory, as processes see it
	kept   map[string]*node // and as it is durable
	target string           // of a symbolic link
}

// change is one change of names: node appears under to, or vanishes from
// from, or both at once.
type change struct {
	fromDir, toDir *node
	from, to       string
	node           *node
}

func (c change) touches(d *node) bool { return c.fromDir == d || c.toDir == d }

// persist makes a change durable. It holds without those before it: a rename
// that survives brings its file along.
func (c change) persist() {
	if c.fromDir != nil && c.fromDir.kept[c.from] == c.node {
		delete(c.fromDir.kept, c.from)
	}
	if c.toDir != nil {
		c.toDir.kept[c.to] = c.node
	}
}

// New returns an empty disk without bounds. The seed decides what survives a
// power cut.
func New(seed uint64) *Disk {
	d := &Disk{
		rng:      rand.New(rand.NewPCG(seed, 0x51075107)),
		locks:    map[string]bool{},
		failures: map[int]error{},
		capacity: 1 << 50,
	}
	d.root = d.newNode(iofs.ModeDir | 0o755)
	return d
}

func (d *Disk) newNode(mode iofs.FileMode) *node {
	d.nextID++
	n := &node{id: d.nextID, mode: mode}
	if mode.IsDir() {
		n.names, n.kept = map[string]*node{}, map[string]*node{}
	} else {
		n.dirty = map[int64]bool{}
		if d.watch != nil {
			n.past = &past{}
		}
	}
	return n
}

// CutAt cuts the power at changing operation number op, counted from 1 from
// the birth of the disk; 0 never. That operation happens or not.
func (d *Disk) CutAt(op int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt = op
}

// FailAt makes changing operation number op fail with err and do nothing.
func (d *Disk) FailAt(op int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failures[op] = err
}

// SetCapacity bounds the disk to n bytes from now on.
func (d *Disk) SetCapacity(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = n
}

// Ops returns how many changing operations there were.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Log names the changing operations, oldest first.
func (d *Disk) Log() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string{}, d.log...)
}

// Used returns the bytes that files take, or have reserved.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used
}

// OpenFiles returns how many files are open.
func (d *Disk) OpenFiles() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}

// Flushed returns the bytes of file content that went to the medium, in whole
// pages: its wear.
func (d *Disk) Flushed() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushed
}

// Rot flips the lowest bit of the byte at off of a file: the medium lies.
func (d *Disk) Rot(name string, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("rot", name)
	if err != nil {
		return err
	}
	if off >= int64(len(n.data)) {
		return fmt.Errorf("rot %s: no byte %d", name, off)
	}
	n.own()
	n.data[off] ^= 1
	if off < int64(len(n.stable)) {
		n.stable = bytes.Clone(n.stable)
		n.stable[off] ^= 1
	}
	return nil
}

// step counts a changing operation. If do is true it takes place; if err is
// not nil its caller is told so, whether or not it took place.
func (d *Disk) step(format string, a ...any) (do bool, err error) {
	if d.down {
		return false, ErrPowerCut
	}
	d.watch.look(d)
	d.ops++
	d.log = append(d.log, fmt.Sprintf(format, a...))
	if err := d.failures[d.ops]; err != nil {
		return false, err
	}
	if d.ops == d.cutAt {
		d.down = true
		return d.rng.IntN(2) == 0, ErrPowerCut
	}
	return true, nil
}

func pathError(op, name string, err error) error {
	return &iofs.PathError{Op: op, Path: name, Err: err}
}

// parent finds the directory that holds name, following symbolic links on
// the way as long as they are relative and plain.
func (d *Disk) parent(op, name string) (*node, string, error) {
	if d.down {
		return nil, "", ErrPowerCut
	}
	name = path.Clean("/" + name)
	elems := strings.Split(name[1:], "/")
	dir := d.root
	for _, e := range elems[:len(elems)-1] {
		n := dir.names[e]
		if n != nil && n.mode&iofs.ModeSymlink != 0 {
			n = dir.names[n.target]
		}
		if n == nil {
			return nil, "", pathError(op, name, syscall.ENOENT)
		}
		if !n.mode.IsDir() {
			return nil, "", pathError(op, name, syscall.ENOTDIR)
		}
		dir = n
	}
	return dir, elems[len(elems)-1], nil
}

// find returns the node of a name without following a last symbolic link.
func (d *Disk) find(op, name string) (*node, error) {
	if path.Clean("/"+name) == "/" {
		if d.down {
			return nil, ErrPowerCut
		}
		return d.root, nil
	}
	dir, base, err := d.parent(op, name)
	if err != nil {
		return nil, err
	}
	if n := dir.names[base]; n != nil {
		return n, nil
	}
	return nil, pathError(op, name, syscall.ENOENT)
}

// note records a change of names, not yet durable.
func (d *Disk) note(c change) { d.pending = append(d.pending, c) }

// addName puts n into a directory.
func (d *Disk) addName(dir *node, base string, n *node) {
	dir.names[base] = n
	n.links++
	d.note(change{toDir: dir, to: base, node: n})
}

// loseName ends one name of n; the last gives its room back.
func (d *Disk) loseName(n *node) {
	n.links--
	if n.links == 0 {
		d.used -= n.room()
	}
}

// room is what a file takes, in whole pages.
func (n *node) room() int64 {
	if !n.mode.IsRegular() {
		return 0
	}
	size := max(int64(len(n.data)), n.reserved)
	return (size + pageSize - 1) / pageSize * pageSize
}

// OpenFile implements slot.FS.
func (d *Disk) OpenFile(name string, flag int, perm iofs.FileMode) (slot.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.parent("open", name)
	if err != nil {
		return nil, err
	}
	n := dir.names[base]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, syscall.ENOENT)
	case n == nil:
		do, err := d.step("create %s", name)
		if do {
			n = d.newNode(perm.Perm())
			d.addName(dir, base, n)
		}
		if err != nil {
			return nil, err
		}
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, syscall.EEXIST)
	case n.mode&iofs.ModeSymlink != 0:
		return nil, pathError("open", name, syscall.ELOOP)
	case n.mode.IsDir():
		return nil, pathError("open", name, syscall.EISDIR)
	case flag&os.O_TRUNC != 0 && len(n.data) > 0:
		do, err := d.step("truncate %s", name)
		if do {
			d.resize(n, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	d.open++
	return &file{d: d, n: n, name: name, writable: flag&(os.O_RDWR|os.O_WRONLY) != 0}, nil
}

// Rename implements slot.FS.
func (d *Disk) Rename(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, a, err := d.parent("rename", oldname)
	if err != nil {
		return err
	}
	to, b, err := d.parent("rename", newname)
	if err != nil {
		return err
	}
	n := from.names[a]
	if n == nil {
		return pathError("rename", oldname, syscall.ENOENT)
	}
	over := to.names[b]
	if over == n {
		return nil
	}
	if over != nil && over.mode.IsDir() {
		return pathError("rename", newname, syscall.EEXIST)
	}
	do, err := d.step("rename %s %s", oldname, newname)
	if do {
		if over != nil {
			d.loseName(over)
		}
		delete(from.names, a)
		to.names[b] = n
		d.note(change{fromDir: from, from: a, toDir: to, to: b, node: n})
	}
	return err
}

// Link implements slot.FS.
func (d *Disk) Link(oldname, newname string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("link", oldname)
	if err != nil {
		return err
	}
	dir, base, err := d.parent("link", newname)
	if err != nil {
		return err
	}
	if n.mode.IsDir() {
		return pathError("link", oldname, syscall.EPERM)
	}
	if dir.names[base] != nil {
		return pathError("link", newname, syscall.EEXIST)
	}
	do, err := d.step("link %s %s", oldname, newname)
	if do {
		d.addName(dir, base, n)
	}
	return err
}

// Remove implements slot.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.parent("remove", name)
	if err != nil {
		return err
	}
	n := dir.names[base]
	if n == nil {
		return pathError("remove", name, syscall.ENOENT)
	}
	if len(n.names) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	do, err := d.step("remove %s", name)
	if do {
		delete(dir.names, base)
		d.loseName(n)
		d.note(change{fromDir: dir, from: base, node: n})
	}
	return err
}

// Mkdir implements slot.FS.
func (d *Disk) Mkdir(name string, perm iofs.FileMode) error {
	return d.make("mkdir", name, func() *node { return d.newNode(iofs.ModeDir | perm.Perm()) })
}

// Symlink implements slot.FS. What a link points to survives with its name.
func (d *Disk) Symlink(target, name string) error {
	return d.make("symlink", name, func() *node {
		n := d.newNode(iofs.ModeSymlink | 0o777)
		n.target = target
		return n
	})
}

func (d *Disk) make(op, name string, made func() *node) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.parent(op, name)
	if err != nil {
		return err
	}
	if dir.names[base] != nil {
		return pathError(op, name, syscall.EEXIST)
	}
	do, err := d.step("%s %s", op, name)
	if do {
		d.addName(dir, base, made())
	}
	return err
}

// ReadDir implements slot.FS.
func (d *Disk) ReadDir(name string) ([]iofs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	var es []iofs.DirEntry
	for base, c := range n.names {
		es = append(es, iofs.FileInfoToDirEntry(c.info(base)))
	}
	sort.Slice(es, func(i, j int) bool { return es[i].Name() < es[j].Name() })
	return es, nil
}

// SyncDir implements slot.FS: the names in this directory are durable, those
// in the directories above it are not.
func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("open", name)
	if err != nil {
		return err
	}
	do, err := d.step("syncdir %s", name)
	if do {
		rest := d.pending[:0]
		for _, c := range d.pending {
			if c.touches(n) {
				c.persist()
			} else {
				rest = append(rest, c)
			}
		}
		d.pending = rest
	}
	return err
}

// Readlink implements slot.FS.
func (d *Disk) Readlink(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("readlink", name)
	if err != nil {
		return "", err
	}
	if n.mode&iofs.ModeSymlink == 0 {
		return "", pathError("readlink", name, syscall.EINVAL)
	}
	return n.target, nil
}

// Lstat implements slot.FS.
func (d *Disk) Lstat(name string) (iofs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(path.Clean("/" + name))), nil
}

// SameFile implements slot.FS.
func (d *Disk) SameFile(a, b iofs.FileInfo) bool {
	x, ok := a.(info)
	y, ok2 := b.(info)
	return ok && ok2 && x.n == y.n
}

// Owned implements slot.FS: the disk has one user.
func (d *Disk) Owned(fi iofs.FileInfo) bool {
	return fi.Mode().Type() == iofs.ModeSymlink || fi.Mode().Perm()&0o022 == 0
}

// Links implements slot.FS.
func (d *Disk) Links(fi iofs.FileInfo) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fi.(info).n.links
}

// StatFree implements slot.FS.
func (d *Disk) StatFree(name string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.find("statfs", name); err != nil {
		return 0, err
	}
	return max(0, d.capacity-d.used), nil
}

// Lock implements slot.FS. A power cut releases it and may leave the file.
func (d *Disk) Lock(name string) (io.Closer, error) {
	f, err := d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if slot.NoFile(err) {
		if _, err = slot.PutAside(d, name); err == nil {
			f, err = d.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		}
	}
	if err != nil {
		return nil, err
	}
	key := path.Clean("/" + name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locks[key] {
		return nil, &slot.LockedError{Name: name, PID: os.Getpid()}
	}
	d.locks[key] = true
	return &lock{d: d, key: key, f: f}, nil
}

type lock struct {
	d   *Disk
	key string
	f   slot.File
}

// Close implements io.Closer.
func (l *lock) Close() error {
	err := l.d.Remove(l.key)
	if errors.Is(err, iofs.ErrNotExist) {
		err = nil
	}
	l.d.mu.Lock()
	delete(l.d.locks, l.key)
	l.d.mu.Unlock()
	return errors.Join(err, l.f.Close())
}
