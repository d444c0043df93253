package failure_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/trust"
)

func TestClassify(t *testing.T) {
	job := func(why wire.Reason, err error) error {
		return &engine.Error{File: "f", URL: "u", Reason: why, Err: err}
	}
	file := &fs.PathError{Op: "open", Path: "f", Err: fs.ErrPermission}
	for _, c := range []struct {
		name   string
		err    error
		kind   error // nil: none
		reason reason.Code
	}{
		{"server", job(wire.ReasonOriginUnreachable, nil), failure.Server, "origin-unreachable"},
		{"peers", job(wire.ReasonPeersFailed, nil), failure.Server, "peers-failed"},
		{"disk of a job", job(wire.ReasonDisk, nil), failure.Disk, "disk"},
		{"wrong file", job(wire.ReasonOriginWrong, nil), failure.Verify, "origin-wrong"},
		{"wrong digest", job(wire.ReasonDigestMismatch, nil), failure.Verify, "digest-mismatch"},
		{"full disk, whatever the job says", job(wire.ReasonOriginOther, slot.ErrNoSpace), failure.Disk, "disk"},
		{"stopped job", job(wire.ReasonStopped, nil), failure.Server, "stopped"},
		{"locked", fmt.Errorf("f: %w", slot.ErrLocked), failure.Disk, "disk"},
		{"no file", slot.ErrNotFile, failure.Disk, "disk"},
		{"trust directory", trust.ErrStore, failure.Disk, "disk"},
		{"damaged", slot.ErrDamaged, failure.Verify, "digest-mismatch"},
		{"another digest", fmt.Errorf("f: %w", slot.ErrDigest), failure.Verify, "digest-mismatch"},
		{"incomplete", slot.ErrIncomplete, failure.Verify, "digest-mismatch"},
		{"operating system", file, failure.Disk, "disk"},
		{"no such load", &engine.TrustError{Err: trust.ErrUnknownTarget}, failure.Trust, "no-such-load"},
		{"signature", &engine.TrustError{Err: trust.ErrBadSignature}, failure.Trust, "trust"},
		{"disk budget", fmt.Errorf("f: %w", failure.ErrBudget), failure.Request, "disk-budget"},
		{"model", engine.ErrModel, failure.Request, "wrong-model"},
		{"model, called a bad request", failure.WithKind(failure.Request, engine.ErrModel), failure.Request, "wrong-model"},
		{"first what it was marked with", failure.WithKind(failure.Trust, file), failure.Trust, "trust"},
		{"network", failure.WithKind(failure.Network, errors.New("x")), failure.Network, "no-address"},
		{"verify", failure.WithKind(failure.Verify, errors.New("x")), failure.Verify, "digest-mismatch"},
		{"a server's error", failure.WithKind(failure.Server, errors.New("x")), failure.Server, "origin-other"},
		{"refused", failure.WithKind(failure.Request, errors.New("x")), failure.Request, "refused"},
		{"stopped", &failure.Stopped{Cause: context.Canceled}, nil, "stopped"},
		{"unforeseen", errors.New("x"), nil, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := failure.Classify(failure.Classify(c.err))
			for _, k := range []error{
				failure.Request, failure.Verify, failure.Server, failure.Network, failure.Disk, failure.Trust,
			} {
				if errors.Is(got, k) != (k == c.kind) {
					t.Errorf("is it %v: %v", k, errors.Is(got, k))
				}
			}
			if got.Error() != c.err.Error() || !errors.Is(got, c.err) {
				t.Errorf("%v became %v", c.err, got)
			}
			if r := failure.Reason(got); r != c.reason {
				t.Errorf("reason %s, want %s", r, c.reason)
			}
		})
	}
	if failure.Classify(nil) != nil || failure.WithKind(failure.Disk, nil) != nil {
		t.Error("no error became one")
	}
}

// A fetch that was stopped is what its cause is, and what ended the context.
func TestStopped(t *testing.T) {
	cause := errors.New("cause")
	err := &failure.Stopped{Cause: cause, Context: context.Canceled}
	if !errors.Is(err, cause) || !errors.Is(err, context.Canceled) || err.Error() != "cause" {
		t.Errorf("%v", err)
	}
	alone := &failure.Stopped{Cause: cause}
	if parts := alone.Unwrap(); len(parts) != 1 || parts[0] != cause || errors.Is(alone, context.Canceled) {
		t.Errorf("without a context: %v", parts)
	}
}

// What the device itself says of a failure is there in Japanese, with the words of
// the disk or the server as they are.
func TestInJapanese(t *testing.T) {
	err := &engine.Error{File: "f", URL: "u", Reason: wire.ReasonOriginBusy, Err: errors.New("503")}
	if got, want := failure.InJapanese(fmt.Errorf("x: %w", err)),
		"f: u が混雑しています。後で再実行してください: 503"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := failure.InJapanese(errors.New("x")); got != "" {
		t.Errorf("%q", got)
	}
}
