// Package liar is a peer that breaks the protocol on purpose: a random program over its
// messages, drawn from a seed. Any message, any field, any time, at several addresses, in
// others' names, with what was heard before.
//
// What lives here: programs, and the faces that play them, in virtual time: events in,
// actions out. What must not: sites, clocks, sockets, and what a site may cost (package
// sim plays programs among devices in virtual time, package lab/liars among real ones).
// Read first: Program in program.go, then Face in face.go.
package liar
