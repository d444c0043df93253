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
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/controller/refusals"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/terminal"
)

// errRows ends a bulk job of which some rows failed, after they are printed.
var errRows = errors.New("not all rows were written as asked")

func bulkCommand() *cobra.Command {
	return group("bulk", "Change many devices by a table or a query: plan, run, look, undo",
		func(conn *console.Flags) []*cobra.Command {
			return []*cobra.Command{bulkPlan(conn), bulkRun(conn), bulkStatus(conn), bulkUndo(conn), bulkList(conn),
				bulkExport(conn), bulkTemplate(conn)}
		})
}

// jobFlags say what a job is to do.
type jobFlags struct {
	console.Consent
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
	console.SiteFlag(cmd, &q.Site, "devices that belong to this site")
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
		if r.Table, err = console.ReadInput(cmd, file, table.MaxBytes); err != nil {
			return r, err
		}
		if len(r.Table) == 0 {
			return r, fmt.Errorf("%s is empty: write a table with a column device into it", file)
		}
	}
	r.At, err = console.Moment(f.at)
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

func bulkPlan(conn *console.Flags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "plan [FILE] [NAME=VALUE...]", Short: "Say what would become of each row; change nothing",
		Long:    "Say what a job would do: what becomes of each row, by the line. It changes nothing." + jobHelp,
		Example: "  peerload-server bulk plan phones.xlsx --create",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			return f.plan(conn, cmd, c, args)
		})}
	f.flags(cmd)
	return cmd
}

func (f *jobFlags) plan(conn *console.Flags, cmd *cobra.Command, c *console.Connection, args []string) error {
	r, err := f.request(cmd, args)
	if err != nil {
		return err
	}
	p, err := c.PlanJob(cmd.Context(), r)
	if err != nil {
		return err
	}
	return f.planned(conn, cmd, p)
}

// planned prints a plan, and at its end what a run would do.
func (f *jobFlags) planned(conn *console.Flags, cmd *cobra.Command, p client.JobPlan) error {
	err := f.report(conn, cmd, p.Rows, p.Counts, "bulk_plan", p.Name, "")
	if (err == nil || errors.Is(err, errRows)) && !conn.JSON {
		_, e := fmt.Fprintln(cmd.OutOrStdout(), wouldText(p.Counts, f.job.SkipBad, terminal.Japanese(os.Getenv)))
		err = errors.Join(err, e)
	}
	return err
}

// wouldText says what a run would do with the rows that a plan counts.
func wouldText(n client.JobCounts, skipBad, japanese bool) string {
	good := n.Created + n.Changed
	say := func(english, ja string, args ...any) string {
		if japanese {
			return wording.Fill(ja, args...)
		}
		return wording.Fill(english, args...)
	}
	switch {
	case n.Refused > 0 && !skipBad && good == 0:
		return say("A run would change nothing.", "実行しても何も変更されません。")
	case n.Refused > 0 && !skipBad:
		return say("A run would change nothing, since it writes all rows or none. Mend the refused rows (%d), or write "+
			"the others with --skip-bad: it would make %d and change %d {device|devices}.",
			"全行を書き込むか、何も書き込まないかのため、実行しても何も変更されません。拒否された行(%d)を直すか、--skip-bad "+
				"で残りの行を書き込んでください(作成 %d台、変更 %d台)。", n.Refused, n.Created, n.Changed)
	case good == 0:
		return say("A run would change nothing.", "実行しても何も変更されません。")
	case n.Refused > 0:
		return say("A run would make %d and change %d {device|devices}, and leave out the refused rows (%d).",
			"実行すると、機器を%d台作成し、%d台変更し、拒否された行(%d)は除きます。", n.Created, n.Changed, n.Refused)
	}
	return say("A run would make %d and change %d {device|devices}.", "実行すると、機器を%d台作成し、%d台変更します。",
		n.Created, n.Changed)
}

// maxShown bounds the good rows that are printed, and maxBad the bad ones.
const maxShown, maxBad = 20, 200

