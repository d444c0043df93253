package console

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/bulk/table"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
)

// The formats of -o.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatCSV   = "csv"
	formatJSON  = "json"
)

// Format is the flag -o of commands that list.
type Format struct{ name string }

// Add adds the flag.
func (f *Format) Add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.name, "output", "o", formatTable,
		"table, wide (more columns), csv (for spreadsheets) or json")
	strict.Values(cmd, "output", formatTable, formatWide, formatCSV, formatJSON)
}

// People reports whether people read the list, as a table.
func (f *Format) People(conn *Flags) bool {
	return !conn.JSON && (f.name == formatTable || f.name == formatWide)
}

// Column is one of a list.
type Column[T any] struct {
	// Name as the first line of a table has it; a CSV has it in lower case.
	Name string
	// Wide says that a table has it only if it is wide.
	Wide bool
	// Text is for people.
	Text func(T) string
	// Data is for a CSV: numbers without units, times in UTC. nil: it is Text.
	Data func(T) string
}

// Print prints things in the format that -o or --json asks for. below are lines that
// stand below a row of a table, nil for none.
func Print[T any](conn *Flags, f *Format, cmd *cobra.Command, event string, items []T, columns []Column[T],
	below func(T) []string) error {
	out := cmd.OutOrStdout()
	switch {
	case conn.JSON || f.name == formatJSON:
		e := json.NewEncoder(out)
		for _, it := range items {
			if err := e.Encode(Object{Schema, event, it}); err != nil {
				return err
			}
		}
		return nil
	case f.name == formatCSV:
		return printCSV(out, items, columns)
	}
	rows := [][]string{nil}
	for _, c := range columns {
		if !c.Wide || f.name == formatWide {
			rows[0] = append(rows[0], c.Name)
		}
	}
	for _, it := range items {
		var row []string
		for _, c := range columns {
			if !c.Wide || f.name == formatWide {
				row = append(row, c.Text(it))
			}
		}
		rows = append(rows, row)
	}
	for i, line := range terminal.Table(rows) {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
		if i == 0 || below == nil {
			continue
		}
		for _, more := range below(items[i-1]) {
			if _, err := fmt.Fprintln(out, "    "+terminal.Printable(more)); err != nil {
				return err
			}
		}
	}
	return nil
}

func printCSV[T any](out io.Writer, items []T, columns []Column[T]) error {
	lines := [][]string{nil}
	for _, c := range columns {
		lines[0] = append(lines[0], strings.ToLower(c.Name))
	}
	for _, it := range items {
		var line []string
		for _, c := range columns {
			text := c.Text
			if c.Data != nil {
				text = c.Data
			}
			line = append(line, text(it))
		}
		lines = append(lines, line)
	}
	return table.WriteLines(out, lines)
}

// TimeData is a time for a CSV, "" for none.
func TimeData(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// Age is the value of a flag: how long ago. Days may be written, too: 1d.
type Age time.Duration

// maxAge bounds an Age.
const maxAge = 10 * 366 * 24 * time.Hour

// Set implements pflag.Value.
func (a *Age) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil && n >= 0 && n <= int(maxAge/(24*time.Hour)) {
			d = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || d < time.Second || d > maxAge {
		return fmt.Errorf("%q is no time of a second to ten years: write it like 1d, 36h or 90m", text)
	}
	*a = Age(d)
	return nil
}

// String implements pflag.Value.
func (a *Age) String() string {
	if *a == 0 {
		return ""
	}
	return parse.Duration(time.Duration(*a))
}

// Type implements pflag.Value.
func (a *Age) Type() string { return "age" }
