// Package origin decides when a device may ask the origin of a file: how long
// to leave one alone that has failed, when to give it up, and whose turn it is
// to download from it although another is root.
//
// What lives here: Patience, one device's opinion of the origin, and Budget,
// the turns of a subnet. What must not: connections and bytes, who is root,
// which parent failed. Read patience.go first.
package origin
