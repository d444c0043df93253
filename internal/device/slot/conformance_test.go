package slot_test

import (
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

func TestConformance(t *testing.T) {
	t.Run("os", func(t *testing.T) {
		faultdisk.Conformance(t, func(t *testing.T) (slot.FS, string) { return slot.OS{}, t.TempDir() })
	})
	t.Run("twin", func(t *testing.T) {
		faultdisk.Conformance(t, func(t *testing.T) (slot.FS, string) {
			d := faultdisk.New(1)
			if err := d.Mkdir("/d", 0o755); err != nil {
				t.Fatal(err)
			}
			return d, "/d"
		})
	})
}
