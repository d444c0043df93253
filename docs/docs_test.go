// Package docs_test compares the documents with the code, so that they cannot
// rot: what a table says and what the program does must be the same.
package docs_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/tree"
	"github.com/peerload/peerload/pdp/wire"
)

// document is PROTOCOL.md: its text, and its tables by the first cells of
// their header and the heading that they stand under.
type document struct {
	text   string
	tables map[string][][]string
}

func protocol(t *testing.T) document {
	t.Helper()
	b, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return parse(string(b))
}

// parse reads the tables: "HEADING/FIRST CELL" to rows without the header.
func parse(text string) document {
	d := document{text: text, tables: map[string][][]string{}}
	var heading, name string
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "# "))
		case !strings.HasPrefix(line, "|"):
			name = ""
		case strings.HasPrefix(line, "|---"):
		default:
			var cells []string
			for _, c := range strings.Split(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.Trim(strings.TrimSpace(c), "`"))
			}
			if name == "" {
				name = heading + "/" + cells[0]
				continue
			}
			d.tables[name] = append(d.tables[name], cells)
		}
	}
	return d
}

// table returns the rows of a table, which must be there.
func (d document) table(t *testing.T, name string) [][]string {
	t.Helper()
	if len(d.tables[name]) == 0 {
		t.Fatalf("PROTOCOL.md has no table %q", name)
	}
	return d.tables[name]
}

// compare holds the first cells of a table against what the code says. Rows
// are known by their first cell.
func compare(t testing.TB, have [][]string, want []string) {
	t.Helper()
	said := map[string]string{}
	var order, due []string
	for _, row := range have {
		said[row[0]] = strings.Join(row, " | ") + " | "
		order = append(order, row[0])
	}
	for _, w := range want {
		key, _, _ := strings.Cut(w, " | ")
		due = append(due, key)
		if h, ok := said[key]; !ok {
			t.Errorf("PROTOCOL.md lacks: %s", w)
		} else if !strings.HasPrefix(h, w+" | ") {
			t.Errorf("PROTOCOL.md says %q, the code %q", h, w)
		}
	}
	for _, key := range order {
		if !slices.Contains(due, key) {
			t.Errorf("PROTOCOL.md has too much: %s", said[key])
		}
	}
	slices.Sort(order)
	if len(slices.Compact(order)) != len(have) {
		t.Errorf("PROTOCOL.md says something twice: %q", order)
	}
}

func TestReasons(t *testing.T) {
	var want []string
	for r := wire.Reason(0); !strings.HasPrefix(r.String(), "reason-"); r++ {
		want = append(want, fmt.Sprintf("%d | %s", r, r))
	}
	if len(want) < 40 {
		t.Fatalf("only %d reasons", len(want))
	}
	d := protocol(t)
	compare(t, d.table(t, "13. Reason codes/code"), want)
	for i, row := range d.table(t, "13. Reason codes/code") {
		if len(row) < 3 || row[2] == "" {
			t.Errorf("reason %d has no meaning", i)
		}
	}
	// Names in prose must exist.
	for _, m := range regexp.MustCompile("\\(`([a-z]+(?:-[a-z]+)*)`\\)").FindAllStringSubmatch(d.text, -1) {
		if !strings.Contains(strings.Join(want, "\n")+"\n", " | "+m[1]+"\n") {
			t.Errorf("PROTOCOL.md speaks of a reason %q", m[1])
		}
	}
}

var datagrams = []wire.Message{&wire.Claim{}, &wire.Ask{}, &wire.Place{}, &wire.Resign{}, &wire.Direct{}}

var frames = []wire.Frame{
	&wire.Hello{}, &wire.Welcome{}, &wire.Refuse{}, &wire.Progress{}, &wire.Path{}, &wire.Chunk{},
	&wire.End{}, &wire.Report{}, &wire.TableAsk{}, &wire.TablePart{}, &wire.Bye{},
	&wire.Carry{},
}

func nameOf(m any) string { return reflect.TypeOf(m).Elem().Name() }

const header = 40

