package fileset

import (
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/load"
)

// TestPlacedRefused: what a store has not written of a set is refused, each thing by
// itself.
func TestPlacedRefused(t *testing.T) {
	set := Set{Directory: "locale", Load: slot.Load{Name: "l1", Version: "1", Components: []slot.Entry{{Name: "a.txt",
		Size: 1, Digest: load.DigestOf([]byte("a"))}}}}
	good := Placed{Set: set, ID: set.id(), Previous: set.id(), Tries: 1, Why: "a reason"}
	for name, spoil := range map[string]func(p *Placed){
		"":                      func(*Placed) {},
		"another directory":     func(p *Placed) { p.Directory = "../locale" },
		"no content":            func(p *Placed) { p.Components = nil },
		"the id of another set": func(p *Placed) { p.ID = strings.Repeat("0", len(p.ID)) },
		"no id":                 func(p *Placed) { p.Name, p.ID = "", "" },
		"a previous path":       func(p *Placed) { p.Previous = "../../x" },
		"fewer than no tries":   func(p *Placed) { p.Tries = -1 },
		"a long reason":         func(p *Placed) { p.Why = strings.Repeat("x", maxWhy+1) },
	} {
		p := good
		if spoil(&p); (p.check() == nil) != (name == "") {
			t.Errorf("%q: %v", name, p.check())
		}
	}
}
