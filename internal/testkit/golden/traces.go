package golden

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

// Kind is a kind of histories.
type Kind struct {
	Name string
	// Trace is what happens in the history that a seed makes, in so many steps,
	// each on a line.
	Trace func(seed uint64, steps int) string
	// Full is how many histories stand in the file line by line, each of Steps.
	Full, Steps int
}

// Traces are histories that seeds make: of each kind the first ones in full, of
// many more only a digest.
type Traces struct {
	Head        string // the first line, if there is any
	Kinds       []Kind
	More, Steps int // histories of each kind, each of Steps, in the digest
}

// Check compares the histories with testdata/traces.golden.
func (tr Traces) Check(t *testing.T, update bool) {
	t.Helper()
	Check(t, "traces", tr.String(), update)
}

// String is what stands in the file.
func (tr Traces) String() string {
	var b strings.Builder
	if tr.Head != "" {
		fmt.Fprintf(&b, "# %s\n", tr.Head)
	}
	for _, k := range tr.Kinds {
		for seed := range uint64(k.Full) {
			fmt.Fprintf(&b, "# %s %d\n%s", k.Name, seed, k.Trace(seed, k.Steps))
		}
	}
	if tr.More == 0 {
		return b.String()
	}
	h := sha256.New()
	for seed := range uint64(tr.More) {
		for _, k := range tr.Kinds {
			fmt.Fprint(h, k.Trace(1000+seed, tr.Steps))
		}
	}
	each := ""
	if len(tr.Kinds) > 1 {
		each = " of each"
	}
	fmt.Fprintf(&b, "# %d more%s: %x\n", tr.More, each, h.Sum(nil))
	return b.String()
}
