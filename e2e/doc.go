// Package e2e shows that the product works: its tests run real peerload
// processes on addresses of 127.0.0.0/8 against real servers, and break what
// breaks in the field.
//
// What lives here: tests and what they need: devices as processes, servers
// that fail on purpose and count what they send, peers that lie. What must
// not: anything that the product imports, and tests of one package's inside.
//
// Every test has a peer port of its own, because all addresses of 127.0.0.0/8
// hear the broadcasts of one port. Where a test measures, it logs the figure
// beside its bound.
package e2e
