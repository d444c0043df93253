package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"
	"pgregory.net/rapid"

	"github.com/peerload/peerload/internal/policy"
)

const phones = "device,model,peer-sharing\n001122334455,7961,on\n001122334466,,-\n"

// want is what phones says.
var want = &Table{Columns: []string{"device", "model", "peer-sharing"}, Rows: []Row{
	{Line: 2, Device: "001122334455", Cells: []Cell{{"model", "7961", false}, {"peer-sharing", "on", false}}},
	{Line: 3, Device: "001122334466", Cells: []Cell{{"peer-sharing", "", true}}}}}

// in16 is a text in UTF-16.
func in16(text string, order binary.ByteOrder, mark bool) []byte {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	b := make([]byte, 2*len(units))
	for i, u := range units {
		order.PutUint16(b[2*i:], u)
	}
	return b
}

// workbook is an xlsx with these sheets.
func workbook(t testing.TB, sheets ...[][]any) []byte {
	t.Helper()
	book := excelize.NewFile()
	defer book.Close()
	for i, rows := range sheets {
		name := fmt.Sprintf("Sheet%d", i+1)
		if _, err := book.NewSheet(name); err != nil {
			t.Fatal(err)
		}
		for j, row := range rows {
			if err := book.SetSheetRow(name, fmt.Sprintf("A%d", j+1), &row); err != nil {
				t.Fatal(err)
			}
		}
	}
	b, err := book.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRead: one table in all the ways in which spreadsheets write it.
func TestRead(t *testing.T) {
	for name, b := range map[string][]byte{
		"plain":               []byte(phones),
		"with a mark":         []byte("\xef\xbb\xbf" + phones),
		"semicolons":          []byte(strings.ReplaceAll(phones, ",", ";")),
		"tabs":                []byte(strings.ReplaceAll(phones, ",", "\t")),
		"announced":           []byte("sep=;\r\n" + strings.ReplaceAll(phones, ",", ";")),
		"CRLF":                []byte(strings.ReplaceAll(phones, "\n", "\r\n")),
		"CR":                  []byte(strings.ReplaceAll(phones, "\n", "\r")),
		"no last end":         []byte(strings.TrimSuffix(phones, "\n")),
		"empty rows below":    []byte(phones + ",,\n\n , ,\n"),
		"an empty column":     []byte("device,model,peer-sharing,\n001122334455,7961,on,\n001122334466,,-,\n"),
		"UTF-16":              in16(phones, binary.LittleEndian, true),
		"UTF-16, big":         in16(phones, binary.BigEndian, true),
		"UTF-16, no mark":     in16(phones, binary.LittleEndian, false),
		"UTF-16, big no mark": in16(phones, binary.BigEndian, false),
		"capitals and spaces": []byte("MAC Address;Phone Model;Peer Firmware Sharing\n001122334455; 7961 ;on\n" +
			"001122334466;;-\n"),
		"Japanese":           []byte("MACアドレス,機種,ピアファームウェア共有\n001122334455,7961,on\n001122334466,　,-\n"),
		"Japanese terminals": []byte("端末\tモデル名\tピアファームウェア共有\n001122334455\t7961\ton\n001122334466\t\t-\n"),
		"wide and narrow":    []byte("ＭＡＣ_ＡＤＤＲＥＳＳ,ﾓﾃﾞﾙ,PEER-SHARING\n001122334455,7961,on\n001122334466,,-\n"),
		"quotes": []byte("\"device\",\"model\",\"peer-sharing\"\n\"001122334455\",\"7961\",on\n" +
			"001122334466,\"\",-\n"),
		"bad rows, mended": []byte("device,model,peer-sharing,line,problem\n001122334455,7961,on,7,x\n" +
			"001122334466,,-,8,\n"),
		"xlsx": workbook(t, nil, [][]any{{"Device", "MODEL", "peer sharing"}, {"001122334455", 7961, "on"},
			{"001122334466", nil, "-"}}),
	} {
		got, err := Read(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := range got.Rows {
			if name == "announced" {
				got.Rows[i].Line--
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, not %+v", name, got, want)
		}
	}
}

// TestColumns: no name means two columns, and all settings have theirs.
func TestColumns(t *testing.T) {
	of := map[string]string{}
	add := func(column string, names ...string) {
		for _, n := range names {
			if other, ok := of[fold(n)]; ok && other != column {
				t.Errorf("%q is %s and %s", n, other, column)
			}
			of[fold(n)] = column
		}
	}
	for _, f := range fields {
		add(f.name, append(f.names, f.name)...)
	}
	for _, s := range policy.Settings() {
		add(s.Name, s.Name, s.Label, s.LabelJA)
	}
	if !reflect.DeepEqual(of, known()) {
		t.Errorf("known columns are %v, not %v", known(), of)
	}
}

// TestGuide: the guide names each column, and a table may have it by each of the names
// that the guide tells.
func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../../../docs/BULK.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(guide), -1) {
		told[m[1]] = true
		for _, n := range strings.Split(m[2], ", ") {
			if is := known()[fold(n)]; is != m[1] {
				t.Errorf("the guide says that %q is %s; it is %q", n, m[1], is)
			}
		}
	}
	for _, f := range fields {
		if f.name != ignored && !told[f.name] {
			t.Errorf("the guide has no names of %s", f.name)
		}
	}
}

// TestFormulas: no cell that is written begins a formula, and all are read back.
func TestFormulas(t *testing.T) {
	for _, value := range []string{"=1+1", "+49", "-", "-2", "@SUM(A1)", "＝1", "'quoted'", "''", "'Tis", "", " x ",
		"\u00a0", "a,b;c\td\"e\"", "日本語", "x=1"} {
		table := &Table{Columns: []string{"device", "description"}, Rows: []Row{{Line: 2, Device: "d",
			Cells: []Cell{{"description", value, false}}}}}
		for name, write := range writers {
			var b bytes.Buffer
			if err := write(&b, table); err != nil {
				t.Fatal(err)
			}
			got, err := Read(b.Bytes())
			if strings.Contains(value, "\t") { // which is a control character
				if err != nil || got.Rows[0].Problem == "" {
					t.Errorf("%s: %q: %+v, %v", name, value, got, err)
				}
				continue
			}
			if err != nil || !reflect.DeepEqual(got, table) {
				t.Errorf("%s: %q came back as %+v, %v", name, value, got, err)
			}
		}
		if cell := escape(value); cell != "" && strings.ContainsRune(formulas, []rune(cell)[0]) {
			t.Errorf("%q is written as %q", value, cell)
		}
	}
	for cell, value := range map[string]string{"'Tis": "'Tis", "'=1": "=1", "'-": "-", " a ": "a"} {
		if got, unset := unescape(cell); got != value || unset {
			t.Errorf("%q is read as %q, %v", cell, got, unset)
		}
	}
}

var writers = map[string]func(*bytes.Buffer, *Table) error{
	"csv":  func(b *bytes.Buffer, t *Table) error { return WriteCSV(b, t) },
	"xlsx": func(b *bytes.Buffer, t *Table) error { return WriteXLSX(b, t) },
}

// TestRoundTrip: what is written is read back as it was.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringMatching(`[ -~\x{a0}ÄßéИ日本ア語＝🎉]{0,20}`)
	rapid.Check(t, func(t *rapid.T) {
		table := &Table{Columns: Columns()}
		for i := range rapid.IntRange(1, 5).Draw(t, "rows") {
			row := Row{Line: i + 2, Device: fmt.Sprintf("SEP%012X", i)}
			for _, c := range Columns()[1:] {
				switch rapid.IntRange(0, 2).Draw(t, "kind") {
				case 0:
					row.Cells = append(row.Cells, Cell{c, "", true})
				case 1:
					value := text.Draw(t, "value")
					if damaged(value) == "" {
						row.Cells = append(row.Cells, Cell{c, value, false})
					}
				}
			}
			table.Rows = append(table.Rows, row)
		}
		for name, write := range writers {
			var b bytes.Buffer
			if err := write(&b, table); err != nil {
				t.Fatal(err)
			}
			got, err := Read(b.Bytes())
			if err != nil || !reflect.DeepEqual(got, table) {
				t.Fatalf("%s: %+v came back as %+v, %v", name, table, got, err)
			}
		}
	})
}

