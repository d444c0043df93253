package domain

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/diff"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// Meta is what every stored thing has.
type Meta struct {
	// Version counts the changes, from 1. A write with the version that the
	// caller has read fails with ErrConflict if that is no longer the stored
	// one.
	Version int64 `json:"version"`
	// Created and Changed are when, in UTC; zero for an enterprise that nobody has
	// changed yet.
	Created time.Time `json:"created,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
}

// Stamp returns the meta data, for the store.
func (m *Meta) Stamp() *Meta { return m }

// Assignment is a load, or a release, that is assigned at one level.
type Assignment struct {
	// Load is the name of the load, "" for none at this level.
	Load string `json:"load"`
	// Release is the name of the release in the place of a load.
	Release string `json:"release,omitempty"`
	// Previous is the load that was assigned before, which RollBack returns to,
	// PreviousRelease the release.
	Previous        string `json:"previous,omitempty"`
	PreviousRelease string `json:"previous_release,omitempty"`
	// HasPrevious says that there was an assignment, or none, before: Previous
	// "" is then a state to return to as well.
	HasPrevious bool `json:"has_previous,omitempty"`
}

// ref is what is assigned.
func (a Assignment) ref() ref { return ref{a.Load, a.Release} }

// ref names a load or a release; the zero value names none.
type ref struct{ load, release string }

func (r ref) String() string {
	switch {
	case r.release != "":
		return "release " + r.release
	case r.load != "":
		return "load " + r.load
	}
	return "no load"
}

// How a device came to be known: its registration. Origin is kept for the
// server that a root downloads from.
const (
	RegistrationByAdministrator = "administrator"
	RegistrationAutomatic       = "auto-registered"
	RegistrationByEnrolment     = "enrolled"
)

// Device is one device.
type Device struct {
	Meta
	// Name is SEP and the MAC address as 12 upper-case hexadecimal digits, as
	// provisioning files have it; DeviceName makes it.
	Name string `json:"name"`
	// Description for people.
	Description string `json:"description"`
	// Model as the model table writes it, or as the device reports it if the
	// table has no such model.
	Model string `json:"model"`
	// Profile is the common profile's name, "" for none.
	Profile string `json:"profile"`
	// Site is the site that it was given, "" for none: it belongs then to that of
	// the network that it last reported from.
	Site string `json:"site"`
	// Registration is how the device came to be known: one of the Registration
	// words.
	Registration string `json:"origin"`
	// Settings at the level of the device.
	Settings policy.Values `json:"settings"`
	// Load at the level of the device.
	Load Assignment `json:"load"`
	// FileSets that are assigned at the level of the device, in order.
	FileSets []string `json:"file_sets,omitempty"`
}

// Key is the device's name.
func (d Device) Key() string { return d.Name }

// Profile is a common profile: settings and a load for many devices.
type Profile struct {
	Meta
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Settings    policy.Values `json:"settings"`
	Load        Assignment    `json:"load"`
	FileSets    []string      `json:"file_sets,omitempty"`
}

// Key is the profile's name.
func (p Profile) Key() string { return p.Name }

// Enterprise has what applies to all devices, and the controller's own
// switches. There is one.
type Enterprise struct {
	Meta
	Settings policy.Values `json:"settings"`
	// Load is the default load of devices to which nothing else assigns one.
	Load     Assignment `json:"load"`
	FileSets []string   `json:"file_sets,omitempty"`
	// AutoRegistration lets unknown devices that ask for provisioning become
	// known. Off by default.
	AutoRegistration bool `json:"auto_registration"`
	// RegisterProfile is the profile that such devices get, "" for none.
	RegisterProfile string `json:"register_profile"`
}

// Key is constant: there is one enterprise.
func (Enterprise) Key() string { return "enterprise" }

// ModelEntry is what the database has about a model beyond the built-in table.
type ModelEntry struct {
	Meta
	Name string `json:"name"`
	// Row is the model's row if it was added or takes the place of a built-in
	// one, nil otherwise.
	Row *policy.ModelRow `json:"row,omitempty"`
	// Load is the default load of the model.
	Load Assignment `json:"load"`
}

// Key is the model's name.
func (m ModelEntry) Key() string { return m.Name }

// Model is a model as people see it: its row, its load, and every setting.
type Model struct {
	policy.ModelRow
	// GroupName is the effective group.
	GroupName string `json:"group_name"`
	// Known is false for a model that no table has.
	Known bool `json:"known"`
	// Custom is true if the row is not the built-in one.
	Custom bool `json:"custom"`
	// Load is the default load of the model.
	Load Assignment `json:"load"`
	// Version of the model's entry, 0 if there is none.
	Version int64 `json:"version"`
	// Settings are all settings: a model shows each of them.
	Settings []ModelSetting `json:"settings"`
}

// ModelSetting is one setting as a model has it.
type ModelSetting struct {
	Name string `json:"name"`
	// Default of this model.
	Default string `json:"default"`
	// Lacking is why the setting has no effect on the model, "" if it has one.
	Lacking string `json:"lacking,omitempty"`
}

// Load is a load that the controller knows.
type Load struct {
	Meta
	Name string `json:"name"`
	// Release is the version of the load, as its manifest states it.
	Release string `json:"release"`
	// Models that the load is for, as the model table writes them.
	Models []string `json:"models"`
	// Size of all components in bytes.
	Size       int64           `json:"size"`
	Components []LoadComponent `json:"components"`
	// Signed says that the load has a signed manifest.
	Signed bool `json:"signed"`
	// From are patterns of the versions that it may be installed from, as package
	// stepping has them; none: from any. The manifest does not have them.
	From []string `json:"from,omitempty"`
	// Retired loads cannot be assigned any more.
	Retired bool `json:"retired"`
	// Missing says that the repository no longer has it.
	Missing bool `json:"missing,omitempty"`
}

// Key is the load's name.
func (l Load) Key() string { return l.Name }

// LoadComponent is one file of a load. Of an unsigned load only the name is
// known.
type LoadComponent struct {
	Name   string `json:"name"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
}

