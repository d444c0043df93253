// Package orders has the use cases of orders: to send them to devices, to see how
// each device has answered, to cancel them; the feeds in which devices get them; and
// the controller's order key.
//
// What lives here: who is to get what now, and what an answer changes. What must
// not: HTTP, SQL, the forms as bytes (package order), how a device carries one out.
//
// Read first: Service, Send, then Feed.
package orders
