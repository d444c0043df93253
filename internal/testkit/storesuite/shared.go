package storesuite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/pgserver"
)

// Missing says what a test does without the server's programs: package foreign
// has it.
type Missing func(tb testing.TB, why error)

// long keeps a test out of the short run, and says why.
func long(tb testing.TB, why string) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("not in the short run: " + why)
	}
}

// makesServer takes longer than most tests, which have SQLite in the short run.
const makesServer = "it makes a PostgreSQL server"

// PostgresFor makes a server for one test, which stops it.
func PostgresFor(tb testing.TB, missing Missing) *pgserver.Server {
	tb.Helper()
	long(tb, makesServer)
	s, err := pgserver.Start()
	started(tb, missing, err)
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func started(tb testing.TB, missing Missing, err error) {
	tb.Helper()
	if errors.Is(err, pgserver.ErrMissing) {
		missing(tb, err)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Shared is a server for all tests of a package, each with a database of its own.
// It is made when the first of them asks.
type Shared struct {
	Missing Missing
	// Open opens a database, which brings it to the newest version, for Migrated.
	Open func(ctx context.Context, url string) (io.Closer, error)

	once   sync.Once
	server *pgserver.Server
	err    error

	migrating sync.Once
	migrated  string // the name of a database that is copied
}

// Main runs the tests, stops the server, and ends the program: it is what TestMain
// does.
func (s *Shared) Main(m *testing.M) {
	code := m.Run()
	if s.server != nil {
		if err := s.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Server is the server.
func (s *Shared) Server(tb testing.TB) *pgserver.Server {
	tb.Helper()
	long(tb, makesServer)
	s.once.Do(func() { s.server, s.err = pgserver.Start() })
	started(tb, s.Missing, s.err)
	return s.server
}

// NewDatabase makes an empty database, and returns its URL.
func (s *Shared) NewDatabase(tb testing.TB) string {
	tb.Helper()
	at, _, err := s.Server(tb).NewDatabase()
	if err != nil {
		tb.Fatal(err)
	}
	return at
}

// Migrated makes a database of the newest version, and returns its URL. The migrations run
// once: every database is a copy of what they made.
func (s *Shared) Migrated(tb testing.TB) string {
	tb.Helper()
	server := s.Server(tb)
	s.migrating.Do(func() {
		at, name, err := server.NewDatabase()
		if err != nil {
			tb.Fatal(err)
		}
		opened, err := s.Open(tb.Context(), at)
		if err == nil {
			err = opened.Close() // nobody may be connected to what is copied
		}
		if err != nil {
			tb.Fatal(err)
		}
		s.migrated = name
	})
	at, err := server.Copy(s.migrated)
	if err != nil {
		tb.Fatal(err)
	}
	return at
}
