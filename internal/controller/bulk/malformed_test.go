package bulk_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/bulk"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/refusals"
)

// malformed are tables that nobody should write, each with what is said of it. Of
// those that begin with "!" the whole table is refused; of the others row by row.
var malformed = []struct{ name, table, says string }{
	{"empty", "", "!a table, or a query"},
	{"spaces", " \n \n", "!it is empty"},
	{"a mark alone", "\xef\xbb\xbf", "!names the columns"},
	{"no rows", "device,model\n", "!no row below"},
	{"empty rows", "device,model\n,\n , \n", "!no row below"},
	{"no device", "model,profile\n7961,Branch\n", "!no column is the device"},
	{"no first line", "000000000001,7961\n000000000002,7961\n", "!unknown column"},
	{"an unknown column", "device,colour\n000000000001,red\n", `!line 1: unknown column "colour"`},
	{"a mistyped column", "device,peer-shraing\n000000000001,on\n", "!did you mean peer-sharing?"},
	{"a mistyped device", "devcie,model\n000000000001,7961\n", "!did you mean device?"},
	{"one column twice", "device,model,model\n000000000001,7961,7941\n", "!are both model"},
	{"two names of a column", "device,mac address\n000000000001,000000000002\n", "!are both device"},
	{"two names in two languages", "device,model,機種\n000000000001,7961,7941\n", "!are both model"},
	{"a setting and its label", "device,timing,Timing profile\n000000000001,lan,lan\n", "!are both timing"},
	{"Windows-1252", "device,description\n000000000001,K\xfcche\n", "!line 2, byte 34: byte 0xFC is no UTF-8"},
	{"Shift_JIS", "device,description\n000000000001,\x8e\xf3\x95t\n", "!line 2, byte 33"},
	{"Windows-1252 after a mark", "\xef\xbb\xbfdevice\n\xe4\n", "!line 2, byte 11"},
	{"a cut letter", "device,description\n000000000001,\xe6\x97", "!line 2, byte 33"},
	{"overlong UTF-8", "device,description\n000000000001,\xc0\xaf\n", "!byte 0xC0"},
	{"a surrogate in UTF-8", "device,description\n000000000001,\xed\xa0\x80\n", "!byte 0xED"},
	{"a NUL", "device,description\n000000000001,a\x00b\n", "!line 2, byte 34: it holds a NUL"},
	{"UTF-16 cut", "\xff\xfed\x00e", "!ends within a letter"},
	{"UTF-16, half a letter", "\xff\xfe\x00\xd8d\x00", "!line 1, byte 3"},
	{"UTF-16 with a NUL", "\xff\xfed\x00\x00\x00", "!holds a NUL"},
	{"UTF-32", "\xff\xfe\x00\x00d\x00\x00\x00", "!holds a NUL"},
	{"old Excel", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "!old Excel"},
	{"a zip", "PK\x03\x04\x00\x00", "!no xlsx"},
	{"gzip", "\x1f\x8b\x08\x00\x00\x00", "!byte 0x8B is no UTF-8"},
	{"PDF", "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "!no UTF-8"},
	{"HTML", "<html><table><tr><td>device</td></tr></table></html>\n", "!unknown column"},
	{"JSON", `{"device":"000000000001"}` + "\n", "!line 1"},
	{"an open quote", "device,description\n000000000001,\"a\n000000000002,b\n", "!line 2: a quote opens a cell"},
	{"an open quote in the first line", "device,\"model\n000000000001,7961\n", "!line 1"},
	{"spaces as delimiters", "device description\n000000000001 x\n", "!unknown column"},
	{"no column of devices", "device model\n7961\n", "!no column is the device"},
	{"pipes as delimiters", "device|model\n000000000001|7961\n", "!unknown column"},
	{"too many columns", "device" + strings.Repeat(",", 200) + "\n", "!201 columns, at most 100"},
	{"a row too short", "device,model\n000000000001\n", "line 2: it has 1 cell, and the first line names 2"},
	{"a row too long", "device,model\n000000000001,7961,x\n", "line 2: it has 3 cells"},
	{"a comma in a text", "device,description\n000000000001,a, b\n", "line 2: it has 3 cells"},
	{"another delimiter below", "device,model\n000000000001;7961\n", "line 2: it has 1 cell"},
	{"a quote within a cell", "device,description\n000000000001,a\"b\n000000000002,c\n", "line 2: a quote stands within"},
	{"a line end in a cell", "device,description\n000000000001,\"a\nb\"\n", "column description: it holds a line end"},
	{"a tab in a cell", "device,description\n000000000001,a\tb\n", "line 2: column description: it holds a line end or"},
	{"an escape", "device,description\n000000000001,\x1b[2J\n", "line 2: column description: it holds a line end or"},
	{"a lost letter", "device,description\n000000000001,K\ufffdche\n", "line 2: column description: it holds U+FFFD"},
	{"a failed formula", "device,description\n000000000001,#REF!\n", "line 2: column description: it holds #REF!"},
	{"a cell without end", "device,description\n000000000001," + strings.Repeat("x", 5000) + "\n", "it has 5000 bytes"},
	{"a value without a column", "device,\n000000000001,x\n", "line 2: column 2 has a value, and no name"},
	{"no device in a row", "device,model\n,7961\n", "line 2: it names no device"},
	{"a number for a device", "device,model\n1122334455,7961\n", `line 2: "1122334455" is not a device`},
	{"a device in exponents", "device,model\n1.12E+09,7961\n", `line 2: "1.12E+09" is not a device`},
	{"an address of a group", "device,model\n01:00:5e:00:00:01,7961\n", "is an address of a group"},
	{"a device twice", "device,model\n000000000001,7961\nSEP000000000001,7941\n", "line 2: line 3 is of the same device"},
	{"a device twice, the second", "mac,model\n00:00:00:00:00:01,7961\n0000.0000.0001,7961\n", "line 3: line 2 is of"},
	{"an unknown model", "device,model\n000000000001,7916\n", `no table has model "7916"; did you mean`},
	{"an unknown profile", "device,model,profile\n000000000001,7961,Brnach\n", `profile "Brnach"; did you mean Branch?`},
	{"an unknown site", "device,model,site\n000000000001,7961,Kyotto\n", `site "Kyotto"; did you mean Kyoto?`},
	{"an unknown load", "device,model,load\n000000000001,7961,SIP62\n", `load "SIP62"; did you mean SIP61`},
	{"an unknown release", "device,model,release\n000000000001,7961,9.4(3)\n", `did you mean 9.4(2)?`},
	{"a load of another model", "device,model,load\n000000000001,7961,SIP41\n", "it does not fit the model"},
	{"a load and a release", "device,model,load,release\n000000000001,7961,SIP61,9.4(2)\n", "name one of them"},
	{"no such value", "device,model,peer-sharing\n000000000001,7961,maybe\n", "peer-sharing"},
	{"no such choice", "device,model,timing\n000000000001,7961,clasic\n", "did you mean classic?"},
	{"no size", "device,model,wan-limit\n000000000001,7961,fast\n", "wan-limit"},
	{"a long description", "device,model,description\n000000000001,7961," + strings.Repeat("x", 501) + "\n", "501 bytes"},
	{"no model", "device,profile\n000000000001,Branch\n", "line 2: a device needs a model"},
}

// TestMalformed: each has its verdict, of a plan and of a run, and changes nothing.
func TestMalformed(t *testing.T) {
	if len(malformed) < 60 {
		t.Errorf("only %d tables", len(malformed))
	}
	r := newRig(t)
	r.run(csv("device,model,description", phone3+",7961,Reception"))
	before := r.devices()
	for _, m := range malformed {
		q := bulk.Request{Name: m.name, Table: []byte(m.table), JobOptions: domain.JobOptions{Create: true}}
		if m.table == "" {
			q.Table = nil
		}
		p, err := r.Plan(r.ctx, r.admin, q)
		j, again := r.Create(r.ctx, r.admin, q)
		if says, whole := strings.CutPrefix(m.says, "!"); whole {
			for _, err := range []error{err, again} {
				if !errors.Is(err, domain.ErrInvalid) || !strings.Contains(err.Error(), says) {
					t.Errorf("%s: %v does not say %s", m.name, err, says)
				}
			}
		} else if err != nil || again != nil {
			t.Errorf("%s: %v, %v", m.name, err, again)
		} else {
			j = r.finish(j.ID)
			if j.State != domain.JobRefused || j.Counts.Refused != p.Counts.Refused || j.Counts.Created > 0 {
				t.Errorf("%s: planned %+v, done %+v", m.name, p.Counts, j)
			}
			for _, row := range p.Rows {
				if row.Problem != "" && !refusals.Known(row.Problem) {
					t.Errorf("%s: no words in Japanese for %s", m.name, row.Problem)
				}
			}
			if j.Problem != "" && !refusals.Known(j.Problem) {
				t.Errorf("%s: no words in Japanese for %s", m.name, j.Problem)
			}
			if !told(p.Rows, says) || !told(r.rows(j.ID), says) {
				t.Errorf("%s: %+v does not say %s", m.name, p.Rows, says)
			}
		}
		if got := r.devices(); !reflect.DeepEqual(got, before) {
			t.Fatalf("%s has changed something: %+v", m.name, got)
		}
	}
}

// told reports whether a row says something, which may begin with its line.
func told(rows []domain.JobRow, says string) bool {
	for _, r := range rows {
		text := "line " + string(rune('0'+r.Line)) + ": " + r.Problem
		if r.Outcome == domain.RowRefused && strings.Contains(text, says) {
			return true
		}
	}
	return false
}
