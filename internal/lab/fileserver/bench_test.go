package fileserver

import (
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// ofRate measures a transfer of so many bytes of payload through a link and
// reports the part of the link's rate that it reaches, beside the part that
// it is to reach on a machine that does nothing else.
func ofRate(b *testing.B, rate units.Rate, payload int, reach float64, transfer func()) {
	for b.Loop() {
		transfer()
	}
	b.ReportMetric(float64(8*payload)*float64(b.N)/b.Elapsed().Seconds()/float64(rate), "of-the-rate")
	b.ReportMetric(reach, "to-reach")
}

// headers is what frames of 1514 bytes leave for payload: 1448 bytes.
const headers = 0.956

// BenchmarkLoopbackRate measures the shaped WAN of a loopback site over HTTP,
// two devices at once.
func BenchmarkLoopbackRate(b *testing.B) {
	const wan = 16 * units.Mbit
	s, want := onLoopback(b, wan), content(1_000_000)
	srv := serveFile(b, s, want)
	ofRate(b, wan, 2*len(want), 0.9, func() { fetchTwice(b, s, srv, want) })
}

// BenchmarkTFTPRate measures the same over TFTP, one device.
func BenchmarkTFTPRate(b *testing.B) {
	const wan = 8 * units.Mbit
	s, want := onLoopback(b, wan), content(500_000)
	server := serveTFTP(b, s, serveFile(b, s, want))
	ofRate(b, wan, len(want), 0.8, func() { fetchTFTP(b, s, server, want) })
}

// BenchmarkNamespaceWANRate measures the kernel's token bucket on the WAN.
func BenchmarkNamespaceWANRate(b *testing.B) { namespaceRate(b, 0, headers*0.97) }

// BenchmarkLongLinkRate measures TCP through a long link.
func BenchmarkLongLinkRate(b *testing.B) { namespaceRate(b, 10*time.Millisecond, headers*0.9) }

// namespaceRate measures the WAN of a site of namespaces, two devices at once.
func namespaceRate(b *testing.B, rtt time.Duration, reach float64) {
	inside.Bench(b)
	const wan = 16 * units.Mbit
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: wan, LAN: 100 * units.Mbit, RTT: rtt})
	if err != nil {
		b.Skip(err)
	}
	defer s.Close()
	want := content(1_000_000)
	srv := serveFile(b, s, want)
	ofRate(b, wan, 2*len(want), reach, func() { fetchTwice(b, s, srv, want) })
}

// BenchmarkNamespaceLANRate measures what one device sends another, through
// two ports.
func BenchmarkNamespaceLANRate(b *testing.B) {
	inside.Bench(b)
	const lan = 40 * units.Mbit
	s, err := site.NewNamespaces(site.NamespaceConfig{Devices: 2, WAN: units.Mbit, LAN: lan})
	if err != nil {
		b.Skip(err)
	}
	defer s.Close()
	want := content(2_000_000)
	srv := serveAt(b, listenOn(b, s.Host(0)), nil, want)
	ofRate(b, lan, len(want), headers*0.97, func() { fetch(b, s.Host(1), srv.URL("f")) })
}
