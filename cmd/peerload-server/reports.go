package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/terminal"
)

func reportCommand() *cobra.Command {
	return group("report", "What devices say, and who changed what", func(conn *connFlags) []*cobra.Command {
		return []*cobra.Command{reportOverview(conn), reportHistory(conn), reportAudit(conn)}
	})
}

func reportOverview(conn *connFlags) *cobra.Command {
	var silent time.Duration
	var site string
	cmd := &cobra.Command{Use: "overview", Short: "Count devices, states and bytes", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			o, err := c.Overview(cmd.Context(), site, silent)
			if err != nil {
				return err
			}
			if conn.json {
				return conn.show(cmd, "overview", o, "")
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%d devices, %d silent for %s, %d do not run the load they should\n", o.Devices, o.Silent,
				terminal.Duration(silent), o.Pending)
			for _, part := range []struct {
				what string
				n    map[string]int
			}{{"state", o.ByState}, {"model", o.ByModel}, {"runs", o.ByActive}, {"role", o.ByRole}, {"site", o.BySite}} {
				for _, k := range slices.Sorted(maps.Keys(part.n)) {
					fmt.Fprintf(out, "%-6s %6d  %s\n", part.what, part.n[k], terminal.Printable(k))
				}
			}
			_, err = fmt.Fprintf(out, "traffic: %s from the server, %s from peers, %s held before, %s sent to peers\n",
				terminal.Bytes(o.Traffic.FromOrigin), terminal.Bytes(o.Traffic.FromPeers),
				terminal.Bytes(o.Traffic.FromCache), terminal.Bytes(o.Traffic.ToPeers))
			return err
		})}
	siteFlag(cmd, &site, "count the devices of this site only")
	cmd.Flags().DurationVar(&silent, "silent", time.Hour, "after which time a device counts as silent")
	return cmd
}

func reportHistory(conn *connFlags) *cobra.Command {
	var most int
	var kind, site string
	cmd := &cobra.Command{Use: "history", Short: "What happened to all devices, the latest first", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := last(cmd.Context(), c.History, client.Filter{Kind: kind, Site: site}, most)
			if err != nil {
				return err
			}
			return printHistory(conn, cmd, items)
		})}
	cmd.Flags().IntVar(&most, "last", 50, "how many entries, 0 for all")
	siteFlag(cmd, &site, "of devices of this site")
	cmd.Flags().StringVar(&kind, "kind", "", "state, load, file, failure, restart, address or known")
	strict.Values(cmd, "kind", "state", "load", "file", "failure", "restart", "address", "known")
	return cmd
}

func reportAudit(conn *connFlags) *cobra.Command {
	var most int
	var site string
	cmd := &cobra.Command{Use: "audit", Short: "Who changed what, when and from where, the latest first",
		Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := last(cmd.Context(), c.Audit, client.Filter{Site: site}, most)
			if err != nil {
				return err
			}
			return list(conn, cmd, "audit", items, "ID TIME WHO FROM ACTION TARGET CHANGES", func(a client.AuditEntry) []string {
				var changes []string
				for _, f := range a.Changes {
					changes = append(changes, fmt.Sprintf("%s: %s → %s", f.Field, valueOr(f.Old), valueOr(f.New)))
				}
				return []string{a.ID, when(a.At), a.Actor, a.From, a.Action, a.Target, strings.Join(changes, "; ")}
			})
		})}
	siteFlag(cmd, &site, "about this site and its devices")
	cmd.Flags().IntVar(&most, "last", 50, "how many entries, 0 for all")
	return cmd
}

// noTime is how a time that is not set was written into the audit.
var noTime = time.Time{}.Format(time.RFC3339)

func valueOr(v *string) string {
	switch {
	case v == nil:
		return "unset"
	case *v == noTime:
		return terminal.None
	}
	return *v
}

