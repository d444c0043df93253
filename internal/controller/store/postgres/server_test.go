package postgres

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

var (
	shared     *storesuite.Postgres
	sharedErr  error
	sharedOnce sync.Once
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// newDatabase returns the URL of a new, empty database. Without the server's
// programs the test is skipped, or fails where they must be there.
func newDatabase(t *testing.T) string {
	t.Helper()
	sharedOnce.Do(func() { shared, sharedErr = storesuite.StartPostgres() })
	if errors.Is(sharedErr, storesuite.ErrNoPostgres) {
		foreign.Missing(t, sharedErr)
	}
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	at, _, err := shared.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	return at
}
