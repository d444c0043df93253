package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/parse"
)

// DefaultConfigPath is the directory whose *.toml are read where no other is
// named.
const DefaultConfigPath = "/etc/peerload"

// maxConfig bounds a file, in bytes.
const maxConfig = 64 << 10

// Option is one thing that can be configured: as --NAME, as PEERLOAD_NAME, as
// NAME in a file. All options are in Options, and everything about an option is
// in its row.
type Option struct {
	// Name as files and flags write it.
	Name string
	// Default as text; a list is separated by commas.
	Default string
	// List says that several values are allowed.
	List bool
	// Help is one line for people.
	Help string
	// Unset says what holds where the option is not given, if that is not the
	// same as to give it its default. Such an option
	// without a default must not be given empty: a variable that is empty by
	// mistake must not change whom the device trusts.
	Unset string

	set func(c *Config, v []string) error
}

// Env returns the name of the option's environment variable.
func (o Option) Env() string {
	return "PEERLOAD_" + strings.ToUpper(strings.ReplaceAll(o.Name, "-", "_"))
}

// defaultLeases are where DHCP clients leave their leases.
const defaultLeases = "/run/peerload/dhcp.env,/run/systemd/netif/leases/*," +
	"/var/lib/dhcp/dhclient*.leases,/var/lib/dhcpcd/*.lease,/var/lib/NetworkManager/*.lease"

// Options returns every option, in the order in which people see them.
func Options() []Option {
	text := func(to func(*Config) *string) func(*Config, []string) error {
		return func(c *Config, v []string) error { *to(c) = v[0]; return nil }
	}
	list := func(to func(*Config) *[]string) func(*Config, []string) error {
		return func(c *Config, v []string) error { *to(c) = v; return nil }
	}
	span := func(to func(*Config) *time.Duration) func(*Config, []string) error {
		return func(c *Config, v []string) (err error) {
			if *to(c), err = time.ParseDuration(v[0]); err != nil {
				return fmt.Errorf("%q is not a time with its unit, such as 500ms, 30s or 1h30m", v[0])
			}
			return nil
		}
	}
	return []Option{
		{"server", "", true,
			"servers that provision this device: host, host:port, host/path or URL (default: DHCP options 150 and 66)",
			"", list(func(c *Config) *[]string { return &c.Servers })},
		{"dhcp-lease", defaultLeases, true, "files where the DHCP client leaves its lease or its environment",
			"", list(func(c *Config) *[]string { return &c.Leases })},
		{"provision", "", false, "provisioning file on this host instead of asking servers: .xml, .toml or .json",
			"", text(func(c *Config) *string { return &c.Provision })},
		{"controller", "", false, "URL of the controller to check in with",
			"", text(func(c *Config) *string { return &c.Controller })},
		{"token-file", "", false, "file with the enrolment token or site key that makes this device known to the controller",
			"", text(func(c *Config) *string { return &c.TokenFile })},
		{Name: "cacert", Help: "file with the CA certificates of HTTPS servers (PEM)",
			Unset: "the certificates of the system", set: text(func(c *Config) *string { return &c.CACert })},
		{"state", "/var/lib/peerload", false, "directory of all that survives a restart",
			"", text(func(c *Config) *string { return &c.State })},
		{"trust", "/etc/peerload/trust", false,
			"directory with the publisher's root.json; given, this device runs signed loads only",
			"/etc/peerload/trust, and signed loads only from when there is a root.json",
			text(func(c *Config) *string { return &c.Trust })},
		{"model", "", false, "model of this device, such as CP-7961G or linux-arm",
			"", text(func(c *Config) *string { return &c.Model })},
		{"mac", "", false, "MAC address that names the provisioning file (default: that of the interface)",
			"", text(func(c *Config) *string { return &c.MAC })},
		{"address", "", false, "own address, IP or IP/PREFIX (default: that of the interface)", "", setAddress},
		{"interface", "", false, "interface to take the address from (default: that of the route to the server)",
			"", text(func(c *Config) *string { return &c.Interface })},
		{"port", "4051", false, "port of the peers, UDP and TCP", "", setPort},
		{"check-in", "15m", false, "time between two check-ins, plus or minus a tenth",
			"", span(func(c *Config) *time.Duration { return &c.CheckIn })},
		{"hook", "", false, "program that installs loads", "", text(func(c *Config) *string { return &c.Hook })},
		{"file-hook", "", false, "program that is told of file sets that come and go",
			"", text(func(c *Config) *string { return &c.FileHook })},
		{"hook-timeout", "10m", false, "how long a hook or command may take",
			"", span(func(c *Config) *time.Duration { return &c.HookTimeout })},
		{"reboot-command", "", false, "command that restarts the device into the active slot (default: switching is enough)",
			"", text(func(c *Config) *string { return &c.RebootCommand })},
		{"confirm-command", "", false, "command that ends with 0 once the new load works (default: it was provisioned again)",
			"", text(func(c *Config) *string { return &c.ConfirmCommand })},
		{"confirm-timeout", "5m", false, "how long a new load has to be confirmed before the device goes back",
			"", span(func(c *Config) *time.Duration { return &c.ConfirmTimeout })},
		{"yield-file", "", false, "file that is there while this device is to serve others only where nobody else can, as " +
			"during a call", "", text(func(c *Config) *string { return &c.YieldFile })},
		{"boot-id", "/proc/sys/kernel/random/boot_id", false, "file whose content changes with each start of the device",
			"", text(func(c *Config) *string { return &c.BootID })},
		{"metrics-address", "", false, "IP:PORT where Prometheus finds metrics (default: nowhere)",
			"", text(func(c *Config) *string { return &c.MetricsAddress })},
		{"page-address", "", false, "IP:PORT of the device's page (default: nowhere)",
			"", text(func(c *Config) *string { return &c.PageAddress })},
		{"proxy-address", "", false, "IP:PORT, on loopback, of a proxy by which other programs share what they download " +
			"(default: nowhere)", "", text(func(c *Config) *string { return &c.ProxyAddress })},
		{ruleOption, "", true, "pattern of URLs and what holds for them, as peerload proxy --help says; separated by ; in " +
			"the environment", "", setRules},
		{"proxy-keep", "1G", false, "most bytes that copies of the proxy take", "", setKeep},
		{"log-level", "info", false, "debug, info, warn or error",
			"", word(func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
		{"log-format", "text", false, "text or json", "",
			word(func(c *Config) *string { return &c.LogFormat }, "text", "json")},
		{"no-sync", "false", false, "do not wait for the disk: for laboratories", "", setNoSync},
	}
}

func word(to func(*Config) *string, words ...string) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		*to(c) = v[0]
		return choice.Check("word", v[0], words)
	}
}

