package client

import (
	"context"
	"net/http"
)

// Target is where settings and loads are assigned.
type Target struct {
	// Level is "enterprise", "model" (loads only), "profile" or "device".
	Level string `json:"level"`
	// Name of the model, profile or device; "" for the enterprise.
	Name string `json:"name"`
}

// path returns the path of the level in the API. An error is Invalid.
func (t Target) path() (string, error) {
	switch t.Level {
	case "enterprise":
		return "/enterprise", nil
	case "model", "profile", "device":
		return at("/"+t.Level+"s", t.Name), nil
	}
	return "", invalid("there is no level " + t.Level)
}

// settingsPath returns the path of the level's settings in the API. An error is
// Invalid.
func (t Target) settingsPath() (string, error) {
	path, err := t.path()
	if err == nil && t.Level == "model" {
		err = invalid("a model has no settings, only defaults: see Client.Model")
	}
	return path + "/settings", err
}

// invalid returns the error of a request that need not be sent.
func invalid(detail string) error {
	return &Error{Status: http.StatusUnprocessableEntity, Kind: Invalid, Detail: detail}
}

// SettingsChange changes the settings of one level: Set gives values, Unset
// removes them, which leaves these settings to the other levels. The names of
// all settings and their values are listed in docs/ADMIN.md, and by
// Client.Settings.
type SettingsChange struct {
	Set   map[string]string `json:"set,omitempty"`
	Unset []string          `json:"unset,omitempty"`
}

// LevelSettings are the settings of one level.
type LevelSettings struct {
	Target  Target  `json:"target"`
	Version Version `json:"version"`
	// Settings are all settings, set or not.
	Settings []LevelSetting `json:"settings"`
}

// LevelSetting is one setting at one level.
type LevelSetting struct {
	Name string `json:"name"`
	// Kind of value, and its choices if there is a fixed list.
	Kind    string   `json:"kind"`
	Choices []string `json:"choices,omitempty"`
	// Label and Help for people, in English and Japanese.
	Label   string `json:"label"`
	LabelJA string `json:"label_ja"`
	Help    string `json:"help"`
	HelpJA  string `json:"help_ja"`
	// Value at this level, nil if it is unset there.
	Value *string `json:"value"`
	// Effective is the answer for a device, without labels and element; nil at
	// other levels.
	Effective *EffectiveSetting `json:"effective,omitempty"`
}

// EffectiveSetting is the effective value of a setting, and why.
type EffectiveSetting struct {
	Setting string `json:"setting"`
	// Level that the value comes from: "default" (the setting's own), "model",
	// "enterprise", "profile" or "device".
	Level string `json:"level"`
	Value string `json:"value"`
	// Others are what the other levels say, the strongest first.
	Others []struct {
		Level string `json:"level"`
		Value string `json:"value"`
	} `json:"others"`
	// Reason explains the value if the level alone does not, "" otherwise.
	Reason  string `json:"reason,omitempty"`
	Label   string `json:"label"`
	LabelJA string `json:"label_ja"`
	// Element of the setting in provisioning files.
	Element string `json:"element"`
}

// Settings returns the settings of a level: the enterprise, a profile, or a
// device, the last with effective values.
func (c *Client) Settings(ctx context.Context, t Target) (s LevelSettings, err error) {
	path, err := t.settingsPath()
	if err != nil {
		return s, err
	}
	err = c.get(ctx, path, nil, &s)
	return s, err
}

// ChangeSettings changes the settings of a level and returns them.
func (c *Client) ChangeSettings(ctx context.Context, t Target, in SettingsChange, v Version) (LevelSettings, error) {
	var s LevelSettings
	path, err := t.settingsPath()
	if err != nil {
		return s, err
	}
	err = c.write(ctx, http.MethodPatch, path, v, in, &s)
	return s, err
}

// Profile is a common profile: settings and a load for many devices.
type Profile struct {
	Meta
	Name        string            `json:"name"`
	Description string            `json:"description"`
	Settings    map[string]string `json:"settings"`
	Load        Assignment        `json:"load"`
	FileSets    []string          `json:"file_sets,omitempty"`
}

