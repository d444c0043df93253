package client

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind is a stable word for why something was not done. It is an error, so that
// an error of this package can be compared with it:
//
//	if errors.Is(err, client.NotFound) { … }
//
// A controller that is newer than this package may have further kinds.
type Kind string

// The kinds of errors.
const (
	NotFound        Kind = "not-found"       // there is no such thing
	Exists          Kind = "exists"          // there is one of that name already
	Conflict        Kind = "conflict"        // somebody else has changed it since it was read
	Refused         Kind = "refused"         // the change would break a rule
	Unfit           Kind = "unfit"           // a load is not for the model; it is Refused, too
	Invalid         Kind = "invalid"         // a value cannot be
	Unauthenticated Kind = "unauthenticated" // the token is missing, wrong or expired
	Forbidden       Kind = "forbidden"       // the token may not do this
	Throttled       Kind = "throttled"       // too many attempts: see Error.RetryAfter
	Unavailable     Kind = "unavailable"     // the controller runs without what this needs
	BadKeys         Kind = "keys"            // a key to sign with is not there, or not kept secret
	DiskFull        Kind = "disk-full"       // the controller's disk is full; nothing was changed
	BadMethod       Kind = "method"          // the path does not take this method
	Internal        Kind = "internal"        // the controller's own log says why
	// Unreachable means that no answer came. It is the only kind without an
	// *Error.
	Unreachable Kind = "unreachable"
)

// Error implements error. It returns the word.
func (k Kind) Error() string { return string(k) }

// unreachable says why no answer came.
type unreachable struct{ cause error }

func (e *unreachable) Error() string {
	text := "the controller cannot be reached: "
	if errors.As(e.cause, new(x509.UnknownAuthorityError)) {
		text += "its certificate is not trusted; give New an http.Client that has it " +
			"(the controller's own is tls/cert.pem in its data directory): "
	}
	return text + e.cause.Error()
}

func (e *unreachable) Unwrap() []error { return []error{Unreachable, e.cause} }

// Error is a problem (RFC 9457) that the controller has answered with. One of
// kind Invalid and status 422 can also be from this package, which then did not
// send the request.
type Error struct {
	// Status of the answer, 300 to 599.
	Status int
	// Kind is "" if the answer is not from the API but, for example, from a
	// proxy.
	Kind Kind
	// Detail explains it to people.
	Detail string
	// Fields says which parts of the request are wrong, and why.
	Fields []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	}
	// RetryAfter is how long to wait before another attempt, a day at most; 0 if
	// unknown.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, strings.TrimSpace(strings.TrimPrefix(f.Location, "body.")+" "+f.Message))
	}
	text := strings.Join(fields, "; ")
	switch {
	case text == "":
		return e.Detail
	case e.Detail == "validation failed": // the fields say more
		return "invalid: " + text
	}
	return e.Detail + "; " + text
}

// Is implements the interface of errors.Is: an Error matches its Kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k != "" && (k == e.Kind || k == Refused && e.Kind == Unfit)
}

// problemPrefix begins the type of each problem.
const problemPrefix = "urn:peerload:problem:"

// maxRetryAfter bounds Error.RetryAfter, in seconds: a day.
const maxRetryAfter = 24 * 60 * 60

// problem reads an answer that is an error.
func (c *Client) problem(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode}
	p := struct {
		Type   string `json:"type"`
		Detail string `json:"detail"`
		Errors any    `json:"errors"`
	}{Errors: &e.Fields}
	// An answer that is not a problem of the API keeps its status as its text.
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&p)
	if word, ours := strings.CutPrefix(p.Type, problemPrefix); ours {
		e.Kind = Kind(word)
	}
	if e.Detail = p.Detail; e.Detail == "" {
		e.Detail = fmt.Sprintf("%s answered %d", c.base, resp.StatusCode)
		if to, err := resp.Location(); err == nil && resp.StatusCode < http.StatusBadRequest {
			e.Detail += " and points to " + to.Redacted() + ", which the client does not follow"
		}
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(min(s, maxRetryAfter)) * time.Second
	}
	return e
}
