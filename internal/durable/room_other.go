//go:build !linux

package durable

import "errors"

// Room is not known here.
func Room(string) (free, size int64, err error) { return 0, 0, errors.ErrUnsupported }
