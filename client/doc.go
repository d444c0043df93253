// Package client is a typed client of the controller's API, for programs that
// look after devices: an inventory that makes them known, a pipeline that
// publishes a load and assigns it, a page that shows how an upgrade goes.
// Command peerload-server is such a program.
//
// A program gets its token, and the certificate that it trusts, where the
// controller runs; the example of New uses both:
//
//	peerload-server token add inventory --user alice --role operator --scope read,devices
//	cp DATA/tls/cert.pem controller.pem    # or the one that signed your own certificate
//
// The types are the client's own: what the API's document, docs/openapi.json,
// calls for, and no more. The controller has its types below internal/, with
// what only it may know, and between the two stands JSON: nothing is converted
// by hand. A test holds every type, path and query of this package against the
// document, and another one the document against the API, so the two cannot
// drift apart.
//
// What the package does not cover: sessions, which are for people in a browser
// (log-in, log-out, who-am-i, change-password, set-up); what only a device says
// of itself (enrol, check-in), which "peerload agent" does; and the document
// itself (get-openapi). What must not live here: rules of the domain, and
// anything that a caller cannot do over HTTP.
//
// Read first: Client and New, then Collection and Error.
package client
