package store

import (
	"context"
	"database/sql"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/peerload/peerload/internal/controller/domain"
)

// names of the columns that a schema writes.
func names[T, F any](s schema[T, F]) (string, []string) {
	all := []string{"id", "version", "doc"}
	for _, c := range s.columns {
		all = append(all, c.name)
	}
	all = append(all, s.also...)
	slices.Sort(all)
	return s.name, all
}

// TestSchemaMatchesMigrations: each schema has exactly the columns of its
// table, and each table its schema.
func TestSchemaMatchesMigrations(t *testing.T) {
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "a.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := Migrate(t.Context(), "sqlite", db, 0); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	add := func(name string, columns []string) { want[name] = columns }
	add(names(devices))
	add(names(profiles))
	add(names(enterprises))
	add(names(models))
	add(names(loads))
	add(names(fileSets))
	add(names(releases))
	add(names(sites))
	add(names(states))
	add(names(savings))
	add(names(hooks))
	add(names(deliveries))
	add(names(accounts))
	add(names(credentials))
	add(names(throttles))
	add(names(rollouts))
	add(names(rolloutDevices))
	add(names(verdicts))
	add(names(sentOrders))
	add(names(orderDevices))
	add(names(jobs))
	add(names(jobSteps))
	add(names(templates))
	add(names(history))
	add(names(audit))
	if len(dumpers()) != len(want) {
		t.Errorf("an export has %d tables of %d", len(dumpers()), len(want))
	}
	add("tallies", slices.Sorted(slices.Values(tallyColumns))) // which follow from the others
	for name, columns := range want {
		if got := columnsOf(t, db, name); !slices.Equal(got, columns) {
			t.Errorf("%s has %v; the schema says %v", name, got, columns)
		}
	}
	var tables int
	err = db.QueryRowContext(t.Context(),
		"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'goose%' "+
			"AND name NOT LIKE 'sqlite%'").Scan(&tables)
	if err != nil || tables != len(want) {
		t.Errorf("%d tables, %v; schemas of %d", tables, err, len(want))
	}
}

// columnsOf are the columns of a table, in order of their names.
func columnsOf(t *testing.T, db *sql.DB, table string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" LIMIT 0")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || rows.Next() || rows.Err() != nil {
		t.Fatal(err, rows.Err())
	}
	return slices.Sorted(slices.Values(columns))
}

// TestDialectsMigrateAlike: but for the names of types, the migrations of both
// databases are the same text.
func TestDialectsMigrateAlike(t *testing.T) {
	plain := func(dialect, file string) string {
		b, err := migrations.ReadFile("migrations/" + dialect + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(strings.ReplaceAll(string(b), ` COLLATE "C"`, ""), " JSON ", " TEXT ")
		return regexp.MustCompile(` +`).ReplaceAllString(text, " ")
	}
	files, err := migrations.ReadDir("migrations/sqlite")
	others, err2 := migrations.ReadDir("migrations/postgres")
	if err != nil || err2 != nil || len(files) == 0 || len(files) != len(others) {
		t.Fatalf("%d and %d migrations, %v, %v", len(files), len(others), err, err2)
	}
	for _, f := range files {
		if a, b := plain("sqlite", f.Name()), plain("postgres", f.Name()); a != b {
			t.Errorf("%s differs:\n%s\n%s", f.Name(), a, b)
		}
	}
}

// onlyAdds are the statements that a program of the version before goes on beside: without
// an index it is slower for as long as the upgrade takes.
var onlyAdds = regexp.MustCompile(`(?is)^(CREATE TABLE|CREATE INDEX|DROP INDEX|INSERT INTO|UPDATE|` +
	`ALTER TABLE \w+ ADD COLUMN \w+ \w+ NOT NULL DEFAULT|ALTER TABLE \w+ ADD COLUMN \w+ \w+$)`)

// TestMigrationsOnlyAdd: replicas are replaced one after the other, so the one before
// must go on with what a newer one has made of the schema. Those up to 14 are older than
// replicas.
func TestMigrationsOnlyAdd(t *testing.T) {
	check := func(text string) (bad []string) {
		text = regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(text, "")
		for s := range strings.SplitSeq(text, ";") {
			if s = strings.TrimSpace(s); s != "" && !onlyAdds.MatchString(s) {
				bad = append(bad, s)
			}
		}
		return bad
	}
	for _, bad := range []string{"DROP TABLE a", "ALTER TABLE a DROP COLUMN b", "ALTER TABLE a ADD COLUMN b TEXT NOT NULL",
		"ALTER TABLE a RENAME TO b", "CREATE UNIQUE INDEX i ON a (b)", "DELETE FROM a"} {
		if len(check(bad)) != 1 {
			t.Errorf("%s is let through", bad)
		}
	}
	good := "-- +goose Up\nALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';\nCREATE INDEX i ON a (b);"
	if bad := check(good); bad != nil {
		t.Errorf("%q", bad)
	}
	files, err := migrations.ReadDir("migrations/postgres")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files[14:] {
		b, err := migrations.ReadFile("migrations/postgres/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range check(string(b)) {
			t.Errorf("%s: a program of the version before cannot go on after %q", f.Name(), s)
		}
	}
}

func TestBind(t *testing.T) {
	const q = "a = ? AND b = ?"
	if got := (Dialect{Dollar: true}).bind(q); got != "a = $1 AND b = $2" {
		t.Error(got)
	}
	if got := (Dialect{}).bind(q); got != q {
		t.Error(got)
	}
}

// FuzzImport: no text makes an import panic or leave something behind.
func FuzzImport(f *testing.F) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.TempDir(), "a.db")+"?_txlock=immediate")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	if err := Migrate(context.Background(), "sqlite", db, 0); err != nil {
		f.Fatal(err)
	}
	d := &DB{Writes: db, Reads: db, Dialect: Dialect{Name: "sqlite"}}
	f.Add("")
	f.Add(`{"format":"peerload-store","schema":1}` + "\n" + `{"table":"profiles","row":{"version":1,"name":"p"}}` + "\n" +
		`{"end":2}`)
	f.Add(`{"format":"peerload-store","schema":1}` + "\n" + `{"table":"history","row":{"id":"1"}}` + "\n" + `{"end":9}` +
		"\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := d.Import(t.Context(), strings.NewReader(text))
		rows := 0
		view := d.View(t.Context(), func(v domain.Tx) error {
			for _, s := range dumpers() {
				n, err := s.count(t.Context(), v.(*tx))
				if err != nil {
					return err
				}
				rows += n
			}
			return nil
		})
		if view != nil {
			t.Fatal(view)
		}
		if err != nil && rows > 0 {
			t.Fatalf("refused with %v, yet %d rows", err, rows)
		}
		if rows > 0 {
			for _, s := range slices.Backward(dumpers()) {
				if _, err := db.Exec("DELETE FROM " + s.title()); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
