package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/trust"
)

func trustCommand() *cobra.Command {
	return group("trust", "Give out the root of trust, and change keys", func(conn *connFlags) []*cobra.Command {
		return []*cobra.Command{trustExport(conn), trustRotate(conn)}
	})
}

func trustExport(conn *connFlags) *cobra.Command {
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
			repoAt.json = conn.json
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
			return repoAt.print(cmd, done{Schema: jsonSchema, Event: "root_exported", Root: version, Path: path},
				"%s: root version %d\n", path, version)
		},
	}
	repoAt.flags(cmd, false)
	cmd.Flags().StringVar(&out, "out", "", "the directory to write root.json to, made if missing (required)")
	if err := cmd.MarkFlagRequired("out"); err != nil {
		panic(err) // the flag is defined one line above
	}
	return cmd
}

// root returns the newest root.json, of the controller or of a bare repository.
func (repoAt *repoFlags) root(cmd *cobra.Command, conn *connFlags) (raw []byte, version int64, err error) {
	if repoAt.repo != "" {
		repo, err := repoAt.open(false)
		if err != nil {
			return nil, 0, err
		}
		return repo.ExportRoot()
	}
	err = conn.with(func(cmd *cobra.Command, _ []string, c *connection) (err error) {
		raw, version, err = c.Root(cmd.Context())
		return err
	})(cmd, nil)
	return raw, version, err
}

func trustRotate(conn *connFlags) *cobra.Command {
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
				return conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
					if err := c.RotateKey(cmd.Context(), args[0]); err != nil {
						return err
					}
					return conn.show(cmd, "key_rotated", args[0], "the %s key is replaced\n", args[0])
				})(cmd, args)
			}
			repoAt.json = conn.json
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
			return repoAt.print(cmd, done{Schema: jsonSchema, Event: "key_rotated", Role: args[0], Root: version},
				"the %s key is replaced; root version %d says so\n", args[0], version)
		},
	}
	repoAt.flags(cmd, true)
	return cmd
}

func bulkRun(conn *connFlags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "run [FILE] [NAME=VALUE...]", Short: "Change devices by a job; each row is read back",
		Long: `Change devices by a job. All rows are written or none; with --skip-bad all good
rows. Each is read back and compared. What is printed at the end undoes the job.
A job that is cut off is carried out by the controller, or by "bulk status".` + jobHelp,
		Example: "  peerload-server bulk run phones.csv --create --yes\n" +
			"  peerload-server bulk run --model CP-7961G --profile Branch peer-sharing=on",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			if f.dry {
				return f.plan(conn, cmd, c, args)
			}
			r, err := f.request(cmd, args)
			if err != nil {
				return err
			}
			if ok, err := f.agreed(conn, cmd, c, r); err != nil || !ok {
				return err
			}
			j, err := c.CreateJob(cmd.Context(), r)
			if err != nil {
				return err
			}
			return f.follow(conn, cmd, c, j)
		})}
	f.flags(cmd)
	f.consent.flags(cmd)
	cmd.Flags().StringVar(&f.at, "at", "",
		"when to begin: a time such as 2026-03-01T22:00:00+09:00, or from now, such as 5m")
	return cmd
}

// agreed says what a job would do, and asks whether to do it.
func (f *jobFlags) agreed(conn *connFlags, cmd *cobra.Command, c *connection, r client.JobRequest) (bool, error) {
	if f.yes {
		return true, nil
	}
	p, err := c.PlanJob(cmd.Context(), r)
	if err != nil {
		return false, err
	}
	n := p.Counts
	if n.Refused > 0 && !r.SkipBad {
		return false, f.report(conn, cmd, p.Rows, n, "bulk_plan", p.Name, "")
	}
	if n.Created+n.Changed <= 1 {
		return true, nil
	}
	return confirmed(cmd, countText(p.Name, "", n, false), countText(p.Name, "", n, terminal.Japanese(os.Getenv)))
}

