// Command release builds the files of a release of Peerload from a commit, and
// signs them.
//
//	go run ./internal/release -out dist -key release-key.pem
//	go run ./internal/release -out dist -untagged -only linux/arm
//
// It builds in a clone of its own, so that only committed files get in, and
// the Go command writes tag, commit and date into each program. The same commit
// and the same version of Go give the same bytes, in any folder and on any
// machine. Afterwards dist has the packages or archives of each program and
// processor, one bill of materials (CycloneDX) for each program and processor,
// SHA256SUMS over all of these and its signature SHA256SUMS.sig, which "peerload
// trust verify-release" verifies.
//
// What lives here: the order of steps. How programs are built is in package programs. What
// must not: what is in a package, and the form of SHA256SUMS (package sums).
//
// Read run below, then source.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peerload/peerload/internal/programs"
	"github.com/peerload/peerload/internal/tool"
)

func main() { tool.Main("release", run) }

// options are what the command line says.
type options struct {
	out, commit, key string
	maintainer       string // of the packages; "": as packaging has it
	untagged         bool
	some             bool // not all platforms
	targets          []programs.Target
}

// run does what the command line asks for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	sign, err := readKey(o.key)
	if err != nil {
		return err
	}
	if err := prepareOut(o.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "peerload-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	src, err := checkOut(ctx, o, filepath.Join(work, "tree"))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Peerload %s, commit %s, %s\n", src.version, src.commit, src.date.Format("2006-01-02"))
	built := filepath.Join(work, "programs")
	for _, t := range o.targets {
		for _, p := range t.Programs {
			out := filepath.Join(built, t.Folder(), p)
			if err := t.Build(ctx, src.dir, p, out); err != nil {
				return err
			}
			if err := src.built(out); err != nil {
				return err
			}
		}
	}
	if err := src.pack(ctx, o, built); err != nil {
		return err
	}
	if err := writeBills(o, src, built); err != nil {
		return err
	}
	names, err := sumAndSign(o.out, sign)
	if err != nil {
		return err
	}
	for _, n := range names {
		fmt.Fprintln(stdout, filepath.Join(o.out, n))
	}
	if sign == nil {
		fmt.Fprintln(stderr, "release: nothing is signed: name the private key with -key")
	}
	return nil
}

func parseOptions(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.out, "out", "", "empty or new `folder` for the files; required")
	flags.StringVar(&o.commit, "commit", "HEAD", "`commit` or tag to build")
	flags.StringVar(&o.key, "key", "", "`file` with the private key, Ed25519 in PEM form; none: do not sign")
	flags.BoolVar(&o.untagged, "untagged", false, "build also a commit that has no tag of a version, to try it")
	flags.StringVar(&o.maintainer, "maintainer", "", "`name and address` of who answers for the packages")
	only := flags.String("only", "",
		"try these `platforms` only, such as linux/arm,linux/mipsle, and make archives instead of packages")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: -help shows the flags", flags.Arg(0))
	}
	if o.out == "" {
		return o, errors.New("-out is missing: name a new folder for the files")
	}
	if o.out, err = filepath.Abs(o.out); err != nil {
		return o, err
	}
	o.targets = programs.Targets()
	if *only == "" {
		return o, nil
	}
	all := o.targets
	o.targets, o.some = nil, true
	for name := range strings.SplitSeq(*only, ",") {
		i := slices.IndexFunc(all, func(t programs.Target) bool { return t.Name() == name })
		if i < 0 {
			return o, fmt.Errorf("-only: there is no platform %q: choose %s", name, platformNames(all))
		}
		o.targets = append(o.targets, all[i])
	}
	return o, nil
}

func platformNames(all []programs.Target) string {
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.Name()
	}
	return strings.Join(names, ", ")
}

// prepareOut makes the folder of the files. Files of another release in it would
// be signed together with these.
func prepareOut(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: name a new folder, or empty it", dir)
	}
	return nil
}
