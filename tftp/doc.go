// Package tftp is the TFTP client and server: RFC 1350 with the options of
// RFC 2347, blksize (RFC 2348), timeout and tsize (RFC 2349), windowsize
// (RFC 7440), and offset, an extension of our own.
//
// offset is a decimal number of bytes in an octet-mode read request: the file
// is sent from there. A server that knows it repeats it in its OACK; one that
// does not ignores it as RFC 2347 demands, and the file starts at 0. tsize
// stays the size of the whole file.
//
// What lives here: the packets and their limits (packet.go, options.go), the
// sender's and the receiver's state, both pure with the time passed in
// (sender.go, receiver.go), and thin drivers over UDP sockets (client.go,
// server.go, transfer.go). What must not: knowledge of loads, peers or
// provisioning, and writing of files. A write request is refused.
package tftp
