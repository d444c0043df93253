package background

import (
	"math"
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
		s.size = int(i.Rcv_mss)
		if i.Min_rtt != math.MaxUint32 {
			s.least = time.Duration(i.Min_rtt) * time.Microsecond
		}
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

// windowOf is the bound of the window that a connection offers, 0 if it is not known.
func windowOf(raw syscall.RawConn) (bytes int) {
	_ = raw.Control(func(fd uintptr) {
		bytes, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP)
	})
	return bytes
}

const (
	// widest is the most that a connection can ever offer. It sets the unit of windows:
	// the system takes them up to whole units, of which a wide one, as it is where buffers
	// may be large, is most of a packet. By each small packet a window then stays as it
	// was that should have become smaller.
	widest = 2 << 20
	// buffer is that of a connection that has been made, before the system widens it.
	buffer = 64 << 10
	// spacious is how much buffer the system takes for each byte of a window.
	spacious = 2
)

// prepare has a connection that is not made yet offer no more than so many bytes.
func prepare(raw syscall.RawConn, bytes int) {
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, widest)
		resize(int(fd), spacious*bytes)
	})
}

// unbound gives a connection that was prepared the buffer that others have.
func unbound(raw syscall.RawConn) {
	_ = raw.Control(func(fd uintptr) { resize(int(fd), buffer) })
}

// resize sets the buffer, in bytes, and has the system go on to fit it to what comes. One
// that would not (before Linux 5.14) is left alone.
func resize(fd, bytes int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0) != nil {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0)
}
