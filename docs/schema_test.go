package docs_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/report"
)

var update = flag.Bool("update", false, "write docs/schema anew")

// draft is the dialect of the schemas.
const draft = "https://json-schema.org/draft/2020-12/schema"

// statusFile is what "peerload status --json" prints.
type statusFile struct {
	Schema    int              `json:"schema"`
	Processes []status.Process `json:"processes"`
}

// TestSchemas: docs/schema is what the types, and the words that they use, say.
func TestSchemas(t *testing.T) {
	words := constants(t, "../report/report.go", "../report/device.go")
	texts := comments(t, "../report/report.go", "../report/device.go", "../internal/device/status/recorder.go")
	for file, of := range map[string]struct {
		title string
		root  any
	}{
		"event":  {"A line of peerload get --json", report.Event{}},
		"device": {"What a device reports to its controller", report.Device{}},
		"status": {"What peerload status --json prints", statusFile{}},
	} {
		r := huma.NewMapRegistry("#/$defs/", huma.DefaultSchemaNamer)
		top := r.Schema(reflect.TypeOf(of.root), true, "")
		defs := r.Map()
		for name, s := range defs {
			describe(s, name, texts, words)
		}
		same(t, file, map[string]any{"$schema": draft, "title": of.title, "$ref": top.Ref, "$defs": defs})
	}
	same(t, "exit-statuses", exits(t))
}

// describe gives a schema of an object the words and texts of its type. Fields may be
// added to every object.
func describe(s *huma.Schema, name string, texts map[string]string, words map[string][]any) {
	s.AdditionalProperties = true
	s.Description = texts[name]
	for field, p := range s.Properties {
		if text := texts[name+"."+field]; text != "" && p.Ref == "" {
			p.Description = text
		}
		switch kind := map[string]string{"role": "Role", "source": "Source", "state": "State"}[field]; {
		case field == "event" && name == "Event":
			p.Enum = words["Kind"]
		case field == "event" && name == "File": // a status has one more
			p.Enum = append(slices.Clone(words["Kind"]), status.KindProxy)
		case kind != "":
			p.Enum = words[kind]
		}
		if (field == "reason" || field == "phase") && p.Enum == nil {
			// New ones may come: they are told, not demanded.
			for _, c := range reason.All() {
				if field == "reason" {
					p.Examples = append(p.Examples, string(c))
				} else if at := c.Phase(); at != "" && !slices.Contains(p.Examples, any(at)) {
					p.Examples = append(p.Examples, at)
				}
			}
		}
		if field == "schema" {
			p.Enum = []any{report.Schema}
		}
	}
}

// same compares a file of docs/schema.
func same(t *testing.T, name string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	text.WriteByte('\n')
	file := "schema/" + name + ".json"
	if *update {
		if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(file); err != nil || !bytes.Equal(have, text.Bytes()) {
		t.Errorf("docs/%s is not what the types say (%v): look at the difference after "+
			"go test ./docs -run TestSchemas -update", file, err)
	}
}

// exits is the schema of exit statuses, from the tables of OPERATIONS.md.
func exits(t *testing.T) any {
	t.Helper()
	b, err := os.ReadFile("OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	var programs [][]any
	var first []string
	for _, row := range parse(string(b)).tables["Exit statuses/status"] {
		n, err := strconv.Atoi(row[0])
		if err != nil || len(row) < 3 {
			t.Fatalf("OPERATIONS.md has an exit status %q", row)
		}
		if n == 0 {
			programs = append(programs, nil)
		}
		text := row[1]
		if row[2] != "" {
			text += ". Try again: " + row[2]
		}
		at := len(programs) - 1
		programs[at] = append(programs[at], map[string]any{"const": n, "description": text})
		if at == 0 && n != 0 {
			first = append(first, row[0])
		}
	}
	if want := exitStatuses(t); len(programs) != 2 || !slices.Equal(first, want) {
		t.Fatalf("OPERATIONS.md has the exit statuses %q of %d programs, the code %q", first, len(programs), want)
	}
	return map[string]any{"$schema": draft, "title": "Exit statuses", "$defs": map[string]any{
		"peerload":        map[string]any{"type": "integer", "oneOf": programs[0]},
		"peerload-server": map[string]any{"type": "integer", "oneOf": programs[1]},
	}}
}

// constants are the words of package report by the beginning of their names.
func constants(t *testing.T, files ...string) map[string][]any {
	t.Helper()
	all := map[string][]any{}
	each(t, files, func(n ast.Node) {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return
		}
		for _, kind := range []string{"Kind", "Role", "Source", "State"} {
			if strings.HasPrefix(v.Names[0].Name, kind) {
				all[kind] = append(all[kind], literal(v.Values[0]))
			}
		}
	})
	if len(all) != 4 {
		t.Fatal(all)
	}
	return all
}

// comments are those of types and of their fields, by the names that JSON has.
func comments(t *testing.T, files ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	each(t, files, func(n ast.Node) {
		d, ok := n.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			return
		}
		for _, spec := range d.Specs {
			s := spec.(*ast.TypeSpec)
			all[s.Name.Name] = line(d.Doc.Text())
			x, ok := s.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range x.Fields.List {
				if f.Tag == nil {
					continue
				}
				tag, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
				all[s.Name.Name+"."+tag] = line(f.Doc.Text() + f.Comment.Text())
			}
		}
	})
	return all
}

func line(s string) string { return strings.Join(strings.Fields(s), " ") }

// each visits the code of files.
func each(t *testing.T, files []string, visit func(ast.Node)) {
	t.Helper()
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
	}
}
