// Package publish turns files into a published load or file set: the use case behind
// "peerload-server load add" and "fileset add", on the command line and in the API. It calls
// package repository, which signs what it is given and knows nothing about the
// files on an administrator's disk.
//
// What must not be here: flags and output, sockets, signing itself.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/load"
)

// Errors for errors.Is.
var (
	// ErrRefused says that a request is not a valid load: nothing was
	// published.
	ErrRefused = errors.New("refused")
	// ErrExists says that the load is there with other content under the same
	// version.
	ErrExists = errors.New("the load exists with other content")
)

// Request asks for a load.
type Request struct {
	// Name and Version of the load, as load.Manifest has them.
	Name, Version string
	// Models that the load is for, at least one.
	Models []string
	// Directory makes it a file set, for that directory. "": it is a load.
	Directory string
	// Files are paths of the components, in the order in which devices fetch
	// them. A component is named as the last element of its path.
	Files []string
	// Replace allows other content under a name and version that is there.
	Replace bool
	// Created is written into the manifest. The zero time means: leave it out.
	Created time.Time
}

// Result says what Add did.
type Result struct {
	// Manifest that is published now.
	Manifest *load.Manifest
	// Changed is false if the very same load was there already.
	Changed bool
	// Replaced is the version that was there before, "" if there was none.
	Replaced string
}

// Add publishes the load in the repository, which it makes on first use. The
// same request again changes nothing. Errors match ErrRefused or ErrExists, or
// are those of package trust or of the disk.
func Add(repo *repository.Repository, req Request) (Result, error) {
	m, paths, err := describe(req)
	if err != nil {
		return Result{}, err
	}
	if err := repo.Init(); err != nil {
		return Result{}, err
	}
	res := Result{Manifest: m, Changed: true}
	old, err := find(repo, m.Name)
	if err != nil {
		return Result{}, err
	}
	if old != nil {
		if old.Directory != m.Directory {
			return Result{}, fmt.Errorf("%w: %s is %s already: choose another name", ErrRefused, m.Name, kind(old))
		}
		if same(old, m) {
			return Result{Manifest: old}, nil
		}
		if old.Version == m.Version && !req.Replace {
			return Result{}, fmt.Errorf("%w: %s version %s", ErrExists, m.Name, m.Version)
		}
		res.Replaced = old.Version
	}
	err = repo.Add(m, func(name string) (io.ReadCloser, error) { return os.Open(paths[name]) })
	return res, err
}

// kind names what a manifest is of.
func kind(m *load.Manifest) string {
	if m.Directory == "" {
		return "a load"
	}
	return "a file set for the directory " + m.Directory
}

// describe makes the manifest, and says where each component is.
func describe(req Request) (*load.Manifest, map[string]string, error) {
	m := &load.Manifest{Name: req.Name, Version: req.Version, Models: req.Models, Directory: req.Directory}
	if !req.Created.IsZero() {
		m.Created = req.Created.UTC().Format(time.RFC3339)
	}
	// Cheap checks come first, before gigabytes are read.
	if err := CheckFiles(req.Files); err != nil {
		return nil, nil, err
	}
	paths := make(map[string]string, len(req.Files))
	for _, p := range req.Files {
		paths[filepath.Base(p)] = p
	}
	for _, p := range req.Files {
		c, err := describeFile(p)
		if err != nil {
			return nil, nil, err
		}
		m.Components = append(m.Components, c)
	}
	if _, err := m.Marshal(); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return m, paths, nil
}

// CheckFiles refuses paths that cannot form a load, without reading the files.
// An error matches ErrRefused, or is that of the disk.
func CheckFiles(files []string) error {
	if len(files) == 0 {
		return fmt.Errorf("%w: a load needs at least one file", ErrRefused)
	}
	folded := make(map[string]string, len(files))
	for _, p := range files {
		name := filepath.Base(p)
		if err := load.CheckName(name); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRefused, p, err)
		}
		if other, ok := folded[strings.ToLower(name)]; ok {
			return fmt.Errorf("%w: %s and %s would have the same name in the load", ErrRefused, other, p)
		}
		folded[strings.ToLower(name)] = p
		if err := usable(p); err != nil {
			return err
		}
	}
	return nil
}

// usable refuses what cannot be a component.
func usable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%w: %s is a directory; name the files in it", ErrRefused, path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: %s is not a regular file", ErrRefused, path)
	case info.Size() == 0:
		return fmt.Errorf("%w: %s is empty", ErrRefused, path)
	}
	return nil
}

func describeFile(path string) (load.Component, error) {
	f, err := os.Open(path)
	if err != nil {
		return load.Component{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return load.Component{}, err
	}
	c, err := load.Describe(filepath.Base(path), f, info.Size())
	if errors.Is(err, load.ErrShort) || errors.Is(err, load.ErrLong) {
		err = fmt.Errorf("%w: %s changes while it is read: %w", ErrRefused, path, err)
	}
	return c, err
}

// find returns the published manifest of that name, nil if there is none.
func find(repo *repository.Repository, name string) (*load.Manifest, error) {
	all, err := repo.Loads()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Name == name {
			return m, nil
		}
		if strings.EqualFold(m.Name, name) {
			return nil,
				fmt.Errorf("%w: load %s differs from %s by upper and lower case only, and some file systems take them for one",
					ErrRefused, name, m.Name)
		}
	}
	return nil, nil
}

// same compares everything but the time of making.
func same(a, b *load.Manifest) bool {
	x, y := *a, *b
	x.Created, y.Created = "", ""
	x.Models, y.Models = slices.Sorted(slices.Values(x.Models)), slices.Sorted(slices.Values(y.Models))
	return reflect.DeepEqual(x, y)
}

// FreshEvery is how often KeepFresh signs: much more often than the timestamp
// expires, so that an outage of days does no harm.
const FreshEvery = 24 * time.Hour

// KeepFresh refreshes the repository's signatures now and every FreshEvery
// until ctx is cancelled. Failures are logged and tried again at the next
// turn: the files that are there are still good for weeks.
func KeepFresh(ctx context.Context, repo *repository.Repository, log *slog.Logger) {
	t := time.NewTicker(FreshEvery)
	defer t.Stop()
	for {
		if err := repo.Refresh(); err != nil {
			log.Error("the repository's signatures were not refreshed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