// report prints rows and then a summary, and writes the bad rows into a file.
func (f *jobFlags) report(conn *console.Flags, cmd *cobra.Command, rows []client.JobRow, n client.JobCounts,
	event, name, state string) error {
	shown, good, bad := []client.JobRow{}, 0, []client.JobRow{}
	for _, r := range rows {
		if r.Problem != "" {
			if bad = append(bad, r); len(bad) <= maxBad || f.every || conn.JSON {
				shown = append(shown, r)
			}
		} else if good++; f.every || conn.JSON || good <= maxShown && r.Outcome != "unchanged" {
			shown = append(shown, r)
		}
	}
	err := error(nil)
	japanese := terminal.Japanese(os.Getenv)
	if len(shown) > 0 {
		err = console.List(conn, cmd, "bulk_row", shown, "LINE DEVICE OUTCOME CHANGES PROBLEM",
			func(r client.JobRow) []string {
				return []string{fmt.Sprint(r.Line), r.Device, rowWord(r.Outcome, japanese), changesText(r.Changes),
					refusals.Say(r.Problem, japanese)}
			})
	}
	if err != nil {
		return err
	}
	if f.badFile != "" && len(bad) > 0 {
		if err := durable.WriteNew(f.badFile, func(w io.Writer) error {
			return table.WriteCSV(w, badTable(bad))
		}); err != nil {
			return err
		}
	}
	text := countText(name, state, n, japanese)
	if err := conn.Show(cmd, event, n, "%s\n", text); err != nil || len(bad) == 0 {
		return err
	}
	return fmt.Errorf("%w: %d of %d were not; mend what PROBLEM says, and write them again", errRows, len(bad), n.Rows)
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

// jobWords are the states of jobs in Japanese.
var jobWords = map[string]string{
	"waiting": "待機", "checking": "確認中", "running": "実行中", "undoing": "取り消し中",
	"done": "完了", "refused": "拒否", "undone": "取り消し済み",
}

// rowWords are what becomes of rows in Japanese.
var rowWords = map[string]string{"created": "作成", "changed": "変更", "unchanged": "変更なし", "refused": "拒否",
	"undone": "取り消し", "kept": "維持"}

// rowWord is what becomes of a row for people.
func rowWord(outcome string, japanese bool) string {
	if ja := rowWords[outcome]; ja != "" && japanese {
		return ja
	}
	return outcome
}

// jobWord is the state of a job for people.
func jobWord(state string, japanese bool) string {
	if ja := jobWords[state]; ja != "" && japanese {
		return ja
	}
	return state
}

// countText sums a job up in one line.
func countText(name, state string, n client.JobCounts, japanese bool) string {
	name = terminal.Printable(name)
	if state != "" {
		name += ": " + jobWord(state, japanese)
	}
	if japanese {
		return fmt.Sprintf("%s: 全%d行。作成 %d、変更 %d、変更なし %d、拒否 %d、取り消し %d、保持 %d", name, n.Rows,
			n.Created, n.Changed, n.Unchanged, n.Refused, n.Undone, n.Kept)
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

func bulkRun(conn *console.Flags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "run [FILE] [NAME=VALUE...]", Short: "Change devices by a job; each row is read back",
		Long: `Change devices by a job. All rows are written or none; with --skip-bad all good
rows. Each is read back and compared. What is printed at the end undoes the job.
A job that is cut off is carried out by the controller, or by "bulk status".` + jobHelp,
		Example: "  peerload-server bulk run phones.csv --create --yes\n" +
			"  peerload-server bulk run --model CP-7961G --profile Branch peer-sharing=on",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			if f.Dry {
				return f.plan(conn, cmd, c, args)
			}
			r, err := f.request(cmd, args)
			if err != nil {
				return err
			}
			if ok, err := f.agreed(conn, cmd, c, &r); err != nil || !ok {
				return err
			}
			j, err := c.CreateJob(cmd.Context(), r)
			if err != nil {
				return err
			}
			return f.follow(conn, cmd, c, j)
		})}
	f.flags(cmd)
	f.Consent.Add(cmd)
	cmd.Flags().StringVar(&f.at, "at", "",
		"when to begin: a time such as 2026-03-01T22:00:00+09:00, or from now, such as 5m")
	return cmd
}

