package story

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]Story{
		"at 30% kill root":           {Percent: 30, Deed: deedKill, Target: targetRoot, For: time.Second},
		"At 30% Kill Roots for good": {Percent: 30, Deed: deedKill, Target: targetRoots},
		"every 5s kill random-parent": {Every: 5 * time.Second, Deed: deedKill, Target: targetParent,
			For: time.Second},
		"at 1m kill device 3 for 10s":  {At: time.Minute, Deed: deedKill, Device: 3, For: 10 * time.Second},
		"at 10s cut wan for 20s":       {At: 10 * time.Second, Deed: deedCut, For: 20 * time.Second},
		"isolate half":                 {Deed: deedIsolate, Target: targetHalf},
		"fill disk of 3":               {Deed: deedFill, Device: 3},
		"slow device 4 to 1mbit":       {Deed: deedSlow, Device: 4, Rate: units.Mbit},
		"start 5 devices late at 100%": {Percent: 100, Deed: deedStart, Count: 5},
		"at 100% start 5":              {Percent: 100, Deed: deedStart, Count: 5},
		"wake over 60s":                {Deed: deedWake, Over: time.Minute},
		"wake at once":                 {Deed: deedWake},
		"  at 1.5s  slow all to 384kbit for 2s": {At: 1500 * time.Millisecond, Deed: deedSlow, Target: targetAll,
			Rate: 384 * units.Kbit, For: 2 * time.Second},
	} {
		got, err := Parse(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "kill", "kill wan", "at kill root", "at 0% kill root", "at 101% kill root", "at 100% kill root", "at 5 kill root",
		"at -5s cut wan", "every 1ms kill root", "every 5s cut wan", "cut", "cut lan", "isolate", "isolate device 0",
		"fill disk 3", "slow 4", "slow 4 to 1", "start 5", "start late at 5s", "wake", "wake over", "at 5s wake over 6s",
		"kill root for", "kill root for ever", "kill root now", "kill device 99999999999999999999", "at 2h cut wan",
		strings.Repeat("kill root ", 30),
	} {
		if s, err := Parse(in); !errors.Is(err, errStory) {
			t.Errorf("%q: %+v, %v", in, s, err)
		}
	}
}

func TestRead(t *testing.T) {
	got, err := Read(strings.NewReader("# a rough day\nat 30% kill root # for a second\n\n  cut wan for 1s\n"))
	if err != nil || len(got) != 2 || got[1].Deed != deedCut {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Read(strings.NewReader("cut wan\ncut all")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Error(err)
	}
	if _, err := Read(strings.NewReader(strings.Repeat("cut wan\n", maxStories+1))); err == nil {
		t.Error("too many stories were read")
	}
}

// FuzzParse checks that what is understood is written so that it is
// understood in the same way.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"at 30% kill root", "every 5s kill random-parent for good", "at 10s cut wan for 20s", "isolate half",
		"at 1% fill disk of 3 for 1s", "slow device 4 to 1.5mbit", "start 5 devices late at 100%", "start 5 late at 3s",
		"wake over 1m0s", "wake at once",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := Parse(in)
		if err != nil {
			return
		}
		back, err := Parse(s.String())
		// A rate is written to three decimals of its unit.
		s.Rate, back.Rate = 0, 0
		if err != nil || !reflect.DeepEqual(s, back) {
			t.Errorf("%q: %+v is written %q: %+v, %v", in, s, s.String(), back, err)
		}
	})
}
