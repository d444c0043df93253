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
		r.RebootFrom == o.RebootFrom && r.Assigned == o.Assigned &&
		r.State == o.State && r.Reason == o.Reason && r.Message == o.Message
}
