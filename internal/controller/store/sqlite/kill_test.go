package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// killChild is the path of the database of a child that writes until killed.
const killChild = "PEERLOAD_SQLITE_KILL_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(killChild); path != "" {
		fmt.Fprintln(os.Stderr, writeForever(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForever writes one profile, one entry of the log and a counter in each
// transaction, and says its number when it is committed.
func writeForever(path string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{Path: path})
	if err != nil {
		return err
	}
	for {
		var n int
		err := s.Update(ctx, func(tx domain.Tx) error {
			count, err := tx.Throttles().Get(ctx, "count")
			if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return err
			}
			count.Name = "count"
			count.Failures++
			n = count.Failures
			name := fmt.Sprintf("%08d", n)
			return errors.Join(tx.Throttles().Put(ctx, &count), tx.Profiles().Put(ctx, &domain.Profile{Name: name}),
				tx.Audit().Append(ctx, domain.AuditEntry{ID: name, At: time.Unix(int64(n), 0)}))
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKill9 kills a process in the middle of its writes, again and again: the
// database opens, is whole, has all that was acknowledged, and of each
// transaction all or nothing.
func TestKill9(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "a.db")
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		acknowledged := killAfter(t, path, 1+random.IntN(40), time.Duration(random.IntN(3000))*time.Microsecond)
		s := openAt(t, path)
		checkFile(t, s)
		err := s.View(t.Context(), func(tx domain.Tx) error {
			count, err := tx.Throttles().Get(t.Context(), "count")
			if err != nil {
				return err
			}
			a, err := tx.Audit().List(t.Context(), domain.AuditFilter{}, domain.Page{Limit: 1})
			if err != nil {
				return err
			}
			p, err := tx.Profiles().List(t.Context(), domain.TextFilter{}, domain.Page{Limit: 1})
			if n := count.Failures; n < acknowledged || a.Total != n || p.Total != n || count.Version != int64(n) {
				t.Errorf("acknowledged %d; counted %d at version %d, %d entries, %d profiles", acknowledged, n, count.Version,
					a.Total, p.Total)
			}
			return err
		})
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// checkFile runs SQLite's own check of the file.
func checkFile(t *testing.T, s *Store) {
	t.Helper()
	var word string
	if err := s.Reads.QueryRowContext(t.Context(), "PRAGMA integrity_check(1)").Scan(&word); err != nil || word != "ok" {
		t.Fatalf("the database is damaged: %q, %v", word, err)
	}
}

// killAfter runs the child, kills it some time after so many commits, and
// returns the last number that it said.
func killAfter(t *testing.T, path string, commits int, later time.Duration) (last int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), killChild+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if last, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		if i+1 == commits {
			time.AfterFunc(later, func() { cmd.Process.Kill() })
		}
	}
	err = cmd.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the child was not killed: %v", err)
	}
	return last
}
