package agent

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/seal"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/load"
)

// TestPrecedence: a flag counts before the environment, that before files, a
// later file before an earlier one, and those before the default; and the
// origin is told.
func TestPrecedence(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "10.toml"), filepath.Join(dir, "20.toml")
	write(t, first, "model = \"from-first\"\ncheck-in = \"1h\"\nserver = [\"a\", \"b\"]\nport = 5000\n")
	write(t, second, "model = \"from-second\"\n")
	write(t, filepath.Join(dir, "note.txt"), "not = read")
	env := map[string]string{}
	flags := map[string][]string{}
	load := func() (Config, map[string]OptionValue) {
		t.Helper()
		c, values, err := Load(Sources{Flags: flags, Path: dir,
			Env: func(n string) (string, bool) { v, ok := env[n]; return v, ok }})
		if err != nil {
			t.Fatal(err)
		}
		at := map[string]OptionValue{}
		for _, o := range values {
			at[o.Name] = o
		}
		if len(at) != len(Options()) {
			t.Errorf("%d values for %d options", len(at), len(Options()))
		}
		return c, at
	}
	for _, c := range []struct {
		do          func()
		model, from string
	}{
		{func() {}, "from-second", second},
		{func() { env["PEERLOAD_MODEL"] = "from-env" }, "from-env", "PEERLOAD_MODEL"},
		{func() { flags["model"] = []string{"from-flag"} }, "from-flag", "--model"},
	} {
		c.do()
		cfg, at := load()
		if cfg.Model != c.model || at["model"].From != c.from {
			t.Errorf("model %q from %q, want %q from %q", cfg.Model, at["model"].From, c.model, c.from)
		}
		if cfg.CheckIn != time.Hour || at["check-in"].From != first || cfg.Port != 5000 ||
			cfg.ConfirmTimeout != 5*time.Minute || at["confirm-timeout"].From != "default" {
			t.Errorf("%+v", cfg)
		}
		if !reflect.DeepEqual(cfg.Servers, []string{"a", "b"}) {
			t.Errorf("servers %q", cfg.Servers)
		}
	}
	env["PEERLOAD_SERVER"] = "c, d"
	if cfg, _ := load(); !reflect.DeepEqual(cfg.Servers, []string{"c", "d"}) {
		t.Errorf("servers %q", cfg.Servers)
	}
}

func TestConfigErrors(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for text, says := range map[string]string{
		"model = ":                                        "line 1",
		"modle = \"x\"":                                   "modle",
		"model = \"x\"\nport = 70000":                     "port",
		"model = \"x\"\ncheck-in = \"soon\"":              "check-in",
		"model = \"x\"\ncheck-in = \"1ms\"":               "check-in",
		"model = \"x\"\nmac = \"12\"":                     "mac",
		"model = \"x\"\naddress = \"10.0.0\"":             "is not an address",
		"model = \"x\"\nlog-level = \"loud\"":             "loud",
		"model = [\"x\", \"y\"]":                          "one value",
		"model = 5.5":                                     "model",
		"model = \"x\"\nserver = [1]":                     "list",
		"model = \"x\"\ncontroller = \"tftp://x\"":        "controller",
		"model = \"x\"\npage-address = \"8080\"":          "page-address",
		"model = \"x\"\ncacert = \"\"":                    "cacert (from ",
		"model = \"x\"\n[proxy]\nadress = \"\"":           "proxy-address",
		"model = \"x\"\n[proxy]\nrule = [\"x\"]":          "is no rule",
		"model = \"x\"\n[proxy]\nkeep = \"x\"":            "proxy-keep",
		"model = \"x\"\n[proxy]\naddress = \"0.0.0.0:1\"": "on loopback",
		"model = \"x\"\ncacert = []":                      "leave the option out",
		"port = 1":                                        "model: say what this device is",
	} {
		name := filepath.Join(t.TempDir(), "a.toml")
		write(t, name, text)
		if _, _, err := Load(Sources{Path: name, Env: none}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q in it", text, err, says)
		}
	}
	empty := func(name string) (string, bool) { return "", name == "PEERLOAD_CACERT" }
	model := map[string][]string{"model": {"x"}}
	if _, _, err := Load(Sources{Path: t.TempDir(), Env: empty, Flags: model}); err == nil ||
		!strings.Contains(err.Error(), "cacert (from PEERLOAD_CACERT)") {
		t.Errorf("an empty variable: %v", err)
	}
	if _, _, err := Load(Sources{Path: filepath.Join(t.TempDir(), "gone"), Env: none}); !os.IsNotExist(err) && err == nil {
		t.Error("a file that was named and is missing is passed over")
	}
}

