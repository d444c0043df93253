// Command powercut enumerates the states in which a power cut can leave what
// Peerload keeps, and counts them.
//
//	go run ./internal/powercut              all packages, about a minute of two processors
//	go run ./internal/powercut -most 1000   more: at most 1,000 states for each operation
//
// A state is what a disk holds after the power was cut at one operation of a
// story: any subset of the changes of names that were not durable, and of the
// contents that were not synced any length and, page by page, any version, some
// of them torn. On each state the product's own code starts, and must find the
// old or the new, whole, and all that it had reported as durable. The states and
// what is wanted of them are in the tests named PowerCut of each package; they
// see a sample of the same with each run of go test.
//
// Printed is a table in Markdown, and the sum. The command fails if a test fails,
// or if there were fewer states than -least.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/internal/tool"
)

const (
	// variable has the number of states for each operation, as package faultdisk
	// reads it.
	variable = "PEERLOAD_POWER_CUTS"
	module   = "github.com/peerload/peerload/"
)

// countLine is how package faultdisk says what a test saw.
var countLine = regexp.MustCompile(`crash states: (\d+), after each of (\d+) operations`)

// packages are those with such tests.
var packages = []string{"./internal/device/slot", "./internal/device/fileset", "./internal/device/status",
	"./internal/device/agent", "./internal/device/proxy",
	"./internal/durable", "./trust", "./internal/controller/repository", "./internal/controller/servercert",
	"./internal/controller/orders"}

func main() { tool.Main("powercut", run) }

// count is what the tests of one package saw.
type count struct{ stories, operations, states int }

func (c *count) add(o count) {
	c.stories += o.stories
	c.operations += o.operations
	c.states += o.states
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("powercut", flag.ContinueOnError)
	flags.SetOutput(stderr)
	most := flags.Int("most", 300, "at most this many `states` for each operation")
	least := flags.Int("least", 20_000, "fail if there are fewer `states` in all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || *most < 1 {
		return errors.New("give a number of states of 1 or more, and nothing else")
	}
	var all count
	var failed []string
	fmt.Fprintln(stdout, "| package | stories | operations | crash states |\n|---|---|---|---|")
	for _, p := range packages {
		c, out, err := enumerate(ctx, p, *most)
		all.add(c)
		fmt.Fprintf(stdout, "| %s | %d | %d | %d |\n", strings.TrimPrefix(p, "./"), c.stories, c.operations, c.states)
		if err != nil {
			failed = append(failed, p)
			fmt.Fprintf(stderr, "%s%s: %v\n", out, p, err)
		}
	}
	fmt.Fprintf(stdout, "| all | %d | %d | %d |\n", all.stories, all.operations, all.states)
	switch {
	case len(failed) > 0:
		return fmt.Errorf("states that must not be: see the tests of %s", strings.Join(failed, ", "))
	case all.states < *least:
		return fmt.Errorf("%d states are fewer than %d: raise -most", all.states, *least)
	}
	return nil
}

// enumerate runs the tests of one package. out is what they print of failures.
func enumerate(ctx context.Context, pkg string, most int) (c count, out []byte, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=2h", "-run=PowerCut", "-v", pkg)
	cmd.Env = append(slices.Clone(os.Environ()), variable+"="+strconv.Itoa(most))
	raw, err := cmd.CombinedOutput()
	c, out = read(raw)
	if err == nil && c.stories == 0 {
		err = errors.New("no test says that it saw crash states")
	}
	return c, out, err
}

// read sums up what tests print, and keeps what is not about success.
func read(raw []byte) (c count, out []byte) {
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if m := countLine.FindStringSubmatch(line); m != nil {
			operations, _ := strconv.Atoi(m[2])
			states, _ := strconv.Atoi(m[1])
			c.add(count{1, operations, states})
			continue
		}
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "=== ") || strings.HasPrefix(text, "--- PASS") {
			continue
		}
		out = append(append(out, strings.ReplaceAll(line, module, "")...), '\n')
	}
	return c, out
}
