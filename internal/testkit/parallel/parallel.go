// Package parallel lets tests that wait more than they compute run many at a time.
//
// What lives here: how many. What must not: what the tests share. Read first:
// Tests.
package parallel

import (
	"flag"
	"strconv"
)

// Tests lets n tests of a package that call T.Parallel run at a time, half of them
// with the race detector, unless -parallel says how many. TestMain calls it before
// the tests run.
func Tests(n int) {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return
	}
	if detector {
		n = (n + 1) / 2
	}
	_ = flag.Set("test.parallel", strconv.Itoa(n)) // a number is never refused
}
