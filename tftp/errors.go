package tftp

import (
	"errors"
	"fmt"
)

// The codes of ERROR packets (RFC 1350, RFC 2347). 3, 6 and 7 are about writing
// and about users, of which there are none here.
const (
	codeUndefined  = 0 // see the message
	codeNotFound   = 1 // no such file
	codeAccess     = 2 // access violation
	codeIllegal    = 4 // illegal operation
	codeUnknownTID = 5 // packet from a port outside the transfer
	codeBadOption  = 8 // option negotiation failed

	maxErrorMessage = 512
)

// Error is an ERROR packet, received or about to be sent.
type Error struct {
	// Code is that of RFC 1350 section 5 and RFC 2347: 1 no such file, 2 access
	// violation, 3 disk full, 4 illegal operation, 5 unknown transfer, 6 the
	// file exists, 7 no such user, 8 options refused; 0 leaves it to Message.
	Code uint16
	// Message is the sender's own text, with control characters replaced.
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("tftp: error %d (%s)", e.Code, codeName(e.Code))
	}
	return fmt.Sprintf("tftp: error %d (%s): %s", e.Code, codeName(e.Code), e.Message)
}

// Is reports whether target is an Error of the same code without a message:
// ErrNotFound, ErrAccess, or one that the caller makes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Code == e.Code
}

// codeName names a code in a few words.
func codeName(code uint16) string {
	names := [...]string{
		"undefined", "file not found", "access violation", "disk full", "illegal operation",
		"unknown transfer ID", "file already exists", "no such user", "option negotiation failed",
	}
	if int(code) < len(names) {
		return names[code]
	}
	return "unknown code"
}

// Errors for errors.Is. ErrNotFound and ErrAccess match every Error of their code;
// the other codes have no name here.
var (
	ErrNotFound error = &Error{Code: codeNotFound}
	ErrAccess   error = &Error{Code: codeAccess}

	// ErrTimeout: the other side was silent, or made no progress, for too long.
	ErrTimeout = errors.New("tftp: no answer in time")
	// ErrRefused: nobody listens on the other side's port.
	ErrRefused = errors.New("tftp: nobody listens there")
	// ErrTooMuch: the body is longer than the announced size or Client.MaxSize.
	ErrTooMuch = errors.New("tftp: more bytes than announced")
	// ErrTruncated: the body ended before the announced size.
	ErrTruncated = errors.New("tftp: fewer bytes than announced")

	// errProtocol: the other side sent what the protocol does not allow.
	errProtocol = errors.New("tftp: protocol violated")
	// errClosed: the Reader was closed.
	errClosed = errors.New("tftp: closed")
)