func backupCommand() *cobra.Command {
	conn := &connFlags{}
	cmd := &cobra.Command{Use: "backup FILE", Short: "Write the whole database into a file, while the controller runs",
		Args: cobra.ExactArgs(1),
		Long: `Write the whole database into a new file ("-" is the standard output), as JSON
lines that every kind of database can restore. Signing keys and published loads are not in it: copy the
directories keys and repository too.`,
		Example: "  peerload-server backup /backup/controller.jsonl",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d := dataDir(conn.data)
			if err := requireData(d, conn.database()); err != nil {
				return err
			}
			s, err := openStore(cmd.Context(), d, conn.database())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			if args[0] == "-" {
				return s.Export(cmd.Context(), cmd.OutOrStdout())
			}
			err = writeNew(args[0], func(w io.Writer) error { return s.Export(cmd.Context(), w) })
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%w: a backup replaces nothing: name another file", err)
			} else if err != nil {
				return err
			}
			return conn.show(cmd, "backup_written", args[0], "%s written\n", args[0])
		}}
	conn.dataFlags(cmd.Flags())
	cmd.Flags().BoolVar(&conn.json, "json", false, "print one JSON object a line")
	return cmd
}

// writeNew makes a file for its owner alone, whole and durable or not at all. It
// replaces nothing: the error matches fs.ErrExist if there is a file already. In
// a directory that others may write to, nothing of theirs is written to, and
// nothing of theirs takes the file's place.
func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".backup-") // follows no link, opens no file that is there
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := errors.Join(write(f), f.Sync()); err != nil {
		return err
	}
	if err := nameOnce(os.Link, f.Name(), path); err != nil {
		return err
	}
	written, err := f.Stat()
	if err != nil {
		return err
	}
	if linked, err := os.Lstat(path); err != nil {
		return err
	} else if !os.SameFile(written, linked) {
		return errors.Join(fmt.Errorf("%s was swapped while it was written; name a file in a directory of your own",
			f.Name()), os.Remove(path))
	}
	return durable.SyncDir(filepath.Dir(path))
}

// nameOnce gives a file its name unless there is one already. Where the file
// system has no hard links, as link says, it takes the name first, and replaces
// its own file.
func nameOnce(link func(from, to string) error, from, path string) error {
	err := link(from, path) // unlike a rename it replaces nothing
	if !errors.Is(err, syscall.EPERM) && !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	own, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(own.Close(), os.Rename(from, path))
}

func restoreCommand() *cobra.Command {
	conn := &connFlags{}
	cmd := &cobra.Command{Use: "restore FILE", Short: "Read a backup into an empty database", Args: cobra.ExactArgs(1),
		Long: `Read what "backup" has written ("-" is the standard input) into an empty database:
that of a data directory without one, or an empty PostgreSQL. One that holds something is left alone.`,
		Example: "  peerload-server restore /backup/controller.jsonl --data /var/lib/peerload-server",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			from := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				from = f
			}
			d := dataDir(conn.data)
			if err := d.prepare(); err != nil {
				return err
			}
			s, err := openStore(cmd.Context(), d, conn.database())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			if err := s.Import(cmd.Context(), from); err != nil {
				return fmt.Errorf("%w; restore what \"peerload-server backup\" wrote, into --data without a database "+
					"or an empty --database", err)
			}
			return conn.show(cmd, "restored", args[0], "%s restored\n", args[0])
		}}
	conn.dataFlags(cmd.Flags())
	cmd.Flags().BoolVar(&conn.json, "json", false, "print one JSON object a line")
	return cmd
}

// errRows ends a bulk job of which some rows failed, after they are printed.
var errRows = errors.New("rows were not written as asked: mend what PROBLEM says, and write them again")

func bulkCommand() *cobra.Command {
	return group("bulk", "Change many devices by a table or a query: plan, run, look, undo",
		func(conn *connFlags) []*cobra.Command {
			return []*cobra.Command{bulkPlan(conn), bulkRun(conn), bulkStatus(conn), bulkUndo(conn), bulkList(conn),
				bulkExport(conn), bulkTemplate(conn)}
		})
}

// jobFlags say what a job is to do.
type jobFlags struct {
	consent
	query       client.JobQuery
	job         client.JobRequest
	all, every  bool
	at, badFile string
}

