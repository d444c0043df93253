package services_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
)

// TestConfig: what is missing, or is for New to set, is refused, each by itself.
func TestConfig(t *testing.T) {
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(dir, "controller.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	good := services.Config{Keys: dir, Domain: domain.Config{Store: store}}
	if _, err := services.New(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	told := func(context.Context, domain.Tx, string) error { return nil }
	for name, spoil := range map[string]func(c *services.Config){
		"no store":          func(c *services.Config) { c.Domain.Store = nil },
		"no keys":           func(c *services.Config) { c.Keys = "" },
		"a negative time":   func(c *services.Config) { c.Beat = -time.Second },
		"who hears removal": func(c *services.Config) { c.Domain.Removed = told },
		"who hears reports": func(c *services.Config) { c.Domain.Reported = told },
	} {
		c := good
		if spoil(&c); c.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := services.New(t.Context(), c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
