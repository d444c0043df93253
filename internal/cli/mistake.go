package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/choice"
)

// BadFlag says what is wrong with a flag that the parser has refused with err,
// and what to write instead. path names the command, all words of it, and flags
// are all that it takes. An error of another origin is returned as it is.
func BadFlag(path string, flags *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var badValue *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(path, flags, unknown)
	case errors.As(err, &noValue):
		f := noValue.GetFlag()
		return fmt.Errorf("--%s needs a value: %s", f.Name, about(f))
	case errors.As(err, &badValue):
		return badFlagValue(badValue)
	case errors.As(err, &syntax):
		return fmt.Errorf("%q is no flag: write --NAME VALUE or --NAME=VALUE", syntax.GetSpecifiedFlag())
	}
	return err
}

func unknownFlag(path string, flags *pflag.FlagSet, e *pflag.NotExistError) error {
	typed, meant := "--"+e.GetSpecifiedName(), ""
	if short := e.GetSpecifiedShortnames(); short != "" {
		typed = "-" + e.GetSpecifiedName()
	} else {
		var names []string
		flags.VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := choice.Nearest(e.GetSpecifiedName(), names); len(near) > 0 {
			meant = "; did you mean --" + strings.Join(near, " or --") + "?"
		}
	}
	return fmt.Errorf("unknown flag %s: \"%s --help\" lists those that there are%s", typed, path, meant)
}

// about is what a flag means, without its default.
func about(f *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(f)
	usage, _, _ = strings.Cut(usage, "\n")
	if i := strings.Index(usage, " (default"); i >= 0 {
		usage = usage[:i]
	}
	if usage == "" {
		return "write --" + f.Name + " VALUE"
	}
	return usage
}

func badFlagValue(e *pflag.InvalidValueError) error {
	f := e.GetFlag()
	wants, known := map[string]string{
		"bool":     "true or false",
		"int":      "a whole number",
		"int64":    "a whole number",
		"uint64":   "a whole number, 0 or more",
		"uint16":   "a whole number, 0 to 65535",
		"count":    "a whole number",
		"duration": "a time with its unit, such as 500ms, 30s or 1h30m",
		"intSlice": "whole numbers with commas between them",
	}[f.Value.Type()]
	if known {
		return fmt.Errorf("--%s is %s, not %q", f.Name, wants, e.GetValue())
	}
	return fmt.Errorf("--%s: %w", f.Name, e.Unwrap())
}

// checkValues refuses a flag whose value is none of those that it can have.
func checkValues(flags *pflag.FlagSet) error {
	var bad error
	flags.Visit(func(f *pflag.Flag) {
		if valid := f.Annotations[valuesKey]; bad == nil && len(valid) > 0 {
			bad = CheckValues(f)
		}
	})
	return bad
}

// CheckValues returns an error if Values has said what the flag can be, and it
// is something else.
func CheckValues(f *pflag.Flag) error {
	valid := f.Annotations[valuesKey]
	if len(valid) == 0 || !f.Changed {
		return nil
	}
	values := []string{f.Value.String()}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		values = list.GetSlice()
	}
	for _, v := range values {
		if err := choice.Value("--"+f.Name, v, valid); err != nil {
			return err
		}
	}
	return nil
}

// UnknownCommand says which commands stand below the one that path names, the
// program first.
func UnknownCommand(path, typed string, commands []string) error {
	err := choice.Unknown("command", typed, commands)
	if _, below, ok := strings.Cut(path, " "); ok {
		return fmt.Errorf("%s: %w", below, err)
	}
	return err
}

// BadArgs says how a command is called that does not take these arguments, by
// its path and its Use. fits reports whether it takes others.
func BadArgs(path, use string, args []string, fits func(args []string) bool) error {
	call := callOf(path, use)
	for n := len(args) - 1; n >= 0; n-- {
		if fits(args[:n]) {
			return fmt.Errorf("unexpected argument %q: write \"%s\"", args[n], call)
		}
	}
	return fmt.Errorf("an argument is missing: write \"%s\"", call)
}

// EmptyArg says that an argument is the empty string, as an unset variable of a
// shell gives it. No command takes one.
func EmptyArg(path, use string) error {
	return fmt.Errorf("an argument is empty: write \"%s\"", callOf(path, use))
}

// callOf is how a command is called.
func callOf(path, use string) string {
	_, takes, _ := strings.Cut(use, " ")
	return strings.TrimSpace(path + " " + takes)
}

// Advise adds to an error of a file what to do about it. An error that says more
// behind what the system said, and all others, are returned as they are.
func Advise(err error) error {
	var file *fs.PathError
	var link *os.LinkError
	said := ""
	switch {
	case errors.As(err, &file):
		said = file.Error()
	case errors.As(err, &link):
		said = link.Error()
	}
	if said == "" || !strings.HasSuffix(err.Error(), said) {
		return err
	}
	for _, a := range []struct {
		kind error
		do   string
	}{
		{fs.ErrNotExist, "check the path"},
		{fs.ErrPermission, "run this as a user who may, or choose another path"},
		{fs.ErrExist, "choose another path"},
		{syscall.ENOTDIR, "check the path: a file stands where a directory should"},
		{syscall.EISDIR, "name a file, this is a directory"},
		{syscall.ENOSPC, "make room, or choose another disk"},
		{syscall.EROFS, "choose another path: nothing can be written there"},
	} {
		if errors.Is(err, a.kind) {
			return fmt.Errorf("%w; %s", err, a.do)
		}
	}
	return err
}
