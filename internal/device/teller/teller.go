// Package teller keeps what a device tells its controller of an upgrade while it goes
// on, for people who look: its own state, and as carrier those of its followers.
//
// What lives here: what has changed since it was told, and how many bytes may go when.
// What must not: the form (package live), and the ways to the controller and to the
// carrier (packages feed and relay).
//
// Read Teller first, then own.go.
package teller

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/internal/order"
)

const (
	// Every is how often something is told while somebody looks, and to the carrier.
	Every = 2 * time.Second
	// Seldom is how often while nobody looks: what is kept of an upgrade needs no more.
	Seldom = 30 * time.Second
	// SeldomRate is how many bytes a second then.
	SeldomRate = 100
	// batchCost is about how many bytes a batch takes on the line beside its own: the
	// request and the answer of HTTP/2, TLS and TCP/IP. See also onLine.
	batchCost = 330
	// late is for how many batches, also empty ones, a device counts as told of lately: a
	// controller that has forgotten what is at work is told of it once more, too. It may have
	// ended before it showed or kept what it had taken.
	late = 3
	// mostBytes bounds what a carrier keeps of its followers.
	mostBytes = 512 << 10
	// oneState is about how many bytes the state of one device takes when it is sent,
	// until that is known better.
	oneState = 40
)

// Teller keeps what is to be told. Its methods may be called by several goroutines.
type Teller struct {
	mu  sync.Mutex
	own own
	// picture is what was heard of this device and its followers. sizes is about how many
	// bytes that takes, by device, and size all of it; changes wait to be told, by device.
	picture live.Picture
	sizes   map[string]int
	size    int
	changes map[string]live.State
	queue   []string       // of the devices that have changes, in the order in which they came
	told    [late][]string // the devices of the latest batches, the last one first; see late
	watch   order.Watch
	asked   bool    // the controller wants to be told at all
	each    float64 // bytes of one state when it was sent last
	wake    chan struct{}
}

// New returns a Teller of a device. phase says how the device as a whole stands.
func New(device string, phase func() Phase) *Teller {
	return &Teller{own: newOwn(device, phase), changes: map[string]live.State{}, sizes: map[string]int{},
		each: oneState, wake: make(chan struct{}, 1)}
}

// Woken says that the controller wants something else than before: Batch is to be asked
// now.
func (t *Teller) Woken() <-chan struct{} { return t.wake }

// Watch takes what the controller wants. With Again, what is at work, and what was told
// last, is told once more: the controller may have forgotten it.
func (t *Teller) Watch(w order.Watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.asked, t.watch = true, w
	if w.Again {
		t.own.again()
		t.again()
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Again has everything told once more that is at work or was told last: another carrier
// knows nothing.
func (t *Teller) Again() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own.again()
	t.again()
}

func (t *Teller) again() {
	for _, s := range t.picture.All() {
		lately := func(batch []string) bool { return slices.Contains(batch, s.Device) }
		if s.Busy() || slices.ContainsFunc(t.told[:], lately) {
			t.change(s)
		}
	}
}

// Own is what has changed of this device since it was last asked, as its carrier gets
// it; nil for nothing.
func (t *Teller) Own() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.own.changed()
	if !ok {
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil // a state is of texts and numbers
	}
	return b
}

// Put takes what a follower tells, and reports whether it has the form.
func (t *Teller) Put(text []byte) bool {
	var s live.State
	if json.Unmarshal(text, &s) != nil || s.Validate() != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take(s, len(text))
	return true
}

// take notes what has changed. A carrier that has no room begins anew: what followers
// tell next has its place again.
func (t *Teller) take(s live.State, size int) {
	more := max(0, size-t.sizes[s.Device])
	if t.size += more; t.size > mostBytes || len(t.sizes) > live.MaxStates {
		t.picture, t.size, more, t.queue = live.Picture{}, size, size, nil
		clear(t.changes)
		clear(t.sizes)
	}
	t.sizes[s.Device] += more
	if change, ok := t.picture.Apply(s); ok {
		t.change(change)
	}
}

// change puts together what is to be told of a device.
func (t *Teller) change(s live.State) {
	before, waits := t.changes[s.Device]
	if !waits {
		t.queue = append(t.queue, s.Device)
	}
	if waits {
		s = live.Join(before, s)
	}
	t.changes[s.Device] = s
}

// Batch is what is to be told the controller now, packed, and when to ask again. nil:
// nothing. What it returns counts as told; see Lost.
func (t *Teller) Batch() (b []byte, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.asked {
		return nil, Seldom
	}
	copy(t.told[1:], t.told[:])
	t.told[0] = nil
	rate := float64(t.watch.Rate)
	if next = Every; rate <= 0 {
		rate, next = SeldomRate, Seldom
		if t.watch.Kept > 0 {
			rate = min(rate, float64(t.watch.Kept))
		}
	}
	// On a thin line half of the bytes at least are those of a batch.
	next = max(next, min(seconds(2*batchCost/rate), Seldom))
	if s, ok := t.own.changed(); ok {
		t.take(s, 0)
		if _, waits := t.changes[s.Device]; !waits {
			t.change(s) // it is told once more
		}
	}
	// As many as the rate allows, the first one in any case.
	room := (rate*next.Seconds() - batchCost) / perByte
	n := max(1, min(int(room/t.each), live.MaxStates, len(t.queue)))
	for ; len(t.queue) > 0; n /= 2 {
		states := make([]live.State, 0, n)
		for _, d := range t.queue[:min(n, len(t.queue))] {
			states = append(states, t.changes[d])
		}
		b, err := live.Pack(states)
		if err != nil && n > 1 {
			continue // too much at once
		}
		for _, s := range states {
			delete(t.changes, s.Device)
			t.told[0] = append(t.told[0], s.Device)
		}
		t.queue = t.queue[len(states):]
		t.each = max(1, float64(len(b))/float64(len(states)))
		// One that is longer than the rate allows has the next one wait.
		return b, max(next, seconds(onLine(len(b))/rate))
	}
	return nil, next
}

// perByte is what a byte takes on the line by the headers of the segments that it is in.
const perByte = 1.09

// onLine is about how many bytes a batch takes on the line.
func onLine(bytes int) float64 { return batchCost + perByte*float64(bytes) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Lost says that a batch has not arrived: its devices are told of once more.
func (t *Teller) Lost(b []byte) {
	states, err := live.Unpack(b)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range states {
		if now, ok := t.picture.Get(s.Device); ok {
			t.change(now)
		}
	}
}