// agreed says what a job would do, and asks whether to do it: then it is that and nothing
// else.
func (f *jobFlags) agreed(conn *console.Flags, cmd *cobra.Command, c *console.Connection, r *client.JobRequest) (bool,
	error) {
	if f.Yes {
		return true, nil
	}
	p, err := c.PlanJob(cmd.Context(), *r)
	if err != nil {
		return false, err
	}
	r.Shown = p.Shown
	n := p.Counts
	if n.Refused > 0 && !r.SkipBad {
		return false, f.planned(conn, cmd, p)
	}
	if n.Created+n.Changed <= 1 {
		return true, nil
	}
	return console.Confirmed(cmd, countText(p.Name, "", n, false), countText(p.Name, "", n, terminal.Japanese(os.Getenv)))
}

// follow waits for the end of a job, and prints it. One that begins later is not
// waited for.
func (f *jobFlags) follow(conn *console.Flags, cmd *cobra.Command, c *console.Connection, j client.Job) (err error) {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	if c.Work != nil {
		ended := make(chan struct{})
		go func() { defer close(ended); c.Work(ctx) }()
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
func (f *jobFlags) showJob(conn *console.Flags, cmd *cobra.Command, c *console.Connection, j client.Job) error {
	rows, err := console.Collect(c.JobRows(j.ID).List(cmd.Context(), client.Filter{Bad: !f.every}))
	if err != nil {
		return err
	}
	text := "job " + j.ID
	if j.Problem != "" {
		text += ": " + terminal.Printable(refusals.Say(j.Problem, terminal.Japanese(os.Getenv)))
	}
	if j.State == "waiting" {
		text += ": begins " + console.When(j.At)
	}
	if j.State == "done" && j.Counts.Created+j.Counts.Changed > 0 {
		text += "; undo with: peerload-server bulk undo " + j.ID
	}
	return errors.Join(conn.Show(cmd, "bulk_job", j, "%s\n", text),
		f.report(conn, cmd, rows, j.Counts, "bulk_counts", j.Name, j.State))
}

func bulkStatus(conn *console.Flags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "status JOB", Short: "Show how far a job is; carry on with one that was cut off",
		Args: cobra.ExactArgs(1),
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			j, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if c.Work != nil {
				return f.follow(conn, cmd, c, j)
			}
			return f.showJob(conn, cmd, c, j)
		})}
	cmd.Flags().BoolVar(&f.every, "all-rows", false, "print every row")
	cmd.Flags().StringVar(&f.badFile, "bad", "", "write the bad rows into this new CSV file, to mend them and run it")
	return cmd
}

func bulkUndo(conn *console.Flags) *cobra.Command {
	f := &jobFlags{}
	cmd := &cobra.Command{Use: "undo JOB", Short: "Take back what a job has changed", Args: cobra.ExactArgs(1),
		Long: `Take back what a job has changed, and remove devices that it has made. If a row was
changed again since, nothing is taken back, unless --skip-bad keeps such rows. A
job that has not begun does not begin.`,
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			j, err := c.UndoJob(cmd.Context(), args[0], f.job.SkipBad)
			if err != nil {
				return err
			}
			return f.follow(conn, cmd, c, j)
		})}
	cmd.Flags().BoolVar(&f.job.SkipBad, "skip-bad", false, "keep rows that were changed since, and take back the others")
	return cmd
}

// undoJob takes back a job by its entry of the audit log. It asks as other undoing
// does.
func undoJob(conn *console.Flags, cmd *cobra.Command, c *console.Connection, a *console.Consent, j client.Job) error {
	n := j.Counts.Created + j.Counts.Changed
	say := func(japanese bool) string {
		if japanese {
			return fmt.Sprintf("一括変更 %s: 作成した%d台を削除し、変更した%d台を元に戻します",
				j.ID, j.Counts.Created, j.Counts.Changed)
		}
		return wording.Fill("bulk job %s: this removes %d {device|devices} that it has made, and takes back %d that it "+
			"has changed", j.ID, j.Counts.Created, j.Counts.Changed)
	}
	japanese := terminal.Japanese(os.Getenv)
	if a.Dry {
		return conn.Show(cmd, "dry_run", j, "%s\n", say(japanese))
	}
	if n > 1 && !a.Yes {
		if ok, err := console.Confirmed(cmd, say(false), say(japanese)); err != nil || !ok {
			return err
		}
	}
	j, err := c.UndoJob(cmd.Context(), j.ID, false)
	if err != nil {
		return err
	}
	return (&jobFlags{}).follow(conn, cmd, c, j)
}

