// Package exit says with which status a program ends whose fetch failed: peerload and
// peerload-get say the same.
//
// What lives here: the statuses of errors of a fetch. What must not: those of commands
// that do something else. docs/OPERATIONS.md has the whole list.
package exit

import (
	"errors"

	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/pdp/wire"
)

// Statuses, as docs/OPERATIONS.md says what each means.
const (
	Usage       = 2
	Verify      = 3
	Unreachable = 4
	Disk        = 5
	Trust       = 6
	NotFound    = 7
	Forbidden   = 8
	TLS         = 9
	Answer      = 10
	Interrupted = 130
)

// Of is the status of an error of a fetch; what the command line itself refuses is
// Usage. What no retry mends is not Unreachable, which stands for "try again".
func Of(err error) int {
	switch failure.Reason(err) {
	case reason.Of(wire.ReasonOriginNotFound):
		return NotFound
	case reason.Of(wire.ReasonOriginForbidden):
		return Forbidden
	case reason.TLS:
		return TLS
	case reason.Answer:
		return Answer
	}
	err = failure.Classify(err) // some errors of the device come as they are
	for _, k := range []struct {
		kind error
		code int
	}{
		{failure.Verify, Verify}, {failure.Server, Unreachable}, {failure.Network, Unreachable}, {failure.Disk, Disk},
		{failure.Trust, Trust},
	} {
		if errors.Is(err, k.kind) {
			return k.code
		}
	}
	return Usage
}
