// Package agent keeps a device up to date by itself: it asks how it is
// provisioned, fetches the load that it is told to run through the peers, puts
// it in the inactive slot, starts it on trial, confirms it or goes back, keeps
// serving what it holds, and shows and reports all this. It is the path as a
// daemon; package engine runs the path once.
//
// What lives here: when to ask, what to do with the answer, what must survive a
// restart, and the ways to look at it: socket, page, metrics, syslog. What must
// not: the protocol, the bytes of files, what a provisioning file means, and what
// follows in an upgrade from what happens.
//
// Read config.go (what it is told on the device), daemon.go (the loop),
// provisioning.go (what it is told by servers), upgrade.go (the driver of package
// upgrade, which decides), stage.go (how a load is fetched), installer.go (the
// contract with installers), instance.go (the engine for one set of settings),
// then the ways to look at it: socket.go, page.go, metrics.go, events.go.
package agent