func setAddress(c *Config, v []string) (err error) {
	c.Address = netip.Prefix{}
	if v[0] != "" {
		if c.Address, err = parse.Address(v[0]); err != nil {
			return err
		}
	}
	return nil
}

func setPort(c *Config, v []string) error {
	n, err := strconv.ParseUint(v[0], 10, 16)
	if err != nil {
		return fmt.Errorf("%q is not a port, 0 to 65535", v[0])
	}
	c.Port = uint16(n)
	return nil
}

// ruleOption is the option whose values have spaces and commas in them.
const ruleOption = "proxy-rule"

// Whole reports whether a value is never split: a flag has one, and in a variable of
// the environment there is a semicolon between two.
func (o Option) Whole() bool { return o.Name == ruleOption }

func setRules(c *Config, v []string) error {
	c.ProxyRules = nil
	for _, text := range v {
		r, err := sharing.ParseRule(text)
		if err != nil {
			return err
		}
		c.ProxyRules = append(c.ProxyRules, r)
	}
	return nil
}

func setKeep(c *Config, v []string) (err error) {
	if c.ProxyKeep, err = parse.Size(v[0]); err != nil || c.ProxyKeep == 0 {
		return fmt.Errorf("%q is no number of bytes, such as 500M or 2G", v[0])
	}
	return nil
}

func setNoSync(c *Config, v []string) (err error) {
	if c.NoSync, err = strconv.ParseBool(v[0]); err != nil {
		return fmt.Errorf("%q is not true or false", v[0])
	}
	return nil
}

// fromDefault is where a value is from that nobody gave.
const fromDefault = "default"

// OptionValue is the value of an option that holds, and where it comes from.
type OptionValue struct {
	// Name of the option, and Value that holds.
	Name  string   `json:"name"`
	Value []string `json:"value"`
	// From is "default", a file, PEERLOAD_NAME or --name.
	From string `json:"from"`
}

// NotGiven says what holds in place of an option that is not given, where that
// is not the same as its default; "" of all others.
func (v OptionValue) NotGiven() string {
	for _, o := range Options() {
		if o.Name == v.Name && v.From == fromDefault {
			return o.Unset
		}
	}
	return ""
}

// Sources are where configuration is read, the strongest first: flags, the
// environment, files, defaults.
type Sources struct {
	// Flags that were given, by the options' names.
	Flags map[string][]string
	// Env returns a variable of the environment, as os.LookupEnv.
	Env func(string) (string, bool)
	// Path is a file, or a directory whose *.toml are read in order of their
	// names, a later one counting more. "": DefaultConfigPath, which may be
	// missing.
	Path string
}

