package postgres

import (
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// shared is the PostgreSQL of these tests.
var shared = storesuite.Shared{Missing: foreign.Missing, InShort: true}

func TestMain(m *testing.M) { shared.Main(m) }

// long keeps a test out of the short run.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in the short run: it makes many databases, or waits")
	}
}