const jobHelp = `

FILE is a CSV table (commas, semicolons or tabs; UTF-8 or UTF-16) or an xlsx; "-"
is the standard input. Its first line names the columns: device, and any of model,
profile, site, description, load, release and the names of settings, by their usual
names in English or Japanese. An empty cell changes nothing, a hyphen unsets a
setting or empties a field. Without FILE, --model, --profile, --site and --text
find devices, or --all-devices does. NAME=VALUE is for each device of which the
table says nothing else.`

func (f *jobFlags) flags(cmd *cobra.Command) {
	s := cmd.Flags()
	queryFlags(cmd, &f.query)
	s.BoolVar(&f.all, "all-devices", false, "all devices")
	s.StringVar(&f.job.Template, "template", "", "name of a template: values for all that the table does not say")
	s.BoolVar(&f.job.Create, "create", false, "make devices that are not known")
	s.BoolVar(&f.job.SkipBad, "skip-bad", false, "write the good rows although there are bad ones")
	s.BoolVar(&f.job.AnyModel, "any-model", false, "take models that no table has")
	s.BoolVar(&f.every, "all-rows", false, "print every row, not some of those that are good")
	s.StringVar(&f.badFile, "bad", "", "write the bad rows into this new CSV file, to mend them and run it")
}

func queryFlags(cmd *cobra.Command, q *client.JobQuery) {
	s := cmd.Flags()
	s.StringVar(&q.Model, "model", "", "devices of this model")
	s.StringVar(&q.Profile, "profile", "", "devices of this profile")
	siteFlag(cmd, &q.Site, "devices that belong to this site")
	s.StringVar(&q.Text, "text", "", "devices with this in their name or description")
}

// request reads the arguments: FILE, and NAME=VALUE.
func (f *jobFlags) request(cmd *cobra.Command, args []string) (r client.JobRequest, err error) {
	r = f.job
	file := ""
	if len(args) > 0 && !strings.Contains(args[0], "=") {
		file, args = args[0], args[1:]
	}
	if r.Set, err = assignments(args); err != nil {
		return r, err
	}
	asked := f.all || f.query != (client.JobQuery{})
	switch {
	case file != "" && asked:
		return r, errors.New("a table names its devices: leave out --model, --profile, --site, --text and --all-devices")
	case file == "" && !asked:
		return r, errors.New("name a table, or find devices with --model, --profile, --site, --text or --all-devices")
	case file == "":
		r.Query = &f.query
	default:
		r.Name = filepath.Base(file)
		if r.Table, err = readInput(cmd, file, table.MaxBytes); err != nil {
			return r, err
		}
	}
	if f.at == "" {
		return r, nil
	}
	if d, err := time.ParseDuration(f.at); err == nil {
		r.At = time.Now().Add(d)
		return r, nil
	}
	if r.At, err = time.Parse(time.RFC3339, f.at); err != nil {
		err = fmt.Errorf("--at %q is neither a time such as 2026-03-01T22:00:00+09:00 nor one from now, such as 5m", f.at)
	}
	return r, err
}

// assignments read NAME=VALUE for settings and for what else a device has; a hyphen
// unsets.
func assignments(args []string) (c client.DeviceChange, err error) {
	fields := map[string]**string{table.Model: &c.Model, table.Profile: &c.Profile, table.Site: &c.Site,
		table.Description: &c.Description, table.Load: &c.Load, table.Release: &c.Release}
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			return c, fmt.Errorf("%q is not NAME=VALUE, for example peer-sharing=on", a)
		}
		if err := choice.Check("name", name, table.Columns()[1:]); err != nil {
			return c, err
		}
		unset := value == "-"
		if unset {
			value = ""
		}
		switch field := fields[name]; {
		case field != nil:
			*field = &value
		case unset:
			c.Settings.Unset = append(c.Settings.Unset, name)
		default:
			if c.Settings.Set == nil {
				c.Settings.Set = map[string]string{}
			}
			c.Settings.Set[name] = value
		}
	}
	return c, nil
}

func bulkPlan(conn *connFlags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "plan [FILE] [NAME=VALUE...]", Short: "Say what would become of each row; change nothing",
		Long:    "Say what a job would do: what becomes of each row, by the line. It changes nothing." + jobHelp,
		Example: "  peerload-server bulk plan phones.xlsx --create",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			return f.plan(conn, cmd, c, args)
		})}
	f.flags(cmd)
	return cmd
}

