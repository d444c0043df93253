package table

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/xuri/excelize/v2"
)

// mark says to spreadsheets that a text is UTF-8.
const mark = "\ufeff"

// WriteCSV writes a table that Read reads again to the same, and of which no cell
// is a formula to a spreadsheet.
func WriteCSV(w io.Writer, t *Table) error {
	if _, err := io.WriteString(w, mark); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	for _, line := range lines(t) {
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// WriteLines writes lines that are no table of devices, the names of their columns
// first, as a CSV of which no cell is a formula to a spreadsheet. Numbers stay such.
func WriteLines(w io.Writer, lines [][]string) error {
	if _, err := io.WriteString(w, mark); err != nil {
		return err
	}
	out := csv.NewWriter(w)
	for _, line := range lines {
		cells := make([]string, len(line))
		for i, text := range line {
			if cells[i] = text; text != "" && !number(text) {
				cells[i] = escape(text)
			}
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// number reports whether a text is a whole number, and so no formula.
func number(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

// WriteXLSX likewise writes a workbook.
func WriteXLSX(w io.Writer, t *Table) (err error) {
	book := excelize.NewFile()
	defer book.Close()
	out, err := book.NewStreamWriter(book.GetSheetName(0))
	if err != nil {
		return err
	}
	for i, line := range lines(t) {
		cells := make([]any, len(line))
		for j, cell := range line {
			cells[j] = cell
		}
		if err := out.SetRow(fmt.Sprintf("A%d", i+1), cells); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return book.Write(w)
}

// lines are the cells of a table. Where rows have problems, they stand in a column
// before the others, with the line.
func lines(t *Table) [][]string {
	columns := t.Columns
	if !slices.Contains(columns, deviceColumn) {
		columns = slices.Insert(slices.Clone(columns), 0, deviceColumn)
	}
	var extra []string
	if slices.ContainsFunc(t.Rows, func(r Row) bool { return r.Problem != "" }) {
		extra = []string{"line", "problem"}
	}
	all := [][]string{slices.Concat(columns, extra)}
	for _, r := range t.Rows {
		line := make([]string, len(columns), len(columns)+len(extra))
		for i, c := range columns {
			if c == deviceColumn {
				line[i] = escape(r.Device)
			}
			for _, cell := range r.Cells {
				switch {
				case cell.Column != c:
				case cell.Unset:
					line[i] = unsetCell
				default:
					line[i] = escape(cell.Value)
				}
			}
		}
		if extra != nil {
			line = append(line, fmt.Sprint(r.Line), escape(r.Problem))
		}
		all = append(all, line)
	}
	return all
}
