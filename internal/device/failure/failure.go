// Package failure says of an error of a fetch why it happened and of which kind
// it is: a reason of package reason, and one of the few kinds that package
// peerload exports and the exit statuses of the command stand for. Both come from
// one decision, so that they agree.
//
// What lives here: the kinds, and which error has which reason and kind. What must
// not: exit statuses, texts for people, and what to do about a failure. Read
// Reason first.
package failure

import (
	"errors"
	"os"
	"slices"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/tuf"
	"github.com/peerload/peerload/pdp/wire"
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

// ErrBudget says that a load and the one that runs are more than a device may
// keep.
var ErrBudget = errors.New("the load does not fit into the disk budget")

// Classify gives an error of the device its kind. An error that has a kind, or is
// of none, is returned as it is.
func Classify(err error) error {
	if err == nil || errors.As(err, new(*marked)) || errors.As(err, new(*Stopped)) {
		return err
	}
	if kind := kindOf(reasonOf(err)); kind != nil {
		return WithKind(kind, err)
	}
	return err
}

// Reason is the code of why a file or a load was not fetched, for reports and
// events: what the error itself tells, unless it was given another kind.
func Reason(err error) reason.Code {
	code := reasonOf(err)
	var mark *marked
	if errors.As(err, &mark) && kindOf(code) != mark.kind {
		return usual(mark.kind)
	}
	return code
}

// reasonOf is the code of an error by itself. What the disk has said counts
// before the machine's reason: a full disk is found in either.
func reasonOf(err error) reason.Code {
	var job *engine.Error
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
	switch {
	case errors.As(err, new(*Stopped)):
		return reason.Of(wire.ReasonStopped)
	case is(slot.ErrNoSpace, tuf.ErrStore, slot.ErrLocked, slot.ErrNotFile,
		slot.ErrNoSymlinks, slot.ErrFoldsCase):
		return reason.Of(wire.ReasonDisk)
	case errors.As(err, &job):
		return job.Code()
	case is(tuf.ErrUnknownTarget):
		return reason.NoLoad
	case errors.As(err, new(*engine.TrustError)):
		return reason.Trust
	case is(engine.ErrModel):
		return reason.Model
	case is(engine.ErrKind):
		return reason.Kind
	case is(ErrBudget):
		return reason.Budget
	case is(slot.ErrDigest, slot.ErrDamaged, slot.ErrIncomplete):
		return reason.Of(wire.ReasonDigestMismatch)
	case isFile(err):
		return reason.Of(wire.ReasonDisk)
	}
	return reason.Refused
}

// InJapanese is the text of an error in Japanese, "" if it has only its own.
func InJapanese(err error) string {
	var job *engine.Error
	if errors.As(err, &job) {
		return job.Say(true)
	}
	return ""
}

// kindOf is the kind of the errors that have a reason, nil for none: what is
// refused is a bad request only if it was called so.
func kindOf(code reason.Code) error {
	switch code {
	case reason.Refused:
		return nil
	case reason.Of(wire.ReasonDisk):
		return Disk
	case reason.Of(wire.ReasonOriginWrong), reason.Of(wire.ReasonDigestMismatch):
		return Verify
	case reason.Trust, reason.NoLoad:
		return Trust
	case reason.Model, reason.Budget, reason.Kind:
		return Request
	case reason.NoAddress:
		return Network
	}
	return Server
}

// usual is the code of an error of which only the kind is known.
func usual(kind error) reason.Code {
	switch kind {
	case Verify:
		return reason.Of(wire.ReasonDigestMismatch)
	case Server:
		return reason.Of(wire.ReasonOriginOther)
	case Network:
		return reason.NoAddress
	case Disk:
		return reason.Of(wire.ReasonDisk)
	case Trust:
		return reason.Trust
	}
	return reason.Refused
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
