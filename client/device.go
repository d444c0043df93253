package client

import (
	"context"
	"net/http"
	"time"

	"github.com/peerload/peerload/report"
)

// Device is one device.
type Device struct {
	Meta
	// Name is SEP and the MAC address as 12 upper-case hexadecimal digits.
	// Calls accept any spelling of it, or the MAC address.
	Name        string `json:"name"`
	Description string `json:"description"`
	// Model as the model table writes it, or as the device reports it if the
	// table has no such model.
	Model string `json:"model"`
	// Profile is the common profile's name, "" for none.
	Profile string `json:"profile"`
	// Site is the site that it was given, "" for none: it belongs then to
	// State.Site.
	Site string `json:"site"`
	// Registration is how it became known: "administrator", "auto-registered" or
	// "enrolled".
	Registration string `json:"origin"`
	// Settings and Load at the level of the device.
	Settings map[string]string `json:"settings"`
	Load     Assignment        `json:"load"`
	// FileSets that are assigned at the level of the device.
	FileSets []string `json:"file_sets,omitempty"`
	// State is the latest known state, from Get and List. It is nil if the
	// device has never asked or reported, and in the results of Create and
	// Update.
	State *DeviceState `json:"state,omitempty"`
}

// DeviceState is the latest known state of a device.
type DeviceState struct {
	Meta
	Device string `json:"device"`
	// Last is the last report, without its Files and Failures.
	Last report.Device `json:"last"`
	// From is the address that the last report came from.
	From string `json:"from"`
	// Site is the one whose network holds From, "" if none does.
	Site string `json:"site,omitempty"`
	// LastSeen is when the device was last heard of, Reported when it last
	// reported, zero if never, and Since when it entered its state.
	LastSeen time.Time `json:"last_seen,omitzero"`
	Reported time.Time `json:"reported,omitzero"`
	Since    time.Time `json:"since,omitzero"`
	// Asked is when somebody last fetched the device's provisioning file, and
	// AskedFrom from which address. Anybody may: it is no sign of life.
	Asked     time.Time `json:"asked,omitzero"`
	AskedFrom string    `json:"asked_from,omitempty"`
	// Files has the last final report of each file, the latest first; Failures
	// has the last failures, with the time when the controller heard of them.
	Files    []report.Final `json:"files"`
	Failures []struct {
		At time.Time `json:"at"`
		report.Failure
	} `json:"failures"`
	// Traffic is the sum of all that was ever reported.
	Traffic Traffic `json:"traffic"`
}

// Traffic counts bytes by where they came from and where they went.
type Traffic struct {
	FromOrigin int64 `json:"from_origin"`
	FromPeers  int64 `json:"from_peers"`
	FromCache  int64 `json:"from_cache"`
	ToPeers    int64 `json:"to_peers"`
}

// DeviceChange changes a device; nil fields stay as they are. A new device
// needs a model.
type DeviceChange struct {
	Description *string `json:"description,omitempty"`
	Model       *string `json:"model,omitempty"`
	// Profile "" takes the device out of its profile.
	Profile *string `json:"profile,omitempty"`
	Site    *string `json:"site,omitempty"`
	// Settings at the level of the device.
	Settings SettingsChange `json:"settings,omitzero"`
	// Load or Release to assign at the level of the device; "" assigns none.
	Load    *string `json:"load,omitempty"`
	Release *string `json:"release,omitempty"`
}

// BulkRow is one device of a bulk write.
type BulkRow struct {
	Device string `json:"device"`
	// Create creates the device if it is not known; the change must then name
	// its model.
	Create bool         `json:"create,omitempty"`
	Change DeviceChange `json:"change"`
}

// BulkResult says what became of one row.
type BulkResult struct {
	// Row counts from 0.
	Row    int    `json:"row"`
	Device string `json:"device"`
	// OK says that the row was written, read back, and found as asked.
	OK bool `json:"ok"`
	// Created says that the device was not known before.
	Created bool `json:"created,omitempty"`
	// Error is why the row was not written, or how what was read back differs.
	Error string `json:"error,omitempty"`
	// Stored, Settings and Load are the device, its effective values and its
	// load as they were read back.
	Stored   *Device            `json:"stored,omitempty"`
	Settings []EffectiveSetting `json:"settings,omitempty"`
	Load     *LoadAnswer        `json:"load,omitempty"`
}

// Bulk writes devices one by one, at most 10,000 per call, and reads each back.
// A row that fails does not stop the others.
func (c *Client) Bulk(ctx context.Context, rows []BulkRow) ([]BulkResult, error) {
	in := struct {
		Rows []BulkRow `json:"rows"`
	}{rows}
	var out struct {
		Results []BulkResult `json:"results"`
	}
	err := c.write(ctx, http.MethodPost, "/bulk", AnyVersion, in, &out)
	return out.Results, err
}

// Desired is what a device should be and do now, and why.
type Desired struct {
	Device Device `json:"device"`
	// Model is the row of the device's model; Known is false if no table has it.
	Model ModelRow `json:"model"`
	Known bool     `json:"known"`
	// Group of models that share with each other.
	Group string `json:"group"`
	// Levels are what each level sets, as provisioning files say it.
	Levels struct {
		Model      map[string]string `json:"model,omitempty"`
		Enterprise map[string]string `json:"enterprise"`
		Profile    map[string]string `json:"profile"`
		Device     map[string]string `json:"device"`
	} `json:"levels"`
	// Settings are all settings.
	Settings []EffectiveSetting `json:"settings"`
	Load     LoadAnswer         `json:"load"`
	// FileSets are those that it is to have, in the order of their directories.
	FileSets []FileSetAnswer `json:"file_sets"`
	// LoadInfo is the load, nil if there is none.
	LoadInfo *Load `json:"load_info,omitempty"`
}

// Desired returns what a device should be and do.
func (c *Client) Desired(ctx context.Context, device string) (d Desired, err error) {
	err = c.get(ctx, at("/devices", device)+"/desired", nil, &d)
	return d, err
}

// ResetIdentity deletes a device's secret: it must enrol again.
func (c *Client) ResetIdentity(ctx context.Context, device string) error {
	return c.write(ctx, http.MethodPost, at("/devices", device)+"/reset-identity", AnyVersion, nil, nil)
}
