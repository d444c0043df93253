package table

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// Bounds of a table.
const (
	// MaxBytes bounds a table, and MaxUnpacked the parts of an xlsx.
	MaxBytes    = 32 << 20
	MaxUnpacked = 128 << 20
	// MaxRows bounds the rows below the first line.
	MaxRows = 200_000
	// MaxColumns is far more than there are names of columns.
	MaxColumns = 100
	// MaxCell bounds a cell in bytes: the longest text of a device has 500.
	MaxCell = 4000
)

// ErrTable says that a table cannot be read. All errors of Read match it.
var ErrTable = errors.New("the table cannot be read")

// Table is what Read has read.
type Table struct {
	// Columns by their own names, in the order of the table.
	Columns []string
	Rows    []Row
}

// Row is one row of a table.
type Row struct {
	// Line counts from 1, which is the line of the columns; of an xlsx it is the
	// number of the row. A cell may have several lines: then it is the first.
	Line int
	// Device as it stands there.
	Device string
	// Cells that say something, but the device.
	Cells []Cell
	// Problem is why the row cannot be read, "" if it can.
	Problem string
}

// Cell is what a cell says of a column.
type Cell struct {
	Column string
	// Value to give; of Unset it is "".
	Value string
	// Unset takes a value away.
	Unset bool
}

// record is a line of cells.
type record struct {
	line  int
	cells []string
	// problem is why it is not cells.
	problem string
}

// Read reads a table. A row that cannot be read has a Problem; what makes the
// others doubtful too is an error, which matches ErrTable.
func Read(b []byte) (*Table, error) {
	t, err := read(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	return t, nil
}

func read(b []byte) (*Table, error) {
	if len(b) > MaxBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d: split it", len(b), MaxBytes)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, errors.New("it is empty: " + columnsHelp())
	}
	if bytes.HasPrefix(b, []byte("PK\x03\x04")) {
		return readXLSX(b)
	}
	text, err := decode(b)
	if err != nil {
		return nil, err
	}
	return readText(text)
}

// build makes a table of records, the first of which names the columns. ragged
// allows rows to end early, as those of an xlsx do.
func build(records []record, ragged bool) (*Table, error) {
	names, err := header(records[0])
	if err != nil {
		return nil, err
	}
	t := &Table{}
	for _, n := range names {
		if n != "" && n != ignored {
			t.Columns = append(t.Columns, n)
		}
	}
	for _, r := range records[1:] {
		if r.problem == "" && blank(r.cells) {
			continue
		}
		if len(t.Rows) == MaxRows {
			return nil, fmt.Errorf("line %d: it has more than %d rows: split it", r.line, MaxRows)
		}
		t.Rows = append(t.Rows, rowOf(names, r, ragged))
	}
	if len(t.Rows) == 0 {
		return nil, errors.New("it has no row below the line of the columns: nothing would be changed")
	}
	return t, nil
}

func blank(cells []string) bool { return strings.TrimSpace(strings.Join(cells, "")) == "" }

func rowOf(names []string, r record, ragged bool) Row {
	row := Row{Line: r.line, Problem: r.problem}
	if r.problem != "" {
		return row
	}
	if len(r.cells) > len(names) || len(r.cells) < len(names) && !ragged {
		row.Problem = fmt.Sprintf("it has %s, and the first line names %d: mend the row; a cell with the delimiter in it "+
			"stands in quotes", count(len(r.cells), "cell"), len(names))
	}
	for i, cell := range r.cells[:min(len(r.cells), len(names))] {
		value, unset := unescape(cell)
		if names[i] == deviceColumn {
			row.Device = shorten(value)
		}
		switch problem := damaged(cell); {
		case row.Problem != "":
		case problem != "":
			row.Problem = fmt.Sprintf("column %s: %s", orNumber(names[i], i), problem)
		case names[i] == "" && strings.TrimSpace(cell) != "":
			row.Problem = fmt.Sprintf("column %d has a value, and no name in the first line", i+1)
		case names[i] == deviceColumn, names[i] == "", names[i] == ignored:
		case value == "" && !unset && !literal(cell): // which changes nothing
		default:
			row.Cells = append(row.Cells, Cell{names[i], value, unset})
		}
	}
	if row.Problem == "" && strings.TrimSpace(row.Device) == "" {
		row.Problem = "it names no device"
	}
	if row.Problem != "" {
		row.Cells = nil
	}
	return row
}

func orNumber(name string, i int) string {
	if name == "" {
		return fmt.Sprint(i + 1)
	}
	return name
}

// spreadsheetErrors are what spreadsheets write where a formula fails.
var spreadsheetErrors = []string{"#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!",
	"#CALC!"}

// damaged says why a cell is no text of anybody, "" if it may be.
func damaged(cell string) string {
	if len(cell) > MaxCell {
		return fmt.Sprintf("it has %d bytes, at most %d", len(cell), MaxCell)
	}
	if strings.ContainsRune(cell, unicode.ReplacementChar) {
		return "it holds U+FFFD, by which a program says that it has lost a letter: write the letter again"
	}
	if i := strings.IndexFunc(cell, unicode.IsControl); i >= 0 {
		return fmt.Sprintf("it holds a line end or another control character (%U): take it out", []rune(cell[i:])[0])
	}
	for _, e := range spreadsheetErrors {
		if strings.TrimSpace(cell) == e {
			return fmt.Sprintf("it holds %s, the error of a formula", e)
		}
	}
	return ""
}

// shorten bounds what a message repeats.
func shorten(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
