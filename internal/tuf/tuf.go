// Package tuf is what both sides of trust know of a published tree: where its
// files are, how long they may be, and how to call the TUF library safely.
//
// What must not be here: reading, writing, signing and verifying. Package trust
// verifies, package repository signs and writes.
package tuf

import (
	"fmt"
	"path"
	"strconv"
)

// Limits of what a device fetches, in bytes: endless data stops here at the
// latest, and at the signed length where there is one.
const (
	MaxRootSize      = 512_000
	MaxTimestampSize = 16 << 10
	MaxSnapshotSize  = 256 << 10
	MaxTargetsSize   = 1 << 20
	// MaxRootRotations bounds how many roots one refresh walks.
	MaxRootRotations = 256
)

// Directories of a tree, relative to its base.
const (
	MetadataDir   = "metadata"
	ComponentsDir = "components"
)

// MetadataPath is the path of a role's file, relative to the base; version 0
// means the name without one.
func MetadataPath(role string, version int64) string {
	name := role + ".json"
	if version > 0 {
		name = strconv.FormatInt(version, 10) + "." + name
	}
	return path.Join(MetadataDir, name)
}

// ComponentPath is the path of a component, relative to the base:
// components/SHA256.NAME.
func ComponentPath(digest, name string) string {
	return path.Join(ComponentsDir, digest+"."+name)
}

// Guard turns a panic of the library into an error: metadata is read before
// it is known who wrote it, and null where an object belongs must not end the
// process.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it breaks the parser: %v", p)
		}
	}()
	return f()
}
