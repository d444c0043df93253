package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestTargetsOf: targets are functions by their name, wherever else it stands.
func TestTargetsOf(t *testing.T) {
	const text = "package p\nfunc FuzzA(f *testing.F) {}\nfunc (x T) FuzzB() {}\nfunc TestC() { FuzzD() }\n" +
		"func FuzzE(f *testing.F) {}\nvar FuzzF = 1\n"
	got, err := targetsOf("p_test.go", text)
	if err != nil || !slices.Equal(got, []string{"FuzzA", "FuzzE"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestUnderstand reads what a run prints.
func TestUnderstand(t *testing.T) {
	const head = "fuzz: elapsed: 0s, gathering baseline coverage: 3/3 completed, now fuzzing with 1 workers\n" +
		"fuzz: elapsed: 3s, execs: 1000 (333/sec), new interesting: 1 (total: 4)\n" +
		"fuzz: elapsed: 6s, execs: 2500 (500/sec), new interesting: 1 (total: 4)\n"
	for name, c := range map[string]struct {
		text       string
		executions int64
		crashers   []string
		ranOut     bool
	}{
		"to its end": {head + "PASS\nok p 6s\n", 2500, nil, false},
		"a crasher": {head + "--- FAIL: FuzzX (6.1s)\n    --- FAIL: FuzzX (0.00s)\n        a_test.go:7: bad\n    \n" +
			"    Failing input written to testdata/fuzz/FuzzX/0123abcd\n    To re-run:\n", 2500,
			[]string{"testdata/fuzz/FuzzX/0123abcd"}, false},
		"at its end": {head + "--- FAIL: FuzzX (6.01s)\n    context deadline exceeded\nFAIL\n", 2500, nil, true},
		"a seed that fails": {"--- FAIL: FuzzX (0.01s)\n    failure while testing seed corpus entry: FuzzX/seed#0\n", 0, nil,
			false},
		"no build": {"x.go:1: syntax error\n", 0, nil, false},
	} {
		o := understand([]byte(c.text))
		if o.executions != c.executions || !slices.Equal(o.crashers, c.crashers) || o.ranOut() != c.ranOut {
			t.Errorf("%s: %d executions, %q, ran out %v", name, o.executions, o.crashers, o.ranOut())
		}
	}
}

// TestRecord: executions add up over runs, date and flags are those of the last,
// and rows stay in order.
func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.md")
	for _, r := range []row{
		{pkg: "tftp", name: "FuzzB", executions: 5, date: "2026-01-01", by: "-time 1s"},
		{pkg: "load", name: "FuzzA", executions: 7, crashers: 1, date: "2026-01-02"},
		{pkg: "tftp", name: "FuzzB", executions: 6, crashers: 2, date: "2026-01-03", by: "-time 2s"},
	} {
		if err := addToRecord(path, r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := parse(text)
	want := []row{{"load", "FuzzA", 7, 1, "2026-01-02", ""}, {"tftp", "FuzzB", 11, 2, "2026-01-03", "-time 2s"}}
	if err != nil || !reflect.DeepEqual(rows, want) {
		t.Errorf("%+v, %v", rows, err)
	}
	if !strings.Contains(string(text), "| all | 2 targets | 18 | 3 |") {
		t.Errorf("no sum in\n%s", text)
	}
	for _, damaged := range []string{"| load | FuzzA | many | 0 | | `` |\n", "| load | FuzzA | 1 | 0 |\n",
		"| load | FuzzA | 99999999999999999999 | 0 | | `` |\n", "|\v|Fuzz|0|0||0"} {
		if err := os.WriteFile(path, []byte(damaged), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := addToRecord(path, row{pkg: "load", name: "FuzzA"}); err == nil {
			t.Errorf("a damaged record was written over: %q", damaged)
		}
	}
}

// TestCampaign runs the targets of a module of its own: one finds an input that fails,
// one does not build, and the other is run all the same.
func TestCampaign(t *testing.T) {
	tiers.Long(t, "it builds and runs for seconds")
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.26\n",
		"a_test.go": "package m\n\nimport \"testing\"\n\nfunc FuzzBad(f *testing.F) {\n\tf.Add(1)\n" +
			"\tf.Fuzz(func(t *testing.T, n int) {\n\t\tif n != 1 {\n\t\t\tt.Fatal(\"bad\")\n\t\t}\n\t})\n}\n\n" +
			"func FuzzGood(f *testing.F) {\n\tf.Add(1)\n\tf.Fuzz(func(t *testing.T, n int) {})\n}\n",
		"a/a_test.go": "package a\n\nimport \"testing\"\n\nfunc FuzzBroken(f *testing.F) { none() }\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	var out bytes.Buffer
	err := run(context.Background(), []string{"-time", "1s", "-record", "record.md", "./a", "."}, &out, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "2 targets failed: ./a FuzzBroken, . FuzzBad") ||
		!strings.Contains(out.String(), "undefined: none") {
		t.Errorf("%v\n%s", err, out.String())
	}
	text, rerr := os.ReadFile("record.md")
	rows, perr := parse(text)
	if rerr != nil || perr != nil || len(rows) != 2 || rows[0].crashers != 1 || rows[1].crashers != 0 ||
		rows[1].executions == 0 {
		t.Errorf("%+v, %v, %v", rows, rerr, perr)
	}
	seeds, err := os.ReadDir("testdata/fuzz/FuzzBad")
	if err != nil || len(seeds) != 1 {
		t.Errorf("%d seeds, %v", len(seeds), err)
	}
}

// TestMistakes: a command line that cannot be meant is told so.
func TestMistakes(t *testing.T) {
	for _, args := range [][]string{{}, {"-time", "1ms", "."}, {"-only", "(", "."}, {"-parallel", "0", "."},
		{"-only", "Nothing", "."}} {
		err := run(context.Background(), args, io.Discard, io.Discard)
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// FuzzTable: a record is damaged, or is printed as it was read.
func FuzzTable(f *testing.F) {
	f.Add(print([]row{{"load", "FuzzA", 7, 1, "2026-01-02", "-time 1s ./..."}}))
	f.Add([]byte("| load | FuzzA | 7 | x | | |\n| | Fuzz |"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(print(rows))
		if err != nil || !reflect.DeepEqual(again, rows) {
			t.Fatalf("%+v came back as %+v, %v", rows, again, err)
		}
	})
}

// FuzzGoOutput: whatever a run prints, executions are counted.
func FuzzGoOutput(f *testing.F) {
	f.Add([]byte("fuzz: elapsed: 3s, execs: 1000 (333/sec), new interesting: 1 (total: 4)\n" +
		"    Failing input written to testdata/fuzz/FuzzX/0123abcd\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := understand(b)
		if o.executions < 0 || len(o.tail) > mostTail || o.ranOut() && o.executions == 0 {
			t.Fatalf("%+v", o)
		}
		_ = o.row(target{}, options{}, time.Time{})
	})
}
