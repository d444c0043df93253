package site

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/peerload/peerload/internal/lab/units"
)

// Addresses of a namespace site. The server is behind two routers, in a subnet
// of its own, like a server behind a WAN: it hears no broadcast. Subnet k of
// the devices is 10.(77+k).0.0/16: see lanGateway.
var (
	wanNear    = netip.MustParsePrefix("172.30.0.1/30")
	wanFar     = netip.MustParsePrefix("172.30.0.2/30")
	farGateway = netip.MustParsePrefix("172.31.0.1/30")
	serverAddr = netip.MustParsePrefix("172.31.0.2/30")
)

// maxSubnets bounds the subnets of one site.
const maxSubnets = 100

// lanGateway returns the router's address in subnet k.
func lanGateway(k int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(77 + k), 255, 254}), 16)
}

// lanFirst returns the address of the first device in subnet k.
func lanFirst(k int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(77 + k), 0, 1}) }

// Names of links. In the two routers every name starts with "pl-".
const (
	bridgeName    = "pl-lan%d"
	wanName       = "pl-wan"
	serverName    = "pl-srv"
	portName      = "pl-d%d"
	InterfaceName = "eth0" // of every host
)

// wholePackets is the rate from which on a link passes packets of 64 KiB
// unsplit.
const wholePackets units.Rate = 50_000_000

// tbfQueue is the longest queue of a shaped link, as time at its rate.
const tbfQueue = 50 * time.Millisecond

// congestion lists the congestion controls for every namespace, best first.
// Nearly every device and server runs CUBIC; over the short round trips of a
// site Reno does the same, and BBR, the default of some hosts, does not fill
// a link of a few packets.
var congestion = []string{"cubic", "reno"}

// NamespaceConfig describes a namespace site.
type NamespaceConfig struct {
	// Devices is the number of devices, 1 to MaxDevices. Required.
	Devices int
	// WAN is the rate of each way between the router and the server. Required.
	WAN units.Rate
	// LAN is the rate of each way of every device's port. Required.
	LAN units.Rate
	// Subnets is the number of subnets among which the devices are divided,
	// the first ones first; 0 means 1. At most 100 and Devices.
	Subnets int
	// RTT is the round trip of the idle WAN: see LinkConfig. If it, Jitter and
	// Loss are 0 the kernel carries the WAN and shapes it, which costs less.
	RTT time.Duration
	// Jitter is how much later a packet may come over the WAN: see LinkConfig.
	Jitter time.Duration
	// Loss is the part of the packets that the WAN loses: see LinkConfig.
	Loss units.Fraction
	// Queue is how long a packet may wait before the WAN: see LinkConfig.
	Queue time.Duration
	// Multicast makes the routers forward what the server's side sends to the
	// groups AnnounceGroup and DataGroup. False: they stop it, as most do.
	Multicast bool
}

// Validate refuses what cannot be built.
func (c NamespaceConfig) Validate() error {
	if c.Devices < 1 || c.Devices > MaxDevices {
		return fmt.Errorf("--devices is 1 to %d, not %d", MaxDevices, c.Devices)
	}
	if c.Subnets < 0 || c.Subnets > min(maxSubnets, c.Devices) {
		return fmt.Errorf("--subnets is 1 to %d, not %d", min(maxSubnets, c.Devices), c.Subnets)
	}
	if c.Multicast && c.Subnets > forwardedLinks {
		return fmt.Errorf("multicast reaches %d subnets at most, not %d", forwardedLinks, c.Subnets)
	}
	return c.link().Validate()
}

func (c NamespaceConfig) link() LinkConfig {
	return LinkConfig{Rate: c.WAN, RTT: c.RTT, Jitter: c.Jitter, Loss: c.Loss, Queue: c.Queue, Seed: 1}
}

// subnet returns in which subnet device i is.
func (c NamespaceConfig) subnet(i int) int { return i * max(c.Subnets, 1) / c.Devices }

// Namespaces is a site of network namespaces: one for every device, a near
// router with a bridge for every subnet, and a far router at the other end of the
// WAN. The file server stays in the namespace of this process. None has a
// name: the kernel removes them when the process ends, however it ends.
//
// The WAN is between the routers, so that what it drops is lost on the way and
// not refused to the server's own TCP.
type Namespaces struct {
	server    netns.NsHandle // of this process
	near      netns.NsHandle
	far       netns.NsHandle
	hosts     []netns.NsHandle
	addrs     []netip.Addr // of the devices
	config    NamespaceConfig
	listeners []*listener // one for every subnet
	long      *longLink   // the WAN, if it is a long link
	groups    []*os.File  // multicast routes, while open
}

