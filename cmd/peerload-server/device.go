package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/report"
)

// stateUnknown is the state of a device that has never reported.
const stateUnknown = "unknown"

// group is a command that groups others, with the flags that all of them have.
func group(use, short string, make func(conn *console.Flags) []*cobra.Command) *cobra.Command {
	conn := &console.Flags{Here: openHere}
	cmd := &cobra.Command{Use: use, Short: short}
	conn.Add(cmd.PersistentFlags())
	cmd.AddCommand(make(conn)...)
	return cmd
}

func deviceCommand() *cobra.Command {
	return group("device", "List, show, add, change and remove devices", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{deviceList(conn), deviceShow(conn), deviceAdd(conn), deviceSet(conn), deviceDelete(conn),
			deviceHistory(conn), deviceReset(conn)}
	})
}

func deviceList(conn *console.Flags) *cobra.Command {
	var q client.Filter
	var silent console.Age
	var format console.Format
	cmd := &cobra.Command{Use: "list", Short: "List devices", Args: cobra.NoArgs,
		Example: "  peerload-server device list --model 7941 --site Kyoto\n" +
			"  peerload-server device list --silent 1d --failed -o csv > devices.csv",
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			q.Silent = time.Duration(silent)
			items, err := console.Collect(c.Devices.List(cmd.Context(), q))
			if err != nil {
				return err
			}
			return console.Print(conn, &format, cmd, "device", items, deviceColumns(), nil)
		})}
	format.Add(cmd)
	f := cmd.Flags()
	f.Var(&silent, "silent", "devices: that have not reported for so long, such as 1d or 90m")
	f.BoolVar(&q.Failed, "failed", false, "devices: that tell of a failure; \"report failures\" says why")
	f.StringVar(&q.About, "load", "", "devices: that run this load, or are to run it")
	f.StringVar(&q.Text, "text", "", "devices: part of the name or description")
	f.StringVar(&q.Model, "model", "", "devices: of this model")
	f.StringVar(&q.Profile, "profile", "", "devices: of this profile")
	console.SiteFlag(cmd, &q.Site, "devices: that belong to this site")
	f.StringVar(&q.State, "state", "", "devices: in this state")
	strict.Values(cmd, "state", stateUnknown, report.StateIdle, report.StateDownloading, report.StateReady,
		report.StateInstalling, report.StateRebooting, report.StateTrial, report.StateRolledBack, report.StateFailed)
	f.StringVar(&q.Active, "active", "", "devices: that run this load")
	return cmd
}

// deviceColumns are those of a list of devices.
func deviceColumns() []console.Column[client.Device] {
	type d = client.Device
	of := func(text func(s *client.DeviceState) string) func(d) string {
		return func(v d) string {
			if v.State == nil {
				return ""
			}
			return text(v.State)
		}
	}
	seen := func(s *client.DeviceState) time.Time { return s.LastSeen }
	return []console.Column[d]{
		{Name: "DEVICE", Text: func(v d) string { return v.Name }},
		{Name: "DESCRIPTION", Wide: true, Text: func(v d) string { return v.Description }},
		{Name: "MODEL", Text: func(v d) string { return v.Model }},
		{Name: "PROFILE", Text: func(v d) string { return v.Profile }},
		{Name: "SITE", Text: siteOf},
		{Name: "STATE", Text: func(v d) string {
			if v.State == nil {
				return stateUnknown
			}
			return v.State.Last.State
		}},
		{Name: "REASON", Wide: true, Text: of(func(s *client.DeviceState) string { return s.Last.Reason })},
		{Name: "SINCE", Wide: true, Text: of(func(s *client.DeviceState) string { return console.When(s.Since) }),
			Data: of(func(s *client.DeviceState) string { return console.TimeData(s.Since) })},
		{Name: "ACTIVE", Text: of(func(s *client.DeviceState) string { return s.Last.Active })},
		{Name: "WANTED", Wide: true, Text: of(func(s *client.DeviceState) string { return s.Last.Wanted })},
		{Name: "ADDRESS", Wide: true, Text: of(func(s *client.DeviceState) string { return s.From })},
		{Name: "PROGRAM", Wide: true, Text: of(func(s *client.DeviceState) string { return s.Last.Program })},
		{Name: "LAST-SEEN", Text: of(func(s *client.DeviceState) string { return console.When(seen(s)) }),
			Data: of(func(s *client.DeviceState) string { return console.TimeData(seen(s)) })},
	}
}

