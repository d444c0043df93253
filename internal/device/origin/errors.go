package origin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"reflect"
	"syscall"
	"time"

	"github.com/peerload/peerload/tftp"
)

// Why a download failed, for errors.Is.
var (
	// ErrNotFound: the server has no such file (HTTP 404 and 410, TFTP 1).
	ErrNotFound = errors.New("not found")
	// ErrForbidden: the server refuses it (HTTP 401, 403 and 407, TFTP 2).
	ErrForbidden = errors.New("forbidden")
	// ErrUnreachable: no server answers there.
	ErrUnreachable = errors.New("unreachable")
	// ErrStalled: a server is there and no answer came for Config.StallTimeout,
	// or less than LeastRate for as long.
	ErrStalled = errors.New("stalled")
	// ErrTruncated: the body ended, or the file is, before the size.
	ErrTruncated = errors.New("truncated")
	// ErrTooMuch: the body or the file is larger than announced or allowed.
	ErrTooMuch = errors.New("too many bytes")
	// ErrBusy: the server wants to be asked later (HTTP 503 and 429). See BusyError.
	ErrBusy = errors.New("busy")
	// ErrTLS: the two sides do not agree on TLS. The server's certificate is not
	// trusted, the server does not accept that of this device, or there is no
	// TLS at all. See TLSError.
	ErrTLS = errors.New("refused by TLS")
	// ErrAnswer: the server answers what no later attempt changes: a redirect
	// that is not followed, a status that says that the request is wrong, a
	// content coding, what is no HTTP.
	ErrAnswer = errors.New("unusable answer")
	// ErrWrong: the bytes are not those of the file. This package cannot know
	// that; the caller that verifies them uses the error.
	ErrWrong = errors.New("wrong bytes")
)

// BusyError is ErrBusy with the server's own word on when to come again.
type BusyError struct {
	// RetryAfter is 0 if the server did not say, a day at most.
	RetryAfter time.Duration
}

// Error implements error.
func (e *BusyError) Error() string {
	if e.RetryAfter == 0 {
		return "the server is busy"
	}
	return fmt.Sprintf("the server is busy, try again in %v", e.RetryAfter)
}

// Is makes a BusyError an ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// TLSError is ErrTLS with whose certificate it is about.
type TLSError struct {
	// Own says that the server refuses the certificate of this device, or the
	// lack of one. False: this device does not trust the server's, or the two
	// have no version or method in common.
	Own bool
	Err error
}

// Error implements error.
func (e *TLSError) Error() string {
	if e.Own {
		return "the server does not accept the certificate of this device, or wants one: " + e.Err.Error()
	}
	return e.Err.Error()
}

// Is makes a TLSError an ErrTLS.
func (e *TLSError) Is(target error) bool { return target == ErrTLS }

// Unwrap returns what package crypto/tls says.
func (e *TLSError) Unwrap() error { return e.Err }

// tlsMeaning returns the error of a TLS connection that was refused by either
// side, nil for any other error.
func tlsMeaning(err error) error {
	switch alert, ok := alertOf(err); {
	case ok:
		// RFC 8446 section 6: those about the certificate of this side, and the one
		// that servers of TLS 1.2 send where it lacks.
		own := alert == 40 || alert >= 42 && alert <= 46 || alert == 48 || alert == 49 || alert == 116
		return &TLSError{Own: own, Err: err}
	case errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(x509.UnknownAuthorityError)),
		errors.As(err, new(x509.HostnameError)), errors.As(err, new(x509.CertificateInvalidError)),
		errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return &TLSError{Err: err}
	}
	return nil
}

// alertOf is the number of the alert with which either side refused TLS. Package
// crypto/tls has no exported type for it.
func alertOf(err error) (alert uint64, ok bool) {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" && op.Op != "local error" {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return v.Uint(), true
}

// Reason returns the stable code of an error: "not-found", "forbidden",
// "unreachable", "stalled", "truncated", "too-much", "busy", "tls", "answer",
// "wrong", or "other". It is "" for nil.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	for _, r := range []struct {
		is   error
		code string
	}{
		{ErrNotFound, "not-found"},
		{ErrForbidden, "forbidden"},
		{ErrUnreachable, "unreachable"},
		{ErrStalled, "stalled"},
		{ErrTruncated, "truncated"},
		{ErrTooMuch, "too-much"},
		{ErrBusy, "busy"},
		{ErrTLS, "tls"},
		{ErrAnswer, "answer"},
		{ErrWrong, "wrong"},
	} {
		if errors.Is(err, r.is) {
			return r.code
		}
	}
	return "other"
}

// stage is how far a download had come when something went wrong.
type stage int

const (
	connecting stage = iota // nobody has answered
	waiting                 // connected, no answer yet
	reading                 // the body is under way
)

// classify finds the meaning of an error of the protocols.
func classify(ctx context.Context, err error, at stage) error {
	if err == nil || err == io.EOF {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if Reason(err) != "other" {
		return err
	}
	if is := tlsMeaning(err); is != nil {
		return is
	}
	if is := meaning(err, at); is != nil {
		return fmt.Errorf("%w: %w", is, err)
	}
	return err
}

func meaning(err error, at stage) error {
	var netErr net.Error
	var opErr *net.OpError
	var dnsErr *net.DNSError
	switch {
	case errors.Is(err, tftp.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case errors.Is(err, tftp.ErrAccess), errors.Is(err, fs.ErrPermission):
		return ErrForbidden
	case errors.Is(err, tftp.ErrTooMuch):
		return ErrTooMuch
	case errors.Is(err, tftp.ErrTruncated):
		return ErrTruncated
	case errors.Is(err, tftp.ErrTimeout), errors.As(err, &netErr) &&
		netErr.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		if at == connecting {
			return ErrUnreachable
		}
		return ErrStalled
	case errors.As(err, &dnsErr), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return ErrUnreachable
	case errors.Is(err, tftp.ErrRefused), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.As(err, &opErr):
		if at == reading {
			return ErrTruncated
		}
		return ErrUnreachable
	}
	return nil
}
