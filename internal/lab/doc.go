// Package lab runs sites of real processes on one machine: N devices, each a
// `peerload get` of its own with its own address and state directory, and a
// file server behind a WAN of a given rate. It measures what crosses the WAN
// and when the last device has its file, and tells it as figures or as a
// live picture.
//
// There are two kinds of site. A loopback site gives every device an address
// of 127.0.0.0/8 and shapes the file server's writes; it needs no rights and
// its LAN is not shaped. A namespace site gives every device a network
// namespace with a port on one bridge, shapes every port with the kernel's
// token bucket, and works as root or in a user namespace.
//
// What lives here: sites, the processes on them, the measuring. What must
// not: a device's logic. The lab sees a device from outside only, through its
// command line, its JSON lines, its files and the bytes that it asks for.
package lab
