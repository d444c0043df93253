// Package order holds the nouns of orders: what a controller tells devices to do
// at once, what a device answers, and the keys by which each believes the other.
//
// What lives here: the forms as bytes, their limits, and what makes one genuine.
// What must not: connections, files, the clock, who gets an order and when, and
// how a device carries one out.
//
// Read first: Order, Seal and Key, then Result and Secret.
package order
