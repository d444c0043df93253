package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// target is a package whose tests are tested.
type target struct {
	ImportPath   string
	Dir          string // absolute
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

// listPackages asks the go command for the packages that patterns name, and
// leaves out those without tests.
func listPackages(ctx context.Context, patterns []string) ([]target, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-json=ImportPath,Dir,GoFiles,TestGoFiles,XTestGoFiles",
		"--"}, patterns...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	var all []target
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var t target
		if err := d.Decode(&t); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if len(t.GoFiles) > 0 && len(t.TestGoFiles)+len(t.XTestGoFiles) > 0 {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no package with tests is named so")
	}
	return all, nil
}

// mutants are all mutants of a package that the options leave, in the order of
// its files.
func (t target) mutants(o options) ([]mutant, error) {
	var all []mutant
	for _, name := range t.GoFiles {
		text, err := os.ReadFile(filepath.Join(t.Dir, name))
		if err != nil {
			return nil, err
		}
		found, err := mutantsOf(t.display(name), string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return slices.DeleteFunc(all, func(m mutant) bool {
		at := fmt.Sprintf("%s:%d", m.file, m.line)
		return !slices.Contains(o.kinds, m.kind) || o.at != "" && o.at != m.file && o.at != at ||
			!o.in.MatchString(m.function)
	}), nil
}

// display is the name of a file of the package as people see it.
func (t target) display(name string) string {
	full := filepath.Join(t.Dir, name)
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, full); err == nil {
			return filepath.ToSlash(rel)
		}
	}
	return filepath.ToSlash(full)
}

// shuffled is the order in which a seed draws mutants: the same for the same
// code, whatever other packages are drawn from.
func shuffled(seed uint64, all []mutant) []mutant {
	drawn := slices.Clone(all)
	r := rand.New(rand.NewPCG(seed, 0))
	r.Shuffle(len(drawn), func(i, j int) { drawn[i], drawn[j] = drawn[j], drawn[i] })
	return drawn
}

//go:embed equivalent.txt
var equivalents string

// equivalent is a mutant that behaves as the code does, so that no test can
// tell it.
type equivalent struct{ file, function, change string }

// parseEquivalents reads equivalent.txt: a line each of file, function, change
// and reason, divided by tabs; empty lines and those that begin with # are for
// people.
func parseEquivalents(text string) ([]equivalent, error) {
	var all []equivalent
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 || f[3] == "" {
			return nil, fmt.Errorf("equivalent.txt:%d: want file, function, change and reason, divided by single tabs", n)
		}
		all = append(all, equivalent{f[0], f[1], f[2]})
	}
	return all, nil
}

// is reports whether a mutant is this one.
func (e equivalent) is(m mutant) bool {
	return e.file == m.file && e.function == m.function && e.change == m.change()
}

// row is the result of the sample of one package.
type row struct {
	name       string
	total      int // mutants that the package has
	drawn      int // that build, or are known as equivalent
	killed     int
	equivalent int
	survivors  []mutant
}

// share is the part of the mutants that count which were killed, in percent.
func (r row) share() string {
	if r.drawn == r.equivalent {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(r.killed)/float64(r.drawn-r.equivalent))
}

// table shows rows in Markdown, with their sum.
func table(how string, rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n| package (%s) | drawn | of | equivalent | killed | survived | killed of the rest |\n"+
		"|---|---|---|---|---|---|---|\n", how)
	sum := row{name: "all"}
	for _, r := range rows {
		sum.total += r.total
		sum.drawn += r.drawn
		sum.killed += r.killed
		sum.equivalent += r.equivalent
		sum.survivors = append(sum.survivors, r.survivors...)
	}
	if len(rows) > 1 {
		rows = append(rows, sum)
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s |\n", r.name, r.drawn, r.total, r.equivalent, r.killed,
			len(r.survivors), r.share())
	}
	return b.String()
}
