package cli

import (
	"context"
	"strings"
	"testing"
)

// tree is a small program: two commands, one with commands below it, and one
// that is hidden. ran tells which ran with what.
func tree(ran *string) *Command {
	run := func(name string) func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			*ran = strings.TrimSpace(name + " " + strings.Join(args, ","))
			return nil
		}
	}
	copyTo := &Command{Use: "copy FILE...", Short: "Copy files", Run: run("copy")}
	copyTo.Flags().StringP("to", "t", "", "where to")
	copyTo.Flags().String("mode", "fast", "how: fast or safe")
	copyTo.Flags().StringArrayP("skip", "s", nil, "what not to copy\nin detail")
	copyTo.Flags().BoolP("quiet", "q", false, "say nothing")
	copyTo.Flags().Duration("wait", 0, "how long to wait (default: never)")
	Values(copyTo.Flags(), "mode", "fast", "safe")
	return &Command{Use: "prog", Short: "Do things", Version: "1.2", Commands: []*Command{
		copyTo,
		{Use: "remote", Short: "Look elsewhere", Commands: []*Command{
			{Use: "list", Short: "List what is there", Args: NoArgs, Run: run("remote list")},
			{Use: "look-everywhere", Short: "Take long", Args: NoArgs, Run: run("remote look")},
		}},
		{Use: "secret", Short: "Not for people", Hidden: true, Run: run("secret")},
	}}
}

// execute runs a line of words and tells what is printed, which command ran,
// and the error, whichever there is.
func execute(line string) string {
	var ran string
	var stdout strings.Builder
	args := strings.Fields(line)
	for i := range args {
		if args[i] == "''" {
			args[i] = ""
		}
	}
	err := tree(&ran).Execute(context.Background(), args, &stdout)
	if err != nil {
		return stdout.String() + err.Error()
	}
	return stdout.String() + ran
}