// StateUnknown is the state of a device that has never reported; the others are
// those of package report.
const StateUnknown = "unknown"

// Traffic counts the bytes of a device by where they came from.
type Traffic struct {
	FromOrigin int64 `json:"from_origin"`
	FromPeers  int64 `json:"from_peers"`
	FromCache  int64 `json:"from_cache"`
	ToPeers    int64 `json:"to_peers"`
}

// DeviceState is the latest known state of a device.
type DeviceState struct {
	Meta
	Device string `json:"device"`
	// Last is the last report, its Files and Failures left out.
	Last report.Device `json:"last"`
	// From is the address that the last report came from.
	From string `json:"from"`
	// Site is the one whose network holds From, "" if none does.
	Site string `json:"site,omitempty"`
	// LastSeen is when the device was last heard of: when it last reported.
	LastSeen time.Time `json:"last_seen,omitzero"`
	// Asked is when somebody last fetched the device's provisioning file, AskedFrom
	// from which address; zero and "" if nobody did. Anybody may fetch it.
	Asked     time.Time `json:"asked,omitzero"`
	AskedFrom string    `json:"asked_from,omitempty"`
	// Reported is when it last reported; zero if never.
	Reported time.Time `json:"reported,omitzero"`
	// Since is when the device entered its state.
	Since time.Time `json:"since,omitzero"`
	// Files are the last final report of each file, the latest first, bounded
	// by MaxStateFiles.
	Files []report.Final `json:"files"`
	// Failures are the last ones, the latest first, bounded by MaxStateFailures.
	Failures []FailureAt `json:"failures"`
	// Traffic of all that was ever reported.
	Traffic Traffic `json:"traffic"`
}

// Key is the device's name.
func (s DeviceState) Key() string { return s.Device }

// FailureAt is a failure and when the controller heard of it.
type FailureAt struct {
	At time.Time `json:"at"`
	report.Failure
}

// Kinds of history entries.
const (
	HistoryState   = "state"    // the state changed
	HistoryLoad    = "load"     // the active load changed
	HistoryFile    = "file"     // a file or load ended; Final
	HistoryFailure = "failure"  // something went wrong
	HistoryFileSet = "file-set" // another file set is in place, or none, in the directory File
	HistoryRestart = "restart"  // the device restarted
	HistoryAddress = "address"  // it reports from another address
	HistoryKnown   = "known"    // it became known: registered or enrolled
)

