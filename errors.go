package peerload

import "github.com/peerload/peerload/internal/device/failure"

// Kinds of errors of Fetch, for errors.Is. The text of an error says what
// happened and what to do about it. If ctx ends, errors.Is finds both ctx.Err()
// and context.Cause(ctx) in the error.
//
// ErrServer and ErrNoNetwork are worth a retry, ErrDisk once there is room;
// after these errors, and after the end of the context, the same Request
// resumes where it stopped. The others persist until the request, the server's
// files or the trusted keys are changed.
var (
	// ErrRequest: the request cannot be carried out. It contradicts itself, or
	// the host or the load does not fit it.
	ErrRequest error = failure.Request
	// ErrVerify: the bytes that came are not those that were asked for.
	ErrVerify error = failure.Verify
	// ErrServer: the server cannot be reached, does not have the file, refuses
	// it or fails while sending. Event.Reason of report.KindFailed says which:
	// origin-not-found, origin-forbidden, tls and unusable-answer persist until
	// the server, or the request, is changed.
	ErrServer error = failure.Server
	// ErrNoNetwork: this host has no address yet to meet its peers with.
	ErrNoNetwork error = failure.Network
	// ErrDisk: the file or the state cannot be written, or another process
	// writes there.
	ErrDisk error = failure.Disk
	// ErrTrust: the signed metadata is refused: not signed by the publisher,
	// expired, older than before. The causes are errors of package trust.
	ErrTrust error = failure.Trust
)
