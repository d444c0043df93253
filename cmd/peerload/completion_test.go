package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// completions are lines that are typed up to a tab, as the words they have,
// and the candidates that shells show for the last.
var completions = []struct{ line, want string }{
	{"peerload g", "get"},
	{"peerload config sh", "show"},
	{"peerload help co", "completion config"},
	{"peerload completion ", "bash fish zsh"},
	{"peerload get --pe", "--peers"},
	{"peerload get --peers on --un", "--unsigned"},
	{"peerload get --peers ", "on off"},
	{"peerload get --peers=of", "off"},
	{"peerload get http://10.0.0.5:80/x --profile=", "lan classic"},
	{"peerload get --trees ", "0 1 2"},
	{"peerload agent --log-l", "--log-level"},
	{"peerload agent --log-level ", "debug info warn error"},
	{"peerload config show --log-format=", "text json"},
	{"peerload get --nope=", ""},
	{"peerload nope ", ""},
	{"peerload get ", "FILES"},
	{"peerload get -o ", "FILES"},
	{"peerload agent --config=/etc/", "FILES"},
	{"peerload explain --state /tmp ", "FILES"},
}

// shell runs a script in a real shell that finds this program as peerload.
func shell(t *testing.T, script string, name string, args ...string) string {
	t.Helper()
	path := foreign.Program(t, name)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "peerload")); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, append(args, "-c", script)...)
	c.Env = append(command(nil).Env, "PATH="+dir+":"+os.Getenv("PATH"), "HOME="+dir, "TERM=dumb")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s\n%s", name, err, script, out)
	}
	return string(out)
}

// candidates are the words in the lines of a shell's answer.
func candidates(out string) string { return strings.Join(strings.Fields(out), " ") }

func TestBashCompletion(t *testing.T) {
	tiers.Long(t, "it asks bash for each word")
	t.Parallel()
	const start = `
source <(peerload completion bash)
files=FILES
compopt() { files=; }
try() { # LINE WORD...: what bash has before it calls the function
	COMP_LINE=$1 COMP_POINT=${#1}
	shift
	COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
	_peerload peerload
	if ((${#COMPREPLY[@]} == 0)); then echo $files; else printf '%s\n' "${COMPREPLY[@]}"; fi
}
COMP_TYPE=9
`
	for _, c := range completions {
		// bash splits at = and :, too, and the sign is a word of its own.
		words := strings.Fields(strings.NewReplacer("=", " = ", ":", " : ").Replace(c.line))
		if strings.HasSuffix(c.line, " ") {
			words = append(words, "")
		}
		script := start + fmt.Sprintf("try '%s' '%s'\n", c.line, strings.Join(words, "' '"))
		if got := candidates(shell(t, script, "bash", "--norc")); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	// A list shows what its words mean, unless it should not.
	list := start + "COMP_TYPE=63; COLUMNS=40; try 'peerload ex' peerload ex; try 'peerload s' peerload s\n"
	if got, want := shell(t, list, "bash", "--norc"), `explain
screen               (Show what a phone
status               (Show what this de
`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	list = strings.Replace(list, "bash)", "bash --no-descriptions)", 1)
	if got, want := shell(t, list, "bash", "--norc"), "explain\nscreen\nstatus\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Where = does not end a word, the candidate is all of it.
	whole := start + "COMP_WORDBREAKS=' '; try 'peerload get --peers=of' peerload get --peers=of\n"
	if got := shell(t, whole, "bash", "--norc"); got != "--peers=off\n" {
		t.Errorf("%q", got)
	}
	// What stands behind the cursor does not count.
	cursor := start + "COMP_LINE='peerload get --peers' COMP_POINT=10 COMP_WORDS=(peerload get --peers) COMP_CWORD=1\n" +
		"_peerload; echo ${COMPREPLY[@]}\n"
	if got := shell(t, cursor, "bash", "--norc"); got != "get\n" {
		t.Errorf("%q", got)
	}
}

func TestZshCompletion(t *testing.T) {
	tiers.Long(t, "it asks zsh for each word")
	t.Parallel()
	const start = `
compdef() { }
compset() { }
_describe() { print -rl -- "${(@P)2}" }
_files() { print FILES }
source <(peerload completion zsh)
try() { words=("$@"); CURRENT=$#; PREFIX=$words[-1]; _peerload }
`
	for _, c := range completions {
		words := strings.Fields(c.line)
		if strings.HasSuffix(c.line, " ") {
			words = append(words, "")
		}
		script := start + fmt.Sprintf("try '%s'\n", strings.Join(words, "' '"))
		var shown []string
		for line := range strings.Lines(shell(t, script, "zsh", "-f")) {
			name, _, _ := strings.Cut(line, ":") // what it means comes behind
			shown = append(shown, name)
		}
		if got := candidates(strings.Join(shown, " ")); got != c.want {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	want := "screen:Show what a phone's screen would show\nstatus:Show what this device does now, per file\n"
	if got := shell(t, start+"try peerload s", "zsh", "-f"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFishCompletion(t *testing.T) {
	tiers.Long(t, "it asks fish for each word")
	t.Parallel()
	for _, c := range completions {
		script := "function __fish_complete_path; echo $argv[1]FILES; end; peerload completion fish | source\n" +
			"complete -C '" + c.line + "'"
		// fish shows whole words, in the order of the alphabet.
		before := c.line[strings.LastIndex(c.line, " ")+1:]
		if c.want != "FILES" {
			before = before[:strings.Index(before, "=")+1]
		}
		want := map[string]bool{}
		for _, w := range strings.Fields(c.want) {
			want[before+w] = true
		}
		out := shell(t, script, "fish", "--no-config")
		for line := range strings.Lines(out) {
			name, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if !want[name] {
				t.Errorf("%s: %q is a candidate", c.line, name)
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Errorf("%s: %v missing in\n%s", c.line, want, out)
		}
	}
}
