package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/sums"
)

func trustCommand() *cli.Command {
	return &cli.Command{
		Use: "trust", Short: "Say whose loads this device runs", Commands: []*cli.Command{
			trustForgetCommand(), verifyReleaseCommand(),
		},
	}
}

func verifyReleaseCommand() *cli.Command {
	var key string
	cmd := &cli.Command{
		Use: "verify-release --key FILE SHA256SUMS [FILE...]", Short: "Check files of a release of Peerload",
		Long: `Checks that files are those that the publisher of a release has signed: SHA256SUMS
against its signature in SHA256SUMS.sig and the publisher's public key, and each
file against SHA256SUMS. Without FILEs it checks those that lie next to the list.

Exit status: 0 all are genuine; 2 wrong arguments, a file that is not there or not
in the list; 3 a file is not the one that was signed; 5 a file cannot be read; 6 the
signature is not by this key, or the list breaks its form.`,
		Example: "  peerload trust verify-release --key peerload.pem SHA256SUMS peerload_0.1.0_arm64.deb",
		Args:    func(args []string) bool { return len(args) > 0 },
	}
	cmd.Flags().StringVar(&key, "key", "", "the publisher's public key, a PEM file")
	cmd.Run = func(_ context.Context, args []string) error {
		if key == "" {
			return usagef("--key is missing: name the file with the publisher's public key, from a source that you trust")
		}
		return sums.Verify(key, args[0], args[1:], func(name string) { fmt.Println(name + ": genuine") })
	}
	return cmd
}

func trustForgetCommand() *cli.Command {
	var c configFlags
	cmd := &cli.Command{
		Use: "forget", Short: "Let this device run unsigned loads again",
		Long: `A device for which a publisher's directory was named once, or that had a root.json,
runs signed loads only, even if both are lost. Forget ends that: unsigned loads then run
where the provisioning allows them. It takes the options of the agent, to find its state
directory, and says what else keeps the device to signed loads.`,
		Example: "  peerload trust forget --state /var/lib/peerload",
		Args:    cli.NoArgs,
	}
	cmd.Run = func(context.Context, []string) error {
		cfg, _, err := c.load(cmd.Flags())
		if err != nil && cfg.State == "" {
			return err
		}
		still, err := agent.Forget(cfg)
		if err != nil {
			return err
		}
		for _, s := range still {
			tell(os.Stderr, "peerload: the device goes on running signed loads only: %s", s)
		}
		fmt.Println("the publisher is forgotten")
		return nil
	}
	c.register(cmd.Flags())
	return cmd
}

// releaseCode is the exit status of an error of verify-release. If a file is not
// the one that was signed, that counts before files that could not be checked.
func releaseCode(err error) (code int, ok bool) {
	switch {
	case errors.Is(err, sums.ErrSignature), errors.Is(err, sums.ErrList):
		return exitTrust, true
	case errors.Is(err, sums.ErrDigest):
		return exitVerify, true
	case errors.Is(err, sums.ErrKey), errors.Is(err, sums.ErrUnknown), errors.Is(err, sums.ErrMissing):
		return exitUsage, true
	case errors.Is(err, sums.ErrRead):
		return exitDisk, true
	}
	return 0, false
}
