package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
)

// Dialect is what the two databases do differently.
type Dialect struct {
	// Name for errors.
	Name string
	// Dollar says that arguments are written $1, $2 instead of ?.
	Dollar bool
	// Lock is the statement that makes an update the only one, "" if its
	// beginning does.
	Lock string
	// ReadOnly are the options of a transaction that only reads.
	ReadOnly *sql.TxOptions
	// Full says that an error tells of a full disk; nil: none does. Such errors
	// match syscall.ENOSPC.
	Full func(error) bool
	// Away says that an error tells of a database that does not answer now: locked
	// by somebody else, restarting or gone. Such errors match domain.ErrAway.
	Away func(error) bool
	// Counts says that the database estimates how much matches, and reads accordingly.
	Counts bool
	// Texts are indices of the texts of tables that are to be asked first, by the names of
	// the tables: the database does it too seldom, or has to sort what it finds. nil: there
	// are none.
	Texts map[string]string
	// Revisions says that the table peerload_revisions counts changes of other tables.
	Revisions bool
	// Arrays says that an argument may be an array: many rows are one statement, the same
	// however many they are. Without it each row is a statement, which a database in this
	// process answers as quickly.
	Arrays bool
	// Anew is an argument before the others that has a statement planned each time for
	// what its arguments hold. It goes before a list of keys: how such a one is best
	// read depends on how large the table has become. nil: the database keeps no plans.
	Anew any
	// Stale says that connections of the pool may have ended unnoticed, so that a
	// transaction that did not begin may be begun on another one.
	Stale bool
}

// bind writes arguments as the dialect does. No statement of ours has a
// question mark of another meaning.
func (d Dialect) bind(query string) string {
	if !d.Dollar {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// DB is a domain.Store in an SQL database.
type DB struct {
	// Writes and Reads are the pools; they may be one. Required.
	Writes, Reads *sql.DB
	Dialect       Dialect
	// ConnTimeout bounds the wait for a connection. 0 means 5 s: whoever waits for
	// the database must be answered while it still listens.
	ConnTimeout time.Duration
	// Trace is told of each statement but those of exports and migrations, with its
	// arguments as ?. nil: nobody is.
	Trace func(query string, args []any)
}

var _ domain.Store = (*DB)(nil)

// View implements domain.Store.
func (d *DB) View(ctx context.Context, fn func(domain.Tx) error) error {
	t, done, err := d.begin(ctx, d.Reads, d.Dialect.ReadOnly)
	if err != nil {
		return err
	}
	defer done()
	defer t.Rollback() // a transaction that only reads has nothing to commit
	return d.wrap(fn(&tx{Tx: t, dialect: d.Dialect, trace: d.Trace}))
}

// Update implements domain.Store. There is one writer at a time in either
// database, so none ever has to give way to another.
func (d *DB) Update(ctx context.Context, fn func(domain.Tx) error) error {
	t, done, err := d.begin(ctx, d.Writes, nil)
	if err != nil {
		return err
	}
	defer done()
	defer t.Rollback() // does nothing after a commit
	if d.Dialect.Lock != "" {
		if _, err := t.ExecContext(ctx, d.Dialect.Lock); err != nil {
			return d.wrap(err)
		}
	}
	own := &tx{Tx: t, dialect: d.Dialect, trace: d.Trace, seen: map[string]map[string]int64{}}
	err = fn(own)
	if late := own.settle(); late != nil {
		err = late // what failed after it did so because of it
	}
	if err != nil {
		return d.wrap(err)
	}
	return d.wrap(t.Commit())
}

// begin begins a transaction; done gives its connection back. After a restart of
// the database server the pool is full of connections that have ended; each
// failure takes one out, and to begin anew is always safe.
func (d *DB) begin(ctx context.Context, pool *sql.DB, opts *sql.TxOptions) (t *sql.Tx, done func(), err error) {
	tries := 1
	if d.Dialect.Stale {
		tries = 2 + pool.Stats().Idle
	}
	for {
		t, done, err = d.tryBegin(ctx, pool, opts)
		if tries--; err == nil || tries == 0 || ctx.Err() != nil {
			return t, done, d.wrap(err)
		}
	}
}

func (d *DB) tryBegin(ctx context.Context, pool *sql.DB, opts *sql.TxOptions) (*sql.Tx, func(), error) {
	timeout := cmp.Or(d.ConnTimeout, 5*time.Second)
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pool.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			err = fmt.Errorf("%w: %s: no connection for %v: %w", domain.ErrAway, d.Dialect.Name, timeout, err)
		}
		return nil, nil, err
	}
	t, err := conn.BeginTx(ctx, opts)
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	// The pool closes what it cannot keep; there is nothing to do about an error.
	return t, func() { _ = conn.Close() }, nil
}

