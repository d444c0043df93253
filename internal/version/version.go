// Package version says which version of the program this is, and from which
// commit it was built.
//
// What must not be here: versions of loads, of the protocol and of stored data,
// each of which belongs to what it counts. Nothing sets a version by hand: the Go
// command writes it into a program that it builds in a clone, from the tag there.
package version

import (
	"runtime/debug"
	"strings"
	"time"
)

// Version says what a program was built from.
type Version struct {
	// Number is that of the tag without its v, such as 0.1.0; between two tags it
	// has the time and the commit as well; "devel" if the build knows none.
	Number string
	// Commit is the hash of the commit, and Date its day, YYYY-MM-DD; both are ""
	// if the build does not know them.
	Commit, Date string
	// Modified says that files of the clone were changed after the commit.
	Modified bool
}

// Read tells the version of this program.
func Read() Version {
	b, _ := debug.ReadBuildInfo()
	return Of(b)
}

// Of tells the version of the program that b describes; b may be nil.
func Of(b *debug.BuildInfo) Version {
	v := Version{Number: "devel"}
	if b == nil {
		return v
	}
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				v.Date = t.UTC().Format(time.DateOnly)
			}
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	if n := b.Main.Version; n != "" && n != "(devel)" {
		v.Number = strings.TrimSuffix(strings.TrimPrefix(n, "v"), "+dirty")
	}
	return v
}

// short is how many digits of a hash are shown: enough for git to find it.
const short = 12

// String is the number and, as far as they are known, the commit and its day:
// 0.1.0 (commit 0123456789ab, 2026-11-29).
func (v Version) String() string {
	var of []string
	if v.Commit != "" {
		of = append(of, "commit "+v.Commit[:min(len(v.Commit), short)])
	}
	if v.Date != "" {
		of = append(of, v.Date)
	}
	if v.Modified {
		of = append(of, "changed since")
	}
	if len(of) == 0 {
		return v.Number
	}
	return v.Number + " (" + strings.Join(of, ", ") + ")"
}
