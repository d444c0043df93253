// Command peerload-lab runs sites of real devices on one machine, shows them
// and measures them. It is wiring only: the packages below internal/lab do the
// work.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/internal/version"
)

// Exit statuses.
const (
	exitIncomplete = 1 // a device does not hold what it should
	exitUsage      = 2 // bad arguments, or the run could not be made
	exitInterrupt  = 130
)

// statusError ends the program with a status; its message, if it has one, is
// still to be printed.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// rootCommand is the whole command line.
func rootCommand() *cobra.Command {
	root := &cobra.Command{Use: "peerload-lab", Short: "Run sites of real devices on this machine",
		Version: version.Read().String()}
	root.AddCommand(demoCommand(), siteCommand(), upCommand(), roundsCommand(), benchCommand(), simCommand(),
		liarsCommand(), planCommand(), downCommand())
	strict.Prepare(root)
	return root
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().ExecuteContext(ctx)
	if err == nil {
		return
	}
	if msg := err.Error(); msg != "" && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "peerload-lab:", terminal.Printable(cli.Advise(err).Error()))
	}
	if ctx.Err() != nil {
		os.Exit(exitInterrupt)
	}
	os.Exit(status(err))
}

// status is the exit status that tells of err.
func status(err error) int {
	var own *statusError
	if errors.As(err, &own) {
		return own.status
	}
	return exitUsage
}
