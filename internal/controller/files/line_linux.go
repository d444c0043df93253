package files

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// boundUnsent bounds what a connection takes before it can be sent (tcp(7),
// TCP_NOTSENT_LOWAT). Without it nothing is wrong but the memory that is used.
func boundUnsent(raw syscall.RawConn, bytes int) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	})
}

// setCongestion sets the congestion control of a socket, and returns the one that
// it has then.
func setCongestion(raw syscall.RawConn, name string) (used string, err error) {
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		used, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	if failed != nil {
		err = failed
	}
	return used, err
}
