package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrSetting says that a setting or its value is not valid.
var ErrSetting = errors.New("bad setting")

// Level is where a setting can be set. A later level wins.
type Level int

// The levels, the weakest first (FACTS section 1, point 3).
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

// String names the level as people see it.
func (l Level) String() string {
	names := [...]string{"default", "model", "enterprise", "profile", "device"}
	if l < 0 || int(l) >= len(names) {
		return fmt.Sprintf("level %d", int(l))
	}
	return names[l]
}

// Setting is one thing that can be set. All settings are in Settings, and
// what is known of one stands in its row.
type Setting struct {
	// Name as files and the API write it.
	Name string
	// Label for people, in English.
	Label string
	// Default where nothing else sets it.
	Default string
	// Check refuses values that mean nothing.
	Check func(value string) error
	// NeedsSharing says that the setting has no meaning for a model that
	// cannot share; there its value in effect is Default whatever is set.
	NeedsSharing bool
}

// The names of settings.
const (
	// PeerSharing turns sharing on for a device. It is off by default, as in
	// the original; "on" and "off" are its values.
	PeerSharing = "peer-sharing"
)

// The values of a switch.
const (
	On  = "on"
	Off = "off"
)

// Settings returns every setting there is.
func Settings() []Setting {
	return []Setting{
		{Name: PeerSharing, Label: "Peer firmware sharing", Default: Off, Check: checkSwitch, NeedsSharing: true},
	}
}

func checkSwitch(v string) error {
	if v != On && v != Off {
		return fmt.Errorf("%q is neither %s nor %s", v, On, Off)
	}
	return nil
}

// setting finds a setting by its name.
func setting(name string) (Setting, error) {
	for _, s := range Settings() {
		if s.Name == name {
			return s, nil
		}
	}
	return Setting{}, fmt.Errorf("%w: there is no setting %q", ErrSetting, name)
}

// Values are what one level sets, by the settings' names. What is not in it is
// unset: there is no tick box beside a value.
type Values map[string]string

// Validate refuses unknown settings and values that mean nothing. Errors match
// ErrSetting.
func (v Values) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		s, err := setting(name)
		if err != nil {
			return err
		}
		if err := s.Check(v[name]); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrSetting, name, err)
		}
	}
	return nil
}

// Levels are the values of the three levels that an administrator sets.
type Levels struct {
	Enterprise, Profile, Device Values
}

// At is a value and the level that says so.
type At struct {
	Level Level
	Value string
}

// Answer is the value in effect, and why.
type Answer struct {
	// Setting asked for.
	Setting string
	// Value in effect and Level it comes from.
	At
	// Others are what the other levels say, the strongest first.
	Others []At
	// Reason explains where the level alone does not, "" otherwise.
	Reason string
}

// Effective answers which value holds for a device of that model, and why:
// the device's own, else its profile's, else the enterprise's, else the
// model's, else the setting's default. Errors match ErrSetting, also when a
// level holds a value that means nothing: it is not passed over in silence.
func Effective(name string, m Model, l Levels) (Answer, error) {
	s, err := setting(name)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Setting: name}
	said := []At{{LevelDefault, s.Default}}
	for _, from := range []struct {
		level  Level
		values Values
	}{{LevelModel, m.Defaults}, {LevelEnterprise, l.Enterprise}, {LevelProfile, l.Profile}, {LevelDevice, l.Device}} {
		v, ok := from.values[name]
		if !ok {
			continue
		}
		if err := s.Check(v); err != nil {
			return Answer{}, fmt.Errorf("%w: %s at level %s: %w", ErrSetting, name, from.level, err)
		}
		said = append(said, At{from.level, v})
	}
	slices.Reverse(said)
	if s.NeedsSharing && !m.CanShare {
		a.At = At{LevelModel, s.Default}
		a.Reason = fmt.Sprintf("model %s cannot share", m.Name)
		a.Others = slices.DeleteFunc(said, func(x At) bool { return x.Level <= LevelModel })
		return a, nil
	}
	a.At, a.Others = said[0], said[1:]
	return a, nil
}
