package policy

import (
	"encoding"
	"fmt"
	"maps"
	"slices"

	"github.com/peerload/peerload/internal/choice"
)

// Level is where a setting can be set. A later level wins.
type Level int

// The levels, the weakest first (docs/ORIGINAL.md, "What it does").
const (
	// LevelDefault is the setting's own default.
	LevelDefault Level = iota
	// LevelModel is the model's default, from the model table.
	LevelModel
	// LevelEnterprise holds for all devices.
	LevelEnterprise
	// LevelProfile holds for the devices of a common profile.
	LevelProfile
	// LevelDevice holds for one device.
	LevelDevice
)

var levelNames = [...]string{"default", "model", "enterprise", "profile", "device"}

// String names the level as people see it.
func (l Level) String() string {
	if l < 0 || int(l) >= len(levelNames) {
		return fmt.Sprintf("level %d", int(l))
	}
	return levelNames[l]
}

// ParseLevel reads what String writes. Errors match ErrSetting.
func ParseLevel(s string) (Level, error) {
	if i := slices.Index(levelNames[:], s); i >= 0 {
		return Level(i), nil
	}
	return 0, fmt.Errorf("%w: %w", ErrSetting, choice.Unknown("level", s, levelNames[:]))
}

var (
	_ encoding.TextMarshaler   = Level(0)
	_ encoding.TextUnmarshaler = (*Level)(nil)
)

// MarshalText implements encoding.TextMarshaler.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(b []byte) (err error) {
	*l, err = ParseLevel(string(b))
	return err
}

// Levels are the values of the three levels that an administrator sets.
type Levels struct {
	// Model has the values of the controller's model table that the caller's
	// own table lacks: a device has the table that its program came with.
	Model      Values `json:"model,omitempty"`
	Enterprise Values `json:"enterprise"`
	Profile    Values `json:"profile"`
	Device     Values `json:"device"`
}

// At is a value and the level that says so.
type At struct {
	Level Level  `json:"level"`
	Value string `json:"value"`
}

// Answer is the effective value, and why.
type Answer struct {
	// Setting asked for.
	Setting string `json:"setting"`
	// Value is the effective one, Level where it comes from.
	At
	// Others are what the other levels say, the strongest first.
	Others []At `json:"others"`
	// Reason explains the value if the level alone does not, "" otherwise.
	Reason string `json:"reason,omitempty"`
}

// Effective returns the effective value for a device of that model, and why:
// the device's own, else its profile's, else the enterprise's, else the
// model's, else the setting's default. Errors match ErrSetting. A level with an
// invalid value is an error too: it is not skipped silently.
func Effective(name string, m Model, l Levels) (Answer, error) {
	s, err := Lookup(name)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Setting: name}
	said := []At{{LevelDefault, s.Default}}
	for _, from := range []struct {
		level  Level
		values Values
	}{{LevelModel, m.defaults(l.Model)}, {LevelEnterprise, l.Enterprise}, {LevelProfile, l.Profile},
		{LevelDevice, l.Device}} {
		v, ok := from.values[name]
		if !ok {
			continue
		}
		if err := s.Check(v); err != nil {
			return Answer{}, fmt.Errorf("at level %s: %w", from.level, err)
		}
		said = append(said, At{from.level, v})
	}
	slices.Reverse(said)
	if why := m.Lacking(s); why != "" {
		a.At, a.Reason = At{LevelModel, s.Default}, why
		a.Others = slices.DeleteFunc(said, func(x At) bool { return x.Level <= LevelModel })
		return a, nil
	}
	a.At, a.Others = said[0], said[1:]
	return a, nil
}

// defaults returns the model's defaults; values of other take precedence.
func (m Model) defaults(other Values) Values {
	if len(other) == 0 {
		return m.Defaults
	}
	all := Values{}
	maps.Copy(all, m.Defaults)
	maps.Copy(all, other)
	return all
}

// EffectiveAll answers for every setting, in the order of Settings. Errors
// match ErrSetting.
func EffectiveAll(m Model, l Levels) ([]Answer, error) {
	var all []Answer
	for _, s := range settings {
		a, err := Effective(s.Name, m, l)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
