package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// JobQuery finds devices; fields that are "" find all.
type JobQuery struct {
	Text    string `json:"text,omitempty"`
	Model   string `json:"model,omitempty"`
	Profile string `json:"profile,omitempty"`
	Site    string `json:"site,omitempty"`
}

// JobOptions say how a job treats its rows.
type JobOptions struct {
	// Create makes devices that are not known.
	Create bool `json:"create,omitempty"`
	// SkipBad writes the good rows although there are bad ones. Without it all rows
	// are written, or none.
	SkipBad bool `json:"skip_bad,omitempty"`
	// AnyModel takes models that no table has.
	AnyModel bool `json:"any_model,omitempty"`
}

// JobRequest orders a job: Table, the bytes of a CSV or xlsx file, or Query says
// with which devices.
type JobRequest struct {
	// Name says for people what the table is.
	Name  string    `json:"name,omitempty"`
	Table []byte    `json:"table,omitempty"`
	Query *JobQuery `json:"query,omitempty"`
	// Set is what each device gets, unless its row says something else. It goes
	// before what Template, the name of one, says.
	Set      DeviceChange `json:"set,omitzero"`
	Template string       `json:"template,omitempty"`
	JobOptions
	// At is when the job begins; zero for at once.
	At time.Time `json:"at,omitzero"`
	// Shown is that of a plan: if the job would be about other devices by now, or say
	// something else to them, it fails with Conflict. "" looks at nothing.
	Shown string `json:"shown,omitempty"`
}

// JobCounts count the rows of a job by what became of them.
type JobCounts struct {
	Rows      int `json:"rows"`
	Created   int `json:"created"`
	Changed   int `json:"changed"`
	Unchanged int `json:"unchanged"`
	Refused   int `json:"refused"`
	Undone    int `json:"undone"`
	Kept      int `json:"kept"`
}

// JobActor is who made a job, or undoes it.
type JobActor struct {
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	User    string   `json:"user,omitempty"`
	Account string   `json:"account,omitempty"`
	From    string   `json:"from"`
	Role    string   `json:"role"`
	Scopes  []string `json:"scopes,omitempty"`
	Limited bool     `json:"limited,omitempty"`
	Sites   []string `json:"sites,omitempty"`
	// Credential is the id of the token, "" for who used none.
	Credential string `json:"credential,omitempty"`
}

// Job changes many devices in steps.
type Job struct {
	Meta
	ID   string `json:"id"`
	Name string `json:"name"`
	// State is "waiting", "checking", "running" or "undoing", and at the end "done",
	// "refused" or "undone".
	State string `json:"state"`
	// Sites are those of its devices when it was made, and those that it moves them to.
	Sites []string `json:"sites,omitempty"`
	// Problem is why it was refused, or taken back.
	Problem string    `json:"problem,omitempty"`
	At      time.Time `json:"at,omitzero"`
	By      JobActor  `json:"by"`
	JobOptions
	// Steps are how many there are, Next those that were written, Verified those of
	// them that were read back, too.
	Steps    int       `json:"steps"`
	Next     int       `json:"next"`
	Verified int       `json:"verified"`
	Counts   JobCounts `json:"counts"`
	// Undoer takes it back, nil if nobody does.
	Undoer *JobActor `json:"undoer,omitempty"`
	// UndoID is the entry of that in the audit log.
	UndoID string `json:"undo_id,omitempty"`
}

// Ended reports whether nobody has to go on with the job.
func (j Job) Ended() bool { return j.State == "done" || j.State == "refused" || j.State == "undone" }

// JobRow is a row of a job.
type JobRow struct {
	// Line in the table.
	Line   int          `json:"line"`
	Device string       `json:"device"`
	Change DeviceChange `json:"change"`
	// Outcome is "created", "changed", "unchanged", "refused", "undone" or "kept";
	// "" is none yet. Problem is why it was refused or kept.
	Outcome string `json:"outcome"`
	Problem string `json:"problem,omitempty"`
	// Changes are the old and new values of what it has changed.
	Changes []FieldChange `json:"changes,omitempty"`
	Version Version       `json:"version,omitempty"`
}

// JobPlan says what a job would do.
type JobPlan struct {
	Name   string    `json:"name"`
	Counts JobCounts `json:"counts"`
	Rows   []JobRow  `json:"rows"`
	// Shown stands for what is shown: see JobRequest.
	Shown string `json:"shown"`
}

// Template are values for the devices of a table that says nothing else.
type Template struct {
	Meta
	Name   string       `json:"name"`
	Note   string       `json:"note"`
	Change DeviceChange `json:"change"`
}

// PlanJob says what would become of each row, and changes nothing.
func (c *Client) PlanJob(ctx context.Context, r JobRequest) (p JobPlan, err error) {
	err = c.write(ctx, http.MethodPost, "/jobs/plan", AnyVersion, r, &p)
	return p, err
}

// CreateJob makes a job, which the controller carries out.
func (c *Client) CreateJob(ctx context.Context, r JobRequest) (j Job, err error) {
	err = c.write(ctx, http.MethodPost, "/jobs", AnyVersion, r, &j)
	return j, err
}

// Job returns a job.
func (c *Client) Job(ctx context.Context, id string) (j Job, err error) {
	err = c.get(ctx, at("/jobs", id), nil, &j)
	return j, err
}

// JobRows lists the rows of a job. Bad of the filter lists those with a problem.
func (c *Client) JobRows(id string) Lister[JobRow] {
	return Lister[JobRow]{c, at("/jobs", id, "rows"), true}
}

// UndoJob takes back what a job has changed. The error is Conflict if a row was
// changed again since: then nothing is taken back, unless such rows are skipped.
func (c *Client) UndoJob(ctx context.Context, id string, skipBad bool) (j Job, err error) {
	r := request{method: http.MethodPost, path: at("/jobs", id, "undo"), version: AnyVersion}
	if skipBad {
		r.query = url.Values{"skip_bad": {"true"}}
	}
	err = c.writeTo(ctx, r, nil, &j)
	return j, err
}

// Export is a table of devices.
type Export struct {
	Rows int `json:"rows"`
	// Table is a file, which imports again to no change.
	Table []byte `json:"table"`
}

// ExportDevices returns devices as a table; format is "csv" or "xlsx".
func (c *Client) ExportDevices(ctx context.Context, q JobQuery, format string) (out Export, err error) {
	r := request{method: http.MethodPost, path: "/jobs/export", version: AnyVersion}
	if format != "" {
		r.query = url.Values{"format": {format}}
	}
	err = c.writeTo(ctx, r, q, &out)
	return out, err
}

// PutTemplate makes a template, or replaces the one of its name, if that has the version
// that was read.
func (c *Client) PutTemplate(ctx context.Context, name, note string, change DeviceChange, v Version) (t Template,
	err error) {
	in := struct {
		Note   string       `json:"note,omitempty"`
		Change DeviceChange `json:"change"`
	}{note, change}
	err = c.write(ctx, http.MethodPut, at("/templates", name), v, in, &t)
	return t, err
}

// DeleteTemplate removes a template.
func (c *Client) DeleteTemplate(ctx context.Context, name string) error {
	return c.write(ctx, http.MethodDelete, at("/templates", name), AnyVersion, nil, nil)
}
