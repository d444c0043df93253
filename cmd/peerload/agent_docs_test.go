package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
)

// TestAgentGuide: the commands of the guide are understood, its configuration
// is valid, and its provisioning files say what they seem to say.
func TestAgentGuide(t *testing.T) {
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
