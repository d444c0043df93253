package status

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/report"
)

// A file that a power cut left empty, or full of something else, costs a
// device its id and nothing more.
func TestDamagedID(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d.Path(), "id")
	seen := map[uint64]bool{}
	for _, content := range []string{"", "\x00\x00\x00\x00", "0000000000000000\n", "junk\n"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		id, err := d.ID()
		again, err2 := d.ID()
		if err != nil || err2 != nil || id == 0 || id != again || seen[id] {
			t.Errorf("%q: ids %x and %x, %v, %v", content, id, again, err, err2)
		}
		seen[id] = true
	}
	if left, _ := filepath.Glob(name + ".*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// A process that died is not taken for the one that has its number now.
func TestNumberComesAgain(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := d.Record("test")
	r.Take(report.Event{Event: report.KindFailed, File: "f"})
	ps, err := d.Processes()
	if err != nil || len(ps) != 1 || !ps[0].Running || ps[0].Born == "" {
		t.Fatalf("this process: %+v, %v", ps, err)
	}
	ps[0].Born = "1"
	b, err := json.Marshal(ps[0])
	if err == nil {
		err = os.WriteFile(r.name, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if ps, err = d.Processes(); err != nil || len(ps) != 1 || ps[0].Running {
		t.Errorf("one that was born earlier: %+v, %v", ps, err)
	}
}
