package trust_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/internal/testkit/publisher"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/trust"
)

// TestPowerCut cuts the power while a device takes newer metadata: it starts,
// takes what is published, and never again what is older than what it had
// accepted.
func TestPowerCut(t *testing.T) {
	tiers.Long(t, "it cuts the power at each step")
	t.Parallel()
	s := publisher.New(t)
	trees := make([]publisher.Files, 4)
	d := s.Device()
	for version := 1; version <= 3; version++ {
		s.Firmware(fmt.Sprint(version))
		trees[version] = s.Tree()
		must(t, s.Repo.RotateKeys([]string{metadata.ROOT, metadata.TARGETS, metadata.ROOT}[version-1]))
	}
	s.Firmware("4")
	accepted := 0
	story := func(r *faultdisk.Recorder) error {
		for _, tree := range []publisher.Files{trees[1], trees[2], trees[3]} {
			c := d.Boot()
			c.WriteTo(r)
			if err := c.Refresh(context.Background(), tree); err != nil {
				return err
			}
			accepted++
		}
		return nil
	}
	said := func() string { return fmt.Sprint(accepted) }
	faultdisk.Recorded(t, 1, d.Dir, story, said, func(t *testing.T, dir, promise string) {
		var accepted int
		_, err := fmt.Sscan(promise, &accepted)
		must(t, err)
		found := s.DeviceIn(dir)
		if accepted > 1 {
			if _, err := found.Version(trees[accepted-1]); !errors.Is(err, trust.ErrRolledBack) {
				t.Fatalf("it accepted tree %d, and after the cut takes the one before: %v", accepted, err)
			}
		}
		if v, err := found.Version(s.Origin()); err != nil || v != "4" {
			t.Fatalf("it takes %q of what is published: %v", v, err)
		}
		if _, err := found.Version(trees[3]); !errors.Is(err, trust.ErrRolledBack) {
			t.Fatalf("it takes what is older: %v", err)
		}
	})
}
