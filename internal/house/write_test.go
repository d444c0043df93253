package house

import (
	"go/ast"
	"slices"
	"strings"
)

// writing are the names of package os that make a file appear under a name.
var writing = []string{"Create", "CreateTemp", "O_CREATE", "Rename", "WriteFile"}

// writers are the packages of the product that write files without package
// durable, and why.
var writers = map[string]string{
	"internal/durable":                 "it is the one way to write them",
	"internal/device/slot":             "it keeps a load on a medium that may lie, and syncs for itself",
	"internal/device/status":           "most of what it writes is made anew at each start; it syncs the device's id",
	"internal/device/agent":            "it moves files into a slot, which syncs them, and gives sockets their names",
	"internal/controller/api":          "uploads are gone with their request",
	"internal/pgserver":                "it writes the log of a server that goes with all it has",
	"internal/controller/store/sqlite": "it makes an empty file, and the database syncs what it writes",
}

// writes holds the rule that keys, metadata, secrets and all else that must
// survive a power cut are written by package durable: whole, or not at all, and
// synced. The laboratory, the commands and what is for tests are free.
func (in *inspector) writes(f *ast.File, r *rule) {
	if r.side == outside || writers[r.dir] != "" || strings.HasPrefix(r.dir, "internal/testkit/") {
		return
	}
	for _, u := range selections(f, localName(f, "os")) {
		if slices.Contains(writing, u.Sel.Name) {
			in.add(in.fset.Position(u.Pos()).String(), "durable writes",
				"%s may not use os.%s: package durable writes files that survive", r.dir, u.Sel.Name)
		}
	}
}
