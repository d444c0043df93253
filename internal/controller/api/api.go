// Package api is the controller's API under /api/v1: for administrators and
// programs, with sessions or tokens, and for devices, with their own secrets;
// and the way of people to an issuer of OIDC and back. The OpenAPI 3.1 document
// is generated from the types that the handlers use.
//
// What lives here: authentication (auth.go), what a request and an answer look
// like, and which use case of package domain it means. What must not: rules and
// rights, which are package domain's; the database; files for devices, which
// package files serves without credentials.
//
// Read first: api.go, auth.go, then devices.go as the example for all others.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/inprocess"
	"github.com/peerload/peerload/internal/controller/oidc"
	"github.com/peerload/peerload/internal/controller/orders"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollouts"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
)

// Prefix of all paths of the API.
const Prefix = "/api/v1"

// Config configures a Server.
type Config struct {
	// Services are the use cases. Required.
	services.Services
	// Spool is a directory in which uploaded files are kept until they are
	// published. Required.
	Spool string
	// MaxUpload bounds the bytes of one upload, all files together. 0: 4 GiB,
	// room for a large load of several models.
	MaxUpload int64
	// Registry takes the API's metrics and is what /metrics shows. nil: a
	// registry of the server's own.
	Registry *prometheus.Registry
	// Version of the program, for the document and the metrics. "": none is
	// shown.
	Version string
	// OIDC is where people can sign in beside users with passwords. nil: nowhere.
	OIDC *oidc.Provider
	// PublicURL is that of this server for people, without a slash at its end.
	// Required with OIDC.
	PublicURL string
	// Log is told of errors of the controller itself. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	if c.Controller == nil || c.Orders == nil || c.Rollouts == nil || c.Jobs == nil || c.FileSets == nil ||
		c.Forecast == nil || c.Summary == nil || c.Webhooks == nil || c.Live == nil {
		return errors.New("api: use cases are missing")
	}
	if c.Spool == "" {
		return errors.New("api: no directory for uploads")
	}
	if c.OIDC != nil && c.PublicURL == "" {
		return errors.New("api: sign-ins need a public URL")
	}
	if c.MaxUpload < 0 {
		return errors.New("api: MaxUpload is negative")
	}
	return nil
}

// Server answers the requests of the API.
type Server struct {
	cfg Config
	ctl *domain.Controller
	mux *http.ServeMux
	// describe tells huma of each operation, in the order of the document.
	describe []func(huma.API)
	// document has all operations. It is made when it is first asked for.
	document func() *huma.OpenAPI
	metrics  *metrics
	handler  http.Handler
	// lineTime bounds the writing of a line of a feed.
	lineTime time.Duration
}

// New returns a server. It may be used by several goroutines.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxUpload == 0 {
		cfg.MaxUpload = 4 << 30
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	s := &Server{cfg: cfg, ctl: cfg.Controller, metrics: newMetrics(cfg), lineTime: lineTime,
		mux: http.NewServeMux()}
	s.document = sync.OnceValue(s.describeAll)
	s.devices()
	s.sites()
	s.levels()
	s.models()
	s.loads()
	s.releases()
	s.fileSets()
	s.rollouts()
	s.changes()
	s.orders()
	s.live()
	s.jobs()
	s.journal()
	s.access()
	s.sessions()
	s.signIns()
	s.openAPI()
	s.oidcPages()
	s.mux.Handle("GET /metrics", s.metricsHandler())
	s.handler = s.metrics.count(headers(orProblem(s.mux)))
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// headers sets the headers of every answer.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// orProblem answers requests that no route takes in the form of all errors of
// the API.
func orProblem(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" || !strings.HasPrefix(r.URL.Path, Prefix+"/") {
			mux.ServeHTTP(w, r)
			return
		}
		said := inprocess.NewAnswer(w.Header())
		h.ServeHTTP(said, r)
		p := problem(said.Code, "not-found", "there is nothing at "+r.URL.Path)
		if said.Code == http.StatusMethodNotAllowed {
			p = problem(said.Code, "method", "it takes "+w.Header().Get("Allow"))
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(said.Code)
		// The only error is a client that is gone.
		_ = huma.DefaultJSONFormat.Marshal(w, p)
	})
}

