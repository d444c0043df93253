package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Rollout brings a load or a release to many devices, step by step.
type Rollout struct {
	ID string `json:"id"`
	// Version counts what people have ordered: devices that come further do not
	// raise it.
	Version Version `json:"version"`
	// State is "draft", "awaiting-approval", "scheduled", "running", "paused",
	// "finished", "aborted" or "rolled-back".
	State string `json:"state"`
	// Since when the state holds, By whom ("" for the rollout itself), and Why.
	Since   time.Time `json:"since"`
	By      string    `json:"by"`
	Why     string    `json:"why"`
	Created time.Time `json:"created"`
	// Authors have made the plan: none of them approves it.
	Authors []string    `json:"authors"`
	Ask     RolloutAsk  `json:"ask"`
	Plan    RolloutPlan `json:"plan"`
	// Listed says that the devices of the target are known and held.
	Listed bool `json:"listed"`
	// Open is how many of the waves are open.
	Open   int             `json:"open"`
	Waves  []RolloutCounts `json:"waves"`
	Counts Standings       `json:"counts"`
	// LeftOut counts devices that take no part, Reasons those that failed or were
	// skipped, both by reason.
	LeftOut map[string]int `json:"left_out"`
	Reasons map[string]int `json:"reasons"`
	// Checked is the last answer of the external check, nil if it was never asked.
	Checked *RolloutChecked `json:"checked,omitempty"`
	Links   RolloutLinks    `json:"links"`
	// Replaced are loads that gave way to others.
	Replaced []Replacement `json:"replaced"`
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
	// Percent of those that match; 0 means all of them. A higher percentage has all
	// devices of a lower one.
	Percent int `json:"percent,omitempty"`
}

// RolloutPlan says how a rollout goes. Times are written as 90m or 24h, windows as
// 22:00-05:00; what is left out has a careful default.
type RolloutPlan struct {
	Waves []RolloutWave `json:"waves,omitempty"`
	// MaxFailed pauses the rollout when so many devices have failed, MaxFailedShare
	// when so many of a hundred of a wave have; 0: it does not.
	MaxFailed      int            `json:"max_failed,omitempty"`
	MaxFailedShare *int           `json:"max_failed_share,omitempty"`
	Silence        RolloutSilence `json:"silence,omitzero"`
	// Lost is after how long without a word a device fails that has begun, Longest
	// after how long one fails that does not get there.
	Lost    string       `json:"lost,omitempty"`
	Longest string       `json:"longest,omitempty"`
	Retry   RolloutRetry `json:"retry,omitzero"`
	// Windows in which devices may work, by the clock of their site; with
	// DownloadAnytime they hold for the activation alone.
	Windows         []string `json:"windows,omitempty"`
	DownloadAnytime bool     `json:"download_anytime,omitempty"`
	// Valid is how long what a device is handed holds at most.
	Valid string `json:"valid,omitempty"`
	// Start is when the first wave opens, Deadline after when no device may do
	// anything.
	Start    time.Time `json:"start,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
	// Approval by a second person is wanted.
	Approval bool `json:"approval,omitempty"`
	// LeaveOut leaves out devices that cannot take part, instead of refusing the
	// start.
	LeaveOut bool `json:"leave_out,omitempty"`
	// AskEvery is the distance between two questions to the external check.
	AskEvery string `json:"ask_every,omitempty"`
}

// RolloutWave is a part of the target: devices, or sites, or a percentage.
type RolloutWave struct {
	Devices []string `json:"devices,omitempty"`
	Sites   []string `json:"sites,omitempty"`
	// Percent of the target, the waves before it included.
	Percent int `json:"percent,omitempty"`
	// Opener of the next wave is "success", "person" or "external".
	Opener string `json:"opener,omitempty"`
	// Success is how many of a hundred devices must be done, Soak for how long.
	Success int    `json:"success,omitempty"`
	Soak    string `json:"soak,omitempty"`
}

// RolloutSilence says what becomes of devices that are not heard of: Rule is
// "wait", "ignore" or "fail".
type RolloutSilence struct {
	Rule  string `json:"rule,omitempty"`
	After string `json:"after,omitempty"`
}

// RolloutRetry says which failures are tried again.
type RolloutRetry struct {
	Reasons    []string `json:"reasons,omitempty"`
	Times      int      `json:"times,omitempty"`
	BackOff    string   `json:"back_off,omitempty"`
	MaxBackOff string   `json:"max_back_off,omitempty"`
}

// Standings count devices by how they stand.
type Standings struct {
	Waiting int `json:"waiting"`
	Granted int `json:"granted"`
	Began   int `json:"began"`
	Done    int `json:"done"`
	Had     int `json:"had"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	Silent  int `json:"silent"`
}

// RolloutCounts are those of one wave.
type RolloutCounts struct {
	Standings
	// Opened is when it opened; zero if it has not.
	Opened time.Time `json:"opened,omitzero"`
	// Acknowledged are failures that somebody has seen and resumed after.
	Acknowledged int `json:"forgiven,omitempty"`
}

// RolloutChecked is the last answer of the external check.
type RolloutChecked struct {
	At     time.Time `json:"at"`
	Answer string    `json:"answer"`
}

// RolloutLinks are the rollout that one takes back, and the one that takes it back.
type RolloutLinks struct {
	Undoes   string `json:"undoes,omitempty"`
	UndoneBy string `json:"undone_by,omitempty"`
}

