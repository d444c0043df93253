package replica

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

var server = storesuite.Shared{Missing: foreign.Missing}

func TestMain(m *testing.M) { server.Main(m) }

const secret = "a secret that all replicas of a controller have"

// rig is several replicas on one database.
type rig struct {
	t     *testing.T
	store *postgres.Store
	all   []*Files
}

func newRig(t *testing.T, replicas int) *rig {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Config{URL: server.NewDatabase(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, store: s}
	for range replicas {
		f, err := Open(Config{Store: s, Secret: []byte(secret), Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		r.all = append(r.all, f)
	}
	return r
}

func (r *rig) write(at int, path, text string) {
	r.t.Helper()
	p := filepath.Join(r.all[at].cfg.Dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) remove(at int, path string) {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.all[at].cfg.Dir, path)); err != nil {
		r.t.Fatal(err)
	}
}

// has is what a replica has, "-" for none.
func (r *rig) has(at int, path string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.all[at].cfg.Dir, path))
	if errors.Is(err, os.ErrNotExist) {
		return "-"
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func (r *rig) sync(at ...int) {
	r.t.Helper()
	for _, i := range at {
		if _, err := r.all[i].Sync(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) want(path string, texts ...string) {
	r.t.Helper()
	for i, want := range texts {
		if got := r.has(i, path); got != want {
			r.t.Errorf("replica %d has %q as %s, not %q", i, got, path, want)
		}
	}
}

// TestSync: what one replica changes, the others get; what is its own, they do not.
func TestSync(t *testing.T) {
	tiers.Long(t, "it waits for the other replicas")
	r := newRig(t, 2)
	r.write(0, "keys/order.json", "one")
	r.write(0, "keys/root.ab.pem", "offline")
	r.write(0, "keys/.lock", "")
	r.write(0, "keys/unknown.txt", "x")
	r.write(0, "templates/device.cnf.xml", "<a/>")
	r.sync(0, 1)
	r.want("keys/order.json", "one", "one")
	r.want("keys/root.ab.pem", "offline", "-")
	r.want("keys/unknown.txt", "x", "-")
	r.want("templates/device.cnf.xml", "<a/>", "<a/>")
	r.write(1, "templates/device.cnf.xml", "<b/>")
	r.sync(1, 0)
	r.want("templates/device.cnf.xml", "<b/>", "<b/>")
	info, err := os.Stat(filepath.Join(r.all[1].cfg.Dir, "keys", "order.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if changed, err := r.all[0].Sync(t.Context()); len(changed) != 0 || err != nil {
		t.Errorf("%v, %v although nothing has changed", changed, err)
	}
	rows, err := r.store.SharedFiles(t.Context())
	if err != nil || len(rows) != 2 {
		t.Fatalf("%v, %v", rows, err)
	}
	for _, row := range rows {
		if bytes.Contains(row.Sealed, []byte("one")) || bytes.Contains(row.Sealed, []byte("<b/>")) {
			t.Errorf("%s can be read in the database", row.Path)
		}
	}
}

// TestRemoved: a key that is lost here comes back, one that a rotation removes goes
// everywhere, as a template does.
func TestRemoved(t *testing.T) {
	r := newRig(t, 2)
	r.write(0, "keys/targets.ab.pem", "key")
	r.write(0, "templates/device.cnf.xml", "<a/>")
	r.sync(0, 1)
	r.remove(0, "keys/targets.ab.pem")
	r.sync(0, 1)
	r.want("keys/targets.ab.pem", "key", "key")
	r.remove(0, "keys/targets.ab.pem")
	if err := r.all[0].Keep(); err != nil {
		t.Fatal(err)
	}
	r.remove(1, "templates/device.cnf.xml")
	r.sync(1, 0)
	r.want("keys/targets.ab.pem", "-", "-")
	r.want("templates/device.cnf.xml", "-", "-")
	r.write(1, "keys/targets.ab.pem", "again")
	r.sync(1, 0)
	r.want("keys/targets.ab.pem", "again", "again")
}

// TestConflict: of two changes the first one stays, and the other one is not lost.
func TestConflict(t *testing.T) {
	r := newRig(t, 3)
	r.write(0, "templates/device.cnf.xml", "of 0")
	r.write(1, "templates/device.cnf.xml", "of 1")
	r.sync(0, 1, 2)
	r.want("templates/device.cnf.xml", "of 0", "of 0", "of 0")
	r.want("templates/device.cnf.xml.damaged", "-", "of 1", "-")
	// The database is brought back from a backup that knows nothing of it: what the
	// replicas have is not lost.
	if _, err := r.store.Writes.ExecContext(t.Context(), "DELETE FROM peerload_shared"); err != nil {
		t.Fatal(err)
	}
	r.sync(0, 1, 2)
	r.want("templates/device.cnf.xml", "of 0", "of 0", "of 0")
}

// TestSecret: another secret opens nothing and changes nothing; a content that somebody
// moves to another name or version is refused.
func TestSecret(t *testing.T) {
	r := newRig(t, 2)
	r.write(0, "keys/order.json", "one")
	r.write(0, "keys/targets.ab.pem", "two")
	r.sync(0)
	other, err := Open(Config{Store: r.store, Secret: []byte(strings.Repeat("x", MinSecret)), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(other.cfg.Dir, "keys", "a.pem") // before all others in their order
	if err := errors.Join(os.MkdirAll(filepath.Dir(own), 0o700), os.WriteFile(own, []byte("own"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Sync(t.Context()); !errors.Is(err, ErrSecret) {
		t.Errorf("another secret: %v", err)
	}
	if rows, err := r.store.SharedFiles(t.Context()); len(rows) != 2 || err != nil {
		t.Errorf("another secret: %v, %v, of which the others can open two", rows, err)
	}
	for _, spoil := range []string{
		"UPDATE peerload_shared SET sealed = (SELECT sealed FROM peerload_shared WHERE path = 'keys/targets.ab.pem')",
		"UPDATE peerload_shared SET version = version + 1", "UPDATE peerload_shared SET sealed = ''",
	} {
		if _, err := r.store.Writes.ExecContext(t.Context(), spoil); err != nil {
			t.Fatal(err)
		}
		if _, err := r.all[1].Sync(t.Context()); !errors.Is(err, ErrSecret) {
			t.Errorf("%s: %v", spoil, err)
		}
		r.want("keys/order.json", "one", "-")
	}
	if _, err := Open(Config{Store: r.store, Secret: []byte("short"), Dir: "x"}); err == nil {
		t.Error("a short secret is taken")
	}
}

// TestAlone: replicas that count under the lock lose nothing of each other.
func TestAlone(t *testing.T) {
	tiers.Long(t, "it waits for a lease to end")
	const each = 5
	r := newRig(t, 3)
	r.write(0, "keys/order.json", "")
	r.sync(0, 1, 2)
	var wg sync.WaitGroup
	for i, f := range r.all {
		wg.Go(func() {
			for range each {
				unlock, err := f.Lock()
				if err != nil {
					t.Error(err)
					return
				}
				r.write(i, "keys/order.json", r.has(i, "keys/order.json")+"x")
				if err := f.Keep(); err != nil {
					t.Error(err)
				}
				unlock()
			}
		})
	}
	wg.Wait()
	r.sync(0, 1, 2)
	all := strings.Repeat("x", each*len(r.all))
	r.want("keys/order.json", all, all, all)
}

// bounded is a database that is asked for no longer than a while.
type bounded struct {
	*postgres.Store
	t *testing.T
}

func (b bounded) asked(ctx context.Context) {
	if _, ok := ctx.Deadline(); !ok {
		b.t.Error("a database that does not answer is waited for without end")
	}
}

func (b bounded) SharedFiles(ctx context.Context) ([]postgres.SharedFile, error) {
	b.asked(ctx)
	return b.Store.SharedFiles(ctx)
}

func (b bounded) PutShared(ctx context.Context, f postgres.SharedFile) (int64, bool, error) {
	b.asked(ctx)
	return b.Store.PutShared(ctx, f)
}

func (b bounded) Hold(ctx context.Context, name string) (func() error, func(), error) {
	b.asked(ctx)
	return b.Store.Hold(ctx, name)
}

// TestPatience: a database that does not answer holds nobody for ever who holds locks.
func TestPatience(t *testing.T) {
	r := newRig(t, 1)
	r.all[0].cfg.Store = bounded{r.store, t}
	unlock, err := r.all[0].Lock()
	if err != nil {
		t.Fatal(err)
	}
	r.write(0, "keys/order.json", "one")
	if err := r.all[0].Keep(); err != nil {
		t.Error(err)
	}
	if err := r.all[0].Held(); err != nil {
		t.Errorf("the lock ends with the wait for it: %v", err)
	}
	unlock()
}

// TestLost: who loses the lock with the connection learns of it before signing.
func TestLost(t *testing.T) {
	r := newRig(t, 2)
	if err := r.all[0].Held(); err == nil {
		t.Error("a lock is held that nobody took")
	}
	unlock, err := r.all[0].Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.all[0].Held(); err != nil {
		t.Error(err)
	}
	const lose = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = " +
		"(SELECT oid FROM pg_database WHERE datname = current_database())"
	if _, err := r.store.Writes.ExecContext(t.Context(), lose); err != nil {
		t.Fatal(err)
	}
	other, err := r.all[1].Lock()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.all[0].Held(); !errors.Is(err, domain.ErrAway) {
			t.Errorf("a lock that was lost is held: %v", err)
		}
	}
	unlock()
	if err := r.all[1].Held(); err != nil {
		t.Error(err)
	}
	other()
}

// FuzzState: no text of the state makes reading it panic.
func FuzzState(f *testing.F) {
	f.Add([]byte(`{"keys/order.json":{"version":1,"sha256":"ab"}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if state, err := parseState(text); err == nil && state == nil {
			t.Error("no state, and no error")
		}
	})
}
