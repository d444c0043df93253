//go:build !linux

package slot

import "errors"

// Flush implements File with what every Unix has.
func (f osFile) Flush(off, n int64) error { return f.Sync() }

// Reserve implements File: there is no portable way.
func (f osFile) Reserve(size int64) error { return errors.ErrUnsupported }
