// Command containers makes the image of the controller, without a daemon: the program,
// certificates, and nothing else.
//
//	go -C packaging/containers run . -version 0.1.0 -programs built -out dist
//
// The programs are built before, as built/linux_amd64/peerload-server and so on for
// each processor that is to be in the image. The file that it writes is an OCI layout
// in an archive, which docker load, podman load and skopeo read. The same programs,
// version and date give the same bytes.
//
// What lives here: the image; the folders compose and kubernetes have examples that
// use it. What must not: how the controller is configured, which packaging/server says.
//
// Read image.go.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "containers:", err)
		os.Exit(1)
	}
}

// run does what the command line asks for.
func run(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("containers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	version := flags.String("version", "", "version of the image, such as 0.1.0; required")
	programs := flags.String("programs", "", "directory with linux_ARCH/peerload-server; required")
	out := flags.String("out", "", "directory for the image; required")
	date := flags.String("date", "", "date of all files, as in 2026-01-02T15:04:05Z; required")
	if err := flags.Parse(args); err != nil {
		return err
	}
	when, err := time.Parse(time.RFC3339, *date)
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q: -help shows the flags", flags.Arg(0))
	case !regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$`).MatchString(*version):
		return fmt.Errorf("-version is three numbers, such as 0.1.0 or 0.2.0-rc.1, not %q", *version)
	case *programs == "" || *out == "":
		return errors.New("give -programs and -out, each a directory")
	case err != nil:
		return fmt.Errorf("-date: write it as 2026-01-02T15:04:05Z: %w", err)
	}
	index, err := makeIndex(*programs, *version, when.UTC())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	name := filepath.Join(*out, "peerload-server_"+*version+".oci.tar")
	if err := writeLayout(index, name, when.UTC()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, name)
	return err
}
