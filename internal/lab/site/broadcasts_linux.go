package site

import (
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// listener records the UDP broadcasts on the LAN of a namespace site, on the
// near router, which gets a copy of each, like every device.
type listener struct {
	fd   int
	stop chan struct{}
	done chan struct{}

	mu    sync.Mutex
	heard []time.Time
}

// listenTick is how long the listener takes at most to notice its end.
const listenTick = 50 * time.Millisecond

// listen must be called in the near router's namespace.
func listen(link netlink.Link) (*listener, error) {
	ip := uint16(unix.ETH_P_IP)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(int64(listenTick))
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ip>>8 | ip<<8, Ifindex: link.Attrs().Index}),
	)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	l := &listener{fd: fd, stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l, nil
}

func (l *listener) run() {
	defer close(l.done)
	b := make([]byte, 64)
	for {
		n, from, err := unix.Recvfrom(l.fd, b, 0)
		select {
		case <-l.stop:
			return
		default:
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return
		}
		if a, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && a.Pkttype == unix.PACKET_BROADCAST &&
			isPeerPort(b[:n]) {
			l.mu.Lock()
			l.heard = append(l.heard, time.Now())
			l.mu.Unlock()
		}
	}
}

// isPeerPort reports whether an IPv4 packet is a UDP datagram to the port of
// the peers.
func isPeerPort(b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP {
		return false
	}
	header := int(b[0]&15) * 4
	return header >= 20 && len(b) >= header+4 && binary.BigEndian.Uint16(b[header+2:]) == PeerPort
}

// times returns when broadcasts were heard, in order.
func (l *listener) times() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]time.Time(nil), l.heard...)
}

func (l *listener) close() error {
	close(l.stop)
	<-l.done
	return unix.Close(l.fd)
}