// Close implements domain.Store.
func (d *DB) Close() error {
	// The writer goes last: it leaves the database's files in order.
	var err error
	if d.Reads != d.Writes {
		err = d.Reads.Close()
	}
	return errors.Join(err, d.Writes.Close())
}

// Wrap is for errors of statements that are not written here: those of a full or absent
// database match what those of a Store do.
func (d *DB) Wrap(err error) error { return d.wrap(err) }

// wrap says which database an error comes from, unless it is the domain's own.
func (d *DB) wrap(err error) error {
	if err != nil && d.Dialect.Full != nil && d.Dialect.Full(err) {
		return fmt.Errorf("%w: %w", syscall.ENOSPC, err)
	}
	if err != nil && d.Dialect.Away != nil && d.Dialect.Away(err) {
		return fmt.Errorf("%w: %s: %w", domain.ErrAway, d.Dialect.Name, err)
	}
	var s *sqlError
	if errors.As(err, &s) || err == nil {
		return err
	}
	for _, own := range []error{sql.ErrTxDone, sql.ErrConnDone} {
		if errors.Is(err, own) {
			return fmt.Errorf("%s: %w", d.Dialect.Name, err)
		}
	}
	return err
}

// sqlError is an error of a statement.
type sqlError struct {
	what string
	err  error
}

func (e *sqlError) Error() string { return e.what + ": " + e.err.Error() }
func (e *sqlError) Unwrap() error { return e.err }

// SQL is the transaction of the database below one of the domain, for what has
// tables of its own there. ok is false for one of another kind of store.
func SQL(of domain.Tx) (t *sql.Tx, ok bool) {
	own, ok := of.(*tx)
	if !ok {
		return nil, false
	}
	_ = own.settle() // who goes on fails, and Update says why
	return own.Tx, true
}

// tx implements domain.Tx.
type tx struct {
	*sql.Tx
	dialect Dialect
	trace   func(query string, args []any)
	// late are statements that the database may still be at, in their order, and failed
	// is the first error of one that was.
	late   []*lateStatement
	failed error
	// seen are the versions of rows that were read by their keys, 0 for none, by tables:
	// nobody else writes them until this transaction ends. nil: others may.
	seen map[string]map[string]int64
}

// sees remembers the version of a row.
func (t *tx) sees(table, key string, version int64) {
	if t.seen == nil {
		return
	}
	if t.seen[table] == nil {
		t.seen[table] = map[string]int64{}
	}
	t.seen[table][key] = version
}

// unsees forgets all versions: one row that goes may take others with it.
func (t *tx) unsees() { clear(t.seen) }

// Revision implements domain.Revised.
func (t *tx) Revision(ctx context.Context, tables ...string) (n int64, ok bool, err error) {
	if !t.dialect.Revisions {
		return 0, false, nil
	}
	in, args := t.oneOf("of", tables)
	query := "SELECT CAST(coalesce(sum(n), 0) AS BIGINT), count(*) FROM peerload_revisions WHERE " + in
	of := 0
	err = t.rows(ctx, "read a revision", query, args, func(r *sql.Rows) error { return r.Scan(&n, &of) })
	return n, of == len(tables), err
}

// statement is a statement as the database takes it.
func (t *tx) statement(query string, args []any) string {
	if t.trace != nil {
		t.trace(query, args)
	}
	return t.dialect.bind(query)
}

func (t *tx) exec(ctx context.Context, what, query string, args ...any) (int64, error) {
	if err := t.settle(); err != nil {
		return 0, err
	}
	if strings.HasPrefix(query, "DELETE ") {
		t.unsees()
	}
	res, err := t.ExecContext(ctx, t.statement(query, args), t.planned(args)...)
	if err != nil {
		return 0, &sqlError{t.dialect.Name + ": " + what, err}
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, &sqlError{t.dialect.Name + ": " + what, err}
	}
	return n, nil
}

