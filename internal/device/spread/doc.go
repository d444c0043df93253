// Package spread downloads a file in pieces over several connections to its servers.
//
// What lives here: the goroutines that ask for pieces and read them, and what an
// answer means for the other connections. What must not: how many connections there
// are and which piece comes over which (internal/pieces decides), what a server's
// answer is (package origin reads it), what is lacking and where chunks are stored
// (the caller's).
//
// Read spread.go.
package spread
