package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/terminal"
)

// uploadLoad sends the files of a load to the controller, as they are read.
func uploadLoad(conn *connFlags, cmd *cobra.Command, c *connection, req publish.Request) error {
	if err := publish.CheckFiles(req.Files); err != nil {
		return err
	}
	l, err := c.AddLoad(cmd.Context(), client.NewLoad{Name: req.Name, Version: req.Version, Models: req.Models,
		Replace: req.Replace, Files: req.Files})
	if err != nil {
		return err
	}
	return conn.show(cmd, "load_added", l, "%s version %s: %d files, %s, for %s: published\n",
		l.Name, l.Release, len(l.Components), terminal.Bytes(l.Size), strings.Join(l.Models, ", "))
}

func listLoads(conn *connFlags, cmd *cobra.Command, c *connection, retired bool) error {
	items, err := collect(c.Loads.List(cmd.Context(), client.Filter{Retired: retired}))
	if err != nil {
		return err
	}
	return list(conn, cmd, "load", items, "LOAD VERSION MODELS FILES SIZE STATE", func(l client.Load) []string {
		var state []string
		if !l.Signed {
			state = append(state, "unsigned")
		}
		if l.Retired {
			state = append(state, "retired")
		}
		if l.Missing {
			state = append(state, "missing")
		}
		return []string{l.Name, l.Release, strings.Join(l.Models, ","), strconv.Itoa(len(l.Components)),
			terminal.Bytes(l.Size), strings.Join(state, ",")}
	})
}

func loadShow(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "show LOAD", Short: "Show a load and its files", Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			l, err := c.Load(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.json {
				return conn.show(cmd, "load", l, "")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s version %s, for %s, signed %s, retired %s\n",
				l.Name, l.Release, strings.Join(l.Models, ", "), terminal.YesNo(l.Signed), terminal.YesNo(l.Retired))
			return list(conn, cmd, "component", l.Components, "FILE SIZE SHA-256", func(k client.LoadComponent) []string {
				return []string{k.Name, terminal.Bytes(k.Size), k.SHA256}
			})
		})}
}

func loadRegister(conn *connFlags) *cobra.Command {
	var models []string
	cmd := &cobra.Command{Use: "register LOAD --model MODEL [FILE...]",
		Short: "Make a classic load known that nobody signs", Args: cobra.MinimumNArgs(1),
		Long: `Make a classic load known that nobody signs, so that it can be assigned. Devices
run it only where the setting "unsigned" is on. Its files are those that you put
into the directory repository yourself.`,
		Example: "  peerload-server load register SCCP41.9-4-2SR2-2S --model 7941,7961",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			l, err := c.RegisterLoad(cmd.Context(), args[0], models, args[1:])
			if err != nil {
				return err
			}
			return conn.show(cmd, "load_registered", l, "%s is known, unsigned, for %s\n", l.Name, strings.Join(l.Models, ", "))
		})}
	cmd.Flags().StringSliceVar(&models, "model", nil, "models that it is for, repeated or with commas (required)")
	if err := cmd.MarkFlagRequired("model"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return cmd
}

func (conn *connFlags) showAssigned(cmd *cobra.Command, a client.Assigned) error {
	at := strings.TrimSpace(a.Target.Level + " " + a.Target.Name)
	return conn.show(cmd, "load_assigned", a, "%s: load %q, before it %q\n", at, a.Load, a.Previous)
}

func loadAssign(conn *connFlags) *cobra.Command {
	var t levelTarget
	cmd := &cobra.Command{Use: "assign LOAD --enterprise | --model M | --profile P | --device D",
		Short: `Assign a load at one level; "" assigns none`,
		Args:  cobra.ExactArgs(1), Example: "  peerload-server load assign fw2 --model linux-arm",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			a, err := c.AssignLoad(cmd.Context(), t.target(), args[0], c.ifVersion)
			if err != nil {
				return err
			}
			return conn.showAssigned(cmd, a)
		})}
	t.flags(cmd)
	return cmd
}

func loadRollBack(conn *connFlags) *cobra.Command {
	var t levelTarget
	cmd := &cobra.Command{Use: "roll-back --enterprise | --model M | --profile P | --device D",
		Short: "Assign the load that was assigned there before",
		Args:  cobra.NoArgs, Example: "  peerload-server load roll-back --model linux-arm",
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			a, err := c.RollBackLoad(cmd.Context(), t.target(), c.ifVersion)
			if err != nil {
				return err
			}
			return conn.showAssigned(cmd, a)
		})}
	t.flags(cmd)
	return cmd
}

func loadRetire(conn *connFlags, retired bool) *cobra.Command {
	use, short := "retire LOAD", "Take a load out of use: it cannot be assigned any more"
	if !retired {
		use, short = "restore LOAD", "Take a retired load into use again"
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			l, err := c.RetireLoad(cmd.Context(), args[0], retired, c.ifVersion)
			if err != nil {
				return err
			}
			return conn.show(cmd, "load_changed", l, "%s: retired %s\n", l.Name, terminal.YesNo(l.Retired))
		})}
}

func verifyLoads(conn *connFlags, cmd *cobra.Command, c *connection) error {
	loads, problem, err := c.VerifyLoads(cmd.Context())
	if err != nil {
		return err
	}
	bad := 0
	err = list(conn, cmd, "load_verified", loads, "LOAD PROBLEM", func(l client.CheckedLoad) []string {
		return []string{l.Name, l.Problem}
	})
	for _, l := range loads {
		if l.Problem != "" {
			bad++
		}
	}
	switch {
	case err != nil:
		return err
	case problem != "":
		return fmt.Errorf("%w: %w", errDamaged, errors.New(problem))
	case bad > 0:
		return fmt.Errorf("%w: %d of %d loads; add them again", errDamaged, bad, len(loads))
	}
	return nil
}
