package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/trust"
)

// tornThenWrong is a server that breaks off at first, and then sends other
// bytes than it should.
type tornThenWrong struct{ asked int }

func (o *tornThenWrong) Prepare(context.Context, *url.URL) error { return nil }

func (o *tornThenWrong) Open(context.Context, origin.Request) (*origin.Body, error) {
	if o.asked++; o.asked == 1 {
		return nil, origin.ErrTruncated
	}
	b := make([]byte, 200_000)
	return &origin.Body{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b))}, nil
}

// An error says why the file is not coming now, not what the server said
// before it answered.
func TestErrorOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 200_000, 0)
		defer s.end()
		d := s.join()
		d.cfg.Origin = &tornThenWrong{}
		s.fetch(d, false)
		err := d.file.Wait(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Reason.String() != "origin-wrong" || errors.Is(err, origin.ErrTruncated) {
			t.Errorf("the file ended with %v", err)
		}
	})
}

// The sources of a file are tried by turns while others ask which one is in
// use; the race detector watches.
func TestSourcesByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 200_000, 0)
		defer s.end()
		d := s.join()
		spec := s.spec(d, false)
		nowhere := *spec.Sources[0]
		nowhere.Path += ".missing"
		spec.Sources = []*url.URL{&nowhere, spec.Sources[0]}
		f, err := d.Fetch(spec)
		if err != nil {
			t.Fatal(err)
		}
		d.file = f
		_ = f.Wait(t.Context())
		if got := f.Final().URL; got != spec.Sources[1].Redacted() {
			t.Errorf("after a failure of the first, %s is in use", got)
		}
	})
}

// An error names the source that failed, not the one whose turn is next.
func TestErrorNamesTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 200_000, 0)
		defer s.end()
		d := s.join()
		spec := s.spec(d, false)
		spec.Sources = nil
		for _, name := range []string{"one", "two"} {
			spec.Sources = append(spec.Sources, &url.URL{Scheme: "file", Path: "/nonexistent/" + name})
		}
		f, err := d.Fetch(spec)
		if err != nil {
			t.Fatal(err)
		}
		d.file = f
		var e *Error
		if err := f.Wait(t.Context()); !errors.As(err, &e) || e.Err == nil || !strings.Contains(e.Err.Error(), e.URL) {
			t.Errorf("%v", err)
		}
	})
}

// A refusal of metadata says what to do.
func TestTrustAdvice(t *testing.T) {
	for err, says := range map[error]string{
		trust.ErrExpired: "sign again", trust.ErrRolledBack: "tell the publisher", trust.ErrMixed: "try again",
		trust.ErrBadSignature: "new root.json", errors.Join(trust.ErrExpired, trust.ErrClock): "set this device's clock",
	} {
		if text := (&TrustError{err}).Error(); !strings.Contains(text, says) || !strings.Contains(text, err.Error()) {
			t.Errorf("%q does not say %q", text, says)
		}
	}
}

var _ Downloader = (*tornThenWrong)(nil)

// Every source is asked before an attempt has failed, whatever the number of
// attempts: another source is not a retry. Patience that a server asks for is
// for all of them.
func TestEverySourceIsAsked(t *testing.T) {
	gone := func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
	fine := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the file") }
	busy := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	for name, c := range map[string]struct {
		sources []http.HandlerFunc // nil: nobody is there
		reason  string             // "": it comes
		names   int                // the source that the error is about
	}{
		"the first is gone":       {[]http.HandlerFunc{nil, fine}, "", 0},
		"the first has it not":    {[]http.HandlerFunc{gone, fine}, "", 0},
		"nobody is there":         {[]http.HandlerFunc{nil, nil}, "origin-unreachable", 0},
		"only the first answers":  {[]http.HandlerFunc{gone, nil}, "origin-not-found", 0},
		"only the second answers": {[]http.HandlerFunc{nil, gone}, "origin-not-found", 1},
		"the first is busy":       {[]http.HandlerFunc{busy, fine}, "origin-busy", 0},
	} {
		t.Run(name, func(t *testing.T) {
			spec := Spec{Name: "f", Target: filepath.Join(t.TempDir(), "f"), Size: load.UnknownSize, Key: "f",
				Digest: slot.ExpectAny()}
			for _, h := range c.sources {
				srv := httptest.NewServer(h)
				u, err := url.Parse(srv.URL + "/f")
				if err != nil {
					t.Fatal(err)
				}
				spec.Sources = append(spec.Sources, u)
				if h == nil {
					srv.Close()
				}
				t.Cleanup(srv.Close)
			}
			f, err := single(t).Fetch(spec)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			err = f.Wait(t.Context())
			var e *Error
			switch {
			case c.reason == "":
				if err != nil || f.Final().URL != spec.Sources[1].String() {
					t.Errorf("%v, from %s", err, f.Final().URL)
				}
			case !errors.As(err, &e) || e.Reason.String() != c.reason || e.URL != spec.Sources[c.names].String():
				t.Errorf("%v, want %s of source %d", err, c.reason, c.names)
			}
		})
	}
}
