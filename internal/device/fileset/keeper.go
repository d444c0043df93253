package fileset

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/slot"
)

// How often a hook that fails is called again, and after which time: each time twice
// as long. A hook that fails for ever must not run for ever.
const (
	MaxTries   = 5
	againFirst = time.Minute
	againMost  = time.Hour
)

// pause is the time before the next call of a hook that has failed so often.
func pause(tries int) time.Duration { return min(againFirst<<min(max(tries, 1)-1, 16), againMost) }

// due returns when the hook is to be told of a directory; ok is false if it is not,
// or not any more. A clock that was set back does not make it wait for longer.
func (p Placed) due(now time.Time) (at time.Time, ok bool) {
	if p.Next.Sub(now) > againMost {
		p.Next = now
	}
	return p.Next, p.Pending && p.Tries < MaxTries
}

// Step is what a hook is told.
type Step string

// The steps.
const (
	StepPlace  Step = "place"  // a set is in place, in the place of another one or of none
	StepRemove Step = "remove" // a set is not in place any more
)

// World is what a Keeper needs of its device.
type World interface {
	// Fetch fetches the set of that name. begin is called once its manifest is
	// verified, and returns where the components go, and which are lacking. keep is
	// called when all are there: what was fetched is served from then on.
	Fetch(ctx context.Context, name string,
		begin func(Set) (content string, missing []slot.Entry, err error)) (keep func(), err error)
	// Hook tells the hook of a directory. path is where the set is, or was, and
	// previous where the content before still is, "" if there is none.
	Hook(ctx context.Context, step Step, p Placed, path, previous string) error
	// Release ends the serving of a content that is about to go, once nobody takes it.
	Release(ctx context.Context, content string)
	// Failed is told of what failed, set and file hook alike.
	Failed(set string, hook bool, err error)
	// Now is the time.
	Now() time.Time
}

// Keeper brings what is in place to what is wanted.
type Keeper struct {
	store *Store
	world World

	mu       sync.Mutex
	failed   map[string]failed // by directory
	fetching string            // directory
	lost     map[string]bool   // directories whose content is not what it should be
}

// failed is a set that could not be put in place.
type failed struct {
	name string
	err  error
}

// NewKeeper returns the keeper of a store.
func NewKeeper(s *Store, w World) *Keeper {
	return &Keeper{store: s, world: w, failed: map[string]failed{}, lost: map[string]bool{}}
}

// Work brings what is in place to what is wanted, by directory, as far as that can be
// done now. One Work at a time may run. What fails is left for the next one.
func (k *Keeper) Work(ctx context.Context, wanted map[string]string) {
	dirs := maps.Clone(wanted)
	if dirs == nil {
		dirs = map[string]string{}
	}
	for _, p := range k.store.List() {
		dirs[p.Directory] = wanted[p.Directory]
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		if ctx.Err() != nil {
			return
		}
		k.note(dir, dirs[dir], k.bring(ctx, dir, dirs[dir]))
	}
	_ = k.store.Tidy(func(dir string) bool { return wanted[dir] != "" }) // what stays is removed by the next one
}

// note remembers how it went.
func (k *Keeper) note(dir, name string, err error) {
	k.mu.Lock()
	before := k.failed[dir]
	delete(k.failed, dir)
	if err != nil {
		k.failed[dir] = failed{name, err}
	}
	k.mu.Unlock()
	if err != nil && (before.name != name || before.err == nil || before.err.Error() != err.Error()) {
		k.world.Failed(name, false, err)
	}
}

// bring brings one directory to the set of that name, "" for none.
func (k *Keeper) bring(ctx context.Context, dir, name string) error {
	p, known := k.store.Get(dir)
	switch {
	case name == "" && known && !p.Removed:
		if err := k.store.Remove(dir); err != nil {
			return err
		}
	case name != "" && (!known || p.Removed || p.Name != name || k.isLost(dir)):
		if err := k.fetch(ctx, dir, name); err != nil {
			return err
		}
	}
	return k.tell(ctx, dir)
}

func (k *Keeper) isLost(dir string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost[dir]
}

func (k *Keeper) setFetching(dir string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fetching = dir
}

// fetch fetches a set and puts it in place.
func (k *Keeper) fetch(ctx context.Context, dir, name string) error {
	k.setFetching(dir)
	defer k.setFetching("")
	var set Set
	keep, err := k.world.Fetch(ctx, name, func(s Set) (string, []slot.Entry, error) {
		if s.Directory != dir {
			return "", nil, fmt.Errorf("file set %s is for the directory %q, and is assigned for %q", name, s.Directory, dir)
		}
		set = s
		return k.store.Begin(s)
	})
	if err != nil {
		return err
	}
	if err := k.store.Place(set); err != nil {
		return err
	}
	keep()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.lost, dir)
	return nil
}

// tell tells the hook of a directory, if that is due.
func (k *Keeper) tell(ctx context.Context, dir string) error {
	p, _ := k.store.Get(dir)
	at, ok := p.due(k.world.Now())
	if !ok || k.world.Now().Before(at) {
		return nil
	}
	step, previous := StepPlace, ""
	if p.Removed {
		step = StepRemove
	}
	if p.Previous != "" && p.Previous != p.ID || p.Removed {
		previous = k.store.Content(dir, p.Previous)
	}
	err := k.world.Hook(ctx, step, p, k.store.Path(dir), previous)
	if ctx.Err() != nil {
		return nil // it is told again at the next start
	}
	if err != nil {
		k.world.Failed(p.Name, true, err)
		return k.store.Refused(dir, err, k.world.Now().Add(pause(p.Tries+1)))
	}
	if previous != "" {
		k.world.Release(ctx, previous)
	}
	return k.store.Told(dir)
}

// Next returns when a hook is to be told again; ok is false if none is.
func (k *Keeper) Next() (at time.Time, ok bool) {
	now := k.world.Now()
	for _, p := range k.store.List() {
		if t, due := p.due(now); due && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Lost notes that the content of a directory is not what it should be: the next Work
// fetches what is lacking.
func (k *Keeper) Lost(dir string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost[dir] = true
}

// Errors returns why sets are not in place, by directory.
func (k *Keeper) Errors() map[string]error {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[string]error{}
	for dir, f := range k.failed {
		all[dir] = f.err
	}
	return all
}

// State is how one directory stands.
type State struct {
	Placed
	// Wanted is the set that belongs there, "" for none.
	Wanted string
	// Fetching says that it is on its way, Err why it is not in place, nil if it is or
	// nothing is known against it.
	Fetching bool
	Err      error
}

// Settled reports whether the set that belongs there is in place and the hook knows.
func (s State) Settled() bool { return s.Wanted == s.Name && !s.Removed && !s.Pending && s.Err == nil }

// GivenUp reports whether the hook is not told any more.
func (s State) GivenUp() bool { return s.Pending && s.Tries >= MaxTries }

// States returns how all directories stand, in order.
func (k *Keeper) States(wanted map[string]string) []State {
	k.mu.Lock()
	defer k.mu.Unlock()
	by := map[string]State{}
	for dir, name := range wanted {
		by[dir] = State{Placed: Placed{Set: Set{Directory: dir}}, Wanted: name}
	}
	for _, p := range k.store.List() {
		by[p.Directory] = State{Placed: p, Wanted: wanted[p.Directory]}
	}
	var all []State
	for _, dir := range slices.Sorted(maps.Keys(by)) {
		s := by[dir]
		s.Fetching = k.fetching == dir
		if f := k.failed[dir]; f.name == s.Wanted {
			s.Err = f.err
		}
		all = append(all, s)
	}
	return all
}