// TestValidate: each thing that cannot work is named by its option, and what is
// just right is taken.
func TestValidate(t *testing.T) {
	good := Config{Servers: []string{"10.0.0.5", "tftp://a", "http://a/b"}, State: "s",
		Model: strings.Repeat("m", load.MaxTextLen), MAC: " 00:11:22:33:44:55 ", CheckIn: time.Second, HookTimeout: 1,
		ConfirmTimeout: 1,
		Controller:     "https://c:8443", PageAddress: "127.0.0.1:1", MetricsAddress: "[::1]:1"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(c *Config)
		says  string
	}{
		"the scheme of a server": {func(c *Config) { c.Servers = []string{"10.0.0.5", "ftp://a"} }, "server: "},
		"no URL":                 {func(c *Config) { c.Servers = []string{"http://a:b:c"} }, "server: "},
		"no host of a server":    {func(c *Config) { c.Servers = []string{"http://"} }, "server: "},
		"the controller's":       {func(c *Config) { c.Controller = "tftp://c" }, "controller: "},
		"no controller":          {func(c *Config) { c.Controller = "https://" }, "controller: "},
		"no URL of one":          {func(c *Config) { c.Controller = "https://u:p@c:x" }, "controller: "},
		"no state":               {func(c *Config) { c.State = "" }, "state: "},
		"no model":               {func(c *Config) { c.Model = "" }, "model: "},
		"a long model":           {func(c *Config) { c.Model += "m" }, "model: "},
		"a MAC address":          {func(c *Config) { c.MAC = "0011" }, "mac: "},
		"a busy one":             {func(c *Config) { c.CheckIn = time.Second - 1 }, "check-in is 1s or longer"},
		"no time for the hook":   {func(c *Config) { c.HookTimeout = 0 }, "hook-timeout"},
		"no time to confirm":     {func(c *Config) { c.ConfirmTimeout = 0 }, "confirm-timeout"},
		"the page":               {func(c *Config) { c.PageAddress = "8090" }, "page-address is IP:PORT"},
		"the metrics":            {func(c *Config) { c.MetricsAddress = "host:1" }, "metrics-address is IP:PORT"},
	} {
		bad := good
		c.spoil(&bad)
		err := bad.Validate()
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: %v, want only %q", name, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: the password is told", name)
		}
	}
}

// TestFindMAC: the MAC address is what is configured, else that of an interface
// that has one.
func TestFindMAC(t *testing.T) {
	if mac, err := findMAC(Config{MAC: " 00:11:22:aa:bb:cc ", Interface: "none"}); mac != "001122AABBCC" || err != nil {
		t.Errorf("configured: %q, %v", mac, err)
	}
	for _, none := range []Config{{Interface: "none"}, {Address: netip.MustParsePrefix("127.0.0.1/8")},
		{Address: netip.MustParsePrefix("192.0.2.1/24")}} {
		if mac, err := findMAC(none); err == nil || !strings.Contains(err.Error(), "--mac") {
			t.Errorf("%v %q: %q, %v", none.Address, none.Interface, mac, err)
		}
	}
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if len(i.HardwareAddr) != 6 {
			continue
		}
		want := strings.ToUpper(strings.ReplaceAll(i.HardwareAddr.String(), ":", ""))
		if mac, err := findMAC(Config{Interface: i.Name}); mac != want || err != nil {
			t.Errorf("%s: %q, %v, want %s", i.Name, mac, err, want)
		}
	}
}

// TestRecordDamaged: a record that is damaged is told from one that is missing.
func TestRecordDamaged(t *testing.T) {
	dir := t.TempDir()
	if _, err := readRecord(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	r := record{Format: recordFormat, Server: "http://server/", Provision: "http://server/x.cnf.xml",
		Record: upgrade.Record{Phase: upgrade.Trial, Load: "L", BootID: "1\n", Installs: 2,
			Failed: []upgrade.FailedLoad{{Load: "K", Reason: reason.Reboot, Time: "2026-01-02T03:04:05Z"}}}}
	if err := writeRecord(durable.Writer{}, dir, r); err != nil {
		t.Fatal(err)
	}
	back, err := readRecord(dir)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("%+v, %v", back, err)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"{", `{"format": 9, "phase": "idle"}`, `{"format": 1, "phase": "dance"}`,
		strings.Repeat(" ", maxRecord+1), strings.Replace(string(sealed), `"load": "L"`, `"load": "M"`, 1)} {
		write(t, filepath.Join(dir, recordName), text)
		if _, err := readRecord(dir); !errors.Is(err, errDamaged) {
			t.Errorf("%.30q: %v", text, err)
		}
	}
}

