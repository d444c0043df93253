package tftp

import (
	"errors"
	"fmt"
)

// ErrorCode is the code of an ERROR packet (RFC 1350, RFC 2347).
type ErrorCode uint16

// The codes of ERROR packets.
const (
	CodeUndefined   ErrorCode = 0 // see the message
	CodeNotFound    ErrorCode = 1 // no such file
	CodeAccess      ErrorCode = 2 // access violation
	CodeDiskFull    ErrorCode = 3 // disk full or allocation exceeded
	CodeIllegal     ErrorCode = 4 // illegal operation
	CodeUnknownTID  ErrorCode = 5 // packet from a port that is no party
	CodeExists      ErrorCode = 6 // file already exists
	CodeNoUser      ErrorCode = 7 // no such user
	CodeBadOption   ErrorCode = 8 // option negotiation failed
	maxErrorMessage           = 512
)

// Error is an ERROR packet, received or about to be sent.
type Error struct {
	Code ErrorCode
	// Message is the sender's own text, with control characters replaced.
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("tftp: error %d (%s)", e.Code, e.Code)
	}
	return fmt.Sprintf("tftp: error %d (%s): %s", e.Code, e.Code, e.Message)
}

// Is reports whether target is the sentinel of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// String names the code in a few words.
func (c ErrorCode) String() string {
	names := [...]string{
		"undefined", "file not found", "access violation", "disk full", "illegal operation",
		"unknown transfer ID", "file already exists", "no such user", "option negotiation failed",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown code"
}

// Sentinels for errors.Is. The first five match every Error of their code.
var (
	ErrNotFound  error = &Error{Code: CodeNotFound}
	ErrAccess    error = &Error{Code: CodeAccess}
	ErrIllegal   error = &Error{Code: CodeIllegal}
	ErrBadOption error = &Error{Code: CodeBadOption}
	ErrUndefined error = &Error{Code: CodeUndefined}

	// ErrTimeout: the other side was silent, or made no progress, for too long.
	ErrTimeout = errors.New("tftp: no answer in time")
	// ErrRefused: nobody listens on the other side's port.
	ErrRefused = errors.New("tftp: nobody listens there")
	// ErrTooMuch: the body went beyond the announced size or Client.MaxSize.
	ErrTooMuch = errors.New("tftp: more bytes than announced")
	// ErrTruncated: the body ended before the announced size.
	ErrTruncated = errors.New("tftp: fewer bytes than announced")
	// ErrProtocol: the other side sent what the protocol does not allow.
	ErrProtocol = errors.New("tftp: protocol violated")
	// ErrClosed: the Reader was closed.
	ErrClosed = errors.New("tftp: closed")
)
