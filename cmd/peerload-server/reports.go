package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/cmd/peerload-server/internal/hook"
	"github.com/peerload/peerload/cmd/peerload-server/internal/summary"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/terminal"
)

func reportCommand() *cobra.Command {
	return group("report", "What devices say, and who changed what", func(conn *console.Flags) []*cobra.Command {
		return []*cobra.Command{summary.Overview(conn), summary.Failures(conn), summary.Savings(conn), reportHistory(conn),
			reportAudit(conn)}
	})
}

func webhookCommand() *cobra.Command {
	return group("webhook", "Tell others of failures and rollouts", hook.Commands)
}

func reportHistory(conn *console.Flags) *cobra.Command {
	var most int
	var kind, site string
	cmd := &cobra.Command{Use: "history", Short: "What happened to all devices, the latest first", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Last(cmd.Context(), c.History, client.Filter{Kind: kind, Site: site}, most)
			if err != nil {
				return err
			}
			return printHistory(conn, cmd, items)
		})}
	cmd.Flags().IntVar(&most, "last", 50, "how many entries, 0 for all")
	console.SiteFlag(cmd, &site, "of devices of this site")
	cmd.Flags().StringVar(&kind, "kind", "", "state, load, file, file-set, failure, restart, address or known")
	strict.Values(cmd, "kind", "state", "load", "file", "file-set", "failure", "restart", "address", "known")
	return cmd
}

func reportAudit(conn *console.Flags) *cobra.Command {
	var most int
	var site string
	cmd := &cobra.Command{Use: "audit", Short: "Who changed what, when and from where, the latest first",
		Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Last(cmd.Context(), c.Audit, client.Filter{Site: site}, most)
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "audit", items, "ID TIME WHO FROM ACTION TARGET CHANGES",
				func(a client.AuditEntry) []string {
					return []string{a.ID, console.When(a.At), a.Actor, a.From, a.Action, a.Target, changesText(a.Changes)}
				})
		})}
	console.SiteFlag(cmd, &site, "about this site and its devices")
	cmd.Flags().IntVar(&most, "last", 50, "how many entries, 0 for all")
	return cmd
}

// noTime is how a time that is not set was written into the audit.
var noTime = time.Time{}.Format(time.RFC3339)

// changesText says what became of fields.
func changesText(changes []client.FieldChange) string {
	all := make([]string, len(changes))
	for i, f := range changes {
		all[i] = fmt.Sprintf("%s: %s → %s", f.Field, valueOr(f.Old), valueOr(f.New))
	}
	return strings.Join(all, "; ")
}

func valueOr(v *string) string {
	switch {
	case v == nil:
		return "unset"
	case *v == noTime:
		return terminal.None
	}
	return *v
}

func undoCommand() *cobra.Command {
	conn := &console.Flags{Here: openHere}
	var a console.Consent
	cmd := &cobra.Command{Use: "undo ID", Short: "Take back what an entry of the audit log has changed",
		Args: cobra.ExactArgs(1),
		Long: `Take back what an entry of the audit log has changed: settings, assignments of
loads, releases and file sets, and other changes of devices, profiles, sites and the
enterprise. A device that was deleted comes back. What was changed again since is not
overwritten: then nothing is undone. What was undone is an entry too, and can be
undone, except that no device is deleted. The entry of a bulk job undoes the job, as
"bulk undo" does.`,
		Example: "  peerload-server report audit\n  peerload-server undo 00065a1f0c2b4d3e5f607182",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			switch j, err := c.Job(cmd.Context(), args[0]); {
			case err == nil:
				return undoJob(conn, cmd, c, &a, j)
			case !errors.Is(err, client.NotFound):
				return err
			}
			return a.CarryOut(conn, cmd, c, client.Order{Undo: args[0]})
		})}
	conn.Add(cmd.Flags())
	a.Add(cmd)
	return cmd
}

func backupCommand() *cobra.Command {
	conn := &console.Flags{}
	cmd := &cobra.Command{Use: "backup FILE", Short: "Write the whole database into a file, while the controller runs",
		Args: cobra.ExactArgs(1),
		Long: `Write the whole database into a new file ("-" is the standard output), as JSON
lines that every kind of database can restore. Signing keys and published loads are not in it: copy the
directories keys and repository too.`,
		Example: "  peerload-server backup /backup/controller.jsonl",
		RunE: func(cmd *cobra.Command, args []string) error {
			return inStore(cmd.Context(), conn, false, func(s domain.Store) error {
				if args[0] == "-" {
					return s.Export(cmd.Context(), cmd.OutOrStdout())
				}
				err := durable.WriteNew(args[0], func(w io.Writer) error { return s.Export(cmd.Context(), w) })
				if errors.Is(err, fs.ErrExist) {
					return fmt.Errorf("%w: a backup replaces nothing: name another file", err)
				} else if err != nil {
					return err
				}
				return conn.Show(cmd, "backup_written", args[0], "%s written\n", args[0])
			})
		}}
	conn.AddData(cmd.Flags())
	cmd.Flags().BoolVar(&conn.JSON, "json", false, "print one JSON object a line")
	return cmd
}

