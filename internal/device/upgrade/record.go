package upgrade

import (
	"slices"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
)

// Phase of an upgrade, as it is kept. A phase is remembered before its work
// begins: a program that was killed begins the phase again.
type Phase string

// The phases, in their order.
const (
	Idle     Phase = "idle"
	Download Phase = "download" // the load goes into the inactive slot
	Install  Phase = "install"  // it is complete; the installer is at work
	Reboot   Phase = "reboot"   // the slot is switched; the device restarts
	Trial    Phase = "trial"    // the new load runs and waits to be confirmed
	Rollback Phase = "rollback" // the old slot is, or becomes, active again
)

// Known reports whether this program knows the phase.
func (p Phase) Known() bool {
	return slices.Contains([]Phase{Idle, Download, Install, Reboot, Trial, Rollback}, p)
}

// Record is what survives a restart. The zero value, with phase Idle, is that
// of a new device.
type Record struct {
	// Phase of the upgrade to Load of Version.
	Phase   Phase  `json:"phase"`
	Load    string `json:"load,omitempty"`
	Version string `json:"version,omitempty"`
	// Since when the phase holds, RFC 3339, for people.
	Since string `json:"since,omitempty"`
	// Starts counts the starts of the program during a trial.
	Starts int `json:"starts,omitempty"`
	// Installs counts how often the installer was asked to install Load
	// without the load having been tried to an end.
	Installs int `json:"installs,omitempty"`
	// BootID of the device when the slots were told of its last start.
	BootID string `json:"boot_id,omitempty"`
	// RebootFrom is the BootID under which the restart into Load was asked
	// for: another one says that the device has restarted. "": none was.
	RebootFrom string `json:"reboot_from,omitempty"`
	// Assigned is the load that was assigned last, "" for none.
	Assigned string `json:"assigned,omitempty"`
	// Grant is what a rollout allows, which then brings Assigned; nil where none
	// does: then a load that is assigned may be run at any time.
	Grant *Grant `json:"grant,omitempty"`
	// By is what brought Load.
	By By `json:"by,omitzero"`
	// Failed are loads not to be tried again until another is assigned, or
	// Forget, or for a while where the device has no load that works; at most
	// maxFailed, the oldest first.
	Failed []FailedLoad `json:"failed,omitempty"`
	// State, one of package report, Reason and Message are what is told of
	// the last upgrade.
	State   string      `json:"state"`
	Reason  reason.Code `json:"reason,omitempty"`
	Message string      `json:"message,omitempty"`
}

// By says which try of which rollout brought a load; the zero value is none.
type By struct {
	Rollout string `json:"rollout"`
	Try     int    `json:"try"`
}

// Grant is what a device may do for a rollout. When it has ended, the device may do
// nothing more of it.
type Grant struct {
	By
	// Download is when the load may be fetched, Activate when its installation may
	// begin.
	Download Span `json:"download,omitzero"`
	Activate Span `json:"activate,omitzero"`
}

// Span is the time from From up to, not including, Until.
type Span struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

// contains reports whether an instant is in the span.
func (s Span) contains(t time.Time) bool { return !t.Before(s.From) && t.Before(s.Until) }

// same reports whether two grants are equal; nil is none.
func (g *Grant) same(o *Grant) bool {
	if g == nil || o == nil {
		return g == o
	}
	equal := func(a, b Span) bool { return a.From.Equal(b.From) && a.Until.Equal(b.Until) }
	return g.By == o.By && equal(g.Download, o.Download) && equal(g.Activate, o.Activate)
}

// by is what a grant brings a load for.
func (g *Grant) by() By {
	if g == nil {
		return By{}
	}
	return g.By
}

// may reports whether a span of the grant allows something now. Without a grant
// nothing is bound.
func (g *Grant) may(now time.Time, of func(g *Grant) Span) bool {
	return g == nil || of(g).contains(now)
}

func download(g *Grant) Span { return g.Download }
func activate(g *Grant) Span { return g.Activate }

// FailedLoad is a load that failed.
type FailedLoad struct {
	Load   string      `json:"load"`
	Reason reason.Code `json:"reason"`
	// Time when it failed, RFC 3339.
	Time string `json:"time"`
	// Tries counts how often it failed; 0 stands for 1.
	Tries int `json:"tries,omitempty"`
	// Again says that it is being tried once more.
	Again bool `json:"again,omitempty"`
}

// maxFailed bounds Record.Failed.
const maxFailed = 16

// FailedBefore returns why a load is not to be tried again; ok is false if it
// may be.
func (r *Record) FailedBefore(load string) (f FailedLoad, ok bool) {
	i := slices.IndexFunc(r.Failed, func(f FailedLoad) bool { return f.Load == load })
	if i < 0 || r.Failed[i].Again {
		return FailedLoad{}, false
	}
	return r.Failed[i], true
}

// fail notes a load that is not to be tried again. Earlier copies of the record
// keep their list.
func (r *Record) fail(load string, code reason.Code, now time.Time) {
	latest := FailedLoad{Load: load, Reason: code, Time: now.Format(time.RFC3339), Tries: 1}
	for _, f := range r.Failed {
		if f.Load == load && f.Again {
			latest.Tries = max(f.Tries, 1) + 1
		} else if f.Load == load { // it was noted already
			latest.Tries = max(f.Tries, 1)
		}
	}
	r.passed(load)
	kept := append(r.Failed, latest)
	r.Failed = kept[max(0, len(kept)-maxFailed):]
}

// passed forgets that a load had failed. Earlier copies of the record keep their
// list.
func (r *Record) passed(load string) {
	r.Failed = slices.DeleteFunc(slices.Clone(r.Failed), func(f FailedLoad) bool { return f.Load == load })
}

// again notes that a load that failed is tried once more. It reports whether
// there is one. Earlier copies of the record keep their list.
func (r *Record) again(load string) bool {
	if _, failed := r.FailedBefore(load); !failed {
		return false
	}
	r.Failed = slices.Clone(r.Failed)
	for i := range r.Failed {
		r.Failed[i].Again = r.Failed[i].Again || r.Failed[i].Load == load
	}
	return true
}

func (r *Record) equal(o Record) bool {
	return slices.Equal(r.Failed, o.Failed) && r.Phase == o.Phase && r.Load == o.Load && r.Version == o.Version &&
		r.Since == o.Since && r.Starts == o.Starts && r.Installs == o.Installs && r.BootID == o.BootID &&
		r.RebootFrom == o.RebootFrom && r.Assigned == o.Assigned && r.Grant.same(o.Grant) && r.By == o.By &&
		r.State == o.State && r.Reason == o.Reason && r.Message == o.Message
}
