// Package carrier decides which device of a subnet keeps the connection to the
// controller. The others follow that one, the carrier: they get the controller's
// orders through it, and answer through it. It is a state machine: events in, actions
// out, time and chance as arguments.
//
// The carrier is elected as a root is, by package pdp/election, in a hierarchy that
// belongs to no file. A follower believes it nothing: it counts as served only while
// it knows, by what the controller has signed and by codes of its own secret, that
// the controller sends its orders through the carrier, and that they come in time and
// without a gap. A follower that is not served opens a connection of its own.
//
// What lives here: whom to follow, when to connect to the controller and for whom,
// and what a late or lacking order leads to. What must not: sockets, the clock, what
// an order means, and whether something is genuine: its driver tells only what it has
// verified.
//
// Read first: Machine.Step with the events and actions, then following.go and
// carrying.go.
package carrier
