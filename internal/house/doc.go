// Package house holds the rules of the whole tree: which package may import
// which, what a pure package may not use, what each program links, how large
// files and functions may be, and that ARCHITECTURE.md shows the tree as it is.
//
// What lives here: tests only. What must not: code that a program runs.
//
// Read packages_test.go (the table of all packages), then rules_test.go.
package house
