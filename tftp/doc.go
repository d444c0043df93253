// Package tftp is the TFTP client and server: RFC 1350 with the options of RFC
// 2347, blksize (RFC 2348), timeout and tsize (RFC 2349), windowsize (RFC
// 7440), and two extensions, offset and slide. A server that does not know an
// option ignores it, as RFC 2347 demands.
//
// offset is a decimal number of bytes in an octet-mode read request: the file
// is sent from there. A server that knows it repeats it in its OACK; otherwise
// the file starts at 0. tsize is still the size of the whole file.
//
// slide is a decimal number of blocks; it needs windowsize and must be larger.
// In RFC 7440 the sender stops after each window until the ACK arrives, so only
// one window is sent per round trip, and sends again all that follows a block that
// is missing. With slide, up to that many blocks are under way, an ACK tells which
// are there, and only those that are lost are sent again, at a rate that the line
// has shown to carry. The OACK grants at most as many blocks as were asked for,
// always more than windowsize.
//
// The zero [Client] reads files; a [Server] serves a directory by [Dir], or what
// any other [Opener] opens. The server is read-only: it refuses a write request.
//
// What lives here: the packets and their limits (packet.go, options.go), the
// sender's and the receiver's state, both pure with the time passed in
// (sender.go, receiver.go; with slide, internal/slide), and thin drivers over UDP sockets (client.go with
// ask.go and reader.go, server.go with transfer.go). What must not: knowledge of loads,
// peers or provisioning, and writing of files.
//
// Read client.go or server.go first, then receiver.go or sender.go.
package tftp
