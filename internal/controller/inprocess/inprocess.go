// Package inprocess keeps what an HTTP handler of this process answers, for callers that
// need no connection: the command line beside a controller, and the pages.
//
// What lives here: the answer. What must not: who calls what, and with which rights. Read
// Answer.
package inprocess

import (
	"bytes"
	"io"
	"net/http"
)

// Answer is an http.ResponseWriter that keeps what it is given.
type Answer struct {
	// Code is the status, 0 as long as none was written.
	Code   int
	header http.Header
	body   bytes.Buffer
}

// NewAnswer returns an answer that writes its fields to header.
func NewAnswer(header http.Header) *Answer { return &Answer{header: header} }

// Header implements http.ResponseWriter.
func (a *Answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter: the first status counts.
func (a *Answer) WriteHeader(code int) {
	if a.Code == 0 {
		a.Code = code
	}
}

// Write implements http.ResponseWriter.
func (a *Answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// Response is the answer to r as a client gets it. A handler that has written nothing
// has answered 200, as on the network.
func (a *Answer) Response(r *http.Request) *http.Response {
	a.WriteHeader(http.StatusOK)
	return &http.Response{StatusCode: a.Code, Status: http.StatusText(a.Code), Proto: "HTTP/1.1", ProtoMajor: 1,
		ProtoMinor: 1, Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r}
}