// frame is the OpenAPI document without its operations.
func frame() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{Title: "Peerload controller", Version: "1", Description: "The API of the Peerload controller. " +
				"Writes take the version that was read as If-Match and fail with 412 if somebody else was faster; errors are " +
				"application/problem+json."},
			Servers: []*huma.Server{{URL: Prefix}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token": {Type: "http", Scheme: "bearer",
						Description: "An API token, the secret of a sign-in, a device's secret, an enrolment token or the set-up " +
							"secret: each operation says which."},
					"session": {Type: "apiKey", In: "cookie", Name: cookieName,
						Description: "A session; what changes something needs its CSRF token in " + csrfHeader + " too."},
					"login": {Type: "http", Scheme: "basic",
						Description: "Name and password, to open a session or to let a command line in."},
				},
			},
		},
		Formats: map[string]huma.Format{"application/json": huma.DefaultJSONFormat,
			"json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{finish},
	}
}

// schemaName distinguishes types of equal names: what devices report about
// themselves, and what the controller knows about them.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t.PkgPath() {
	case reflect.TypeFor[report.Final]().PkgPath():
		return "Report" + name
	case reflect.TypeFor[order.Line]().PkgPath(), reflect.TypeFor[orders.Sent]().PkgPath():
		return "Order" + name
	case reflect.TypeFor[rollout.Row]().PkgPath(), reflect.TypeFor[rollouts.View]().PkgPath():
		if name == "Instruction" {
			name = "Order" // as it was called when clients were generated
		}
		return "Rollout" + name
	}
	return name
}

// openAPIType is the media type of the document.
const openAPIType = "application/vnd.oai.openapi+json"

// openAPI serves the document, as it is generated.
func (s *Server) openAPI() {
	type document struct {
		ContentType string `header:"Content-Type"`
		Body        []byte
	}
	get := op(http.MethodGet, "/openapi.json", "get-openapi", "This document", needRead)
	register(s, get, func(context.Context, *struct{}) (*document, error) {
		b, err := s.document().MarshalJSON()
		return &document{openAPIType + ";version=3.1", b}, err
	}, detail{after: func(p *huma.PathItem) { // huma takes bytes for a text
		p.Get.Responses["200"].Content = map[string]*huma.MediaType{
			openAPIType: {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}}
	}})
}

// detail is what huma is to know of an operation beside its types. Everything that huma
// adds to, its bodies and answers, is made here: it is told of an operation twice.
type detail struct {
	// before changes the operation before huma reads it, after what huma has made of it.
	// nil: nothing.
	before func(*huma.Operation, huma.Registry)
	after  func(*huma.PathItem)
}

// register adds an operation. huma makes its schemas when it is first called: those of
// all operations take longer to make than most commands run, each of which calls few.
// The schemas are its own, so that nobody reads them while others are made.
func register[I, O any](s *Server, o huma.Operation, handle func(context.Context, *I) (*O, error), details ...detail) {
	describe := func(api huma.API) {
		o := o
		o.Errors = slices.Clone(o.Errors)
		for _, d := range details {
			if d.before != nil {
				d.before(&o, api.OpenAPI().Components.Schemas)
			}
		}
		huma.Register(api, o, handle)
		for _, d := range details {
			if d.after != nil {
				d.after(api.OpenAPI().Paths[o.Path])
			}
		}
	}
	s.describe = append(s.describe, describe)
	handler := sync.OnceValue(func() http.Handler {
		var mux oneHandler
		describe(s.newAPI(&mux))
		return mux
	})
	s.mux.HandleFunc(o.Method+" "+Prefix+o.Path, func(w http.ResponseWriter, r *http.Request) {
		handler().ServeHTTP(w, r)
	})
}

// oneHandler is a mux of one operation.
type oneHandler struct{ http.HandlerFunc }

// HandleFunc implements humago.Mux.
func (m *oneHandler) HandleFunc(_ string, h func(http.ResponseWriter, *http.Request)) {
	m.HandlerFunc = h
}

