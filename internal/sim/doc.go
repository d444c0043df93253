// Package sim simulates whole sites of devices in virtual time: the real
// machines of package pdp, each with a model of its driver. UDP with loss,
// duplication and disorder, TCP links over ports of a given rate, a server
// behind a WAN, disks, and faults that can be stacked.
//
// Everything is driven by one event heap and one seed: the same seed gives the
// same run, down to the Hash of all that happened. Messages go through the
// encoding of package wire. The bytes of a file do not: a chunk is a token that
// says whose content it is, and it takes as long as its bytes would.
//
// What lives here: the event heap, the modelled network, disks and server,
// faults, the invariants that hold in every run, and the trace. What must not:
// sockets, clocks, goroutines, and any decision of the protocol.
//
// Read sim.go first, then device.go (the driver), udp.go, link.go (TCP),
// wan.go (the server), fault.go, check.go (invariants).
package sim
