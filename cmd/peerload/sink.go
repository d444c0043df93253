package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/target"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// sink takes a verified file that has no place among the files: standard output,
// a FIFO, a device. The file is fetched below the state directory, where it can
// be resumed, and copied when all of it is verified.
type sink struct {
	name string // as it was given
	path string // "" for standard output
	held string // where the file is until then

	ended chan error // of the copy; nil before it began
}

// newSink returns the sink that an output names, nil if it is that of a file.
// What cannot be written to is refused now, not after the download.
func newSink(output, state string, r *request) (*sink, error) {
	s := &sink{name: output, path: output}
	switch {
	case output == "":
		return nil, nil
	case output == "-":
		s.path = ""
	default:
		path, open, err := target.Follow(output)
		if err != nil {
			return nil, usagef("-o: %w", err)
		}
		info, err := os.Stat(path)
		if err != nil || !open && (info.Mode().IsRegular() || info.IsDir()) {
			return nil, nil //nolint:nilerr // what is not there becomes a file
		}
		if standard, err := os.Stdout.Stat(); err == nil && open && os.SameFile(info, standard) {
			s.path = ""
		}
	}
	if r.Load || len(r.Sources) > 1 {
		return nil, usagef("-o %s takes one file, and several would come: give a directory", output)
	}
	if err := s.writable(); err != nil {
		return nil, failure.WithKind(failure.Disk, fmt.Errorf("-o %s: %w", output, err))
	}
	key := load.DigestOf([]byte(r.Sources[0][0].String()))
	s.held = filepath.Join(state, "output", key.String()[:32])
	return s, durable.Writer{}.MkdirAll(filepath.Dir(s.held), 0o700)
}

// writable says why the sink cannot be written to. It opens nothing: the reader
// of a FIFO would take the end of that for the end of the file.
func (s *sink) writable() error {
	const write = 2 // access(2)
	if s.path == "" {
		return nil
	}
	return syscall.Access(s.path, write)
}

// events wraps what takes the events of the run: the file is written as soon as
// it is verified, while the peers are served, and known by the name that was
// given.
func (s *sink) events(take func(report.Event)) func(report.Event) {
	return func(e report.Event) {
		if e.Event == report.KindDone && s.ended == nil {
			s.ended = make(chan error, 1)
			go func() { s.ended <- s.copy() }()
		}
		if e.Final != nil {
			e.Final = s.named(*e.Final)
		}
		if e.Message == s.held {
			e.Message = s.name
		}
		take(e)
	}
}

// named is a report under the name that was given.
func (s *sink) named(f report.Final) *report.Final {
	f.Path = s.name
	return &f
}

// finish waits until the file is written, and removes what was held for it.
func (s *sink) finish(ctx context.Context) error {
	if s.ended == nil {
		return nil
	}
	select {
	case err := <-s.ended:
		if err != nil {
			return failure.WithKind(peerload.ErrDisk, fmt.Errorf("write %s: %w", s.name, err))
		}
		return os.Remove(s.held)
	case <-ctx.Done(): // nobody reads
		return &failure.Stopped{Cause: context.Cause(ctx), Context: ctx.Err()}
	}
}

// copy writes the verified file.
func (s *sink) copy() error {
	in, err := os.Open(s.held)
	if err != nil {
		return err
	}
	defer in.Close()
	out := os.Stdout
	if s.path != "" {
		if out, err = os.OpenFile(s.path, os.O_WRONLY, 0); err != nil {
			return err
		}
		defer out.Close()
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	// A block device keeps it in memory until then; a pipe or a terminal cannot.
	if err := out.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) &&
		!errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}
