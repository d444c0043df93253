package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// before is the commit that stands for the version before this one while no tag does.
const before = "9dbd678d0c7be5dfa5c139406763d15f0ee2e030"

// next is the migration of a version after this one, so that there is always one to
// make: it changes a table that everything reads and writes.
const next = `-- +goose Up
ALTER TABLE devices ADD COLUMN next TEXT NOT NULL DEFAULT '';
ALTER TABLE states ADD COLUMN next TEXT NOT NULL DEFAULT '';
CREATE INDEX devices_next ON devices (next);
CREATE TABLE next_things (id TEXT PRIMARY KEY);
`

// oldProgram builds the program of the version before this one.
func oldProgram(t *testing.T) string {
	t.Helper()
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", args...).Output()
		return strings.TrimSpace(string(out)), err
	}
	of := before
	if tag, err := git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD~1"); err == nil {
		of = tag
	}
	if _, err := git("cat-file", "-e", of+"^{commit}"); err != nil {
		t.Skipf("this clone has no commit %s, the version before this one: git fetch --unshallow gets it", of)
	}
	root, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	const script = `git -C "$1" archive "$2" | tar -x -C "$3"`
	if out, err := exec.Command("sh", "-c", script, "sh", root, of, tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return build(t, tree)
}

// newProgram builds the program of this tree with a migration that the version before
// it does not know.
func newProgram(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	migration, overlay := filepath.Join(dir, "next.sql"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {
		filepath.Join(root, "internal/controller/store/migrations/postgres/99999_next.sql"): migration}})
	if err == nil {
		err = os.WriteFile(migration, []byte(next), 0o600)
	}
	if err == nil {
		err = os.WriteFile(overlay, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return build(t, root, "-overlay", overlay)
}

// TestTwoVersions: two replicas of the version before this one are replaced one after
// the other, while devices report to both and rows are imported. The new program
// upgrades the schema under the old one: both serve, and nothing that was acknowledged
// is lost.
func TestTwoVersions(t *testing.T) {
	long(t)
	older, newer := oldProgram(t), newProgram(t)
	pg := storesuite.PostgresFor(t, foreign.Missing)
	at, _, err := pg.NewDatabase()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newReplica(t, older, at), newReplica(t, older, at)
	a.start()
	b.start()
	c, web := a.administrator(a.api)
	key := strings.TrimSpace(a.ok("enrolment add site --site-key"))
	a.file("app.bin", "application")
	a.ok("load add --name fw1 --version 1 --model " + phoneModel + " @app.bin")
	a.ok("load assign fw1 --model " + phoneModel)
	var turn atomic.Int64 // devices ask both by turns
	p := enrol(t, key, "fw1", 100, &phones{web: web, at: func() (string, string) {
		if turn.Add(1)%2 == 0 {
			return a.api, b.files
		}
		return b.api, a.files
	}})
	job, err := c.CreateJob(t.Context(), client.JobRequest{Name: "rows.csv", Table: []byte(table(imported)),
		JobOptions: client.JobOptions{Create: true}})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the import runs", func() bool {
		j, err := c.Job(t.Context(), job.ID)
		return err == nil && j.Counts.Created > 0
	})
	replaced(b, newer)
	p.more(t, "with one replica of each version,")
	until(t, "the import ends", func() bool {
		j, err := c.Job(t.Context(), job.ID)
		return err == nil && j.State == "done" && j.Counts.Created == imported
	})
	replaced(a, newer)
	p.more(t, "with two new replicas,")
	p.end()
	p.kept(t, c)
	n := 0
	for _, err := range c.Devices.List(t.Context(), client.Filter{Model: "7941"}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != imported {
		t.Errorf("%d devices of %d", n, imported)
	}
	// The old one does not start any more, and says why.
	a.end(syscall.SIGTERM)
	a.bin = older
	if _, code, errs := a.sh(strings.Join(a.args, " ")); code == 0 || !strings.Contains(errs, "newer") {
		t.Errorf("the old program on the new schema: %d %s", code, errs)
	}
}

// replaced ends a replica, and starts another program in its place.
func replaced(r *replica, bin string) {
	r.t.Helper()
	r.end(syscall.SIGTERM)
	r.bin = bin
	r.start()
}