func (s *Server) newAPI(mux humago.Mux) huma.API {
	api := humago.NewWithPrefix(mux, Prefix, frame())
	api.UseMiddleware(s.authenticate)
	return api
}

func (s *Server) describeAll() *huma.OpenAPI {
	api := s.newAPI(new(oneHandler))
	for _, describe := range s.describe {
		describe(api)
	}
	return api.OpenAPI()
}

// op describes an operation. Its id is its stable name.
func op(method, path, id, summary string, need need) huma.Operation {
	o := huma.Operation{Method: method, Path: path, OperationID: id, Summary: summary,
		Metadata:   map[string]any{needKey: need},
		Extensions: map[string]any{"x-needs": string(need)}, Security: security(need)}
	o.Tags = []string{strings.SplitN(strings.Trim(path, "/"), "/", 2)[0]}
	switch method {
	case http.MethodPost:
		o.DefaultStatus = http.StatusCreated
	case http.MethodDelete:
		o.DefaultStatus = http.StatusNoContent
	}
	o.Errors = []int{http.StatusUnauthorized, http.StatusForbidden}
	if strings.Contains(path, "{") {
		o.Errors = append(o.Errors, http.StatusNotFound)
	}
	if method != http.MethodGet {
		o.Errors = append(o.Errors, http.StatusConflict, http.StatusPreconditionFailed, http.StatusTooManyRequests)
	}
	return o
}

// does marks a POST that creates nothing.
func does(o huma.Operation) huma.Operation {
	o.DefaultStatus = http.StatusOK
	return o
}

// quiet marks an operation whose answer has no body.
func quiet(o huma.Operation) huma.Operation {
	o.DefaultStatus = http.StatusNoContent
	return o
}

// Paged asks for a part of a list.
type Paged struct {
	After string `query:"after" maxLength:"300" doc:"the next of the page before"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"things on a page"`
}

func (p Paged) page() domain.Page { return domain.Page{After: p.After, Limit: p.Limit} }

// Changing changes a thing.
type Changing[B any] struct {
	Match
	Body B
}

func (c Changing[B]) body() B { return c.Body }

// Match names the version that the caller has read. It is compared where the
// version is kept, in the transaction that writes: huma's conditional requests
// compare before the use case begins, when somebody else may still be faster.
type Match struct {
	IfMatch string `header:"If-Match" doc:"the ETag of what was read; the request fails with 412 if it was changed meanwhile"`
}

// version returns the version, 0 for any, domain.Unwritten for a thing that has
// not been written yet. An error is a 412.
func (m Match) version() (int64, error) {
	if m.IfMatch == "" || m.IfMatch == "*" {
		return 0, nil
	}
	v, err := strconv.ParseInt(strings.Trim(m.IfMatch, `"`), 10, 64)
	if err != nil || v < 0 || m.IfMatch != etag(v) {
		return 0, problem(http.StatusPreconditionFailed, "conflict", "If-Match names no version of this thing")
	}
	if v == 0 {
		return domain.Unwritten, nil
	}
	return v, nil
}

// etag is the version as a header; 0 is that of a thing that has not been
// written yet, so that the first write can be guarded too.
func etag(version int64) string { return strconv.Quote(strconv.FormatInt(version, 10)) }

// versioned is an answer with an ETag.
type versioned[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// plain is an answer without one.
type plain[T any] struct{ Body T }

// answer makes the answer of a use case, or the problem of its error.
func answer[T any](s *Server, ctx context.Context, body T, err error) (*plain[T], error) {
	if err != nil {
		return nil, s.fail(ctx, err, 0)
	}
	return &plain[T]{body}, nil
}

// answerVersion likewise, with the version of the body as ETag; asked is the
// version that the caller has named.
func answerVersion[T any](s *Server, ctx context.Context, body T, version, asked int64,
	err error) (*versioned[T], error) {
	if err != nil {
		return nil, s.fail(ctx, err, asked)
	}
	return &versioned[T]{etag(version), body}, nil
}

// nothing is the answer of an operation that returns nothing.
func nothing(s *Server, ctx context.Context, asked int64, err error) (*struct{}, error) {
	if err != nil {
		return nil, s.fail(ctx, err, asked)
	}
	return nil, nil
}
