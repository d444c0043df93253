// Package tool is how the commands that serve the tree itself begin and end:
// mutate, fuzzing, powercut.
//
// What lives here: signals, exit statuses, where errors go. What must not: flags,
// and whatever one of the commands does alone; programs of the product.
package tool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// Main runs a command until it ends or is interrupted, and ends the process: with
// status 0, with 1 after an error, which it prints, or with 2 where help was asked
// for.
func Main(name string, run func(ctx context.Context, args []string, stdout, stderr io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
