package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
)

func siteCommand() *cobra.Command {
	return group("site", "Sites: where devices are, and how far they are", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{siteList(conn), siteShow(conn), sitePlan(conn), siteAdd(conn), siteSet(conn),
			console.Remover(conn, "delete SITE", "Remove a site that no device belongs to", "site_deleted",
				func(ctx context.Context, c *console.Connection, name string) error {
					return c.Sites.Delete(ctx, name, c.IfVersion)
				})}
	})
}

func siteList(conn *console.Flags) *cobra.Command {
	f := client.Filter{Silent: time.Hour}
	cmd := &cobra.Command{Use: "list", Short: "List sites: how many devices run what they should, and their bytes",
		Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Sites.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "site", items,
				"SITE DEVICES DONE RUNNING FAILED SILENT WAN SAVED NETWORKS TIME-ZONE NOTE",
				func(s client.Site) []string {
					return append(append([]string{s.Name}, countsRow(s.Counts)...), strings.Join(s.Networks, ","), s.TimeZone, s.Note)
				})
		})}
	cmd.Flags().StringVar(&f.Text, "text", "", "sites: part of the name or note")
	cmd.Flags().DurationVar(&f.Silent, "silent", time.Hour, "after which time a device counts as silent")
	return cmd
}

func sitePlan(conn *console.Flags) *cobra.Command {
	load, release := "", ""
	cmd := &cobra.Command{Use: "plan SITE --load LOAD | --release RELEASE",
		Short: "Say what an upgrade of a site would take, and what its last one took", Args: cobra.ExactArgs(1),
		Long: `Say how many bytes would cross the line of a site, and when its last device would
have the load, if all its devices were to get it at the same time. The controller
simulates it. Beside it stand what the same takes if every device downloads by
itself, and what the last upgrade of the site took. No device is touched.`,
		Example: "  peerload-server site plan Kyoto --release '9.4(2)'",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if (load == "") == (release == "") {
				return errors.New("say what to bring: --load or --release, one of them")
			}
			p, err := c.PlanSite(cmd.Context(), args[0], load, release)
			if err != nil {
				return err
			}
			return sitePlans(conn, cmd, []client.SitePlan{p})
		})}
	cmd.Flags().StringVar(&load, "load", "", "the load to bring")
	cmd.Flags().StringVar(&release, "release", "", "the release to bring")
	return cmd
}

// sitePlans prints what upgrades of sites would take, a site a line.
func sitePlans(conn *console.Flags, cmd *cobra.Command, plans []client.SitePlan) error {
	const header = "SITE DEVICES WAN LAST-DEVICE CLASSIC-WAN BY-HTTP BY-TFTP LAST-UPGRADE ITS-DEVICES ITS-WAN ITS-TIME"
	err := console.List(conn, cmd, "site_plan", plans, header, func(p client.SitePlan) []string {
		row := []string{console.OrNone(p.Site), strconv.Itoa(p.Devices), terminal.Bytes(p.WANBytes), planTime(p.LastS),
			terminal.Bytes(p.Classic.WANBytes), planTime(p.Classic.HTTPSeconds), planTime(p.Classic.TFTPSeconds)}
		if t := p.Took; t != nil {
			return append(row, t.Load, strconv.Itoa(t.Devices), terminal.Bytes(t.WANBytes), planTime(&t.LastS))
		}
		return append(row, terminal.None, terminal.None, terminal.None, terminal.None)
	})
	for _, p := range plans {
		if err == nil && p.Unknown != "" && !conn.JSON {
			err = console.PrintLines(cmd.OutOrStdout(), "%s: %s\n", console.OrNone(p.Site), terminal.Printable(p.Unknown))
		}
	}
	return err
}

// planTime is a time in seconds for people, a hyphen for none.
func planTime(s *float64) string {
	if s == nil {
		return terminal.None
	}
	d := time.Duration(*s * float64(time.Second))
	if d < 10*time.Second {
		return parse.Duration(d.Round(10 * time.Millisecond))
	}
	return parse.Duration(d.Round(time.Second))
}

// countsRow are the counts of a site as columns.
func countsRow(n *client.SiteCounts) []string {
	if n == nil {
		n = &client.SiteCounts{}
	}
	return []string{strconv.Itoa(n.Devices), strconv.Itoa(n.Done), strconv.Itoa(n.Running), strconv.Itoa(n.Failed),
		strconv.Itoa(n.Silent), terminal.Bytes(n.WANBytes), terminal.Bytes(n.SavedBytes)}
}

func siteShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show SITE", Short: "Show a site and how far its devices are", Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			s, err := c.Sites.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.JSON {
				return conn.Show(cmd, "site", s, "")
			}
			if err := showSite(conn, cmd, "site", "", s); err != nil {
				return err
			}
			return console.List(conn, cmd, "counts", []client.Site{s}, "DEVICES DONE RUNNING FAILED SILENT WAN SAVED",
				func(s client.Site) []string { return countsRow(s.Counts) })
		})}
}

// showSite prints a site, one property a line.
func showSite(conn *console.Flags, cmd *cobra.Command, event, did string, s client.Site) error {
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
	return conn.Show(cmd, event, s, "%s%s: version %d  %s\ntime zone  %s\nnetworks   %s\nline       %s\nwindow     %s\n"+
		"transfers  %s\nrate       %s\n", terminal.Printable(s.Name), did, s.Version, terminal.Printable(s.Note),
		console.OrNone(s.TimeZone), console.OrNone(strings.Join(s.Networks, ", ")), rate(s.WANRate, terminal.None),
		console.OrNone(s.Window),
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
	change = client.SiteChange{Note: console.Optional(cmd, "note"), TimeZone: console.Optional(cmd, "time-zone"),
		Window: console.Optional(cmd, "window")}
	for name, to := range map[string]**int64{"wan-rate": &change.WANRate, "rate": &change.Rate} {
		text := console.Optional(cmd, name)
		if text == nil {
			continue
		}
		n, err := parse.Size(*text)
		if err != nil {
			return change, fmt.Errorf("--%s: %w", name, err)
		}
		*to = &n
	}
	if console.Given(cmd, "network") {
		networks, err := cmd.Flags().GetStringSlice("network")
		if err != nil {
			return change, err
		}
		change.Networks = &networks
	}
	if console.Given(cmd, "transfers") {
		n, err := cmd.Flags().GetInt("transfers")
		if err != nil {
			return change, err
		}
		change.Transfers = &n
	}
	return change, nil
}

func siteAdd(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "add SITE", Short: "Make a site", Args: cobra.ExactArgs(1),
		Example: "  peerload-server site add Kyoto --time-zone Asia/Tokyo --network 10.1.0.0/16 --wan-rate 2M",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
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

func siteSet(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "set SITE", Short: "Change a site", Args: cobra.ExactArgs(1),
		Example: "  peerload-server site set Kyoto --window 'mon-fri 22:00-05:00' --transfers 2",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if !console.Given(cmd, "note", "time-zone", "network", "wan-rate", "window", "transfers", "rate") {
				return errors.New("say what to change: --time-zone, --network, --wan-rate, --window, --transfers, --rate or --note")
			}
			change, err := siteChange(cmd)
			if err != nil {
				return err
			}
			s, err := c.Sites.Update(cmd.Context(), args[0], change, c.IfVersion)
			if err != nil {
				return err
			}
			return showSite(conn, cmd, "site_changed", " changed", s)
		})}
	siteFlags(cmd)
	return cmd
}