// Replacement is a load that took the place of another.
type Replacement struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// RolloutChange makes or changes a draft; nil fields stay as they are.
type RolloutChange struct {
	// Load and Release: one of them.
	Load    *string        `json:"load,omitempty"`
	Release *string        `json:"release,omitempty"`
	Target  *RolloutTarget `json:"target,omitempty"`
	// Check is the URL of the external check, "" for none.
	Check *string      `json:"check,omitempty"`
	Plan  *RolloutPlan `json:"plan,omitempty"`
}

// RolloutDraft is a rollout that was made or changed. CheckSecret signs the
// questions to its external check, and is shown when that is named, once.
type RolloutDraft struct {
	Rollout
	CheckSecret string `json:"check_secret,omitempty"`
}

// RolloutPreview is what a draft would do if it were started now.
type RolloutPreview struct {
	// Sites say what it takes at each, all waves together.
	Sites []SitePlan `json:"sites"`
	Reach Reach      `json:"reach"`
	// Had counts devices that run the load already.
	Had     int            `json:"had"`
	LeftOut map[string]int `json:"left_out"`
	Waves   []WavePreview  `json:"waves"`
	// Refused is why it would not start, "" if it would.
	Refused string `json:"refused"`
}

// WavePreview is a wave of it.
type WavePreview struct {
	Devices int            `json:"devices"`
	Had     int            `json:"had"`
	Sites   map[string]int `json:"sites"`
}

// RolloutOrder is what some orders need.
type RolloutOrder struct {
	// Why of pause and abort.
	Why string `json:"why,omitempty"`
	// ID and Plan are those of the rollout that roll-back makes.
	ID   string       `json:"id,omitempty"`
	Plan *RolloutPlan `json:"plan,omitempty"`
	// From and To are the loads of replace.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Devices are those of retry and skip; retry without any is of all that failed,
	// or that did so for a Reason.
	Devices []string `json:"devices,omitempty"`
	Reason  string   `json:"reason,omitempty"`
}

// RolloutDone says what an order did, or would do.
type RolloutDone struct {
	DryRun  bool           `json:"dry_run"`
	Reach   Reach          `json:"reach"`
	LeftOut map[string]int `json:"left_out"`
	Rollout Rollout        `json:"rollout"`
	// Other is the rollout that roll-back has made.
	Other *Rollout `json:"other,omitempty"`
}

// RolloutDevice is how a device stands in a rollout.
type RolloutDevice struct {
	Device string `json:"device"`
	Site   string `json:"site"`
	// Wave that it belongs to, from 0.
	Wave int `json:"wave"`
	// Load that it is to run in the end, and the one that it Ran before.
	Load string `json:"load"`
	Ran  string `json:"ran,omitempty"`
	// Standing is "waiting", "granted", "began", "done", "had", "failed",
	// "skipped" or "silent", with the reason.
	Standing string    `json:"standing"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since"`
	Era      int       `json:"era,omitempty"`
	// Step is the load of the last grant, Try its number; it may be downloaded and
	// activated in these times.
	Step     string      `json:"step,omitempty"`
	Try      int         `json:"try,omitempty"`
	Download RolloutSpan `json:"download,omitzero"`
	Activate RolloutSpan `json:"activate,omitzero"`
	Counted  int         `json:"counted,omitempty"`
	Failures int         `json:"failures,omitempty"`
	Steps    int         `json:"steps,omitempty"`
	First    time.Time   `json:"first,omitzero"`
	After    time.Time   `json:"after,omitzero"`
	Bad      []string    `json:"bad,omitempty"`
	Due      time.Time   `json:"due,omitzero"`
}

// RolloutSpan is the time from From up to, not including, Until.
type RolloutSpan struct {
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

const rolloutsPath = "/rollouts"

// Rollout returns a rollout and how it goes.
func (c *Client) Rollout(ctx context.Context, id string) (r Rollout, err error) {
	err = c.get(ctx, at(rolloutsPath, id), nil, &r)
	return r, err
}

// CreateRollout makes a draft; no device is touched.
func (c *Client) CreateRollout(ctx context.Context, id string, change RolloutChange) (r RolloutDraft, err error) {
	in := struct {
		ID string `json:"id"`
		RolloutChange
	}{id, change}
	err = c.write(ctx, http.MethodPost, rolloutsPath, AnyVersion, in, &r)
	return r, err
}

// UpdateRollout changes a draft.
func (c *Client) UpdateRollout(ctx context.Context, id string, change RolloutChange, v Version) (r RolloutDraft,
	err error) {
	err = c.write(ctx, http.MethodPatch, at(rolloutsPath, id), v, change, &r)
	return r, err
}

// PlanRollout says what a draft would do if it were started now.
func (c *Client) PlanRollout(ctx context.Context, id string) (p RolloutPreview, err error) {
	err = c.get(ctx, at(rolloutsPath, id)+"/plan", nil, &p)
	return p, err
}

// RolloutDevices lists the devices of a rollout.
func (c *Client) RolloutDevices(id string) Lister[RolloutDevice] {
	return Lister[RolloutDevice]{c, at(rolloutsPath, id) + "/devices", true}
}

// OrderRollout gives an order: "start", "approve", "next", "pause", "resume",
// "abort", "roll-back", "replace", "retry" or "skip". A dry run is refused as the
// order would be, and changes nothing.
func (c *Client) OrderRollout(ctx context.Context, id, verb string, o RolloutOrder, v Version,
	dryRun bool) (out RolloutDone, err error) {
	r := request{method: http.MethodPost, path: at(rolloutsPath, id, verb), version: v}
	if dryRun {
		r.query = url.Values{"dry_run": {"true"}}
	}
	err = c.writeTo(ctx, r, o, &out)
	return out, err
}
