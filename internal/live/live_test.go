package live

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// device is a random state of a device of a site of n.
func device(r *rand.Rand, n int) State {
	s := State{Device: fmt.Sprintf("SEP00112233%04X", r.IntN(n)),
		Address: fmt.Sprintf("10.0.%d.%d", r.IntN(4), r.IntN(250)),
		Load:    []string{"phone-1", "phone-2"}[r.IntN(2)], Phase: []string{"idle", "downloading"}[r.IntN(2)]}
	for _, i := range r.Perm(5)[:r.IntN(4)] {
		s.Files = append(s.Files, File{Name: fmt.Sprintf("f%d.bin", i), Size: 5_000_000, Have: r.Int64N(5_000_000),
			Role: "leaf", Source: "peer", Reason: "root-placed", Root: "10.0.0.1",
			Parents: []string{fmt.Sprintf("10.0.0.%d", r.IntN(9))}})
	}
	return s
}

// TestPack: what was packed comes back, and a thousand devices that have all got on
// take few bytes.
func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var all []State
		for range r.IntN(20) {
			all = append(all, device(r, 100))
		}
		b, err := Pack(all)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Unpack(b); err != nil || len(all) > 0 && !reflect.DeepEqual(back, all) {
			t.Fatalf("%+v became %+v, %v", all, back, err)
		}
	}
	var all []State
	for i := range 1000 {
		all = append(all, State{Device: fmt.Sprintf("SEP00112233%04X", i), Address: fmt.Sprintf("10.0.%d.%d", i/250, i%250),
			Load: "phone-2", Phase: "downloading", Files: []File{{Name: "app.bin", Size: 5_000_000, Have: r.Int64N(5_000_000),
				Role: "leaf", Source: "peer", Reason: "root-placed", Root: "10.0.0.1",
				Parents: []string{fmt.Sprintf("10.0.%d.%d", r.IntN(4), r.IntN(250))}}}})
	}
	b, err := Pack(all)
	t.Logf("1,000 devices, one file each: %d bytes", len(b))
	if err != nil || len(b) > 40_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestLimits: what is beyond a limit is refused by both sides, and what would unpack to
// more than it may is not unpacked.
func TestLimits(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for name, s := range map[string]State{
		"no name": {}, "a long name": {Device: long}, "a long load": {Device: "d", Load: long}, "no text": {Device: "\xff"},
		"too many files":        {Device: "d", Files: make([]File, MaxFiles+1)},
		"a file without a name": {Device: "d", Files: []File{{}}},
		"a negative size":       {Device: "d", Files: []File{{Name: "f", Size: -1}}},
		"too many parents":      {Device: "d", Files: []File{{Name: "f", Parents: make([]string, MaxParents+1)}}},
		"a long parent":         {Device: "d", Files: []File{{Name: "f", Parents: []string{long}}}},
	} {
		if _, err := Pack([]State{s}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Pack(make([]State, MaxStates+1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too many states: %v", err)
	}
	var bomb bytes.Buffer
	w, err := flate.NewWriterDict(&bomb, flate.BestCompression, dictionary)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"a bomb": bomb.Bytes(), "noise": []byte("noise"), "nothing": nil,
		"long": make([]byte, MaxPacked+1)} {
		if _, err := Unpack(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPicture: a picture that is drawn from a snapshot and the changes after it, from
// anywhere on, is the one that saw everything; what changes nothing is none.
func TestPicture(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var whole, other Picture
		at := r.IntN(50)
		joined := map[string][]State{}
		for i := range 60 {
			if i == at {
				other = Picture{}
				for _, s := range whole.All() {
					other.Apply(s)
				}
			}
			s := device(r, 5)
			s.Fresh = r.IntN(9) == 0
			change, changed := whole.Apply(s)
			if changed {
				joined[s.Device] = append(joined[s.Device], change)
			}
			if r.IntN(3) == 0 || i == 59 || i == at-1 { // several changes of a device are told as one
				for _, all := range joined {
					one := all[0]
					for _, c := range all[1:] {
						one = Join(one, c)
					}
					other.Apply(one)
				}
				clear(joined)
			}
			if _, again := whole.Apply(s); again {
				t.Fatalf("%+v changes something twice", s)
			}
		}
		if !reflect.DeepEqual(whole.All(), other.All()) || whole.Len() == 0 {
			t.Fatalf("%+v, want %+v", other.All(), whole.All())
		}
	}
	var p Picture
	for i := range 2 * MaxFiles {
		p.Apply(State{Device: "d", Files: []File{{Name: fmt.Sprint(i)}}})
	}
	if s, ok := p.Get("d"); !ok || len(s.Files) != MaxFiles {
		t.Errorf("%d files", len(s.Files))
	}
	p.Apply(State{Device: "d", Load: "another"})
	if s, _ := p.Get("d"); len(s.Files) != 0 {
		t.Error("files of another load are still there")
	}
	if p.Forget("d"); p.Len() != 0 {
		t.Error("not forgotten")
	}
}

func TestBusy(t *testing.T) {
	for _, c := range []struct {
		s    State
		want bool
	}{{State{}, false}, {State{Phase: "downloading"}, true}, {State{Phase: "failed"}, false},
		{State{Phase: "trial"}, true},
		{State{Phase: "idle", Files: []File{{Size: 2, Have: 1}}}, true},
		{State{Phase: "idle", Files: []File{{Size: 2, Have: 1, End: EndFailed}}}, false}} {
		if c.s.Busy() != c.want {
			t.Errorf("%+v", c.s)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	b, err := Pack([]State{device(rand.New(rand.NewPCG(5, 6)), 9)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		states, err := Unpack(b)
		if err != nil {
			return
		}
		var p Picture
		for _, s := range states {
			p.Apply(s)
		}
		// JSON in Go's own form may be longer than what came.
		if again, err := Pack(states); err == nil {
			if _, err := Unpack(again); err != nil {
				t.Fatalf("%+v: %v", states, err)
			}
		}
	})
}
