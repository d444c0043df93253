// Command mutate changes the code a little, one change at a time, and runs the
// tests of the changed package: a change that no test notices is a gap in the
// tests.
//
//	go run ./internal/mutate -seed 1 -n 16 ./pdp/...       a random sample of each package
//	go run ./internal/mutate -kinds never -n 0 ./trust     every condition of one package, left out
//	go run ./internal/mutate -n 0 -in Validate ./load      every change of the functions of this name
//	go run ./internal/mutate -list ./tftp                  what there is to change
//
// Each mutant is one change of one file. The tree is never touched: the compiler
// gets the changed file by -overlay. Only the package's own tests are run, with -long
// also those that a short run leaves out, in a process of their own that ends with
// the first failure, at a limit of time, or at a limit of memory. A mutant whose
// tests fail or do not end is killed; one that does not build is left out and the
// next one is drawn. Mutants that cannot be told from the code as it is stand in
// equivalent.txt, each with the reason.
//
// Printed are the survivors by file and line and a table in Markdown; progress
// goes to standard error. What lives here: the changes, the sample, the runs.
// What must not: code that a program of the product needs.
//
// Read change.go (what is changed), then sample.go and run.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/tool"
)

func main() { tool.Main("mutate", run) }

// options are what the command line says.
type options struct {
	seed   uint64
	n      int // mutants of each package; 0: all
	kinds  []kind
	list   bool
	limit  time.Duration  // of one run of a package's tests
	long   bool           // run those that a short run leaves out, too
	memory int            // MiB of address space of such a run
	at     string         // only mutants of this file, or of a line of it
	in     *regexp.Regexp // only mutants of functions whose names match
	run    string         // as -test.run; "": all tests of the package
}

// run does what the command line asks for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Uint64Var(&o.seed, "seed", 1, "seed of the sample")
	flags.IntVar(&o.n, "n", 16, "`mutants` of each package, 0 for all")
	flags.BoolVar(&o.list, "list", false, "list the mutants and run nothing")
	flags.BoolVar(&o.long, "long", false, "run tests that a short run leaves out, too")
	flags.DurationVar(&o.limit, "limit", time.Minute, "`time` for one run of a package's tests")
	flags.IntVar(&o.memory, "memory", 8192, "`MiB` of address space for one run of a package's tests")
	flags.StringVar(&o.at, "at", "", "only mutants of this `file.go` or file.go:line")
	in := flags.String("in", "", "only mutants of functions whose names match this `regexp`")
	flags.StringVar(&o.run, "run", "", "run only the tests whose names match this `regexp`; by default all")
	kinds := flags.String("kinds", "", "only `kinds` of changes, of "+kindNames())
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: go run ./internal/mutate [flags] packages")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if o.kinds, err = parseKinds(*kinds); err != nil {
		return err
	}
	if o.in, err = regexp.Compile(*in); err != nil {
		return fmt.Errorf("-in: %w", err)
	}
	if flags.NArg() == 0 {
		return errors.New("no package is named: name some as for go test, for example ./pdp/...")
	}
	if o.n < 0 || o.limit < time.Second || o.memory < 1024 {
		return errors.New("-n is at least 0, -limit at least 1s, -memory at least 1024")
	}
	packages, err := listPackages(ctx, flags.Args())
	if err != nil {
		return err
	}
	known, err := parseEquivalents(equivalents)
	if err != nil {
		return err
	}
	if o.list {
		return list(stdout, o, packages)
	}
	return measure(ctx, stdout, stderr, o, known, packages)
}

// list prints the mutants of the packages, in the order of the source.
func list(stdout io.Writer, o options, packages []target) error {
	for _, p := range packages {
		all, err := p.mutants(o)
		if err != nil {
			return err
		}
		for _, m := range all {
			fmt.Fprintf(stdout, "%s\n", m)
		}
	}
	return nil
}

// measure runs the sample of each package and prints what came of it.
func measure(ctx context.Context, stdout, stderr io.Writer, o options, known []equivalent, packages []target) error {
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var rows []row
	for _, p := range packages {
		all, err := p.mutants(o)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			continue
		}
		s := sampler{runner: runner{target: p, dir: dir, options: o}, known: known, log: stderr}
		r, err := s.sample(ctx, shuffled(o.seed, all))
		if err != nil {
			return fmt.Errorf("%s: %w", p.Dir, err)
		}
		for _, m := range r.survivors {
			fmt.Fprintf(stdout, "survived %s\n", m)
		}
		rows = append(rows, r)
	}
	how := fmt.Sprintf("seed %d", o.seed)
	if o.n == 0 {
		how = "all mutants"
	}
	if in := o.in.String(); in != "" {
		how += " in " + in
	}
	if len(o.kinds) < len(allKinds) {
		var names []string
		for _, k := range o.kinds {
			names = append(names, string(k))
		}
		slices.Sort(names)
		how += ", kinds " + strings.Join(names, ",")
	}
	fmt.Fprint(stdout, table(how, rows))
	return nil
}
