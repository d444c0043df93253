package pages

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

const (
	// maxTable bounds the file of a table: as many bytes as the API takes.
	maxTable = 8 << 20
	// planRows bounds the rows of a plan that are shown; all with a problem come first.
	planRows = 500
)

// bulkPage is where tables are brought, with the changes so far.
type bulkPage struct {
	Jobs      []client.Job
	Templates []client.Template
	Options   map[string]bool
	Problem   *frame.Problem
}

// bulkOptions are how a table is treated, by the names of their fields.
var bulkOptions = []string{"create", "skip_bad", "any_model"}

func bulk(v *frame.Visit) error { return showBulk(v, nil) }

func showBulk(v *frame.Visit, problem *frame.Problem) error {
	p := bulkPage{Problem: problem, Options: map[string]bool{}}
	for _, name := range bulkOptions {
		p.Options[name] = v.R.Method == "POST" && v.R.PostFormValue(name) != ""
	}
	jobs, err := frame.All(v, v.API.Jobs, client.Filter{})
	if err != nil {
		return err
	}
	slices.Reverse(jobs)
	p.Jobs = jobs[:min(len(jobs), frame.PageRows)]
	if p.Templates, err = frame.All(v, v.API.Templates, client.Filter{Limit: choices}); err != nil {
		return err
	}
	return v.Show("bulk", p)
}

// tablePlan is what a table would do, line by line.
type tablePlan struct {
	client.JobPlan
	File, Table, Template string
	Options               []string
	// More counts the rows that are not shown.
	More int
}

// Wrong reports whether nothing would be written, for a row that is wrong.
func (p tablePlan) Wrong() bool {
	return p.Counts.Refused > 0 && !slices.Contains(p.Options, "skip_bad")
}

// jobRequest is what the form says of a table.
func jobRequest(v *frame.Visit, name string, b []byte) client.JobRequest {
	on := func(name string) bool { return v.R.PostFormValue(name) != "" }
	return client.JobRequest{Name: name, Table: b, Template: v.Form("template"),
		JobOptions: client.JobOptions{Create: on("create"), SkipBad: on("skip_bad"), AnyModel: on("any_model")}}
}

// planBulk says what would become of each line of a table.
func planBulk(v *frame.Visit) error {
	b, name, err := v.File("table", maxTable)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		v.Status(422)
		return showBulk(v, &frame.Problem{Title: v.T("Choose a table: a CSV or xlsx file with a line for each device.")})
	}
	plan, err := v.API.PlanJob(v.Context(), jobRequest(v, name, b))
	if problem, ok := v.Wrong(err); ok {
		v.Status(problem.Status)
		return showBulk(v, &problem)
	}
	if err != nil {
		return err
	}
	p := tablePlan{JobPlan: plan, File: name, Table: base64.StdEncoding.EncodeToString(b), Template: v.Form("template")}
	for _, name := range bulkOptions {
		if v.R.PostFormValue(name) != "" {
			p.Options = append(p.Options, name)
		}
	}
	slices.SortStableFunc(p.Rows, func(a, b client.JobRow) int { return wrongFirst(b) - wrongFirst(a) })
	if len(p.Rows) > planRows {
		p.More, p.Rows = len(p.Rows)-planRows, p.Rows[:planRows]
	}
	return v.Show("bulk-plan", p)
}

func wrongFirst(r client.JobRow) int {
	if r.Problem != "" {
		return 1
	}
	return 0
}

// runBulk carries a table out that was shown.
func runBulk(v *frame.Visit) error {
	if _, _, err := v.File("none", maxTable*2); err != nil {
		return err
	}
	b, ok := frame.Packed(v.Form("table"))
	if !ok {
		return badNumber("table", "the form is damaged: bring the table again")
	}
	j, err := v.API.CreateJob(v.Context(), jobRequest(v, v.Form("file"), b))
	if problem, ok := v.Wrong(err); ok {
		v.Status(problem.Status)
		return showBulk(v, &problem)
	}
	if err != nil {
		return err
	}
	return v.Go(frame.At("bulk", j.ID))
}

// jobPage is a bulk change and how far it is.
type jobPage struct {
	client.Job
	Percent        int
	Runs, Undoable bool
	Rows           frame.Rows[client.JobRow]
	Bad            bool
}

func bulkJob(v *frame.Visit) error {
	j, err := v.API.Job(v.Context(), v.Path("job"))
	if err != nil {
		return err
	}
	p := jobPage{Job: j, Runs: jobRuns(j), Bad: v.Query("bad") != ""}
	p.Percent = j.Verified * 100 / max(j.Steps, 1)
	p.Undoable = v.May("devices") && (j.State == "done" || j.State == "waiting" || j.State == "running")
	q := search(v)
	if p.Bad {
		q.Set("bad", "true")
	}
	if p.Rows, err = frame.Read[client.JobRow](v, frame.At("jobs", j.ID)+"/rows", q, 0); err != nil {
		return err
	}
	return v.Show("bulk-job", p)
}

func undoJob(v *frame.Visit) error {
	j, err := v.API.Job(v.Context(), v.Path("job"))
	if err != nil {
		return err
	}
	path := frame.At("bulk", j.ID)
	changed := j.Counts.Changed + j.Counts.Created
	return sure(v, v.T("Take back what %s has changed", j.Name),
		v.T("%d devices get back what they had before. Those that others have changed since are kept, and told of.", changed),
		path, path, func() error { _, err := v.API.UndoJob(v.Context(), j.ID, true); return err })
}

// changesText is what was changed, for people.
func changesText(v *frame.Visit, changes []client.FieldChange) string {
	var out []string
	say := func(s *string) string {
		if s == nil {
			return v.T("not set")
		}
		return strconv.Quote(*s)
	}
	for _, c := range changes {
		out = append(out, c.Field+": "+say(c.Old)+" → "+say(c.New))
	}
	return strings.Join(out, ", ")
}

// Changed is what a row of a plan or a job changes.
func (tablePlan) Changed(v *frame.Visit, r client.JobRow) string { return changesText(v, r.Changes) }

// Changed is what a row of a plan or a job changes.
func (jobPage) Changed(v *frame.Visit, r client.JobRow) string { return changesText(v, r.Changes) }
