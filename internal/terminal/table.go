package terminal

import (
	"math"
	"strconv"
	"strings"
)

// None stands in a table, or a sentence, where there is nothing to tell.
const None = "-"

// OrNone is the text, or None for an empty one.
func OrNone(s string) string {
	if s == "" {
		return None
	}
	return s
}

// YesNo is yes or no.
func YesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Table makes lines of rows of cells, in columns that are as wide as their
// widest cell, with two spaces between them. The cells may be any text; an
// empty one becomes None. All rows have as many cells as the first.
func Table(rows [][]string) []string {
	if len(rows) == 0 {
		return nil
	}
	wide := make([]int, len(rows[0]))
	clean := make([][]string, len(rows))
	for r, row := range rows {
		clean[r] = make([]string, len(row))
		for i, cell := range row {
			clean[r][i] = Printable(OrNone(cell))
			wide[i] = max(wide[i], Width(clean[r][i]))
		}
	}
	lines := make([]string, len(rows))
	for r, row := range clean {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Fit(cell, wide[i])
		}
		lines[r] = strings.TrimRight(strings.Join(cells, "  "), " ")
	}
	return lines
}

// Bytes writes a number of bytes for people, in the units of the SI: 20.91 MB
// are 20,910,000 bytes.
func Bytes(n int64) string {
	for _, u := range []struct {
		name string
		of   float64
	}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if float64(n) >= u.of*0.999995 { // what rounds to 1 of it
			return strconv.FormatFloat(math.Round(float64(n)/u.of*100)/100, 'f', -1, 64) + " " + u.name
		}
	}
	if n == 1 {
		return "1 byte"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}
