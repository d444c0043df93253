// Package sim plays whole sites of devices in virtual time: the machines of
// package pdp as they are, and around each what a driver does for it. UDP with
// loss, duplication and disorder, TCP links over ports of a given rate, a
// server behind a WAN, disks, and faults that can be stacked.
//
// Everything is driven by one event heap and one seed: the same seed gives the
// same run, down to the Hash of all that happened. Messages go through the
// encoding of package wire. The bytes of a file do not: a chunk is a token that
// says whose content it is, and takes the time that its bytes would take.
//
// What lives here: the event heap, the modelled network, disks and server,
// faults, the invariants that hold in every run, and the trace. What must not:
// sockets, clocks, goroutines, and any decision of the protocol.
//
// Read sim.go first, then device.go (the driver), udp.go, link.go (TCP),
// wan.go (the server), fault.go, check.go (invariants).
package sim
