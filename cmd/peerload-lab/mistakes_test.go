package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/manual"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistakes are wrong lines of each kind. DIR is a directory of the test.
var mistakes = []string{
	"dmeo", "help foo", "bench figure", "help bench figure", "completion foo", "site --devces 3", "site --wan",
	"demo --peers maybe", "demo --devices 1", "demo --devices x", "demo --wan foo", "demo --wan 5xbit", "demo --wan 1bit",
	"demo --kill-root 200", "demo --timeout 5", "demo --peers off --kill-root 50", "demo --peerload DIR/none",
	"site --kind loopbac", "site --mode foo", "site --repeat 0", "site --devices 0", "site --size 0", "site --size 5XB",
	"site --loss 300", "site --loss 60%", "site --rtt 20s", "site --kill-root 50,25", "site --kill-root x",
	"site --kind loopback --rtt 10ms", "site --mode classic --kill-root 3", "site --late -1", "site --device-procs -2",
	"up --story foo", "up --story kill", "up --story isolat", "up --story=cut", "up --stories DIR/none",
	"up --stories DIR/bad",
	"up --devices 100000", "up --subnets 200", "bench --kind foo", "bench --runs 101", "bench compare --scenario lann",
	"bench compare --devices 0", "sim --fault foo", "sim --fault crash-rot",
	"sim --fault crash-root@500", "sim --runs 0", "sim --runs -3", "sim --digest", "sim --runs 2 --devices 3",
	"sim --subnets 0", "sim --devices 0", "sim --seed -1", "sim --runs 2 --trace", "sim --loss x", "sim --rtt -5ms",
	"plan --load DIR/none", "plan --load DIR/empty", "plan --load x --size 3", "plan --devices 0",
	"plan --devices -1", "plan --rtt 11s", "plan --spread -1s", "plan --wan-loss 51", "plan --origin-connections 17",
	"sim --devices 10001", "sim --devices 2 --subnets 3",
	"plan --check --check-runs 100", "rounds --devices 1", "rounds --first 0", "rounds --rounds -1",
	"rounds --limit 0s",
}

// seen are the commands below one that people see.
func seen(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() })
}

// Each mistake is answered with what to do, and with an exit status, in each
// command: the golden file has all lines with their answers.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad"), []byte("at 30% kil root\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := slices.Concat(mistakes, golden.Everywhere(rootCommand(), (*cobra.Command).Name, seen))
	golden.Answers(t, "mistakes", "peerload-lab", lines, func(line string) (string, int) {
		var out bytes.Buffer
		root := rootCommand()
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(strings.Fields(strings.ReplaceAll(line, "DIR", dir)))
		err := root.ExecuteContext(t.Context())
		if err == nil || status(err) != exitUsage {
			t.Errorf("%s: %v", line, err)
			return "", status(err)
		}
		said := terminal.Printable(cli.Advise(err).Error())
		return out.String() + "peerload-lab: " + strings.ReplaceAll(said, dir, "DIR") + "\n", status(err)
	}, *update)
}

// TestManual: the manual page is made from the commands.
func TestManual(t *testing.T) {
	manual.Check(t, "../../packaging/man/peerload-lab.1",
		manual.Page(manual.OfCobra(rootCommand()), "peerload(1)", "peerload-server(1)"), *update,
		"go test ./cmd/peerload-lab -run TestManual")
}
