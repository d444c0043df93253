package client

import (
	"context"
	"net/http"
	"net/url"
)

// Order is a change that may touch many devices. It names where, by Target or
// Site, and what: one of Settings, Load, Release, FileSets, RollBack and Delete.
// Rows, Models, DeleteModel and Undo stand alone.
type Order struct {
	Target *Target `json:"target,omitempty"`
	// Site stands for the devices that belong to it now: each is changed at its
	// own level.
	Site     string          `json:"site,omitempty"`
	Settings *SettingsChange `json:"settings,omitempty"`
	// Load and Release to assign; "" assigns none.
	Load    *string `json:"load,omitempty"`
	Release *string `json:"release,omitempty"`
	// FileSets to assign, or to assign no more.
	FileSets *FileSetChange `json:"file_sets,omitempty"`
	// RollBack assigns what was assigned before.
	RollBack bool `json:"roll_back,omitempty"`
	// Delete removes the device that Target names.
	Delete bool `json:"delete,omitempty"`
	// Rows are written as Bulk writes them, at most 10,000.
	Rows []BulkRow `json:"rows,omitempty"`
	// Models are rows of the model table, which are added or replaced, all or none.
	Models []ModelRow `json:"models,omitempty"`
	// DeleteModel removes a row that was added, or brings the built-in one back.
	DeleteModel string `json:"delete_model,omitempty"`
	// Undo is the id of an entry of the audit log, whose changes are taken back.
	Undo string `json:"undo,omitempty"`
	// Version of what Target names that was read, 0 if it was never written: the
	// order fails with Conflict if it has another one by now. nil compares nothing.
	Version *Version `json:"version,omitempty"`
	// Shown is that of a dry run: if the order would touch something else by now,
	// it fails with Conflict, and nothing is changed. "" looks at nothing.
	Shown string `json:"shown,omitempty"`
}

// Changed says what an order has changed, or would change.
type Changed struct {
	DryRun bool `json:"dry_run"`
	// Audit is the id of the entry by which the change can be undone; "" if it
	// cannot be, as where devices were only made, or if nothing was changed.
	Audit string `json:"audit"`
	// Shown stands for what is touched, and how: see Order.
	Shown string `json:"shown"`
	// Reach counts the devices that do something else after the change, or of
	// which something else is known.
	Reach Reach `json:"reach"`
	// Assigned is what is assigned at the target of an order that assigns.
	Assigned *Assigned `json:"assigned,omitempty"`
	// Rows are the results of the rows.
	Rows []BulkResult `json:"rows,omitempty"`
	// Kept are the parts of an entry that are not taken back.
	Kept []string `json:"kept,omitempty"`
}

// Reach counts devices in all, by site and by model, and names some of them.
type Reach struct {
	Devices int            `json:"devices"`
	Sites   map[string]int `json:"sites"`
	Models  map[string]int `json:"models"`
	Some    []string       `json:"some"`
	// Steps count those that are handed another load first, by that load; Waiting
	// those that are handed none until they have reported what they run, or are
	// done with another one.
	Steps   map[string]int `json:"steps,omitempty"`
	Waiting int            `json:"waiting,omitempty"`
}

// Change carries out an order, whole or not at all; of rows, each by itself: see
// their results. A dry run is refused as the order would be, and changes nothing.
func (c *Client) Change(ctx context.Context, o Order, dryRun bool) (out Changed, err error) {
	r := request{method: http.MethodPost, path: "/changes", version: AnyVersion}
	if dryRun {
		r.query = url.Values{"dry_run": {"true"}}
	}
	err = c.writeTo(ctx, r, o, &out)
	return out, err
}
