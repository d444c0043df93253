package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
)

func siteCommand() *cobra.Command {
	return group("site", "Sites: where devices are, and how far they are", func(conn *connFlags) []*cobra.Command {
		return []*cobra.Command{siteList(conn), siteShow(conn), siteAdd(conn), siteSet(conn),
			remover(conn, "delete SITE", "Remove a site that no device belongs to", "site_deleted",
				func(ctx context.Context, c *connection, name string) error {
					return c.Sites.Delete(ctx, name, c.ifVersion)
				})}
	})
}

// siteFlag narrows a list to the devices of a site.
func siteFlag(cmd *cobra.Command, site *string, what string) {
	cmd.Flags().StringVar(site, "site", "", what)
}

func siteList(conn *connFlags) *cobra.Command {
	f := client.Filter{Silent: time.Hour}
	cmd := &cobra.Command{Use: "list", Short: "List sites: how many devices run what they should, and their bytes",
		Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := collect(c.Sites.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			return list(conn, cmd, "site", items, "SITE DEVICES DONE RUNNING FAILED SILENT WAN SAVED NETWORKS TIME-ZONE NOTE",
				func(s client.Site) []string {
					return append(append([]string{s.Name}, countsRow(s.Counts)...), strings.Join(s.Networks, ","), s.TimeZone, s.Note)
				})
		})}
	cmd.Flags().StringVar(&f.Text, "text", "", "sites: part of the name or note")
	cmd.Flags().DurationVar(&f.Silent, "silent", time.Hour, "after which time a device counts as silent")
	return cmd
}

// countsRow are the counts of a site as columns.
func countsRow(n *client.SiteCounts) []string {
	if n == nil {
		n = &client.SiteCounts{}
	}
	return []string{strconv.Itoa(n.Devices), strconv.Itoa(n.Done), strconv.Itoa(n.Running), strconv.Itoa(n.Failed),
		strconv.Itoa(n.Silent), terminal.Bytes(n.WANBytes), terminal.Bytes(n.SavedBytes)}
}

func siteShow(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "show SITE", Short: "Show a site and how far its devices are", Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			s, err := c.Sites.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.json {
				return conn.show(cmd, "site", s, "")
			}
			if err := showSite(conn, cmd, "site", "", s); err != nil {
				return err
			}
			return list(conn, cmd, "counts", []client.Site{s}, "DEVICES DONE RUNNING FAILED SILENT WAN SAVED",
				func(s client.Site) []string { return countsRow(s.Counts) })
		})}
}

// showSite prints a site, one property a line.
func showSite(conn *connFlags, cmd *cobra.Command, event, did string, s client.Site) error {
	rate := func(n int64, none string) string {
		if n == 0 {
			return none
		}
		return terminal.Bytes(n) + "/s"
	}
	transfers := "as the server limits all sites"
	if s.Limits.Transfers > 0 {
		transfers = strconv.Itoa(s.Limits.Transfers)
	}
	return conn.show(cmd, event, s, "%s%s: version %d  %s\ntime zone  %s\nnetworks   %s\nline       %s\nwindow     %s\n"+
		"transfers  %s\nrate       %s\n", terminal.Printable(s.Name), did, s.Version, terminal.Printable(s.Note),
		orNone(s.TimeZone), orNone(strings.Join(s.Networks, ", ")), rate(s.WANRate, terminal.None), orNone(s.Window),
		transfers, rate(s.Limits.Rate, "as the server limits all sites"))
}

func siteFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("time-zone", "", "IANA name of its time zone, such as Asia/Tokyo; empty for none")
	f.StringSlice("network", nil, "networks of its devices, such as 10.1.0.0/16, repeated or with commas; empty for none")
	f.String("wan-rate", "", "bytes a second of its line, such as 2M; 0 for not known")
	f.String("window", "", "when devices may be upgraded, in its time zone: 22:00-05:00, or mon-fri 22:00-05:00; empty "+
		"for any time")
	f.Int("transfers", 0, "files under way from this controller at the same time; 0: as the server limits all sites")
	f.String("rate", "", "bytes a second from this controller, such as 500k; 0: as the server limits all sites")
	f.String("note", "", "for people")
}

