package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// mistakes are wrong lines of each kind. DIR is a directory of the test.
var mistakes = []string{
	// Commands.
	"gt", "config sho", "config show x", "help foo", "help config sho", "help get x", "completion bsh",
	"completion bash x",
	// Arguments.
	"get", "status x", "explain a b", "agent x",
	"proxy --listen x", "proxy --listen 0.0.0.0:4052",
	"proxy --listen 192.0.2.1:4052 --allow 192.0.2.0/24",
	"proxy status --listen x", "proxy status --listen 127.0.0.1:1", "proxy --rule x", "proxy --keep x", "proxy --allow x",
	// Flags.
	"get URL --ouput f", "get URL -Z", "get URL -o", "get URL --sha256", "status --state", "agent --log-levle info",
	// Values.
	"get URL --unsigned --port x", "get URL --unsigned --port 70000", "get URL --unsigned --linger 5",
	"get URL --unsigned --linger -1s", "get URL --unsigned --max-time foo", "get URL --unsigned=maybe",
	"get URL --unsigned --peers maybe", "get URL --unsigned --profile clasic", "get URL --unsigned --trees 7",
	"get URL --unsigned --retry x", "get URL --unsigned --retry -1", "get URL --unsigned --tftp-window 0",
	"get URL --unsigned --tftp-blksize 7", "get URL --unsigned --origin-connections 0",
	"get URL --unsigned --origin-connections 17",
	"get URL --unsigned --limit-rate 5x", "get URL --unsigned --connect-timeout foo", "get URL --unsigned -H foo",
	"get URL --unsigned --address 1.2.3", "get URL --sha256 abc",
	"agent --log-level foo", "agent --log-format foo", "agent --port x", "agent --no-sync=maybe", "agent --check-in x",
	"agent --check-in 1ms --model m", "agent --mac xx --model m", "agent --page-address x --model m",
	"agent --server ftp://u:secret@h --model m", "agent --controller ftp://u:secret@h --model m",
	// Files.
	"get URL --unsigned --cacert DIR/none", "get URL --unsigned --cacert DIR/bad.toml",
	"get URL --unsigned --cert DIR/none", "get URL --unsigned --key DIR/none", "get URL.load --trust DIR/none",
	"get URL --unsigned --state DIR/bad.toml", "get URL --unsigned --state DIR -o DIR/bad.toml/",
	"agent --config DIR/none", "agent --config DIR/bad.toml", "agent --config DIR/unknown.toml",
	"agent --config DIR/word.toml", "status --state DIR/none", "explain x --state DIR/none", "screen --state DIR/none",
	"explain fw.bim --state DIR/ran",
	// A call.
	"yield", "yield maybe", "yield on --state DIR/none",
	// A release.
	"trust verify-release", "trust verify-release SHA256SUMS", "trust verify-release --key DIR/none DIR/SHA256SUMS",
	"trust verify-release --key DIR/bad.toml DIR/SHA256SUMS", "trust verify-release --key DIR/ran DIR/SHA256SUMS",
	// What to fetch.
	"get URL", "get URL --unsigned --trust DIR", "get ftp://u:secret@h/x --unsigned", "get http:///y --unsigned",
	"get http://h/ --unsigned", "get :::: --unsigned", "get URL --unsigned --slots", "get URL.load --unsigned",
	"get URL --trust DIR", "get URL URL --unsigned",
	"get URL http://127.0.0.1:1/b --sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}

// Each mistake is answered with what to do, and with an exit status, in each
// command: the golden file has all lines with their answers.
func TestMistakes(t *testing.T) {
	tiers.Long(t, "it starts the program for each mistake")
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"bad.toml": "model =\n", "unknown.toml": "modle = \"m\"\n", "word.toml": "log-level = \"inf\"\n",
	} {
		write(t, filepath.Join(dir, name), content)
	}
	record(t, filepath.Join(dir, "ran"), recorded())
	lines := slices.Concat(mistakes, golden.Everywhere(rootCommand(), func(c *cli.Command) string { return c.Use },
		func(c *cli.Command) []*cli.Command { return c.Commands }))
	golden.Answers(t, "mistakes", "peerload", lines, func(line string) (string, int) {
		args := strings.Fields(strings.NewReplacer("DIR", dir, "URL", "http://127.0.0.1:1/a").Replace(line))
		out, code := run(t, nil, args...)
		if code < exitUsage || strings.Contains(out, "secret") || strings.Contains(out, "; ;") ||
			strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %d, %s", line, code, out)
		}
		return strings.ReplaceAll(out, dir, "DIR"), code
	}, *update)
}
