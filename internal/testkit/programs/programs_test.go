package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestResultIsNotReused: the go command runs a test again when a program that it builds
// has changed, and does not when nothing has.
func TestResultIsNotReused(t *testing.T) {
	tiers.Long(t, "it runs the go command five times")
	dir, then := t.TempDir(), time.Unix(1_700_000_000, 0)
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		// A file of this moment is taken for one that still changes.
		if then = then.Add(time.Second); os.Chtimes(path, then, then) != nil {
			t.Fatal("the time of a file can't be set")
		}
	}
	source, err := os.ReadFile("programs.go")
	if err != nil {
		t.Fatal(err)
	}
	write("go.mod", "module "+module+"\n\ngo 1.25\n")
	write("kit/programs.go", string(source))
	write("t/t_test.go", "package t\n\nimport (\n\t\"testing\"\n\n\tprograms \""+module+"/kit\"\n)\n\n"+
		"func TestT(t *testing.T) {\n\tif err := programs.Sources(\"p\"); err != nil {\n\t\tt.Fatal(err)\n\t}\n}\n")
	write("cmd/p/main.go", "package main\n\nimport _ \"embed\"\n\n//go:embed page/page.html\nvar _ string\n\n"+
		"func main() {}\n")
	write("cmd/p/page/page.html", "one")
	reused := func() bool {
		t.Helper()
		cmd := exec.Command("go", "test", "./t")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Contains(string(out), "(cached)")
	}
	if reused(); !reused() {
		t.Error("nothing has changed, and the test runs again")
	}
	for name, text := range map[string]string{"cmd/p/more.go": "package main\n", "cmd/p/page/page.html": "two"} {
		write(name, text)
		if reused() {
			t.Errorf("%s has changed, and the result is reused", name)
		}
	}
	write("cmd/other/main.go", "package main\n\nfunc main() {}\n")
	if !reused() {
		t.Error("another program was written, and the test runs again")
	}
}
