// Package manual writes manual pages from commands, and holds files that are made
// from the code against the code.
//
// What lives here: the page's layout, and how a file of the tree is compared or
// written anew. What must not: texts about a program, which are those of its help.
// Read Page first.
package manual

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is a command as the page has it.
type Command struct {
	// Path are all words that lead to it, and Form the form of its arguments.
	Path, Form string
	// Short, Long and Example are those of its help.
	Short, Long, Example string
	Flags                *pflag.FlagSet
	Commands             []Command
}

// OfCobra is a command of cobra and all below it.
func OfCobra(c *cobra.Command) Command {
	_, form, _ := strings.Cut(c.Use, " ")
	m := Command{Path: c.CommandPath(), Form: form, Short: c.Short, Long: c.Long, Example: c.Example,
		Flags: c.NonInheritedFlags()}
	for _, sub := range c.Commands() {
		if !sub.Hidden && sub.Name() != "help" {
			m.Commands = append(m.Commands, OfCobra(sub))
		}
	}
	return m
}

// Page is the manual page of the program whose root is c. also are pages to read
// beside it.
func Page(c Command, also ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".\\\" Made from the commands: go test ./cmd/%s -run TestManual -update\n", c.Path)
	name := escape(c.Path)
	fmt.Fprintf(&b, ".TH %s 1 \"\" Peerload \"Peerload\"\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n",
		strings.ToUpper(name), name, escape(lower(c.Short)), name)
	if len(c.Commands) > 0 {
		b.WriteString(".I command\n")
	}
	b.WriteString(".RI [ flags ]\n.SH DESCRIPTION\n")
	prose(&b, cmp.Or(c.Long, c.Short))
	details(&b, c, ".SH FLAGS\n", ".SH EXAMPLES\n")
	if len(c.Commands) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range c.Commands {
			command(&b, sub)
		}
	}
	b.WriteString(".SH SEE ALSO\n")
	for i, page := range also {
		name, section, _ := strings.Cut(page, "(")
		comma := ","
		if i == len(also)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, ".BR %s (%s%s\n", escape(name), section, comma)
	}
	return b.String()
}

// command writes a command and all below it.
func command(b *strings.Builder, c Command) {
	fmt.Fprintf(b, ".SS \"%s\"\n", escape(strings.TrimSpace(c.Path+" "+strings.ReplaceAll(c.Form, `"`, ""))))
	prose(b, cmp.Or(c.Long, c.Short))
	details(b, c, "", ".PP\nExamples:\n")
	for _, sub := range c.Commands {
		command(b, sub)
	}
}

// details writes the flags and examples of a command.
func details(b *strings.Builder, c Command, flags, examples string) {
	any := false
	c.Flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if !any {
			b.WriteString(flags)
		}
		any = true
		value, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(b, ".TP\n.BI \"%s\" \"%s\"\n", escape(name), escape(strings.TrimRight(" "+value, " ")))
		text := escape(usage)
		if d := f.DefValue; d != "" && d != "0" && d != "false" && d != "[]" && d != "0s" &&
			!strings.Contains(usage, "(default") {
			text += " (default " + escape(d) + ")"
		}
		b.WriteString(guard(text) + "\n")
	})
	if c.Example != "" {
		b.WriteString(examples + ".PP\n.nf\n")
		for line := range strings.Lines(strings.TrimRight(c.Example, "\n") + "\n") {
			b.WriteString(guard(escape(line)))
		}
		b.WriteString(".fi\n")
	}
}

// prose writes paragraphs. One with an indented line, such as a table, is kept as it is.
func prose(b *strings.Builder, text string) {
	for _, paragraph := range strings.Split(strings.TrimSpace(text), "\n\n") {
		kept := strings.Contains("\n"+paragraph, "\n ") || strings.Contains("\n"+paragraph, "\n\t")
		b.WriteString(".PP\n")
		if kept {
			b.WriteString(".nf\n")
		}
		for line := range strings.Lines(strings.Trim(paragraph, "\n") + "\n") {
			b.WriteString(guard(escape(line)))
		}
		if kept {
			b.WriteString(".fi\n")
		}
	}
}

// escape writes text as roff has it.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`,
		"~", `\(ti`, "…", "...").Replace(s)
}

// guard keeps a line from being taken as a request.
func guard(line string) string {
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}

// lower begins a text with a small letter, as the line of a name does.
func lower(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// commentColumns is how wide a comment is.
const commentColumns = 88

// Comment writes text as lines of a comment that begin with #.
func Comment(text string) string {
	var b strings.Builder
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > commentColumns {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

// Check holds a file of the tree against what it is made from. With update it
// writes the file. command is how to do that.
func Check(t *testing.T, path, want string, update bool, command string) {
	t.Helper()
	if update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the code says: %s -update", path, command)
	}
}
