package policy

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestBuiltin has the phones of docs/ORIGINAL.md, "What it does", one by one.
func TestBuiltin(t *testing.T) {
	table := Builtin()
	groups := map[string]string{}
	for _, name := range []string{"7906", "7911", "7931", "7941", "7941G-GE", "7961", "7961G-GE", "7970", "7971", "7942",
		"7945", "7962", "7965", "7975", "linux-arm", "linux-arm64", "linux-mipsle", "linux-amd64"} {
		m := table.Lookup(name)
		if !m.Known() || !m.CanShare {
			t.Errorf("%s: %+v", name, m)
		}
		if other, ok := groups[m.GroupName()]; ok {
			t.Errorf("%s and %s are one group", name, other)
		}
		groups[m.GroupName()] = name
	}
	for _, name := range []string{"7940", "7960", "OEM"} {
		if m := table.Lookup(name); !m.Known() || m.CanShare {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if n := len(table.Models()); n != len(groups)+3 {
		t.Errorf("%d models", n)
	}
}

func TestLookup(t *testing.T) {
	table := Builtin()
	for want, names := range map[string][]string{
		"CP-7961G": {"CP-7961G", "cp-7961g", "7961G", "7961", "Cisco 7961", "Cisco IP Phone 7961",
			"Cisco Unified IP Phone 7961G", " Cisco  IP Phone  7961 "},
		"CP-7961G-GE": {"CP-7961G-GE", "Cisco 7961G-GE", "7961G-GE", "Cisco IP Phone 7961G-GE"},
		"CP-7971G-GE": {"7971", "CP-7971G-GE", "Cisco 7971"},
		"linux-arm":   {"linux-arm", "Linux-ARM"},
	} {
		for _, name := range names {
			if m := table.Lookup(name); m.Name != want {
				t.Errorf("%q is %+v, want %s", name, m, want)
			}
		}
	}
	m := table.Lookup(" Sensor 9 ")
	if m.Known() || !m.CanShare || m.Name != "Sensor 9" || m.GroupName() == "" {
		t.Errorf("unknown model: %+v", m)
	}
	if table.Group("Sensor 9") != table.Group("sensor  9") || table.Group("Sensor 9") == table.Group("Sensor 8") {
		t.Error("groups of unknown models")
	}
	if !table.Fits([]string{"linux-arm", "Cisco 7961"}, "CP-7961G") || table.Fits([]string{"CP-7961G-GE"}, "CP-7961G") ||
		!table.Fits([]string{"sensor 9"}, "Sensor 9") || table.Fits(nil, "CP-7961G") {
		t.Error("Fits")
	}
}

func TestExtend(t *testing.T) {
	base := Builtin()
	more, err := base.Extend([]Model{
		{Name: "Camera 1", Family: Generic, CanShare: true, Group: "cameras", Defaults: Values{PeerSharing: On}},
		{Name: "Camera 2", Family: Generic, CanShare: true, Group: "cameras"},
		{Name: "CP-7960G", Aliases: []string{"7960"}, Family: SecondGeneration, CanShare: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if more.Group("camera 1") != "cameras" || more.Group("Camera 2") != "cameras" || !more.Lookup("7960").CanShare {
		t.Error("the new rows do not hold")
	}
	if base.Lookup("Camera 1").Known() || base.Lookup("7960").CanShare {
		t.Error("Extend has changed the table it began with")
	}
	long := strings.Repeat("x", MaxModelText+1)
	most := Model{Name: long[1:], Family: Generic, Group: long[1:], TypeNumber: 99_999}
	if _, err := base.Extend([]Model{most, {Name: "Y", Family: Generic}, {Name: "Z", Family: Generic}}); err != nil {
		t.Errorf("up to the bounds: %v", err)
	}
	for name, m := range map[string]Model{
		"taken alias":             {Name: "X", Aliases: []string{"Cisco 7961"}, Family: Generic},
		"no name":                 {Family: Generic},
		"no family":               {Name: "X"},
		"bad default":             {Name: "X", Family: Generic, Defaults: Values{PeerSharing: "maybe"}},
		"no setting":              {Name: "X", Family: Generic, Defaults: Values{"colour": "red"}},
		"unknown":                 {Name: "X", Family: Unknown},
		"lacks what there is not": {Name: "X", Family: Generic, Lacks: []string{"colour"}},
		"taken number":            {Name: "X", Family: Generic, TypeNumber: 115},
		"number below 0":          {Name: "X", Family: Generic, TypeNumber: -1},
		"number too large":        {Name: "X", Family: Generic, TypeNumber: 100_000},
		"empty alias":             {Name: "X", Family: Generic, Aliases: []string{"Cisco CP-"}},
		"taken provision":         {Name: "X", Family: Generic, Provision: "linux-arm"},
		"long name":               {Name: long, Family: Generic},
		"long alias":              {Name: "X", Family: Generic, Aliases: []string{long}},
		"long provision":          {Name: "X", Family: Generic, Provision: long},
		"long group":              {Name: "X", Family: Generic, Group: long},
		"long family":             {Name: "X", Family: Family(long)},
		"long load":               {Name: "X", Family: Generic, DefaultLoad: long},
		"control":                 {Name: "X", Family: Generic, Group: "a\x1b[2J"},
		"no UTF-8":                {Name: "X", Family: Generic, DefaultLoad: "a\xff"},
	} {
		if _, err := base.Extend([]Model{m}); !errors.Is(err, ErrModel) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEffective(t *testing.T) {
	able, unable := Builtin().Lookup("7961"), Builtin().Lookup("7960")
	on, off := Values{PeerSharing: On}, Values{PeerSharing: Off}
	wants := able
	wants.Defaults = on
	for _, c := range []struct {
		name   string
		model  Model
		levels Levels
		want   Answer
	}{
		{"nothing set", able, Levels{}, Answer{At: At{LevelDefault, Off}, Others: []At{}}},
		{"model", wants, Levels{}, Answer{At: At{LevelModel, On}, Others: []At{{LevelDefault, Off}}}},
		{"the controller's table", able, Levels{Model: on},
			Answer{At: At{LevelModel, On}, Others: []At{{LevelDefault, Off}}}},
		{"it counts before the model's own", wants, Levels{Model: off},
			Answer{At: At{LevelModel, Off}, Others: []At{{LevelDefault, Off}}}},
		{"and after the enterprise", able, Levels{Model: on, Enterprise: off},
			Answer{At: At{LevelEnterprise, Off}, Others: []At{{LevelModel, On}, {LevelDefault, Off}}}},
		{"enterprise", able, Levels{Enterprise: on}, Answer{At: At{LevelEnterprise, On}, Others: []At{{LevelDefault, Off}}}},
		{"profile over enterprise", able, Levels{Enterprise: off, Profile: on},
			Answer{At: At{LevelProfile, On}, Others: []At{{LevelEnterprise, Off}, {LevelDefault, Off}}}},
		{"device over all", wants, Levels{Enterprise: on, Profile: on, Device: off},
			Answer{At: At{LevelDevice, Off}, Others: []At{{LevelProfile, On}, {LevelEnterprise, On}, {LevelModel, On},
				{LevelDefault, Off}}}},
		{"cannot share", unable, Levels{Device: on},
			Answer{At: At{LevelModel, Off}, Others: []At{{LevelDevice, On}}, Reason: "model CP-7960G cannot share"}},
	} {
		c.want.Setting = PeerSharing
		got, err := Effective(PeerSharing, c.model, c.levels)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := Effective("colour", able, Levels{}); !errors.Is(err, ErrSetting) {
		t.Errorf("unknown setting: %v", err)
	}
	if _, err := Effective(PeerSharing, able, Levels{Enterprise: Values{PeerSharing: "1"}, Device: on}); !errors.Is(err,
		ErrSetting) ||
		!strings.Contains(err.Error(), "enterprise") {
		t.Errorf("a value that means nothing: %v", err)
	}
}

// TestEveryModelHasEverySetting: none may be missing for a model (CSCso40251,
// CSCtb49726), and what is in effect always says where it comes from.
func TestEveryModelHasEverySetting(t *testing.T) {
	models := append(Builtin().Models(), Builtin().Lookup("new model"))
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.SampledFrom([]Values{nil, {}, {PeerSharing: On}, {PeerSharing: Off}})
		l := Levels{level.Draw(t, "model"), level.Draw(t, "enterprise"), level.Draw(t, "profile"), level.Draw(t, "device")}
		for _, m := range models {
			for _, s := range Settings() {
				a, err := Effective(s.Name, m, l)
				if err != nil || s.Check(a.Value) != nil || strings.Contains(a.Level.String(), "level ") || s.Label == "" {
					t.Fatalf("%s of %s: %+v, %v", s.Name, m.Name, a, err)
				}
				if v, set := l.Device[s.Name]; set && m.CanShare && a.At != (At{LevelDevice, v}) {
					t.Fatalf("%s: the device does not win: %+v", m.Name, a)
				}
			}
		}
	})
}

// TestChecks has for each setting what it takes and what it refuses.
func TestChecks(t *testing.T) {
	good := map[string][]string{
		PeerSharing: {On, Off}, Unsigned: {On, Off}, Foreground: {On, Off}, Timing: {TimingLAN, TimingClassic},
		LoadServer: {"", "10.0.0.5", "10.0.0.5:8080", "fw.example/loads", "https://fw.example/loads/",
			"tftp://10.0.0.5"},
		LogServer:         {"", "10.0.0.5", "log.example:5514", "[2001:db8::1]", "[2001:db8::1]:514"},
		OriginConnections: {"1", "4", "16"},
		WANLimit:          {"0", "200k", "1.5M", "2MB", "1G", "4611686018427387904"},
		LANLimit:          {"0", "5m"}, Retention: {"0", "512M"},
	}
	bad := map[string][]string{
		PeerSharing: {"", "1", "ON"}, Unsigned: {"yes"}, Foreground: {"fore"}, Timing: {"", "wan"},
		LoadServer: {"ftp://10.0.0.5", "http://", "/loads", "a b", "a\nb", strings.Repeat("a", maxAddress+1)},
		LogServer: {"log.example:0", "log.example:port", ":514", "udp://log.example", "a b", "log.example:65536",
			"a/b", "a@b", "a?b", "a#b", "a\x7f", strings.Repeat("a", maxAddress+1)},
		OriginConnections: {"", "0", "17", "-1", "1.5", "many"},
		WANLimit:          {"", "-1", "+1", "k", "0.1", "9223372036854775808", "8589934592G"},
		LANLimit:          {"fast"}, Retention: {"all"},
	}
	for _, s := range Settings() {
		if s.Label == "" || len(good[s.Name]) == 0 || len(bad[s.Name]) == 0 {
			t.Errorf("%s: no label, or not in this test", s.Name)
		}
		for _, v := range append(good[s.Name], s.Default) {
			if err := s.Check(v); err != nil {
				t.Errorf("%s refuses %q: %v", s.Name, v, err)
			}
		}
		for _, v := range bad[s.Name] {
			if s.Check(v) == nil {
				t.Errorf("%s takes %q", s.Name, v)
			}
		}
	}
}
