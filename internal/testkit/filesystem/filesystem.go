// Package filesystem mounts file systems of many kinds for tests: those of the
// kernel on images, exFAT by FUSE, and one of its own that lacks what others
// lack.
//
// What lives here: how each kind is made and mounted, and what it cannot do.
// What must not: what a test expects of it. Read Kinds first, then lacking.go.
package filesystem

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Kind is a kind of file system.
type Kind struct {
	Name string
	// Lacks says what it cannot do.
	Lacks Lacks
	mount mounter
}

// mounter mounts a kind at dir; what it needs lies in scratch.
type mounter = func(t *testing.T, k Kind, find Finder, scratch, dir string)

// Finder returns the path of a program, or skips the test: foreign.Program.
type Finder = func(tb testing.TB, name string, marks ...string) string

// Lacks says what a file system cannot do. The zero value is one as on most
// disks.
type Lacks struct {
	// HardLinks is the error of a hard link, 0 if there are some.
	HardLinks syscall.Errno
	// Symlinks is the error of a symbolic link, 0 if there are some.
	Symlinks syscall.Errno
	// Case says that upper and lower case are one in names.
	Case bool
}

// Kinds returns all kinds.
func Kinds() []Kind {
	own := func(name string, l Lacks) Kind { return Kind{"FUSE, " + name, l, mountLacking} }
	return []Kind{
		{"ext4", Lacks{}, image("ext4", 64<<20, "mkfs.ext4", "-q")},
		{"xfs", Lacks{}, image("xfs", 320<<20, "mkfs.xfs", "-q")},
		{"btrfs", Lacks{}, image("btrfs", 160<<20, "mkfs.btrfs", "-q")},
		{"vfat", Lacks{HardLinks: syscall.EPERM, Symlinks: syscall.EPERM, Case: true},
			image("vfat", 64<<20, "mkfs.vfat")},
		{"exFAT", Lacks{HardLinks: syscall.EPERM, Symlinks: syscall.ENOSYS, Case: true}, mountExFAT},
		{"overlay", Lacks{}, mountOverlay},
		{"tmpfs", Lacks{}, mountTmpfs},
		own("everything", Lacks{}),
		own("no hard links", Lacks{HardLinks: syscall.EPERM}),
		own("hard links not supported", Lacks{HardLinks: syscall.EOPNOTSUPP}),
		own("hard links not across projects", Lacks{HardLinks: syscall.EXDEV}),
		own("hard links forbidden", Lacks{HardLinks: syscall.EACCES}),
		own("no symbolic links", Lacks{Symlinks: syscall.EPERM}),
		own("symbolic links unknown", Lacks{Symlinks: syscall.ENOSYS}),
		own("one case", Lacks{Case: true}),
		own("no links, one case", Lacks{HardLinks: syscall.EPERM, Symlinks: syscall.EOPNOTSUPP, Case: true}),
	}
}

// Mount mounts a new one, empty, until the test ends, and returns where. Where
// that cannot be, the test is skipped with the reason.
func (k Kind) Mount(t *testing.T, find Finder) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to mount needs root")
	}
	scratch := t.TempDir()
	dir = filepath.Join(scratch, "mounted")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k.mount(t, k, find, scratch, dir)
	return dir
}

// sh runs a program and returns what it said if it failed.
func sh(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// unmountAtEnd unmounts dir when the test ends, though files may be open.
func unmountAtEnd(t *testing.T, dir string) {
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// inKernel skips the test if the kernel does not know a type of file system.
func inKernel(t *testing.T, name string) {
	t.Helper()
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(known)), name) {
		_ = sh("modprobe", name)
		known, _ = os.ReadFile("/proc/filesystems")
	}
	if !slices.Contains(strings.Fields(string(known)), name) {
		t.Skipf("this kernel has no %s", name)
	}
}

// image mounts a file system of the kernel on an image in a file.
func image(kind string, size int64, mkfs string, args ...string) mounter {
	return func(t *testing.T, _ Kind, find Finder, scratch, dir string) {
		inKernel(t, kind)
		file := format(t, find, scratch, size, mkfs, args...)
		if err := sh("mount", "-t", kind, "-o", "loop", file, dir); err != nil {
			t.Skip(err) // no loop device here
		}
		unmountAtEnd(t, dir)
	}
}

func format(t *testing.T, find Finder, scratch string, size int64, mkfs string, args ...string) (file string) {
	t.Helper()
	program := find(t, mkfs)
	file = filepath.Join(scratch, "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	if err := sh(program, append(args, file)...); err != nil {
		t.Fatal(err)
	}
	return file
}

func mountExFAT(t *testing.T, _ Kind, find Finder, scratch, dir string) {
	needsFUSE(t)
	file, program := format(t, find, scratch, 64<<20, "mkfs.exfat"), find(t, "mount.exfat-fuse")
	loop, err := exec.Command("losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Skip("no loop device here: ", err)
	}
	device := strings.TrimSpace(string(loop))
	t.Cleanup(func() {
		if err := sh("losetup", "--detach", device); err != nil {
			t.Error(err)
		}
	})
	if err := sh(program, "-o", "umask=022", device, dir); err != nil {
		t.Fatal(err)
	}
	unmountAtEnd(t, dir)
}

func mountTmpfs(t *testing.T, _ Kind, _ Finder, _, dir string) {
	if err := sh("mount", "-t", "tmpfs", "tmpfs", dir); err != nil {
		t.Skip(err)
	}
	unmountAtEnd(t, dir)
}

// SmallTmpfs is a tmpfs of so many bytes, for who wants to see it full.
func SmallTmpfs(size int64) Kind {
	return Kind{"tmpfs", Lacks{}, func(t *testing.T, _ Kind, _ Finder, _, dir string) {
		if err := sh("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", dir); err != nil {
			t.Skip(err)
		}
		unmountAtEnd(t, dir)
	}}
}

func mountOverlay(t *testing.T, k Kind, find Finder, scratch, dir string) {
	inKernel(t, "overlay")
	base := filepath.Join(scratch, "base")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	mountTmpfs(t, k, find, scratch, base) // an overlay may not lie above another one
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := sh("mount", "-t", "overlay", "overlay", "-o",
		fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base), dir); err != nil {
		t.Skip(err)
	}
	unmountAtEnd(t, dir)
}

func needsFUSE(t *testing.T) {
	t.Helper()
	inKernel(t, "fuse")
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	f.Close()
}
