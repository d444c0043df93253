package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// nameWidth is the least width of the column of names in a list of commands.
const nameWidth = 11

// helpCommand is `help`, below the root c.
func (c *Command) helpCommand(stdout io.Writer) *Command {
	return &Command{
		Use: "help [command]", Short: "Help about any command",
		Long: "Help provides help for any command in the application.\nSimply type " + c.name() +
			" help [path to command] for full details.",
		Run: func(_ context.Context, args []string) error {
			at, err := c.find(args)
			if err == nil && len(at.args) > 0 {
				err = fmt.Errorf("unexpected argument %q: write \"%s help%s\"", at.args[0], c.name(),
					strings.TrimPrefix(at.path, c.name()))
			}
			if err == nil {
				_, err = fmt.Fprint(stdout, at.help())
			}
			return err
		},
	}
}

// help is all that is known about a command.
func (at call) help() string {
	return trimRight(cmp.Or(at.Long, at.Short)) + "\n\n" + at.usage()
}

// usage says how a command is called.
func (at call) usage() string {
	var b strings.Builder
	section := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	section("Usage:")
	if at.Run != nil {
		section("\n  %s%s [flags]", at.path, strings.TrimPrefix(at.Use, at.name()))
	}
	if len(at.Commands) > 0 {
		section("\n  %s [command]", at.path)
	}
	if at.Example != "" {
		section("\n\nExamples:\n%s", at.Example)
	}
	if len(at.Commands) > 0 {
		section("\n\nAvailable Commands:")
		width := nameWidth
		for _, s := range at.shown() {
			width = max(width, len(s.name()))
		}
		for _, s := range at.shown() {
			section("\n  %-*s %s", width, s.name(), s.Short)
		}
	}
	section("\n\nFlags:\n%s", trimRight(at.allFlags().FlagUsages()))
	if len(at.Commands) > 0 {
		section("\n\nUse \"%s [command] --help\" for more information about a command.", at.path)
	}
	return b.String() + "\n"
}

func trimRight(s string) string { return strings.TrimRightFunc(s, unicode.IsSpace) }

// shown are the commands that people see, by name.
func (c *Command) shown() []*Command {
	shown := slices.DeleteFunc(slices.Clone(c.Commands), func(s *Command) bool { return s.Hidden })
	slices.SortFunc(shown, func(a, b *Command) int { return cmp.Compare(a.name(), b.name()) })
	return shown
}