// TestMessages holds the lists of types, and of each message the table of its
// fields: they must follow one another without a gap and fill the body.
func TestMessages(t *testing.T) {
	d := protocol(t)
	from := wire.Envelope{From: wire.Peer{ID: 1}}
	var want []string
	for i, m := range datagrams {
		b := wire.Marshal(from, m)
		if int(b[5]) != i+1 {
			t.Errorf("%s has type %d", nameOf(m), b[5])
		}
		want = append(want, fmt.Sprintf("%d | %s | %d", b[5], nameOf(m), len(b)-header))
		d.fields(t, nameOf(m)+"/offset", len(b)-header)
	}
	compare(t, d.table(t, "5. Datagrams/type"), want)
	if unknown := len(want) + 1; knownDatagram(unknown) {
		t.Errorf("datagram type %d is not in the documents", unknown)
	}
	d.fields(t, "5. Datagrams/offset", header)

	want = nil
	sizes := map[string]string{"Path": "1 + 12 n", "Chunk": "5 + n", "TablePart": "12 + 32 n", "Carry": "n"}
	for _, m := range frames {
		b := wire.AppendFrame(nil, m)
		size := strconv.Itoa(len(b) - 5)
		if s := sizes[nameOf(m)]; s != "" {
			size = s
		}
		want = append(want, fmt.Sprintf("%d | %s | %s", b[4], nameOf(m), size))
		switch nameOf(m) {
		case "TableAsk", "Carry": // no fields
		case "Path": // one peer of 12 bytes is in the table
			d.fields(t, "Path/offset", len(b)-5+12)
		case "TablePart":
			d.fields(t, "TablePart/offset", len(b)-5+32)
		default:
			d.fields(t, nameOf(m)+"/offset", len(b)-5)
		}
	}
	compare(t, d.table(t, "6. Frames/type"), want)
	next := append([]byte{0, 0, 0, 101, byte(len(frames) + 1)}, make([]byte, 100)...)
	if m, _ := wire.ReadFrame(bytes.NewReader(next), nil); m != nil {
		t.Errorf("frame %T is not in the documents", m)
	}
}

func knownDatagram(kind int) bool {
	b := wire.Marshal(wire.Envelope{From: wire.Peer{ID: 1}}, &wire.Claim{})
	b[5] = byte(kind)
	_, m, _ := wire.Unmarshal(b)
	return m != nil
}

// fields checks that a table of fields has no gap and ends at size.
func (d document) fields(t *testing.T, name string, size int) {
	t.Helper()
	at := 0
	for _, row := range d.table(t, name) {
		off, err1 := strconv.Atoi(row[0])
		n, err2 := strconv.Atoi(row[1])
		if err1 != nil || err2 != nil || off != at {
			t.Errorf("%s: %v stands where offset %d is due", name, row, at)
		}
		at += n
	}
	if at != size {
		t.Errorf("%s: the fields have %d bytes, the message %d", name, at, size)
	}
}

// TestTimings holds every value of both profiles.
func TestTimings(t *testing.T) {
	var want []string
	lan, classic := pdp.LAN(), pdp.Classic()
	for _, part := range []struct {
		name         string
		lan, classic any
	}{
		{"election", lan.Election, classic.Election},
		{"tree", lan.Tree, classic.Tree},
		{"transfer", lan.Transfer, classic.Transfer},
	} {
		a, b := reflect.ValueOf(part.lan), reflect.ValueOf(part.classic)
		for i := range a.NumField() {
			want = append(want, fmt.Sprintf("%s.%s | %s | %s", part.name, a.Type().Field(i).Name, text(a.Field(i)),
				text(b.Field(i))))
		}
	}
	d := protocol(t)
	compare(t, d.table(t, "14. Timings/name"), want)
	// Names in prose must exist.
	all := strings.Join(want, "\n")
	for _, m := range regexp.MustCompile("`((?:election|tree|transfer)\\.[A-Z][A-Za-z]+)`").FindAllStringSubmatch(d.text,
		-1) {
		if !strings.Contains(all, m[1]+" |") {
			t.Errorf("PROTOCOL.md speaks of %s", m[1])
		}
	}
}

// text writes a value as the table does.
func text(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		if x >= time.Second && x%time.Millisecond == 0 {
			return strconv.FormatFloat(x.Seconds(), 'f', -1, 64) + " s"
		}
		if x == 0 {
			return "0"
		}
		return strconv.FormatInt(x.Milliseconds(), 10) + " ms"
	case bool:
		if x {
			return "yes"
		}
		return "no"
	}
	return fmt.Sprint(v.Interface())
}

