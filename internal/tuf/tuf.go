// Package tuf has what both sides of trust need to know about a published tree:
// where its files are, how long they may be, and how to call the TUF library
// safely.
//
// What must not be here: reading, writing, signing and verifying. Package trust
// verifies, package repository signs and writes.
package tuf

import (
	"fmt"
	"path"
	"strconv"
)

// Limits of what a device fetches, in bytes: endless data is cut off here, or
// at the signed length if there is one.
const (
	MaxRootSize      = 512_000
	MaxTimestampSize = 16 << 10
	MaxSnapshotSize  = 256 << 10
	MaxTargetsSize   = 1 << 20
	// MaxRootRotations bounds how many new roots one refresh follows.
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

// Guard turns a panic of the library into an error: metadata is read before its
// author is known, and null in place of an object must not end the process.
func Guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it breaks the parser: %v", p)
		}
	}()
	return f()
}
