package filesystem

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// lacking is a directory by FUSE without some of what directories can do.
type lacking struct {
	fuse.RawFileSystem
	lacks Lacks

	mu sync.Mutex
	// spelt has the ways in which names were written, by themselves in lower case.
	spelt map[string][]string
}

func mountLacking(t *testing.T, k Kind, _ Finder, scratch, dir string) {
	needsFUSE(t)
	store := filepath.Join(scratch, "store")
	if err := os.Mkdir(store, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := fs.NewLoopbackRoot(store)
	if err != nil {
		t.Fatal(err)
	}
	at := &lacking{RawFileSystem: fs.NewNodeFS(root, &fs.Options{}), lacks: k.Lacks, spelt: map[string][]string{}}
	server, err := fuse.NewServer(at, dir, &fuse.MountOptions{
		DirectMountStrict: true, AllowOther: true, FsName: "peerload-test", Name: "lacking", DisableXAttrs: true,
	})
	if err != nil {
		t.Skip("no FUSE here: ", err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve()
	}()
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
			return
		}
		<-served
	})
	if err := server.WaitMount(); err != nil {
		t.Fatal(err)
	}
}

// name is how a name is written in a directory, if it is there in any way.
func (l *lacking) name(cancel <-chan struct{}, in *fuse.InHeader, name string) string {
	if !l.lacks.Case {
		return name
	}
	l.mu.Lock()
	key := strings.ToLower(name)
	if !slices.Contains(l.spelt[key], name) {
		l.spelt[key] = append(l.spelt[key], name)
	}
	ways := slices.Clone(l.spelt[key])
	l.mu.Unlock()
	for _, way := range ways {
		var out fuse.EntryOut
		if l.RawFileSystem.Lookup(cancel, in, way, &out).Ok() {
			l.Forget(out.NodeId, 1)
			return way
		}
	}
	return name
}

func (l *lacking) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return l.RawFileSystem.Lookup(cancel, in, l.name(cancel, in, name), out)
}

func (l *lacking) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return l.RawFileSystem.Create(cancel, in, l.name(cancel, &in.InHeader, name), out)
}

func (l *lacking) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return l.RawFileSystem.Mknod(cancel, in, l.name(cancel, &in.InHeader, name), out)
}

func (l *lacking) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return l.RawFileSystem.Mkdir(cancel, in, l.name(cancel, &in.InHeader, name), out)
}

func (l *lacking) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return l.RawFileSystem.Unlink(cancel, in, l.name(cancel, in, name))
}

func (l *lacking) Rmdir(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	return l.RawFileSystem.Rmdir(cancel, in, l.name(cancel, in, name))
}

func (l *lacking) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	dir := in.InHeader
	dir.NodeId = in.Newdir
	return l.RawFileSystem.Rename(cancel, in, l.name(cancel, &in.InHeader, from), l.name(cancel, &dir, to))
}

func (l *lacking) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	if l.lacks.HardLinks != 0 {
		return fuse.Status(l.lacks.HardLinks)
	}
	return l.RawFileSystem.Link(cancel, in, l.name(cancel, &in.InHeader, name), out)
}

func (l *lacking) Symlink(cancel <-chan struct{}, in *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	if l.lacks.Symlinks != 0 {
		return fuse.Status(l.lacks.Symlinks)
	}
	return l.RawFileSystem.Symlink(cancel, in, to, l.name(cancel, in, name), out)
}
