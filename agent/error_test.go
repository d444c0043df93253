package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/peerload/peerload/origin"
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

var _ Origin = (*tornThenWrong)(nil)
