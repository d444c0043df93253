package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/parse"
)

// ErrSetting says that a setting or its value is not valid.
var ErrSetting = errors.New("bad setting")

// Setting is one thing that can be set. All settings are in Settings, and
// everything about a setting is in its row: code that shows, stores or
// provisions settings walks the table, so that none can be missing somewhere.
type Setting struct {
	// Name as files and the API write it.
	Name string
	// Kind says how values are written.
	Kind Kind
	// Choices are the values of a KindChoice.
	Choices []string
	// Label and LabelJA are for people, in English and Japanese.
	Label, LabelJA string
	// Help and HelpJA say in a sentence what the value does, with its unit.
	Help, HelpJA string
	// Default where nothing else sets it.
	Default string
	// Element is the setting's name in provisioning files. The elements of
	// peer sharing, load server and log server are those that real phones read.
	Element string
	// NeedsSharing says that the setting has no effect on a model that cannot
	// share; there its effective value is always Default.
	NeedsSharing bool
}

// The names of settings.
const (
	// PeerSharing turns sharing on for a device. It is off by default, as in
	// the original; "on" and "off" are its values.
	PeerSharing = "peer-sharing"
	// LoadServer is where loads are fetched, as HOST, HOST:PORT, HOST/PATH or a
	// URL. "" means the server that provisions the device.
	LoadServer = "load-server"
	// LogServer takes the device's events as syslog over UDP, as HOST or
	// HOST:PORT (docs/ORIGINAL.md, "Provisioning and files"). "" means none.
	LogServer = "log-server"
	// WANLimit is the most bytes per second that a device downloads from
	// servers; suffixes k, M and G are powers of 1,024. "0" means no limit.
	WANLimit = "wan-limit"
	// Foreground has downloads from servers take what they get; otherwise they give way
	// to everything else on the line: "on" and "off".
	Foreground = "foreground"
	// LANLimit is the most bytes per second that a device sends to its peers,
	// written likewise.
	LANLimit = "lan-limit"
	// OriginConnections is the most connections at the same time that a device has to
	// the servers of a file: "1" to "16".
	OriginConnections = "origin-connections"
	// Timing is the profile of the protocol's times: "lan", or "classic" for
	// those of Cisco's original.
	Timing = "timing"
	// Retention is the most bytes of loads that a device keeps, written
	// likewise. "0" means no limit.
	Retention = "retention"
	// Unsigned allows classic loads, which nothing protects: "on" and "off".
	Unsigned = "unsigned"
)

// The values of Timing.
const (
	TimingLAN     = "lan"
	TimingClassic = "classic"
)

// MostConnections is the largest value of OriginConnections.
const MostConnections = 16

// upTo are the numbers from 1 to n, as text.
func upTo(n int) (texts []string) {
	for i := range n {
		texts = append(texts, strconv.Itoa(i+1))
	}
	return texts
}

// Settings returns every setting there is, in the order in which people see
// them.
func Settings() []Setting { return slices.Clone(settings) }

// settings are made once: each provisioning file asks for them dozens of times.
var settings = all()

