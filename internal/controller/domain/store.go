package domain

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/peerload/peerload/internal/policy"
)

// Store keeps what the controller knows. Both databases pass one conformance
// suite (internal/testkit/storesuite).
type Store interface {
	// View runs fn on one consistent state of the database, read-only.
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn in a transaction, as if no other ran at the same time.
	// When it returns nil, what fn has written survives the death of the
	// process and of the machine; when fn returns an error nothing of it is
	// written. fn may be run more than once and must not keep what it has
	// read in a run before.
	Update(ctx context.Context, fn func(Tx) error) error
	// Export writes everything as JSON lines, one consistent state, in a form
	// that every kind of store can import.
	Export(ctx context.Context, w io.Writer) error
	// Import reads what Export wrote into an empty store; into one that is not
	// empty it fails and changes nothing.
	Import(ctx context.Context, r io.Reader) error
	// Close ends the use of the store.
	Close() error
}

// Revised is a transaction of a store that counts the changes of tables, by whatever
// program they are made.
type Revised interface {
	// Revision is another number after each change of these tables; ok is false if nobody
	// counts.
	Revision(ctx context.Context, tables ...string) (n int64, ok bool, err error)
}

// Tx is a transaction. It ends when fn returns.
type Tx interface {
	Devices() Table[Device, DeviceFilter]
	Profiles() Table[Profile, TextFilter]
	Enterprises() Table[Enterprise, None]
	Models() Table[ModelEntry, None]
	Loads() Table[Load, LoadFilter]
	FileSets() Table[FileSet, LoadFilter]
	Releases() Table[Release, TextFilter]
	Sites() Table[Site, TextFilter]
	States() Table[DeviceState, StateFilter]
	Savings() Table[Saving, SavingFilter]
	Accounts() Table[Account, TextFilter]
	Credentials() Table[Credential, CredentialFilter]
	Throttles() Table[Throttle, None]
	Rollouts() Table[Rollout, RolloutFilter]
	RolloutDevices() RolloutDevices
	Verdicts() Table[Verdict, VerdictFilter]
	SentOrders() Table[SentOrder, SentOrderFilter]
	OrderDevices() Table[OrderDevice, OrderDeviceFilter]
	Jobs() Table[Job, JobFilter]
	JobSteps() Table[JobStep, JobStepFilter]
	Templates() Table[Template, TextFilter]
	Webhooks() Table[Webhook, None]
	Deliveries() Table[Delivery, DeliveryFilter]
	Tallies() Tallies
	History() Log[HistoryEntry, HistoryFilter]
	Audit() Log[AuditEntry, AuditFilter]
}

// Table holds things of one kind by their key, each with a version.
type Table[T, F any] interface {
	// Get returns the thing with that key. An error matches ErrNotFound if
	// there is none.
	Get(ctx context.Context, key string) (T, error)
	// Put writes the thing. Its version must be that of the stored one, or 0
	// for a new one, else the error matches ErrConflict, or ErrExists for a new
	// one; after it the version is one higher.
	Put(ctx context.Context, t *T) error
	// GetAll returns those of the things that are there, by their keys.
	GetAll(ctx context.Context, keys []string) (map[string]T, error)
	// PutAll does what Put does with each, in few statements, and with none of
	// them if it fails. No two may have the same key.
	PutAll(ctx context.Context, all []T) error
	// Delete removes the thing if it has that version; 0 means any. An error
	// matches ErrNotFound or ErrConflict.
	Delete(ctx context.Context, key string, version int64) error
	// List returns the things that match, in ascending order of their keys,
	// byte by byte.
	List(ctx context.Context, f F, p Page) (List[T], error)
}