func deviceShow(conn *console.Flags) *cobra.Command {
	return &cobra.Command{Use: "show DEVICE", Short: "Show a device: what it should do and why, and what it last said",
		Args:    cobra.ExactArgs(1),
		Example: "  peerload-server device show 00:11:22:33:44:55",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			row, err := c.Devices.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			d, err := c.Desired(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if conn.JSON {
				return conn.Show(cmd, "device", struct {
					client.Device
					Desired client.Desired `json:"desired"`
				}{row, d}, "")
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s  %s  version %d\n", row.Name, terminal.Printable(row.Description), row.Version)
			unknown := ""
			if !d.Known {
				unknown = ", in no table"
			}
			fmt.Fprintf(out, "model    %s (group %s%s)\nprofile  %s\nsite     %s\n", console.OrNone(d.Model.Name),
				console.OrNone(d.Group), unknown, console.OrNone(row.Profile), siteText(row))
			of := d.Load.Level
			if d.Load.Release != "" {
				of += ", release " + d.Load.Release
			}
			if err := console.PrintLines(out, "load     %s (%s) %s\n", console.OrNone(d.Load.Load), of,
				d.Load.Warning); err != nil {
				return err
			}
			printWay(out, d.Load)
			printFileSets(out, d.FileSets, row.State)
			if s := row.State; s != nil && s.Reported.IsZero() {
				fmt.Fprintf(out, "state    has not reported; its file was last fetched %s from %s\n", console.When(s.Asked),
					console.OrNone(s.AskedFrom))
			} else if s != nil {
				fmt.Fprintf(out, "state    %s since %s, last seen %s from %s\n", terminal.Printable(s.Last.State),
					console.When(s.Since), console.When(s.LastSeen), s.From)
				fmt.Fprintf(out, "runs     %s, holds %s, wants %s\n", console.OrNone(s.Last.Active),
					console.OrNone(s.Last.Inactive), console.OrNone(s.Last.Wanted))
				fmt.Fprintf(out, "peers    role %s, root %s, parent %s, children %s\n", console.OrNone(s.Last.Role),
					console.OrNone(s.Last.Root), console.OrNone(s.Last.Parent), console.OrNone(strings.Join(s.Last.Children, ", ")))
				fmt.Fprintf(out, "traffic  %s from the server, %s from peers, %s to peers\n",
					terminal.Bytes(s.Traffic.FromOrigin), terminal.Bytes(s.Traffic.FromPeers), terminal.Bytes(s.Traffic.ToPeers))
				for _, f := range s.Failures {
					fmt.Fprintf(out, "failure  %s %s %s\n", console.When(f.At), terminal.Printable(f.Reason),
						terminal.Printable(f.Message))
				}
			}
			if err := console.Effective(conn, cmd, d.Settings); err != nil || row.State == nil || len(row.State.Files) == 0 {
				return err
			}
			return console.List(conn, cmd, "file", row.State.Files, "FILE SOURCE FROM-SERVER FROM-PEERS HELD-BEFORE PARENT WHY",
				func(f report.Final) []string {
					var why []string
					for _, b := range f.Fallbacks {
						why = append(why, b.Reason)
					}
					return []string{f.File, f.Source, terminal.Bytes(f.BytesFromOrigin), terminal.Bytes(f.BytesFromPeers),
						terminal.Bytes(f.BytesFromCache), f.Parent, strings.Join(why, ", ")}
				})
		})}
}

// printWay says how a device gets to its load, if not straight.
func printWay(out io.Writer, l client.LoadAnswer) {
	if l.Via != "" {
		fmt.Fprintf(out, "step     %s first: %s is not installed from what it runs\n", l.Via, l.Load)
	}
	if l.Held != "" {
		fmt.Fprintf(out, "held     it is handed no load: %s\n", terminal.Printable(l.Held))
	}
}

// printFileSets says which file sets a device is to have, and which it has in place.
func printFileSets(out io.Writer, wanted []client.FileSetAnswer, s *client.DeviceState) {
	for _, f := range wanted {
		fmt.Fprintf(out, "files    %s: %s (%s)\n", f.Directory, f.FileSet, f.Level)
	}
	if s == nil {
		return
	}
	for _, f := range s.Last.FileSets {
		fmt.Fprintf(out, "placed   %s: %s %s, %s %s %s\n", terminal.Printable(f.Directory), console.OrNone(f.Name),
			terminal.Printable(f.Version), terminal.Printable(f.State), terminal.Printable(f.Reason),
			terminal.Printable(f.Message))
	}
}