// TestRecordOfEarlierVersion: what the program wrote before is read as it was
// meant.
func TestRecordOfEarlierVersion(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, recordName), `{
  "format": 1,
  "phase": "reboot",
  "load": "L2",
  "version": "1",
  "since": "2026-01-02T03:04:05Z",
  "starts": 1,
  "boot_id": "boot 1",
  "assigned": "L2",
  "server": "http://10.0.0.5:6970/",
  "provision": "http://10.0.0.5:6970/XMLDefault.cnf.xml",
  "failed": [{"load": "L0", "reason": "not-confirmed", "time": "2026-01-01T00:00:00Z"}],
  "state": "rebooting",
  "reason": "installer",
  "message": "exit status 1"
}
`)
	want := record{Format: 1, Server: "http://10.0.0.5:6970/", Provision: "http://10.0.0.5:6970/XMLDefault.cnf.xml",
		Record: upgrade.Record{Phase: upgrade.Reboot, Load: "L2", Version: "1", Since: "2026-01-02T03:04:05Z", Starts: 1,
			BootID: "boot 1", Assigned: "L2", State: "rebooting", Reason: reason.Installer, Message: "exit status 1",
			Failed: []upgrade.FailedLoad{{Load: "L0", Reason: reason.NotConfirmed, Time: "2026-01-01T00:00:00Z"}}}}
	if got, err := readRecord(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProgressLines(t *testing.T) {
	for line, want := range map[string]struct {
		percent int
		text    string
		ok      bool
	}{
		"progress 40 half way": {40, "half way", true}, "progress 100": {100, "", true},
		"progress 101 x": {}, "progress -1": {}, "progress x": {}, "progress": {}, "Progress 4": {},
	} {
		if p, text, ok := parseProgress(line); p != want.percent || text != want.text || ok != want.ok {
			t.Errorf("%q is %d, %q, %v", line, p, text, ok)
		}
	}
}

// TestRebootCommandThatFails: a command that is to restart the device and fails is an error,
// with its status and what it printed last; so is one that is killed.
func TestRebootCommandThatFails(t *testing.T) {
	for command, want := range map[string]string{
		"printf 'not now' >&2; exit 3": "exit status 3", "kill -9 $$": "signal: killed", "exit 0": ""} {
		in := newInstaller(Config{RebootCommand: command, HookTimeout: time.Minute}, slog.New(slog.DiscardHandler), &quota{})
		_, err := in.Do(t.Context(), upgrade.StepReboot, Job{})
		var step *StepError
		if want == "" && err != nil || want != "" && (!errors.As(err, &step) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", command, err)
		}
		var out *outputError
		if errors.As(err, &out) != strings.Contains(command, "printf") || out != nil && out.lines != "not now" {
			t.Errorf("%s: it said %+v", command, out)
		}
	}
}

// TestLogServerThatFails: a log server that cannot be used is named, and tried again when it
// is set once more.
func TestLogServerThatFails(t *testing.T) {
	s := newSink(slog.New(slog.DiscardHandler), nil)
	defer s.close()
	const bad = "127.0.0.1:99999"
	for range 2 {
		if err := s.logTo(bad, "host", netip.Addr{}); err == nil || !strings.Contains(err.Error(), "log server "+bad+": ") {
			t.Errorf("%v", err)
		}
	}
}

// TestLines: lines come out whole however they were written, with at most maxLine bytes, and
// the last one without a line feed too.
func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct{ writes, lines []string }{
		{[]string{"on", "e\ntwo\r\nth", "r", "ee"}, []string{"one", "two", "three"}},
		{[]string{"\n", "\na\n"}, []string{"", "", "a"}},
		{[]string{long + "yz\nb\n"}, []string{long, "b"}},
		{[]string{long[1:], "yz", "z\nb\n"}, []string{long[1:] + "y", "b"}},
		{[]string{long, "y"}, []string{long}},
		{[]string{"\xff\n"}, []string{"?"}},
		{nil, nil},
	} {
		var got []string
		w := &lineWriter{line: func(s string) { got = append(got, s) }}
		for _, s := range c.writes {
			if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
				t.Errorf("writes %d of %d bytes, %v", n, len(s), err)
			}
		}
		w.end()
		if !slices.Equal(got, c.lines) {
			t.Errorf("%q, not %q", got, c.lines)
		}
	}
}

