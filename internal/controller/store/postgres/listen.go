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

// tell makes the trigger, if it is not there: making it anew would wait for all writers.
func tell(ctx context.Context, db *sql.DB) error {
	there := 0
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM pg_trigger WHERE tgname = 'peerload_tell' "+
		"AND tgrelid = 'sent_orders'::regclass").Scan(&there)
	if err != nil || there > 0 {
		return err
	}
	for _, statement := range []string{tellFunction, tellTrigger} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("postgres: %w", err)
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
