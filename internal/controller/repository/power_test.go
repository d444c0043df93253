package repository_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// publishes publishes load "fw" of a version in a repository.
func publishes(r *repository.Repository, version int) error {
	text := fmt.Sprint("app ", version)
	c, err := load.Describe("app.bin", strings.NewReader(text), int64(len(text)))
	if err != nil {
		return err
	}
	m := &load.Manifest{Name: "fw", Version: fmt.Sprint(version), Models: []string{"linux-arm"},
		Components: []load.Component{c}}
	return r.Add(m, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
}

// TestPowerCut cuts the power while a repository is made, loads are published
// and keys rotated. What is found is a repository, or the beginning of one that
// Init completes; it offers what was published last or, if the cut was in it, the
// one before, whole, under the root that was there first; and it goes on.
func TestPowerCut(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	base := faultdisk.Scratch(t)
	open := func(base string) (*repository.Repository, error) {
		return repository.Open(repository.Config{Dir: filepath.Join(base, "srv", "tree"), Keys: filepath.Join(base, "keys")})
	}
	published := 0
	var pin []byte
	story := func(rec *faultdisk.Recorder) error {
		r, err := open(base)
		if err != nil {
			return err
		}
		r.WriteTo(rec)
		if err := r.Init(); err != nil {
			return err
		}
		if pin, _, err = r.ExportRoot(); err != nil {
			return err
		}
		for version := 1; version <= 8; version++ {
			if err := publishes(r, version); err != nil {
				return err
			}
			published = version
			if version == 1 || version == 2 {
				if err := r.RotateKeys([]string{metadata.TARGETS, metadata.ROOT}[version-1]); err != nil {
					return err
				}
			}
		}
		return r.Refresh()
	}
	said := func() string { return fmt.Sprint(published, pin != nil) }
	faultdisk.Recorded(t, 1, base, story, said, func(t *testing.T, base, promise string) {
		var published int
		var made bool
		_, err := fmt.Sscan(promise, &published, &made)
		must(t, err)
		r, err := open(base)
		must(t, err)
		if _, err := r.RootLife(); made && err != nil {
			t.Fatalf("a repository that was made is gone: %v", err)
		}
		must(t, r.Init())
		first, err := os.ReadFile(filepath.Join(base, "srv", "tree", "metadata", "1.root.json"))
		if must(t, err); made && !bytes.Equal(first, pin) {
			t.Fatal("its root is another one")
		}
		device := faultdisk.Scratch(t)
		must(t, os.WriteFile(filepath.Join(device, trust.PinName), first, 0o644))
		offers := func() int {
			t.Helper()
			c, err := trust.New(trust.Config{Dir: device})
			must(t, err)
			tree := trust.DirFetcher(filepath.Join(base, "srv", "tree"))
			must(t, c.Refresh(context.Background(), tree))
			m, _, err := c.Manifest(context.Background(), tree, "fw")
			if errors.Is(err, trust.ErrNotFound) || errors.Is(err, trust.ErrUnknownTarget) {
				return 0
			}
			must(t, err)
			var version int
			_, err = fmt.Sscan(m.Version, &version)
			must(t, err)
			return version
		}
		if v := offers(); v != published && v != published+1 {
			t.Fatalf("load %d was published, and it offers %d", published, v)
		}
		_, err = r.Verify(context.Background())
		must(t, err)
		must(t, publishes(r, 9))
		must(t, r.RotateKeys(metadata.SNAPSHOT))
		if v := offers(); v != 9 {
			t.Fatalf("it offers %d, and 9 was published", v)
		}
	})
}
