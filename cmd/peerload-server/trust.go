package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/trust"
)

func trustCommand() *cobra.Command {
	return group("trust", "Give out the root of trust, and change keys", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{trustExport(conn), trustRotate(conn)}
	})
}

func trustExport(conn *console.Flags) *cobra.Command {
	var repoAt repoFlags
	var out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the root.json that devices need",
		Long: `Write the root.json that devices need, into a directory that becomes their
--trust DIR. Carry it to the devices on a way that you trust: all that they
believe later comes from this file. A later root reaches them by itself.`,
		Example: "  peerload-server trust export --out /etc/peerload/trust",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			repoAt.json = conn.JSON
			raw, version, err := repoAt.root(cmd, conn)
			if err != nil {
				return err
			}
			if err := (durable.Writer{}).MkdirAll(out, 0o755); err != nil {
				return err
			}
			path := filepath.Join(out, trust.PinName)
			if err := durable.Write(path, raw, 0o644); err != nil {
				return err
			}
			return repoAt.print(cmd, done{Schema: console.Schema, Event: "root_exported", Root: version, Path: path},
				"%s: root version %d\n", path, version)
		},
	}
	repoAt.flags(cmd, false)
	cmd.Flags().StringVar(&out, "out", "", "the directory to write root.json to, made if missing (required)")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag has just been defined
	}
	return cmd
}

// root returns the newest root.json, of the controller or of a bare repository.
func (repoAt *repoFlags) root(cmd *cobra.Command, conn *console.Flags) (raw []byte, version int64, err error) {
	if repoAt.repo != "" {
		repo, err := repoAt.open(false)
		if err != nil {
			return nil, 0, err
		}
		return repo.ExportRoot()
	}
	err = conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) (err error) {
		raw, version, err = c.Root(cmd.Context())
		return err
	})(cmd, nil)
	return raw, version, err
}

func trustRotate(conn *console.Flags) *cobra.Command {
	var repoAt repoFlags
	cmd := &cobra.Command{
		Use:   "rotate ROLE",
		Short: "Replace the key of a role",
		Long: `Replace the key of a role: root, targets, snapshot or timestamp. Devices follow
by themselves. Do it when somebody leaves who had the keys, or after a theft.`,
		Example:   "  peerload-server trust rotate targets",
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"root", "targets", "snapshot", "timestamp"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if repoAt.repo == "" {
				return conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
					if err := c.RotateKey(cmd.Context(), args[0]); err != nil {
						return err
					}
					return conn.Show(cmd, "key_rotated", args[0], "the %s key is replaced\n", args[0])
				})(cmd, args)
			}
			repoAt.json = conn.JSON
			repo, err := repoAt.open(true)
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
			return repoAt.print(cmd, done{Schema: console.Schema, Event: "key_rotated", Role: args[0], Root: version},
				"the %s key is replaced; root version %d says so\n", args[0], version)
		},
	}
	repoAt.flags(cmd, true)
	return cmd
}
