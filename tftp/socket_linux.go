package tftp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
)

// Linux's names that package syscall lacks (udp(7), linux/udp.h, linux/in6.h).
const (
	solUDP     = 17
	udpSegment = 103
	udpGRO     = 104
)

func setOption(conn *net.UDPConn, level, name, value int) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) { ok = syscall.SetsockoptInt(int(fd), level, name, value) == nil })
	return ok && err == nil
}

// reportErrors makes an unconnected socket report ICMP errors, so that a closed
// port is known at once.
func reportErrors(conn *net.UDPConn) {
	if conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		setOption(conn, syscall.IPPROTO_IP, syscall.IP_RECVERR, 1)
	} else {
		setOption(conn, syscall.IPPROTO_IPV6, syscall.IPV6_RECVERR, 1)
	}
}

// segmentPackets makes the kernel split what is written into packets of size
// bytes; 0 ends that.
func segmentPackets(conn *net.UDPConn, size int) bool {
	return setOption(conn, solUDP, udpSegment, size)
}

// mergePackets lets the kernel return several packets in one read.
func mergePackets(conn *net.UDPConn) bool { return setOption(conn, solUDP, udpGRO, 1) }

// mergedSize reads the size of the packets in one read, 0 if there was one.
func mergedSize(oob []byte) int {
	const data = syscall.SizeofCmsghdr
	if len(oob) < data+4 {
		return 0
	}
	level, kind := binary.NativeEndian.Uint32(oob[data-8:]), binary.NativeEndian.Uint32(oob[data-4:])
	if level != solUDP || kind != udpGRO {
		return 0
	}
	return int(int32(binary.NativeEndian.Uint32(oob[data:])))
}

// reportDestination makes a socket report the address that a packet was sent
// to.
func reportDestination(conn *net.UDPConn) {
	setOption(conn, syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
	setOption(conn, syscall.IPPROTO_IPV6, syscall.IPV6_RECVPKTINFO, 1)
}

// destination reads the address that a packet was sent to.
func destination(oob []byte) netip.Addr {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch {
		// in_pktinfo: interface, the local address, the destination.
		case m.Header.Level == syscall.IPPROTO_IP && m.Header.Type == syscall.IP_PKTINFO && len(m.Data) >= 12:
			return netip.AddrFrom4([4]byte(m.Data[4:8]))
		// in6_pktinfo: the address, the interface.
		case m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == syscall.IPV6_PKTINFO && len(m.Data) >= 20:
			return netip.AddrFrom16([16]byte(m.Data[:16])).Unmap()
		}
	}
	return netip.Addr{}
}