func TestExecute(t *testing.T) {
	for line, want := range map[string]string{
		"copy a b":                "copy a,b",
		"copy -- --to a":          "copy --to,a",
		"copy --to x a -qs y -sz": "copy a",
		"--to=x copy a":           "copy a", // flags may stand before the command
		"--to x copy a":           "copy a",
		"--quiet copy a":          "copy a", // it has no value
		"-q copy a":               "copy a",
		"-qt x copy a":            "copy a",
		"-tx copy a":              "copy a",
		"--wait 1s -q copy a":     "copy a",
		"secret copy":             "secret copy",
		"remote list":             "remote list",
		"--version":               "prog version 1.2\n",
		"copy":                    "copy", // of any arguments
		"remote list x":           `unexpected argument "x": write "prog remote list"`,
		"remote list --nope":      `unknown flag --nope: "prog remote list --help" lists those that there are`,
		"remote list -x":          `unknown flag -x: "prog remote list --help" lists those that there are`,
		"copy --ot a":             `unknown flag --ot: "prog copy --help" lists those that there are; did you mean --to?`,
		"copy --to":               "--to needs a value: where to",
		"copy -t":                 "--to needs a value: where to",
		"copy --skip":             "--skip needs a value: what not to copy",
		"copy --=x":               `"--=x" is no flag: write --NAME VALUE or --NAME=VALUE`,
		"copy --quiet=maybe":      `--quiet is true or false, not "maybe"`,
		"copy --wait 5":           `--wait is a time with its unit, such as 500ms, 30s or 1h30m, not "5"`,
		"copy --mode slow":        `--mode is fast or safe, not "slow"`,
		"copy --mode=":            `--mode is fast or safe, not ""`,
		"xyz":                     `unknown command "xyz": choose completion, copy, help or remote`,
		"cpoy":                    `unknown command "cpoy": choose completion, copy, help or remote; did you mean copy?`,
		"secre":                   `unknown command "secre": choose completion, copy, help or remote`,
		"remote lst":              `remote: unknown command "lst": choose list or look-everywhere; did you mean list?`,
		"help xyz":                `unknown command "xyz": choose completion, copy, help or remote`,
		"help remote xyz":         `remote: unknown command "xyz": choose list or look-everywhere`,
		"help remote list xyz":    `unexpected argument "xyz": write "prog help remote list"`,
		"completion csh":          `completion: unknown command "csh": choose bash, fish or zsh; did you mean zsh?`,
	} {
		if got := execute(line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestOneCommand: a program that does one thing takes its arguments without a word
// before them, and has help, version and completion all the same.
func TestOneCommand(t *testing.T) {
	var got []string
	one := func() *Command {
		c := &Command{Use: "one FILE...", Short: "Do one thing", Version: "1.2",
			Run: func(_ context.Context, args []string) error { got = args; return nil }}
		c.Flags().StringP("to", "t", "", "where to")
		return c
	}
	var out strings.Builder
	for line, want := range map[string]string{"a -t x b": "a b", "--to x a": "a", "-- help": "help"} {
		if err := one().Execute(t.Context(), strings.Fields(line), &out); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
	for line, want := range map[string]string{"--version": "one version 1.2\n", "completion bash": "complete",
		"help": "where to", "__complete a --t": "--to\twhere to"} {
		out.Reset()
		err := one().Execute(t.Context(), strings.Fields(line), &out)
		if err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v, %s", line, err, out.String())
		}
	}
}

func TestHelp(t *testing.T) {
	const remote = `Look elsewhere

Usage:
  prog remote [command]

Available Commands:
  list            List what is there
  look-everywhere Take long

Flags:
  -h, --help   help for remote

Use "prog remote [command] --help" for more information about a command.
`
	for _, line := range []string{"remote", "remote -h", "help remote"} {
		if got := execute(line); got != remote {
			t.Errorf("%s: %s", line, got)
		}
	}
	for line, want := range map[string]string{
		"":               "  remote      Look elsewhere\n",
		"copy --help":    "  -t, --to string          where to\n",
		"help help":      "  prog help [command] [flags]\n",
		"completion":     "  fish        Generate the autocompletion script for fish\n",
		"completion zsh": "compdef _prog prog\n",
	} {
		got := execute(line)
		if hidden := strings.Contains(got, "secret"); hidden || !strings.Contains(got, want) {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"''":                     "completion copy help remote :4",
		"co":                     "completion copy :4",
		"sec":                    ":4",
		"xyz ''":                 ":4",
		"remote ''":              "list look-everywhere :4",
		"help ''":                "completion copy help remote :4",
		"help remote li":         "list :4",
		"help xyz ''":            ":4",
		"copy ''":                ":0", // files
		"copy a b":               ":0",
		"copy --":                "--help --mode --quiet --skip --to --wait :4",
		"copy -":                 "--help -h --mode --quiet -q --skip -s --to -t --wait :4",
		"copy -q --mode fast --": "--help --skip --to --wait :4", // those not given yet
		"copy -s x --s":          "--skip :4",                    // may be given again
		"copy -- -":              ":0",
		"copy --to ''":           ":0",
		"copy --to=x":            ":0",
		"copy -qt ''":            ":0",
		"copy --mode ''":         "fast safe :4",
		"copy --mode=s":          "safe :4",
		"copy --mode xyz":        ":4",
		"copy --to --mode ''":    ":0", // --mode is the value of --to
		"copy --quiet --m":       "--mode :4",
		"copy --xyz=":            ":4",
		"--mode=safe copy --m":   ":4",
		"-":                      "--help -h --version -v :4",
	} {
		if got := strings.Join(strings.Fields(execute(askNames+" "+line)), " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
	if got, want := execute(askFull+" copy --s"), "--skip\twhat not to copy\n:4\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := execute(askFull); !strings.HasPrefix(got, "the words of a line") {
		t.Error(got)
	}
}

// A misspelt name in the program shows at once.
func TestValuesPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("values for a flag that there is not")
		}
	}()
	Values((&Command{Use: "x"}).Flags(), "nope", "a")
}
