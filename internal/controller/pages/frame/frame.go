// Package frame has what all pages of the controller share: sign-in, the language, the
// layout, forms and their errors, and what a change would touch.
//
// A page knows the controller by its API alone, which it calls in this process with
// the cookie of the browser: rights, limits and the audit log are those of the API.
//
// What lives here: what two pages need. What must not: what a page is about; rules
// and rights; words in Japanese, which package words has.
//
// Read first: frame.go, visit.go, then render.go, listing.go and form.go.
package frame

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// Config configures a Frame.
type Config struct {
	// API answers the requests of the pages, and what is not a page. Required.
	API http.Handler
	// SignInAt is the path by which people sign in at an issuer, "" for none.
	SignInAt string
	// Now returns the time. nil means time.Now.
	Now func() time.Time
	// Log is told of what was not shown. nil: nothing is logged.
	Log *slog.Logger
}

// Validate says what is missing.
func (c Config) Validate() error {
	if c.API == nil {
		return errors.New("frame: no API")
	}
	return nil
}

// Frame serves pages. Pages are added before it serves.
type Frame struct {
	cfg     Config
	mux     *http.ServeMux
	pages   *pageSet
	handler http.Handler
}

// New returns a frame with the pages that everybody needs: to sign in and out, and
// to make the first administrator.
func New(cfg Config) (*Frame, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Frame{cfg: cfg, mux: http.NewServeMux()}
	var err error
	if f.pages, err = newPageSet(f); err != nil {
		return nil, err
	}
	if err := f.Templates(own); err != nil {
		return nil, err
	}
	f.mux.Handle("GET "+assetPrefix, http.HandlerFunc(serveAsset))
	f.mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, assetPath("icon.svg"), http.StatusFound)
	})
	f.entrances()
	f.mux.HandleFunc("POST /changes", f.page(true, runChange))
	f.mux.HandleFunc("/", f.page(true, func(*Visit) error { return errNoPage }))
	f.handler = f.headers(http.NewCrossOriginProtection().Handler(f.mux))
	return f, nil
}

// Templates adds the templates of pages: each file of the folder templates is one,
// by its name without .html, and defines "title" and "main".
func (f *Frame) Templates(files fs.FS) error { return f.pages.add(files) }

// Page adds a page for people who are signed in; others are asked to sign in.
// pattern is that of http.ServeMux.
func (f *Frame) Page(pattern string, show func(*Visit) error) {
	f.mux.HandleFunc(pattern, f.page(true, show))
}

// Open adds a page for everybody.
func (f *Frame) Open(pattern string, show func(*Visit) error) {
	f.mux.HandleFunc(pattern, f.page(false, show))
}

// ServeHTTP implements http.Handler. What is not for people is the API's.
func (f *Frame) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, prefix := range []string{"/api/", "/oidc/", "/metrics"} {
		if strings.HasPrefix(r.URL.Path, prefix) {
			f.cfg.API.ServeHTTP(w, r)
			return
		}
	}
	f.handler.ServeHTTP(w, r)
}

// policy lets pages use what this server sends, and nothing else: no script or style
// in the text of a page, which might come from a device, and nothing from elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (f *Frame) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