// siteChange reads the flags.
func siteChange(cmd *cobra.Command) (change client.SiteChange, err error) {
	change = client.SiteChange{Note: optional(cmd, "note"), TimeZone: optional(cmd, "time-zone"),
		Window: optional(cmd, "window")}
	for name, to := range map[string]**int64{"wan-rate": &change.WANRate, "rate": &change.Rate} {
		text := optional(cmd, name)
		if text == nil {
			continue
		}
		n, err := parse.Size(*text)
		if err != nil {
			return change, fmt.Errorf("--%s: %w", name, err)
		}
		*to = &n
	}
	if given(cmd, "network") {
		networks, err := cmd.Flags().GetStringSlice("network")
		if err != nil {
			return change, err
		}
		change.Networks = &networks
	}
	if given(cmd, "transfers") {
		n, err := cmd.Flags().GetInt("transfers")
		if err != nil {
			return change, err
		}
		change.Transfers = &n
	}
	return change, nil
}

func siteAdd(conn *connFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "add SITE", Short: "Make a site", Args: cobra.ExactArgs(1),
		Example: "  peerload-server site add Kyoto --time-zone Asia/Tokyo --network 10.1.0.0/16 --wan-rate 2M",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			change, err := siteChange(cmd)
			if err != nil {
				return err
			}
			s, err := c.Sites.Create(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			return showSite(conn, cmd, "site_added", " added", s)
		})}
	siteFlags(cmd)
	return cmd
}

func siteSet(conn *connFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "set SITE", Short: "Change a site", Args: cobra.ExactArgs(1),
		Example: "  peerload-server site set Kyoto --window 'mon-fri 22:00-05:00' --transfers 2",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			if !given(cmd, "note", "time-zone", "network", "wan-rate", "window", "transfers", "rate") {
				return errors.New("say what to change: --time-zone, --network, --wan-rate, --window, --transfers, --rate or --note")
			}
			change, err := siteChange(cmd)
			if err != nil {
				return err
			}
			s, err := c.Sites.Update(cmd.Context(), args[0], change, c.ifVersion)
			if err != nil {
				return err
			}
			return showSite(conn, cmd, "site_changed", " changed", s)
		})}
	siteFlags(cmd)
	return cmd
}

func filesetCommand() *cobra.Command {
	return group("fileset", "File sets: locale, ring tones and other files beside the loads",
		func(conn *connFlags) []*cobra.Command {
			return []*cobra.Command{filesetAdd(conn), filesetList(conn), filesetShow(conn), filesetAssign(conn, true),
				filesetAssign(conn, false), filesetRetire(conn, true), filesetRetire(conn, false)}
		})
}

func filesetAdd(conn *connFlags) *cobra.Command {
	var n client.NewLoad
	var directory string
	cmd := &cobra.Command{Use: "add FILE...", Short: "Sign files as a file set and publish it",
		Args: cobra.MinimumNArgs(1),
		Long: `Sign files as a file set and publish it. A device that it is assigned to fetches
the files through its peers, verifies them as it does loads, and puts them in
place together, without a restart, as files/DIRECTORY below its state. A device
has one file set for each directory.`,
		Example: "  peerload-server fileset add --name locale-jp-9.4 --version 9.4 --directory locale \\\n" +
			"      --model 7941,7961 phone.jar list.xml",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			if err := publish.CheckFiles(args); err != nil {
				return err
			}
			n.Files = args
			f, err := c.AddFileSet(cmd.Context(), directory, n)
			if err != nil {
				return err
			}
			return conn.show(cmd, "fileset_added", f, "%s version %s: %s, %s, for the directory %s of %s: published\n",
				f.Name, f.Release, filesOf(len(f.Components)), terminal.Bytes(f.Size), f.Directory,
				strings.Join(f.Models, ", "))
		})}
	fl := cmd.Flags()
	fl.StringVar(&n.Name, "name", "", "the file set's name, which no load has (required)")
	fl.StringVar(&n.Version, "version", "", "the file set's version, free text (required)")
	fl.StringVar(&directory, "directory", "",
		"where it stands on devices: lower-case letters, digits and hyphens (required)")
	fl.StringSliceVar(&n.Models, "model", nil, "models that it is for, repeated or with commas (required)")
	fl.BoolVar(&n.Replace, "replace", false, "allow other content under the same name and version")
	for _, name := range []string{"name", "version", "directory", "model"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // the flags are defined above
		}
	}
	return cmd
}