// RolloutDevices holds the devices of all rollouts.
type RolloutDevices interface {
	Table[RolloutDevice, RolloutDeviceFilter]
	// Holders are the rollouts that have devices, by the device. Those that none has
	// are left out.
	Holders(ctx context.Context, devices []string) (map[string]Holder, error)
	// Due lists at most limit devices of a rollout whose Due has come, those first
	// that wait longest.
	Due(ctx context.Context, id string, now time.Time, limit int) ([]RolloutDevice, error)
	// Drop removes all devices of a rollout.
	Drop(ctx context.Context, id string) error
}

// Tally counts devices that are alike in all of this. State, Active and Role are ""
// for those that were never heard of, Load and Release what their own level assigns.
type Tally struct {
	Site, Model, Profile, Load, Release, State, Active, Role string
	Devices                                                  int
	Traffic                                                  Traffic
}

// Tallies are counts that are kept, not counted: whatever changes a device or its
// state changes them in the same transaction.
type Tallies interface {
	// Of returns the tallies of the devices at each of these sites; if sites is nil,
	// of all devices, with Site left out.
	Of(ctx context.Context, sites []string) ([]Tally, error)
	// BySite counts the devices at each site that has any.
	BySite(ctx context.Context) (map[string]int, error)
	// Heard counts the devices at each of these sites that were heard of at that time
	// or later; if sites is nil, of all devices, as those of site "".
	Heard(ctx context.Context, sites []string, since time.Time) (map[string]int, error)
	// Recount counts all devices anew, and returns how many tallies that mends.
	Recount(ctx context.Context) (mended int, err error)
}

// Log holds entries in the order of their keys. Entries do not change.
type Log[T, F any] interface {
	// Append adds an entry.
	Append(ctx context.Context, t T) error
	// AppendAll adds entries, in few statements.
	AppendAll(ctx context.Context, all []T) error
	// List returns the entries that match, the latest first.
	List(ctx context.Context, f F, p Page) (List[T], error)
	// Trim removes the entries from before that time and returns how many.
	Trim(ctx context.Context, before time.Time) (int64, error)
	// TrimOf keeps the latest entries of one subject (a device of the history,
	// an actor of the audit log) and removes the others.
	TrimOf(ctx context.Context, subject string, keep int) (int64, error)
}

// Limits of pages.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// Page asks for a part of a list.
type Page struct {
	// After is the Next of the page before, "" for the first.
	After string
	// Limit of things on a page, 1 to MaxPage; 0 means DefaultPage, more than
	// MaxPage means MaxPage.
	Limit int
	// Uncounted leaves Total out, for who reads all pages.
	Uncounted bool
}

// Size returns the limit in effect.
func (p Page) Size() int {
	if p.Limit <= 0 {
		return DefaultPage
	}
	return min(p.Limit, MaxPage)
}

// List is a page of things.
type List[T any] struct {
	Items []T `json:"items"`
	// Next is what to ask for next, "" at the end.
	Next string `json:"next,omitempty"`
	// Total counts all that match, on all pages; of a Log no further than MaxTotal, and
	// of what is found by a text no further than MaxFound.
	Total int `json:"total"`
}

// MaxTotal bounds what is counted of a log, which grows without end. It is more than
// the parts of any entry.
const MaxTotal = 250_000

// MaxFound bounds what is counted of things that are found by a part of their texts:
// no index has these counts. It says that there are that many at least.
const MaxFound = 1000

// None filters nothing.
type None struct{}

// TextFilter finds by a part of the name or description.
type TextFilter struct {
	// Text must be part of them, in either case; "" means all.
	Text string
}

// JobFilter finds jobs.
type JobFilter struct {
	// State is exact, "" for all.
	State JobState
	// DueBy finds active jobs that begin at that time or before; zero for all.
	DueBy time.Time
}

// JobStepFilter finds the steps of one job, "" of all.
type JobStepFilter struct{ Job string }

