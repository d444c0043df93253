// Package strict lets a program of cobra answer a mistyped command line as
// package cli does: with what is valid, what was probably meant, and what to
// write instead.
//
// What lives here: the connection of cobra to package cli. What must not: texts,
// which are those of cli, and what is needed on a device, which has no room for
// cobra. Read Prepare first.
package strict

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/cli"
)

// Annotations of flags by which cobra notes groups; the names of a group are one
// text with spaces between them.
const (
	oneRequired = "cobra_annotation_one_required"
	exclusive   = "cobra_annotation_mutually_exclusive"
)

// Prepare gives all commands of a tree the messages of package cli. It is called
// when the tree is complete, before it is executed. help and completion, which
// cobra adds, are among them then.
func Prepare(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return cli.BadFlag(cmd.CommandPath(), cmd.Flags(), err)
	})
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Run, cmd.RunE = nil, help
		}
	}
	walk(root)
}

func walk(cmd *cobra.Command) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if cmd.Name() != cobra.ShellCompRequestCmd {
		cmd.Args = check(cmd.Args)
	}
	for _, sub := range cmd.Commands() {
		walk(sub)
	}
}

// Values says what the value of a flag can be: shells offer it, and no other is
// taken. It panics if there is no such flag.
func Values(cmd *cobra.Command, name string, values ...string) {
	cli.Values(cmd.Flags(), name, values...)
	if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values,
		cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is there: it has just been found
	}
}

// check holds a command line against all that the command says of it: its
// arguments, as fits takes them, and its flags. Cobra calls it before it looks
// at the flags itself, and with other words.
func check(fits cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		path := cmd.CommandPath()
		if cmd.HasSubCommands() && len(args) > 0 {
			return cli.UnknownCommand(path, args[0], names(cmd))
		}
		right := func(args []string) bool { return fits == nil || fits(cmd, args) == nil }
		if !right(args) {
			return choices(cmd, args, cli.BadArgs(path, cmd.Use, args, right))
		}
		if slices.Contains(args, "") {
			return cli.EmptyArg(path, cmd.Use)
		}
		if len(cmd.ValidArgs) > 0 {
			for _, a := range args {
				if err := choice.Check(strings.ToLower(argument(cmd)), a, cmd.ValidArgs); err != nil {
					return err
				}
			}
		}
		return checkFlags(cmd)
	}
}

// choices adds to err which words the argument that is missing can be.
func choices(cmd *cobra.Command, args []string, err error) error {
	if len(args) > 0 || len(cmd.ValidArgs) == 0 {
		return err
	}
	return fmt.Errorf("%w; %s is %s", err, argument(cmd), choice.List(cmd.ValidArgs))
}

// argument is what Use calls the first argument.
func argument(cmd *cobra.Command) string {
	if words := strings.Fields(cmd.Use); len(words) > 1 {
		return words[1]
	}
	return "argument"
}

// names are the commands below that people see.
func names(cmd *cobra.Command) (all []string) {
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			all = append(all, c.Name())
		}
	}
	slices.Sort(all)
	return all
}

// checkFlags says all that is wrong with the flags that were given.
func checkFlags(cmd *cobra.Command) error {
	var bad []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if err := cli.CheckValues(f); err != nil {
			bad = append(bad, err.Error())
		}
		if !f.Changed && len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 {
			bad = append(bad, "--"+f.Name+" is missing: "+strings.TrimSuffix(f.Usage, " (required)"))
		}
		for _, group := range f.Annotations[exclusive] {
			if given := changed(cmd, group); len(given) > 1 && given[0] == f.Name {
				bad = append(bad, "--"+strings.Join(given, " and --")+" exclude each other: give one of them")
			}
		}
		for _, group := range f.Annotations[oneRequired] {
			if all := strings.Fields(group); len(changed(cmd, group)) == 0 && all[0] == f.Name {
				bad = append(bad, "give one of --"+strings.Join(all, ", --"))
			}
		}
	})
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// changed are the flags of a group that were given.
func changed(cmd *cobra.Command, group string) (given []string) {
	for _, name := range strings.Fields(group) {
		if cmd.Flags().Changed(name) {
			given = append(given, name)
		}
	}
	return given
}

// help is the command help of cobra, which takes a word that it does not know
// for no mistake.
func help(cmd *cobra.Command, args []string) error {
	at, left, err := cmd.Root().Find(args)
	if err == nil && len(left) == 0 {
		at.InitDefaultHelpFlag() // so that the help shows it
		return at.Help()
	}
	if at.HasSubCommands() {
		return cli.UnknownCommand(at.CommandPath(), left[0], names(at))
	}
	call := cmd.Root().Name() + " help" + strings.TrimPrefix(at.CommandPath(), cmd.Root().Name())
	return fmt.Errorf("unexpected argument %q: write \"%s\"", left[0], call)
}
