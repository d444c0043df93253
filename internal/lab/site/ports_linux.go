package site

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/peerload/peerload/internal/lab/units"
)

// What happens to the links of a namespace site while it runs.

// Subnet returns in which subnet device i is, from 0.
func (s *Namespaces) Subnet(i int) int { return s.config.subnet(i) }

// SetPortRate gives the port of device i another rate, each way.
func (s *Namespaces) SetPortRate(i int, rate units.Rate) error {
	near, err := netlink.NewHandleAt(s.near)
	if err != nil {
		return err
	}
	defer near.Close()
	host, err := netlink.NewHandleAt(s.hosts[i])
	if err != nil {
		return err
	}
	defer host.Close()
	return errors.Join(shape(near, fmt.Sprintf(portName, i+1), rate), shape(host, InterfaceName, rate))
}

// IsolatePort separates the port of device i from all other isolated ports of
// its bridge; it still reaches those that are not isolated, and the router.
func (s *Namespaces) IsolatePort(i int, on bool) error {
	h, err := netlink.NewHandleAt(s.near)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(fmt.Sprintf(portName, i+1))
	if err != nil {
		return err
	}
	if err := h.LinkSetIsolated(link, on); err != nil {
		return fmt.Errorf("isolate the port of device %d: %w", i+1, err)
	}
	return nil
}

// CutWAN makes the far router drop all packets silently, or forward them again.
func (s *Namespaces) CutWAN(on bool) error {
	value := "1"
	if on {
		value = "0"
	}
	return onThread(func() error {
		return s.within(s.far, func() error {
			return os.WriteFile(forwarding, []byte(value), 0)
		})
	})
}

// Dropped returns how many packets a long link has lost so far, and how many
// its queue had no room for; 0 where the kernel carries the WAN.
func (s *Namespaces) Dropped() (lost, full uint64) {
	if s.long == nil {
		return 0, 0
	}
	down, up := s.long.down.total(), s.long.up.total()
	return down.Lost + up.Lost, down.Full + up.Full
}

// Ports returns what each device's port has carried so far: Up is what the
// device sent, Down what it was sent.
func (s *Namespaces) Ports() ([]Wire, error) {
	h, err := netlink.NewHandleAt(s.near)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, err
	}
	ports := make([]Wire, len(s.hosts))
	for _, l := range links {
		a := l.Attrs()
		var n int
		if _, err := fmt.Sscanf(a.Name, portName, &n); err == nil && n >= 1 && n <= len(ports) && a.Statistics != nil {
			ports[n-1] = Wire{Down: a.Statistics.TxBytes, Up: a.Statistics.RxBytes}
		}
	}
	return ports, nil
}
