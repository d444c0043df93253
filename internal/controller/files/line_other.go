//go:build !linux

package files

import (
	"errors"
	"syscall"
)

func boundUnsent(syscall.RawConn, int) {}

// setCongestion cannot set it here.
func setCongestion(syscall.RawConn, string) (used string, err error) {
	return "", errors.ErrUnsupported
}
