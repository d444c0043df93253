package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is what a target has done in all its recorded runs.
type row struct {
	pkg, name  string
	executions int64
	crashers   int64
	date       string // of the last run
	by         string // the flags of the last run
}

// row is the outcome of one run as a row.
func (out outcome) row(t target, o options, now time.Time) row {
	return row{pkg: strings.TrimPrefix(t.pkg, "./"), name: t.name, executions: out.executions,
		crashers: int64(len(out.crashers)), date: now.Format(time.DateOnly), by: o.flags()}
}

const (
	recordHead = `# Fuzzing

What each target has executed in all, and how many inputs it has found that failed. Each such input is a seed below
the package's ` + "`testdata/fuzz`" + ` today. Date and flags are those of the last run. The table is written by

    go run ./internal/fuzzing -record internal/fuzzing/record.md FLAGS

`
	tableHead = "| package | target | executions | crashers | last run | flags |\n|---|---|---:|---:|---|---|\n"
)

// print writes the whole record.
func print(rows []row) []byte {
	var b bytes.Buffer
	b.WriteString(recordHead + tableHead)
	all := row{}
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s | `%s` |\n", r.pkg, r.name, r.executions, r.crashers, r.date, r.by)
		all.executions += r.executions
		all.crashers += r.crashers
	}
	fmt.Fprintf(&b, "| all | %d targets | %d | %d | | |\n", len(rows), all.executions, all.crashers)
	return b.Bytes()
}

// rowForm is a row as print writes it.
var rowForm = regexp.MustCompile("^\\| (\\S+) \\| (Fuzz\\w*) \\| ([0-9]+) \\| ([0-9]+) \\| (\\S*) \\| `([^`|]*)` \\|$")

// parse reads a record. The row of sums is made anew when it is printed.
func parse(text []byte) (rows []row, err error) {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.HasPrefix(line, "|") || !strings.Contains(line, "Fuzz") {
			continue
		}
		m := rowForm.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("that is no row of the record: %.200q", line)
		}
		r := row{pkg: m[1], name: m[2], date: m[5], by: m[6]}
		var errs [2]error
		r.executions, errs[0] = strconv.ParseInt(m[3], 10, 64)
		r.crashers, errs[1] = strconv.ParseInt(m[4], 10, 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// add adds a run to the rows, which stay in order.
func add(rows []row, r row) []row {
	for i, have := range rows {
		if have.pkg == r.pkg && have.name == r.name {
			r.executions += have.executions
			r.crashers += have.crashers
			rows[i] = r
			return rows
		}
	}
	rows = append(rows, r)
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(strings.Compare(a.pkg, b.pkg), strings.Compare(a.name, b.name))
	})
	return rows
}

// addToRecord adds a run to the record in a file, which it makes if it is not
// there.
func addToRecord(path string, r row) error {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	rows, err := parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, print(add(rows, r)), 0o644)
}
