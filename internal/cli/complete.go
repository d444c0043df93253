package cli

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"
)

// Hidden commands that the scripts of the shells ask with all words of a line,
// of which the last is still being typed. They answer with one candidate per
// line, followed by a tab and its meaning; the last line is onlyThese, or
// orFiles if the shell should offer file names when there is no candidate.
const (
	askFull  = "__complete"
	askNames = "__completeNoDesc"

	orFiles   = ":0"
	onlyThese = ":4"
)

// valuesKey is the annotation of a flag with what its value can be.
const valuesKey = "peerload_cli_values"

// Values lists the possible values of a flag: shells offer them, and other
// values are refused. It panics if there is no such flag.
func Values(flags *pflag.FlagSet, name string, values ...string) {
	if err := flags.SetAnnotation(name, valuesKey, values); err != nil {
		panic(err)
	}
}

// scripts are completion.bash, .zsh and .fish. They pass the line on and show
// the answer. PROGRAM is replaced by the program's name, ASK by the command to
// call.
//
//go:embed completion.*
var scripts embed.FS

// completionCommand is `completion`, below the root c.
func (c *Command) completionCommand(stdout io.Writer) *Command {
	n := c.name()
	load := "source <(" + n + " completion "
	return &Command{
		Use: "completion", Short: "Generate the autocompletion script for the specified shell", Args: NoArgs,
		Long: "Generate the autocompletion script for " + n +
			" for the specified shell.\nSee each sub-command's help for details on how to use the generated script.",
		Commands: []*Command{
			c.scriptCommand(stdout, "bash", load+"bash)", "echo '"+load+"bash)' >> ~/.bashrc"),
			c.scriptCommand(stdout, "zsh", load+"zsh)", n+` completion zsh > "${fpath[1]}/_`+n+`"`),
			c.scriptCommand(stdout, "fish", n+" completion fish | source",
				n+" completion fish > ~/.config/fish/completions/"+n+".fish"),
		},
	}
}

// scriptCommand prints the script for one shell; load is the command that loads
// it into the running shell, install the one that installs it for later shells.
func (c *Command) scriptCommand(stdout io.Writer, shell, load, install string) *Command {
	s := &Command{Use: shell, Short: "Generate the autocompletion script for " + shell, Args: NoArgs}
	s.Long = fmt.Sprintf("Print the script by which %s completes the commands, flags and files of %s.\n\n"+
		"For this shell:\n\n\t%s\n\nFor every new one, once:\n\n\t%s", shell, c.name(), load, install)
	plain := s.Flags().Bool("no-descriptions", false, "disable completion descriptions")
	s.Run = func(context.Context, []string) error {
		ask := askFull
		if *plain {
			ask = askNames
		}
		script, err := scripts.ReadFile("completion." + shell)
		if err == nil {
			_, err = strings.NewReplacer("PROGRAM", c.name(), "ASK", ask).WriteString(stdout, string(script))
		}
		return err
	}
	return s
}

// answerCommands are what the scripts ask, below the root c.
func (c *Command) answerCommands(stdout io.Writer) []*Command {
	answer := func(full bool) func(context.Context, []string) error {
		return func(_ context.Context, words []string) error {
			if len(words) == 0 {
				return errors.New("the words of a line are missing: shells give them")
			}
			found, end := c.complete(words)
			for _, f := range found {
				if line, _, _ := strings.Cut(f.about, "\n"); full && line != "" {
					f.text += "\t" + line
				}
				fmt.Fprintln(stdout, f.text)
			}
			_, err := fmt.Fprintln(stdout, end)
			return err
		}
	}
	return []*Command{
		{Use: askFull, Hidden: true, raw: true, Run: answer(true)},
		{Use: askNames, Hidden: true, raw: true, Run: answer(false)},
	}
}

// candidate is a word that may complete the line.
type candidate struct{ text, about string }

// complete finds the completions of the last of words; end closes the answer.
func (c *Command) complete(words []string) (found []candidate, end string) {
	last := words[len(words)-1]
	at, err := c.find(words[:len(words)-1])
	if err != nil {
		return nil, onlyThese
	}
	flags := at.allFlags()
	flags.ParseErrorsAllowlist.UnknownFlags = true
	err = flags.Parse(at.args) // as far as possible: the line is not complete
	var waiting *pflag.ValueRequiredError
	name, value, isPair := strings.Cut(last, "=")
	switch {
	case errors.As(err, &waiting):
		return valuesOf(waiting.GetFlag(), last)
	case flags.ArgsLenAtDash() >= 0: // no flag comes after --
		return nil, orFiles
	case isPair && strings.HasPrefix(name, "--"):
		return valuesOf(flags.Lookup(name[2:]), value)
	case strings.HasPrefix(last, "-"):
		return flagNames(flags, last), onlyThese
	case at.name() == "help":
		if at, err = c.find(at.args); err != nil {
			return nil, onlyThese
		}
	case len(at.Commands) == 0:
		return nil, orFiles
	}
	for _, s := range at.shown() {
		if strings.HasPrefix(s.name(), last) {
			found = append(found, candidate{s.name(), s.Short})
		}
	}
	return found, onlyThese
}

// valuesOf returns the known values of a flag; f is nil if there is no such
// flag.
func valuesOf(f *pflag.Flag, prefix string) (found []candidate, end string) {
	switch {
	case f == nil:
		return nil, onlyThese
	case len(f.Annotations[valuesKey]) == 0:
		return nil, orFiles
	}
	for _, v := range f.Annotations[valuesKey] {
		if strings.HasPrefix(v, prefix) {
			found = append(found, candidate{text: v})
		}
	}
	return found, onlyThese
}

// flagNames are the flags that begin with typed and may still be given.
func flagNames(flags *pflag.FlagSet, typed string) (found []candidate) {
	flags.VisitAll(func(f *pflag.Flag) {
		if _, many := f.Value.(pflag.SliceValue); f.Hidden || f.Changed && !many {
			return
		}
		for _, n := range []string{"--" + f.Name, "-" + f.Shorthand} {
			if n != "-" && strings.HasPrefix(n, typed) {
				found = append(found, candidate{n, f.Usage})
			}
		}
	})
	return found
}
