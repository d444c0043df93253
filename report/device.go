package report

// States of a device as a whole, in the order of an upgrade.
const (
	StateIdle        = "idle"        // it runs what it should
	StateDownloading = "downloading" // it fetches a load
	StateReady       = "ready"       // it has the load, and waits until it may install it
	StateInstalling  = "installing"  // its installer is at work
	StateRebooting   = "rebooting"   // it starts the new load
	StateTrial       = "trial"       // the new load runs and is not confirmed yet
	StateRolledBack  = "rolled-back" // the old load runs again
	StateFailed      = "failed"      // the upgrade failed; Reason says why
)

// Device is what a device reports about itself to its controller: the body of a
// check-in.
type Device struct {
	// Schema of this text.
	Schema int `json:"schema"`
	// Time is the device's clock, for people only; RFC 3339.
	Time string `json:"time"`
	// Model as the device states it; "" if it states none.
	Model string `json:"model,omitempty"`
	// Program is the name and version of the device's program.
	Program string `json:"program,omitempty"`
	// Address of the device, as it sees it.
	Address string `json:"address,omitempty"`
	// State is one of the State words.
	State string `json:"state"`
	// Active is the load that runs, Inactive the one in the other slot, Wanted
	// the one that the device was told to run.
	Active   string `json:"active,omitempty"`
	Inactive string `json:"inactive,omitempty"`
	Wanted   string `json:"wanted,omitempty"`
	// Sharing is the effective value of peer sharing, "on" or "off", and
	// SharingFrom the level that it comes from.
	Sharing     string `json:"sharing,omitempty"`
	SharingFrom string `json:"sharing_from,omitempty"`
	// Role, Root, Parent and Children are those of the hierarchy of the file
	// under way, or of the last one.
	Role     string   `json:"role,omitempty"`
	Root     string   `json:"root,omitempty"`
	Parent   string   `json:"parent,omitempty"`
	Children []string `json:"children,omitempty"`
	// Percent of the load that the device has, 0 to 100.
	Percent int `json:"percent,omitempty"`
	// Reason is a stable code of why the state is what it is, Message the same
	// for people. The code is the name of a wire.Reason of package pdp/wire, or
	// one of the agent's own: no-such-load, trust, wrong-model, disk-budget,
	// refused, installer, switch, reboot, not-confirmed, no-way-back, no-address,
	// tls, unusable-answer, damaged, bad-provisioning, wrong-kind, hook-failed.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Upgrade is what State, Reason and Message are about; nil for a device that does
	// not tell, or never had a load to fetch.
	Upgrade *Upgrade `json:"upgrade,omitempty"`
	// FileSets are those that stand beside the loads, and those that should.
	FileSets []FileSet `json:"file_sets,omitempty"`
	// Boot identifies a run of the device: if it changes, the device has
	// restarted.
	Boot string `json:"boot,omitempty"`
	// Files are the final reports of files and loads that ended since the last
	// report that was accepted.
	Files []Final `json:"files,omitempty"`
	// Failures are what went wrong since then.
	Failures []Failure `json:"failures,omitempty"`
}

// Upgrade is the last upgrade of a device.
type Upgrade struct {
	Load string `json:"load"`
	// Rollout and Try are those of what the device was handed, "" and 0 where no
	// rollout brought the load.
	Rollout string `json:"rollout,omitempty"`
	Try     int    `json:"try,omitempty"`
}

// FileSet is how one directory of a device's file sets stands.
type FileSet struct {
	Directory string `json:"directory"`
	// Name and Version of the set that is in place, "" for none.
	Name    string `json:"name,omitempty"`
	Version string `json:"version,omitempty"`
	// Wanted is the set that belongs there, "" for none.
	Wanted string `json:"wanted,omitempty"`
	// State is StateIdle if Wanted is in place and the hook knows, StateDownloading,
	// StateInstalling while the hook is to be told, or StateFailed.
	State string `json:"state"`
	// Reason and Message say why, as those of a Device.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Failure is one thing that went wrong on a device.
type Failure struct {
	Load string `json:"load,omitempty"`
	File string `json:"file,omitempty"`
	// Reason is a stable code, as Device.Reason.
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	// Phase is what the device was at: provision, manifest, transfer, verify, commit,
	// install, reboot, trial, rollback or file-hook; "" for none of them, and from
	// devices that do not tell.
	Phase string `json:"phase,omitempty"`
	// Output has the last lines that the hook or command printed which failed.
	Output string `json:"output,omitempty"`
}