func (f *jobFlags) plan(conn *connFlags, cmd *cobra.Command, c *connection, args []string) error {
	r, err := f.request(cmd, args)
	if err != nil {
		return err
	}
	p, err := c.PlanJob(cmd.Context(), r)
	if err != nil {
		return err
	}
	return f.report(conn, cmd, p.Rows, p.Counts, "bulk_plan", p.Name, "")
}

// maxShown bounds the good rows that are printed, and maxBad the bad ones.
const maxShown, maxBad = 20, 200

// report prints rows and then a summary, and writes the bad rows into a file.
func (f *jobFlags) report(conn *connFlags, cmd *cobra.Command, rows []client.JobRow, n client.JobCounts, event, name,
	state string) error {
	shown, good, bad := []client.JobRow{}, 0, []client.JobRow{}
	for _, r := range rows {
		if r.Problem != "" {
			if bad = append(bad, r); len(bad) <= maxBad || f.every || conn.json {
				shown = append(shown, r)
			}
		} else if good++; f.every || conn.json || good <= maxShown && r.Outcome != "unchanged" {
			shown = append(shown, r)
		}
	}
	err := error(nil)
	if len(shown) > 0 {
		err = list(conn, cmd, "bulk_row", shown, "LINE DEVICE OUTCOME CHANGES PROBLEM", func(r client.JobRow) []string {
			var changes []string
			for _, c := range r.Changes {
				changes = append(changes, fmt.Sprintf("%s: %s → %s", c.Field, valueOr(c.Old), valueOr(c.New)))
			}
			return []string{fmt.Sprint(r.Line), r.Device, r.Outcome, strings.Join(changes, "; "), r.Problem}
		})
	}
	if err != nil {
		return err
	}
	if f.badFile != "" && len(bad) > 0 {
		if err := writeNew(f.badFile, func(w io.Writer) error { return table.WriteCSV(w, badTable(bad)) }); err != nil {
			return err
		}
	}
	text := countText(name, state, n, terminal.Japanese(os.Getenv))
	if err := conn.show(cmd, event, n, "%s\n", text); err != nil || len(bad) == 0 {
		return err
	}
	return fmt.Errorf("%d of %d %w", len(bad), n.Rows, errRows)
}

// badTable is a table of bad rows, with what each was to change.
func badTable(rows []client.JobRow) *table.Table {
	t := &table.Table{Columns: table.Columns()}
	for _, r := range rows {
		row := table.Row{Line: r.Line, Device: r.Device, Problem: r.Problem}
		c := r.Change
		for _, f := range []struct {
			column string
			value  *string
		}{{table.Model, c.Model}, {table.Profile, c.Profile}, {table.Site, c.Site}, {table.Description, c.Description},
			{table.Load, c.Load}, {table.Release, c.Release}} {
			if f.value != nil {
				row.Cells = append(row.Cells, table.Cell{Column: f.column, Value: *f.value, Unset: *f.value == ""})
			}
		}
		for name, value := range c.Settings.Set {
			row.Cells = append(row.Cells, table.Cell{Column: name, Value: value})
		}
		for _, name := range c.Settings.Unset {
			row.Cells = append(row.Cells, table.Cell{Column: name, Unset: true})
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// countText sums a job up in one line.
func countText(name, state string, n client.JobCounts, japanese bool) string {
	name = terminal.Printable(name)
	if state != "" {
		name += ": " + state
	}
	if japanese {
		return fmt.Sprintf("%s: 全%d行。作成 %d、変更 %d、変更なし %d、拒否 %d、取り消し %d、保持 %d", name, n.Rows, n.Created,
			n.Changed, n.Unchanged, n.Refused, n.Undone, n.Kept)
	}
	rows := "rows"
	if n.Rows == 1 {
		rows = "row"
	}
	text := fmt.Sprintf("%s: %d %s: %d created, %d changed, %d unchanged, %d refused", name, n.Rows, rows, n.Created,
		n.Changed, n.Unchanged, n.Refused)
	if n.Undone+n.Kept > 0 {
		text += fmt.Sprintf(", %d undone, %d kept", n.Undone, n.Kept)
	}
	return text
}
