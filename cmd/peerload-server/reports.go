package main

import (
	"bytes"
	"encoding/csv"
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
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/policy"
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

// errRows ends a bulk write of which some rows failed, after they are printed.
var errRows = errors.New("rows were not written as asked: mend what PROBLEM says, and write them again")

func bulkCommand() *cobra.Command {
	conn := &connFlags{}
	var create bool
	var a consent
	cmd := &cobra.Command{Use: "bulk FILE.csv", Short: "Write many devices from a table; each row is read back",
		Args: cobra.ExactArgs(1),
		Long: `Write many devices from a CSV table ("-" is the standard input). The first line
names the columns: device, and any of model, profile, site, description, load,
release and the names of settings. An empty cell changes nothing, a hyphen unsets
a setting or empties a field. Each row is written, read back and compared by
itself; one that fails does not stop the others, and the exit status tells. What
is printed at the end undoes it.`,
		Example: "  peerload-server bulk phones.csv --create --dry-run",
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := readInput(cmd, args[0], 16<<20)
			if err != nil {
				return err
			}
			rows, err := bulkRows(b, create)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
				return sendBulk(conn, cmd, c, rows, &a)
			})(cmd, args)
		}}
	conn.flags(cmd.Flags())
	cmd.Flags().BoolVar(&create, "create", false, "make devices that are not known")
	a.flags(cmd)
	return cmd
}

// printRows prints the results of rows.
func printRows(conn *connFlags, cmd *cobra.Command, rows []client.BulkResult) error {
	if len(rows) == 0 {
		return nil
	}
	return list(conn, cmd, "bulk_row", rows, "DEVICE OK CREATED PROBLEM", func(b client.BulkResult) []string {
		return []string{b.Device, terminal.YesNo(b.OK), terminal.YesNo(b.Created), b.Error}
	})
}

func sendBulk(conn *connFlags, cmd *cobra.Command, c *connection, rows []client.BulkRow, a *consent) error {
	if len(rows) == 0 {
		return errors.New("it has no row below the first line: nothing would be changed")
	}
	if ok, err := a.ask(conn, cmd, c, &client.Order{Rows: rows}); err != nil || !ok {
		return err
	}
	failed := 0
	for batch := range slices.Chunk(rows, 500) { // so that one call does not take minutes
		done, err := c.Change(cmd.Context(), client.Order{Rows: batch}, false)
		if err != nil {
			return err
		}
		for _, b := range done.Rows {
			if !b.OK {
				failed++
			}
		}
		if err := printRows(conn, cmd, done.Rows); err != nil {
			return err
		}
		if done.Rows = nil; done.Audit != "" {
			if err := showChanged(conn, cmd, done); err != nil {
				return err
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d %w", failed, len(rows), errRows)
	}
	return nil
}

// bulkRows reads the table.
func bulkRows(b []byte, create bool) ([]client.BulkRow, error) {
	t := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))))
	header, err := t.Read()
	if err != nil {
		return nil, fmt.Errorf("it has no first line with the columns: %w; %s", err, columnsHelp())
	}
	if !slices.Contains(header, "device") {
		return nil, errors.New(`it has no column "device": ` + columnsHelp())
	}
	var rows []client.BulkRow
	for {
		cells, err := t.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: mend the row", err)
		}
		row := client.BulkRow{Create: create}
		for i, name := range header {
			if err := bulkCell(&row, name, cells[i]); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
}

// columns are those that a table can have beside the settings.
var columns = []string{"device", "model", "profile", "site", "description", "load", "release"}

// columnsHelp says what the first line of a table is.
func columnsHelp() string {
	return "its first line names the columns, device and any of " +
		strings.Join(slices.Concat(columns[1:], policy.Names()), ", ")
}

func bulkCell(row *client.BulkRow, name, cell string) error {
	value := cell
	if cell == "-" {
		value = ""
	}
	field, ok := map[string]**string{"model": &row.Change.Model, "profile": &row.Change.Profile, "site": &row.Change.Site,
		"description": &row.Change.Description, "load": &row.Change.Load, "release": &row.Change.Release}[name]
	switch {
	case name == "device":
		row.Device = cell
	case cell == "":
	case ok:
		*field = &value
	default:
		if err := choice.Check("column", name, slices.Concat(columns, policy.Names())); err != nil {
			return err
		}
		if s := &row.Change.Settings; cell == "-" {
			s.Unset = append(s.Unset, name)
		} else {
			if s.Set == nil {
				s.Set = map[string]string{}
			}
			s.Set[name] = value
		}
	}
	return nil
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