// siteOf is the site that a device belongs to.
func siteOf(d client.Device) string {
	if d.Site == "" && d.State != nil {
		return d.State.Site
	}
	return d.Site
}

// siteText says which site a device belongs to, and why.
func siteText(d client.Device) string {
	if site := siteOf(d); d.Site == "" && site != "" {
		return terminal.Printable(site) + " (by the network that it reports from)"
	}
	return console.OrNone(d.Site)
}

// change are the flags that change a device.
func changeFlags(cmd *cobra.Command, unset *[]string) {
	f := cmd.Flags()
	f.String("model", "", "the model, by any way of writing it")
	f.String("profile", "", "the common profile; empty for none")
	f.String("site", "", "the site; empty for that of the network from which the device reports")
	f.String("description", "", "for people")
	f.String("load", "", "the load to assign at the level of the device; empty for none")
	f.String("release", "", "the release to assign in the place of a load; empty for none")
	f.StringSliceVar(unset, "unset", nil, "settings to leave to the other levels")
}

func changeOf(cmd *cobra.Command, args, unset []string) (client.DeviceChange, error) {
	settings, err := console.ParseSettings(args, unset)
	return client.DeviceChange{
		Description: console.Optional(cmd, "description"), Model: console.Optional(cmd, "model"),
		Profile: console.Optional(cmd, "profile"), Site: console.Optional(cmd, "site"),
		Load: console.Optional(cmd, "load"), Release: console.Optional(cmd, "release"), Settings: settings,
	}, err
}

func showDevice(conn *console.Flags, cmd *cobra.Command, did string, d client.Device) error {
	text := fmt.Sprintf("%s %s: version %d, model %s, profile %s, site %s, load %s", d.Name, did, d.Version, d.Model,
		console.OrNone(d.Profile), console.OrNone(d.Site), console.OrNone(d.Load.Load))
	if d.Load.Release != "" {
		text += ", release " + terminal.Printable(d.Load.Release)
	}
	if s := console.SettingsText(d.Settings); s != "" {
		text += ", " + s
	}
	return conn.Show(cmd, "device_"+did, d, "%s\n", text)
}

func deviceAdd(conn *console.Flags) *cobra.Command {
	var unset []string
	cmd := &cobra.Command{Use: "add DEVICE --model MODEL [NAME=VALUE...]", Short: "Make a device known",
		Args:    cobra.MinimumNArgs(1),
		Example: "  peerload-server device add 00:11:22:33:44:55 --model 7941 --site Kyoto peer-sharing=on",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := changeOf(cmd, args[1:], nil)
			if err != nil {
				return err
			}
			d, err := c.Devices.Create(cmd.Context(), args[0], change)
			if err != nil {
				return err
			}
			if err := showDevice(conn, cmd, "added", d); err != nil {
				return err
			}
			return warnModel(cmd, c, d.Model)
		})}
	changeFlags(cmd, &unset)
	if err := cmd.MarkFlagRequired("model"); err != nil {
		panic(err) // the flag has just been defined
	}
	return cmd
}

// warnModel says on standard error that no table has a model: a device of a new
// model must not wait for a table, but a typing error must be noticed.
func warnModel(cmd *cobra.Command, c *console.Connection, model string) error {
	if model == "" {
		return nil
	}
	m, err := c.Model(cmd.Context(), model)
	if err != nil {
		return err
	}
	if m.Known {
		return nil
	}
	all, err := console.Collect(c.Models.List(cmd.Context(), client.Filter{}))
	if err != nil {
		return err
	}
	var names []string
	for _, row := range all {
		names = append(append(names, row.Name), row.Aliases...)
	}
	meant := ""
	if near := choice.Nearest(m.Name, names); len(near) > 0 {
		meant = "; did you mean " + choice.List(near) + "?"
	}
	_, err = fmt.Fprintf(cmd.ErrOrStderr(), "note: no table has the model %s; \"peerload-server model list\" shows "+
		"those it has, \"model add\" adds one%s\n", terminal.Printable(model), meant)
	return err
}

