// Package cli is the command line of a program: a tree of commands, each with
// its flags, help, suggestions for what was mistyped, and completion in bash,
// zsh and fish. It uses pflag and no template engine, which a device has no
// room for. What a command does, and which exit status an error gives, is not
// here: the program decides that.
//
// Read first: [Command] and [Command.Execute], then help.go and complete.go.
package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/pflag"
)

// Command is one word of a command line and what may follow it.
type Command struct {
	// Use is the name and, after it, the form of the arguments, such as "get
	// URL...".
	Use string
	// Short is one line for the list of commands. Long begins the command's own
	// help; if it is "", Short does.
	Short, Long string
	// Example is printed in the help as it is; its lines are indented.
	Example string
	// Version, if not "", gives a flag --version that prints it.
	Version string
	// Hidden commands run, but are not listed, suggested or completed.
	Hidden bool
	// Args reports whether these arguments are right. nil: any are.
	Args func(args []string) bool
	// Run does the work; args are the arguments without the flags. nil: the
	// command prints its help.
	Run func(ctx context.Context, args []string) error
	// Commands are the subcommands.
	Commands []*Command

	flags *pflag.FlagSet
	raw   bool // all words are arguments, also those that look like flags
	alone bool // the program has this command only
}

// NoArgs is right without arguments.
func NoArgs(args []string) bool { return len(args) == 0 }

// Flags are the command's own flags. Their values are set when Run is called.
func (c *Command) Flags() *pflag.FlagSet {
	if c.flags == nil {
		c.flags = pflag.NewFlagSet(c.name(), pflag.ContinueOnError)
	}
	return c.flags
}

// Execute runs the command that args ask for, in a tree of which c is the root;
// args are those of the process without its name. It adds the commands help
// and completion to the tree. Help, versions and scripts go to stdout. The error
// is the command's own, or says what is wrong with args and what to write
// instead; it has not been printed.
func (c *Command) Execute(ctx context.Context, args []string, stdout io.Writer) error {
	root := *c
	root.Commands, root.alone = slices.Clone(c.Commands), len(c.Commands) == 0
	root.Commands = append(root.Commands, root.helpCommand(stdout), root.completionCommand(stdout))
	root.Commands = append(root.Commands, root.answerCommands(stdout)...)
	at, err := root.find(args)
	if err != nil {
		return err
	}
	if at.raw {
		return at.Run(ctx, at.args)
	}
	flags := at.allFlags()
	if err := flags.Parse(at.args); err != nil {
		return BadFlag(at.path, flags, err)
	}
	if help, _ := flags.GetBool("help"); help {
		fmt.Fprint(stdout, at.help())
		return nil
	}
	if at.Version != "" {
		if version, _ := flags.GetBool("version"); version {
			_, err := fmt.Fprintf(stdout, "%s version %s\n", at.path, at.Version)
			return err
		}
	}
	if at.Run == nil {
		fmt.Fprint(stdout, at.help())
		return nil
	}
	if args := flags.Args(); at.Args != nil && !at.Args(args) {
		return BadArgs(at.path, at.Use, args, at.Args)
	} else if slices.Contains(args, "") {
		return EmptyArg(at.path, at.Use)
	}
	if err := checkValues(flags); err != nil {
		return err
	}
	return at.Run(ctx, flags.Args())
}

// name is the word that calls the command.
func (c *Command) name() string {
	name, _, _ := strings.Cut(c.Use, " ")
	return name
}

// allFlags are the command's flags and those that every command has.
func (c *Command) allFlags() *pflag.FlagSet {
	flags := c.Flags()
	if flags.Lookup("help") == nil {
		flags.BoolP("help", "h", false, "help for "+c.name())
	}
	if c.Version != "" && flags.Lookup("version") == nil {
		flags.BoolP("version", "v", false, "version for "+c.name())
	}
	return flags
}

// call is a command as it was found in a line.
type call struct {
	*Command
	path string   // all words that lead to it
	args []string // all others
}

// names are the names of the commands below that people see.
func (c *Command) names() (names []string) {
	for _, s := range c.shown() {
		names = append(names, s.name())
	}
	return names
}

// find returns the command that words ask for. Flags may come before its name.
func (c *Command) find(words []string) (call, error) {
	at := call{c, c.name(), words}
	for len(at.Commands) > 0 {
		i := at.firstWord(at.args)
		if i < 0 {
			return at, nil
		}
		sub := at.sub(at.args[i])
		if sub == nil && at.alone { // the words are its arguments
			return at, nil
		}
		if sub == nil {
			return at, UnknownCommand(at.path, at.args[i], at.names())
		}
		at = call{sub, at.path + " " + sub.name(), slices.Delete(slices.Clone(at.args), i, i+1)}
	}
	return at, nil
}

func (c *Command) sub(name string) *Command {
	i := slices.IndexFunc(c.Commands, func(s *Command) bool { return s.name() == name })
	if i < 0 {
		return nil
	}
	return c.Commands[i]
}

// firstWord is the index of the first word that is neither a flag nor the value of
// one, of this command or of those below; -1: there is none.
func (c *Command) firstWord(words []string) int {
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "--":
			return -1
		case c.takesNext(w):
			i++
		case w != "" && w[0] != '-':
			return i
		}
	}
	return -1
}

// takesNext reports whether w is a flag whose value is the next word: --flag, -f, or
// -vf where v is one without. Of a flag that nobody knows it is assumed.
func (c *Command) takesNext(w string) bool {
	if len(w) < 2 || w[0] != '-' || strings.Contains(w, "=") {
		return false
	}
	if name, long := strings.CutPrefix(w, "--"); long {
		valued, known := c.valued(func(f *pflag.FlagSet) *pflag.Flag { return f.Lookup(name) })
		return valued || !known
	}
	for i := 1; i < len(w); i++ {
		if w[i] >= utf8.RuneSelf {
			return false // no flag is that short
		}
		valued, known := c.valued(func(f *pflag.FlagSet) *pflag.Flag { return f.ShorthandLookup(w[i : i+1]) })
		if valued || !known {
			return i == len(w)-1 // else what follows is the value
		}
	}
	return false
}

// valued reports whether a flag of this command or of one below needs a value, and
// whether there is such a flag.
func (c *Command) valued(find func(*pflag.FlagSet) *pflag.Flag) (valued, known bool) {
	if f := find(c.allFlags()); f != nil {
		valued, known = f.NoOptDefVal == "", true
	}
	for _, s := range c.Commands {
		v, k := s.valued(find)
		valued, known = valued || v, known || k
	}
	return valued, known
}
