package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/internal/testkit/manual"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestAgentGuide: the commands of the guide are understood, its configuration
// is valid, and its provisioning files say what they seem to say.
func TestAgentGuide(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	b, err := os.ReadFile("../../docs/AGENT.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(b)
	commands := regexp.MustCompile(`(?m)^    peerload (.*)$`).FindAllStringSubmatch(guide, -1)
	if len(commands) < 8 {
		t.Fatalf("only %d commands found", len(commands))
	}
	for _, c := range commands {
		// With --help the command line is read, and nothing is done.
		if out, code := run(t, nil, append(strings.Fields(c[1]), "--help")...); code != 0 ||
			!strings.Contains(out, "Usage:") {
			t.Errorf("peerload %s: %d, %s", c[1], code, out)
		}
	}
	blocks := func(kind string) (out []string) {
		for _, m := range regexp.MustCompile("(?s)```"+kind+"\n(.*?)```").FindAllStringSubmatch(guide, -1) {
			out = append(out, m[1])
		}
		return out
	}
	toml := blocks("toml")
	name := filepath.Join(t.TempDir(), "agent.toml")
	write(t, name, toml[0])
	if _, _, err := agent.Load(agent.Sources{Path: name,
		Env: func(string) (string, bool) { return "", false }}); err != nil {
		t.Error(err)
	}
	if f, err := provision.ParseTOML([]byte(toml[1])); err != nil || f.Levels.Device[policy.PeerSharing] != policy.On {
		t.Errorf("%+v, %v", f, err)
	}
	f, err := provision.Parse([]byte(blocks("xml")[0]))
	if err != nil || len(f.Others) > 0 || f.Levels.Profile[policy.LoadServer] != "10.0.0.7" ||
		f.Levels.Device[policy.WANLimit] != "48k" {
		t.Errorf("%+v, %v", f, err)
	}
}

// TestOpenWrtGuide: what the commands of docs/OPENWRT.md set reaches the agent by way of
// the init script, and is valid there.
func TestOpenWrtGuide(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	text := func(name string) string {
		b, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	config := text("packaging/device/openwrt/peerload.config")
	script := text("internal/packaging/testdata/openwrt.sh") +
		strings.TrimPrefix(text("packaging/device/openwrt/peerload.init"), "#!/bin/sh /etc/rc.common\n")
	for _, m := range regexp.MustCompile(`(?m)^\toption (\w+) '(.*)'$`).FindAllStringSubmatch(config, -1) {
		script += "uci set peerload.agent." + m[1] + "=" + m[2] + "\n"
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text("docs/OPENWRT.md"), -1)
	if len(blocks) < 2 {
		t.Fatalf("only %d blocks", len(blocks))
	}
	for _, b := range blocks {
		for _, m := range regexp.MustCompile(`peerload\.agent\.(\w+)=`).FindAllStringSubmatch(b[1], -1) {
			if !strings.Contains(config, "option "+m[1]+" '") && !strings.Contains(config, "list "+m[1]+" '") {
				t.Errorf("the configuration has no option %s", m[1])
			}
		}
		script += strings.ReplaceAll(b[1], "/etc/init.d/peerload restart", "start_service")
	}
	out, err := exec.Command("/bin/sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	env := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^env (PEERLOAD_\w+)=(.*)$`).FindAllStringSubmatch(string(out), -1) {
		env[m[1]] = m[2]
	}
	c, _, err := agent.Load(agent.Sources{Path: t.TempDir(),
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if err != nil {
		t.Fatalf("%v, with %q", err, env)
	}
	if c.State != "/srv/peerload" || c.Interface != "br-lan" || len(c.Servers) != 2 ||
		!slices.Equal(c.Leases, []string{"/var/run/peerload/dhcp.env"}) {
		t.Errorf("the agent is told %+v", c)
	}
}

const makeAnew = "go test ./cmd/peerload -run 'TestManual|TestDefaultConfiguration'"

// TestManual: the manual page is made from the commands.
func TestManual(t *testing.T) {
	manual.Check(t, "../../packaging/man/peerload.1", manual.Page(ofCommand("", rootCommand()), "peerload-server(1)"),
		*update, makeAnew)
}

func ofCommand(path string, c *cli.Command) manual.Command {
	name, form, _ := strings.Cut(c.Use, " ")
	m := manual.Command{Path: strings.TrimSpace(path + " " + name), Form: form, Short: c.Short, Long: c.Long,
		Example: c.Example, Flags: c.Flags()}
	for _, sub := range c.Commands {
		if !sub.Hidden {
			m.Commands = append(m.Commands, ofCommand(m.Path, sub))
		}
	}
	return m
}

// TestDefaultConfiguration: the packages' configuration has every option of the agent,
// as a comment: as a file, and as OpenWrt has it.
func TestDefaultConfiguration(t *testing.T) {
	file := "# The configuration of peerload agent. What is commented out shows its default.\n" +
		"# \"peerload agent --check-config\" says whether it is good; \"systemctl reload\n" +
		"# peerload-agent\" applies most changes.\n"
	uci := "# The configuration of peerload agent: the options of agent.toml, with _ for -. What is\n" +
		"# commented out shows its default.\n\nconfig agent 'agent'\n\t# 1: start the agent.\n\toption enabled '0'\n"
	var single []string
	for _, o := range agent.Options() {
		file += "\n" + manual.Comment(o.Help) + "#" + o.Name + " = " + tomlDefault(o) + "\n"
		name := strings.ReplaceAll(o.Name, "-", "_")
		word, value := "#option", o.Default
		switch {
		case o.List:
			word, value = "#list", strings.Split(o.Default, ",")[0]
		case o.Name == "state": // /var is in memory there
			word, value = "option", "/srv/peerload"
		}
		if !o.List {
			single = append(single, name)
		}
		uci += "\n" + strings.ReplaceAll(manual.Comment(o.Help), "#", "\t#") + "\t" + word + " " + name + " '" + value + "'\n"
	}
	manual.Check(t, "../../packaging/device/agent.toml", file, *update, makeAnew)
	manual.Check(t, "../../packaging/device/openwrt/peerload.config", uci, *update, makeAnew)
	script, err := os.ReadFile("../../packaging/device/openwrt/peerload.init")
	if err != nil {
		t.Fatal(err)
	}
	if line := "\nsingle=\"" + strings.Join(single, " ") + "\"\n"; !strings.Contains(string(script), line) {
		t.Errorf("peerload.init does not have the line %s", line)
	}
	for _, o := range agent.Options() {
		if o.List && !strings.Contains(string(script), "given "+strings.ReplaceAll(o.Name, "-", "_")+" ") {
			t.Errorf("peerload.init does not give %s", o.Name)
		}
	}
}

// tomlDefault is a value of an option as a file has it.
func tomlDefault(o agent.Option) string {
	if !o.List {
		return tomlValue([]string{o.Default})
	}
	b, _ := json.Marshal(strings.FieldsFunc(o.Default, func(r rune) bool { return r == ',' }))
	return strings.ReplaceAll(string(b), `","`, `", "`)
}

// TestCommentedOptions: a file in which every line is in force is one that the agent
// reads, but for options that must not be empty.
func TestCommentedOptions(t *testing.T) {
	b, err := os.ReadFile("../../packaging/device/agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "#"), " = ")
		if ok && !strings.Contains(name, " ") && value != `""` {
			lines = append(lines, name+" = "+value)
		}
	}
	path := filepath.Join(t.TempDir(), "all.toml")
	write(t, path, strings.Join(append(lines, `model = "linux-arm"`), "\n"))
	_, values, err := agent.Load(agent.Sources{Env: func(string) (string, bool) { return "", false }, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	_, defaults, err := agent.Load(agent.Sources{Env: func(string) (string, bool) { return "", false },
		Flags: map[string][]string{"model": {"linux-arm"}}, Path: t.TempDir()})
	if err != nil || len(lines) < 10 {
		t.Fatal(len(lines), err)
	}
	for i, v := range values {
		if strings.Join(v.Value, "|") != strings.Join(defaults[i].Value, "|") {
			t.Errorf("%s is %q in the file, its default is %q", v.Name, v.Value, defaults[i].Value)
		}
	}
}
