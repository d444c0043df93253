//go:build !linux

package engine

import (
	"net"
	"time"
)

// lowWater works on Linux only; elsewhere every packet wakes the reader.
type lowWater struct{}

func newLowWater(net.Conn) *lowWater      { return nil }
func (*lowWater) want(int)                {}
func (*lowWater) pace(int, time.Duration) {}

// sendRate cannot tell anything here.
func sendRate(net.Conn) func() int64 { return func() int64 { return 0 } }
