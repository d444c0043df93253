// Package pieces decides how a device downloads a file over several connections:
// how many there are, which piece of the file is asked for over which, and when a
// slow piece is asked for again over another.
//
// What lives here: Fetch, which is told what happens and says what to ask for, and
// the count of connections. It is pure: the time is an argument. What must not:
// sockets, bytes, servers, errors; which chunks are needed is said by the machine of
// package pdp.
//
// Read fetch.go, then count.go.
package pieces
