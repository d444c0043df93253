// Package pdp is the machine of one hierarchy: one file, one model group, one
// subnet, seen from one device. It composes the four parts below it:
//
//	wire      the messages
//	election  who is root
//	tree      who is whose parent, and repair
//	transfer  what to serve, what to give up, when to fall back
//
// A driver feeds it events and carries out its actions, in their order:
//
//	out = m.Step(now, event, out[:0])
//	at, ok := m.Deadline() // call Step(at, nil, …) then at the latest
//
// Step never blocks, reads no clock, starts no goroutine and never sees a byte
// of the file: it knows chunk numbers and verdicts. The same inputs give the
// same actions. Time is monotonic, counted from wherever the driver likes.
//
// What lives here: the composition, the events and the actions. What must
// not: sockets, files, clocks, goroutines, digests.
//
// Read machine.go first, then root.go (being root), side.go (the device's place
// in each tree), child.go (having a parent), parent.go (having children) and fallback.go (when peers fail).
package pdp
