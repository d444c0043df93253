package rollout

import (
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/window"
)

// State of a rollout.
type State string

// The states of a rollout.
const (
	Draft      State = "draft"
	Awaiting   State = "awaiting-approval"
	Scheduled  State = "scheduled" // it is listed, and waits for its start
	Running    State = "running"
	Paused     State = "paused"
	Finished   State = "finished"
	Aborted    State = "aborted"
	RolledBack State = "rolled-back"
)

// Active reports whether the rollout holds its devices: none of them may be in
// another that is active.
func (s State) Active() bool { return s == Scheduled || s == Running || s == Paused }

// Ended reports whether the rollout hands out nothing any more.
func (s State) Ended() bool { return s == Finished || s == Aborted || s == RolledBack }

// Standing is how a device stands in a rollout.
type Standing string

// The standings. The first three are open: the rollout waits for the device.
const (
	Waiting Standing = "waiting" // for its wave, its window, its next try
	Granted Standing = "granted" // it holds a grant and has not begun
	Began   Standing = "began"
	Done    Standing = "done" // it runs the load, by this rollout
	Had     Standing = "had"  // it ran the load already
	Failed  Standing = "failed"
	Skipped Standing = "skipped"
	Silent  Standing = "silent" // not heard of, and not waited for
)

// Standings lists them all, in the order of a rollout.
func Standings() []Standing {
	return []Standing{Waiting, Granted, Began, Done, Had, Failed, Skipped, Silent}
}

// open reports whether the rollout waits for a device that stands so.
func (s Standing) open() bool { return s == Waiting || s == Granted || s == Began }

// explained reports whether devices that stand so are counted by their reason.
func (s Standing) explained() bool { return s == Failed || s == Skipped }

// Reasons that devices do not report. Those that they do are added to them.
const (
	ReasonSilent   = "not-heard-of"
	ReasonLost     = "never-came-back"
	ReasonTooLong  = "took-too-long"
	ReasonDeadline = "past-the-deadline"
	ReasonSteps    = "steps-without-end"
	ReasonByHand   = "by-hand"
	ReasonRemoved  = "removed"
	ReasonJudged   = "judged-bad"      // the load it would get does not work on it
	ReasonNoWay    = "no-way"          // no step leads from what it runs
	ReasonNoLoad   = "no-load"         // the release has none for its model, or there is none to go back to
	ReasonNoWindow = "no-window"       // the windows of its site and of the plan are never open together
	ReasonClaimed  = "in-another"      // another active rollout has it
	ReasonOther    = "other"           // one too many, or none that can be kept
	ReasonUnknown  = "no-reason-given" // the device gave none
)

