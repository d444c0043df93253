// Package failure sorts the errors of a fetch into a few kinds: those that
// package peerload exports, and that have an exit status of the command.
//
// What lives here: the kinds, and which error is of which kind. What must not:
// exit statuses, texts for people, and what to do about a failure. Read Classify
// first.
package failure

import (
	"errors"
	"os"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/trust"
)

// Kinds of failures, for errors.Is. Package peerload says what each means.
var (
	Request = errors.New("bad request")
	Verify  = errors.New("verification failed")
	Server  = errors.New("server failed")
	Network = errors.New("no network")
	Disk    = errors.New("disk failed")
	Trust   = errors.New("not trusted")
)

// marked is an error of a known kind. It keeps the text of the error.
type marked struct {
	error
	kind error
}

func (m *marked) Is(target error) bool { return target == m.kind }
func (m *marked) Unwrap() error        { return m.error }

// WithKind gives an error a kind; the text stays. A nil error stays nil.
func WithKind(kind, err error) error {
	if err == nil {
		return nil
	}
	return &marked{err, kind}
}

// Classify gives an error of the device its kind. An error that has a kind, or is
// of none, is returned as it is.
func Classify(err error) error {
	if kind := kindOf(err); kind != nil && !errors.Is(err, kind) {
		return WithKind(kind, err)
	}
	return err
}

// kindOf finds the kind of an error, nil if it has none. A kind that the error
// was marked with counts first, then an error of the disk, then the machine's
// reason; the last two both find a full disk.
func kindOf(err error) error {
	var mark *marked
	var job *engine.Error
	switch {
	case errors.As(err, &mark):
		return mark.kind
	case errors.Is(err, slot.ErrNoSpace), errors.Is(err, trust.ErrStore),
		errors.Is(err, slot.ErrLocked), errors.Is(err, slot.ErrNotFile):
		return Disk
	case errors.As(err, &job):
		return kindOfReason(job.Reason)
	case errors.Is(err, slot.ErrDigest), errors.Is(err, slot.ErrDamaged):
		return Verify
	case isFile(err):
		return Disk
	}
	return nil
}

func kindOfReason(why wire.Reason) error {
	switch why {
	case wire.ReasonDisk:
		return Disk
	case wire.ReasonOriginWrong, wire.ReasonDigestMismatch:
		return Verify
	}
	return Server
}

// isFile reports whether the operating system refused a file operation.
func isFile(err error) bool {
	var path *os.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

// Stopped is the end of a fetch before its file is complete, because the caller
// or the device stopped. Its text is that of the cause. It is of no kind.
type Stopped struct {
	// Cause says why.
	Cause error
	// Context is the error of the caller's context, nil if the caller would
	// have gone on.
	Context error
}

func (e *Stopped) Error() string { return e.Cause.Error() }

// Unwrap returns the cause and the error of the context.
func (e *Stopped) Unwrap() []error {
	if e.Context == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Context}
}

// Reason codes of events about files that are not coming. Those that pdp/wire
// has too mean the same there.
const (
	ReasonStopped = "stopped"
	ReasonTrust   = "trust"
	ReasonDisk    = "disk"
	ReasonVerify  = "digest-mismatch"
	ReasonRefused = "refused"
)

// Reason is the code of an error in an event.
func Reason(err error) string {
	var job *engine.Error
	if errors.As(err, &job) {
		return job.Reason.String()
	}
	if errors.As(err, new(*Stopped)) {
		return ReasonStopped
	}
	switch kindOf(err) {
	case Trust:
		return ReasonTrust
	case Disk:
		return ReasonDisk
	case Verify:
		return ReasonVerify
	}
	return ReasonRefused
}