// NewNamespaces builds the site beside the network namespace of this
// process, which must be a fresh one: see Isolate.
func NewNamespaces(cfg NamespaceConfig) (_ *Namespaces, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Namespaces{server: netns.None(), near: netns.None(), far: netns.None(), config: cfg}
	err = onThread(func() error { return s.build(cfg) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the namespace site: %w", err), s.Close())
	}
	return s, nil
}

// onThread runs f on a thread of its own that ends with it, so that f may
// change the thread's namespace.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine.
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func (s *Namespaces) build(cfg NamespaceConfig) (err error) {
	if s.server, err = netns.Get(); err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	if len(links) > 1 {
		return errors.New("this network namespace is in use; the site needs a fresh one")
	}
	if err := setKernel(); err != nil {
		return err
	}
	if s.near, err = s.fresh(forward); err != nil {
		return err
	}
	if s.far, err = s.fresh(forward); err != nil {
		return err
	}
	if err := s.buildWAN(cfg); err != nil {
		return fmt.Errorf("the WAN: %w", err)
	}
	if err := s.buildLAN(cfg); err != nil {
		return err
	}
	if cfg.Multicast {
		if err := s.forwardGroups(); err != nil {
			return err
		}
	}
	return s.settled()
}

// buildWAN joins the server to the far router and the far one to the near.
func (s *Namespaces) buildWAN(cfg NamespaceConfig) error {
	err := connect(0,
		end{ns: s.far, name: serverName, addr: farGateway},
		end{ns: s.server, name: InterfaceName, addr: serverAddr, route: farGateway})
	if err != nil {
		return err
	}
	near := end{ns: s.near, name: wanName, addr: wanNear, route: wanFar}
	far := end{ns: s.far, name: wanName, addr: wanFar, route: wanNear}
	if cfg.link().Long() {
		return s.joinLong(cfg.link(), near, far)
	}
	return connect(cfg.WAN, near, far)
}

// settled waits until all links carry packets: the kernel brings a link up a
// moment after its second end, and what is sent before is lost.
func (s *Namespaces) settled() error {
	deadline := time.Now().Add(10 * time.Second)
	for _, ns := range append([]netns.NsHandle{s.near, s.far, s.server}, s.hosts...) {
		h, err := netlink.NewHandleAt(ns)
		if err != nil {
			return err
		}
		err = carry(h, deadline)
		h.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// carry polls until every link of a namespace is up.
func carry(h *netlink.Handle, deadline time.Time) error {
	for {
		links, err := h.LinkList()
		if err != nil {
			return err
		}
		down := ""
		for _, l := range links {
			a := l.Attrs()
			// A TUN device does not report its state: it is up from the start.
			if a.Flags&net.FlagLoopback == 0 && a.OperState != netlink.OperUp && l.Type() != "tuntap" {
				down = a.Name
			}
		}
		if down == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("link %s does not come up", down)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// buildLAN makes the bridges and the devices' namespaces and ports.
func (s *Namespaces) buildLAN(cfg NamespaceConfig) error {
	var bridges []int
	for k := range max(cfg.Subnets, 1) {
		index, err := s.bridge(k)
		if err != nil {
			return fmt.Errorf("subnet %d: %w", k+1, err)
		}
		bridges = append(bridges, index)
	}
	used := make([]int, len(bridges))
	for i := range cfg.Devices {
		host, err := s.fresh(nil)
		if err != nil {
			return err
		}
		k := cfg.subnet(i)
		addr := hostAddr(lanFirst(k), used[k])
		used[k]++
		s.hosts, s.addrs = append(s.hosts, host), append(s.addrs, addr)
		err = connect(cfg.LAN,
			end{ns: s.near, name: fmt.Sprintf(portName, i+1), bridge: bridges[k]},
			end{ns: host, name: InterfaceName, addr: netip.PrefixFrom(addr, lanGateway(k).Bits()), route: lanGateway(k)})
		if err != nil {
			return fmt.Errorf("device %d: %w", i+1, err)
		}
	}
	for k := range bridges {
		known := []neighbour{{ns: s.near, link: fmt.Sprintf(bridgeName, k+1), ip: lanGateway(k).Addr()}}
		for i, host := range s.hosts {
			if cfg.subnet(i) == k {
				known = append(known, neighbour{ns: host, link: InterfaceName, ip: s.addrs[i]})
			}
		}
		if err := introduce(known); err != nil {
			return err
		}
	}
	return nil
}

// bridge makes the bridge of a subnet, listens on it and returns its index.
func (s *Namespaces) bridge(k int) (int, error) {
	h, err := netlink.NewHandleAt(s.near)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf(bridgeName, k+1)
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := h.LinkAdd(bridge); err != nil {
		return 0, err
	}
	if err := raise(h, attrs.Name, lanGateway(k)); err != nil {
		return 0, err
	}
	return bridge.Index, s.within(s.near, func() error {
		l, err := listen(bridge)
		if err == nil {
			s.listeners = append(s.listeners, l)
		}
		return err
	})
}

// within runs f in a namespace, on the calling thread, which it returns to the
// server's.
func (s *Namespaces) within(ns netns.NsHandle, f func() error) error {
	if err := netns.Set(ns); err != nil {
		return err
	}
	return errors.Join(f(), netns.Set(s.server))
}

// forwarding is where a namespace is made a router.
const forwarding = "/proc/sys/net/ipv4/ip_forward"

// forward makes the thread's namespace a router.
func forward() error { return os.WriteFile(forwarding, []byte("1"), 0) }

// fresh makes a namespace, sets it up, and returns the thread to the server's.
func (s *Namespaces) fresh(more func() error) (netns.NsHandle, error) {
	ns, err := netns.New() // and the thread is in it
	if err != nil {
		return netns.None(), err
	}
	err = setKernel()
	if err == nil && more != nil {
		err = more()
	}
	return ns, errors.Join(err, netns.Set(s.server))
}

// end is one end of a link.
type end struct {
	ns     netns.NsHandle
	name   string
	addr   netip.Prefix // none if not valid
	bridge int          // index of the bridge whose port it is; 0 for none
	route  netip.Prefix // the next hop of the default route; none if not valid
}

// connect joins two namespaces by a link of the given rate each way; 0 does
// not shape it.
func connect(rate units.Rate, a, b end) error {
	ha, err := netlink.NewHandleAt(a.ns)
	if err != nil {
		return err
	}
	defer ha.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = a.name, a.bridge
	err = ha.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b.name, PeerNamespace: netlink.NsFd(b.ns)})
	if err != nil {
		return fmt.Errorf("link %s: %w", a.name, err)
	}
	hb, err := netlink.NewHandleAt(b.ns)
	if err != nil {
		return err
	}
	defer hb.Close()
	return errors.Join(a.settle(ha, rate), b.settle(hb, rate))
}

// settle configures this end, through a handle of its namespace.
func (e end) settle(h *netlink.Handle, rate units.Rate) error {
	if err := raise(h, "lo"); err != nil {
		return err
	}
	var addrs []netip.Prefix
	if e.addr.IsValid() {
		addrs = append(addrs, e.addr)
	}
	if err := raise(h, e.name, addrs...); err != nil {
		return err
	}
	if rate > 0 {
		if err := shape(h, e.name, rate); err != nil {
			return err
		}
	}
	if !e.route.IsValid() {
		return nil
	}
	if err := h.RouteAdd(&netlink.Route{Gw: e.route.Addr().AsSlice()}); err != nil {
		return fmt.Errorf("route by %s: %w", e.route.Addr(), err)
	}
	return nil
}

// raise gives a link its addresses and brings it up.
func raise(h *netlink.Handle, name string, addrs ...netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	for _, a := range addrs {
		n := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), 32)}
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: n}); err != nil {
			return fmt.Errorf("address %s of %s: %w", a, name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return nil
}

// shape limits what leaves through a link. The kernel sends TCP through virtual
// links in packets of up to 64 KiB; the token bucket splits those that exceed
// its burst and counts the headers of all. The burst is what a link may send at
// once after a pause: 4 ms at the rate, at least 16 KiB; at the rates of a LAN
// port it is a whole packet of 64 KiB, because splitting the packets of a
// hundred ports would take more processor time than the devices do.
func shape(h *netlink.Handle, name string, rate units.Rate) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	burst := max(rate.Bytes(4*time.Millisecond), 16<<10)
	if rate >= wholePackets {
		burst = max(burst, 68<<10)
	}
	perSecond := uint64(rate / 8)
	err = h.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: link.Attrs().Index,
			Handle:    netlink.MakeHandle(1, 0),
			Parent:    netlink.HANDLE_ROOT,
		},
		Rate:   perSecond,
		Buffer: netlink.Xmittime(perSecond, uint32(burst)),
		Limit:  uint32(burst + max(rate.Bytes(tbfQueue), 64<<10)),
	})
	if err != nil {
		return fmt.Errorf("token bucket of %s (the kernel needs sch_tbf): %w", name, err)
	}
	return nil
}