// TestBounds: sizes are bounded before they are believed.
func TestBounds(t *testing.T) {
	far := excelize.NewFile()
	defer far.Close()
	err := errors.Join(far.SetCellValue("Sheet1", "XFD1", "x"), far.SetCellValue("Sheet1", "A1", "device"))
	if err != nil {
		t.Fatal(err)
	}
	wide, err := far.WriteToBuffer()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b    []byte
		says string
	}{
		"bytes":       {bytes.Repeat([]byte("x"), MaxBytes+1), "at most 33554432"},
		"rows":        {[]byte("device\n" + strings.Repeat("0\n", MaxRows+1)), "more than 200000 rows"},
		"columns":     {[]byte("device" + strings.Repeat(",", MaxColumns) + "\nx\n"), "at most 100"},
		"xlsx, wide":  {wide.Bytes(), "at most 100"},
		"xlsx, bomb":  {bomb(t), "bytes unpacked"},
		"xlsx, a cut": {workbook(t, [][]any{{"device"}})[:500], "no xlsx"},
	} {
		if _, err := Read(c.b); !errors.Is(err, ErrTable) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzRead: any bytes are read or refused, and what was read is written and read
// to the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte(phones))
	f.Add(in16(phones, binary.LittleEndian, true))
	f.Add([]byte("MACアドレス;説明\n001122334455;\"a;\"\"b\"\n\"x"))
	f.Add([]byte("device\n\x93quoted\x94\n"))
	f.Fuzz(func(t *testing.T, b []byte) { again(t, b, WriteCSV) })
}

// FuzzXLSX likewise of workbooks.
func FuzzXLSX(f *testing.F) {
	f.Add(workbook(f, [][]any{{"Device", "MODEL"}, {"001122334455", 7961}, {"x", "=1"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.HasPrefix(b, []byte("PK\x03\x04")) {
			again(t, b, WriteXLSX)
		}
	})
}
