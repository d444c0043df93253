// Package peerload_test holds the laws of the whole tree: which package may
// know which, and what no file may do. ARCHITECTURE.md tells the same in
// prose; this table is what holds it.
package peerload_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/peerload/peerload"

// side of the house: the device and the controller do not know each other.
type side int

const (
	both side = iota
	device
	controller
	outside // sees the whole product from outside: laboratory and commands
)

// room is a package of the house.
type room struct {
	dir   string
	floor int
	side  side
	// pure: same inputs, same outputs. No files, no sockets, no clock, no
	// goroutines, no randomness but what is passed in.
	pure bool
	// still: no clock and no goroutine; the driver calls.
	still bool
	// only, if not nil, are all packages of this module that it may know.
	only []string
	// libraries are all modules of others that it may use.
	libraries []string
}

// nothing of this module.
var nothing = []string{}

// house lists all packages from the ground up. A package imports only what
// stands above it in this list, of its own side or of both, and of commands
// and test helpers nothing. A package that is not here has no place yet: give
// it one here and in ARCHITECTURE.md.
var house = []room{
	// Floor 0: nouns.
	{dir: "load", floor: 0, pure: true, only: nothing},
	{dir: "internal/policy", floor: 0, pure: true, only: nothing},
	{dir: "report", floor: 0, pure: true, only: nothing},
	{dir: "internal/terminal", floor: 0, pure: true, only: nothing},

	// Floor 1: the protocol.
	{dir: "pdp/wire", floor: 1, pure: true, only: []string{"load"}},
	{dir: "pdp/election", floor: 1, pure: true, only: []string{"pdp/wire"}},
	{dir: "pdp/tree", floor: 1, pure: true, only: []string{"pdp/wire"}},
	{dir: "pdp/transfer", floor: 1, pure: true, only: []string{"pdp/wire"}},
	{dir: "pdp/internal/follower", floor: 1, pure: true, only: []string{"pdp/wire", "pdp/tree", "pdp/transfer"}},
	{dir: "pdp/internal/origin", floor: 1, pure: true, only: []string{"pdp/wire", "pdp/transfer"}},
	{dir: "pdp", floor: 1, pure: true},

	// Floor 2: what both sides share.
	{dir: "tftp", floor: 2, only: nothing, libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/durable", floor: 2, only: nothing},
	{dir: "internal/tuf", floor: 2, pure: true, only: nothing},
	{dir: "trust", floor: 2, only: []string{"load", "internal/durable", "internal/tuf"},
		libraries: []string{"github.com/theupdateframework/go-tuf/v2"}},

	{dir: "internal/provision", floor: 2, side: both, still: true, only: []string{"load", "internal/policy"}, libraries: []string{"github.com/BurntSushi/toml"}},

	// Floor 2: the device.
	{dir: "internal/device/origin", floor: 2, side: device, only: []string{"load", "tftp"}},
	{dir: "internal/device/peernet", floor: 2, side: device, only: []string{"pdp/wire"}, libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/testkit/fabric", floor: 2, side: device, only: []string{"pdp/wire", "internal/device/peernet"}},
	{dir: "internal/device/slot", floor: 2, side: device, still: true, only: []string{"load"}, libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/testkit/faultdisk", floor: 2, side: device, still: true, only: []string{"load", "internal/device/slot"}},
	{dir: "internal/device/status", floor: 2, side: device, only: []string{"report"}},
	{dir: "internal/device/engine", floor: 2, side: device, libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/device/wording", floor: 2, side: device, still: true,
		only: []string{"report", "pdp/wire", "internal/device/slot", "internal/device/engine"}},
	{dir: "internal/device/syslog", floor: 2, side: device, only: []string{"report"}},
	{dir: "internal/device/sdnotify", floor: 2, side: device, only: nothing, libraries: []string{"golang.org/x/sys"}},
	{dir: "internal/device/tinyhttp", floor: 2, side: device, only: nothing},
	{dir: "internal/device/failure", floor: 2, side: device, still: true,
		only: []string{"pdp/wire", "trust", "internal/device/slot", "internal/device/engine"}},
	{dir: "internal/device/target", floor: 2, side: device, still: true,
		only: []string{"load", "internal/device/origin", "internal/device/failure"}},
	{dir: "internal/device/agent", floor: 2, side: device, libraries: []string{"golang.org/x/sys", "github.com/BurntSushi/toml"}},
	{dir: ".", floor: 2, side: device, only: []string{"load", "internal/policy", "report", "pdp/transfer", "pdp", "internal/device/origin",
		"internal/device/peernet", "internal/device/status", "internal/device/engine", "internal/device/failure", "internal/device/target"}},

	{dir: "internal/cli", floor: 2, side: device, still: true, only: nothing, libraries: []string{"github.com/spf13/pflag"}},

	// Floor 2: the controller.
	{dir: "client", floor: 2, side: controller, only: []string{"report"}},
	{dir: "internal/controller/repository", floor: 2, side: controller,
		only:      []string{"load", "internal/durable", "internal/tuf", "trust"},
		libraries: []string{"github.com/theupdateframework/go-tuf/v2", "github.com/sigstore/sigstore"}},
	{dir: "internal/controller/publish", floor: 2, side: controller, only: []string{"load", "internal/controller/repository"}},
	{dir: "internal/controller/template", floor: 2, side: controller, only: []string{"internal/policy", "internal/provision"}},
	{dir: "internal/controller/domain", floor: 2, side: controller, only: []string{"load", "internal/policy", "report", "internal/controller/repository", "internal/controller/publish"}, libraries: []string{"golang.org/x/crypto"}},
	{dir: "internal/controller/store", floor: 2, side: controller, only: []string{"load", "internal/policy", "report", "internal/controller/domain"}, libraries: []string{"github.com/pressly/goose/v3"}},
	{dir: "internal/testkit/storesuite", floor: 2, side: controller, libraries: []string{"pgregory.net/rapid"}},
	{dir: "internal/controller/store/sqlite", floor: 2, side: controller, libraries: []string{"modernc.org/sqlite", "github.com/pressly/goose/v3"}},
	{dir: "internal/controller/store/postgres", floor: 2, side: controller, libraries: []string{"github.com/jackc/pgx/v5", "github.com/pressly/goose/v3"}},
	{dir: "internal/controller/files", floor: 2, side: controller, only: []string{"tftp"}, libraries: []string{"github.com/prometheus/client_golang"}},
	{dir: "internal/controller/files/cnf", floor: 2, side: controller, only: []string{"internal/policy", "internal/provision", "internal/controller/template", "internal/controller/domain"}},
	{dir: "internal/controller/api", floor: 2, side: controller, only: []string{"load", "internal/policy", "report", "internal/controller/publish", "internal/controller/domain"},
		libraries: []string{"github.com/danielgtaylor/huma/v2", "github.com/prometheus/client_golang"}},

	// Floor 3: the product from outside. The simulator is as pure as what it
	// simulates; the laboratory sees a device only as a user does.
	{dir: "internal/sim", floor: 3, side: outside, pure: true,
		only: []string{"load", "report", "pdp/wire", "pdp/election", "pdp/tree", "pdp/transfer", "pdp"}},
	{dir: "internal/lab/units", floor: 3, side: outside, pure: true, only: nothing},
	{dir: "internal/lab/site", floor: 3, side: outside, only: []string{"internal/lab/units"},
		libraries: []string{"golang.org/x/sys", "github.com/vishvananda/netlink", "github.com/vishvananda/netns"}},
	{dir: "internal/lab/fileserver", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"},
		only: []string{"internal/lab/units", "internal/lab/site", "tftp", "internal/controller/files"}},
	{dir: "internal/lab/process", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"},
		only: []string{"internal/lab/units", "internal/lab/site", "load", "report"}},
	{dir: "internal/lab/output", floor: 3, side: outside, only: []string{"internal/lab/process", "report"}},
	{dir: "internal/lab/measure", floor: 3, side: outside, only: []string{"internal/lab/units", "internal/lab/site",
		"internal/lab/fileserver", "internal/lab/process", "internal/lab/output", "report"}},
	{dir: "internal/lab/bench", floor: 3, side: outside, only: []string{"internal/lab/units", "internal/lab/site",
		"internal/lab/process", "internal/lab/output", "internal/lab/measure"}},
	{dir: "internal/lab/story", floor: 3, side: outside, libraries: []string{"golang.org/x/sys"}, only: []string{
		"internal/lab/units", "internal/lab/site", "internal/lab/fileserver", "internal/lab/process", "internal/lab/output", "load", "report"}},
	{dir: "internal/lab/demo", floor: 3, side: outside, only: []string{
		"internal/lab/units", "internal/lab/site", "internal/lab/fileserver", "internal/lab/process", "internal/lab/output",
		"load", "report", "trust", "internal/controller/repository", "internal/controller/publish"}},
	{dir: "cmd/peerload", floor: 3, side: outside, libraries: []string{"github.com/spf13/pflag", "golang.org/x/term"}},
	{dir: "cmd/peerload-server", floor: 3, side: outside, libraries: commandLibraries},
	{dir: "cmd/peerload-lab", floor: 3, side: outside, libraries: commandLibraries},
	{dir: "internal/testkit/netsuite", floor: 3, side: outside, only: []string{"pdp/wire", "internal/device/peernet"}},
	{dir: "internal/testkit/publisher", floor: 3, side: outside},
	{dir: "internal/testkit/labtest", floor: 3, side: outside, only: []string{"load", "report", "trust"}},
	{dir: "internal/testkit/nginx", floor: 3, side: outside, only: nothing},
	{dir: "e2e", floor: 3, side: outside, only: nothing},
}

var commandLibraries = []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term"}

// impure are what a pure package may not import; a name that ends in a slash
// stands for all below it.
var impure = []string{
	"os", "os/", "net", "net/", "syscall", "unsafe", "runtime", "runtime/", "io/ioutil", "path/filepath", "plugin",
	"log", "log/", "context", "sync", "sync/", "crypto/rand", "math/rand",
}

// harmless is below a name of impure and yet allowed.
var harmless = []string{"net/netip"}

// heavy are what no device may carry: databases, page templates, frameworks,
// and what is for tests.
var heavy = []string{
	"database/", "html/", "text/template", "text/template/", "net/rpc", "net/rpc/", "net/http/pprof", "expvar",
	"encoding/gob", "testing", "testing/", "plugin",
}

// clock are the names of package time by which a program sees or waits for it.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// chance are the names of math/rand/v2 that take the source that is passed in;
// all others draw from a global one.
var chance = []string{"Rand", "Source", "New", "NewPCG", "PCG", "NewChaCha8", "ChaCha8", "NewZipf", "Zipf"}

// Sizes in lines: worth a look, and refused.
const (
	longFile, hugeFile         = 600, 800
	longFunction, hugeFunction = 80, 120
)

// breach is a law broken somewhere. A mild one is only listed.
type breach struct {
	at   string
	law  string
	mild bool
	text string
}

func (b breach) String() string { return fmt.Sprintf("%s: %s: %s", b.at, b.law, b.text) }

// TestHouse holds the laws over the tree as it is.
func TestHouse(t *testing.T) {
	sources := tree(t)
	if len(sources) < 50 {
		t.Fatalf("only %d Go files found: is this the root of the module?", len(sources))
	}
	for _, b := range inspect(sources) {
		if b.mild {
			t.Logf("worth a look: %s", b)
		} else {
			t.Error(b)
		}
	}
}

// tree reads all Go files of the module by their slash-separated paths.
func tree(t *testing.T) map[string]string {
	sources := map[string]string{}
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && p != "." && (name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_') {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		b, err := os.ReadFile(p)
		sources[filepath.ToSlash(p)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// inspect holds all laws over sources and returns the breaches in order.
func inspect(sources map[string]string) []breach {
	var in inspector
	comments := map[string][]string{}
	for _, name := range sortedKeys(sources) {
		dir := path.Dir(name)
		f := in.file(name, sources[name])
		if f == nil || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if _, seen := comments[dir]; !seen {
			comments[dir] = nil
		}
		if f.Doc != nil {
			comments[dir] = append(comments[dir], name)
		}
	}
	for _, dir := range sortedKeys(comments) {
		if n := len(comments[dir]); n != 1 {
			in.add(dir, "package comment", "%d files have one, exactly one must: %s", n, strings.Join(comments[dir], ", "))
		}
		if roomOf(dir) == nil {
			in.add(dir, "place", "it has no place in the house: give it one in arch_test.go and ARCHITECTURE.md")
		}
	}
	return in.found
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func roomOf(dir string) *room {
	i := slices.IndexFunc(house, func(r room) bool { return r.dir == dir })
	if i < 0 {
		return nil
	}
	return &house[i]
}

// inspector collects breaches.
type inspector struct{ found []breach }

func (in *inspector) add(at, law, format string, args ...any) {
	in.found = append(in.found, breach{at: at, law: law, text: fmt.Sprintf(format, args...)})
}

func (in *inspector) size(at, law string, n, long, huge int) {
	if n > long {
		in.found = append(in.found, breach{at, law, n <= huge, fmt.Sprintf("%d lines, at most about %d, never above %d", n, long, huge)})
	}
}

// unfinished finds the marks of work left undone.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)

// file holds the laws over one file.
func (in *inspector) file(name, text string) *ast.File {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		in.add(name, "syntax", "%v", err)
		return nil
	}
	in.size(name, "length of a file", strings.Count(text, "\n"), longFile, hugeFile)
	for i, line := range strings.Split(text, "\n") {
		if m := unfinished.FindString(line); m != "" {
			in.add(fmt.Sprintf("%s:%d", name, i+1), "finished work", "%s: finish it or leave it out", m)
		}
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			in.size(fmt.Sprintf("%s %s", fset.Position(fn.Pos()), fn.Name.Name), "length of a function", n, longFunction, hugeFunction)
		}
	}
	if strings.HasSuffix(name, "_test.go") {
		in.sleeps(fset, f)
		return f
	}
	if r := roomOf(path.Dir(name)); r != nil {
		for _, imp := range f.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			in.imports(fset.Position(imp.Pos()).String(), r, p)
		}
		in.uses(fset, f, r)
	}
	return f
}

// sleeps: a test that waits for real time is slow or flaky. In a bubble of
// testing/synctest the time is virtual.
func (in *inspector) sleeps(fset *token.FileSet, f *ast.File) {
	if localName(f, "testing/synctest") != "" {
		return
	}
	for _, u := range selections(f, localName(f, "time")) {
		if u.Sel.Name == "Sleep" {
			in.add(fset.Position(u.Pos()).String(), "tests do not sleep", "wait for an event, poll with a deadline, or use testing/synctest")
		}
	}
}

// imports holds the laws about what a package may know.
func (in *inspector) imports(at string, r *room, p string) {
	if p == module {
		p += "/."
	}
	if strings.HasPrefix(p, module+"/") {
		in.inside(at, r, strings.TrimPrefix(p, module+"/"))
		return
	}
	if first, _, _ := strings.Cut(p, "/"); strings.Contains(first, ".") {
		if !slices.ContainsFunc(r.libraries, func(l string) bool { return p == l || strings.HasPrefix(p, l+"/") }) {
			in.add(at, "libraries", "%s may not use %s", r.dir, p)
		}
		return
	}
	if r.pure && listed(impure, p) && !listed(harmless, p) {
		in.add(at, "purity", "%s may not import %s", r.dir, p)
	}
	if (r.side == device || r.side == both) && r.dir != "internal/testkit/faultdisk" && listed(heavy, p) {
		in.add(at, "lightness", "%s is on a device and may not import %s", r.dir, p)
	}
}

func listed(list []string, p string) bool {
	return slices.ContainsFunc(list, func(s string) bool {
		return p == s || strings.HasSuffix(s, "/") && strings.HasPrefix(p, s)
	})
}

// inside holds the laws about packages of this module.
func (in *inspector) inside(at string, r *room, dir string) {
	i := slices.IndexFunc(house, func(o room) bool { return o.dir == dir })
	mine := slices.IndexFunc(house, func(o room) bool { return o.dir == r.dir })
	if i < 0 {
		in.add(at, "place", "%s imports %s, which has no place in the house", r.dir, dir)
		return
	}
	to := house[i]
	switch {
	case to.floor > r.floor:
		in.add(at, "floors", "%s on floor %d imports %s on floor %d", r.dir, r.floor, dir, to.floor)
	case i >= mine:
		in.add(at, "order", "%s imports %s, which stands below it", r.dir, dir)
	case strings.HasPrefix(dir, "cmd/") || strings.HasPrefix(dir, "internal/testkit/"):
		in.add(at, "order", "%s imports %s, which nobody may", r.dir, dir)
	case r.side != outside && to.side != both && to.side != r.side:
		in.add(at, "sides", "%s imports %s: device and controller do not know each other", r.dir, dir)
	case r.only != nil && !slices.Contains(r.only, dir):
		in.add(at, "acquaintances", "%s may know %v and not %s", r.dir, r.only, dir)
	}
}

// uses holds the laws about clocks, goroutines and chance.
func (in *inspector) uses(fset *token.FileSet, f *ast.File, r *room) {
	if !r.pure && !r.still {
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			in.add(fset.Position(g.Pos()).String(), "goroutines", "%s may not start one", r.dir)
		}
		return true
	})
	for _, u := range selections(f, localName(f, "time")) {
		if slices.Contains(clock, u.Sel.Name) {
			in.add(fset.Position(u.Pos()).String(), "clock", "%s may not use time.%s: time is passed in", r.dir, u.Sel.Name)
		}
	}
	if !r.pure {
		return
	}
	for _, u := range selections(f, localName(f, "math/rand/v2")) {
		if !slices.Contains(chance, u.Sel.Name) {
			in.add(fset.Position(u.Pos()).String(), "chance", "%s may not use rand.%s: randomness is passed in", r.dir, u.Sel.Name)
		}
	}
	for _, p := range []string{"time", "math/rand/v2"} {
		if localName(f, p) == "." {
			in.add(fset.Position(f.Pos()).String(), "dot imports", "%s may not hide what it takes from %s", r.dir, p)
		}
	}
}

// localName is what a file calls a package, "" if it does not import it.
func localName(f *ast.File, p string) string {
	for _, imp := range f.Imports {
		if v, _ := strconv.Unquote(imp.Path.Value); v != p {
			continue
		}
		if imp.Name != nil {
			return imp.Name.Name
		}
		if base := path.Base(p); base != "v2" {
			return base
		}
		return path.Base(path.Dir(p))
	}
	return ""
}

// selections are all uses of a package's names, by what the file calls it.
func selections(f *ast.File, pkg string) []*ast.SelectorExpr {
	var all []*ast.SelectorExpr
	if pkg == "" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == pkg {
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

// TestLawsCanBeBroken shows that each law finds its breach, and that what
// stands close to it is none.
func TestLawsCanBeBroken(t *testing.T) {
	const doc = "// Package p is for a test.\n"
	head := func(imports string) string { return doc + "package p\n\nimport (" + imports + ")\n" }
	lines := func(n int) string { return strings.Repeat("\t_ = 0\n", n) }
	for _, c := range []struct {
		name, file, text string
		law              string // "": no breach; with a tilde before it: a mild one
	}{
		{"nothing wrong", "pdp/a.go", head(`"net/netip"; "time"; "math/rand/v2"; w "`+module+`/pdp/wire"`) +
			"func f(r *rand.Rand) { _ = rand.New(r); _ = time.Second; _ = netip.Addr{}; _ = w.Port }\n", ""},
		{"no such syntax", "pdp/a.go", "package\n", "syntax"},
		{"no comment", "load/a.go", "package load\n", "package comment"},
		{"no place", "elsewhere/a.go", doc + "package p\n", "place"},
		{"imports what has no place", "internal/device/engine/a.go", head(`"` + module + `/elsewhere"`), "place"},
		{"a higher floor", "load/a.go", head(`"` + module + `/pdp/wire"`), "floors"},
		{"protocol knows the device", "pdp/a.go", head(`"` + module + `/internal/device/peernet"`), "floors"},
		{"a room below", "pdp/wire/a.go", head(`"` + module + `/pdp/tree"`), "order"},
		{"a command knows package peerload", "cmd/peerload/a.go", head(`"` + module + `"`), ""},
		{"package peerload from below", "internal/device/engine/a.go", head(`"` + module + `"`), "order"},
		{"package peerload has no flags", "a.go", head(`"github.com/spf13/pflag"`), "libraries"},
		{"package peerload has no database", "a.go", head(`"database/sql"`), "lightness"},
		{"a command", "cmd/peerload-lab/a.go", head(`"` + module + `/cmd/peerload"`), "order"},
		{"a test helper", "internal/device/engine/a.go", head(`"` + module + `/internal/testkit/faultdisk"`), "order"},
		{"device knows the controller", "internal/device/origin/a.go", head(`"` + module + `/internal/controller/publish"`), "order"},
		{"controller knows the device", "internal/controller/files/a.go", head(`"` + module + `/internal/device/origin"`), "sides"},
		{"shared by both sides", "internal/controller/files/a.go", head(`"` + module + `/tftp"`), ""},
		{"pages know the store", "internal/controller/api/a.go", head(`"` + module + `/internal/controller/store/sqlite"`), "acquaintances"},
		{"laboratory knows a device's inside", "internal/lab/process/a.go", head(`"` + module + `/internal/device/engine"`), "acquaintances"},
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
		{"clock by another name", "internal/device/slot/a.go", head(`clock "time"`) + "func f() { clock.Sleep(1) }\n", "clock"},
		{"clock in the simulator", "internal/sim/a.go", head(`"time"`) + "func f() { <-time.After(1) }\n", "clock"},
		{"clock on the device", "internal/device/engine/a.go", head(`"time"`) + "var a = time.Now\n", ""},
		{"clock hidden", "load/a.go", head(`. "time"`), "dot imports"},
		{"goroutine", "pdp/election/a.go", doc + "package p\nfunc f() { go f() }\n", "goroutines"},
		{"global chance", "pdp/transfer/a.go", head(`"math/rand/v2"`) + "var a = rand.IntN(3)\n", "chance"},
		{"unfinished", "internal/device/engine/a.go", doc + "package p\n// TO" + "DO: later\n", "finished work"},
		{"an ordinary word", "internal/device/engine/a.go", doc + "package p\n// XX" + "XX is a mask\n", ""},
		{"a long function", "internal/device/engine/a.go", doc + "package p\nfunc f() {\n" + lines(79) + "}\n", "~length of a function"},
		{"a huge function", "internal/device/engine/a.go", doc + "package p\nfunc f() {\n" + lines(119) + "}\n", "length of a function"},
		{"a long file", "internal/device/engine/a.go", doc + "package p\n" + strings.Repeat("\n", 600), "~length of a file"},
		{"a huge file", "internal/device/engine/a.go", doc + "package p\n" + strings.Repeat("\n", 800), "length of a file"},
		{"a test that sleeps", "internal/device/engine/a_test.go", head(`"time"`) + "func f() { time.Sleep(1) }\n", "tests do not sleep"},
		{"a test that sleeps in a bubble", "internal/device/engine/a_test.go", head(`"testing/synctest"; "time"`) + "func f() { time.Sleep(1) }\n", ""},
		{"a test may know all", "load/a_test.go", head(`"os"; "` + module + `/internal/device/engine"`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var laws []string
			for _, b := range inspect(map[string]string{c.file: c.text}) {
				if b.mild {
					b.law = "~" + b.law
				}
				laws = append(laws, b.law)
			}
			want := []string{c.law}
			if c.law == "" {
				want = nil
			}
			if !slices.Equal(laws, want) {
				t.Errorf("found %q, want %q in\n%.300s", laws, want, c.text)
			}
		})
	}
	twice := map[string]string{"load/a.go": doc + "package p\n", "load/b.go": doc + "package p\n"}
	if b := inspect(twice); len(b) != 1 || b[0].law != "package comment" {
		t.Errorf("two package comments give %v", b)
	}
}

// TestHouseIsInOrder: the table itself must be one house.
func TestHouseIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	floor := 0
	for _, r := range house {
		if seen[r.dir] {
			t.Errorf("%s stands twice", r.dir)
		}
		if r.floor < floor {
			t.Errorf("%s on floor %d stands below floor %d", r.dir, r.floor, floor)
		}
		for _, o := range r.only {
			if !seen[o] {
				t.Errorf("%s may know %s, which does not stand above it", r.dir, o)
			}
		}
		if r.floor < 2 && (!r.pure || len(r.libraries) > 0) {
			t.Errorf("%s on floor %d must be pure and use the standard library only", r.dir, r.floor)
		}
		seen[r.dir], floor = true, r.floor
	}
	for dir := range seen {
		if _, err := os.Stat(filepath.FromSlash(dir)); err == nil && !strings.Contains(architecture(t), "`"+dir+"`") {
			t.Errorf("ARCHITECTURE.md does not speak of `%s`", dir)
		}
	}
}

// TestNamedTestsExist: what ARCHITECTURE.md says to hold a law must be there.
func TestNamedTestsExist(t *testing.T) {
	var all strings.Builder
	for name, text := range tree(t) {
		if strings.HasSuffix(name, "_test.go") {
			all.WriteString(text)
		}
	}
	names := regexp.MustCompile("`(Test[A-Za-z]+)(…?)`").FindAllStringSubmatch(architecture(t), -1)
	if len(names) < 10 {
		t.Fatalf("ARCHITECTURE.md names only %d tests", len(names))
	}
	for _, m := range names {
		decl := "\nfunc " + m[1]
		if m[2] == "" {
			decl += "("
		}
		if !strings.Contains(all.String(), decl) {
			t.Errorf("ARCHITECTURE.md names %s%s, which no package has", m[1], m[2])
		}
	}
}

func architecture(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
