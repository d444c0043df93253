package domain

import (
	"fmt"
	"time"
)

// JobState says how far a job is.
type JobState string

// The states of jobs. The first four are active: somebody has to go on.
const (
	// JobWaiting begins at its time.
	JobWaiting JobState = "waiting"
	// JobChecking judges its rows. Nothing was changed.
	JobChecking JobState = "checking"
	// JobRunning writes its rows, step by step.
	JobRunning JobState = "running"
	// JobUndoing takes back what was written.
	JobUndoing JobState = "undoing"
	// JobDone has written all rows, but those that it says it has not.
	JobDone JobState = "done"
	// JobRefused has changed nothing, or taken back what it had changed.
	JobRefused JobState = "refused"
	// JobUndone was taken back, or not begun, because somebody said so.
	JobUndone JobState = "undone"
)

// Active reports whether somebody has to go on with the job.
func (s JobState) Active() bool {
	return s == JobWaiting || s == JobChecking || s == JobRunning || s == JobUndoing
}

// JobActor is who made a job, or undoes it.
type JobActor struct {
	Kind   ActorKind `json:"kind"`
	Name   string    `json:"name"`
	User   string    `json:"user,omitempty"`
	From   string    `json:"from"`
	Role   Role      `json:"role"`
	Scopes []Scope   `json:"scopes,omitempty"`
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

// Job changes many devices in steps, each a transaction. It goes on after the
// process that did it was killed.
type Job struct {
	Meta
	// ID orders jobs by time. Its entry in the audit log has the same.
	ID string `json:"id"`
	// Name says for people what it does: a file, or a query.
	Name  string   `json:"name"`
	State JobState `json:"state"`
	// Problem is why it was refused, or taken back.
	Problem string `json:"problem,omitempty"`
	// At is when it begins; zero for at once.
	At time.Time `json:"at,omitzero"`
	By JobActor  `json:"by"`
	JobOptions
	// Steps are how many there are, Next those that were written, Verified those of
	// them that were read back, too.
	Steps    int       `json:"steps"`
	Next     int       `json:"next"`
	Verified int       `json:"verified"`
	Counts   JobCounts `json:"counts"`
	// Undoer takes it back, nil if nobody does or it does so itself. UndoID is the
	// entry of that in the audit log.
	Undoer *JobActor `json:"undoer,omitempty"`
	UndoID string    `json:"undo_id,omitempty"`
}

// Key is the job's id.
func (j Job) Key() string { return j.ID }

// JobOutcome says what became of a row.
type JobOutcome string

// The outcomes of rows; "" is none yet.
const (
	RowCreated   JobOutcome = "created"
	RowChanged   JobOutcome = "changed"
	RowUnchanged JobOutcome = "unchanged"
	RowRefused   JobOutcome = "refused"
	RowUndone    JobOutcome = "undone"
	// RowKept was written and not taken back, for its Problem.
	RowKept JobOutcome = "kept"
)

// JobRow is a row of a job.
type JobRow struct {
	// Line in the table; of a query it counts from 1.
	Line   int          `json:"line"`
	Device string       `json:"device"`
	Change DeviceChange `json:"change"`
	// Outcome is what became of it, or would; Problem is why it was refused or kept.
	Outcome JobOutcome `json:"outcome"`
	Problem string     `json:"problem,omitempty"`
	// Changes are what it has changed of the device, which undoes it.
	Changes []FieldChange `json:"changes,omitempty"`
	// Version of the device when it was written.
	Version int64 `json:"version,omitempty"`
}

// JobStep are the rows that one transaction writes.
type JobStep struct {
	Meta
	Job string `json:"job"`
	// N counts from 0.
	N    int      `json:"n"`
	Rows []JobRow `json:"rows"`
}

// Key is that of the job and the number.
func (s JobStep) Key() string { return JobStepKey(s.Job, s.N) }

// JobStepKey is the key of a step of a job.
func JobStepKey(job string, n int) string { return pair(job, fmt.Sprintf("%06d", n)) }

// Template are values for the devices of a table that says nothing else.
type Template struct {
	Meta
	Name   string       `json:"name"`
	Note   string       `json:"note"`
	Change DeviceChange `json:"change"`
}

// Key is the template's name.
func (t Template) Key() string { return t.Name }
