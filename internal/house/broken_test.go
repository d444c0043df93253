package house

import (
	"slices"
	"strings"
	"testing"
)

// TestRulesCanBeBroken shows that each rule finds its violation, and does not
// report what merely looks like one.
func TestRulesCanBeBroken(t *testing.T) {
	const doc = "// Package p is for a test.\n"
	head := func(imports string) string { return doc + "package p\n\nimport (" + imports + ")\n" }
	longLine := "//" + strings.Repeat(" word", 24)
	lines := func(n int) string { return strings.Repeat("\t_ = 0\n", n) }
	for _, c := range []struct {
		name, file, text string
		broken           string // "": no violation; with a tilde before it: a mild one
	}{
		{"nothing wrong", "pdp/a.go", head(`"net/netip"; "time"; "math/rand/v2"; w "`+module+`/pdp/wire"`) +
			"func f(r *rand.Rand) { _ = rand.New(r); _ = time.Second; _ = netip.Addr{}; _ = w.Port }\n", ""},
		{"no such syntax", "pdp/a.go", "package\n", "syntax"},
		{"no comment", "load/a.go", "package load\n", "package comment"},
		{"no rule", "elsewhere/a.go", doc + "package p\n", "no rule"},
		{"imports what has no rule", "internal/device/engine/a.go", head(`"` + module + `/elsewhere"`), "no rule"},
		{"a higher floor", "load/a.go", head(`"` + module + `/pdp/wire"`), "floors"},
		{"protocol knows the device", "pdp/a.go", head(`"` + module + `/internal/device/peernet"`), "floors"},
		{"a package below", "pdp/wire/a.go", head(`"` + module + `/pdp/tree"`), "order"},
		{"a command knows package peerload", "cmd/peerload/a.go", head(`"` + module + `"`), ""},
		{"package peerload from below", "internal/device/engine/a.go", head(`"` + module + `"`), "order"},
		{"package peerload has no flags", "a.go", head(`"github.com/spf13/pflag"`), "libraries"},
		{"package peerload has no database", "a.go", head(`"database/sql"`), "lightness"},
		{"a command", "cmd/peerload-lab/a.go", head(`"` + module + `/cmd/peerload"`), "order"},
		{"a test helper", "internal/device/engine/a.go", head(`"` + module + `/internal/testkit/faultdisk"`), "order"},
		{"device knows the controller", "internal/device/origin/a.go", head(`"` + module + `/internal/controller/publish"`),
			"order"},
		{"controller knows the device", "internal/controller/files/a.go", head(`"` + module + `/internal/device/origin"`),
			"sides"},
		{"shared by both sides", "internal/controller/files/a.go", head(`"` + module + `/tftp"`), ""},
		{"pages know the store", "internal/controller/api/a.go", head(`"` + module + `/internal/controller/store/sqlite"`),
			"allowed imports"},
		{"laboratory knows a device's inside", "internal/lab/process/a.go", head(`"` + module + `/internal/device/engine"`),
			"allowed imports"},
		{"a library of others", "load/a.go", head(`"github.com/spf13/cobra"`), "libraries"},
		{"a library that only sounds right", "tftp/a.go", head(`"golang.org/x/system"`), "libraries"},
		{"files", "internal/policy/a.go", head(`"os"`), "purity"},
		{"processes", "internal/policy/a.go", head(`"os/exec"`), "purity"},
		{"sockets", "pdp/tree/a.go", head(`"net"`), "purity"},
		{"chance from outside", "pdp/wire/a.go", head(`"crypto/rand"`), "purity"},
		{"old chance", "pdp/wire/a.go", head(`"math/rand"`), "purity"},
		{"a database on a device", "internal/device/engine/a.go", head(`"database/sql"`), "lightness"},
		{"templates on a device", "trust/a.go", head(`"html/template"`), "lightness"},
		{"a database in the controller", "internal/controller/domain/a.go", head(`"database/sql"`), ""},
		{"clock", "pdp/a.go", head(`"time"`) + "var a = time.Now\n", "clock"},
		{"clock by another name", "internal/device/slot/a.go", head(`clock "time"`) + "func f() { clock.Sleep(1) }\n",
			"clock"},
		{"clock in the simulator", "internal/sim/a.go", head(`"time"`) + "func f() { <-time.After(1) }\n", "clock"},
		{"clock on the device", "internal/device/engine/a.go", head(`"time"`) + "var a = time.Now\n", ""},
		{"clock hidden", "load/a.go", head(`. "time"`), "dot imports"},
		{"goroutine", "pdp/election/a.go", doc + "package p\nfunc f() { go f() }\n", "goroutines"},
		{"global chance", "pdp/transfer/a.go", head(`"math/rand/v2"`) + "var a = rand.IntN(3)\n", "chance"},
		{"unfinished", "internal/device/engine/a.go", doc + "package p\n// TO" + "DO: later\n", "finished work"},
		{"an ordinary word", "internal/device/engine/a.go", doc + "package p\n// XX" + "XX is a mask\n", ""},
		{"a long function", "internal/device/engine/a.go", doc + "package p\nfunc f() {\n" + lines(79) + "}\n",
			"~length of a function"},
		{"a huge function", "internal/device/engine/a.go", doc + "package p\nfunc f() {\n" + lines(119) + "}\n",
			"length of a function"},
		{"a long file", "internal/device/engine/a.go", doc + "package p\n" + strings.Repeat("\n", 600), "~length of a file"},
		{"a huge file", "internal/device/engine/a.go", doc + "package p\n" + strings.Repeat("\n", 800), "length of a file"},
		{"a long line", "internal/device/engine/a.go", doc + "package p\n" + longLine + "\n", "columns"},
		{"a line with a tab that just fits", "internal/device/engine/a.go", doc + "package p\n//\t" +
			strings.Repeat("語", 58) + "x\n", ""},
		{"too many wide characters", "internal/device/engine/a.go", doc + "package p\n// " + strings.Repeat("語", 59) + "\n",
			"columns"},
		{"a long raw string", "internal/device/engine/a.go", doc + "package p\nvar a = `" + longLine + "`\n", ""},
		{"several lines of one", "internal/device/engine/a.go", doc + "package p\nvar a = `\n" + longLine + "\n`\n", ""},
		{"a long line after a raw string", "internal/device/engine/a.go", doc + "package p\nvar a = `a` " + longLine + "\n",
			"columns"},
		{"a long line in a test", "internal/device/engine/a_test.go", "package p\n" + longLine + "\n", "columns"},
		{"a test that sleeps", "internal/device/engine/a_test.go", head(`"time"`) + "func f() { time.Sleep(1) }\n",
			"tests do not sleep"},
		{"a test that sleeps in a bubble", "internal/device/engine/a_test.go",
			head(`"testing/synctest"; "time"`) + "func f() { time.Sleep(1) }\n", ""},
		{"a test that must be quick", "internal/device/engine/a_test.go",
			head(`"time"`) + "func f(a time.Time) { if time.Since(a) > time.Second { panic(0) } }\n", "tests do not measure"},
		{"a test that must be quick, said the other way", "internal/device/engine/a_test.go", head(`"time"`) +
			"func f(a time.Time, most int64) bool { took := time.Now().Sub(a); return most <= took.Milliseconds() }\n",
			"tests do not measure"},
		{"a test that must be quick, as a field tells", "e2e/a_test.go", head(`"time"`) +
			"func (d *d) f(a time.Time) bool { d.ran = time.Since(a); return false }\n" +
			"func g(d *d) bool { return d.ran > 5 }\n", "tests do not measure"},
		{"a device that must be quick", "e2e/a_test.go", doc + "package p\nfunc f(r *r) bool { return r.ElapsedS > 3 }\n",
			"tests do not measure"},
		{"a test with a lower bound, a limit and a longest time", "internal/device/engine/a_test.go",
			head(`"time"`) + "func f(a time.Time) { took := time.Since(a); _ = took < time.Second; _ = max(took, 3)\n" +
				"_ = time.Now().After(a) }\nfunc g(took int) bool { return took > 3 }\n", ""},
		{"virtual time", "internal/device/engine/a_test.go",
			head(`"testing/synctest"; "time"`) + "func f(a time.Time) bool { return time.Since(a) > 1 }\n", ""},
		{"a key that is not synced", "internal/controller/repository/a.go", head(`"os"`) +
			"var a = os.WriteFile\n", "durable writes"},
		{"a file by another name", "trust/a.go", head(`disk "os"`) + "var a = disk.Rename\n", "durable writes"},
		{"a file that is made", "internal/controller/publish/a.go", head(`"os"`) + "const a = os.O_CREATE\n",
			"durable writes"},
		{"a file that is read", "internal/controller/repository/a.go", head(`"os"`) + "var a = os.OpenFile\n", ""},
		{"an upload", "internal/controller/api/a.go", head(`"os"`) + "const a = os.O_CREATE\n", ""},
		{"a file of the laboratory", "internal/lab/demo/a.go", head(`"os"`) + "var a = os.WriteFile\n", ""},
		{"a test may know all", "load/a_test.go", head(`"os"; "` + module + `/internal/device/engine"`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rules []string
			for _, b := range inspect(map[string]string{c.file: c.text}) {
				if b.mild {
					b.broken = "~" + b.broken
				}
				rules = append(rules, b.broken)
			}
			want := []string{c.broken}
			if c.broken == "" {
				want = nil
			}
			if !slices.Equal(rules, want) {
				t.Errorf("found %q, want %q in\n%.300s", rules, want, c.text)
			}
		})
	}
	twice := map[string]string{"load/a.go": doc + "package p\n", "load/b.go": doc + "package p\n"}
	if b := inspect(twice); len(b) != 1 || b[0].broken != "package comment" {
		t.Errorf("two package comments give %v", b)
	}
}
