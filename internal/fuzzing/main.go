// Command fuzzing runs the fuzz targets of the tree, one after the other, and
// adds what they did to a record.
//
//	go run ./internal/fuzzing -time 1m ./...              every target for a minute
//	go run ./internal/fuzzing -only '^FuzzFrame$' ./...   one of them
//	go run ./internal/fuzzing -list ./...                 what there is
//
// A target that finds an input that fails does not keep the others from running;
// the input is written below the package's testdata/fuzz, where it is a seed from
// then on, and the exit status is 1. Inputs that reached new code stay in the build
// cache, so that the next run begins where this one ended. The tests of a package are
// built once for all of its targets.
//
// With -record the executions of each target are added to a table in Markdown,
// after each target, so that a campaign that is ended early keeps what it did.
// The record of the tree is record.md.
//
// What lives here: the list of targets, the runs, the record. What must not: the
// targets, which stand in the tests of the package whose reader they try.
//
// Read run.go, then record.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/peerload/peerload/internal/tool"
)

func main() { tool.Main("fuzzing", run) }

// options are what the command line says.
type options struct {
	limit    time.Duration // for each target
	parallel int           // workers of a target
	seed     int           // of the changes that package testing makes; 0: another one each time
	record   string        // file to add to; "": none
	only     *regexp.Regexp
	list     bool
}

// flags are those that decide what a run executes, for the record.
func (o options) flags() string {
	text := fmt.Sprintf("-time %v -parallel %d", o.limit, o.parallel)
	if o.seed > 0 {
		text += fmt.Sprintf(" -seed %d", o.seed)
	}
	return text
}

// run does what the command line asks for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, patterns, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	targets, err := listTargets(ctx, patterns)
	if err != nil {
		return err
	}
	kept := targets[:0]
	for _, t := range targets {
		if o.only.MatchString(t.name) {
			kept = append(kept, t)
		}
	}
	switch {
	case len(kept) == 0:
		return errors.New("no fuzz target is named so: -list ./... shows all of them")
	case o.list:
		for _, t := range kept {
			fmt.Fprintf(stdout, "%s %s\n", t.pkg, t.name)
		}
		return nil
	}
	return campaign(ctx, o, kept, stdout, stderr)
}

// parseOptions reads the command line.
func parseOptions(args []string, stderr io.Writer) (o options, patterns []string, err error) {
	flags := flag.NewFlagSet("fuzzing", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&o.limit, "time", 20*time.Second, "`time` for each target")
	flags.IntVar(&o.parallel, "parallel", 1, "`workers` of each target")
	flags.IntVar(&o.seed, "seed", 0, "`seed` of the changes to inputs; 0: another one each time")
	flags.StringVar(&o.record, "record", "", "add the executions to the table in `FILE`")
	flags.BoolVar(&o.list, "list", false, "list the targets and run nothing")
	only := flags.String("only", "", "only targets whose names match this `regexp`")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: go run ./internal/fuzzing [flags] packages")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, nil, err
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, nil, fmt.Errorf("-only %q is no regular expression: %w", *only, err)
	}
	if flags.NArg() == 0 {
		return o, nil, errors.New("no package is named: name some as for go test, for example ./...")
	}
	if o.limit < time.Second || o.parallel < 1 || o.seed < 0 {
		return o, nil, errors.New("-time is at least 1s, -parallel at least 1, -seed at least 0")
	}
	return o, flags.Args(), nil
}
