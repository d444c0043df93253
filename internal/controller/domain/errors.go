package domain

import (
	"errors"
	"fmt"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/controller/repository"
)

// Why a use case did not do what it was asked, for errors.Is.
var (
	// ErrNotFound says that there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrExists says that there is one of that name already.
	ErrExists = errors.New("exists already")
	// ErrConflict says that somebody else has changed it since it was read:
	// read it again.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrInvalid says that a value is not valid.
	ErrInvalid = errors.New("invalid")
	// ErrRefused says that the change would break a rule.
	ErrRefused = errors.New("refused")
	// ErrUnfit says that a load is not for the model. It matches ErrRefused too.
	ErrUnfit = fmt.Errorf("%w: the load does not fit the model", ErrRefused)
	// ErrUnauthenticated says that credentials are missing, wrong or expired.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrForbidden says that the actor may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrThrottled says that there were too many attempts: see ThrottledError.
	ErrThrottled = errors.New("too many attempts")
	// ErrUnavailable says that the controller runs without what this needs.
	ErrUnavailable = errors.New("not available")
	// ErrAway says that the database does not answer now: it is locked, restarts,
	// or cannot be reached. Try again. It matches ErrUnavailable too.
	ErrAway = fmt.Errorf("%w: the database does not answer", ErrUnavailable)
	// ErrKeys says that a key to sign with is not there, or not kept secret: the
	// error says which, and what to do.
	ErrKeys = repository.ErrKeys
)

// ThrottledError says how long to wait. It matches ErrThrottled.
type ThrottledError struct {
	// RetryAfter is the time until an attempt counts again.
	RetryAfter time.Duration
}

// Error implements error.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("%v: try again in %s", ErrThrottled, e.RetryAfter.Round(time.Second))
}

// Is implements the interface of errors.Is.
func (e *ThrottledError) Is(target error) bool { return target == ErrThrottled }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// unknown says which words of a kind there are. It repeats 40 bytes at most of
// what came from outside.
func unknown[T ~string](kind string, word T, valid []T) error {
	names := make([]string, len(valid))
	for i, v := range valid {
		names[i] = string(v)
	}
	return choice.Unknown(kind, string(word[:min(len(word), 40)]), names)
}

func notFound(what, name string) error { return fmt.Errorf("%w: %s %q", ErrNotFound, what, name) }
