package postgres

import (
	"context"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// TestListen: one controller hears that another one has sent an order, once it is
// committed, and hears again after its connection was lost.
func TestListen(t *testing.T) {
	tiers.Long(t, "it makes many databases, or waits")
	url := shared.NewDatabase(t)
	one, two := openAt(t, url), openAt(t, url)
	defer one.Close()
	defer two.Close()
	ctx, cancel := context.WithCancel(t.Context())
	changed, lost, ended := make(chan bool, 100), make(chan bool, 100), make(chan bool)
	go func() {
		defer close(ended)
		one.Listen(ctx, func() { changed <- true }, func() { lost <- true })
	}()
	<-changed // it listens
	send := func(id string) {
		t.Helper()
		err := two.Update(t.Context(), func(tx domain.Tx) error {
			return tx.SentOrders().Put(t.Context(), &domain.SentOrder{ID: id, Kind: "retry"})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	send("a")
	<-changed
	err := two.Update(t.Context(), func(tx domain.Tx) error {
		return tx.Profiles().Put(t.Context(), &domain.Profile{Name: "p"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := two.Writes.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "+
		"WHERE query LIKE 'LISTEN%'"); err != nil {
		t.Fatal(err)
	}
	<-lost
	<-changed
	send("b")
	<-changed
	cancel()
	<-ended
	if n := len(changed); n > 0 {
		t.Errorf("%d times more than there was news", n)
	}
}
