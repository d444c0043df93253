package engine

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendRate returns how fast the kernel has seen bytes of a connection arrive
// lately, in bytes per second; 0 if it cannot tell. (tcp(7), TCP_INFO: while
// there is little to send this is what the way carried of it, not all it
// could.)
func sendRate(c net.Conn) func() int64 {
	unknown := func() int64 { return 0 }
	s, ok := c.(syscall.Conn)
	if !ok {
		return unknown
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return unknown
	}
	return func() (rate int64) {
		_ = raw.Control(func(fd uintptr) {
			if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				rate = int64(min(i.Delivery_rate, 1<<40))
			}
		})
		return rate
	}
}
