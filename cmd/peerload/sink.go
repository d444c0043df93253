package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/origin"
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

// execLinger is how long the file of --exec is served to peers where nobody says
// otherwise: a device whose wrapper runs some seconds later finds it.
const execLinger = 20 * time.Second

// placeholder stands for the path of the file in the words of --exec.
const placeholder = "{}"

// follower is the command that gets the verified file.
type follower struct {
	words []string
	// file is where the file is. kept says that it stays there.
	file string
	kept bool
	// quiet keeps its standard output apart from the events on ours.
	quiet bool
	ended chan error // nil before it began
}

// execError says how the command ended that got the file.
type execError struct{ error }

func (e execError) Unwrap() error { return e.error }

// newFollower reads --exec. Without an output the file is held below the state
// directory until the command has ended well.
func (f *getFlags) newFollower(state string, urls []string) (*follower, error) {
	words := strings.Fields(f.exec)
	switch {
	case len(words) == 0:
		return nil, usagef("--exec names no command: write one such as --exec 'rauc install {}'")
	case len(urls) != 1 || f.trust != "" || f.slots:
		return nil, usagef("--exec takes one file: give one URL, with --sha256 or --unsigned")
	case f.output == "-":
		return nil, usagef("--exec gets the file instead of standard output: leave out -o, or name a file")
	}
	if _, err := exec.LookPath(words[0]); err != nil {
		return nil, usagef("--exec: %w; name a program that can be run", err)
	}
	c := &follower{words: words, file: f.output, kept: f.output != "", quiet: f.json}
	if c.kept {
		return c, nil
	}
	sources, err := origin.Candidates(urls[0])
	if err != nil {
		return nil, usageError{err}
	}
	name := path.Base(sources[0].Path)
	if err := load.CheckFileName(name); err != nil {
		return nil, usagef("%w; name the file with -o", err)
	}
	key := load.DigestOf([]byte(sources[0].String()))
	c.file = filepath.Join(state, "output", key.String()[:32]+".d", name)
	f.output = c.file
	return c, durable.Writer{}.MkdirAll(filepath.Dir(c.file), 0o700)
}

// events wraps what takes the events of the run: the command begins as soon as the
// file is verified, while the peers are served.
func (c *follower) events(ctx context.Context, take func(report.Event)) func(report.Event) {
	return func(e report.Event) {
		if e.Event == report.KindDone && e.Final != nil {
			c.begin(ctx, e.Final.Path)
		}
		take(e)
	}
}

// begin runs the command once. The file is an argument where {} stands, else its
// standard input.
func (c *follower) begin(ctx context.Context, at string) {
	if c.ended != nil {
		return
	}
	c.ended = make(chan error, 1)
	go func() { c.ended <- c.run(ctx, at) }()
}

func (c *follower) run(ctx context.Context, at string) error {
	words := slices.Clone(c.words)
	given := false
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, placeholder, at)
		given = given || words[i] != w
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if c.quiet {
		cmd.Stdout = os.Stderr
	}
	if !given {
		in, err := os.Open(at)
		if err != nil {
			return err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	return cmd.Run()
}

// finish waits for the command. The file goes if it was only held for it.
func (c *follower) finish(ctx context.Context) error {
	if c.ended == nil {
		return nil
	}
	err := <-c.ended
	switch {
	case ctx.Err() != nil:
		return &failure.Stopped{Cause: context.Cause(ctx), Context: ctx.Err()}
	case err != nil:
		return execError{fmt.Errorf("the file is verified, but %s: %w", c.words[0], err)}
	case c.kept:
		return nil
	}
	return errors.Join(os.Remove(c.file), os.Remove(filepath.Dir(c.file)))
}
