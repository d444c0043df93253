// Package hook has the commands by which the agent's hook runs in a unit of its own.
//
// What lives here: their flags and exit statuses. What must not: how the two ends of
// the connection speak, which is in package hookunit.
//
// Read Command.
package hook

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/hookunit"
)

// exitNone is the exit status of hook call where the hook has none. It is none
// that a step of an upgrade takes for done.
const exitNone = 125

// StatusError ends this process with the exit status of the hook. Its text is empty
// where the hook itself had one: it has said what it had to say.
type StatusError struct {
	error
	// Status is what the process exits with.
	Status int
}

// Unwrap returns what happened.
func (e *StatusError) Unwrap() error { return e.error }

// Command is hook and the commands below it.
func Command() *cli.Command {
	return &cli.Command{
		Use: "hook", Short: "Run the agent's hook in a unit of its own",
		Commands: []*cli.Command{callCommand(), serveCommand()},
	}
}

func callCommand() *cli.Command {
	var socket string
	cmd := &cli.Command{
		Use: "call STEP", Short: "Have the hook run for a step, as the agent's hook does",
		Long: `Call has systemd start a unit that runs /etc/peerload/hook STEP, with the variables
PEERLOAD_... of its own environment. It prints what the hook prints, and ends with the
hook's exit status; with 125 where the hook has none: no such unit, or it was killed.
The package's /usr/lib/peerload/hook is this command: name that as the agent's hook.`,
		Example: "  peerload hook call Install",
		Args:    func(args []string) bool { return len(args) == 1 },
	}
	cmd.Flags().StringVar(&socket, "socket", hookunit.DefaultSocket, "socket of the unit")
	cmd.Run = func(ctx context.Context, args []string) error {
		status, err := hookunit.Call(ctx, socket, args, os.Environ(), os.Stdout, os.Stderr)
		switch {
		case err != nil:
			return &StatusError{fmt.Errorf("hook: %w", err), exitNone}
		case status != 0:
			return &StatusError{errors.New(""), status}
		}
		return nil
	}
	return cmd
}

func serveCommand() *cli.Command {
	return &cli.Command{
		Use: "serve PROGRAM", Short: "Run a hook for the caller at standard input, as a unit does",
		Long: `Serve is the program of the unit peerload-hook@.service: its standard input and output
are a connection to "peerload hook call", for which it runs PROGRAM STEP.`,
		Args: func(args []string) bool { return len(args) == 1 },
		Run: func(ctx context.Context, args []string) error {
			return hookunit.Serve(ctx, args[0], os.Stdin, os.Stdout)
		},
	}
}
