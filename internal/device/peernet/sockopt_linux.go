package peernet

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sockopt is one option of a socket.
type sockopt struct {
	level, name, value int
}

// apply sets the options in turn; the first error ends it.
func apply(c syscall.RawConn, opts ...sockopt) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		for _, o := range opts {
			if err = unix.SetsockoptInt(int(fd), o.level, o.name, o.value); err != nil {
				return
			}
		}
	})
	if cerr != nil {
		return cerr
	}
	return err
}

// reuseAddr lets sockets of several processes share an address, so that each
// gets a copy of every broadcast.
func reuseAddr() sockopt { return sockopt{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1} }

// udpOptions lets a UDP socket broadcast and marks what it sends.
func udpOptions(dscp int) []sockopt {
	return append(markOptions(dscp), sockopt{unix.SOL_SOCKET, unix.SO_BROADCAST, 1})
}

// tcpOptions marks a link and bounds how long data may stay unacknowledged.
func tcpOptions(dscp int, userTimeout time.Duration) []sockopt {
	opts := markOptions(dscp)
	if userTimeout > 0 {
		opts = append(opts, sockopt{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds())})
	}
	return opts
}

// markOptions sets the DSCP, the upper six bits of the former TOS octet (RFC
// 2474).
func markOptions(dscp int) []sockopt {
	if dscp < 0 {
		return nil
	}
	return []sockopt{{unix.IPPROTO_IP, unix.IP_TOS, dscp << 2}}
}

// growReceiveBuffer asks for n bytes, past the system's limit if this process
// may. Less is no failure: datagrams get lost anyway.
func growReceiveBuffer(c syscall.RawConn, n int) {
	if apply(c, sockopt{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n}) != nil {
		_ = apply(c, sockopt{unix.SOL_SOCKET, unix.SO_RCVBUF, n})
	}
}
