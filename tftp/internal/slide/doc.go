// Package slide moves the blocks of a file over a line that is long or loses
// packets: what the two sides of a TFTP transfer do once they have agreed on the
// option slide (docs/PROTOCOL.md, TFTP extensions).
//
// What lives here: which block is sent when, which counts as lost, how fast they
// may follow each other, what an ACK says, and when to give up. All of it is pure:
// the time is passed in. What must not: sockets, files, and what both sides agreed
// on before.
//
// Blocks are counted from 1 without end. On the wire the count is taken modulo
// 65536; at most MaxBlocks are under way, so it is never in doubt which is meant.
//
// Read sender.go first, then receiver.go; rate.go decides how fast.
package slide
