package docs_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/policy"
)

// TestSettings holds the administrator's table of settings against the code:
// names, kinds with their choices, and defaults, in the order in which people
// see them.
func TestSettings(t *testing.T) {
	b, err := os.ReadFile("ADMIN.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := parse(string(b)).tables["Devices, profiles, the enterprise/setting"]
	settings := policy.Settings()
	var have, want []string
	for _, row := range rows {
		if len(row) != 4 || row[3] == "" {
			t.Fatalf("ADMIN.md does not say what %q does", row)
		}
		have = append(have, strings.Join(row[:3], " | "))
	}
	for _, s := range settings {
		kind := string(s.Kind)
		if len(s.Choices) > 0 {
			kind += ": " + strings.Join(s.Choices, ", ")
		}
		want = append(want, fmt.Sprintf("%s | %s | %s", s.Name, kind, s.Default))
	}
	if !slices.Equal(have, want) {
		t.Errorf("ADMIN.md says\n%s\nthe code\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}