// setKernel configures the thread's namespace: no IPv6, whose router and
// neighbour discovery is noise on the links, and the congestion control if the
// kernel allows to choose it.
func setKernel() error {
	// The file is absent where the kernel has no IPv6.
	const noIPv6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
	if err := os.WriteFile(noIPv6, []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, name := range congestion {
		// Refused if the host does not allow it to everybody: Congestion tells
		// which one is used.
		if os.WriteFile("/proc/sys/net/ipv4/tcp_congestion_control", []byte(name), 0) == nil {
			break
		}
	}
	return nil
}

// Congestion returns the congestion control that the server uses.
func (s *Namespaces) Congestion() string {
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// Listen implements Site.
func (s *Namespaces) Listen() (net.Listener, error) {
	return net.Listen("tcp4", netip.AddrPortFrom(serverAddr.Addr(), 0).String())
}

// ListenUDP implements Site.
func (s *Namespaces) ListenUDP() (*net.UDPConn, error) {
	return net.ListenUDP("udp4", &net.UDPAddr{IP: serverAddr.Addr().AsSlice()})
}

// Shaper implements Site: the links shape.
func (s *Namespaces) Shaper() *Shaper { return nil }

// Host implements Site.
func (s *Namespaces) Host(i int) Host {
	ns := s.hosts[i]
	return Host{
		Addr:  s.addrs[i],
		Args:  []string{"--interface", InterfaceName},
		enter: func() error { return netns.Set(ns) },
	}
}

// Wire implements Site with the counters of the two token buckets or of the
// long link.
func (s *Namespaces) Wire() (Wire, bool) {
	if s.long != nil {
		now := steadyClock()
		return Wire{Down: s.long.down.carried(now), Up: s.long.up.carried(now)}, true
	}
	down, err1 := sentBytes(s.far, wanName)
	up, err2 := sentBytes(s.near, wanName)
	return Wire{Down: down, Up: up}, err1 == nil && err2 == nil
}

func sentBytes(ns netns.NsHandle, name string) (uint64, error) {
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return 0, err
	}
	qdiscs, err := h.QdiscList(link)
	if err != nil {
		return 0, err
	}
	for _, q := range qdiscs {
		if _, ok := q.(*netlink.Tbf); ok && q.Attrs().Statistics != nil && q.Attrs().Statistics.Basic != nil {
			return q.Attrs().Statistics.Basic.Bytes, nil
		}
	}
	return 0, fmt.Errorf("no token bucket on %s", name)
}

// BusiestSent returns the bytes, with all headers, that the first n devices'
// busiest has sent.
func (s *Namespaces) BusiestSent(n int) uint64 {
	most := uint64(0)
	for _, ns := range s.hosts[:n] {
		if sent, err := sentBytes(ns, InterfaceName); err == nil {
			most = max(most, sent)
		}
	}
	return most
}

// Broadcasts returns when devices sent broadcasts to the peers' port.
// They are in order within a subnet.
func (s *Namespaces) Broadcasts() []time.Time {
	var all []time.Time
	for _, e := range s.listeners {
		all = append(all, e.times()...)
	}
	return all
}

// Close implements Site: it removes the routers' links, and with them their
// other ends, and closes the namespaces, which the kernel then removes.
func (s *Namespaces) Close() error {
	var err error
	for _, e := range s.listeners {
		err = errors.Join(err, e.close())
	}
	if s.long != nil {
		err = errors.Join(err, s.long.close())
	}
	for _, g := range s.groups {
		err = errors.Join(err, g.Close())
	}
	s.listeners, s.long, s.groups = nil, nil, nil
	for _, ns := range []netns.NsHandle{s.near, s.far} {
		if ns.IsOpen() {
			err = errors.Join(err, removeLinks(ns))
		}
	}
	for _, ns := range append(s.hosts, s.near, s.far, s.server) {
		if ns.IsOpen() {
			err = errors.Join(err, ns.Close())
		}
	}
	s.hosts, s.near, s.far, s.server = nil, netns.None(), netns.None(), netns.None()
	return err
}

func removeLinks(ns netns.NsHandle) error {
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, "pl-") {
			err = errors.Join(err, h.LinkDel(l))
		}
	}
	return err
}
