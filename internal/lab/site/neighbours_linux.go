package site

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// knownHosts is how many devices of a subnet have each other's hardware
// addresses from the start; a larger site would need too many entries.
const knownHosts = 256

// neighbour is one address of a subnet.
type neighbour struct {
	ns   netns.NsHandle
	link string
	ip   netip.Addr

	hw net.HardwareAddr // found by introduce
}

// introduce adds the hardware addresses of a subnet's hosts and router to each
// other's ARP tables as permanent entries. All namespaces of a machine share
// one limit for learned entries (gc_thresh3, 1,024 by default): a hundred
// devices that all wake at once exceed it, and sending then fails although
// nothing is wrong with the site. Permanent entries do not count.
func introduce(all []neighbour) error {
	if len(all) > knownHosts {
		return nil
	}
	handles := make([]*netlink.Handle, len(all))
	indexes := make([]int, len(all))
	for i := range all {
		h, err := netlink.NewHandleAt(all[i].ns)
		if err != nil {
			return err
		}
		defer h.Close()
		link, err := h.LinkByName(all[i].link)
		if err != nil {
			return fmt.Errorf("link %s: %w", all[i].link, err)
		}
		handles[i], indexes[i], all[i].hw = h, link.Attrs().Index, link.Attrs().HardwareAddr
	}
	for i, h := range handles {
		for k, other := range all {
			if k == i {
				continue
			}
			err := h.NeighSet(&netlink.Neigh{
				LinkIndex: indexes[i], Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
				IP: other.ip.AsSlice(), HardwareAddr: other.hw,
			})
			if err != nil {
				return fmt.Errorf("enter %s as a neighbour of %s: %w", other.ip, all[i].ip, err)
			}
		}
	}
	return nil
}
