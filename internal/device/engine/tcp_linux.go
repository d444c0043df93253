package engine

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lowWater makes the kernel wake a reader only when a good part of a chunk has
// come: a chunk at the pace of a WAN is some fifty packets, and fifty wake-ups
// cost more than the copying. The recent rate of the link bounds the wait that
// this adds.
type lowWater struct {
	raw  syscall.RawConn
	set  int     // as the socket has it
	rate float64 // bytes per second, of late
}

// Bounds of the mark, in bytes, and how long reaching it may take.
const (
	lowWaterMost = 32 << 10
	lowWaterWait = 100 * time.Millisecond
)

func newLowWater(c net.Conn) *lowWater {
	s, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return &lowWater{raw: raw, set: 1}
}

// want sets the mark for a read while left bytes of a chunk are to come; 0
// means that anything is to wake the reader.
func (w *lowWater) want(left int) {
	if w == nil {
		return
	}
	n := min(left, lowWaterMost, int(w.rate*lowWaterWait.Seconds()))
	if n < 4<<10 {
		n = 1
	}
	if n == w.set {
		return
	}
	w.set = n
	_ = w.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n)
	})
}

// pace takes the time that a chunk took to arrive.
func (w *lowWater) pace(bytes int, took time.Duration) {
	if w != nil && took > 0 {
		w.rate = float64(bytes) / took.Seconds()
	}
}

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