// Counts are devices by their standing.
type Counts struct {
	Waiting int `json:"waiting"`
	Granted int `json:"granted"`
	Began   int `json:"began"`
	Done    int `json:"done"`
	Had     int `json:"had"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	Silent  int `json:"silent"`
}

// Of returns the count of one standing.
func (c *Counts) Of(s Standing) int { return *c.of(s) }

func (c *Counts) of(s Standing) *int {
	switch s {
	case Waiting:
		return &c.Waiting
	case Granted:
		return &c.Granted
	case Began:
		return &c.Began
	case Done:
		return &c.Done
	case Had:
		return &c.Had
	case Failed:
		return &c.Failed
	case Skipped:
		return &c.Skipped
	}
	return &c.Silent
}

// Total is all of them.
func (c *Counts) Total() (n int) {
	for _, s := range Standings() {
		n += c.Of(s)
	}
	return n
}

// Open counts those that the rollout waits for.
func (c *Counts) Open() int { return c.Waiting + c.Granted + c.Began }

// wanted counts those that can show something: they are to change, and are not
// left out.
func (c *Counts) wanted() int { return c.Open() + c.Done + c.Failed }

// add adds other counts.
func (c *Counts) add(o Counts) {
	for _, s := range Standings() {
		*c.of(s) += o.Of(s)
	}
}

// Record is a rollout as it is kept.
type Record struct {
	ID string `json:"id"`
	// Authors have made the plan, the creator first: none of them approves it.
	Authors []string `json:"authors"`
	// AuthorIDs are theirs, of those that have one.
	AuthorIDs []string  `json:"author_ids,omitempty"`
	Created   time.Time `json:"created"`
	Plan      Plan      `json:"plan"`
	State     State     `json:"state"`
	// Since when the state holds, who brought it about ("" for the rollout
	// itself), and why.
	Since time.Time `json:"since"`
	By    string    `json:"by,omitempty"`
	Why   string    `json:"why,omitempty"`
	// Listed says that all devices of the target have been listed.
	Listed bool `json:"listed,omitempty"`
	// LeftOut counts devices that were not listed, by reason.
	LeftOut map[string]int `json:"left_out,omitempty"`
	// Open is how many waves are open.
	Open  int          `json:"open"`
	Waves []WaveRecord `json:"waves,omitempty"`
	// Passed is since when the last open wave has the success that its gate
	// wants. Zero: it does not.
	Passed time.Time `json:"passed,omitzero"`
	// Asks counts the questions to the external check; Asked is the time of the
	// last about the success that Passed notes, zero if there was none.
	Asks  int       `json:"asks,omitempty"`
	Asked time.Time `json:"asked,omitzero"`
	// Era counts how often it was resumed.
	Era int `json:"era,omitempty"`
	// Reasons counts failed and skipped devices by reason.
	Reasons map[string]int `json:"reasons,omitempty"`
	// Replaced are loads that gave way to others while the rollout ran.
	Replaced []Replacement `json:"replaced,omitempty"`
	// Outages are times in which no device could be heard, the oldest first.
	Outages []window.Span `json:"outages,omitempty"`
}

// WaveRecord is one wave as it is kept.
type WaveRecord struct {
	Counts
	// Opened is when it opened; zero if it has not.
	Opened time.Time `json:"opened,omitzero"`
	// Acknowledged are failures that a person has seen and resumed after, those of
	// an era before the present one: they pause no more.
	Acknowledged int `json:"forgiven,omitempty"`
}

// Replacement is a load that took the place of another.
type Replacement struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Totals are the counts of all waves.
func (r *Record) Totals() (sum Counts) {
	for _, w := range r.Waves {
		sum.add(w.Counts)
	}
	return sum
}

// Row is one device of a rollout as it is kept.
type Row struct {
	Device string `json:"device"`
	Site   string `json:"site"`
	// Wave it belongs to, from 0.
	Wave int `json:"wave"`
	// Load that it is to run in the end, unless that was replaced.
	Load string `json:"load"`
	// Ran is what it ran before the rollout touched it; "" is unknown.
	Ran      string   `json:"ran,omitempty"`
	Standing Standing `json:"standing"`
	// Reason of the standing, or of the last try that failed.
	Reason string `json:"reason,omitempty"`
	// Since when it stands so; Era is that of the rollout in which it failed.
	Since time.Time `json:"since"`
	Era   int       `json:"era,omitempty"`
	// Step is the load of the last grant, Try its number, from 1; 0: it never
	// had one. Its spans are empty if it holds no longer.
	Step     string      `json:"step,omitempty"`
	Try      int         `json:"try,omitempty"`
	Download window.Span `json:"download,omitzero"`
	Activate window.Span `json:"activate,omitzero"`
	// Counted is the last try whose failure was counted, Failures how many of
	// the present step were, Steps how many steps the device has taken.
	Counted  int `json:"counted,omitempty"`
	Failures int `json:"failures,omitempty"`
	Steps    int `json:"steps,omitempty"`
	// First is when it got its first grant; After is before when it gets none.
	First time.Time `json:"first,omitzero"`
	After time.Time `json:"after,omitzero"`
	// Bad are loads that do not work on this device.
	Bad []string `json:"bad,omitempty"`
	// Due is when Look is to be called; zero: never.
	Due time.Time `json:"due,omitzero"`
}

// expires is when the grant no longer allows anything.
func (r *Row) expires() time.Time {
	if r.Activate.Until.After(r.Download.Until) {
		return r.Activate.Until
	}
	return r.Download.Until
}

// holds reports whether the row's grant allows something now or later.
func (r *Row) holds(now time.Time) bool { return now.Before(r.expires()) }

// withdraw ends the grant.
func (r *Row) withdraw() { r.Download, r.Activate = window.Span{}, window.Span{} }

// bad reports whether a load is known not to work on the device.
func (r *Row) bad(load string) bool { return slices.Contains(r.Bad, load) }

// equal reports whether two states of a row are the same.
func (r *Row) equal(o *Row) bool {
	return slices.Equal(r.Bad, o.Bad) && r.Device == o.Device && r.Site == o.Site && r.Wave == o.Wave &&
		r.Load == o.Load && r.Ran == o.Ran && r.Standing == o.Standing && r.Reason == o.Reason &&
		r.Since.Equal(o.Since) && r.Era == o.Era && r.Step == o.Step && r.Try == o.Try && r.Download == o.Download &&
		r.Activate == o.Activate && r.Counted == o.Counted && r.Failures == o.Failures && r.Steps == o.Steps &&
		r.First.Equal(o.First) && r.After.Equal(o.After) && r.Due.Equal(o.Due)
}
