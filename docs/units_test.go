package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestUnits: the units of the guides are ones that systemd understands, an old
// one too: version 252 knows no notify-reload, and would not wait until the
// service is ready.
func TestUnits(t *testing.T) {
	block := regexp.MustCompile("(?s)```ini\n(\\[Unit\\].*?|\\[Service\\].*?)```")
	found := 0
	for _, doc := range []string{"AGENT.md", "ADMIN.md"} {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(b), -1) {
			found++
			unit := m[1]
			if !strings.Contains(unit, "\nType=notify\n") || !strings.Contains(unit, "\nExecReload=/bin/kill -HUP $MAINPID\n") {
				t.Errorf("%s: the unit is not told when the service is ready, or cannot reload it:\n%s", doc, unit)
			}
			verifyUnit(t, doc, unit)
		}
	}
	if found < 2 {
		t.Errorf("only %d units found", found)
	}
	// The check would see it.
	if said := systemdSays(t, "[Service]\nType=notify-soon\nExecStart=/bin/true\n"); said == "" {
		t.Error("systemd-analyze accepts any type")
	}
}

func verifyUnit(t *testing.T, doc, unit string) {
	t.Helper()
	// The program is not installed here.
	unit = regexp.MustCompile(`/usr/bin/peerload[a-z-]*`).ReplaceAllString(unit, "/bin/true")
	if said := systemdSays(t, unit); said != "" {
		t.Errorf("%s: systemd says of the unit:\n%s", doc, said)
	}
}

// systemdSays is what systemd has to say about a unit, "" if it is good.
func systemdSays(t *testing.T, unit string) string {
	t.Helper()
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd here:", err)
	}
	name := filepath.Join(t.TempDir(), "test.service")
	if err := os.WriteFile(name, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "verify", "--man=no", name).CombinedOutput()
	var about []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "test.service") { // not of the host's own units
			about = append(about, line)
		}
	}
	if err != nil && len(about) == 0 {
		t.Skipf("systemd-analyze cannot verify here: %v: %s", err, out)
	}
	return strings.Join(about, "")
}
