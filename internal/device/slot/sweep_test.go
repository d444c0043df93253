package slot_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
)

// What nobody works on goes, what somebody works on and all else stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	b := random(chunk, 22)
	held := open(t, slot.OS{}, dir+"/bundle-1", signed(b), slot.Config{})
	for _, name := range []string{"bundle-2", "other"} {
		p := open(t, slot.OS{}, dir+"/"+name, signed(b), slot.Config{})
		must(t, p.WriteChunk(0, b))
		must(t, p.Close())
	}
	for _, name := range []string{".bundle-3.part.lock", "bundle-4", ".part", "bundle-5.part"} {
		put(t, slot.OS{}, dir+"/"+name, nil)
	}
	sweep := func() error {
		return slot.Sweep(slot.OS{}, dir, func(name string) bool { return strings.HasPrefix(name, "bundle-") })
	}
	must(t, sweep())
	want := []string{".bundle-1.part", ".bundle-1.part.idx", ".bundle-1.part.lock", ".other.part", ".other.part.idx",
		".part", "bundle-4", "bundle-5.part"}
	if got := names(t, slot.OS{}, dir); !slices.Equal(got, want) {
		t.Errorf("it leaves %v, want %v", got, want)
	}
	must(t, held.Close())
	must(t, sweep())
	if got := names(t, slot.OS{}, dir); !slices.Equal(got, want[3:]) {
		t.Errorf("then it leaves %v, want %v", got, want[3:])
	}
	must(t, slot.Sweep(slot.OS{}, dir+"/missing", func(string) bool { return true }))
}
