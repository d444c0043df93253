package console

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/terminal"
)

// Schema is the version of every object that --json prints.
const Schema = 1

// Object is what --json prints for one thing: the thing as the API has it.
type Object struct {
	Schema int    `json:"schema"`
	Event  string `json:"event"`
	Item   any    `json:"item,omitempty"`
}

// Show prints one thing: an object, or a text.
func (conn *Flags) Show(cmd *cobra.Command, event string, item any, format string, args ...any) error {
	if conn.JSON {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(Object{Schema, event, item})
	}
	return PrintLines(cmd.OutOrStdout(), format, args...)
}

// PrintLines prints lines, of which the last part may be empty, without blanks at
// their ends.
func PrintLines(w io.Writer, format string, args ...any) error {
	lines := strings.Split(fmt.Sprintf(format, args...), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

// List prints things: an object a line, or a table.
func List[T any](conn *Flags, cmd *cobra.Command, event string, items []T, header string,
	row func(T) []string) error {
	if conn.JSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		for _, it := range items {
			if err := e.Encode(Object{Schema, event, it}); err != nil {
				return err
			}
		}
		return nil
	}
	rows := [][]string{strings.Split(header, " ")}
	for _, it := range items {
		rows = append(rows, row(it))
	}
	for _, line := range terminal.Table(rows) {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), line); err != nil {
			return err
		}
	}
	return nil
}

// OrNone is a text of others, or a hyphen for none.
func OrNone(s string) string { return terminal.Printable(terminal.OrNone(s)) }

// FilesOf is a number of files in words.
func FilesOf(n int) string {
	if n == 1 {
		return "1 file"
	}
	return strconv.Itoa(n) + " files"
}

// When is a time of this host's zone, as RFC 3339 has it, or a hyphen for none.
func When(t time.Time) string {
	if t.IsZero() {
		return terminal.None
	}
	return t.Local().Format(time.RFC3339)
}

// SettingsText writes values as NAME=VALUE.
func SettingsText(v map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		all = append(all, name+"="+v[name])
	}
	return strings.Join(all, " ")
}

// Effective prints every effective value, its level, and the values of the
// other levels.
func Effective(conn *Flags, cmd *cobra.Command, settings []client.EffectiveSetting) error {
	return List(conn, cmd, "setting", settings, "SETTING VALUE LEVEL OTHERS", func(s client.EffectiveSetting) []string {
		var others []string
		for _, o := range s.Others {
			others = append(others, fmt.Sprintf("%s: %q", o.Level, o.Value))
		}
		if s.Reason != "" {
			others = append(others, s.Reason)
		}
		return []string{s.Setting, s.Value, s.Level, strings.Join(others, ", ")}
	})
}

// ParseSettings reads NAME=VALUE arguments.
func ParseSettings(args, unset []string) (client.SettingsChange, error) {
	c := client.SettingsChange{Unset: unset}
	for _, a := range args {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			return c, fmt.Errorf("%q is not NAME=VALUE, for example peer-sharing=on", a)
		}
		if c.Set == nil {
			c.Set = map[string]string{}
		}
		c.Set[name] = value
	}
	return c, nil
}

// Optional is a flag's value if it was given, else nil.
func Optional(cmd *cobra.Command, name string) *string {
	if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
		v := f.Value.String()
		return &v
	}
	return nil
}

// Given reports whether any of these flags was given.
func Given(cmd *cobra.Command, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return cmd.Flags().Changed(n) })
}