func bulkList(conn *console.Flags) *cobra.Command {
	var f client.Filter
	cmd := &cobra.Command{Use: "list", Short: "List jobs, the oldest first", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Jobs.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			return console.List(conn, cmd, "bulk_job", items, "JOB STATE CREATED BY ROWS REFUSED NAME",
				func(j client.Job) []string {
					return []string{j.ID, jobWord(j.State, japanese), console.When(j.Created), j.By.Name, fmt.Sprint(j.Counts.Rows),
						fmt.Sprint(j.Counts.Refused), j.Name}
				})
		})}
	console.SiteFlag(cmd, &f.Site, "jobs that have devices of this site, or move them there")
	return cmd
}

func bulkExport(conn *console.Flags) *cobra.Command {
	var q client.JobQuery
	cmd := &cobra.Command{Use: "export FILE", Short: "Write devices into a new table, which imports again to no change",
		Args: cobra.ExactArgs(1), Long: `Write devices into a new file, FILE.csv or FILE.xlsx. "bulk run" reads it again. No
cell of it is a formula to a spreadsheet.`, Example: "  peerload-server bulk export phones.xlsx --site Kyoto",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			format := strings.TrimPrefix(filepath.Ext(args[0]), ".")
			if err := choice.Value("the ending of the file", format, []string{"csv", "xlsx"}); err != nil {
				return err
			}
			t, err := c.ExportDevices(cmd.Context(), q, format)
			if err != nil {
				return err
			}
			err = durable.WriteNew(args[0], func(w io.Writer) error { _, err := w.Write(t.Table); return err })
			if err != nil {
				return err
			}
			return conn.Show(cmd, "bulk_exported", args[0], "%s\n",
				wording.Fill("%s: %d {device|devices}", args[0], t.Rows))
		})}
	queryFlags(cmd, &q)
	return cmd
}

func bulkTemplate(conn *console.Flags) *cobra.Command {
	cmd := &cobra.Command{Use: "template", Short: "Templates: values for the devices of a table that says nothing else"}
	var note string
	set := &cobra.Command{Use: "set TEMPLATE NAME=VALUE...", Short: "Make a template, or replace it",
		Args:    cobra.MinimumNArgs(2),
		Example: "  peerload-server bulk template set branch model=7961 profile=Branch peer-sharing=on",
		RunE: conn.With(func(cmd *cobra.Command, args []string, c *console.Connection) error {
			change, err := assignments(args[1:])
			if err != nil {
				return err
			}
			t, err := c.PutTemplate(cmd.Context(), args[0], note, change, client.AnyVersion)
			if err != nil {
				return err
			}
			return conn.Show(cmd, "template_set", t, "%s set: version %d\n", terminal.Printable(t.Name), t.Version)
		})}
	set.Flags().StringVar(&note, "note", "", "for people")
	all := &cobra.Command{Use: "list", Short: "List templates", Args: cobra.NoArgs,
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Templates.List(cmd.Context(), client.Filter{}))
			if err != nil {
				return err
			}
			return console.List(conn, cmd, "template", items, "TEMPLATE SAYS NOTE", func(t client.Template) []string {
				says := ""
				for _, f := range []struct {
					name  string
					value *string
				}{{"model", t.Change.Model}, {"profile", t.Change.Profile}, {"site", t.Change.Site},
					{"description", t.Change.Description}, {"load", t.Change.Load}, {"release", t.Change.Release}} {
					if f.value != nil {
						says += f.name + "=" + *f.value + " "
					}
				}
				says = strings.TrimSpace(says + console.SettingsText(t.Change.Settings.Set))
				for _, name := range t.Change.Settings.Unset {
					says += " " + name + "=-"
				}
				return []string{t.Name, says, t.Note}
			})
		})}
	cmd.AddCommand(set, all, console.Remover(conn, "delete TEMPLATE",
		"Remove a template; jobs that used it stay", "template_deleted",
		func(ctx context.Context, c *console.Connection, name string) error {
			return c.DeleteTemplate(ctx, name)
		}))
	return cmd
}
