package jobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout/keeper"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/freshdb"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// shared is the PostgreSQL of these tests.
var shared = storesuite.Shared{Missing: foreign.Missing,
	Open: func(ctx context.Context, url string) (io.Closer, error) {
		return postgres.Open(ctx, postgres.Config{URL: url})
	}}

func TestMain(m *testing.M) { shared.Main(m) }

// databases open an empty one of each kind, twice the same if it is asked again.
var databases = map[string]func(t *testing.T) func() (domain.Store, error){
	"sqlite": func(t *testing.T) func() (domain.Store, error) {
		path := filepath.Join(t.TempDir(), "a.db")
		return func() (domain.Store, error) { return freshdb.Open(t.Context(), path) }
	},
	"postgres": func(t *testing.T) func() (domain.Store, error) {
		at := shared.Migrated(t)
		return func() (domain.Store, error) { return postgres.Open(t.Context(), postgres.Config{URL: at}) }
	},
}

// TestQueue: a job is worked once its transaction has ended well, not before its
// time, again if it fails, once if it was put in twice, and after a restart.
func TestQueue(t *testing.T) {
	tiers.Long(t, "it waits some seconds for the second try of a job")
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			open := database(t)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			s, err := open()
			must(err)
			q, err := Open(t.Context(), s)
			must(err)
			again, err := Open(t.Context(), s) // its tables are there
			must(err)
			put := func(q *Queue, end error, all ...keeper.Job) error {
				return s.Update(t.Context(), func(tx domain.Tx) error {
					for _, j := range all {
						must(q.Enqueue(t.Context(), tx, j))
					}
					return end
				})
			}
			now := time.Now()
			away := errors.New("away")
			if err := put(q, away, keeper.Job{Kind: keeper.KindTick, Rollout: "never", At: now}); !errors.Is(err, away) {
				t.Fatal(err)
			}
			limited := domain.Actor{Name: "ken", Realm: domain.RealmOf([]string{"Kyoto"})}
			must(s.Update(t.Context(), func(tx domain.Tx) error { // whoever gave the order
				return q.Enqueue(t.Context(), limited.Within(tx), keeper.Job{Kind: keeper.KindTick, Rollout: "later",
					At: now.Add(2 * time.Hour)})
			}))
			twice := keeper.Job{Kind: keeper.KindLook, Rollout: "once", At: now}
			must(put(q, nil, twice, twice))
			must(put(again, nil, twice, keeper.Job{Kind: keeper.KindTick, Rollout: "later", At: now.Add(time.Hour)}))
			must(s.Close())

			s, err = open() // another start
			must(err)
			defer s.Close()
			q, err = Open(t.Context(), s)
			must(err)
			message := func(id string, end error) error {
				return s.Update(t.Context(), func(tx domain.Tx) error {
					for range 2 { // which is one
						must(q.Deliver(t.Context(), limited.Within(tx), id, now))
					}
					return end
				})
			}
			if err := message("never", away); !errors.Is(err, away) {
				t.Fatal(err)
			}
			must(message("told", nil))
			must(put(q, nil, keeper.Job{Kind: keeper.KindAsk, Rollout: "last", At: now, Wave: 2, Number: 7}))
			ctx, cancel := context.WithCancel(t.Context())
			worked := make(chan keeper.Job, 100)
			var failed atomic.Bool
			ended := make(chan error)
			go func() {
				ended <- q.Run(ctx, func(_ context.Context, j keeper.Job) error {
					worked <- j
					if j.Kind == keeper.KindAsk && !failed.Swap(true) {
						return away
					}
					return nil
				}, func(_ context.Context, id string) error {
					worked <- keeper.Job{Rollout: id}
					return nil
				}, slog.New(slog.DiscardHandler))
			}()
			counts := map[string]int{}
			for counts["last"] < 2 || counts["once"] < 1 || counts["told"] < 1 {
				j := <-worked
				counts[j.Rollout]++
				if j.Kind == keeper.KindAsk && (j.Wave != 2 || j.Number != 7) {
					t.Errorf("the question is %+v", j)
				}
			}
			cancel()
			must(<-ended)
			if counts["once"] != 1 || counts["never"] != 0 || counts["later"] != 0 || counts["told"] != 1 {
				t.Errorf("worked %v", counts)
			}
		})
	}
}

// TestOtherStore: a store without tables for jobs is refused.
func TestOtherStore(t *testing.T) {
	if _, err := Open(t.Context(), nil); err == nil {
		t.Error("it has a queue")
	}
}

// TestOpenBesideAWriter: who only looks at a queue does not wait for another process that
// writes.
func TestOpenBesideAWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	open := func(busy time.Duration) *sqlite.Store {
		t.Helper()
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Busy: busy})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(0)
	if _, err := Open(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(0) // after River's tables the index of texts is made anew, once
	defer s.Close()
	err := s.Update(t.Context(), func(tx domain.Tx) error {
		if err := tx.Profiles().Put(t.Context(), &domain.Profile{Name: "lobby"}); err != nil {
			return err
		}
		other := open(time.Millisecond)
		_, err := Open(t.Context(), other)
		return errors.Join(err, other.Close())
	})
	if err != nil {
		t.Error(err)
	}
}
