// Command packaging builds the packages of all programs: for Debian, for systems
// with rpm, for Alpine and for OpenWrt, and archives for all others.
//
//	go run ./internal/packaging -version 0.1.0 -out dist
//	go run ./internal/packaging -version 0.1.0 -out dist -only '_amd64\.deb$'
//	go run ./internal/packaging -version 0.1.0 -out dist -programs built
//
// products.go alone says what is in a package; the files themselves, such as
// units, scripts and default configuration, are in the folder packaging. The
// formats are nfpm's, which is built from packaging/tools, a module of its own.
// The same commit, version, date and programs give the same bytes.
//
// What lives here: what is in which package, and in which format for which
// processor. What must not: versions, which the caller gives; signatures.
//
// Read products.go, then build.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/tool"
)

func main() { tool.Main("packaging", run) }

// options are what the command line says.
type options struct {
	version  string
	date     time.Time // of all files, and of the changelog
	out      string
	programs string // directory of programs that are built already; "": build them
	keep     string // where to keep the programs that were built; "": nowhere
	only     *regexp.Regexp
	// maintainer is a name and an address, as in "A B <a@b.org>".
	maintainer string
}

// version is what each format can have as it is: three numbers, and perhaps what
// comes before them.
var versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$`)

// maintainerForm is how packages write a person.
var maintainerForm = regexp.MustCompile(`^[^<>@\n]*[^<>@\s] <[^<>@\s]+@[^<>@\s]+>$`)

// run does what the command line asks for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(ctx, args, stderr)
	if err != nil {
		return err
	}
	return build(ctx, o, stdout)
}

func parseOptions(ctx context.Context, args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("packaging", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.version, "version", "", "version of the packages, such as 0.1.0 or 0.2.0-rc.1; required")
	flags.StringVar(&o.out, "out", "", "directory for the packages; required")
	flags.StringVar(&o.programs, "programs", "",
		"directory with the programs as GOOS_GOARCH/NAME, such as linux_arm/peerload; none: build them")
	flags.StringVar(&o.keep, "keep", "", "directory for the programs that are built, as -programs reads them")
	flags.StringVar(&o.maintainer, "maintainer", maintainer, "`name and address` of who answers for the packages")
	only := flags.String("only", "", "regular expression: build only the files whose names match")
	date := flags.String("date", "", "date of all files, as in 2026-01-02T15:04:05Z (default: that of the commit)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q: -help shows the flags", flags.Arg(0))
	case !versionForm.MatchString(o.version):
		return o, fmt.Errorf("-version is three numbers, such as 0.1.0 or 0.2.0-rc.1, not %q", o.version)
	case o.programs != "" && o.keep != "":
		return o, errors.New("give -programs or -keep, not both: what is built already is kept already")
	case !maintainerForm.MatchString(o.maintainer):
		return o, fmt.Errorf("-maintainer is a name and an address, such as \"A B <a@b.org>\", not %q", o.maintainer)
	case o.out == "":
		return o, errors.New("-out is missing: name a directory for the packages")
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if *date == "" {
		o.date, err = commitDate(ctx)
		return o, err
	}
	if o.date, err = time.Parse(time.RFC3339, *date); err != nil {
		return o, fmt.Errorf("-date: write it as 2026-01-02T15:04:05Z: %w", err)
	}
	o.date = o.date.UTC()
	return o, nil
}

// commitDate is when the commit was made that is built.
func commitDate(ctx context.Context) (time.Time, error) {
	out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
	if err != nil {
		return time.Time{}, fmt.Errorf("the date of the commit is unknown: %w; give -date", err)
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}
