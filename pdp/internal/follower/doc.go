// Package follower is the side of a device that wants a file through a tree: it
// asks the root for a parent, dials it, and judges whether parent and root do
// what they say.
//
// What lives here: Follower, which finds a parent again and again; ParentWatch
// and RootWatch, which say when to leave one. What must not: who is root, what
// this device sends to its own children, sockets, clocks, goroutines. Read
// follower.go first, then watch.go.
package follower