func filesetList(conn *connFlags) *cobra.Command {
	var retired bool
	cmd := &cobra.Command{Use: "list", Short: "List the file sets that are published", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := collect(c.FileSets.List(cmd.Context(), client.Filter{Retired: retired}))
			if err != nil {
				return err
			}
			return list(conn, cmd, "fileset", items, "FILESET VERSION DIRECTORY MODELS FILES SIZE STATE",
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

func filesetShow(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "show FILESET", Short: "Show a file set and its files", Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			f, err := c.FileSet(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.json {
				return conn.show(cmd, "fileset", f, "")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s version %s, for the directory %s of %s, retired %s\n", f.Name, f.Release,
				f.Directory, strings.Join(f.Models, ", "), terminal.YesNo(f.Retired))
			return list(conn, cmd, "component", f.Components, "FILE SIZE SHA-256", func(k client.LoadComponent) []string {
				return []string{k.Name, terminal.Bytes(k.Size), k.SHA256}
			})
		})}
}

// filesetAssign is the command that assigns a file set, or assigns it no more.
func filesetAssign(conn *connFlags, assign bool) *cobra.Command {
	var t levelTarget
	var a consent
	word, short := "assign", "Assign a file set at one level, in the place of that for the same directory"
	if !assign {
		word, short = "unassign", "Assign a file set no more: devices take it away"
	}
	cmd := &cobra.Command{Use: word + " FILESET --enterprise | --profile P | --device D", Short: short,
		Args: cobra.ExactArgs(1), Example: "  peerload-server fileset " + word + " locale-jp-9.4 --profile lobby",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			change := client.FileSetChange{Assign: args}
			if !assign {
				change = client.FileSetChange{Unassign: args}
			}
			change.DryRun = true
			would, err := c.ChangeFileSets(cmd.Context(), t.target(), change, c.ifVersion)
			if err != nil {
				return err
			}
			text := reachText(would.Reach, terminal.Japanese(os.Getenv))
			if a.dry {
				return conn.show(cmd, "dry_run", would, "%s\n", text)
			}
			if !a.yes {
				if ok, err := confirm(cmd, would.Reach); err != nil || !ok {
					return err
				}
			}
			change.DryRun = false
			done, err := c.ChangeFileSets(cmd.Context(), t.target(), change, c.ifVersion)
			if err != nil {
				return err
			}
			return conn.show(cmd, "fileset_"+word+"ed", done, "%s\n%s: file sets %s\n",
				reachText(done.Reach, terminal.Japanese(os.Getenv)),
				strings.TrimSpace(done.Target.Level+" "+done.Target.Name), orNone(strings.Join(done.FileSets, ", ")))
		})}
	f := cmd.Flags()
	f.BoolVar(&t.enterprise, "enterprise", false, "for all devices")
	f.StringVar(&t.profile, "profile", "", "for the devices of this profile")
	f.StringVar(&t.device, "device", "", "for this device")
	cmd.MarkFlagsMutuallyExclusive("enterprise", "profile", "device")
	cmd.MarkFlagsOneRequired("enterprise", "profile", "device")
	a.flags(cmd)
	return cmd
}

func filesetRetire(conn *connFlags, retired bool) *cobra.Command {
	use, short := "retire FILESET", "Take a file set out of use: it cannot be assigned any more"
	if !retired {
		use, short = "restore FILESET", "Take a retired file set into use again"
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			f, err := c.RetireFileSet(cmd.Context(), args[0], retired, c.ifVersion)
			if err != nil {
				return err
			}
			return conn.show(cmd, "fileset_changed", f, "%s: retired %s\n", f.Name, terminal.YesNo(f.Retired))
		})}
}
