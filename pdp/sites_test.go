package pdp_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/sim"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

var update = flag.Bool("update", false, "write the digests of the sites anew")

// told is a trace with the words of the product.
type told struct{ io.Writer }

func (told) Words(n sim.Noted) string {
	return wording.Note(false, wording.File{Hierarchy: n.Hierarchy, Name: n.Name, Model: n.Model, Scheme: "tftp"}, n.What,
		n.Reason)
}

// TestSites holds what whole sites of machines do to a file: for each site, drawn
// with its faults from a seed, the length and the digest of its trace. Where a
// line differs, machines decide otherwise than before; what they do otherwise is
// shown by two runs of
//
//	go run ./cmd/peerload-lab sim --runs 1 --seed SEED --trace
func TestSites(t *testing.T) {
	tiers.Long(t, "it plays a hundred sites")
	var b strings.Builder
	for seed := uint64(1); seed <= 100; seed++ {
		var trace bytes.Buffer
		site := sim.NewRandomSite(seed, told{&trace})
		if bad := site.Play(); len(bad) > 0 {
			t.Errorf("seed %d: %s\n\t%s", seed, site, strings.Join(bad, "\n\t"))
		}
		fmt.Fprintf(&b, "seed %d: %d events, %.8x\n", seed, bytes.Count(trace.Bytes(), []byte("\n")),
			sha256.Sum256(trace.Bytes()))
	}
	golden.Check(t, "sites", b.String(), *update)
}
