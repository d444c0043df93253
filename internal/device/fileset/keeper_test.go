package fileset_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/fileset"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
)

// device is a world whose sets are there at once, with a clock that stands until moved.
type device struct {
	t     *testing.T
	d     *faultdisk.Disk
	s     *fileset.Store
	k     *fileset.Keeper
	now   time.Time
	sets  map[string]fileset.Set // that can be fetched
	files map[string]content
	hook  func(step fileset.Step, name string) error
	did   []string
}

func newDevice(t *testing.T) *device {
	d := newDisk(t)
	w := &device{t: t, d: d, s: open(t, d), now: time.Unix(1_000_000, 0), sets: map[string]fileset.Set{},
		files: map[string]content{}, hook: func(fileset.Step, string) error { return nil }}
	w.k = fileset.NewKeeper(w.s, w)
	w.add("locale", "l1", one)
	w.add("locale", "l2", two)
	w.add("rings", "r", rings)
	return w
}

func (w *device) add(dir, name string, files content) {
	w.sets[name], w.files[name] = setOf(dir, name, files), files
}

func (w *device) Fetch(_ context.Context, name string,
	begin func(fileset.Set) (string, []slot.Entry, error)) (func(), error) {
	set, ok := w.sets[name]
	if !ok {
		return nil, fmt.Errorf("no set %s", name)
	}
	dir, missing, err := begin(set)
	for i := 0; err == nil && i < len(missing); i++ {
		err = write(w.d, filepath.Join(dir, missing[i].Name), w.files[name][missing[i].Name])
	}
	if err == nil {
		w.did = append(w.did, fmt.Sprintf("fetched %s (%d)", name, len(missing)))
	}
	return func() { w.did = append(w.did, "serves "+name) }, err
}

func (w *device) Hook(_ context.Context, step fileset.Step, p fileset.Placed, path, previous string) error {
	at := found(w.t, w.d, path)
	if (step == fileset.StepPlace) != (at != nil) {
		w.t.Errorf("the hook is told %s, and in place are %d files", step, len(at))
	}
	if previous != "" {
		if entries, err := w.d.ReadDir(previous); err != nil || len(entries) == 0 {
			w.t.Errorf("the content before is not there: %v", err)
		}
	}
	w.did = append(w.did, string(step)+" "+p.Name)
	return w.hook(step, p.Name)
}

func (w *device) Release(_ context.Context, content string) {
	w.did = append(w.did, "releases "+strings.SplitN(filepath.Base(content), ".", 2)[0])
}

func (w *device) Failed(set string, hook bool, err error) {
	w.did = append(w.did, fmt.Sprintf("failed %s %v: %.30s", set, hook, err))
}

func (w *device) Now() time.Time { return w.now }

// works works and compares what was done.
func (w *device) works(wanted map[string]string, did ...string) {
	w.t.Helper()
	w.did = nil
	w.k.Work(w.t.Context(), wanted)
	if !slices.Equal(w.did, did) {
		w.t.Errorf("for %v it did %q, not %q", wanted, w.did, did)
	}
}

func TestKeeper(t *testing.T) {
	w := newDevice(t)
	w.works(map[string]string{"locale": "l1", "rings": "r"}, "fetched l1 (2)", "serves l1", "place l1", "fetched r (1)",
		"serves r", "place r")
	w.works(map[string]string{"locale": "l1", "rings": "r"})
	w.works(map[string]string{"locale": "l2", "rings": "r"}, "fetched l2 (2)", "serves l2", "place l2", "releases locale")
	if !maps.Equal(found(t, w.d, "/f/locale"), two) {
		t.Error("the second version is not in place")
	}
	w.works(map[string]string{"rings": "r"}, "remove l2", "releases locale")
	w.works(map[string]string{"rings": "r"})
	// One for another directory, and one that is not there, leave what is in place.
	w.works(map[string]string{"rings": "l1"}, "failed l1 false: file set l1 is for the directo")
	w.works(map[string]string{"rings": "l1"}) // told once
	w.works(map[string]string{"rings": "x"}, "failed x false: no set x")
	if err := w.k.Errors()["rings"]; err == nil || !maps.Equal(found(t, w.d, "/f/rings"), rings) {
		t.Errorf("%v, in place is %v", err, found(t, w.d, "/f/rings"))
	}
	s := w.k.States(map[string]string{"rings": "x"})
	if len(s) != 1 || s[0].Settled() || s[0].Err == nil || s[0].Name != "r" {
		t.Errorf("it stands as %+v", s)
	}
	w.works(map[string]string{"rings": "r"})
	if s := w.k.States(map[string]string{"rings": "r"}); !s[0].Settled() || len(w.k.Errors()) > 0 {
		t.Errorf("it stands as %+v", s)
	}
	p, _ := w.s.Get("rings")
	if err := w.d.Remove(w.s.Content("rings", p.ID) + "/r.raw"); err != nil || w.s.Sound("rings") == nil {
		t.Fatal("nothing is missing", err)
	}
	w.k.Lost("rings")
	w.works(map[string]string{"rings": "r"}, "fetched r (1)", "serves r", "place r")
}

// TestHookFails: a hook that fails is called again, later each time, and not for ever;
// what is in place stays, and the hook's word is waited for at a removal as well.
func TestHookFails(t *testing.T) {
	w := newDevice(t)
	w.hook = func(fileset.Step, string) error { return errors.New("it fails") }
	wanted := map[string]string{"locale": "l1"}
	w.works(wanted, "fetched l1 (2)", "serves l1", "place l1", "failed l1 true: it fails")
	pause := time.Minute
	for n := 2; n <= fileset.MaxTries; n++ {
		at, ok := w.k.Next()
		if !ok || at.Sub(w.now) != pause {
			t.Fatalf("after %d tries it is due at %v, %v", n-1, at.Sub(w.now), ok)
		}
		w.now = at.Add(-time.Nanosecond)
		w.works(wanted)
		w.now = at
		w.works(wanted, "place l1", "failed l1 true: it fails")
		pause *= 2
	}
	if at, ok := w.k.Next(); ok {
		t.Errorf("after %d tries it is due again at %v", fileset.MaxTries, at)
	}
	w.now = w.now.Add(1000 * time.Hour)
	w.works(wanted)
	if s := w.k.States(wanted); !s[0].GivenUp() || s[0].Why != "it fails" || !maps.Equal(found(t, w.d, "/f/locale"), one) {
		t.Errorf("it stands as %+v", s)
	}
	must(t, w.s.Again()) // somebody has mended it
	w.hook = func(fileset.Step, string) error { return nil }
	w.works(wanted, "place l1")
	w.hook = func(fileset.Step, string) error { return errors.New("it fails") }
	w.works(nil, "remove l1", "failed l1 true: it fails")
	if found(t, w.d, "/f/locale") != nil {
		t.Error("the set is in place until the hook agrees")
	}
	w.now = w.now.Add(-100 * time.Hour) // the clock is set back
	w.hook = func(fileset.Step, string) error { return nil }
	w.works(nil, "remove l1", "releases locale")
	if len(w.s.List()) > 0 {
		t.Errorf("left is %+v", w.s.List())
	}
}