func all() []Setting {
	return []Setting{
		{Name: PeerSharing, Kind: KindSwitch, Default: Off, Element: "peerFirmwareSharing", NeedsSharing: true,
			Label: "Peer firmware sharing", LabelJA: "ピアファームウェア共有",
			Help:   "Devices of one subnet copy loads from each other.",
			HelpJA: "同じサブネットの機器どうしでロードをコピーします。"},
		{Name: LoadServer, Kind: KindAddress, Default: "", Element: "loadServer",
			Label: "Load server", LabelJA: "ロードサーバ",
			Help: "Where loads are fetched: host, host:port, host/path or a URL. Empty: the server that provisions the " +
				"device.",
			HelpJA: "ロードの取得先(ホスト、ホスト:ポート、ホスト/パス、または URL)。" +
				"空欄の場合はプロビジョニング元のサーバから取得します。"},
		{Name: LogServer, Kind: KindHostPort, Default: "", Element: "logServer",
			Label: "Log server", LabelJA: "ログサーバ",
			Help: "Takes events as syslog over UDP: host or host:port, port 514 unless given. Empty: none.",
			HelpJA: "イベントの syslog(UDP)送信先(ホスト、またはホスト:ポート)。ポートの既定値は 514。" +
				"空欄の場合は送信しません。"},
		{Name: WANLimit, Kind: KindSize, Default: "0", Element: "wanLimit",
			Label: "WAN limit", LabelJA: "WAN 帯域上限",
			Help:   "Most bytes a second that a device downloads from servers: 48k, 2M; 0 for no limit.",
			HelpJA: "サーバからのダウンロード速度の上限(バイト/秒)。例: 48k、2M。0 は無制限。"},
		{Name: Foreground, Kind: KindSwitch, Default: Off, Element: "wanForeground",
			Label: "Downloads in the foreground", LabelJA: "フォアグラウンドでのダウンロード",
			Help:   "Downloads from servers take what they get. off: they give way to everything else on the line.",
			HelpJA: "サーバからのダウンロードで帯域を譲りません。off の場合は回線上のほかの通信に帯域を譲ります。"},
		{Name: LANLimit, Kind: KindSize, Default: "0", Element: "lanLimit", NeedsSharing: true,
			Label: "LAN limit", LabelJA: "LAN 帯域上限",
			Help:   "Most bytes a second that a device sends to its peers: 2M; 0 for no limit.",
			HelpJA: "ピアへの送信速度の上限(バイト/秒)。例: 2M。0 は無制限。"},
		{Name: OriginConnections, Kind: KindChoice, Choices: upTo(MostConnections), Default: "16",
			Element: "originConnections",
			Label:   "Connections to servers", LabelJA: "サーバへの接続数",
			Help: "Most connections at the same time over which a device downloads a file: as many as bring more, up to this.",
			HelpJA: "1 つのファイルのダウンロードに同時に使う接続数の上限。この範囲で、速くなる分だけ使います。" +
				"1 は従来どおり。"},
		{Name: Timing, Kind: KindChoice, Choices: []string{TimingLAN, TimingClassic}, Default: TimingLAN,
			Element: "peerTiming", NeedsSharing: true,
			Label: "Timing profile", LabelJA: "タイミングプロファイル",
			Help:   "Times of the election: lan for wired subnets, classic as in the original.",
			HelpJA: "ルート選出の待ち時間。有線 LAN には lan、従来と同じ動作には classic。"},
		{Name: Retention, Kind: KindSize, Default: "0", Element: "loadRetention",
			Label: "Disk for loads", LabelJA: "ロード用ディスク容量",
			Help:   "Most bytes of loads that a device keeps: 64M, 1G; 0 for no limit.",
			HelpJA: "機器が保持するロードの合計上限(バイト)。例: 64M、1G。0 は無制限。"},
		{Name: Unsigned, Kind: KindSwitch, Default: Off, Element: "allowUnsigned",
			Label: "Unsigned loads allowed", LabelJA: "署名なしロードの許可",
			Help:   "Lets the device run classic loads, which nothing protects.",
			HelpJA: "保護されていない、署名なしのロードの使用を許可します。"},
	}
}

// Lookup finds a setting by its name. Errors match ErrSetting.
func Lookup(name string) (Setting, error) {
	for _, s := range settings {
		if s.Name == name {
			return s, nil
		}
	}
	return Setting{}, fmt.Errorf("%w: %w", ErrSetting, choice.Unknown("setting", name, Names()))
}

// Names are the names of all settings, in the order of Settings.
func Names() (names []string) {
	for _, s := range settings {
		names = append(names, s.Name)
	}
	return names
}

