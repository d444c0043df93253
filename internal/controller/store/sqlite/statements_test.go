package sqlite

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
)

// TestStatementsAreKept: a statement that is kept is used again and again, within
// itself too, after an error, a change of the schema, and many others.
func TestStatementsAreKept(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "a.db"))
	defer s.Close()
	db, ctx := s.Writes, t.Context()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(ctx, query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE some (id TEXT PRIMARY KEY, n INTEGER)")
	for i := range 3 {
		exec("INSERT INTO some (id, n) VALUES (?, ?)", fmt.Sprint(i), i)
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO some (id, n) VALUES (?, ?)", "2", 2); err == nil {
		t.Error("the same key twice")
	}
	exec("INSERT INTO some (id, n) VALUES (?, ?)", "3", 3)
	if _, err := db.ExecContext(ctx, "SELECT nonsense FROM some"); err == nil {
		t.Error("nonsense was found")
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	const query = "SELECT n FROM some WHERE n >= ? ORDER BY n"
	sum, depth := 0, 0
	var read func(from int)
	read = func(from int) { // while the rows of the outer ones are open
		if depth++; depth > 3 {
			return
		}
		rows, err := tx.QueryContext(ctx, query, from)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				t.Fatal(err)
			}
			sum += n
			read(from + 1)
		}
		if err := rows.Err(); err != nil {
			t.Error(err)
		}
	}
	read(0)
	if want := 0 + 1 + 2 + 3 + 1 + 2 + 3 + 2 + 3; sum != want {
		t.Errorf("the sum is %d, not %d", sum, want)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxStatements {
		exec(fmt.Sprintf("UPDATE some SET n = n + %d WHERE id = ?", i), "none")
	}
	exec("ALTER TABLE some ADD COLUMN more TEXT NOT NULL DEFAULT 'x'")
	var n int
	if err := db.QueryRowContext(ctx, query, 3).Scan(&n); err != nil || n != 3 {
		t.Errorf("after all that: %d, %v", n, err)
	}
	if err := db.QueryRowContext(ctx, query, 9).Scan(&n); err != sql.ErrNoRows {
		t.Errorf("of no row: %v", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(of any) error {
		if kept := len(of.(*keeping).kept); kept == 0 || kept > maxStatements {
			t.Errorf("%d statements are kept", kept)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
