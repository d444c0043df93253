package main

import (
	"context"
	"fmt"
	"os"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
)

func trustCommand() *cli.Command {
	return &cli.Command{
		Use: "trust", Short: "Say whose loads this device runs", Commands: []*cli.Command{trustForgetCommand()},
	}
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
