//go:build !linux

package engine

import (
	"net"
	"time"
)

// lowWater is a Linux matter; elsewhere every packet wakes the reader.
type lowWater struct{}

func newLowWater(net.Conn) *lowWater      { return nil }
func (*lowWater) want(int)                {}
func (*lowWater) pace(int, time.Duration) {}