// HistoryEntry is one thing that happened to a device.
type HistoryEntry struct {
	// ID orders entries by time; later ones are greater.
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Device string    `json:"device"`
	// Kind is one of the History words.
	Kind string `json:"kind"`
	// Old and New are the values before and after, if something changed.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Load and File are what it was about.
	Load    string        `json:"load,omitempty"`
	File    string        `json:"file,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
	Final   *report.Final `json:"final,omitempty"`
}

// Key is the entry's id.
func (h HistoryEntry) Key() string { return h.ID }

// AuditEntry says who changed what, when and from where.
type AuditEntry struct {
	// ID orders entries by time; later ones are greater.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Actor is who did it, Kind the kind of actor, From the address.
	Actor string    `json:"actor"`
	Kind  ActorKind `json:"kind"`
	From  string    `json:"from"`
	// PartOf is the id of the entry that this one is a part of, "" for none.
	PartOf string `json:"part_of,omitempty"`
	// Action is what was done: "device.create", "settings.change" …
	Action string `json:"action"`
	// Target is what it was done to: "device SEP001122334455" …
	Target string `json:"target"`
	// Changes are the fields that changed; they never contain secrets.
	Changes []FieldChange `json:"changes,omitempty"`
}

// Key is the entry's id.
func (a AuditEntry) Key() string { return a.ID }

// FieldChange is the old and the new value of a field.
type FieldChange = diff.FieldChange

// Rollout is a rollout as it is kept. Its times are in the record; those of Meta
// stay zero, as those of its devices do.
type Rollout struct {
	Meta
	Record rollout.Record `json:"record"`
	// Ask is what people want of it.
	Ask RolloutAsk `json:"ask"`
	// Orders counts what people have ordered, its creation included. It is the
	// version that they read: Meta's rises with each device that comes further.
	Orders int64 `json:"orders"`
	// Listing is drawn anew whenever the listing of the target begins: another one
	// ends a listing that is under way.
	Listing string `json:"listing,omitempty"`
	// Looked is when the controller last looked at its devices.
	Looked time.Time `json:"looked,omitzero"`
	// Answered and Answer are when the external check was last asked, and what came
	// of it.
	Answered time.Time `json:"answered,omitzero"`
	Answer   string    `json:"answer,omitempty"`
	// Secret signs the questions to the external check.
	Secret string `json:"secret,omitempty"`
	// Undoes is the rollout that this one takes back, UndoneBy the one that takes
	// this one back; "" for none.
	Undoes   string `json:"undoes,omitempty"`
	UndoneBy string `json:"undone_by,omitempty"`
}

// RolloutAsk says what a rollout brings, and to whom.
type RolloutAsk struct {
	// Load or Release, one of them; none if it takes back another rollout.
	Load    string        `json:"load,omitempty"`
	Release string        `json:"release,omitempty"`
	Target  RolloutTarget `json:"target,omitzero"`
	// Check is the URL of the external check, "" for none.
	Check string `json:"check,omitempty"`
}

// RolloutTarget says which devices are meant: those that match all that is given.
type RolloutTarget struct {
	// All says that no condition is needed.
	All     bool   `json:"all,omitempty"`
	Site    string `json:"site,omitempty"`
	Profile string `json:"profile,omitempty"`
	Model   string `json:"model,omitempty"`
	// Text is part of the name or description, in either case.
	Text string `json:"text,omitempty"`
	// Devices are named one by one.
	Devices []string `json:"devices,omitempty"`
	// Percent of those that match; 0 means all of them. Which they are is fixed for
	// a load or release: a higher percentage has all devices of a lower one.
	Percent int `json:"percent,omitempty"`
}

// Key is the rollout's id.
func (r Rollout) Key() string { return r.Record.ID }

// RolloutDevice is a device of a rollout. It stays when the device is removed:
// the rollout counts it.
type RolloutDevice struct {
	Meta
	Rollout string      `json:"rollout"`
	Row     rollout.Row `json:"row"`
}

// Key is that of a device of a rollout, "" if either is.
func (d RolloutDevice) Key() string { return pair(d.Rollout, d.Row.Device) }

// RolloutDeviceKey is the key of a device of a rollout.
func RolloutDeviceKey(id, device string) string { return pair(id, device) }

// Holder is the active rollout that has a device; without one, and then Active is false,
// the one that has granted it something last. The zero value is none.
type Holder struct {
	Rollout string
	Active  bool
}

// Verdict is a load that does not work on a device.
type Verdict struct {
	Meta
	Device string `json:"device"`
	Load   string `json:"load"`
	Reason string `json:"reason"`
	// At is when it was found.
	At time.Time `json:"at"`
}

// Key is that of the device and the load.
func (v Verdict) Key() string { return pair(v.Device, v.Load) }

// pair makes one key of two names, "" if either is "". A slash parts them, which
// stands in neither the id of a rollout nor the name of a device.
func pair(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	return a + "/" + b
}

// Limits of texts, in bytes.
const (
	MaxNameLen        = 64
	MaxDescriptionLen = 500
)

// DeviceName returns a device's name, SEP001122334455, from any spelling of it
// or of its MAC address. Errors match ErrInvalid.
func DeviceName(s string) (string, error) {
	bad := invalid("%.40q is not a device: write SEP and 12 hexadecimal digits, or the MAC address", s)
	if len(s) > 40 {
		return "", bad
	}
	digits := strings.ToUpper(strings.TrimSpace(s))
	mac, err := parse.MAC(strings.TrimPrefix(digits, "SEP"))
	switch {
	case errors.Is(err, parse.ErrNoDevice):
		return "", invalid("%.40q is an address of a group, or of nobody: no device has it", s)
	case err != nil:
		return "", bad
	}
	return "SEP" + mac, nil
}

// checkName refuses names that are empty, too long, or harmful in a path or a
// terminal.
func checkName(what, name string) error {
	if name == "" || len(name) > MaxNameLen || strings.TrimSpace(name) != name || name == "." || name == ".." {
		return invalid("a %s's name has 1 to %d bytes and no space at its ends", what, MaxNameLen)
	}
	if strings.ContainsAny(name, `/\?#%*"<>|`) {
		return invalid(`a %s's name has none of / \ ? # %% * " < > |`, what)
	}
	return checkText("name", name, MaxNameLen)
}

