package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/terminal"
)

func releaseCommand() *cobra.Command {
	return group("release", "Releases: one name for the loads of several models",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{releaseList(conn), releaseShow(conn), releaseAdd(conn), releaseSet(conn),
				releaseAssign(conn), loadRollBack(conn),
				console.Remover(conn, "delete RELEASE", "Remove a release that is assigned nowhere; its loads stay",
					"release_deleted",
					func(ctx context.Context, c *console.Connection, name string) error {
						return c.Releases.Delete(ctx, name, c.IfVersion)
					})}
		})
}

func releaseList(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List releases", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Releases.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "release", items, "RELEASE LOADS NOTE", func(r client.Release) []string {
				return []string{r.Name, strings.Join(r.Loads, ","), r.Note}
			})
		})}
}

func releaseShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show RELEASE", Short: "Show a release and its loads", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			r, err := c.Releases.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := showRelease(conn, cmd, "release", "", r); err != nil || conn.JSON {
				return err
			}
			var loads []client.Load
			for _, name := range r.Loads {
				l, err := c.Load(cmd.Context(), name)
				if err != nil {
					return err
				}
				loads = append(loads, l)
			}
			return printLoads(conn, cmd, loads)
		})}
}

func showRelease(conn *console.Flags, cmd *cobra.Command, event, did string, r client.Release) error {
	return conn.Show(cmd, event, r, "%s%s: version %d, loads %s  %s\n", terminal.Printable(r.Name), did, r.Version,
		terminal.Printable(strings.Join(r.Loads, ", ")), terminal.Printable(r.Note))
}

func releaseFlags(cmd *cobra.Command) {
	cmd.Flags().StringSlice("load", nil, "its loads, repeated or with commas; each is for other models than the others")
	cmd.Flags().String("note", "", "for people")
}

// releaseChange reads the flags.
func releaseChange(cmd *cobra.Command) (client.ReleaseChange, error) {
	change := client.ReleaseChange{Note: console.Optional(cmd, "note")}
	if !console.Given(cmd, "load") {
		return change, nil
	}
	loads, err := cmd.Flags().GetStringSlice("load")
	change.Loads = &loads
	return change, err
}

func releaseAdd(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "add RELEASE [--load LOAD,...]", Short: "Make a release", Args: cobra.ExactArgs(1),
		Long: `Make a release: one name for the loads of several models. Without --load it has
all loads whose version is its name.`,
		Example: "  peerload-server release add '9.4(2)' --load SIP41.9-4-2,SIP75.9-4-2",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := releaseChange(cmd)
			if err != nil {
				return err
			}
			r, err := c.Releases.Create(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return showRelease(conn, cmd, "release_added", " added", r)
		})}
	releaseFlags(cmd)
	return cmd
}

func releaseSet(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "set RELEASE", Short: "Change a release; its loads stay while it is assigned",
		Args: cobra.ExactArgs(1), Example: "  peerload-server release set '9.4(2)' --note 'Fixes the clock'",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if !console.Given(cmd, "load", "note") {
				return errors.New("say what to change: --load or --note")
			}
			change, err := releaseChange(cmd)
			if err != nil {
				return err
			}
			r, err := c.Releases.Update(cmd.Context(), args[0], change, c.IfVersion)
			if err != nil {
				return err
			}
			return showRelease(conn, cmd, "release_changed", " changed", r)
		})}
	releaseFlags(cmd)
	return cmd
}

func releaseAssign(conn *console.Flags) *cobra.Command {
	var t levelTarget
	var a console.Consent
	cmd := &cobra.Command{Use: "assign RELEASE --enterprise | --model M | --profile P | --device D | --site S",
		Short: `Assign a release at one level: each device gets the load that is for its model; "" assigns none`,
		Args:  cobra.ExactArgs(1), Example: "  peerload-server release assign '9.4(2)' --profile lobby",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			return assign(&a, conn, cmd, c, &t, client.Order{Release: &args[0]})
		})}
	t.flags(cmd)
	a.Add(cmd)
	return cmd
}
