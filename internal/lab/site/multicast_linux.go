package site

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The groups that a sender beside the server may send to: on a site with
// Multicast both routers forward them to every subnet.
var (
	AnnounceGroup = netip.MustParseAddr("239.77.0.1")
	DataGroup     = netip.MustParseAddr("239.77.0.2")
)

// The kernel's interface for multicast routes: include/uapi/linux/mroute.h.
const (
	mrtInit        = 200
	mrtAddVIF      = 202
	mrtAddMFC      = 204
	vifByIndex     = 8 // the interface is named by its index
	maxVIFs        = 32
	vifctlBytes    = 16
	mfcctlBytes    = 60
	mfcTTLs        = 10 // offset of one threshold for each VIF
	forwardedLinks = maxVIFs - 1
)

// forwardGroups sets the multicast routes of both routers up.
func (s *Namespaces) forwardGroups() error {
	var subnets []string
	for k := range s.listeners {
		subnets = append(subnets, fmt.Sprintf(bridgeName, k+1))
	}
	for _, r := range []struct {
		ns  netns.NsHandle
		in  string
		out []string
	}{{s.far, serverName, []string{wanName}}, {s.near, wanName, subnets}} {
		err := s.within(r.ns, func() error {
			routes, err := routeMulticast(serverAddr.Addr(), r.in, r.out...)
			if err == nil {
				s.groups = append(s.groups, routes)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// routeMulticast makes the thread's namespace forward what source sends to the
// groups, from the link in to all links out, until the returned file is closed.
// The routes are static: no protocol finds the listeners, as on a network whose
// administrator has configured multicast for this one purpose.
func routeMulticast(source netip.Addr, in string, out ...string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_IGMP)
	if err != nil {
		return nil, fmt.Errorf("multicast routes: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "multicast routes")
	if err := setMulticast(fd, source, append([]string{in}, out...)); err != nil {
		return nil, errors.Join(fmt.Errorf("multicast routes (the kernel needs CONFIG_IP_MROUTE): %w", err), socket.Close())
	}
	return socket, nil
}

func setMulticast(fd int, source netip.Addr, links []string) error {
	if len(links) > maxVIFs {
		return fmt.Errorf("%d links, the kernel knows %d", len(links), maxVIFs)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, mrtInit, 1); err != nil {
		return err
	}
	ttls := [maxVIFs]byte{} // 0: nothing leaves there
	for i, name := range links {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		var vif [vifctlBytes]byte
		binary.NativeEndian.PutUint16(vif[0:], uint16(i))
		vif[2], vif[3] = vifByIndex, 1
		binary.NativeEndian.PutUint32(vif[8:], uint32(link.Index))
		if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, mrtAddVIF, string(vif[:])); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if i > 0 {
			ttls[i] = 1
		}
	}
	for _, group := range []netip.Addr{AnnounceGroup, DataGroup} {
		var mfc [mfcctlBytes]byte
		copy(mfc[0:], source.AsSlice())
		copy(mfc[4:], group.AsSlice())
		copy(mfc[mfcTTLs:], ttls[:])
		if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, mrtAddMFC, string(mfc[:])); err != nil {
			return fmt.Errorf("%s: %w", group, err)
		}
	}
	return nil
}
