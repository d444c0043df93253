package wording

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/internal/testkit/golden"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// notes has one of each, and two where a field chooses the words.
func notes() []note.Note {
	a := netip.MustParseAddr("10.0.0.1")
	at := netip.AddrPortFrom(a, 4051)
	return []note.Note{
		note.Claims{}, note.State{State: election.Listening}, note.State{State: election.Deferring},
		note.SentClaim{Map: 1, Strength: 2}, note.SentClaim{Answer: true, Confirmed: true, Map: 3, Strength: 4},
		note.Confirmed{}, note.IsRoot{Addr: a}, note.Follows{Root: a, Strength: 5, Prefix: 6},
		note.SteppedDown{Root: a}, note.Distrusts{Root: a, For: time.Minute},
		note.HandsOverFaster{Own: 100.4, Other: 2000}, note.HandsOverSlow{},
		note.HandsOverYielding{}, note.Yields{On: true}, note.Yields{},
		note.SharesID{ID: 7}, note.TwoShareID{A: at, B: at, ID: 8},
		note.HasParent{Parent: a}, note.LeftParent{Parent: wire.Peer{ID: 9, Nonce: 10}},
		note.Children{Parent: -1, Slots: []int{1, -1}}, note.Children{Parent: 3, Slots: []int{1, 2}, Full: true},
		note.TwoTrees{}, note.NoChildren{}, note.WrongChunk{Parent: a, Index: 11},
		note.AsksFirst{}, note.Asks{Chunk: 12}, note.FromOrigin{Chunk: 13}, note.ToOrigin{},
		note.AsksOnce{}, note.AsksOnce{Tried: true}, note.OriginFailed{For: 2 * time.Second},
		note.NextServer{URL: "http://10.0.0.2/fw.sbn"},
		note.SizeNotServed{Size: 14}, note.FalseSize{Told: 20, Size: -1}, note.FalseSize{Told: 21, Size: 22},
		note.Verified{Size: 15}, note.WrongFile{},
		note.RootDiffers{Root: a}, note.RootAgrees{Root: a}, note.Altered{Count: 16, First: 17},
		note.OtherContent{}, note.OtherSize{Told: 18, Held: 19},
	}
}

// The words of each note, to the byte: those of the console are the original's.
func TestNotes(t *testing.T) {
	f := File{Hierarchy: wire.Hierarchy{0x36, 0x68, 0x55, 0x58}, Name: "fw.sbn", Model: "CP-7961G", Scheme: "http"}
	var all strings.Builder
	known := map[string]bool{}
	for _, n := range notes() {
		name := strings.TrimPrefix(fmt.Sprintf("%T", n), "note.")
		known[name] = true
		en, ja := Note(false, f, n, wire.ReasonOriginBusy), Note(true, f, n, wire.ReasonOriginBusy)
		for _, said := range []string{en, ja} {
			if strings.Contains(said, "%") || strings.Contains(said, "{") || strings.Contains(said, "note.") {
				t.Errorf("%s has no good words: %q", name, said)
			}
		}
		_, console := f.console(n, wire.ReasonNone)
		if console != (en == ja) {
			t.Errorf("%s is %q in both languages, or is no line of the console: %q", name, en, ja)
		}
		fmt.Fprintf(&all, "$ %s\n%s\n", name, en)
		if !console {
			fmt.Fprintf(&all, "%s\n", ja)
		}
	}
	for _, name := range noteTypes(t) {
		if !known[name] {
			t.Errorf("nothing is known of the words of note.%s", name)
		}
	}
	golden.Check(t, "notes", all.String(), *update)
}

// noteTypes are the names of all types that are notes.
func noteTypes(t *testing.T) (names []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../note/note.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "note" {
			names = append(names, fn.Recv.List[0].Type.(*ast.Ident).Name)
		}
	}
	if len(names) < 30 {
		t.Fatalf("only %q were found", names)
	}
	return names
}

// A server is asked by the name of its protocol.
func TestOriginIsNamed(t *testing.T) {
	for scheme, want := range map[string]string{
		"tftp": "XID00000000 Root sending TFTP XfrCmd on ROOT_WAITING TO",
		"http": "XID00000000 Root sending HTTP XfrCmd on ROOT_WAITING TO",
	} {
		if got := Note(false, File{Scheme: scheme}, note.AsksFirst{}, wire.ReasonRootOfFile); got != want {
			t.Errorf("%s: %s", scheme, got)
		}
	}
}