func restoreCommand() *cobra.Command {
	conn := &console.Flags{}
	cmd := &cobra.Command{Use: "restore FILE", Short: "Read a backup into an empty database", Args: cobra.ExactArgs(1),
		Long: `Read what "backup" has written ("-" is the standard input) into an empty database:
that of a data directory without one, or an empty PostgreSQL. One that holds something is left alone.`,
		Example: "  peerload-server restore /backup/controller.jsonl --data /var/lib/peerload-server",
		RunE: func(cmd *cobra.Command, args []string) error {
			from := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				from = f
			}
			return inStore(cmd.Context(), conn, true, func(s domain.Store) error {
				if err := s.Import(cmd.Context(), from); err != nil {
					return fmt.Errorf("%w; restore what \"peerload-server backup\" wrote, into --data without a database "+
						"or an empty --database", err)
				}
				return conn.Show(cmd, "restored", args[0], "%s restored\n", args[0])
			})
		}}
	conn.AddData(cmd.Flags())
	cmd.Flags().BoolVar(&conn.JSON, "json", false, "print one JSON object a line")
	return cmd
}

func recountCommand() *cobra.Command {
	conn := &console.Flags{}
	cmd := &cobra.Command{Use: "recount", Short: "Count all devices anew, and mend the counts that are kept",
		Args: cobra.NoArgs,
		Long: `Count all devices anew. Overviews and lists of sites show counts that are kept
with each change; this compares them with the devices, says how many were wrong,
and mends them. It may run while the controller runs.`,
		Example: "  peerload-server recount --data /var/lib/peerload-server",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inStore(cmd.Context(), conn, false, func(s domain.Store) error {
				mended := 0
				err := s.Update(cmd.Context(), func(tx domain.Tx) (err error) {
					mended, err = tx.Tallies().Recount(cmd.Context())
					return err
				})
				if err != nil {
					return err
				}
				text := "the counts of devices are right"
				if mended > 0 {
					text = fmt.Sprintf("the counts of devices were wrong, and are mended: %d", mended)
				}
				return conn.Show(cmd, "recounted", map[string]int{"mended": mended}, "%s\n", text)
			})
		}}
	conn.AddData(cmd.Flags())
	cmd.Flags().BoolVar(&conn.JSON, "json", false, "print one JSON object a line")
	return cmd
}

func migrateCommand() *cobra.Command {
	conn := &console.Flags{}
	cmd := &cobra.Command{Use: "migrate", Short: "Copy the SQLite database of the data directory into PostgreSQL",
		Args: cobra.NoArgs,
		Long: `Copy the database of the data directory into the empty PostgreSQL database that
--database names, and compare each row with its original. Stop the controller first.
SQLite's file is only read. If it is interrupted, run it again: it goes on where it
was, or begins anew if something was changed since. Until it is done, no controller
starts on the new database.`,
		Example: "  peerload-server migrate --data /var/lib/peerload-server --database postgres://peerload@db/peerload",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if conn.Database() == "" {
				return errors.New("--database is missing: name the PostgreSQL database to fill, postgres://user@host/name")
			}
			return migrate(cmd, conn)
		}}
	conn.AddData(cmd.Flags())
	cmd.Flags().BoolVar(&conn.JSON, "json", false, "print one JSON object a line")
	return cmd
}

// migrate fills the database that conn names.
func migrate(cmd *cobra.Command, conn *console.Flags) (err error) {
	d := dataDir(conn.Data)
	if err := errors.Join(requireData(d, ""), d.owned()); err != nil {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return fmt.Errorf("%w: stop it, so that nothing is lost that it still writes", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	from, err := sqlite.Open(cmd.Context(), sqlite.Config{Path: d.database()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	verified := map[string]int{}
	err = postgres.Fill(cmd.Context(), postgres.Config{URL: conn.Database()}, from.DB, func(c store.Carried) error {
		if c.Verified {
			verified[c.Table] = c.Rows
		}
		if !conn.JSON {
			return nil
		}
		return conn.Show(cmd, "copied", c, "")
	})
	if errors.Is(err, domain.ErrRefused) {
		return fmt.Errorf("%w; name an empty --database", err)
	}
	if err != nil {
		return err
	}
	all := 0
	for _, table := range slices.Sorted(maps.Keys(verified)) {
		if all += verified[table]; !conn.JSON {
			cmd.Printf("%s: %d\n", table, verified[table])
		}
	}
	text := "%d {row is|rows are} copied, and each is the same in both databases.\n" +
		"Give --database to \"peerload-server serve\" and to commands from now on.\n"
	if terminal.Japanese(os.Getenv) {
		text = "%d 行をコピーし、両方のデータベースで全行が同じであることを確認しました。\n" +
			"今後は \"peerload-server serve\" とコマンドに --database を指定してください。\n"
	}
	return conn.Show(cmd, "migrated", verified, "%s", wording.Fill(text, all))
}
