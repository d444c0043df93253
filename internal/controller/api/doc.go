// Package api is the controller's API under /api/v1: for administrators and
// programs, with sessions or tokens, and for devices, with their own secrets;
// and the page behind the set-up link. The OpenAPI 3.1 document is generated
// from the types that the handlers use.
//
// What lives here: authentication (auth.go), what a request and an answer look
// like, and which use case of package domain it means. What must not: rules and
// rights, which are package domain's; the database; files for devices, which
// package files serves without credentials.
//
// Read first: api.go, auth.go, then devices.go as the example for all others.
package api