// FuzzLines: however output is cut, the lines are the same.
func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo\r\nthree"), uint8(2))
	f.Add([]byte("one\n\nthree and four\nfive"), uint8(1))
	f.Add([]byte("no line feed"), uint8(4))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var whole, parts []string
		w := &lineWriter{line: func(s string) { whole = append(whole, s) }}
		_, _ = w.Write(b)
		p := &lineWriter{line: func(s string) { parts = append(parts, s) }}
		for at := 0; at < len(b); {
			n := min(len(b)-at, int(cut)+1)
			_, _ = p.Write(b[at : at+n])
			at += n
		}
		w.end()
		p.end()
		for _, s := range whole {
			if len(s) > maxLine*3 {
				t.Fatalf("a line of %d bytes", len(s))
			}
		}
		long := false
		for l := range strings.SplitSeq(string(b), "\n") {
			long = long || len(l) >= maxLine
		}
		// A carriage return that is cut from its line feed stays.
		if !long && !strings.Contains(string(b), "\r") && !reflect.DeepEqual(whole, parts) {
			t.Fatalf("%q and %q", whole, parts)
		}
	})
}

// FuzzConfig: a file of options is refused with a word on it, or gives values
// that the options take or refuse by themselves.
func FuzzConfig(f *testing.F) {
	f.Add("server = [\"10.0.0.1\", \"h:80\"]\nport = 4051\nno-sync = true\n")
	f.Add("address = \"10.0.0.7/24\"\ncheck-in = \"15m\"\nlog-level = \"debug\"\nmetrics-address = \"x\"")
	f.Add("prt = 1\nserver = [1]")
	f.Fuzz(func(t *testing.T, text string) {
		values, err := parseConfig(text)
		if err != nil {
			if values != nil || err.Error() == "" {
				t.Fatalf("%v with %v", values, err)
			}
			return
		}
		var c Config
		for _, o := range Options() {
			v := values[o.Name]
			if len(v) == 0 || !o.List && len(v) != 1 {
				continue
			}
			if err := o.set(&c, v); err != nil && err.Error() == "" {
				t.Fatalf("%s: %q is refused without a word", o.Name, v)
			}
		}
		_ = c.Validate()
	})
}

// FuzzRecord: a record is damaged, or is written as it was read.
func FuzzRecord(f *testing.F) {
	text, err := seal.Marshal(newRecord())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1,"phase":"idle"}`))
	f.Add([]byte(`{"format":1,"phase":"trial","boots":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		out, err := seal.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseRecord(out); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

// FuzzKept: what is kept of a provisioning file is what was packed, and a file
// that was changed is damaged.
func FuzzKept(f *testing.F) {
	f.Add("http://h/f", []byte("<device></device>"), 90, byte(1))
	f.Add("", []byte(""), 0, byte(0))
	f.Fuzz(func(t *testing.T, from string, raw []byte, at int, flip byte) {
		packed := packKept(from, raw)
		back, rest, err := unpackKept(packed)
		if err != nil || back != from && utf8.ValidString(from) || !bytes.Equal(rest, raw) {
			t.Fatalf("%q %q came back as %q %q, %v", from, raw, back, rest, err)
		}
		if at = at % len(packed); at < len(keptFirst) || flip == 0 {
			_, _, _ = unpackKept(raw)
			return
		}
		packed[at] ^= flip
		if _, _, err := unpackKept(packed); !errors.Is(err, errDamaged) {
			t.Fatalf("byte %d changed by %x: %v", at, flip, err)
		}
	})
}

// FuzzSecret: a secret is taken as it is written, or not at all.
func FuzzSecret(f *testing.F) {
	f.Add([]byte(strings.Repeat("a0", secretSize) + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseSecret(b)
		if !ok {
			return
		}
		if again, ok := parseSecret([]byte(s + "\n")); !ok || again != s || len(s) != 2*secretSize {
			t.Fatalf("%q is %q, and that %q", b, s, again)
		}
	})
}

// FuzzProgress: whatever a hook prints, progress is 0 to 100 per cent.
func FuzzProgress(f *testing.F) {
	f.Add("progress 40 half way")
	f.Add("progress -1")
	f.Fuzz(func(t *testing.T, line string) {
		percent, text, ok := parseProgress(line)
		if percent < 0 || percent > 100 || !ok && (percent != 0 || text != "") {
			t.Fatalf("%q is %d, %q, %v", line, percent, text, ok)
		}
		if ok && !strings.HasSuffix(line, text) {
			t.Fatalf("%q has the text %q", line, text)
		}
	})
}
