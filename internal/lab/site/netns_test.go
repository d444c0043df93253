package site

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestNamespaceRates reads back what the kernel was told: each way of the WAN
// and of every port has a token bucket of its rate, and no other link has one.
// What gets through them is measured by the benchmarks of package fileserver.
func TestNamespaceRates(t *testing.T) {
	tiers.Long(t, "it starts processes, and sends at the rate of a WAN")
	if !inside.Run(t) {
		return
	}
	const wan, lan, slow = 16 * units.Mbit, 40 * units.Mbit, 2 * units.Mbit
	site, err := NewNamespaces(NamespaceConfig{Devices: 2, WAN: wan, LAN: lan})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	check := func(first units.Rate) {
		t.Helper()
		for _, c := range []struct {
			name string
			ns   netns.NsHandle
			want map[string]units.Rate
		}{
			{"near router", site.near, map[string]units.Rate{
				wanName: wan, fmt.Sprintf(portName, 1): first, fmt.Sprintf(portName, 2): lan,
			}},
			{"far router", site.far, map[string]units.Rate{wanName: wan}},
			{"server", site.server, map[string]units.Rate{}},
			{"device 1", site.hosts[0], map[string]units.Rate{InterfaceName: first}},
			{"device 2", site.hosts[1], map[string]units.Rate{InterfaceName: lan}},
		} {
			if got := bucketRates(t, c.ns); !maps.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", c.name, got, c.want)
			}
		}
	}
	check(lan)
	if err := site.SetPortRate(0, slow); err != nil {
		t.Fatal(err)
	}
	check(slow)
}

// bucketRates are the rates of the token buckets of a namespace, by their links.
func bucketRates(t *testing.T, ns netns.NsHandle) map[string]units.Rate {
	t.Helper()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	rates := map[string]units.Rate{}
	for _, l := range links {
		qdiscs, err := h.QdiscList(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range qdiscs {
			if tbf, ok := q.(*netlink.Tbf); ok {
				rates[l.Attrs().Name] = units.Rate(8 * tbf.Rate)
			}
		}
	}
	return rates
}

// BenchmarkLongLinkRTT measures how much later than its round trip a long link
// brings datagrams back: the median of 40.
func BenchmarkLongLinkRTT(b *testing.B) {
	inside.Bench(b)
	const rtt = 60 * time.Millisecond
	site := longSite(b, NamespaceConfig{WAN: 20 * units.Mbit, RTT: rtt})
	var late time.Duration
	n := 0
	for b.Loop() {
		trips := echo(b, site, 40, 10*time.Millisecond, time.Minute)
		if len(trips) == 0 {
			b.Fatal("nothing came back through a link without loss")
		}
		slices.Sort(trips)
		late += trips[len(trips)/2] - rtt
		n++
	}
	b.ReportMetric(late.Seconds()*1000/float64(n), "ms-late")
	b.ReportMetric(2, "ms-to-reach")
}

// BenchmarkNamespaceSite measures building and removing a site of 100 devices.
func BenchmarkNamespaceSite(b *testing.B) {
	inside.Bench(b)
	for b.Loop() {
		site, err := NewNamespaces(NamespaceConfig{Devices: 100, WAN: 20 * units.Mbit, LAN: 100 * units.Mbit})
		if err != nil {
			b.Fatal(err)
		}
		if err := site.Close(); err != nil {
			b.Fatal(err)
		}
	}
	fmt.Fprintln(os.Stderr)
}
