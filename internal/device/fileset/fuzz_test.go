package fileset

import (
	"testing"

	"github.com/peerload/peerload/internal/device/seal"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
)

// FuzzRecord: a record is refused, or has only sets that can be, and a store opens on
// it either way.
func FuzzRecord(f *testing.F) {
	set := Set{Directory: "locale", Load: slot.Load{Name: "l", Version: "1",
		Components: []slot.Entry{{Name: "a", Size: 1, Digest: load.DigestOf([]byte("a"))}}}}
	d := faultdisk.New(1)
	if err := d.Mkdir("/f", 0o755); err != nil {
		f.Fatal(err)
	}
	s, err := Open(d, "/f")
	if err != nil {
		f.Fatal(err)
	}
	if err := s.put("locale", Placed{Set: set, ID: set.id(), Pending: true}); err != nil {
		f.Fatal(err)
	}
	b, err := slot.ReadBounded(d, "/f/sets.json", maxRecord)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(seal.Add([]byte(`{"format":1,"sets":[{"directory":"a","id":"0123456789abcdef"}]}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		sets, err := parseRecord(b)
		for dir, p := range sets {
			if err != nil || dir != p.Directory || p.check() != nil || load.CheckDirectory(dir) != nil {
				t.Fatalf("%q: %+v, %v", b, p, err)
			}
		}
		d := faultdisk.New(1)
		if err := d.Mkdir("/f", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := slot.WriteAtomic(d, "/f/sets.json", b); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(d, "/f"); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
	})
}
