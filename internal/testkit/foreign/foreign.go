// Package foreign finds the programs of others that tests and benchmarks speak
// with, and starts nginx.
//
// What lives here: where they lie, how one make of a program is told from
// another, and what a test does without it. What must not: what is asked of a
// program. Read Program first.
package foreign

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// requiredEnv is the variable that test.sh sets to 1 when it has installed the
// programs: then one that is missing is a failure.
const requiredEnv = "PEERLOAD_FOREIGN"

// TFTPHPA tells in.tftpd and tftp of tftpd-hpa from programs of the same names.
const TFTPHPA = "tftp-hpa"

// Program returns the path of a program. If marks are given, the program must
// print each of them when it is called with -V: there are several programs of
// some names. Without such a program the test is skipped, as Missing does.
func Program(tb testing.TB, name string, marks ...string) string {
	tb.Helper()
	path, err := find(places(), name, marks)
	if err != nil {
		Missing(tb, err)
	}
	return path
}

// Missing skips a test for the lack of a program, or fails it where all
// programs must be there.
func Missing(tb testing.TB, why error) {
	tb.Helper()
	if os.Getenv(requiredEnv) == "1" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

// places are the folders where programs may lie: those of PATH, those that
// only the PATH of root has, and where .ci/foreign.sh unpacks what conflicts
// with others.
func places() []string {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	unpacked := filepath.Join(cache, "peerload-foreign", "usr")
	return append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin", filepath.Join(unpacked, "sbin"),
		filepath.Join(unpacked, "bin"))
}

// find returns the first program of a name and a make.
func find(dirs []string, name string, marks []string) (string, error) {
	var other []string
	for _, dir := range dirs {
		path, err := exec.LookPath(dir + "/" + name)
		if err != nil {
			continue
		}
		if marked(path, marks) {
			return path, nil
		}
		other = append(other, path)
	}
	if len(other) > 0 {
		return "", fmt.Errorf("%s is not that of %s: run .ci/foreign.sh", strings.Join(other, " and "),
			strings.Join(marks, " with "))
	}
	return "", fmt.Errorf("%s is missing: run .ci/foreign.sh", name)
}

// marked reports whether a program says of itself what it must.
func marked(path string, marks []string) bool {
	if len(marks) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	said, _ := exec.CommandContext(ctx, path, "-V").CombinedOutput() // some end with a status of their own
	for _, m := range marks {
		if !strings.Contains(string(said), m) {
			return false
		}
	}
	return true
}
