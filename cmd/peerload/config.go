package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/peerload/peerload/internal/cli"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Use: "config", Short: "Look at the configuration of the agent", Commands: []*cli.Command{configShowCommand()},
	}
}

func configShowCommand() *cli.Command {
	var c configFlags
	var origin, asJSON bool
	cmd := &cli.Command{
		Use: "show", Short: "Show every option with the value that holds",
		Long: "Show prints the configuration in the form of a file. With --origin each value is\n" +
			"followed by where it comes from: a flag, the environment, a file, or the default.",
		Args: cli.NoArgs,
	}
	cmd.Run = func(context.Context, []string) error {
		_, values, err := c.load(cmd.Flags())
		if asJSON {
			if jerr := json.NewEncoder(os.Stdout).Encode(values); jerr != nil {
				return jerr
			}
			return err
		}
		for _, o := range values {
			line := o.Name + " = " + tomlValue(o.Value)
			if holds := o.NotGiven(); holds != "" {
				line = fmt.Sprintf("# %s is not given: %s", o.Name, holds)
			}
			if origin {
				line = fmt.Sprintf("%-50s # %s", line, o.From)
			}
			fmt.Println(line)
		}
		return err
	}
	c.register(cmd.Flags())
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// tomlValue writes a value as a file has it; a string of JSON is one of TOML.
func tomlValue(v []string) string {
	quoted := make([]string, len(v))
	for i, s := range v {
		b, _ := json.Marshal(s)
		quoted[i] = string(b)
	}
	if len(v) == 1 {
		return quoted[0]
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
