package passhash

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

// cheap is a cost that tests can pay.
var cheap = Cost{Memory: 8, Time: 1, Threads: 1}

// TestCost: each bound is accepted, and what is one beyond it is refused.
func TestCost(t *testing.T) {
	for _, good := range []Cost{cheap, {Memory: 1 << 20, Time: 64, Threads: 16}, {Memory: 128, Time: 1, Threads: 16},
		Default, Cost{}.WithDefaults()} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	for _, bad := range []Cost{{}, {Memory: 7, Time: 1, Threads: 1}, {Memory: 127, Time: 1, Threads: 16},
		{Memory: 1<<20 + 1, Time: 1, Threads: 1}, {Memory: 8, Threads: 1}, {Memory: 8, Time: 65, Threads: 1},
		{Memory: 8, Time: 1}, {Memory: 200, Time: 1, Threads: 17}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
	if c := (Cost{Time: 7}).WithDefaults(); c.Time != 7 || c.Memory != Default.Memory || c.Threads != Default.Threads {
		t.Errorf("with defaults: %+v", c)
	}
}

// TestHash: a password fits its own hash only, two hashes of it differ, and a
// text that is no hash, or costs too much, fits nothing.
func TestHash(t *testing.T) {
	h := NewHasher(cheap, rand.Reader)
	one, err := h.Hash(t.Context(), "a good password")
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.Hash(t.Context(), "a good password")
	if err != nil || one == two {
		t.Errorf("the same salt twice: %v", err)
	}
	for text, want := range map[string]bool{"a good password": true, "a good passwore": false, "": false} {
		if ok, err := h.Verify(t.Context(), text, one); ok != want || err != nil {
			t.Errorf("%q: %v, %v", text, ok, err)
		}
	}
	for _, bad := range []string{"", "a good password", one + "$", one[:len(one)-1], one + "AAAA",
		strings.Replace(one, "argon2id", "argon2i", 1), strings.Replace(one, "v=19", "v=18", 1),
		strings.Replace(one, "m=8", "m=2097152", 1), strings.Replace(one, "t=1", "t=65", 1),
		strings.Replace(one, "m=8,", "", 1), one[:strings.LastIndex(one, "$")-22] + one[strings.LastIndex(one, "$"):],
		one[:strings.LastIndex(one, "$")-1] + "!" + one[strings.LastIndex(one, "$"):]} {
		if ok, err := h.Verify(t.Context(), "a good password", bad); ok || !errors.Is(err, errHash) {
			t.Errorf("%q: %v, %v", bad, ok, err)
		}
	}
	if _, err := NewHasher(cheap, iotest.ErrReader(errors.New("empty"))).Hash(t.Context(), "x"); err == nil {
		t.Error("a hash without a salt")
	}
}

// TestFewAtATime: no more than maxHashing hashes are computed at the same time,
// since each takes a good part of the memory; others wait, and may go.
func TestFewAtATime(t *testing.T) {
	h := NewHasher(cheap, rand.Reader)
	for range maxHashing {
		h.hashing <- struct{}{}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // whether there is room is a matter of chance, if the bound is higher
		if _, err := h.Hash(gone, "x"); !errors.Is(err, context.Canceled) {
			t.Fatalf("computed beside %d others: %v", maxHashing, err)
		}
	}
	<-h.hashing
	if _, err := h.Hash(t.Context(), "x"); err != nil {
		t.Errorf("with room: %v", err)
	}
	if len(h.hashing) != maxHashing-1 {
		t.Errorf("%d places are taken after that", len(h.hashing))
	}
}

// TestDecoy: a decoy is a hash like others, the same each time.
func TestDecoy(t *testing.T) {
	h := NewHasher(cheap, rand.Reader)
	one, err := h.Decoy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.Decoy(t.Context())
	if ok, wrong := h.Verify(t.Context(), "", one); err != nil || one != two || ok || wrong != nil {
		t.Errorf("%q, then %q; an empty password fits: %v, %v, %v", one, two, ok, err, wrong)
	}
}
