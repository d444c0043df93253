package postgres

import (
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// shared is the PostgreSQL of these tests.
var shared = storesuite.Shared{Missing: foreign.Missing}

func TestMain(m *testing.M) { shared.Main(m) }
