// Package background makes a device's downloads give way to everything else on the
// line, as rLEDBAT (RFC 9840) does: at the receiver, whatever the server's
// congestion control is. It measures the delay that waits in the line's queue, and
// holds it small by the receive windows of all connections together.
//
// What lives here: Control, which decides how much may be under way, pure; and Group,
// which measures the connections and sets their windows. What must not: who downloads
// what, and limits that somebody has set (package ratelimit).
//
// Read control.go first.
package background
