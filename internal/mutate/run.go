package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// runner builds and runs the tests of one package.
type runner struct {
	target  target
	dir     string // for what is built
	options options
}

// sampler runs the sample of one package: one mutant is built while the tests
// of the one before run. Tests of one package never run side by side, because
// those of a device want the same addresses.
type sampler struct {
	runner
	known []equivalent
	log   io.Writer
}

// built is a mutant whose tests are ready to run.
type built struct {
	mutant mutant
	binary string // "" if it is known as equivalent
}

// sample runs mutants in the order they are drawn until enough have been.
func (s *sampler) sample(ctx context.Context, drawn []mutant) (row, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := row{name: filepath.ToSlash(s.target.display(".")), total: len(drawn)}
	if err := s.unchanged(ctx); err != nil {
		return r, err
	}
	ready := make(chan built)
	failed := make(chan error, 1)
	go func() {
		defer close(ready)
		failed <- s.buildAll(ctx, drawn, ready)
	}()
	for b := range ready {
		r.drawn++
		if b.binary == "" {
			r.equivalent++
			continue
		}
		killed, err := s.kills(ctx, b.binary)
		os.Remove(b.binary)
		if err != nil {
			return r, err
		}
		verdict := "killed  "
		if killed {
			r.killed++
		} else {
			verdict = "survived"
			r.survivors = append(r.survivors, b.mutant)
		}
		fmt.Fprintf(s.log, "%s %s\n", verdict, b.mutant)
	}
	slices.SortFunc(r.survivors, func(a, b mutant) int {
		if a.file != b.file {
			return bytes.Compare([]byte(a.file), []byte(b.file))
		}
		return a.start - b.start
	})
	return r, <-failed
}

// unchanged makes sure that the tests pass without a change, within the limits.
func (s *sampler) unchanged(ctx context.Context) error {
	binary, err := s.build(ctx, "unchanged", "")
	if err != nil {
		return err
	}
	defer os.Remove(binary)
	if killed, err := s.kills(ctx, binary); err != nil {
		return err
	} else if killed {
		return errors.New("the tests fail, or take longer than -limit, without any change: mend that first")
	}
	return nil
}

// buildAll builds mutants one after the other and hands them over, until there
// are as many as asked for that build or are known.
func (s *sampler) buildAll(ctx context.Context, drawn []mutant, ready chan<- built) error {
	n := 0
	for i, m := range drawn {
		if s.options.n > 0 && n == s.options.n {
			return nil
		}
		b := built{mutant: m}
		if !slices.ContainsFunc(s.known, func(e equivalent) bool { return e.is(m) }) {
			binary, err := s.mutate(ctx, i, m)
			if err != nil {
				return err
			}
			if binary == "" {
				continue
			}
			b.binary = binary
		}
		select {
		case ready <- b:
			n++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// mutate builds the tests with one mutant; "" if it does not build.
func (r runner) mutate(ctx context.Context, i int, m mutant) (string, error) {
	path := filepath.Join(r.target.Dir, filepath.Base(m.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	name := strconv.Itoa(i)
	changed := filepath.Join(r.dir, name+".go")
	text = slices.Concat(text[:m.start], []byte(m.replacement), text[m.end:])
	if err := os.WriteFile(changed, text, 0o600); err != nil {
		return "", err
	}
	defer os.Remove(changed)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(r.dir, name+".json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	defer os.Remove(list)
	binary, err := r.build(ctx, name, list)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		return "", nil
	}
	return binary, err
}

// build builds the tests of the package, with an overlay if one is named.
func (r runner) build(ctx context.Context, name, overlay string) (string, error) {
	binary := filepath.Join(r.dir, name+".test")
	args := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = r.target.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the tests do not build: %w\n%s", err, out)
	}
	return binary, nil
}

// kills runs tests and reports whether they fail or do not end.
func (r runner) kills(ctx context.Context, binary string) (bool, error) {
	// The tests end themselves at the limit and say where they hang; those that
	// cannot are ended a little later.
	limited, cancel := context.WithTimeout(ctx, r.options.limit+5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(limited, "sh", "-c", `ulimit -v "$0" && exec "$@"`,
		strconv.Itoa(r.options.memory*1024), binary, fmt.Sprintf("-test.short=%t", !r.options.long), "-test.failfast",
		"-test.run="+r.options.run, "-test.timeout="+r.options.limit.String())
	cmd.Dir = r.target.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if cmd.Process != nil {
		// What the tests started and left behind; mostly nothing is there.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	exit := (*exec.ExitError)(nil)
	if err == nil || errors.As(err, &exit) || limited.Err() != nil {
		return err != nil, nil
	}
	return false, err
}
