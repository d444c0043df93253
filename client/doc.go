// Package client is a typed client of the controller's API, for programs that
// manage devices: an inventory that adds them, a pipeline that publishes a load
// and assigns it, a page that shows the progress of an upgrade. Command
// peerload-server is such a program.
//
// Create the program's token, and copy the certificate that it trusts, on the
// host of the controller; the example of New uses both:
//
//	peerload-server token add inventory --user alice --role operator --scope read,devices
//	cp DATA/tls/cert.pem controller.pem    # or the one that signed your own certificate
//
// The types are the client's own: they have what the API's document,
// docs/openapi.json, describes, and no more. The controller has types of its
// own below internal/, with fields that only it may know; JSON is the only link
// between the two. One test compares every type, path and query of this package
// with the document, and another compares the document with the API, so they
// cannot drift apart.
//
// What the package does not cover: sessions, which are for people in a browser
// (log-in, change-password, set-up); what a device reports
// about itself and what it is told (enrol, check-in, follow-orders, answer-orders,
// tell-live, hand-over-reports), which "peerload agent" does; the upgrades of a site
// while they go on, as a stream that pages draw (follow-site, get-last-upgrade); and the document
// itself (get-openapi). What must not live here: rules of the
// domain, and anything that a caller cannot do over HTTP.
//
// Read first: Client and New, then Collection and Error.
package client