// follow waits for the end of a job, and prints it. One that begins later is not
// waited for.
func (f *jobFlags) follow(conn *connFlags, cmd *cobra.Command, c *connection, j client.Job) (err error) {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if c.work != nil {
		ended := make(chan struct{})
		go func() { defer close(ended); c.work(ctx) }()
		defer func() { cancel(); <-ended }()
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !j.Ended() && !(j.State == "waiting" && j.At.After(time.Now())) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if j, err = c.Job(ctx, j.ID); err != nil {
			return err
		}
	}
	return f.showJob(conn, cmd, c, j)
}

// showJob prints a job and its bad rows.
func (f *jobFlags) showJob(conn *connFlags, cmd *cobra.Command, c *connection, j client.Job) error {
	rows, err := collect(c.JobRows(j.ID).List(cmd.Context(), client.Filter{Bad: !f.every}))
	if err != nil {
		return err
	}
	text := "job " + j.ID
	if j.Problem != "" {
		text += ": " + terminal.Printable(j.Problem)
	}
	if j.State == "waiting" {
		text += ": begins " + when(j.At)
	}
	if j.State == "done" && j.Counts.Created+j.Counts.Changed > 0 {
		text += "; undo with: peerload-server bulk undo " + j.ID
	}
	return errors.Join(conn.show(cmd, "bulk_job", j, "%s\n", text),
		f.report(conn, cmd, rows, j.Counts, "bulk_counts", j.Name, j.State))
}

func bulkStatus(conn *connFlags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "status JOB", Short: "Show how far a job is; carry on with one that was cut off",
		Args: cobra.ExactArgs(1),
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			j, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.work != nil {
				return f.follow(conn, cmd, c, j)
			}
			return f.showJob(conn, cmd, c, j)
		})}
	cmd.Flags().BoolVar(&f.every, "all-rows", false, "print every row")
	cmd.Flags().StringVar(&f.badFile, "bad", "", "write the bad rows into this new CSV file, to mend them and run it")
	return cmd
}

func bulkUndo(conn *connFlags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "undo JOB", Short: "Take back what a job has changed", Args: cobra.ExactArgs(1),
		Long: `Take back what a job has changed, and remove devices that it has made. If a row was
changed again since, nothing is taken back, unless --skip-bad keeps such rows. A
job that has not begun does not begin.`,
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			j, err := c.UndoJob(cmd.Context(), args[0], f.job.SkipBad)
			if err != nil {
				return err
			}
			return f.follow(conn, cmd, c, j)
		})}
	cmd.Flags().BoolVar(&f.job.SkipBad, "skip-bad", false, "keep rows that were changed since, and take back the others")
	return cmd
}

func bulkList(conn *connFlags) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List jobs, the oldest first", Args: cobra.NoArgs,
		RunE: conn.with(func(cmd *cobra.Command, _ []string, c *connection) error {
			items, err := collect(c.Jobs.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return list(conn, cmd, "bulk_job", items, "JOB STATE CREATED BY ROWS REFUSED NAME", func(j client.Job) []string {
				return []string{j.ID, j.State, when(j.Created), j.By.Name, fmt.Sprint(j.Counts.Rows),
					fmt.Sprint(j.Counts.Refused), j.Name}
			})
		})}
}

func bulkExport(conn *connFlags) *cobra.Command {
	var q client.JobQuery
	cmd := &cobra.Command{Use: "export FILE", Short: "Write devices into a new table, which imports again to no change",
		Args: cobra.ExactArgs(1), Long: `Write devices into a new file, FILE.csv or FILE.xlsx. "bulk run" reads it again. No
cell of it is a formula to a spreadsheet.`, Example: "  peerload-server bulk export phones.xlsx --site Kyoto",
		RunE: conn.with(func(cmd *cobra.Command, args []string, c *connection) error {
			format := strings.TrimPrefix(filepath.Ext(args[0]), ".")
			if err := choice.Value("the ending of the file", format, []string{"csv", "xlsx"}); err != nil {
				return err
			}
			t, err := c.ExportDevices(cmd.Context(), q, format)
			if err != nil {
				return err
			}
			err = writeNew(args[0], func(w io.Writer) error { _, err := w.Write(t.Table); return err })
			if err != nil {
				return err
			}
			return conn.show(cmd, "bulk_exported", args[0], "%s: %d devices\n", args[0], t.Rows)
		})}
	queryFlags(cmd, &q)
	return cmd
}
