package filesets_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/filesets"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/testkit/freshdb"
)

// TestRetire: a set that somebody assigns, that nobody has, or that is at another
// version by now, is not taken out of use, and the answer names where it is assigned,
// at most five places. What is out of use already stays as it is.
func TestRetire(t *testing.T) {
	dir, ctx, root := t.TempDir(), t.Context(), domain.Local("root")
	s, err := freshdb.Open(ctx, filepath.Join(dir, "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	repo, err := repository.Open(repository.Config{Dir: filepath.Join(dir, "pub"), Keys: filepath.Join(dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	c, err := domain.New(domain.Config{Store: s, Repository: repo})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.txt")
	if err := os.WriteFile(file, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := c.AddFileSet(ctx, root, publish.Request{Name: "set", Version: "1", Directory: "d",
		Models: []string{"7961"}, Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	sets := filesets.New(c)
	assign := func(change domain.FileSetsChange, device string) {
		t.Helper()
		at := domain.DeviceTarget(device)
		if _, err := c.Change(ctx, root, domain.Order{Target: &at, FileSets: &change}, false); err != nil {
			t.Fatal(err)
		}
	}
	device := func(i int) string { return fmt.Sprintf("SEP02000000000%d", i) }
	for i := range 6 {
		model := "7961"
		if _, err := c.CreateDevice(ctx, root, device(i), domain.DeviceChange{Model: &model}); err != nil {
			t.Fatal(err)
		}
		assign(domain.FileSetsChange{Assign: []string{"set"}}, device(i))
	}
	_, err = sets.Retire(ctx, root, "set", true, 0)
	if !errors.Is(err, domain.ErrRefused) || strings.Count(err.Error(), "SEP") != 5 {
		t.Errorf("one that is assigned six times: %v", err)
	}
	for i := range 6 {
		assign(domain.FileSetsChange{Unassign: []string{"set"}}, device(i))
	}
	if _, err := sets.Retire(ctx, root, "none", true, 0); !errors.Is(err, domain.ErrNotFound) {
		t.Errorf("one that nobody has: %v", err)
	}
	if _, err := sets.Retire(ctx, root, "set", true, made.Version+1); !errors.Is(err, domain.ErrConflict) {
		t.Errorf("another version: %v", err)
	}
	out, err := sets.Retire(ctx, root, "set", true, made.Version)
	if err != nil || !out.Retired || out.Version == made.Version {
		t.Fatalf("%+v, %v", out, err)
	}
	if again, err := sets.Retire(ctx, root, "set", true, 0); err != nil || again.Version != out.Version {
		t.Errorf("retired twice: %+v, %v", again, err)
	}
	if _, err := sets.List(ctx, domain.Actor{}, domain.LoadFilter{}, domain.Page{}); !errors.Is(err,
		domain.ErrUnauthenticated) {
		t.Errorf("nobody lists them: %v", err)
	}
}
