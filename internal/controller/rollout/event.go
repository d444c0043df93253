package rollout

import (
	"time"

	"github.com/peerload/peerload/internal/controller/window"
)

// Event is what happened to a rollout.
type Event interface{ event() }

type (
	// Edit gives a draft another plan. ID is what tells its author from others of the
	// name, "" if nothing does.
	Edit struct {
		By, ID string
		Plan   Plan
	}
	// Start is an order: list the target and begin when it is time, after
	// approval if the plan wants it.
	Start struct{ By string }
	// Approve is the consent of a second person: of another name, and another ID.
	Approve struct{ By, ID string }
	// Relist says that the target is listed from the beginning, after a listing
	// that did not come to its end.
	Relist struct{}
	// Listed says that List was called for every device of the target.
	Listed struct{}
	// Next is an order: open the next wave now.
	Next struct{ By string }
	// Pause is an order: hand out nothing new.
	Pause struct{ By, Why string }
	// Resume is an order: go on. Devices that have failed up to now pause the
	// rollout no more.
	Resume struct{ By string }
	// Abort is an order: end here.
	Abort struct{ By, Why string }
	// RollBack is an order: end here, and let another rollout take the devices
	// back; Undo says how.
	RollBack struct{ By string }
	// Replace is an order while the rollout is paused: devices that are to get
	// one load get another. Those that are done keep what they run.
	Replace struct{ By, From, To string }
	// Answer is what an external check said to the question of that number.
	// Whatever is no explicit go is none.
	Answer struct {
		Asked int
		Go    bool
	}
	// Outage says that no device could be heard in that time: for silence it
	// does not count.
	Outage struct{ During window.Span }
	// Tick says that time has passed.
	Tick struct{}
)

func (Edit) event()     {}
func (Start) event()    {}
func (Approve) event()  {}
func (Relist) event()   {}
func (Listed) event()   {}
func (Next) event()     {}
func (Pause) event()    {}
func (Resume) event()   {}
func (Abort) event()    {}
func (RollBack) event() {}
func (Replace) event()  {}
func (Answer) event()   {}
func (Outage) event()   {}
func (Tick) event()     {}

// Candidate is a device of the target.
type Candidate struct {
	Device, Site string
	// Place is its site's clock and windows.
	Place Place
	// Load that it is to run in the end; "" if there is none for it.
	Load string
	// Runs is the load that it ran when it was last heard of; "" is unknown.
	Runs string
	// Heard is when that was; zero: never.
	Heard time.Time
	// Claimed is the id of another active rollout that has it, "" for none.
	Claimed string
	// Bad are all loads that were ever judged bad for it.
	Bad []string
}

// Activity is what a device is doing.
type Activity int

// The activities.
const (
	Resting    Activity = iota // nothing: it runs what it runs
	Fetching                   // it fetches a load, or has it and waits to activate it
	Installing                 // it installs, restarts into or tries a load: let it end that
	Giving                     // it gave up a load without having tried it
	Rejecting                  // it tried a load that did not work, and went back if it could
)

// Report is what a device says when it checks in.
type Report struct {
	// Runs is the load that runs; "" is unknown.
	Runs string
	// Activity is about Load; Reason is why it gave up or rejected it.
	Activity Activity
	Load     string
	Reason   string
	// Rollout and Try are those of the grant which the device speaks of. "" and
	// 0: it does not tell, and then the caller reports each failure once only.
	Rollout string
	Try     int
}

// Place is what the rollout needs to know of a device's site.
type Place struct {
	// Zone of its clock.
	Zone *time.Location
	// Windows of the site itself.
	Windows window.Schedule
}
