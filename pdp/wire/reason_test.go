package wire

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReasons: every code has a name of its own, and both are for good.
func TestReasons(t *testing.T) {
	const path = "testdata/reasons.txt"
	good := regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	seen := make(map[string]Reason)
	var list strings.Builder
	for r := range reasonCount {
		name := r.String()
		if !good.MatchString(name) {
			t.Errorf("reason %d is called %q", r, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("reasons %d and %d are both called %s", other, r, name)
		}
		seen[name] = r
		if r.Origin() != strings.HasPrefix(name, "origin-") {
			t.Errorf("%s speaks of the origin: %v", name, r.Origin())
		}
		fmt.Fprintf(&list, "%d %s\n", uint8(r), name)
	}
	if *update {
		if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(list.String(), string(want)) {
		t.Errorf("the codes are\n%swant\n%sand new ones after them", list.String(), want)
	}
	if s := Reason(250).String(); s != "reason-250" {
		t.Errorf("a code of tomorrow is called %s", s)
	}
}