// DeviceFilter finds devices. Fields that are "" mean all; all others must
// match.
type DeviceFilter struct {
	// Text is part of name or description, in either case.
	Text string
	// Model, Profile and Registration are exact. NoProfile finds devices that have
	// none. Site finds those that belong to it, by their rows or by the network
	// that they last reported from.
	Model, Profile, Site, Registration string
	NoProfile                          bool
	// Load and Release are what is assigned at the level of the device.
	Load, Release string
	// State and Active are what the device has last reported.
	State, Active string
	// Failed finds those that tell of a failure, About those that run a load or are
	// to, as they last reported.
	Failed bool
	About  string
	// Silent finds those that have not reported since then; the zero time means all.
	Silent time.Time
	// Realm has the devices; so it is in the filters below.
	Realm Realm
}

// LoadFilter finds loads.
type LoadFilter struct {
	// Text is part of the name, in either case.
	Text string
	// Retired finds retired loads too.
	Retired bool
}

// StateFilter finds states of devices.
type StateFilter struct {
	State, Active, Role string
	// SeenBefore finds devices last seen before; the zero time means all.
	SeenBefore time.Time
	Realm      Realm
}

// HistoryFilter finds entries of the history.
type HistoryFilter struct {
	Device, Kind string
	// Site finds the entries of devices that belong to it now.
	Site          string
	Since, Before time.Time
	Realm         Realm
}

// AuditFilter finds entries of the audit log.
type AuditFilter struct {
	// ID is that of the entry, PartOf that of the one that it is a part of.
	ID, PartOf            string
	Actor, Action, Target string
	// Site finds what was done to it, and to devices that belong to it now.
	Site          string
	Since, Before time.Time
	// Realm has the sites and devices that it was done to, or that a part of it was
	// done to.
	Realm Realm
}

// RolloutFilter finds rollouts.
type RolloutFilter struct {
	// State is exact, "" means all.
	State string
	// Active finds only those that hold their devices.
	Active bool
	// Realm has at least one of their devices.
	Realm Realm
}

// RolloutDeviceFilter finds devices of rollouts. Fields that are "" mean all.
type RolloutDeviceFilter struct {
	Rollout, Device, Site, Standing string
	Realm                           Realm
}

// VerdictFilter finds verdicts. Fields that are "" mean all.
type VerdictFilter struct {
	Device, Load string
	// Devices have them; nil means all.
	Devices []string
	Realm   Realm
}

// SentOrder is an order that was sent to devices. (An Order is a change.)
type SentOrder struct {
	Meta
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// By is who sent it, Account the id of the user behind that.
	By      string `json:"by"`
	Account string `json:"account,omitempty"`
	// Issued, Expires and Moment are those of the order; Moment is zero for at once.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Moment  time.Time `json:"moment,omitzero"`
	// Lines of the log that it asks for.
	Lines int `json:"lines,omitempty"`
	// Devices counts those that it was sent to.
	Devices int `json:"devices"`
	// Cancelled is when somebody cancelled it, zero if nobody did.
	Cancelled time.Time `json:"cancelled,omitzero"`
}

// Key is the order's id.
func (o SentOrder) Key() string { return o.ID }

// OrderDevice is a device of an order that was sent. It stays when the device is
// removed.
type OrderDevice struct {
	Meta
	Order  string `json:"order"`
	Device string `json:"device"`
	// Site that the device belonged to when the order was sent, "" for none.
	Site string `json:"site,omitempty"`
	// Standing is OrderWaiting, OrderExpired, OrderCancelled, or the outcome that
	// the device has answered.
	Standing string `json:"standing"`
	// Text of the device's answer: why, or what was asked for.
	Text string `json:"text,omitempty"`
	// Answered is when the answer came.
	Answered time.Time `json:"answered,omitzero"`
}

// Standings of a device that has not answered.
const (
	OrderWaiting   = "waiting"
	OrderExpired   = "expired"
	OrderCancelled = "cancelled"
)

// Key is that of a device of an order, "" if either is.
func (d OrderDevice) Key() string { return pair(d.Order, d.Device) }

