package tiers

import (
	"flag"
	"testing"
)

// TestLong: a test is skipped in the short run, and in no other.
func TestLong(t *testing.T) {
	was := testing.Short()
	defer func() { set(t, was) }()
	for _, short := range []bool{true, false} {
		set(t, short)
		var skipped bool
		t.Run("", func(t *testing.T) {
			defer func() { skipped = t.Skipped() }()
			Long(t, "it is tried here")
		})
		if skipped != short {
			t.Errorf("short run: %v; skipped: %v", short, skipped)
		}
	}
}

func set(t *testing.T, short bool) {
	value := "false"
	if short {
		value = "true"
	}
	if err := flag.Set("test.short", value); err != nil {
		t.Fatal(err)
	}
}
