package site

import (
	"fmt"
	"os"
	"testing"

	"github.com/peerload/peerload/internal/lab/units"
)

// BenchmarkNamespaceSite measures building and removing a site of 100 devices.
func BenchmarkNamespaceSite(b *testing.B) {
	if !Isolated() {
		status, err := Isolate(b.Context(), "-test.run=^$", "-test.bench=^"+b.Name()+"$",
			fmt.Sprintf("-test.benchtime=%dx", 3))
		if err != nil {
			b.Skip(err)
		}
		if status != 0 {
			b.Fatalf("the isolated run ended with status %d", status)
		}
		return
	}
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
