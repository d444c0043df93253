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
func (c *Command) helpCommand(stdout, stderr io.Writer) *Command {
	return &Command{
		Use: "help [command]", Short: "Help about any command",
		Long: "Help provides help for any command in the application.\nSimply type " + c.name() +
			" help [path to command] for full details.",
		Run: func(_ context.Context, args []string) error {
			at, err := c.find(args)
			if err != nil {
				fmt.Fprintf(stderr, "Unknown help topic %#q\n%s", args, at.usage(false))
				return nil
			}
			fmt.Fprint(stdout, at.help())
			return nil
		},
	}
}

// help is all that is known about a command.
func (at call) help() string {
	return trimRight(cmp.Or(at.Long, at.Short)) + "\n\n" + at.usage(true)
}

// usage says how a command is called.
func (at call) usage(flags bool) string {
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
	if flags {
		section("\n\nFlags:\n%s", trimRight(at.allFlags().FlagUsages()))
	}
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

// suggestDistance is how many letters of a suggested name may differ.
const suggestDistance = 2

// suggest names the commands that may have been meant, "" if there are none.
func (c *Command) suggest(typed string) string {
	text := ""
	typed = strings.ToLower(typed)
	for _, s := range c.Commands {
		name := strings.ToLower(s.name())
		if s.Hidden || name == "help" {
			continue
		}
		if strings.HasPrefix(name, typed) || distance(typed, name) <= suggestDistance {
			text += "\t" + s.name() + "\n"
		}
	}
	if text == "" {
		return ""
	}
	return "\n\nDid you mean this?\n" + text
}

// distance is Levenshtein's: how many bytes to insert, delete or replace until
// a is b.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // from the first i bytes of a to each prefix of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
