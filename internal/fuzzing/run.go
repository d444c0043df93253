package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// target is one fuzz target.
type target struct {
	pkg  string // its folder below the root of the module, as "./load"
	path string // by which it is imported
	dir  string // absolute
	name string
}

// listTargets finds the targets of the packages that patterns name, in the
// order of the go command and of the source.
func listTargets(ctx context.Context, patterns []string) ([]target, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list",
		"-json=Dir,ImportPath,Module,TestGoFiles,XTestGoFiles", "--"}, patterns...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	var all []target
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			Dir, ImportPath           string
			Module                    struct{ Path string }
			TestGoFiles, XTestGoFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			names, err := targetsOf(filepath.Join(p.Dir, name), nil)
			if err != nil {
				return nil, err
			}
			for _, n := range names {
				all = append(all, target{pkg: "." + strings.TrimPrefix(p.ImportPath, p.Module.Path), path: p.ImportPath,
					dir: p.Dir, name: n})
			}
		}
	}
}

// targetsOf returns the names of the fuzz targets of a file; src as for
// parser.ParseFile.
func targetsOf(path string, src any) (names []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Fuzz") {
			names = append(names, fn.Name.Name)
		}
	}
	return names, nil
}

// campaign runs the targets and adds each to the record.
func campaign(ctx context.Context, o options, targets []target, stdout, stderr io.Writer) error {
	b, err := newBuilder(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	var failed []string
	var all int64
	for _, t := range targets {
		var out outcome
		program, err := b.program(ctx, t, stderr)
		if err == nil {
			out, err = t.run(ctx, o, program, b.inputs(t), stderr)
		} else {
			out.tail = []byte(err.Error() + "\n")
		}
		if out.executions > 0 && o.record != "" {
			if err := addToRecord(o.record, out.row(t, o, time.Now().UTC())); err != nil {
				return err
			}
		}
		all += out.executions
		fmt.Fprintf(stdout, "%-28s %-22s %11d executions, %d new crashers\n", t.pkg, t.name, out.executions,
			len(out.crashers))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed = append(failed, t.pkg+" "+t.name)
			fmt.Fprintf(stdout, "%s", out.tail)
		}
	}
	fmt.Fprintf(stdout, "%d targets, %d executions\n", len(targets), all)
	if len(failed) > 0 {
		return fmt.Errorf("%d targets failed: %s", len(failed), strings.Join(failed, ", "))
	}
	return nil
}

// builder builds the tests of a package once for all of its targets: go test -fuzz
// would link them anew for each, which takes longer than a short run.
type builder struct {
	dir    string // of the program
	cache  string // of the go command: where it keeps inputs that reached new code
	of     string // the package that was built last, with
	failed error  // this outcome
}

func newBuilder(ctx context.Context) (*builder, error) {
	cache, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOCACHE: %w", err)
	}
	dir, err := os.MkdirTemp("", "fuzzing-")
	return &builder{dir: dir, cache: strings.TrimSpace(string(cache))}, err
}

func (b *builder) close() { _ = os.RemoveAll(b.dir) }

// program is a target's test program.
func (b *builder) program(ctx context.Context, t target, stderr io.Writer) (string, error) {
	program := filepath.Join(b.dir, "fuzzing.test")
	if b.of != t.dir {
		// With -fuzz it is built to tell which code an input reaches.
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-fuzz", ".", "-o", program, ".")
		cmd.Dir = t.dir
		var said bytes.Buffer
		cmd.Stdout = io.MultiWriter(&said, stderr)
		cmd.Stderr = cmd.Stdout
		b.of, b.failed = t.dir, nil
		if err := cmd.Run(); err != nil {
			b.failed = fmt.Errorf("go test -c: %w\n%s", err, said.Bytes())
		}
	}
	return program, b.failed
}

// inputs is where a target's inputs that reached new code are kept, as by go test -fuzz.
func (b *builder) inputs(t target) string {
	return filepath.Join(b.cache, "fuzz", filepath.FromSlash(t.path))
}

// outcome is what a run of a target came to.
type outcome struct {
	executions int64
	crashers   []string // files below testdata/fuzz that the run made
	tail       []byte   // the last that it printed
}

// grace is how long a run may take beyond its time: to try the inputs that it has,
// and to make a failing input smaller.
const grace = 5 * time.Minute

// run runs one target of a test program; what it finds goes to inputs, too.
func (t target) run(ctx context.Context, o options, program, inputs string, stderr io.Writer) (outcome, error) {
	limited, cancel := context.WithTimeout(ctx, o.limit+grace)
	defer cancel()
	cmd := exec.CommandContext(limited, program, "-test.run", "^$", "-test.fuzz", "^"+t.name+"$", "-test.fuzztime",
		o.limit.String(), "-test.fuzzminimizetime", "1000x", "-test.parallel", strconv.Itoa(o.parallel),
		"-test.fuzzcachedir", inputs)
	cmd.Dir = t.dir
	cmd.Env = os.Environ()
	if o.seed > 0 {
		cmd.Env = append(cmd.Env, "GODEBUG=fuzzseed="+strconv.Itoa(o.seed))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, stderr)
	cmd.Stderr = cmd.Stdout
	err := cmd.Run()
	if cmd.Process != nil {
		// The workers, if the program left before them; mostly none is there.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	result := understand(out.Bytes())
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && result.ranOut() {
		err = nil
	}
	return result, err
}

var (
	executed = regexp.MustCompile(`^fuzz: elapsed: .*, execs: ([0-9]+) `)
	written  = regexp.MustCompile(`^\s*Failing input written to (testdata/fuzz/\S+)`)
)

// mostTail is how much of a failed run's output is shown again.
const mostTail = 4000

// understand reads what a target's run printed.
func understand(text []byte) (o outcome) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		if m := executed.FindSubmatch(lines.Bytes()); m != nil {
			o.executions, _ = strconv.ParseInt(string(m[1]), 10, 64)
		} else if m := written.FindSubmatch(lines.Bytes()); m != nil {
			o.crashers = append(o.crashers, string(m[1]))
		}
	}
	o.tail = text[max(0, len(text)-mostTail):]
	return o
}

// ranOut tells a run that only came to the end of its time while an input was
// tried, which is reported as a failure of the target.
func (o outcome) ranOut() bool {
	return o.executions > 0 && len(o.crashers) == 0 && bytes.Contains(o.tail, []byte("context deadline exceeded")) &&
		!bytes.Contains(o.tail, []byte("panic:"))
}