// checkText refuses text that is too long or not plain.
func checkText(what, text string, most int) error {
	if len(text) > most {
		return invalid("the %s has %d bytes, at most %d", what, len(text), most)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return invalid("the %s is not plain text", what)
	}
	return nil
}

// cleanText turns what a device says into bounded plain text.
func cleanText(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") // the cut may split a letter
	}
	return text
}

// Target is where settings and loads are assigned.
type Target struct {
	// Level is LevelEnterprise, LevelModel (loads only), LevelProfile or
	// LevelDevice.
	Level policy.Level `json:"level"`
	// Name of the model, profile or device; "" for the enterprise.
	Name string `json:"name"`
}

// EnterpriseTarget is the enterprise.
func EnterpriseTarget() Target { return Target{Level: policy.LevelEnterprise} }

// ModelTarget is a model.
func ModelTarget(name string) Target { return Target{policy.LevelModel, name} }

// ProfileTarget is a profile.
func ProfileTarget(name string) Target { return Target{policy.LevelProfile, name} }

// DeviceTarget is a device, in any spelling of its name.
func DeviceTarget(name string) Target { return Target{policy.LevelDevice, name} }

// String writes the target as the audit log does.
func (t Target) String() string {
	if t.Name == "" {
		return t.Level.String()
	}
	return t.Level.String() + " " + t.Name
}

// permission is what changing something there needs.
func (t Target) permission() permission {
	if t.Level == policy.LevelDevice || t.Level == policy.LevelProfile {
		return mayDevices
	}
	return mayEnterprise
}

// Why a use case did not do what it was asked, for errors.Is.
var (
	// ErrNotFound says that there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrExists says that there is one of that name already.
	ErrExists = errors.New("exists already")
	// ErrConflict says that somebody else has changed it since it was read:
	// read it again.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrInvalid says that a value is not valid.
	ErrInvalid = errors.New("invalid")
	// ErrRefused says that the change would break a rule.
	ErrRefused = errors.New("refused")
	// ErrUnfit says that a load or file set is not for the model. It matches ErrRefused
	// too.
	ErrUnfit = fmt.Errorf("%w: it does not fit the model", ErrRefused)
	// ErrNoWay says that no load leads from what a device runs to the one that it
	// would get. It matches ErrRefused too.
	ErrNoWay = fmt.Errorf("%w: no load leads there", ErrRefused)
	// ErrUnauthenticated says that credentials are missing, wrong or expired.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrForbidden says that the actor may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrThrottled says that there were too many attempts: see ThrottledError.
	ErrThrottled = errors.New("too many attempts")
	// ErrUnavailable says that the controller runs without what this needs.
	ErrUnavailable = errors.New("not available")
	// ErrAway says that the database does not answer now: it is locked, restarts,
	// or cannot be reached. Try again. It matches ErrUnavailable too.
	ErrAway = fmt.Errorf("%w: the database does not answer", ErrUnavailable)
	// ErrKeys says that a key to sign with is not there, or not kept secret: the
	// error says which, and what to do.
	ErrKeys = repository.ErrKeys
)

// SiteCounts count the devices of a site, and their bytes.
type SiteCounts struct {
	Devices int `json:"devices"`
	// Done run the load that they should, Running are on the way to one, Failed
	// have failed or rolled back. Silent were not heard of for the time that the
	// caller gave, whatever they last said.
	Done    int `json:"done"`
	Running int `json:"running"`
	Failed  int `json:"failed"`
	Silent  int `json:"silent"`
	// WANBytes came from servers, SavedBytes from peers instead.
	WANBytes   int64 `json:"wan_bytes"`
	SavedBytes int64 `json:"saved_bytes"`
}

// SiteRow is a site with its counts.
type SiteRow struct {
	Site
	Counts SiteCounts `json:"counts"`
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// unknown says which words of a kind there are. It repeats 40 bytes at most of
// what came from outside.
func unknown[T ~string](kind string, word T, valid []T) error {
	names := make([]string, len(valid))
	for i, v := range valid {
		names[i] = string(v)
	}
	return choice.Unknown(kind, string(word[:min(len(word), 40)]), names)
}

func notFound(what, name string) error { return fmt.Errorf("%w: %s %q", ErrNotFound, what, name) }

// EffectiveSetting is a setting of a device: the effective value, its level,
// and what the other levels say.
type EffectiveSetting struct {
	policy.Answer
	Label   string `json:"label"`
	LabelJA string `json:"label_ja"`
	Element string `json:"element"`
}
