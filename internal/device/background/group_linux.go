package background

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// optTimestamps in tcpi_options: with them the kernel measures the round trip of what
// it receives (linux/tcp.h).
const optTimestamps = 1

// measure asks the system about a connection; false: it is closed.
func measure(raw syscall.RawConn) (s seen, ok bool) {
	err := raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		ok, s.got = true, i.Bytes_received
		if i.Options&optTimestamps != 0 {
			s.trip = time.Duration(i.Rcv_rtt) * time.Microsecond
		}
	})
	return s, ok && err == nil
}

// setWindow bounds the window that a connection offers (tcp(7), TCP_WINDOW_CLAMP). A
// system that refuses leaves the download as it was.
func setWindow(raw syscall.RawConn, bytes int) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, bytes)
	})
}
