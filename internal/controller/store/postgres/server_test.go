package postgres

import (
	"context"
	"io"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// shared is the PostgreSQL of these tests.
var shared = storesuite.Shared{Missing: foreign.Missing,
	Open: func(ctx context.Context, url string) (io.Closer, error) {
		return Open(ctx, Config{URL: url})
	}}

func TestMain(m *testing.M) { shared.Main(m) }
