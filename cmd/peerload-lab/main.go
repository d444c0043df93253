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

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "peerload-lab",
		Short:         "Run sites of real devices on this machine",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(demoCommand(), siteCommand(), upCommand(), benchCommand(), simCommand(), planCommand(), downCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return
	}
	if msg := err.Error(); msg != "" && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "peerload-lab:", msg)
	}
	var status *statusError
	switch {
	case ctx.Err() != nil:
		os.Exit(exitInterrupt)
	case errors.As(err, &status):
		os.Exit(status.status)
	}
	os.Exit(exitUsage)
}
