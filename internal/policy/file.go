package policy

import (
	"fmt"
	"maps"
)

// MaxModelRows bounds the rows of a file of models.
const MaxModelRows = 10_000

// ModelFile is a file of further models, decoded from TOML or JSON:
//
//	[[model]]
//	name = "Camera 1"
//	family = "camera"
//	can-share = true
//	group = "cameras"
//	[model.defaults]
//	peer-sharing = "on"
type ModelFile struct {
	Model []ModelRow `toml:"model" json:"model"`
}

// ModelRow is a row of the table as files and the API write it. The fields
// are those of Model.
type ModelRow struct {
	Name        string            `toml:"name" json:"name"`
	Aliases     []string          `toml:"aliases" json:"aliases,omitempty"`
	Provision   string            `toml:"provision" json:"provision,omitempty"`
	TypeNumber  int               `toml:"type-number" json:"type_number,omitempty"`
	Family      string            `toml:"family" json:"family"`
	CanShare    bool              `toml:"can-share" json:"can_share"`
	Group       string            `toml:"group" json:"group,omitempty"`
	Defaults    map[string]string `toml:"defaults" json:"defaults,omitempty"`
	DefaultLoad string            `toml:"default-load" json:"default_load,omitempty"`
	Lacks       []string          `toml:"lacks" json:"lacks,omitempty"`
}

// Models returns the rows of the file for Table.Extend, which checks them; the
// defaults are normalised, and admitted as what somebody sets now. Errors match
// ErrModel.
func (f ModelFile) Models() ([]Model, error) {
	if len(f.Model) > MaxModelRows {
		return nil, fmt.Errorf("%w: %d models, at most %d", ErrModel, len(f.Model), MaxModelRows)
	}
	all := make([]Model, 0, len(f.Model))
	for _, r := range f.Model {
		m, err := r.Row()
		if err != nil {
			return nil, err
		}
		if _, err := m.Defaults.Admit(); err != nil {
			return nil, fmt.Errorf("%w: model %q: %w", ErrModel, r.Name, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// Row returns the row for Table.Extend. Errors match ErrModel.
func (r ModelRow) Row() (Model, error) {
	defaults, err := Values(r.Defaults).Normalise()
	if err != nil {
		return Model{}, fmt.Errorf("%w: model %q: %w", ErrModel, r.Name, err)
	}
	if len(defaults) == 0 {
		defaults = nil
	}
	return Model{Name: r.Name, Aliases: r.Aliases, Provision: r.Provision, TypeNumber: r.TypeNumber,
		Family:   Family(r.Family),
		CanShare: r.CanShare, Group: r.Group, Defaults: defaults, DefaultLoad: r.DefaultLoad, Lacks: r.Lacks}, nil
}

// ToRow returns the model as files and the API write it.
func ToRow(m Model) ModelRow {
	return ModelRow{Name: m.Name, Aliases: m.Aliases, Provision: m.Provision, TypeNumber: m.TypeNumber,
		Family:   string(m.Family),
		CanShare: m.CanShare, Group: m.Group, Defaults: maps.Clone(m.Defaults), DefaultLoad: m.DefaultLoad, Lacks: m.Lacks}
}
