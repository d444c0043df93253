package console

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

type thing struct{ name, more string }

var thingColumns = []Column[thing]{
	{Name: "NAME", Text: func(t thing) string { return t.name }},
	{Name: "SIZE", Text: func(thing) string { return "5 bytes" }, Data: func(thing) string { return "-5" }},
	{Name: "MORE", Wide: true, Text: func(t thing) string { return t.more }},
}

// printed is what -o FORMAT prints of things.
func printed(t *testing.T, format string, items ...thing) string {
	t.Helper()
	var f Format
	var out bytes.Buffer
	cmd := &cobra.Command{Use: "list", Run: func(*cobra.Command, []string) {}}
	f.Add(cmd)
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"-o", format})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	below := func(t thing) []string { return []string{"below " + t.name} }
	if err := Print(&Flags{}, &f, cmd, "thing", items, thingColumns, below); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestPrint: each format has what its readers need.
func TestPrint(t *testing.T) {
	for format, want := range map[string]string{
		"table": "NAME  SIZE\na     5 bytes\n    below a\n",
		"wide":  "NAME  SIZE     MORE\na     5 bytes  m\n    below a\n",
		"json":  `{"schema":1,"event":"thing","item":{}}` + "\n",
		"csv":   "\ufeffname,size,more\na,-5,m\n",
	} {
		if got := printed(t, format, thing{"a", "m"}); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

// TestFormulas: no cell of a CSV is a formula to a spreadsheet, whatever a device or a
// person has written.
func TestFormulas(t *testing.T) {
	for _, text := range []string{"=1+1", "+1", "@SUM(A1)", "-2+3", "＝1+1", "\t=1", "\r=1", " =1", "=cmd|' /C calc'!A0",
		"+5", "-"} {
		rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(printed(t, "csv", thing{text, text}),
			"\ufeff"))).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("%q: %q, %v", text, rows, err)
		}
		for _, i := range []int{0, 2} {
			if cell := rows[1][i]; !strings.HasPrefix(cell, "'") {
				t.Errorf("%q stands as %q", text, cell)
			}
		}
	}
}

func TestAge(t *testing.T) {
	for text, want := range map[string]time.Duration{"1d": 24 * time.Hour, "90m": 90 * time.Minute, "36h": 36 * time.Hour,
		"3660d": 3660 * 24 * time.Hour} {
		var a Age
		if err := a.Set(text); err != nil || time.Duration(a) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(a), err)
		}
	}
	for _, text := range []string{"", "d", "0d", "-1d", "1", "1w", "999ms", "3661d", "99999999999999999999d", "1.5d",
		"87841h"} {
		if a := Age(5); a.Set(text) == nil || a != 5 {
			t.Errorf("%q is taken as %v", text, time.Duration(a))
		}
	}
}

// TestCountsText: so many as a line takes; of more the greatest, and how many others.
func TestCountsText(t *testing.T) {
	by := map[string]int{}
	for n := range 8 {
		by[fmt.Sprintf("s%d", n)] = 1
	}
	if got, want := CountsText(by), "s0 1, s1 1, s2 1, s3 1, s4 1, s5 1, s6 1, s7 1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	by["s5"], by["z"] = 3, 2
	if got, want := CountsText(by), "s5 3, z 2, s0 1, s1 1, s2 1, … (+4)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
