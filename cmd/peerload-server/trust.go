package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/trust"
)

func trustCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "trust", Short: "Give out the root of trust, and change keys", Args: cobra.NoArgs, RunE: help}
	cmd.AddCommand(trustExport(), trustRotate())
	return cmd
}

func trustExport() *cobra.Command {
	var w where
	var out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the root.json that devices need",
		Long: `Write the root.json that devices need, into a directory that becomes their
--trust DIR. Carry it to the devices on a way that you trust: all that they
believe later comes from this file. A later root reaches them by itself.`,
		Example: "  peerload-server trust export --repo /srv/firmware --out /etc/peerload/trust",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			repo, err := w.open(false)
			if err != nil {
				return err
			}
			raw, version, err := repo.ExportRoot()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(out, 0o755); err != nil {
				return err
			}
			path := filepath.Join(out, trust.PinName)
			if err := trust.WriteFile(path, raw); err != nil {
				return err
			}
			return w.print(cmd, done{Schema: jsonSchema, Event: "root_exported", Root: version, Path: path},
				"%s: root version %d\n", path, version)
		},
	}
	w.flags(cmd, false)
	cmd.Flags().StringVar(&out, "out", "", "the directory to write root.json to, made if missing (required)")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return cmd
}

func trustRotate() *cobra.Command {
	var w where
	cmd := &cobra.Command{
		Use:   "rotate ROLE",
		Short: "Replace the key of a role",
		Long: `Replace the key of a role: root, targets, snapshot or timestamp. Devices follow
by themselves. Do it when somebody leaves who had the keys, or after a theft.`,
		Example:   "  peerload-server trust rotate --repo /srv/firmware targets",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"root", "targets", "snapshot", "timestamp"},
		RunE: func(cmd *cobra.Command, args []string) error {
			repo, err := w.open(true)
			if err != nil {
				return err
			}
			if err := repo.RotateKeys(args[0]); err != nil {
				return err
			}
			_, version, err := repo.ExportRoot()
			if err != nil {
				return fmt.Errorf("the key was replaced, but the root cannot be read: %w", err)
			}
			return w.print(cmd, done{Schema: jsonSchema, Event: "key_rotated", Role: args[0], Root: version},
				"the %s key is replaced; root version %d says so\n", args[0], version)
		},
	}
	w.flags(cmd, true)
	return cmd
}
