package table

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// saveAs says what to do about a text in another encoding.
const saveAs = `save it as "CSV UTF-8" or as xlsx`

// decode returns the text of a table in UTF-8 or UTF-16.
func decode(b []byte) (string, error) {
	switch {
	case bytes.HasPrefix(b, []byte("\xd0\xcf\x11\xe0")):
		return "", errors.New("it is an old Excel file (xls), or one with a password: save it as xlsx without one")
	case bytes.HasPrefix(b, []byte("\xff\xfe")):
		return decode16(b, 2, binary.LittleEndian)
	case bytes.HasPrefix(b, []byte("\xfe\xff")):
		return decode16(b, 2, binary.BigEndian)
	case len(b) >= 2 && b[0] != 0 && b[1] == 0: // a Latin letter of UTF-16 without a mark
		return decode16(b, 0, binary.LittleEndian)
	case len(b) >= 2 && b[0] == 0 && b[1] != 0:
		return decode16(b, 0, binary.BigEndian)
	}
	return decode8(b)
}

func decode8(b []byte) (string, error) {
	text := string(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")))
	skipped := len(b) - len(text)
	for i, r := range text {
		if r == 0 {
			return "", fmt.Errorf("line %d, byte %d: it holds a NUL: it is no table of text; %s", lineAt(text, i), skipped+i+1,
				saveAs)
		}
		if r != utf8.RuneError {
			continue
		}
		if _, n := utf8.DecodeRuneInString(text[i:]); n == 1 {
			return "", fmt.Errorf("line %d, byte %d: byte 0x%02X is no UTF-8, so the letters of another encoding would be "+
				"damaged: %s", lineAt(text, i), skipped+i+1, text[i], saveAs)
		}
	}
	return text, nil
}

// lineAt is the line in which a byte stands.
func lineAt(text string, i int) int { return 1 + strings.Count(text[:i], "\n") }

// decode16 decodes UTF-16 after a mark of so many bytes.
func decode16(b []byte, mark int, order binary.ByteOrder) (string, error) {
	if len(b)%2 != 0 {
		return "", fmt.Errorf("byte %d: it is UTF-16, and ends within a letter: %s", len(b), saveAs)
	}
	var text strings.Builder
	line := 1
	for i := mark; i < len(b); i += 2 {
		r := rune(order.Uint16(b[i:]))
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if i+4 <= len(b) {
				low = rune(order.Uint16(b[i+2:]))
			}
			whole := utf16.DecodeRune(r, low)
			if whole == utf8.RuneError {
				return "", fmt.Errorf("line %d, byte %d: it is no UTF-16: half of a letter is missing; %s", line, i+1, saveAs)
			}
			r = whole
			i += 2
		}
		switch r {
		case 0:
			return "", fmt.Errorf("line %d, byte %d: it holds a NUL: it is no table of text; %s", line, i+1, saveAs)
		case '\n':
			line++
		}
		text.WriteRune(r)
	}
	return text.String(), nil
}

// delimiters part the cells of a line, the likeliest first.
var delimiters = []rune{',', ';', '\t'}

// readText reads a table of text.
func readText(text string) (*Table, error) {
	if !strings.Contains(text, "\n") {
		text = strings.ReplaceAll(text, "\r", "\n")
	}
	delimiter, skipped := announced(text)
	if delimiter == 0 {
		delimiter = likeliest(text)
	}
	records, err := split(text[skipped:], delimiter, strings.Count(text[:skipped], "\n"), 0)
	if err != nil {
		return nil, err
	}
	if len(records) == 0 {
		return nil, errNoColumns
	}
	return build(records, false)
}

// announced reads the line by which spreadsheets name the delimiter.
func announced(text string) (delimiter rune, skipped int) {
	line, _, more := strings.Cut(text, "\n")
	for _, d := range delimiters {
		if more && strings.TrimSuffix(line, "\r") == "sep="+string(d) {
			return d, len(line) + 1
		}
	}
	return 0, 0
}

// likeliest is the delimiter by which the first line has the most names of
// columns, else the most cells.
func likeliest(text string) rune {
	best, most := delimiters[0], -1
	of := known()
	for _, d := range delimiters {
		records, err := split(text, d, 0, 1)
		if err != nil || len(records) == 0 {
			continue
		}
		n := len(records[0].cells)
		for _, cell := range records[0].cells {
			if of[fold(shorten(cell))] != "" {
				n += MaxColumns
			}
		}
		if n > most {
			best, most = d, n
		}
	}
	return best
}

// split reads records, at most so many or all if most is 0. before are lines that
// were read already.
func split(text string, delimiter rune, before, most int) ([]record, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.Comma, r.FieldsPerRecord = delimiter, -1
	var all []record
	for most == 0 || len(all) < most {
		cells, err := r.Read()
		if err == io.EOF {
			return all, nil
		}
		var bad *csv.ParseError
		switch {
		case errors.As(err, &bad) && r.InputOffset() >= int64(len(text)):
			return nil, fmt.Errorf("line %d: a quote opens a cell that does not end, or goes on after its end: close it, and "+
				"write a quote within a cell twice", before+bad.StartLine)
		case errors.As(err, &bad):
			all = append(all, record{line: before + bad.StartLine, problem: "a quote stands within a cell: put the cell in " +
				"quotes, and write a quote within it twice"})
		case err != nil:
			return nil, err
		default:
			line, _ := r.FieldPos(0)
			all = append(all, record{line: before + line, cells: cells})
		}
		if len(all) > MaxRows+1 {
			return nil, fmt.Errorf("line %d: it has more than %d rows: split it", all[len(all)-1].line, MaxRows)
		}
	}
	return all, nil
}