func TestLimits(t *testing.T) {
	compare(t, protocol(t).table(t, "3. Limits/limit"), []string{
		fmt.Sprintf("Port | %d", wire.Port),
		fmt.Sprintf("MaxDatagram | %d", wire.MaxDatagram),
		fmt.Sprintf("MaxFrame | %d", wire.MaxFrame),
		fmt.Sprintf("MaxPath | %d", wire.MaxPath),
		fmt.Sprintf("MaxChildren | %d", wire.MaxChildren),
		fmt.Sprintf("MaxStripes | %d", wire.MaxStripes),
		fmt.Sprintf("MaxTablePart | %d", wire.MaxTablePart),
		fmt.Sprintf("MinChunkSize | %d", load.MinChunkSize),
		fmt.Sprintf("MaxChunkSize | %d", load.MaxChunkSize),
		fmt.Sprintf("MaxChunks | %d", load.MaxChunks),
		fmt.Sprintf("MaxFileSize | %d", int64(load.MaxFileSize)),
		fmt.Sprintf("MaxMembers | %d", tree.MaxMembers),
	})
}

func TestGeometry(t *testing.T) {
	rows := protocol(t).table(t, "4. Geometry/size")
	var want []string
	for _, row := range rows {
		size, err := strconv.ParseInt(row[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		g := load.Geometry{Size: size}
		want = append(want, fmt.Sprintf("%d | %d | %d", size, g.ChunkSize(), g.Chunks()))
	}
	compare(t, rows, want)
}

// TestExample makes the worked example anew.
func TestExample(t *testing.T) {
	d := protocol(t)
	digest := load.DigestOf(make([]byte, 5_000_000))
	h := wire.HierarchyOf("CP-7961G", digest[:])
	want := wire.Claim{Rank: wire.Rank{Strength: 0x31d4d43d}, Size: 5_000_000, Spread: 10}
	env := wire.Envelope{Hierarchy: h, From: wire.Peer{ID: 0x00080027f8000001, Nonce: 0xa1b2c3d4}, TCPPort: wire.Port}
	for _, s := range []string{digest.String(), hex.EncodeToString(h[:])} {
		if !strings.Contains(d.text, "\n    "+s+"\n") {
			t.Errorf("PROTOCOL.md lacks %s", s)
		}
	}
	_, section, _ := strings.Cut(d.text, "\n## 18. ")
	var shown []byte
	for _, line := range strings.Split(section, "\n") {
		if b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", "")); err == nil &&
			strings.Count(line, " ") > 4 {
			shown = append(shown, b...)
		}
	}
	if b := wire.Marshal(env, &want); !bytes.Equal(b, shown) {
		t.Errorf("PROTOCOL.md shows\n% x, the code sends\n% x", shown, b)
	}
	e, m, err := wire.Unmarshal(shown)
	if err != nil || e != env || !reflect.DeepEqual(m, &want) {
		t.Errorf("read as %+v %+v, %v", e, m, err)
	}
	// The bytes of the table, one row after the other, are the datagram.
	var rows string
	for _, row := range d.table(t, "18. A worked example/bytes") {
		rows += strings.ReplaceAll(row[0], " ", "")
	}
	if rows != hex.EncodeToString(shown) {
		t.Errorf("the rows of the table are not the datagram:\n%s\n%x", rows, shown)
	}
	if !strings.Contains(d.text, fmt.Sprintf("broadcasts %d bytes", len(shown))) {
		t.Errorf("PROTOCOL.md does not say that these are %d bytes", len(shown))
	}
}

// TestDocumentCanBeWrong shows that the comparison finds what is not so.
func TestDocumentCanBeWrong(t *testing.T) {
	d := parse("# Codes\n\ntext\n| code | name | meaning |\n|---|---|---|\n| 0 | `none` | - |\n" +
		"| 1 | `alone` | nobody |\n\n| other | x |\n|---|---|\n| 1 | 2 |\n")
	rows := d.tables["Codes/code"]
	if len(rows) != 2 || rows[1][1] != "alone" || len(d.tables["Codes/other"]) != 1 {
		t.Fatalf("parsed as %v", d.tables)
	}
	for _, c := range []struct {
		want   []string
		errors int
	}{
		{[]string{"0 | none", "1 | alone"}, 0},
		{[]string{"0 | none"}, 1},
		{[]string{"0 | none", "1 | strongest"}, 1},
		{[]string{"0 | none", "1 | alone", "2 | strongest"}, 1},
	} {
		r := &recorder{TB: t}
		compare(r, rows, c.want)
		if r.errors != c.errors {
			t.Errorf("%v against %v: %d errors, want %d", rows, c.want, r.errors, c.errors)
		}
	}
}

// recorder counts errors instead of failing.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Errorf(string, ...any) { r.errors++ }
