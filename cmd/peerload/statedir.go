package main

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/device/agent"
)

// stateFlag gives --state to a command that is not the agent's own.
func stateFlag(fl *pflag.FlagSet, dir *string) {
	o := stateOption()
	fl.StringVar(dir, o.Name, "", "state directory (default $"+o.Env()+"; else "+o.Default+
		" for root, $XDG_STATE_HOME/peerload for others)")
}

// stateOption is the agent's option for the same directory: its environment
// variable and its default count for every command.
func stateOption() agent.Option {
	all := agent.Options()
	return all[slices.IndexFunc(all, func(o agent.Option) bool { return o.Name == "state" })]
}

// stateDir returns the state directory to use.
func stateDir(flag string) (string, error) {
	o := stateOption()
	if flag != "" {
		return flag, nil
	}
	if d := os.Getenv(o.Env()); d != "" {
		return d, nil
	}
	if os.Geteuid() == 0 {
		return o.Default, nil
	}
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "peerload"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usagef("no place for the state: give --%s DIR", o.Name)
	}
	return filepath.Join(home, ".local", "state", "peerload"), nil
}
