//go:build !linux

package tftp

import (
	"net"
	"net/netip"
)

// On other systems every packet is sent by itself, and a closed port shows only
// as silence.

func reportErrors(*net.UDPConn) {}

func segmentPackets(*net.UDPConn, int) bool { return false }

func mergePackets(*net.UDPConn) bool { return false }

func mergedSize([]byte) int { return 0 }

func reportDestination(*net.UDPConn) {}

func destination([]byte) netip.Addr { return netip.Addr{} }
