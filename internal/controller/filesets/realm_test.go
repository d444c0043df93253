package filesets_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/filesets"
	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
)

// TestRealm: who is limited to a site assigns no file set to others, and learns
// nothing of theirs.
func TestRealm(t *testing.T) {
	f := realmsuite.New(t)
	ctx, file := t.Context(), filepath.Join(t.TempDir(), "tones.xml")
	if err := os.WriteFile(file, []byte("tones"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tones", "spare"} {
		if _, err := f.Controller.AddFileSet(ctx, f.Admin, publish.Request{Name: name, Version: "1",
			Models: []string{"7961"}, Directory: "locale", Files: []string{file}}); err != nil {
			t.Fatal(err)
		}
	}
	of := func(cfg domain.Config) any {
		c, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return filesets.New(c)
	}
	for _, device := range []string{realmsuite.Outside, realmsuite.Unnamed} {
		if _, err := f.Controller.ChangeFileSets(ctx, f.Admin, domain.DeviceTarget(device),
			domain.FileSetsChange{Assign: []string{"tones"}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	realmsuite.Add(f.Samples, "tones", "spare")
	realmsuite.Run(t, f, of)
}
