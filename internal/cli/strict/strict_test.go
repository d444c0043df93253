package strict

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// program is a small program of cobra; ran tells which command ran with what.
func program(ran *string) *cobra.Command {
	run := func(cmd *cobra.Command, args []string) error {
		*ran = strings.TrimSpace(cmd.CommandPath() + " " + strings.Join(args, ","))
		return nil
	}
	show := &cobra.Command{Use: "show THING", Args: cobra.ExactArgs(1), RunE: run}
	add := &cobra.Command{Use: "add THING --as NAME", Args: cobra.MinimumNArgs(1), RunE: run}
	add.Flags().String("as", "", "what it is called (required)")
	add.Flags().Bool("all", false, "for all")
	add.Flags().String("one", "", "for one")
	add.Flags().String("mode", "fast", "how: fast or safe")
	if err := add.MarkFlagRequired("as"); err != nil {
		panic(err)
	}
	add.MarkFlagsMutuallyExclusive("all", "one")
	add.MarkFlagsOneRequired("all", "one")
	Values(add, "mode", "fast", "safe")
	turn := &cobra.Command{Use: "turn KEY", Args: cobra.ExactArgs(1), ValidArgs: []string{"root", "leaf"}, RunE: run}
	group := &cobra.Command{Use: "thing"}
	group.AddCommand(show, add, turn)
	root := &cobra.Command{Use: "prog"}
	root.AddCommand(group, &cobra.Command{Use: "secret", Hidden: true, RunE: run})
	return root
}

func execute(line string) (ran, printed string, err error) {
	root := program(&ran)
	var out strings.Builder
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(strings.Fields(line))
	Prepare(root)
	err = root.Execute()
	return ran, out.String(), err
}

func TestMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"thng":               `unknown command "thng": choose completion, help or thing; did you mean thing?`,
		"thing shw":          `thing: unknown command "shw": choose add, show or turn; did you mean show?`,
		"help xyz":           `unknown command "xyz": choose completion, help or thing`,
		"help thing xyz":     `thing: unknown command "xyz": choose add, show or turn`,
		"help thing show x":  `unexpected argument "x": write "prog help thing show"`,
		"completion csh":     `completion: unknown command "csh": choose bash, fish, powershell or zsh; did you mean zsh?`,
		"completion bash x":  `unexpected argument "x": write "prog completion bash"`,
		"thing show":         `an argument is missing: write "prog thing show THING"`,
		"thing show a b":     `unexpected argument "b": write "prog thing show THING"`,
		"thing show --nope":  `unknown flag --nope: "prog thing show --help" lists those that there are`,
		"thing turn":         `an argument is missing: write "prog thing turn KEY"; KEY is root or leaf`,
		"thing turn rot":     `unknown key "rot": choose root or leaf; did you mean root?`,
		"thing add a --all":  "--as is missing: what it is called",
		"thing add a --as":   "--as needs a value: what it is called (required)",
		"thing add a --as x": "give one of --all, --one",
		"thing add a":        "give one of --all, --one; --as is missing: what it is called",

		"thing add a --as x --all --one y":         "--all and --one exclude each other: give one of them",
		"thing add a --as x --all --mode fst":      `--mode is fast or safe, not "fst"; did you mean fast?`,
		"thing add a --as x --all=maybe":           `--all is true or false, not "maybe"`,
		"thing add --as x --all --mode safe --one": "--one needs a value: for one",
	} {
		ran, printed, err := execute(line)
		if err == nil || err.Error() != want || ran != "" || printed != "" {
			t.Errorf("%s: %v, want %s; printed %q, ran %q", line, err, want, printed, ran)
		}
	}
}

func TestRightLinesRun(t *testing.T) {
	for line, want := range map[string]string{
		"thing show a":                         "prog thing show a",
		"thing turn leaf":                      "prog thing turn leaf",
		"thing add a b --as x --one y":         "prog thing add a,b",
		"thing add a --as x --all --mode safe": "prog thing add a",
		"secret":                               "prog secret",
	} {
		if ran, printed, err := execute(line); ran != want || printed != "" || err != nil {
			t.Errorf("%s: ran %q, %v, printed %q", line, ran, err, printed)
		}
	}
	for line, want := range map[string]string{
		"":                             "  prog [command]",
		"thing":                        "  prog thing [command]",
		"help":                         "  prog [command]",
		"help thing show":              "  prog thing show THING [flags]",
		"completion zsh":               "#compdef prog",
		"__complete thing add --mode ": "",
	} {
		if ran, printed, err := execute(line); ran != "" || err != nil || !strings.Contains(printed, want) {
			t.Errorf("%s: %v, printed %q", line, err, printed)
		}
	}
}

// Shells offer the values that a flag takes.
func TestValuesAreCompleted(t *testing.T) {
	var ran string
	root := program(&ran)
	var out strings.Builder
	root.SetOut(&out)
	root.SetErr(new(strings.Builder))
	root.SetArgs([]string{"__completeNoDesc", "thing", "add", "a", "--mode", ""})
	Prepare(root)
	if err := root.Execute(); err != nil || out.String() != "fast\nsafe\n:4\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// A misspelt name in the program shows at once.
func TestValuesPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("values for a flag that there is not")
		}
	}()
	Values(&cobra.Command{Use: "x"}, "nope", "a")
}

// An error of a command itself is not changed.
func TestErrorsOfCommandsStay(t *testing.T) {
	own := errors.New("own")
	root := &cobra.Command{Use: "prog"}
	root.AddCommand(&cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return own }})
	root.SetArgs([]string{"fail"})
	Prepare(root)
	if err := root.Execute(); !errors.Is(err, own) {
		t.Error(err)
	}
}