// ProfileChange changes a profile; nil fields stay as they are.
type ProfileChange struct {
	Description *string        `json:"description,omitempty"`
	Settings    SettingsChange `json:"settings,omitzero"`
}

// Enterprise has what applies to all devices, and the controller's own
// switches.
type Enterprise struct {
	Meta
	Settings map[string]string `json:"settings"`
	// Load is the default load of devices to which nothing else assigns one.
	Load     Assignment `json:"load"`
	FileSets []string   `json:"file_sets,omitempty"`
	// AutoRegistration lets unknown devices that ask for provisioning become
	// known; RegisterProfile is the profile that they get, "" for none.
	AutoRegistration bool   `json:"auto_registration"`
	RegisterProfile  string `json:"register_profile"`
}

// EnterpriseChange changes the switches; nil fields stay as they are.
type EnterpriseChange struct {
	AutoRegistration *bool   `json:"auto_registration,omitempty"`
	RegisterProfile  *string `json:"register_profile,omitempty"`
}

// Enterprise returns what applies to all devices, and the switches.
func (c *Client) Enterprise(ctx context.Context) (e Enterprise, err error) {
	err = c.get(ctx, "/enterprise", nil, &e)
	return e, err
}

// UpdateEnterprise changes the switches.
func (c *Client) UpdateEnterprise(ctx context.Context, change EnterpriseChange, v Version) (e Enterprise, err error) {
	err = c.write(ctx, http.MethodPatch, "/enterprise", v, change, &e)
	return e, err
}

// ModelRow is a row of the model table.
type ModelRow struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	// Provision is the name in provisioning files, "" for Name itself, and
	// TypeNumber that of the model's element in those for unknown phones.
	Provision  string `json:"provision,omitempty"`
	TypeNumber int    `json:"type_number,omitempty"`
	// Family of the model, for people.
	Family string `json:"family"`
	// CanShare says whether the model can take part in a hierarchy, and Group
	// names the models that form hierarchies together, "" for this one alone.
	CanShare bool   `json:"can_share"`
	Group    string `json:"group,omitempty"`
	// Defaults are the values of settings that no level sets.
	Defaults map[string]string `json:"defaults,omitempty"`
	// DefaultLoad is the load of devices to which nothing else assigns one.
	DefaultLoad string `json:"default_load,omitempty"`
	// Lacks are the names of settings that the model does not have.
	Lacks []string `json:"lacks,omitempty"`
}

// Model is a model with all its settings.
type Model struct {
	ModelRow
	// GroupName is the effective group.
	GroupName string `json:"group_name"`
	// Known is false for a model that no table has; Custom is true if the row is
	// not the built-in one.
	Known  bool `json:"known"`
	Custom bool `json:"custom"`
	// Load is the default load of the model.
	Load     Assignment     `json:"load"`
	Version  Version        `json:"version"`
	Settings []ModelSetting `json:"settings"`
}

// ModelSetting is one setting as a model has it.
type ModelSetting struct {
	Name    string `json:"name"`
	Default string `json:"default"`
	// Lacking is why the setting has no effect on the model, "" if it has one.
	Lacking string `json:"lacking,omitempty"`
}

// Model returns a model in any spelling, even one that no table has.
func (c *Client) Model(ctx context.Context, name string) (m Model, err error) {
	err = c.get(ctx, at("/models", name), nil, &m)
	return m, err
}

// PutModels adds or replaces rows of the model table, all or none, and returns
// the whole table.
func (c *Client) PutModels(ctx context.Context, rows []ModelRow) ([]Model, error) {
	in := struct {
		Models []ModelRow `json:"models"`
	}{rows}
	var out page[Model]
	err := c.write(ctx, http.MethodPost, "/models", AnyVersion, in, &out)
	return out.Items, err
}

// DeleteModel removes an added row, or brings the built-in one back.
func (c *Client) DeleteModel(ctx context.Context, name string) error {
	return c.write(ctx, http.MethodDelete, at("/models", name), AnyVersion, nil, nil)
}