// Load reads the configuration and says where each value is from. What it
// returns is valid. The values are returned with an error too, as far as they
// are known.
func Load(src Sources) (Config, []OptionValue, error) {
	var c Config
	files, err := readFiles(src.Path)
	if err != nil {
		return c, nil, err
	}
	var values []OptionValue
	var errs []error
	for _, o := range Options() {
		at := OptionValue{Name: o.Name, Value: split(o, o.Default), From: fromDefault}
		for _, f := range files {
			if v, ok := f.values[o.Name]; ok {
				at.Value, at.From = v, f.name
			}
		}
		if v, ok := src.Env(o.Env()); ok {
			at.Value, at.From = split(o, v), o.Env()
		}
		if v, ok := src.Flags[o.Name]; ok {
			at.Value, at.From = v, "--"+o.Name
		}
		if err := o.take(&c, at); err != nil {
			errs = append(errs, fmt.Errorf("%s (from %s): %w", o.Name, at.From, err))
		}
		values = append(values, at)
		if o.Name == "trust" {
			c.TrustNamed = at.From != fromDefault
		}
	}
	if len(errs) == 0 {
		errs = append(errs, c.Validate())
	}
	return c, values, errors.Join(errs...)
}

// take sets an option to a value.
func (o Option) take(c *Config, at OptionValue) error {
	v := at.Value
	if !o.List && len(v) == 0 {
		v = []string{""}
	}
	switch {
	case !o.List && len(v) > 1:
		return fmt.Errorf("give one value, not %d", len(v))
	case o.Unset != "" && o.Default == "" && at.From != fromDefault && v[0] == "":
		return fmt.Errorf("it is given without a value: give it one, or leave the option out for %s", o.Unset)
	}
	return o.set(c, v)
}

// split splits the text of a list; a single value stays whole.
func split(o Option, v string) []string {
	if !o.List {
		return []string{v}
	}
	between := func(r rune) bool { return r == ',' || r == ' ' }
	if o.Whole() {
		between = func(r rune) bool { return r == ';' }
	}
	return slices.DeleteFunc(strings.FieldsFunc(v, between), func(s string) bool { return strings.TrimSpace(s) == "" })
}

// configFile is a file that was read.
type configFile struct {
	name   string
	values map[string][]string
}

func readFiles(path string) ([]configFile, error) {
	names := []string{path}
	if path == "" {
		path = DefaultConfigPath
		names = nil
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && names == nil:
		return nil, nil
	case err != nil:
		return nil, err // it names the file
	case st.IsDir():
		if names, err = filepath.Glob(filepath.Join(path, "*.toml")); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	var files []configFile
	for _, n := range names {
		f, err := readFile(n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func readFile(name string) (f configFile, err error) {
	f.name = name
	b, err := readBounded(name, maxConfig)
	if err != nil {
		return f, err
	}
	f.values, err = parseConfig(string(b))
	return f, err
}

// parseConfig reads the text of a file.
func parseConfig(text string) (values map[string][]string, err error) {
	var m map[string]any
	if _, err := toml.Decode(text, &m); err != nil {
		var at toml.ParseError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("line %d: %s; write NAME = VALUE, with a text in quotation marks", at.Position.Line,
				at.Message)
		}
		return nil, err
	}
	values = map[string][]string{}
	all := Options()
	var names []string
	for _, o := range all {
		names = append(names, o.Name)
	}
	for key, v := range flat(m) {
		i := slices.IndexFunc(all, func(o Option) bool { return o.Name == key })
		if i < 0 {
			return nil, choice.Unknown("option", key, names)
		}
		if values[key], err = texts(v); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return values, nil
}

// flat writes the options of a table, such as address in [proxy], as those of the whole
// file: proxy-address.
func flat(m map[string]any) map[string]any {
	all := map[string]any{}
	for key, v := range m {
		table, ok := v.(map[string]any)
		if !ok {
			all[key] = v
			continue
		}
		for name, v := range table {
			all[key+"-"+name] = v
		}
	}
	return all
}

// texts turns a value of TOML into text.
func texts(v any) ([]string, error) {
	switch v := v.(type) {
	case string:
		return []string{v}, nil
	case bool:
		return []string{strconv.FormatBool(v)}, nil
	case int64:
		return []string{strconv.FormatInt(v, 10)}, nil
	case []any:
		out := []string{}
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("a list holds text, not %v", e)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%v is neither text, a number, true, false nor a list of texts", v)
}
