package peernet

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// hostAddrs lists the IPv4 addresses of this host. It asks the kernel itself
// because the net package does not tell the broadcast address.
func hostAddrs() ([]hostAddr, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	byIndex := make(map[int]net.Interface, len(ifaces))
	for _, i := range ifaces {
		byIndex[i.Index] = i
	}
	rib, err := syscall.NetlinkRIB(syscall.RTM_GETADDR, syscall.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	msgs, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return nil, fmt.Errorf("list the addresses: %w", err)
	}
	var host []hostAddr
	for i := range msgs {
		m := &msgs[i]
		if m.Header.Type != syscall.RTM_NEWADDR || len(m.Data) < syscall.SizeofIfAddrmsg {
			continue
		}
		// struct ifaddrmsg: family, prefix length, flags, scope, index.
		index := int(binary.NativeEndian.Uint32(m.Data[4:]))
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			return nil, fmt.Errorf("list the addresses: %w", err)
		}
		if h, ok := hostAddrOf(byIndex[index], int(m.Data[1]), attrs); ok {
			host = append(host, h)
		}
	}
	return host, nil
}

// hostAddrOf reads one address from its netlink attributes.
func hostAddrOf(i net.Interface, bits int, attrs []syscall.NetlinkRouteAttr) (hostAddr, bool) {
	var local, address, broadcast netip.Addr
	for _, a := range attrs {
		v, ok := netip.AddrFromSlice(a.Value)
		if !ok || !v.Is4() {
			continue
		}
		switch a.Attr.Type {
		case syscall.IFA_LOCAL:
			local = v
		case syscall.IFA_ADDRESS:
			address = v
		case syscall.IFA_BROADCAST:
			broadcast = v
		}
	}
	// On a point-to-point link IFA_ADDRESS is the other side.
	if !local.IsValid() {
		local = address
	}
	if !address.IsValid() {
		address = local
	}
	prefix, err := address.Prefix(bits)
	if err != nil || !local.IsValid() {
		return hostAddr{}, false
	}
	h := hostAddr{
		subnet:   subnet{iface: i.Name, addr: local, prefix: prefix, broadcast: broadcast},
		up:       i.Flags&net.FlagUp != 0,
		loopback: i.Flags&net.FlagLoopback != 0,
		carrier:  i.Flags&net.FlagRunning != 0,
	}
	// An address that was added without a broadcast address has one all the
	// same: the kernel routes the last address of the prefix as a broadcast.
	canBroadcast := i.Flags&(net.FlagBroadcast|net.FlagLoopback) != 0 && bits <= maxBroadcastBits
	if !h.broadcast.IsValid() && canBroadcast {
		h.broadcast = lastOf(prefix)
	}
	return h, true
}
