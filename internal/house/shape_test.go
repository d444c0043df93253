package house

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// -update writes what ARCHITECTURE.md and its picture should be.
var update = flag.Bool("update", false, "write the tree and the picture of ARCHITECTURE.md")

const (
	picture   = root + "/docs/images/packages.svg"
	treeBegin = "<!-- the tree: made by go test ./internal/house -update -->\n```\n"
	treeEnd   = "```\n<!-- end of the tree -->\n"
)

// TestShape: ARCHITECTURE.md shows the tree and the imports as they are.
func TestShape(t *testing.T) {
	all := ownPackages(t)
	t.Run("tree", func(t *testing.T) {
		text, err := os.ReadFile(architecture)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(text), treeBegin)
		_, after, ok2 := strings.Cut(rest, treeEnd)
		if !ok || !ok2 {
			t.Fatalf("ARCHITECTURE.md has no place for the tree: a line %q, later %q", treeBegin, treeEnd)
		}
		hold(t, architecture, text, []byte(before+treeBegin+treeOf(t, all)+treeEnd+after))
	})
	t.Run("picture", func(t *testing.T) {
		now, err := os.ReadFile(picture)
		if err != nil && !*update {
			t.Fatal(err)
		}
		hold(t, picture, now, draw(graphOf(t, all)))
	})
}

// hold compares a file with what it should be, or writes it.
func hold(t *testing.T, name string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the packages as they are: run go test ./internal/house -update", filepath.Base(name))
	}
	if err := os.WriteFile(name, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Columns of the tree in ARCHITECTURE.md.
const (
	treeColumn = 22 // where what a package is for begins
	treeWidth  = 120
)

// treeOf shows all packages, a line each: the beginning of its comment, up to
// the first colon or the end of the first sentence.
func treeOf(t *testing.T, all []listed) string {
	t.Helper()
	var b strings.Builder
	var last []string // the folders of the line before
	for _, l := range slices.SortedFunc(slices.Values(all), func(a, b listed) int {
		return strings.Compare(a.dir(),
			b.dir())
	}) {
		parts := strings.Split(l.dir(), "/")
		for i := range parts[:len(parts)-1] { // folders that hold no package
			if i >= len(last) || last[i] != parts[i] || !slices.Equal(last[:i], parts[:i]) {
				fmt.Fprintf(&b, "%s%s/\n", strings.Repeat("  ", i), parts[i])
			}
		}
		last = parts
		line := fmt.Sprintf("%-*s %s\n", treeColumn-1, strings.Repeat("  ", len(parts)-1)+parts[len(parts)-1], beginning(l))
		if n := utf8.RuneCountInString(line) - 1; n > treeWidth {
			t.Errorf("the comment of package %s begins with %d characters too many for the tree: "+
				"say shortly what it is for, then a colon or a full stop", l.dir(), n-treeWidth)
		}
		b.WriteString(line)
	}
	return b.String()
}

// beginning is what a package is for, without its name, which the tree shows.
func beginning(l listed) string {
	if l.dir() == "docs" { // it has tests only
		return "the documents; its tests compare them with the code"
	}
	says, _, _ := strings.Cut(l.Doc, ": ")
	says = strings.TrimSuffix(says, ".")
	if words := strings.SplitN(says, " ", 3); len(words) == 3 && (words[0] == "Package" || words[0] == "Command") {
		says = words[2]
	}
	return strings.TrimPrefix(says, "is ")
}

// graph are groups of packages and what they import of each other.
type graph struct {
	names   []string
	imports map[string][]string // without what follows from the others
	level   map[string]int      // 0 imports nothing
}

// groupOf is the group in the picture that a package belongs to, "" for those
// that are not shown: tests.
func groupOf(dir string) string {
	parts := strings.Split(dir, "/")
	if parts[0] == "internal" {
		parts = parts[1:]
	}
	switch parts[0] {
	case ".":
		return "peerload"
	case "docs", "e2e", "testkit", "house":
		return ""
	case "device", "controller", "cmd", "pdp":
		if len(parts) > 1 && parts[1] != "internal" {
			return parts[0] + "/" + parts[1]
		}
	}
	return parts[0]
}

// graphOf groups the packages, leaves out what follows from other imports, and
// finds their levels.
func graphOf(t *testing.T, all []listed) graph {
	t.Helper()
	g := graph{imports: map[string][]string{}, level: map[string]int{}}
	direct := map[string]map[string]bool{}
	for _, l := range all {
		from := groupOf(l.dir())
		if from == "" {
			continue
		}
		if direct[from] == nil {
			direct[from] = map[string]bool{}
		}
		for _, i := range l.Imports {
			if i != module && !strings.HasPrefix(i, module+"/") {
				continue
			}
			if to := groupOf((listed{ImportPath: i}).dir()); to != "" && to != from {
				direct[from][to] = true
			}
		}
	}
	g.names = sortedKeys(direct)
	reach := map[string]map[string]bool{} // all that a group imports, also by others
	var visit func(n string, above []string)
	visit = func(n string, above []string) {
		if slices.Contains(above, n) {
			t.Fatalf("groups of packages import each other: %s", strings.Join(append(above, n), ", "))
		}
		if reach[n] != nil {
			return
		}
		found := map[string]bool{}
		for to := range direct[n] {
			visit(to, append(slices.Clone(above), n))
			found[to] = true
			maps.Copy(found, reach[to])
			g.level[n] = max(g.level[n], g.level[to]+1)
		}
		reach[n] = found
	}
	for _, from := range g.names {
		visit(from, nil)
		further := map[string]bool{}
		for to := range direct[from] {
			maps.Copy(further, reach[to])
		}
		for _, to := range sortedKeys(direct[from]) {
			if !further[to] {
				g.imports[from] = append(g.imports[from], to)
			}
		}
	}
	return g
}
