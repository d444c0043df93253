package tftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"syscall"
)

// File is an open file that a transfer reads.
type File interface {
	io.ReaderAt
	io.Closer
	// Size in bytes. It must not change while the file is open.
	Size() int64
}

// Opener opens the files that a server serves. The name is clean: as CleanName
// returns it. An error that matches fs.ErrNotExist is answered with ERROR 1, an
// *Error is sent as it is, any other is answered with ERROR 2.
type Opener interface {
	Open(name string, client netip.AddrPort) (File, error)
}

// Dir serves the regular files below root. Symbolic links that leave it are
// refused by os.Root, whenever they appear.
func Dir(root *os.Root) Opener { return dir{root} }

type dir struct{ root *os.Root }

var errNotRegular = errors.New("not a regular file")

// Open implements Opener.
func (d dir) Open(name string, _ netip.AddrPort) (File, error) {
	// Checked before it is opened, because opening a device file may have
	// effects, and after, because it may have been replaced.
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", name, errNotRegular)
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, errNotRegular)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return osFile{io.NewSectionReader(f, 0, info.Size()), f}, nil
}

// osFile keeps the size that the file had when it was opened.
type osFile struct {
	*io.SectionReader
	io.Closer
}

// CleanName checks the file name of a request and returns it relative to the
// served directory. Many devices send one leading slash, which means nothing.
// It refuses everything that some system might take for a way out of the
// directory: a second leading slash, a backslash, an element that is empty or
// of dots only, a drive letter's colon in the first element, control
// characters.
func CleanName(name string) (string, error) {
	clean := strings.TrimPrefix(name, "/")
	refuse := func(why string) (string, error) {
		return "", &Error{Code: codeAccess, Message: "file name refused: " + why}
	}
	if clean == "" || len(clean) > maxName {
		return refuse("its length")
	}
	for i := range len(clean) {
		if c := clean[i]; c < ' ' || c == 0x7f || c == '\\' {
			return refuse("a backslash or a control character")
		}
	}
	for i, element := range strings.Split(clean, "/") {
		if strings.Trim(element, ".") == "" {
			return refuse("an element that is empty or of dots")
		}
		if i == 0 && len(element) >= 2 && element[1] == ':' {
			return refuse("a drive letter")
		}
	}
	return clean, nil
}

// answerFor turns an error of opening a file into an ERROR packet. It does not
// reveal paths of this system to the client.
func answerFor(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return &Error{Code: codeNotFound, Message: "file not found"}
	}
	return &Error{Code: codeAccess, Message: "access violation"}
}
