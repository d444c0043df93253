package postgres

import (
	"context"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// shared is the PostgreSQL of these tests.
var shared = storesuite.Shared{Missing: foreign.Missing, Migrate: migrateTo}

func migrateTo(ctx context.Context, url string) error {
	s, err := Open(ctx, Config{URL: url})
	if err != nil {
		return err
	}
	return s.Close()
}

func TestMain(m *testing.M) { shared.Main(m) }
