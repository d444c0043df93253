package postgres

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/store"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestSlots: no more slots of a name are taken than there are, over all controllers;
// those of one that dies are free, and other names have their own.
func TestSlots(t *testing.T) {
	url := shared.NewDatabase(t)
	first, second := openAt(t, url), openAt(t, url)
	defer first.Close()
	defer second.Close()
	a, b := first.Slots(), second.Slots()
	defer b.Close()
	take := func(s *Slots, name string, n int, want bool) func() {
		t.Helper()
		leave, ok, err := s.Take(name, n)
		if err != nil || ok != want {
			t.Errorf("a slot of %s: %v, %v", name, ok, err)
		}
		return leave
	}
	one := take(a, "Kyoto", 2, true)
	take(a, "Kyoto", 2, true)
	take(a, "Kyoto", 2, false)
	take(b, "Kyoto", 2, false)
	take(b, "Nara", 1, true)
	one()
	take(b, "Kyoto", 2, true)
	take(a, "Kyoto", 2, false)
	take(a, "Kyoto", 3, true)
	a.Close()
	take(b, "Kyoto", 2, true)
	take(b, "Kyoto", 2, false)
}

// TestSlotsTogether: many take and leave at the same time, and never more than may.
func TestSlotsTogether(t *testing.T) {
	const most, takers = 3, 12
	url := shared.NewDatabase(t)
	var running, taken atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		s := openAt(t, url)
		defer s.Close()
		slots := s.Slots()
		defer slots.Close()
		for range takers {
			wg.Go(func() {
				for range 10 {
					leave, ok, err := slots.Take("Kyoto", most)
					if err != nil {
						t.Error(err)
					}
					if !ok {
						continue
					}
					if n := running.Add(1); n > most {
						t.Errorf("%d of %d slots are taken", n, most)
					}
					taken.Add(1)
					running.Add(-1)
					leave()
				}
			})
		}
	}
	wg.Wait()
	if taken.Load() == 0 {
		t.Error("nobody took a slot")
	}
}

// TestSlotsReconnect: what is held is held again once a lost connection is back.
func TestSlotsReconnect(t *testing.T) {
	url := shared.NewDatabase(t)
	first, second := openAt(t, url), openAt(t, url)
	defer first.Close()
	defer second.Close()
	a, b := first.Slots(), second.Slots()
	defer a.Close()
	defer b.Close()
	leave, ok, err := a.Take("Kyoto", 1)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := second.Writes.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_locks "+
		"WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"); err != nil {
		t.Fatal(err)
	}
	for err == nil { // one notices, the next one has a new connection
		_, ok, err = a.Take("Kyoto", 1)
		if ok {
			t.Error("a second slot of one")
		}
	}
	for again := true; again; again = len(a.lost) > 0 { // the server notices a little later
		if _, ok, err := a.Take("Kyoto", 1); err != nil {
			t.Fatalf("a second slot of one, over a new connection: %v, %v", ok, err)
		}
	}
	if _, ok, err := b.Take("Kyoto", 1); ok || err != nil {
		t.Errorf("the slot of another controller: %v, %v", ok, err)
	}
	leave()
	if _, ok, err := b.Take("Kyoto", 1); !ok || err != nil {
		t.Errorf("a slot that was given back: %v, %v", ok, err)
	}
}

// TestSlotsRest: a server that takes connections and says nothing is waited for once, and
// not by each who asks.
func TestSlotsRest(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	came := make(chan net.Conn, 10)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			came <- conn
		}
	}()
	db, err := connect("postgres://nobody@" + ln.Addr().String() + "/none?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	slots := (&Store{DB: &store.DB{Writes: db, Reads: db, Dialect: dialect()}}).Slots()
	defer slots.Close()
	now := time.Now()
	slots.now = func() time.Time { return now }
	for _, want := range []int{1, 0, 1} { // connections; while it rests, of two who ask
		for range 2 - want {
			if _, ok, err := slots.Take("site", 1); ok || err == nil {
				t.Errorf("%v, %v", ok, err)
			}
		}
		for range want {
			(<-came).Close()
		}
		if n := len(came); n > 0 {
			t.Errorf("asked %d times more", n)
		}
		if want == 0 {
			now = now.Add(slotRest)
		}
	}
}
