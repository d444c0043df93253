package rollout

import (
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/controller/window"
)

// Action is what the machine wants done, or tells.
type Action interface{ action() }

type (
	// List is a job: call Machine.List for each device of the target, then Step
	// with Listed.
	List struct{}
	// Drop removes all rows: the rollout is a draft again.
	Drop struct{}
	// Ask is a job: ask the external check whether the wave after this one may
	// open. Number goes back in Answer.
	Ask struct{ Wave, Number int }
	// StateChanged tells that the rollout changed its state. By is "" if it did so
	// by itself.
	StateChanged struct {
		From, To State
		By, Why  string
	}
	// WaveOpened tells that a wave opened, from 0.
	WaveOpened struct {
		Wave int
		By   string
	}
)

func (List) action()         {}
func (Drop) action()         {}
func (Ask) action()          {}
func (StateChanged) action() {}
func (WaveOpened) action()   {}

// Hold is why a device may do nothing now.
type Hold string

// The holds.
const (
	HoldNone     Hold = ""
	HoldState    Hold = "state"    // the rollout does not run
	HoldSettled  Hold = "settled"  // the device is accounted for
	HoldDeadline Hold = "deadline" // it is over
	HoldWave     Hold = "wave"     // its wave is not open
	HoldBackOff  Hold = "back-off" // it is tried again later
	HoldTrial    Hold = "trial"    // it tries the load, and was not told to
	HoldWindow   Hold = "window"   // the site's windows are closed
)

// Grant is what a device may do. It stands by itself: a device that holds it asks
// nobody else.
type Grant struct {
	// Rollout goes back in Report.
	Rollout string `json:"rollout"`
	Device  string `json:"device"`
	// Load to fetch and run next.
	Load string `json:"load"`
	// Try goes back in Report.
	Try int `json:"try"`
	// Download and Activate are when the load may be fetched, and when its
	// activation may begin. An empty Activate does not allow it yet.
	Download window.Span `json:"download"`
	Activate window.Span `json:"activate,omitzero"`
}

// Verdict is a load that was found not to work on a device.
type Verdict struct{ Device, Load, Reason string }

// Outcome is what follows from a call about a device.
type Outcome struct {
	// Grant is what it may do now, nil for nothing: what it was handed before no
	// longer holds.
	Grant *Grant
	// Hold is why there is none, Again when that ends, zero if nobody knows.
	Hold  Hold
	Again time.Time
	// Judged is a load that was found not to work on it just now, nil for none.
	Judged *Verdict
	// Changed says that the row is to be stored.
	Changed bool
	// Actions are those of the rollout.
	Actions []Action
}

// String is for logs and stories.
func (g *Grant) String() string {
	if g == nil {
		return "nothing"
	}
	const layout = "2 Jan 15:04"
	text := fmt.Sprintf("%s, try %d, download %s to %s", g.Load, g.Try, g.Download.From.Format(layout),
		g.Download.Until.Format(layout))
	if g.Activate.Empty() {
		return text + ", activate not yet"
	}
	return text + fmt.Sprintf(", activate %s to %s", g.Activate.From.Format(layout), g.Activate.Until.Format(layout))
}
