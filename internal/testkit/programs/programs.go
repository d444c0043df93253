// Package programs builds the product's programs for tests that run them.
//
// What lives here: the build, and what makes the go command notice that a program has
// changed. What must not: what a test does with a program.
//
// Read Build.
package programs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Build builds programs of the product, by their names below cmd, into a directory that
// the test has to itself, which it returns. flags are those of "go build".
func Build(t testing.TB, names []string, flags ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := Sources(names...)
	if err == nil {
		err = Into(dir+string(filepath.Separator), names, flags...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Into is Build for what several tests use: each of them has to call Sources. out is a
// file, or a directory if it ends with a separator.
func Into(out string, names []string, flags ...string) error {
	args := append(append([]string{"build", "-o", out}, flags...), packages(names)...)
	if b, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(names, " "), err, b)
	}
	return nil
}

// packages are those of programs.
func packages(names []string) (paths []string) {
	for _, name := range names {
		paths = append(paths, module+"/cmd/"+name)
	}
	return paths
}

const module = "github.com/peerload/peerload"

// Sources looks at all that programs are built from, so that the go command does not
// reuse a result of a test for other programs: they are not linked into it. Each test
// must call it itself, because the go command does not see what happens before the
// tests.
func Sources(names ...string) error {
	out, err := exec.Command("go", append([]string{"list", "-deps", "-json=Dir,Standard,GoFiles,EmbedFiles,Module"},
		packages(names)...)...).Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var s source
		if err := dec.Decode(&s); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if s.Standard || s.Module == nil || !s.Module.Main {
			continue // go.mod says which
		}
		if err := s.look(); err != nil {
			return err
		}
	}
}

// source is a package that a program is built from.
type source struct {
	Dir                 string
	Standard            bool
	GoFiles, EmbedFiles []string
	Module              *struct {
		Dir  string
		Main bool
	}
}

// look looks at the files of a package, and at its folder, where another may come to
// them. The folder of the module has more than files: what is in it changes with
// each commit.
func (s *source) look() error {
	files := append(s.GoFiles, s.EmbedFiles...)
	if s.Dir == s.Module.Dir {
		files = append(files, "go.mod", "go.sum")
	} else if _, err := os.ReadDir(s.Dir); err != nil {
		return err
	}
	for _, name := range files {
		if _, err := os.Stat(filepath.Join(s.Dir, name)); err != nil && name != "go.sum" {
			return err
		}
	}
	return nil
}
