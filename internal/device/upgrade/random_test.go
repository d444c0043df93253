package upgrade_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// Variables of TestRandomDevices: how many devices it plays, and the seed of
// the first. One that fails is played again with PEERLOAD_UPGRADE_RUNS=1, its seed and
// go test -v, which shows what happened.
const (
	runsVariable = "PEERLOAD_UPGRADE_RUNS"
	seedVariable = "PEERLOAD_UPGRADE_SEED"
)

// number is the value of a variable.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%s: give it a whole number", name, text)
	}
	return n
}

// TestRandomDevices plays devices whose power is cut, whose programs are killed,
// whose installers fail or hang, and which are assigned other loads and given
// orders in every state. When the faults stop, all come to rest as they should.
func TestRandomDevices(t *testing.T) {
	t.Parallel()
	usual := uint64(2000)
	if testing.Short() {
		usual = 150
	}
	first, runs := number(t, seedVariable, 1), number(t, runsVariable, usual)
	var mu sync.Mutex
	ended := map[upgrade.Result]int{}
	boots, steps := 0, 0
	var busy sync.WaitGroup
	for part := range uint64(4) {
		busy.Go(func() {
			for seed := first + part; seed < first+runs; seed += 4 {
				d := newDevice(seed, runs == 1)
				bad := d.play()
				mu.Lock()
				for r, n := range d.ended {
					ended[r] += n
				}
				boots, steps = boots+d.boots, steps+d.steps
				mu.Unlock()
				if bad != "" {
					t.Errorf("seed %d: %s; play it again with %s=1 %s=%d", seed, bad, runsVariable, seedVariable, seed)
				}
				if runs == 1 {
					t.Log(strings.Join(d.trace, "\n"))
				}
			}
		})
	}
	busy.Wait()
	t.Logf("%d devices, %d starts, %d steps, ended: %v", runs, boots, steps, ended)
	for _, r := range []upgrade.Result{upgrade.Committed, upgrade.RolledBack, upgrade.Failed} {
		if runs >= 1000 && ended[r] < int(runs)/10 {
			t.Errorf("only %d upgrades ended %s: the devices are not what they should be", ended[r], r)
		}
	}
}

// TestReplay: the same seed gives the same run.
func TestReplay(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= 10; seed++ {
		a, b := newDevice(seed, true), newDevice(seed, true)
		if a.play() != b.play() || !slices.Equal(a.trace, b.trace) {
			t.Errorf("seed %d: two runs", seed)
		}
	}
}

// TestInvariantsCanFail breaks each invariant on purpose: it is found.
func TestInvariantsCanFail(t *testing.T) {
	tiers.Long(t, "it plays many devices")
	t.Parallel()
	for _, c := range []struct {
		want string
		bend func(d *device)
	}{
		{"mixed: ", func(d *device) {
			d.hears = func(in upgrade.Event) upgrade.Event {
				if a, ok := d.slots.Active(); ok {
					_ = d.disk.Rot(d.slots.Dir(a.Slot)+"/app", 1)
				}
				return in
			}
		}},
		{"confirmed without a trial that passed", func(d *device) {
			d.hears = func(in upgrade.Event) upgrade.Event {
				if _, asked := in.(upgrade.Asked); asked {
					return upgrade.Asked{}
				}
				return in
			}
		}},
		{"has failed and is installed again", func(d *device) {
			d.remembers = func(r upgrade.Record) upgrade.Record { r.Failed = nil; return r }
		}},
		{"is installed for the 6th time", func(d *device) {
			d.remembers = func(r upgrade.Record) upgrade.Record { r.Installs = 0; return r }
		}},
		{"is tried again beside", func(d *device) {
			d.remembers = func(r upgrade.Record) upgrade.Record { return d.again(r) }
		}},
		{"s after it failed", func(d *device) {
			d.remembers = func(r upgrade.Record) upgrade.Record { return d.again(r) }
		}},
		{"and it is not tried again", func(d *device) {
			d.hears = func(in upgrade.Event) upgrade.Event {
				if _, wake := in.(upgrade.Wake); wake && d.calm {
					d.machine.Step(d.now, upgrade.Started{Boot: fmt.Sprint(d.boots), Slots: view(d.slots)}, nil)
				}
				return in
			}
		}},
		{"it never comes to rest", func(d *device) {
			d.hears = func(in upgrade.Event) upgrade.Event {
				if isTick(in) {
					return upgrade.Wake{}
				}
				return in
			}
		}},
		{"is assigned, works, and does not run", func(d *device) {
			d.hears = func(in upgrade.Event) upgrade.Event {
				if _, wake := in.(upgrade.Wake); wake && d.calm {
					return upgrade.Interrupt{}
				}
				return in
			}
		}},
		{"it ends in phase", func(d *device) {
			d.hears = func(in upgrade.Event) upgrade.Event {
				if _, asked := in.(upgrade.SlotsChanged); asked && d.calm {
					return upgrade.SlotsChanged{Err: errors.New("the disk is broken"), Slots: view(d.slots)}
				}
				return in
			}
		}},
	} {
		found := map[string]bool{}
		ok := false
		for seed := uint64(1); seed <= 500 && !ok; seed++ {
			d := newDevice(seed, false)
			c.bend(d)
			bad := d.play()
			found[bad] = true
			ok = strings.Contains(bad, c.want)
		}
		if !ok {
			t.Errorf("nothing found like %q: %q", c.want, slices.Sorted(maps.Keys(found)))
		}
	}
}

// again is a record in which whatever is known to have failed is tried once more.
func (d *device) again(r upgrade.Record) upgrade.Record {
	r.Failed = slices.Clone(r.Failed)
	for i := range r.Failed {
		r.Failed[i].Again = d.banned[r.Failed[i].Load]
	}
	return r
}
