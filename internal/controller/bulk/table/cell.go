package table

import (
	"strings"
	"unicode/utf8"
)

// unsetCell takes a value away: an empty cell changes nothing.
const unsetCell = "-"

// formulas are how a text begins that a spreadsheet takes for a formula, in the
// full width of Japanese keyboards too.
const formulas = "=+-@＝＋－＠"

// quoted reports whether a value needs an apostrophe before it to be a cell: it
// would be a formula for a spreadsheet, or another thing for this program.
func quoted(value string) bool {
	r, _ := utf8.DecodeRuneInString(value)
	return value == "" || r == '\'' || strings.ContainsRune(formulas, r) || strings.TrimSpace(value) != value
}

// escape writes a value as a cell.
func escape(value string) string {
	if quoted(value) {
		return "'" + value
	}
	return value
}

// literal reports whether an apostrophe says that the rest of a cell is a value as
// it stands.
func literal(cell string) bool { return strings.HasPrefix(cell, "'") && quoted(cell[1:]) }

// unescape reads what escape has written, and what people write: spaces around it
// do not count.
func unescape(cell string) (value string, unset bool) {
	if literal(cell) {
		return cell[1:], false
	}
	if cell = strings.TrimSpace(cell); cell == unsetCell {
		return "", true
	}
	return cell, false
}
