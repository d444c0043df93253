package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/peerload/peerload/report"
)

// HistoryEntry is one thing that happened to a device.
type HistoryEntry struct {
	// ID orders entries by time; later ones are greater.
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Device string    `json:"device"`
	// Kind is "state", "load", "file", "file-set", "failure", "restart", "address" or
	// "known".
	Kind string `json:"kind"`
	// Old and New are the values before and after, if something changed.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Load and File are what the entry is about.
	Load    string        `json:"load,omitempty"`
	File    string        `json:"file,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Message string        `json:"message,omitempty"`
	Final   *report.Final `json:"final,omitempty"`
}

// AuditEntry says who changed what, when and from where.
type AuditEntry struct {
	// ID orders entries by time; later ones are greater.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Actor is who did it, Kind the kind of actor, From the address.
	Actor string `json:"actor"`
	Kind  string `json:"kind"`
	From  string `json:"from"`
	// PartOf is the id of the entry that this one is a part of, "" for none.
	PartOf string `json:"part_of,omitempty"`
	// Action is what was done: "device.create", "settings.change" …
	Action string `json:"action"`
	// Target is what it was done to: "device SEP001122334455" …
	Target string `json:"target"`
	// Changes are the fields that changed; nil stands for unset.
	Changes []FieldChange `json:"changes,omitempty"`
}

// FieldChange is the old and the new value of a field; nil stands for unset.
type FieldChange struct {
	Field string  `json:"field"`
	Old   *string `json:"old"`
	New   *string `json:"new"`
}

// Overview counts devices and bytes.
type Overview struct {
	Devices int `json:"devices"`
	// ByState, ByModel, ByActive (the load that runs) and ByRole count devices.
	ByState  map[string]int `json:"by_state"`
	ByModel  map[string]int `json:"by_model"`
	ByActive map[string]int `json:"by_active"`
	ByRole   map[string]int `json:"by_role"`
	// DeadMessages counts messages of webhooks that were given up.
	DeadMessages int `json:"dead_messages,omitempty"`
	// BySite counts devices that belong to a site.
	BySite map[string]int `json:"by_site"`
	// Silent counts devices that were not seen for the time that was asked for.
	Silent int `json:"silent"`
	// Pending counts devices that do not run the load that they should.
	Pending int     `json:"pending"`
	Traffic Traffic `json:"traffic"`
	// DiskFree and DiskSize are bytes of the disk that the controller writes to; nil where
	// that is not known, for one site, and for whoever is limited to sites.
	DiskFree *int64 `json:"disk_free,omitempty"`
	DiskSize *int64 `json:"disk_size,omitempty"`
}

// Overview counts all devices, or those of a site if it is not "". silent is how
// long a device must have been silent to be counted as silent, in whole seconds,
// at least one.
func (c *Client) Overview(ctx context.Context, site string, silent time.Duration) (o Overview, err error) {
	q := url.Values{"silent_s": {strconv.FormatInt(int64(silent/time.Second), 10)}}
	if site != "" {
		q.Set("site", site)
	}
	err = c.get(ctx, "/overview", q, &o)
	return o, err
}

// Failure is something that a device still tells of: its last upgrade, or a file
// set, did not succeed.
type Failure struct {
	Device      string `json:"device"`
	Description string `json:"description,omitempty"`
	Model       string `json:"model"`
	// Site that the device belongs to, "" for none.
	Site string `json:"site,omitempty"`
	// Load is the load or file set, Directory that of a file set.
	Load      string `json:"load,omitempty"`
	Directory string `json:"directory,omitempty"`
	// Rollout that brought the load, "" for none.
	Rollout string `json:"rollout,omitempty"`
	// State is "failed" or "rolled-back".
	State string `json:"state"`
	// Phase is what the device was at: that of report.Failure.
	Phase string `json:"phase,omitempty"`
	// Reason is a stable code, Message the device's text.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Output has the last lines of the hook or command that failed.
	Output string `json:"output,omitempty"`
	// Since when the state holds; of a file set when it was last tried.
	Since time.Time `json:"since,omitzero"`
	// Seen is when the device last reported.
	Seen time.Time `json:"seen,omitzero"`
}

// SavingQuery says which savings are put together, and by what. Fields that are ""
// mean all.
type SavingQuery struct {
	Site, Load, Release string
	// Since and Until are months, such as "2026-11".
	Since, Until string
	// By are some of "site", "load", "release" and "month".
	By []string
}

// Savings are what sharing has saved.
type Savings struct {
	// Rows are put together as was asked. A load that is in several releases counts in
	// the row of each.
	Rows  []Saving `json:"rows"`
	Total Saving   `json:"total"`
}

// Saving is what the devices of a site, or of all, fetched.
type Saving struct {
	// Month, Site, Load and Release are what it is of, "" for none or all.
	Month   string `json:"month,omitempty"`
	Site    string `json:"site,omitempty"`
	Load    string `json:"load,omitempty"`
	Release string `json:"release,omitempty"`
	// Done counts the fetches that were complete, Failed the others.
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// FromOrigin are the bytes that came from servers, FromPeers from other devices;
	// FromCache were held before.
	FromOrigin int64 `json:"from_origin"`
	FromPeers  int64 `json:"from_peers"`
	FromCache  int64 `json:"from_cache"`
	// Classic are the bytes that would have come from servers if each device had
	// fetched by itself what it did not hold; Saved are those that did not, and
	// SavedPercent says how much of Classic that is, nil if that is nothing.
	Classic      int64 `json:"classic"`
	Saved        int64 `json:"saved"`
	SavedPercent *int  `json:"saved_percent"`
	// Last is when the last device was done, LastDevice which.
	Last       time.Time `json:"last,omitzero"`
	LastDevice string    `json:"last_device,omitempty"`
	// Fallbacks count why sources were given up, by the code of the reason.
	Fallbacks map[string]int `json:"fallbacks,omitempty"`
}

// Savings sums up what sharing has saved.
func (c *Client) Savings(ctx context.Context, q SavingQuery) (s Savings, err error) {
	v := url.Values{}
	for name, value := range map[string]string{"site": q.Site, "load": q.Load, "release": q.Release, "since": q.Since,
		"until": q.Until} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for _, by := range q.By {
		v.Add("by", by)
	}
	err = c.get(ctx, "/savings", v, &s)
	return s, err
}
