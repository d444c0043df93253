package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/peerload/peerload"

// From here: the root of the module, and the document that shows it.
const (
	root         = "../.."
	architecture = root + "/ARCHITECTURE.md"
)

// listed is a package as `go list` tells of it.
type listed struct {
	ImportPath string
	Doc        string // the first sentence of its comment
	Imports    []string
	Module     *struct{ Path string }
	Standard   bool
}

// dir is the package's folder below the root of the module, "." for the root.
func (l listed) dir() string {
	if l.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(l.ImportPath, module+"/")
}

// goList runs `go list -json` with more arguments, for linux on arch and
// without cgo, as the programs are built: the tree is the same on every machine.
func goList(t *testing.T, arch string, args ...string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list",
		"-json=ImportPath,Doc,Imports,Module,Standard"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// ownPackages lists the packages of this module.
func ownPackages(t *testing.T) []listed {
	t.Helper()
	all := goList(t, "amd64", "./...")
	if len(all) < 30 {
		t.Fatalf("go list ./... found only %d packages", len(all))
	}
	return all
}

// readTree reads all Go files of the module by their slash-separated paths.
func readTree(t *testing.T) map[string]string {
	t.Helper()
	sources := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		hidden := name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_'
		if d.IsDir() && p != "." {
			if _, err := os.Stat(root + "/" + p + "/go.mod"); hidden || err == nil { // another module
				return fs.SkipDir
			}
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		b, err := os.ReadFile(root + "/" + p)
		sources[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 50 {
		t.Fatalf("only %d Go files found: is %s the root of the module?", len(sources), root)
	}
	return sources
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
