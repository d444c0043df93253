package cluster

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3afero"
	"github.com/spf13/afero"

	"github.com/peerload/peerload/internal/testkit/filesystem"
	"github.com/peerload/peerload/internal/testkit/foreign"
)

// storage is an S3-compatible server whose objects lie on a small disk of its own.
type storage struct {
	t    *testing.T
	disk string
	url  string // as --objects has it
	// endpoint is where it is, and bucket firmware there.
	endpoint string
}

// newStorage starts one, with a bucket.
func newStorage(t *testing.T) *storage {
	t.Helper()
	s := &storage{t: t, disk: filesystem.SmallTmpfs(8<<20).Mount(t, foreign.Program)}
	backend, err := s3afero.MultiBucket(whole{afero.NewBasePathFs(afero.NewOsFs(), s.disk)},
		s3afero.MultiWithMetaFs(afero.NewMemMapFs()))
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.CreateBucket("firmware"); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(listed{backend}).Server())
	t.Cleanup(srv.Close)
	s.endpoint = srv.URL
	s.url = "s3://firmware/fw?endpoint=" + srv.URL + "&region=us-east-1"
	return s
}

// fill fills the disk to the last byte; empty gives it back.
func (s *storage) fill() (empty func()) {
	s.t.Helper()
	ballast := filepath.Join(s.disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		s.t.Fatal(err)
	}
	for block := make([]byte, 1<<16); err == nil; {
		_, err = f.Write(block)
	}
	if e := f.Close(); !errors.Is(err, syscall.ENOSPC) || e != nil {
		s.t.Fatal(err, e)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			s.t.Fatal(err)
		}
	}
}

// listed lists a folder that is not there as empty, as S3 does: it knows no folders.
type listed struct{ *s3afero.MultiBucketBackend }

// ListBucket implements gofakes3.Backend.
func (l listed) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList,
	error) {
	all, err := l.MultiBucketBackend.ListBucket(name, prefix, page)
	if gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchBucket) {
		return gofakes3.NewObjectList(), nil
	}
	return all, err
}

// whole has each object appear whole or not at all, as S3 promises and the server that
// is used here does not, and says of a full disk what servers say.
type whole struct{ afero.Fs }

// Create implements afero.Fs.
func (w whole) Create(name string) (afero.File, error) {
	f, err := w.Fs.Create(name + ".part")
	if err != nil {
		return nil, full(err)
	}
	return &part{f, w.Fs, name, nil}, nil
}

// part is an object that is being written.
type part struct {
	afero.File
	fs   afero.Fs
	name string
	err  error
}

// Write implements io.Writer.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	if err != nil {
		p.err = full(err)
	}
	return n, full(err)
}

// Close implements io.Closer.
func (p *part) Close() error {
	err := errors.Join(p.err, p.File.Close())
	if err != nil {
		return errors.Join(err, p.fs.Remove(p.name+".part"))
	}
	return p.fs.Rename(p.name+".part", p.name)
}

// full says of a full disk what MinIO does.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return gofakes3.ErrorMessage("XMinioStorageFull", "the disk is full")
	}
	return err
}
