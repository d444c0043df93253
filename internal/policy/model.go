package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrModel says that a model table is not valid.
var ErrModel = errors.New("bad model table")

// MaxModelText bounds each text of a model's row, in bytes.
const MaxModelText = 180

// Family is a line of models that are built alike.
type Family string

// The families of the built-in table.
const (
	// SecondGeneration phones cannot share (docs/ORIGINAL.md, "What it does").
	SecondGeneration Family = "second-generation phone"
	// ThirdGeneration phones and their successors can.
	ThirdGeneration Family = "third-generation phone"
	// OEM devices are made by others and cannot share.
	OEM Family = "OEM device"
	// Generic is any Linux device of an architecture.
	Generic Family = "Linux device"
	// Unknown is the family of a model that no table has.
	Unknown Family = "unknown"
)

// Model is one row of the model table. Everything that depends on the model is
// in its row.
type Model struct {
	// Name as this program writes it, for example "CP-7961G". Unique.
	Name string
	// Aliases are other names of the same model, unique in the table. Case,
	// and the words that Lookup ignores, make no difference.
	Aliases []string
	// Provision is the name in provisioning files, "" for Name itself.
	Provision string
	// TypeNumber is the number of the model's element in XMLDefault.cnf.xml,
	// as in loadInformation115; 0 for none.
	TypeNumber int
	// Family of the model, for people.
	Family Family
	// CanShare says whether the model can take part in a hierarchy. One that
	// cannot downloads from the server, as in a classic upgrade.
	CanShare bool
	// Group names the models that form hierarchies together. "" means the
	// model's own name: one model, one group, as in Cisco's original.
	Group string
	// Defaults are the values of settings that no level sets. A setting that is
	// missing here has its own default.
	Defaults Values
	// DefaultLoad is the load of devices to which nothing else assigns one, ""
	// for none.
	DefaultLoad string
	// Lacks are the names of settings that the model does not have. All others
	// it has.
	Lacks []string
}

// GroupName returns the group.
func (m Model) GroupName() string {
	if m.Group != "" {
		return m.Group
	}
	return m.Name
}

// ProvisionName returns the name in provisioning files.
func (m Model) ProvisionName() string {
	if m.Provision != "" {
		return m.Provision
	}
	return m.Name
}

// Lacking returns why a setting has no effect on the model, "" if it has one.
func (m Model) Lacking(s Setting) string {
	switch {
	case s.NeedsSharing && !m.CanShare:
		return fmt.Sprintf("model %s cannot share", m.Name)
	case slices.Contains(m.Lacks, s.Name):
		return fmt.Sprintf("model %s does not have this setting", m.Name)
	}
	return ""
}

// Known reports whether a table has the model.
func (m Model) Known() bool { return m.Family != Unknown }

// builtin is the table of docs/ORIGINAL.md, "What it does", and the generic
// models. Provisioning and manifests write the number with and without its
// suffixes.
//
// Of the type numbers, Cisco's documents that we have show only that of the
// 7941. The others are those that open provisioning tools for these phones
// write; they have not been tried on a phone. A wrong one can be corrected by
// replacing the row.
func builtin() []Model {
	phone := func(family Family, can bool, number int, name, digits string, more ...string) Model {
		return Model{Name: name, Aliases: append([]string{digits}, more...), Provision: "Cisco IP Phone " + digits,
			TypeNumber: number, Family: family, CanShare: can}
	}
	able := func(number int, name, digits string, more ...string) Model {
		return phone(ThirdGeneration, true, number, name, digits, more...)
	}
	old := func(number int, name, digits string) Model {
		return phone(SecondGeneration, false, number, name, digits)
	}
	generic := func(name string) Model { return Model{Name: name, Family: Generic, CanShare: true} }
	return []Model{
		able(369, "CP-7906G", "7906"), able(307, "CP-7911G", "7911"), able(348, "CP-7931G", "7931"),
		able(115, "CP-7941G", "7941"), able(309, "CP-7941G-GE", "7941G-GE", "7941-GE", "7941GE", "7941G GE"),
		able(30018, "CP-7961G", "7961"), able(308, "CP-7961G-GE", "7961G-GE", "7961-GE", "7961GE", "7961G GE"),
		able(30006, "CP-7970G", "7970"), able(119, "CP-7971G-GE", "7971", "7971G", "7971-GE", "7971GE", "7971G GE"),
		able(434, "CP-7942G", "7942"), able(435, "CP-7945G", "7945"), able(404, "CP-7962G", "7962"),
		able(436, "CP-7965G", "7965"), able(437, "CP-7975G", "7975"),
		old(8, "CP-7940G", "7940"), old(7, "CP-7960G", "7960"),
		{Name: "OEM", Family: OEM},
		generic("linux-arm"), generic("linux-arm64"), generic("linux-mipsle"), generic("linux-amd64"),
	}
}

