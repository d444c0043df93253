package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/version"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What the command line answers to whoever asks for help or mistypes, to the
// byte. The golden file has the commands, each after a $, and below it what
// they print and their exit status.
func TestCommandLineAnswers(t *testing.T) {
	name := filepath.Join("testdata", "commandline.golden")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	cases := 0
	for line := range strings.Lines(string(b)) {
		if args, ok := strings.CutPrefix(line, "$ peerload"); ok {
			all.WriteString(answer(t, strings.Fields(args)))
			cases++
		}
	}
	if cases < 50 {
		t.Fatalf("only %d commands in %s", cases, name)
	}
	golden.Check(t, "commandline", all.String(), *update)
}

// answer runs one command and tells all that is seen of it. A word ” is an
// empty argument; the version, which depends on the build, is told as VERSION.
func answer(t *testing.T, args []string) string {
	t.Helper()
	text := "$ " + strings.Join(append([]string{"peerload"}, args...), " ") + "\n"
	for i, a := range args {
		if a == "''" {
			args[i] = ""
		}
	}
	var stdout, stderr bytes.Buffer
	c := command(nil, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); c.ProcessState == nil {
		t.Fatal(err)
	}
	text += strings.ReplaceAll(stdout.String(), version.Read().String(), "VERSION")
	if stderr.Len() > 0 {
		text += "standard error:\n" + stderr.String()
	}
	return text + fmt.Sprintf("exit status %d\n\n", c.ProcessState.ExitCode())
}

// TestTroubleshootingCommands: the commands that docs/TROUBLESHOOTING.md tells to run
// are there, with their flags.
func TestTroubleshootingCommands(t *testing.T) {
	b, err := os.ReadFile("../../docs/TROUBLESHOOTING.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)(?:^|`)peerload ([^`\n]+)").FindAllStringSubmatch(string(b), -1) {
		if m[1] == "help COMMAND" || seen[m[1]] {
			continue
		}
		seen[m[1]] = true
		if out, code := run(t, nil, append(strings.Fields(m[1]), "--help")...); code != exitOK {
			t.Errorf("peerload %s --help: status %d, %s", m[1], code, out)
		}
	}
	if len(seen) < 7 {
		t.Errorf("only %v", seen)
	}
	if _, code := run(t, nil, "explian", "--help"); code == exitOK {
		t.Error("a command that is not there has help")
	}
}
