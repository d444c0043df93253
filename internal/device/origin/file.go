package origin

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// openFile opens a regular file of this host.
func openFile(r Request) (*Body, error) {
	if h := r.URL.Host; h != "" && h != "localhost" {
		return nil, fmt.Errorf("a file URL names no host but localhost, this one names %q", h)
	}
	path := filepath.FromSlash(r.URL.Path)
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("the path %q is not absolute", path)
	}
	// Not to wait for the other end of a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", fileMeaning(err), err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file", ErrForbidden)
	}
	b := &Body{ReadCloser: f, Offset: r.Offset, Scheme: "file"}
	if err == nil {
		b.Size = info.Size()
		if b.Offset > b.Size {
			b.Offset = 0
		}
		_, err = f.Seek(b.Offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return b, nil
}

func fileMeaning(err error) error {
	if is := meaning(err, connecting); is != nil {
		return is
	}
	return ErrUnreachable
}