// ByElement finds a setting by its element in provisioning files. Elements are
// case-sensitive, as in XML.
func ByElement(element string) (Setting, bool) {
	for _, s := range settings {
		if s.Element == element {
			return s, true
		}
	}
	return Setting{}, false
}

// Normalise reads a value as people write it and returns the form in which it
// is stored and compared. Errors match ErrSetting.
func (s Setting) Normalise(value string) (string, error) {
	v := strings.TrimSpace(value)
	switch s.Kind {
	case KindSwitch:
		v = normaliseSwitch(v)
	case KindChoice:
		if i := slices.IndexFunc(s.Choices, func(c string) bool { return strings.EqualFold(c, v) }); i >= 0 {
			v = s.Choices[i]
		}
	case KindSize:
		v = normaliseSize(v)
	}
	return v, s.Check(v)
}

// Admit is Normalise for a value that somebody sets now. It also refuses an
// address that names no server, and one with a password: provisioning files can
// be read by anybody. What was set before that was checked is still read. Errors
// match ErrSetting.
func (s Setting) Admit(value string) (string, error) {
	v, err := s.Normalise(value)
	if err != nil || v == "" {
		return v, err
	}
	switch s.Kind {
	case KindAddress:
		err = admitAddress(v)
	case KindHostPort:
		err = admitHostPort(v)
	}
	if err != nil {
		return v, fmt.Errorf("%w: %s: %w", ErrSetting, s.Name, err)
	}
	return v, nil
}

// Shown returns a value for people, without the password of an address.
func (s Setting) Shown(value string) string {
	if s.Kind != KindAddress {
		return value
	}
	return withoutPassword(value)
}

// Check refuses invalid values. It accepts switches and choices only as
// Normalise writes them. Errors match ErrSetting.
func (s Setting) Check(value string) error {
	var err error
	switch s.Kind {
	case KindSwitch:
		err = choice.Value("the value", value, []string{On, Off})
	case KindChoice:
		err = choice.Value("the value", value, s.Choices)
	case KindAddress:
		err = checkAddress(value)
	case KindHostPort:
		err = checkHostPort(value)
	case KindSize:
		_, err = parse.Size(value)
	default:
		err = fmt.Errorf("kind %q is unknown", s.Kind)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSetting, s.Name, err)
	}
	return nil
}

// ElementText returns a value as provisioning files write it: switches as 0
// and 1, all others as they are.
func (s Setting) ElementText(value string) string {
	switch {
	case s.Kind != KindSwitch:
		return value
	case value == On:
		return "1"
	default:
		return "0"
	}
}

// FromElement reads the text of the setting's element. Errors match ErrSetting.
func (s Setting) FromElement(text string) (string, error) { return s.Normalise(text) }

// Values are what one level sets, by the settings' names. A setting that is not
// in it is unset: there is no "override" box to tick.
type Values map[string]string

// MarshalJSON writes an object, also for nil: who reads it is promised one.
func (v Values) MarshalJSON() ([]byte, error) {
	if v == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(v))
}

// Validate refuses unknown settings and invalid values. Errors match
// ErrSetting.
func (v Values) Validate() error {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		s, err := Lookup(name)
		if err != nil {
			return err
		}
		if err := s.Check(v[name]); err != nil {
			return err
		}
	}
	return nil
}

// Normalise returns the values, each in its normal form. Errors match
// ErrSetting.
func (v Values) Normalise() (Values, error) { return v.each(Setting.Normalise) }

// Admit is Normalise for values that somebody sets now: see Setting.Admit.
func (v Values) Admit() (Values, error) { return v.each(Setting.Admit) }

func (v Values) each(read func(Setting, string) (string, error)) (Values, error) {
	n := make(Values, len(v))
	for _, name := range slices.Sorted(maps.Keys(v)) {
		s, err := Lookup(name)
		if err != nil {
			return nil, err
		}
		if n[name], err = read(s, v[name]); err != nil {
			return nil, err
		}
	}
	return n, nil
}
