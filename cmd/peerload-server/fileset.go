package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/terminal"
)

func filesetCommand() *cobra.Command {
	return group("fileset", "File sets: locale, ring tones and other files beside the loads",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{filesetAdd(conn), filesetList(conn), filesetShow(conn), filesetAssign(conn, true),
				filesetAssign(conn, false), filesetRetire(conn, true), filesetRetire(conn, false)}
		})
}

func filesetAdd(conn *console.Flags) *cobra.Command {
	var n client.NewLoad
	var directory string
	var a console.Consent
	cmd := &cobra.Command{Use: "add FILE...", Short: "Sign files as a file set and publish it",
		Args: cobra.MinimumNArgs(1),
		Long: `Sign files as a file set and publish it. A device that it is assigned to fetches
the files through its peers, verifies them as it does loads, and puts them in
place together, without a restart, as files/DIRECTORY below its state. A device
has one file set for each directory.`,
		Example: "  peerload-server fileset add --name locale-jp-9.4 --version 9.4 --directory locale \\\n" +
			"      --model 7941,7961 phone.jar list.xml",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if err := publish.CheckFiles(args); err != nil {
				return err
			}
			n.Files = args
			if n.Replace || a.Dry {
				if ok, err := a.Replaces(conn, cmd, c, n.Name); err != nil || !ok {
					return err
				}
			}
			f, err := c.AddFileSet(cmd.Context(), directory, n)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "fileset_added", f, "%s version %s: %s, %s, for the directory %s of %s: published\n",
				f.Name, f.Release, console.FilesOf(len(f.Components)), terminal.Bytes(f.Size), f.Directory,
				strings.Join(f.Models, ", "))
		})}
	fl := cmd.Flags()
	fl.StringVar(&n.Name, "name", "", "the file set's name, which no load has (required)")
	fl.StringVar(&n.Version, "version", "", "the file set's version, free text (required)")
	fl.StringVar(&directory, "directory", "",
		"where it stands on devices: lower-case letters, digits and hyphens (required)")
	fl.StringSliceVar(&n.Models, "model", nil, "models that it is for, repeated or with commas (required)")
	fl.BoolVar(&n.Replace, "replace", false, "allow other content under the same name and version")
	a.Add(cmd)
	for _, name := range []string{"name", "version", "directory", "model"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return cmd
}

func filesetList(conn *console.Flags) *cobra.Command {
	var retired bool
	cmd := &cobra.Command{Use: "list", Short: "List the file sets that are published", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.FileSets.List(cmd.Context(), client.Filter{Retired: retired}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "fileset", items, "FILESET VERSION DIRECTORY MODELS FILES SIZE STATE",
				func(f client.FileSet) []string {
					var state []string
					if f.Retired {
						state = append(state, "retired")
					}
					if f.Missing {
						state = append(state, "missing")
					}
					return []string{f.Name, f.Release, f.Directory, strings.Join(f.Models, ","),
						strconv.Itoa(len(f.Components)), terminal.Bytes(f.Size), strings.Join(state, ",")}
				})
		})}
	cmd.Flags().BoolVar(&retired, "retired", false, "retired file sets too")
	return cmd
}

func filesetShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show FILESET", Short: "Show a file set and its files", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			f, err := c.FileSet(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.JSON {
				return conn.Show(cmd, "fileset", f, "")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s version %s, for the directory %s of %s, retired %s\n", f.Name, f.Release,
				f.Directory, strings.Join(f.Models, ", "), terminal.YesNo(f.Retired))
			return console.List(conn, cmd, "component", f.Components, "FILE SIZE SHA-256",
				func(k client.LoadComponent) []string {
					return []string{k.Name, terminal.Bytes(k.Size), k.SHA256}
				})
		})}
}

// filesetAssign is the command that assigns a file set, or assigns it no more.
func filesetAssign(conn *console.Flags, assign bool) *cobra.Command {
	var t levelTarget
	var a console.Consent
	word, short := "assign", "Assign a file set at one level, in the place of that for the same directory"
	if !assign {
		word, short = "unassign", "Assign a file set no more: devices take it away"
	}
	cmd := &cobra.Command{Use: word + " FILESET... --enterprise | --profile P | --device D | --site S", Short: short,
		Args: cobra.MinimumNArgs(1), Example: "  peerload-server fileset " + word + " locale-jp-9.4 --profile lobby",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change := client.FileSetChange{Assign: args}
			if !assign {
				change = client.FileSetChange{Unassign: args}
			}
			return a.CarryOut(conn, cmd, c, t.order(client.Order{FileSets: &change}))
		})}
	t.flagsOf(cmd, "enterprise", "profile", "device", "site")
	a.Add(cmd)
	return cmd
}

func filesetRetire(conn *console.Flags, retired bool) *cobra.Command {
	use, short := "retire FILESET", "Take a file set out of use: it cannot be assigned any more"
	if !retired {
		use, short = "restore FILESET", "Take a retired file set into use again"
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			f, err := c.RetireFileSet(cmd.Context(), args[0], retired, c.IfVersion)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "fileset_changed", f, "%s: retired %s\n", f.Name, terminal.YesNo(f.Retired))
		})}
}