// OrderDeviceKey is the key of a device of an order.
func OrderDeviceKey(order, device string) string { return pair(order, device) }

// SentOrderFilter finds orders that were sent. Zero fields mean all.
type SentOrderFilter struct {
	Kind string
	// OpenAt finds those that are neither cancelled nor expired then.
	OpenAt time.Time
	// ExpiredBy finds those that expire then or before.
	ExpiredBy time.Time
	// Realm finds those that have a device of it.
	Realm Realm
}

// OrderDeviceFilter finds devices of orders. Fields that are "" mean all.
type OrderDeviceFilter struct {
	Order, Device, Site, Standing string
	// Realm are the devices that whoever asks is limited to.
	Realm Realm
}

// CredentialFilter finds credentials.
type CredentialFilter struct {
	Kind    CredentialKind
	Subject string
	// Hashes have that of the secret; nil means all.
	Hashes []string
	// ExpiredBy finds those that expire then or before; the zero time means all.
	ExpiredBy time.Time
}

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
	Kind ActorKind `json:"kind"`
	Name string    `json:"name"`
	User string    `json:"user,omitempty"`
	// Account is the id of the user.
	Account string  `json:"account,omitempty"`
	From    string  `json:"from"`
	Role    Role    `json:"role"`
	Scopes  []Scope `json:"scopes,omitempty"`
	// Sites that the actor is limited to; without Limited there is no limit.
	Limited bool     `json:"limited,omitempty"`
	Sites   []string `json:"sites,omitempty"`
	// Credential is the id of the token; "" for who has none. A session that ends
	// ends no job.
	Credential string `json:"credential,omitempty"`
}

// Realm is what the actor saw then.
func (j JobActor) Realm() Realm { return Realm{j.Limited, j.Sites} }

// jobActor is the actor as a job keeps it.
func (a Actor) jobActor() JobActor {
	j := JobActor{Kind: a.Kind, Name: a.Name, User: a.User, Account: a.Account, From: a.From, Role: a.Role,
		Scopes: a.Scopes, Limited: a.Realm.limited, Sites: a.Realm.Sites()}
	if a.Kind == ActorToken {
		j.Credential = a.credential
	}
	return j
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

// Add counts a row that had one outcome and now has another; "" is none.
func (c *JobCounts) Add(was, is JobOutcome) {
	if n := c.of(was); n != nil {
		*n--
	}
	if n := c.of(is); n != nil {
		*n++
	}
}

// of is the count of an outcome, nil of none.
func (c *JobCounts) of(o JobOutcome) *int {
	switch o {
	case RowCreated:
		return &c.Created
	case RowChanged:
		return &c.Changed
	case RowUnchanged:
		return &c.Unchanged
	case RowRefused:
		return &c.Refused
	case RowUndone:
		return &c.Undone
	case RowKept:
		return &c.Kept
	}
	return nil
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
	// Sites are those of its devices when it was made, and those that it moves them to,
	// in order.
	Sites []string `json:"sites,omitempty"`
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

// Refuse says why the row is not written.
func (r *JobRow) Refuse(problem string) { r.Outcome, r.Problem, r.Changes = RowRefused, problem, nil }

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

// FileSet is a file set that the controller knows: what a load has, and the directory
// that it stands in on devices.
type FileSet struct {
	Load
	Directory string `json:"directory"`
}

// FileSetAnswer is a file set that a device is to have, and the level that assigns it.
type FileSetAnswer struct {
	Directory string       `json:"directory"`
	FileSet   string       `json:"file_set"`
	Level     policy.Level `json:"level"`
	// Others are what weaker levels assign for the directory, the strongest first.
	Others []FileSetAt `json:"others,omitempty"`
}

// FileSetAt is a file set and the level that assigns it.
type FileSetAt struct {
	Level   policy.Level `json:"level"`
	FileSet string       `json:"file_set"`
}
