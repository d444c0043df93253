package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is where controllers tell each other which table has changed.
const channel = "peerload"

// tellFunction and tellTrigger have the database tell of each statement that changes the
// orders, when its transaction is committed.
const (
	tellFunction = `CREATE OR REPLACE FUNCTION peerload_tell() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_notify('` + channel + `', TG_TABLE_NAME); RETURN NULL; END $$`
	tellTrigger = `CREATE TRIGGER peerload_tell AFTER INSERT OR UPDATE OR DELETE ON sent_orders
		FOR EACH STATEMENT EXECUTE FUNCTION peerload_tell()`
)

func tell(ctx context.Context, db *sql.DB) error {
	return triggered(ctx, db, "peerload_tell", "sent_orders", tellFunction, tellTrigger)
}

// triggered makes a trigger of a table by these statements, if it is not there: making
// it anew would wait for all writers.
func triggered(ctx context.Context, db *sql.DB, trigger, table string, statements ...string) error {
	there := 0
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM pg_trigger WHERE tgname = $1 AND tgrelid = $2::regclass",
		trigger, table).Scan(&there)
	if err != nil || there > 0 {
		return err
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("postgres: %w", err)
		}
	}
	return nil
}

// revisionsTable counts changes of tables that controllers keep in memory; the database
// does it, so that programs of every version are counted.
const (
	revisionsTable    = `CREATE TABLE IF NOT EXISTS peerload_revisions (of TEXT PRIMARY KEY, n BIGINT NOT NULL)`
	revisionsRow      = `INSERT INTO peerload_revisions (of, n) VALUES ('%s', 1) ON CONFLICT DO NOTHING`
	revisionsFunction = `CREATE OR REPLACE FUNCTION peerload_revise() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN UPDATE peerload_revisions SET n = n + 1 WHERE of = TG_TABLE_NAME; RETURN NULL; END $$`
	revisionsTrigger = `CREATE TRIGGER peerload_revise AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
		FOR EACH STATEMENT EXECUTE FUNCTION peerload_revise()`
)

// revised are the tables whose changes are counted.
var revised = []string{"enterprises", "file_sets", "loads", "models", "profiles", "releases", "sites"}

func revise(ctx context.Context, db *sql.DB) error {
	for _, table := range revised {
		err := triggered(ctx, db, "peerload_revise", table, revisionsTable, fmt.Sprintf(revisionsRow, table),
			revisionsFunction, fmt.Sprintf(revisionsTrigger, table))
		if err != nil {
			return err
		}
	}
	return nil
}

// listenAgain is how long Listen rests once its connection has ended.
const listenAgain = time.Second

// Listen calls changed whenever any controller of the database has changed the orders,
// until ctx ends; also once it listens, for what came before. lost is called when it
// hears nothing for a while, so that somebody looks by himself.
func (s *Store) Listen(ctx context.Context, changed, lost func()) {
	for {
		_ = s.listen(ctx, changed) // why, who looks by himself finds out
		lost()
		again := time.NewTimer(listenAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// listen listens until the connection or ctx ends.
func (s *Store) listen(ctx context.Context, changed func()) error {
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	for {
		changed()
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
