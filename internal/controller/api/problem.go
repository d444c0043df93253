package api

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/objects"
)

// ProblemPrefix begins the type of each problem (RFC 9457); a stable word
// follows it.
const ProblemPrefix = "urn:peerload:problem:"

// kinds are the problems, the narrower before the wider.
var kinds = []struct {
	err    error
	status int
	word   string
}{
	{domain.ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated"},
	{domain.ErrForbidden, http.StatusForbidden, "forbidden"},
	{domain.ErrThrottled, http.StatusTooManyRequests, "throttled"},
	{domain.ErrUnfit, http.StatusConflict, "unfit"},
	{domain.ErrRefused, http.StatusConflict, "refused"},
	{domain.ErrInvalid, http.StatusUnprocessableEntity, "invalid"},
	{domain.ErrNotFound, http.StatusNotFound, "not-found"},
	{domain.ErrExists, http.StatusConflict, "exists"},
	{domain.ErrConflict, http.StatusConflict, "conflict"},
	{domain.ErrAway, http.StatusServiceUnavailable, "unavailable"},
	{objects.ErrAway, http.StatusServiceUnavailable, "unavailable"},
	{domain.ErrUnavailable, http.StatusServiceUnavailable, "unavailable"},
	{domain.ErrKeys, http.StatusConflict, "keys"},
	{syscall.ENOSPC, http.StatusInsufficientStorage, "disk-full"},
}

// retryAway is when to ask again while the database does not answer, in seconds: a
// restart takes a few.
const retryAway = "5"

// problem makes an answer that is an error.
func problem(status int, word, detail string) *huma.ErrorModel {
	return &huma.ErrorModel{Type: ProblemPrefix + word, Title: http.StatusText(status), Status: status, Detail: detail}
}

// fail returns the problem for a use case's error. asked is the version that
// the caller has named: a conflict is then a failed precondition. An error that
// is not the domain's is logged, and the caller learns only that there was one.
func (s *Server) fail(ctx context.Context, err error, asked int64) error {
	for _, k := range kinds {
		if !errors.Is(err, k.err) {
			continue
		}
		status := k.status
		if k.err == domain.ErrConflict && asked != 0 {
			status = http.StatusPreconditionFailed
		}
		detail := err.Error()
		if k.err == syscall.ENOSPC {
			detail = "the controller's disk is full; nothing was changed" // where, is not the caller's matter
			s.cfg.Log.Error("the disk is full", "error", err)
		}
		if k.err == domain.ErrAway {
			detail = "the controller's database does not answer now; try again"
			s.cfg.Log.Error("the database does not answer", "error", err)
		}
		if k.err == objects.ErrAway {
			detail = "the controller's object storage does not answer now; try again"
			s.cfg.Log.Error("the object storage does not answer", "error", err)
		}
		p := problem(status, k.word, detail)
		if k.err == domain.ErrAway || k.err == objects.ErrAway {
			return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {retryAway}})
		}
		switch status {
		case http.StatusUnauthorized:
			return huma.ErrorWithHeaders(p, http.Header{"Www-Authenticate": {"Bearer"}})
		case http.StatusTooManyRequests:
			var t *domain.ThrottledError
			if errors.As(err, &t) {
				return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {strconv.Itoa(int(math.Ceil(t.RetryAfter.Seconds())))}})
			}
		}
		return p
	}
	if ctx.Err() == nil {
		s.cfg.Log.Error("a request failed", "error", err)
	}
	return problem(http.StatusInternalServerError, "internal", "the controller could not do it; its log says why")
}

// finish is a huma.Transformer for what is wrong with a request before a use
// case sees it. Its type is that of all invalid input, and it says where
// something is wrong without repeating the value, which may be a password, or a
// megabyte.
func finish(_ huma.Context, _ string, v any) (any, error) {
	if p, ok := v.(*huma.ErrorModel); ok {
		if p.Type == "" && p.Status < http.StatusInternalServerError {
			p.Type = ProblemPrefix + "invalid"
		}
		for _, e := range p.Errors {
			e.Value = nil
		}
	}
	return v, nil
}

// refuse writes a problem before any handler has run.
func refuse(ctx huma.Context, err error) {
	var h huma.HeadersError
	if errors.As(err, &h) {
		for k, vs := range h.GetHeaders() {
			for _, v := range vs {
				ctx.SetHeader(k, v)
			}
		}
	}
	var p *huma.ErrorModel
	if !errors.As(err, &p) {
		p = problem(http.StatusInternalServerError, "internal", "")
	}
	ctx.SetHeader("Content-Type", "application/problem+json")
	ctx.SetStatus(p.Status)
	// The only error is a client that is gone.
	_ = huma.DefaultJSONFormat.Marshal(ctx.BodyWriter(), p)
}

// text joins the texts of a problem for people.
func text(p *huma.ErrorModel) string {
	parts := []string{p.Detail}
	for _, e := range p.Errors {
		if e != nil {
			parts = append(parts, strings.TrimSpace(e.Location+" "+e.Message))
		}
	}
	return strings.Join(parts, ": ")
}