// rows runs a query and hands each row to scan.
func (t *tx) rows(ctx context.Context, what, query string, args []any, scan func(*sql.Rows) error) error {
	fail := func(err error) error { return &sqlError{t.dialect.Name + ": " + what, err} }
	if err := t.settle(); err != nil {
		return err
	}
	rows, err := t.QueryContext(ctx, t.statement(query, args), t.planned(args)...)
	if err != nil {
		return fail(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fail(err)
		}
	}
	if err := rows.Err(); err != nil {
		return fail(err)
	}
	return nil
}

// planned are arguments as the database takes them.
func (t *tx) planned(args []any) []any {
	list := func(a any) bool { _, is := a.([]string); return is }
	if t.dialect.Anew == nil || !slices.ContainsFunc(args, list) {
		return args
	}
	return append([]any{t.dialect.Anew}, args...)
}

// in opens a table.
func in[T, F any, P interface {
	*T
	thing
}](t *tx, of schema[T, F]) domain.Table[T, F] {
	return &table[T, F, P]{t, of, nil}
}

func (t *tx) Profiles() domain.Table[domain.Profile, domain.TextFilter] { return in(t, profiles) }
func (t *tx) Enterprises() domain.Table[domain.Enterprise, domain.None] { return in(t, enterprises) }
func (t *tx) Models() domain.Table[domain.ModelEntry, domain.None]      { return in(t, models) }
func (t *tx) Loads() domain.Table[domain.Load, domain.LoadFilter]       { return in(t, loads) }
func (t *tx) FileSets() domain.Table[domain.FileSet, domain.LoadFilter] { return in(t, fileSets) }
func (t *tx) Releases() domain.Table[domain.Release, domain.TextFilter] { return in(t, releases) }
func (t *tx) Sites() domain.Table[domain.Site, domain.TextFilter]       { return in(t, sites) }
func (t *tx) Savings() domain.Table[domain.Saving, domain.SavingFilter] { return in(t, savings) }
func (t *tx) Accounts() domain.Table[domain.Account, domain.TextFilter] { return in(t, accounts) }
func (t *tx) Credentials() domain.Table[domain.Credential, domain.CredentialFilter] {
	return in(t, credentials)
}
func (t *tx) Throttles() domain.Table[domain.Throttle, domain.None]        { return in(t, throttles) }
func (t *tx) Rollouts() domain.Table[domain.Rollout, domain.RolloutFilter] { return in(t, rollouts) }
func (t *tx) RolloutDevices() domain.RolloutDevices {
	return &rolloutDevicesTable{table[domain.RolloutDevice, domain.RolloutDeviceFilter, *domain.RolloutDevice]{t,
		rolloutDevices, nil}}
}
func (t *tx) Jobs() domain.Table[domain.Job, domain.JobFilter]             { return in(t, jobs) }
func (t *tx) JobSteps() domain.Table[domain.JobStep, domain.JobStepFilter] { return in(t, jobSteps) }
func (t *tx) Templates() domain.Table[domain.Template, domain.TextFilter]  { return in(t, templates) }
func (t *tx) Webhooks() domain.Table[domain.Webhook, domain.None]          { return in(t, hooks) }
func (t *tx) Deliveries() domain.Table[domain.Delivery, domain.DeliveryFilter] {
	return in(t, deliveries)
}
func (t *tx) Verdicts() domain.Table[domain.Verdict, domain.VerdictFilter] { return in(t, verdicts) }
func (t *tx) SentOrders() domain.Table[domain.SentOrder, domain.SentOrderFilter] {
	return in(t, sentOrders)
}
func (t *tx) OrderDevices() domain.Table[domain.OrderDevice, domain.OrderDeviceFilter] {
	return in(t, orderDevices)
}

func (t *tx) History() domain.Log[domain.HistoryEntry, domain.HistoryFilter] {
	return &log[domain.HistoryEntry, domain.HistoryFilter]{t, history}
}

func (t *tx) Audit() domain.Log[domain.AuditEntry, domain.AuditFilter] {
	return &log[domain.AuditEntry, domain.AuditFilter]{t, audit}
}
