// Package origin decides when a device may ask the origin of a file: how long
// to wait after it failed, when to give it up, and whose turn it is to download
// from it although another device is root.
//
// What lives here: Health, one device's record of the origin's failures; Budget, the
// turns of a subnet; Contest, which compares the origin with the peers; and Line, what
// a device has seen of the way to the origin. What must not: connections and bytes, who
// is root, which parent failed. Read health.go first, then budget.go.
package origin
