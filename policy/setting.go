package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	// LoadServer is where loads are fetched, as HOST, HOST:PORT, HOST/PATH or a
	// URL. "" stands for the server that provisions the device.
	LoadServer = "load-server"
	// LogServer takes the device's events as syslog over UDP, as HOST or
	// HOST:PORT (FACTS section 2). "" stands for none.
	LogServer = "log-server"
	// WANLimit is the most bytes a second that a device downloads from servers;
	// suffixes k, M and G are powers of 1,024. "0" stands for no limit.
	WANLimit = "wan-limit"
	// LANLimit is the most bytes a second that a device sends to its peers,
	// written likewise.
	LANLimit = "lan-limit"
	// Timing is the profile of the protocol's times: "lan", or "classic" as the
	// original's.
	Timing = "timing"
	// Retention is the most bytes of loads that a device keeps, written
	// likewise. "0" stands for no limit.
	Retention = "retention"
	// Unsigned allows classic loads, which nothing protects: "on" and "off".
	Unsigned = "unsigned"
)

// The values of Timing.
const (
	TimingLAN     = "lan"
	TimingClassic = "classic"
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
		{Name: LoadServer, Label: "Load server", Check: checkAddress},
		{Name: LogServer, Label: "Log server", Check: checkHostPort},
		{Name: WANLimit, Label: "WAN limit", Default: "0", Check: checkSize},
		{Name: LANLimit, Label: "LAN limit", Default: "0", Check: checkSize, NeedsSharing: true},
		{Name: Timing, Label: "Timing profile", Default: TimingLAN, Check: checkTiming, NeedsSharing: true},
		{Name: Retention, Label: "Disk for loads", Default: "0", Check: checkSize},
		{Name: Unsigned, Label: "Unsigned loads allowed", Default: Off, Check: checkSwitch},
	}
}

func checkSwitch(v string) error {
	if v != On && v != Off {
		return fmt.Errorf("%q is neither %s nor %s", v, On, Off)
	}
	return nil
}

func checkTiming(v string) error {
	if v != TimingLAN && v != TimingClassic {
		return fmt.Errorf("%q is neither %s nor %s", v, TimingLAN, TimingClassic)
	}
	return nil
}

// maxAddress bounds the text of a server's address, in bytes.
const maxAddress = 1000

// checkAddress takes HOST, HOST:PORT, HOST/PATH or a URL that loads can be
// fetched from. Whether it answers is found out by whoever asks it.
func checkAddress(v string) error {
	scheme, rest, ok := strings.Cut(v, "://")
	if !ok {
		scheme, rest = "http", v
	}
	if v != "" && scheme != "http" && scheme != "https" && scheme != "tftp" {
		return fmt.Errorf("%q: the scheme is http, https or tftp", v)
	}
	host, _, _ := strings.Cut(rest, "/")
	if v != "" && host == "" {
		return fmt.Errorf("%q names no host", v)
	}
	return checkLine(v)
}

// checkHostPort takes HOST or HOST:PORT.
func checkHostPort(v string) error {
	if strings.ContainsAny(v, "/@?#") {
		return fmt.Errorf("%q is not HOST or HOST:PORT", v)
	}
	if i := strings.LastIndexByte(v, ':'); i >= 0 && !strings.HasSuffix(v, "]") {
		if n, err := strconv.ParseUint(v[i+1:], 10, 16); i == 0 || err != nil || n == 0 {
			return fmt.Errorf("%q is not HOST or HOST:PORT", v)
		}
	}
	return checkLine(v)
}

func checkLine(v string) error {
	if len(v) > maxAddress {
		return fmt.Errorf("%d bytes are more than %d", len(v), maxAddress)
	}
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q holds a space or a control character", v)
	}
	return nil
}

func checkSize(v string) error {
	_, err := ParseSize(v)
	return err
}

// ParseSize reads a number of bytes, 0 to 2^62, with the suffixes k, M and G
// in either case, which are powers of 1,024.
func ParseSize(v string) (int64, error) {
	digits, unit := v, int64(1)
	if n := len(v); n > 0 {
		switch v[n-1] {
		case 'k', 'K':
			unit = 1 << 10
		case 'm', 'M':
			unit = 1 << 20
		case 'g', 'G':
			unit = 1 << 30
		}
		if unit > 1 {
			digits = v[:n-1]
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit || digits[0] == '+' || digits[0] == '-' {
		return 0, fmt.Errorf("%q is not a number of bytes such as 200k, 2M or 0", v)
	}
	return n * unit, nil
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
