// Package chunks keeps which chunks of a file a device holds, and where each of
// them came from.
//
// What lives here: Held, with the size and the epoch of the content, as far as
// they are known. What must not: bytes, digests, messages, who sends what to
// whom, sockets, clocks, goroutines. Read held.go.
package chunks
