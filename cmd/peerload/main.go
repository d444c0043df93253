// Command peerload is Peerload on a device: it fetches firmware through the
// peers of the subnet and tells what it does.
//
//	peerload get URL...           download files, or a whole signed load
//	peerload agent                look after this device: provision, upgrade, report
//	peerload proxy                share what other programs download
//	peerload status               what this device does now, per file
//	peerload explain [FILE]       why: this root, this parent, this source
//	peerload screen               what a phone's screen would show
//	peerload doctor               check what this device needs
//	peerload config show          the options of the agent, and where they come from
//	peerload yield on|off         serve others only where nobody else can, as in a call
//	peerload trust forget         let this device run unsigned loads again
//	peerload trust verify-release check files of a release of Peerload
//	peerload hook                 run the agent's hook in a unit of its own
//	peerload completion           the script by which bash, zsh or fish completes
//	peerload help [COMMAND]       what a command takes, and its exit statuses
//
// It is wiring only: flags, output and exit statuses. The download itself is in
// package peerload, the agent in package agent, how a command line is read in cli.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/peerload/peerload/cmd/peerload/internal/hook"
	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/exit"
	"github.com/peerload/peerload/internal/version"
)

// Exit codes, documented in `peerload get --help`.
const (
	exitOK          = 0
	exitUsage       = 2
	exitVerify      = 3
	exitUnreachable = 4
	exitDisk        = 5
	exitTrust       = 6
	exitNotFound    = 7
	exitForbidden   = 8
	exitTLS         = 9
	exitAnswer      = 10
	exitExec        = 11
	exitInterrupted = 130
)

// usageError is bad input: wrong arguments, or something that the host cannot
// do.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errMaxTime ends a run that took too long. Trying again later is the advice,
// as with a server that cannot be reached.
var errMaxTime = errors.New("not done after --max-time")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := rootCommand().Execute(ctx, os.Args[1:], os.Stdout)
	if err != nil && err.Error() != "" {
		tell(os.Stderr, "peerload: %v", cli.Advise(err))
	}
	os.Exit(exitCode(err, ctx.Err() != nil))
}

// rootCommand is the whole command line.
func rootCommand() *cli.Command {
	return &cli.Command{
		Use:   "peerload",
		Short: "Fetch firmware once per site and share it with the peers of the subnet",
		Long: `Peerload fetches a firmware file or a whole load across a thin WAN link once per
subnet: the devices elect a root, the root alone downloads from the server, and a
tree of connections passes the file on while it arrives.`,
		Version: version.Read().String(),
		Commands: []*cli.Command{
			getCommand(), agentCommand(), statusCommand(), screenCommand(), explainCommand(), doctorCommand(), configCommand(),
			trustCommand(), proxyCommand(), yieldCommand(), hook.Command(),
		},
	}
}

// exitCode tells a script what kind of error it was.
func exitCode(err error, interrupted bool) int {
	var usage usageError
	var asked *agentError
	var other *hook.StatusError
	switch {
	case err == nil:
		return exitOK
	case interrupted:
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &asked):
		return asked.exit
	case errors.As(err, &other):
		return other.Status
	case errors.As(err, new(execError)):
		return exitExec
	case errors.Is(err, errMaxTime):
		return exitUnreachable
	}
	if code, ok := releaseCode(err); ok {
		return code
	}
	return exit.Of(err)
}
