package sums

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/peerload/peerload/load"
)

// SignatureSuffix follows the name of the list in that of its signature.
const SignatureSuffix = ".sig"

// Verify checks files against the list, and the list against the public key in
// the file keyFile. Without files it checks those that lie next to the list, of
// which there must be one at least. It calls ok for each that is right, and
// returns the errors of all that are not.
func Verify(keyFile, list string, files []string, ok func(name string)) error {
	s, err := readSums(keyFile, list)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		for _, name := range slices.Sorted(maps.Keys(s)) {
			path := filepath.Join(filepath.Dir(list), name)
			if _, err := os.Lstat(path); err == nil {
				files = append(files, path)
			}
		}
		if len(files) == 0 {
			return fmt.Errorf("none of the %d files of the list is in %s, name the file to verify: %w",
				len(s), filepath.Dir(list), ErrMissing)
		}
	}
	var wrong []error
	for _, f := range files {
		if err := s.check(f); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", f, err))
			continue
		}
		ok(f)
	}
	return errors.Join(wrong...)
}

// readSums reads the key, the list and its signature.
func readSums(keyFile, list string) (Sums, error) {
	raw, err := read(keyFile, MaxKey)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	text, err := read(list, MaxList)
	if err != nil {
		return nil, err
	}
	signature, err := read(list+SignatureSuffix, MaxKey)
	if errors.Is(err, ErrMissing) {
		return nil, fmt.Errorf("%w: download the signature next to the list", err)
	}
	if err != nil {
		return nil, err
	}
	s, err := Open(key, text, signature)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", list, err)
	}
	return s, nil
}

// check reads a file and compares it with the sum of its name.
func (s Sums) check(file string) error {
	want, found := s[filepath.Base(file)]
	if !found {
		return ErrUnknown
	}
	f, err := open(file)
	if err != nil {
		return problem(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return problem(err)
	}
	if load.Digest(h.Sum(nil)) != want {
		return ErrDigest
	}
	return nil
}

// read reads a file, and of a longer one limit+1 bytes: whoever parses it says so.
func read(file string, limit int64) ([]byte, error) {
	f, err := open(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, problem(err))
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, problem(err))
	}
	return raw, nil
}

// open opens a file. What is none, such as a FIFO, might never end, or not even open.
func open(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New("not a regular file: copy what it gives into one")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// problem says of an error of a file of which kind it is, without its path.
func problem(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrMissing
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return fmt.Errorf("%w: %w", ErrRead, err)
}