// Table is a model table. It does not change and may be shared.
type Table struct {
	models []Model
	byKey  map[string]int
}

// Builtin returns the table that this program ships with. Tables do not change.
func Builtin() *Table {
	t, err := new(Table).Extend(builtin())
	if err != nil {
		panic(err) // a test builds the table, so it is valid at run time
	}
	return t
}

// Extend returns a table with further models. A model whose name is in the
// table takes the place of that row. Errors match ErrModel.
func (t *Table) Extend(models []Model) (*Table, error) {
	if len(models) == 0 && t.byKey != nil {
		return t, nil
	}
	n := &Table{models: slices.Clone(t.models)}
	for _, m := range models {
		if i := slices.IndexFunc(n.models, func(o Model) bool { return key(o.Name) == key(m.Name) }); i >= 0 {
			n.models[i] = m
		} else {
			n.models = append(n.models, m)
		}
	}
	n.byKey = make(map[string]int)
	numbers := make(map[int]string)
	for i, m := range n.models {
		if err := m.check(); err != nil {
			return nil, err
		}
		if other, ok := numbers[m.TypeNumber]; ok && m.TypeNumber != 0 {
			return nil, fmt.Errorf("%w: type number %d is that of %s and of %s", ErrModel, m.TypeNumber, other, m.Name)
		}
		numbers[m.TypeNumber] = m.Name
		own := make(map[string]bool)
		for _, name := range append([]string{m.Name, m.ProvisionName()}, m.Aliases...) {
			k := key(name)
			if k == "" {
				return nil, fmt.Errorf("%w: model %q has an empty name", ErrModel, m.Name)
			}
			if other, ok := n.byKey[k]; ok && !own[k] {
				return nil, fmt.Errorf("%w: %q names both %s and %s", ErrModel, name, n.models[other].Name, m.Name)
			}
			own[k], n.byKey[k] = true, i
		}
	}
	return n, nil
}

// check refuses a row that is invalid by itself.
func (m Model) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: model %q %w", ErrModel, m.Name, fmt.Errorf(format, args...))
	}
	for _, text := range append([]string{m.Name, m.Provision, m.Group, string(m.Family), m.DefaultLoad}, m.Aliases...) {
		if len(text) > MaxModelText || strings.ContainsFunc(text, unicode.IsControl) || !utf8.ValidString(text) {
			return bad("has a text that is too long (over %d bytes) or not plain text", MaxModelText)
		}
	}
	if m.Family == "" || m.Family == Unknown {
		return bad("has no family")
	}
	if m.TypeNumber < 0 || m.TypeNumber > 99999 {
		return bad("has a type number outside 0 to 99999")
	}
	for _, name := range m.Lacks {
		if _, err := Lookup(name); err != nil {
			return bad("lacks: %w", err)
		}
	}
	if err := m.Defaults.Validate(); err != nil {
		return bad("has a default: %w", err)
	}
	return nil
}

// Models returns all rows.
func (t *Table) Models() []Model { return slices.Clone(t.models) }

// Lookup finds a model in any spelling: "CP-7961G", "Cisco IP Phone 7961",
// "Cisco 7961", "7961". A model that no row has is Unknown, can share, and is a
// group of its own: a new model must not wait for a table. The name of an
// unknown model is kept as given, without surrounding spaces.
func (t *Table) Lookup(name string) Model {
	if i, ok := t.byKey[key(name)]; ok {
		return t.models[i]
	}
	name = strings.TrimSpace(name)
	return Model{Name: name, Family: Unknown, CanShare: true, Group: key(name)}
}

// Group returns the group of a model: the models that share with each other.
func (t *Table) Group(name string) string {
	if name == "" {
		return ""
	}
	return t.Lookup(name).GroupName()
}

// Fits reports whether a load that is for these models is for that model,
// whichever way each is written.
func (t *Table) Fits(models []string, model string) bool {
	want := t.Lookup(model)
	return slices.ContainsFunc(models, func(m string) bool {
		have := t.Lookup(m)
		return have.Known() == want.Known() && key(have.Name) == key(want.Name)
	})
}

// key is the same for all spellings of a model's name.
func key(name string) string {
	k := strings.Join(strings.Fields(strings.ToLower(name)), " ")
	for _, ignored := range []string{"cisco ", "unified ", "ip phone ", "cp-"} {
		k = strings.TrimPrefix(k, ignored)
	}
	return k
}
