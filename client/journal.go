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
	// BySite counts devices that belong to a site.
	BySite map[string]int `json:"by_site"`
	// Silent counts devices that were not seen for the time that was asked for.
	Silent int `json:"silent"`
	// Pending counts devices that do not run the load that they should.
	Pending int     `json:"pending"`
	Traffic Traffic `json:"traffic"`
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