func deviceSet(conn *console.Flags) *cobra.Command {
	var unset []string
	cmd := &cobra.Command{Use: "set DEVICE [NAME=VALUE...]", Short: "Change a device or its settings",
		Args:    cobra.MinimumNArgs(1),
		Example: "  peerload-server device set SEP001122334455 peer-sharing=off --unset wan-limit --load fw2",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := changeOf(cmd, args[1:], unset)
			if err != nil {
				return err
			}
			if len(args) == 1 && !console.Given(cmd, "model", "profile", "site", "description", "load", "release", "unset") {
				return errors.New("say what to change: NAME=VALUE, --unset, --model, --profile, --site, --description, --load " +
					"or --release")
			}
			d, err := c.Devices.Update(cmd.Context(), args[0], change, c.IfVersion)
			if err != nil {
				return err
			}
			if err := showDevice(conn, cmd, "changed", d); err != nil || change.Model == nil {
				return err
			}
			return warnModel(cmd, c, d.Model)
		})}
	changeFlags(cmd, &unset)
	return cmd
}

func deviceDelete(conn *console.Flags) *cobra.Command {
	a := &console.Consent{}
	cmd := &cobra.Command{Use: "delete DEVICE", Short: "Forget a device and its history",
		Long: `Forget a device and its history, and its secret if you may reset identities. "undo"
brings it back as it was set up; what it has reported is gone, and without its secret
it enrols anew.`, Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			order := client.Order{Target: &client.Target{Level: "device", Name: args[0]}, Delete: true}
			done, ok, err := a.Do(conn, cmd, c, order)
			if err != nil || !ok {
				return err
			}
			return console.ShowChanged(conn, cmd, "device_deleted", done, terminal.Printable(args[0])+": done\n")
		})}
	a.Add(cmd)
	return cmd
}

func deviceReset(conn *console.Flags) *cobra.Command {
	return console.Remover(conn, "reset-identity DEVICE", "Take a device's secret away: it must enrol anew",
		"identity_reset",
		func(ctx context.Context, c *console.Connection, name string) error { return c.ResetIdentity(ctx, name) })
}

func deviceHistory(conn *console.Flags) *cobra.Command {
	var most int
	cmd := &cobra.Command{Use: "history DEVICE", Short: "What happened to a device, the latest first",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			items, err := console.Last(cmd.Context(), c.History, client.Filter{Device: args[0]}, most)
			if err != nil {
				return err
			}
			if len(items) == 0 { // of a device that was deleted there may be some
				if _, err := c.Devices.Get(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			return printHistory(conn, cmd, items)
		})}
	cmd.Flags().IntVar(&most, "last", 50, "how many entries, 0 for all")
	return cmd
}

func printHistory(conn *console.Flags, cmd *cobra.Command, items []client.HistoryEntry) error {
	return console.List(conn, cmd, "history", items, "TIME DEVICE WHAT OLD NEW FILE REASON SIZE",
		func(h client.HistoryEntry) []string {
			size := ""
			if f := h.Final; f != nil {
				size = terminal.Bytes(f.Size)
			}
			return []string{console.When(h.At), h.Device, h.Kind, h.Old, h.New, h.File, h.Reason, size}
		})
}

// levelTarget are the flags that say at which level a load is assigned.
type levelTarget struct {
	enterprise             bool
	model, profile, device string
	site                   string
}

// flags adds those of all levels and of a site.
func (t *levelTarget) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.model, "model", "", "for the devices of this model")
	t.flagsOf(cmd, "enterprise", "model", "profile", "device", "site")
}

// flagsOf adds those but --model, one of all that are named.
func (t *levelTarget) flagsOf(cmd *cobra.Command, names ...string) {
	f := cmd.Flags()
	f.BoolVar(&t.enterprise, "enterprise", false, "for all devices")
	f.StringVar(&t.profile, "profile", "", "for the devices of this profile")
	f.StringVar(&t.device, "device", "", "for this device")
	f.StringVar(&t.site, "site", "", "for each device that belongs to this site now, at its own level")
	cmd.MarkFlagsMutuallyExclusive(names...)
	cmd.MarkFlagsOneRequired(names...)
}

// order completes an order with where the flags say.
func (t *levelTarget) order(o client.Order) client.Order {
	if o.Site = t.site; t.site == "" {
		at := t.target()
		o.Target = &at
	}
	return o
}

// target is what the flags name.
func (t *levelTarget) target() client.Target {
	switch {
	case t.enterprise:
		return client.Target{Level: "enterprise"}
	case t.model != "":
		return client.Target{Level: "model", Name: t.model}
	case t.profile != "":
		return client.Target{Level: "profile", Name: t.profile}
	}
	return client.Target{Level: "device", Name: t.device}
}
