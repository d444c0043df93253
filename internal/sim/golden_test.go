package sim

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/pdp"
)

var simUpdate = flag.Bool("sim.update", false, "write testdata/*.golden anew")

// told is a trace with the words of the product.
type told struct{ io.Writer }

func (told) Words(n Noted) string {
	return wording.Note(false, wording.File{Hierarchy: n.Hierarchy, Name: n.Name, Model: n.Model, Scheme: "tftp"}, n.What,
		n.Reason)
}

// small is a site whose trace can be read: n devices, a file of 12 chunks,
// WAN 2 Mbit/s, so that the file takes 3 s.
func small(trace *bytes.Buffer, n int, profile pdp.Config) (*Sim, *Subnet, *File) {
	s := New(Config{Seed: 4, Overhead: overhead, Trace: told{trace}, Profile: profile})
	sub := s.Subnet(SubnetConfig{LAN: 100e6, WAN: 2e6, RTT: 20 * time.Millisecond, Jitter: 300 * time.Microsecond})
	f := NewFile("fw.sbn", 12<<16)
	sub.Fill(n, f)
	return s, sub, f
}

type golden struct {
	name, about string
	n           int
	profile     string
	until       float64
	do          func(s *Sim, sub *Subnet, f *File)
}

var goldens = []golden{
	{"alone", "one device: it listens, claims, confirms, asks the server", 1, "lan", 1, nil},
	{"two", "two devices start at once: the first claim is deferred to", 2, "lan", 4, nil},
	{"classic", "the original's timing and words: 0.5 s, 5 x 250 ms, 10 s of waiting; whole files only", 2, "classic", 16,
		nil},
	{"root-dies", "the root crashes in mid-transfer: its child claims with the longest prefix and resumes", 3, "lan", 5,
		func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(1.5), func() { sub.root(f).Crash() })
		}},
	{"silent-parent", "the root loses power: no reset, only silence", 3, "lan", 6, func(s *Sim, sub *Subnet, f *File) {
		s.At(sec(1.5), func() { sub.root(f).PowerOff() })
	}},
	{"two-roots-meet", "a partition heals: the weaker root keeps its child and its bytes and becomes a child", 4, "lan", 5,
		func(s *Sim, sub *Subnet, _ *File) {
			s.At(sec(1.5), sub.Partition(Side(2)))
		}},
	{"bad-chunk", "a parent sends a wrong chunk: refused, the parent is dropped and named", 3, "lan", 4.5,
		func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(0.5), func() { sub.root(f).Lies = func(i int) bool { return i == 4 } })
		}},
	{"late-device", "a device starts when the others are complete and silent: a holder answers", 3, "lan", 12,
		func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(10), sub.Device(f).Start)
		}},
	{"stalled-parent", "a root takes children and sends nothing, though it claims to advance", 2, "lan", 12,
		func(_ *Sim, sub *Subnet, f *File) {
			d := sub.Device(f)
			d.Liar = NewRogueRoot(true)
		}},
	{"slow-child", "a child reads nothing: its slot is reclaimed and it is kept away for a while", 3, "lan", 12,
		func(s *Sim, sub *Subnet, f *File) {
			s.At(sec(0.5), func() {
				for _, d := range sub.devices {
					if d != sub.root(f) {
						d.Down = 1000
						return
					}
				}
			})
		}},
	{"origin-fails", "the server refuses: the root says so and steps down, another tries, all end with their own word", 3,
		"lan", 12, func(_ *Sim, sub *Subnet, _ *File) {
			sub.Server.Down = true
		}},
	{"direct", "links do not work: the server, one after the other", 2, "lan", 16, func(_ *Sim, sub *Subnet, _ *File) {
		for _, d := range sub.devices {
			d.Up = 1
		}
	}},
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			profile, err := pdp.Preset(g.profile)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			s, sub, f := small(&b, g.n, profile)
			s.cfg.AllowBudgetOverlap = true
			if g.do != nil {
				g.do(s, sub, f)
			}
			for _, d := range sub.devices {
				if d.number < g.n || d.Liar != nil {
					d.Start()
				}
			}
			s.Run(sec(g.until))
			for _, v := range s.Violations() {
				t.Error(v)
			}
			compare(t, g.name, fmt.Sprintf("# %s.\n# Seconds, device, event; below it the actions that follow.\n\n",
				g.about)+b.String())
		})
	}
}

// TestGoldenThousand shows who is heard when 1,000 devices start at once.
func TestGoldenThousand(t *testing.T) {
	s, sub, f := site(4, 1000)
	startAll(sub)
	s.Run(sec(0.4))
	var b strings.Builder
	b.WriteString("# 1,000 devices start at once: all broadcasts of the first 0.4 s, and where they stand then.\n\n")
	for _, x := range sub.Broadcasts {
		fmt.Fprintf(&b, "%10.4f %s broadcast %s\n", x.At.Seconds(), x.From, s.message(x.Msg))
	}
	states := map[string]int{}
	for _, d := range sub.devices {
		state, _, _ := strings.Cut(d.Task(f).m.Status().String(), " ")
		states[strings.Replace(state, "/", ", ", 1)]++
	}
	for _, k := range []string{"root, alone", "following, attached", "following, asking", "following, dialing"} {
		fmt.Fprintf(&b, "%6d %s\n", states[k], k)
	}
	compare(t, "thousand", b.String())
}

// compare holds a trace against the one that was read and found right.
func compare(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *simUpdate {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			t.Fatalf("%s, line %d:\n got: %s\nwant: %s\nread the new trace (-sim.update writes it) and judge", path, i+1, g[i],
				strings.Join(w[i:min(i+1, len(w))], ""))
		}
	}
	t.Fatalf("%s ends at line %d, wanted %d lines", path, len(g), len(w))
}

// TestClassicConsole holds the lines that an operator of the original knows,
// and their times (docs/ORIGINAL.md, "The election on a console").
func TestClassicConsole(t *testing.T) {
	var b bytes.Buffer
	s, sub, _ := small(&b, 1, pdp.Classic())
	sub.devices[0].Start()
	s.Run(sec(16))
	at := map[string]float64{}
	lines := []string{
		"TxBdcst ClaimRoot(tent): map=00000000 strength=", "UT:Confirmed root bumping strength", "@@@HROOT:XID",
		"Root sending TFTP XfrCmd on ROOT_WAITING TO",
	}
	var now float64
	tentative := 0
	for line := range strings.Lines(b.String()) {
		if !strings.HasPrefix(line, "           ") {
			fmt.Sscan(line, &now)
		}
		if strings.Contains(line, lines[0]) {
			tentative++
		}
		for _, l := range lines {
			if _, seen := at[l]; !seen && strings.Contains(line, l) {
				at[l] = now
			}
		}
	}
	for _, l := range lines {
		if at[l] == 0 {
			t.Errorf("no line %q", l)
		}
	}
	if tentative != 5 {
		t.Errorf("%d tentative claims, the original sends 5", tentative)
	}
	near := func(what string, got, want, within float64) {
		if got < want-within || got > want+within {
			t.Errorf("%s after %.3f s, the original %.3f s", what, got, want)
		}
	}
	near("first claim", at[lines[0]], 0.5, 0.2)
	near("confirmation after the first claim", at[lines[1]]-at[lines[0]], 1.25, 0.01)
	near("download after confirmation", at[lines[3]]-at[lines[1]], 10, 0.01)
}
