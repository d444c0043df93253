// Package domain is the domain of the controller: devices, profiles, the
// enterprise, models, loads, what devices report, users and their rights; and
// the use cases on them, which are the methods of Controller. Each takes the
// Actor that asks, enforces what that actor may do, and writes what changed
// into the audit log in the transaction that changes it.
//
// What lives here: the types, the rules, and the Store interface by which a
// database is seen. What must not: SQL, HTTP, files, the clock (it is
// injected), flags and output. Read first: types.go, store.go, controller.go.
package domain

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/controller/passhash"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/controller/webhook"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
)

// Config configures a Controller.
type Config struct {
	// Store keeps what the controller knows. Required. New does not close it.
	Store Store
	// Repository signs and holds loads. nil: only unsigned loads can be
	// registered, and what needs signing fails with ErrUnavailable.
	Repository *repository.Repository
	// Table is the model table that the database's rows extend. nil means
	// policy.Builtin.
	Table *policy.Table
	// Now returns the time. nil means time.Now.
	Now func() time.Time
	// Random makes secrets. nil means crypto/rand.
	Random io.Reader
	// Password is the cost of hashing a password. The zero value means
	// passhash.Default.
	Password passhash.Cost
	// SessionLife ends a session and a sign-in of a command line, used or not. 0
	// means 12 hours: a working day, and the next one begins with a password. At
	// most MaxSessionLife.
	SessionLife time.Duration
	// SessionIdle ends a session that nobody uses. 0 means an hour.
	SessionIdle time.Duration
	// SetupLife is how long a set-up link is good. 0 means 24 hours: it may be
	// sent to somebody, and is of no use in an old log.
	SetupLife time.Duration
	// HistoryLife is how long entries of devices' histories are kept. 0 means 90
	// days, which has the last few upgrades of a fleet in it.
	HistoryLife time.Duration
	// AuditLife is how long entries of the audit log are kept. 0 means 2 years:
	// it is small, and asked for long after.
	AuditLife time.Duration
	// HistoryPerDevice bounds the entries of one device, so that one that fails
	// all the time does not fill the disk; there may be a few per cent more for a
	// while. 0 means 1,000.
	HistoryPerDevice int
	// MaxDevices bounds the devices that register or enrol by themselves, so
	// that invented names cannot fill the disk. 0 means 100,000.
	MaxDevices int
	// ForeignLife is how long the tokens of somebody who signs in at an issuer work
	// after the last time: who has left must not keep rights that the issuer has
	// taken. 0 means 30 days.
	ForeignLife time.Duration
	// MaxThrottles bounds the counts of failed attempts that are kept. 0 means
	// 10,000: a few megabytes, and more networks than guess at one controller.
	MaxThrottles int
	// Removed is told of a device that is removed, in that transaction, which comes
	// to nothing if it fails. nil: nobody is.
	Removed func(ctx context.Context, tx Tx, device string) error
	// Reported is likewise told of devices that have reported, once their states are
	// written. nil: nobody is.
	Reported func(ctx context.Context, tx Tx, devices []string) error
	// Failed is likewise told of devices whose reports bring a failure, all that are
	// written together. nil: nobody is.
	Failed func(ctx context.Context, tx Tx, failed []FailedDevice) error
}

// Validate says what is missing or out of range.
func (c Config) Validate() error {
	if c.Store == nil {
		return errors.New("domain: no store")
	}
	if c.SessionLife < 0 || c.SessionIdle < 0 || c.SetupLife < 0 || c.HistoryLife < 0 || c.AuditLife < 0 ||
		c.ForeignLife < 0 || c.HistoryPerDevice < 0 || c.MaxDevices < 0 || c.MaxThrottles < 0 {
		return errors.New("domain: a time or limit is negative")
	}
	if c.SessionLife > MaxSessionLife {
		return fmt.Errorf("domain: a session lives for %s at most", parse.Duration(MaxSessionLife))
	}
	return c.Password.WithDefaults().Validate()
}

func (c Config) withDefaults() Config {
	if c.Table == nil {
		c.Table = policy.Builtin()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	c.Password = c.Password.WithDefaults()
	day := 24 * time.Hour
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.SessionLife, 12 * time.Hour}, {&c.SessionIdle, time.Hour}, {&c.SetupLife, day},
		{&c.ForeignLife, 30 * day}, {&c.HistoryLife, 90 * day}, {&c.AuditLife, 730 * day}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.HistoryPerDevice == 0 {
		c.HistoryPerDevice = 1000
	}
	if c.MaxDevices == 0 {
		c.MaxDevices = 100_000
	}
	if c.MaxThrottles == 0 {
		c.MaxThrottles = 10_000
	}
	return c
}

// Controller has the use cases. Its methods may be called by several
// goroutines, and several controllers may share one PostgreSQL database.
type Controller struct {
	cfg    Config
	store  Store
	hasher *passhash.Hasher
	// publishing serializes changes of the repository's loads.
	publishing sync.Mutex
	ids        *ids
	asks       asks
	groups     groups
	placed     *atomic.Pointer[placed]
	settled    *atomic.Pointer[settled]
	// parts, if not nil, take what is to be audited: see Change.
	parts *parts
}

// New returns a controller.
func New(cfg Config) (*Controller, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Controller{cfg: cfg, store: cfg.Store, ids: &ids{}, placed: &atomic.Pointer[placed]{},
		settled: &atomic.Pointer[settled]{}, hasher: passhash.NewHasher(cfg.Password, cfg.Random)}
	return c.gather(), nil
}

// ids makes identifiers.
type ids struct {
	sync.Mutex
	last int64
}

// now is the time as the store keeps it: UTC, to the microsecond.
func (c *Controller) now() time.Time { return c.cfg.Now().UTC().Truncate(time.Microsecond) }

// id returns an identifier that orders by time: microseconds, raised so that
// no two of a process are equal, and 32 random bits for other processes.
func (c *Controller) id() string {
	c.ids.Lock()
	defer c.ids.Unlock()
	c.ids.last = max(c.now().UnixMicro(), c.ids.last+1)
	return fmt.Sprintf("%016x%s", c.ids.last, c.random(4))
}

// random returns n random bytes as hexadecimal digits. It panics if the system
// cannot provide any.
func (c *Controller) random(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.cfg.Random, b); err != nil {
		panic(fmt.Sprintf("domain: no random numbers: %v", err))
	}
	return hex.EncodeToString(b)
}

// stamp records the time of a change.
func (c *Controller) stamp(m *Meta) {
	m.Changed = c.now()
	if m.Created.IsZero() {
		m.Created = m.Changed
	}
}

// view runs fn in a read-only transaction, as the actor sees it.
func (c *Controller) view(ctx context.Context, a Actor, fn func(Tx) error) error {
	return c.store.View(ctx, func(tx Tx) error { return fn(a.Within(tx)) })
}

// viewAll likewise sees everything: for what no actor asks for, or anybody may
// know.
func (c *Controller) viewAll(ctx context.Context, fn func(Tx) error) error {
	return c.store.View(ctx, fn)
}

// update runs fn in a transaction, as the actor sees it, and, in the same
// transaction, appends to the audit log what fn has added to the journal.
func (c *Controller) update(ctx context.Context, a Actor, fn func(Tx, *journal) error) error {
	return c.store.Update(ctx, func(tx Tx) error {
		j := &journal{}
		if err := fn(a.Within(tx), j); err != nil {
			return err
		}
		return c.append(ctx, tx, a, j)
	})
}

func (c *Controller) append(ctx context.Context, tx Tx, a Actor, j *journal) error {
	for _, e := range j.entries {
		e.ID, e.At = c.id(), c.now()
		e.Actor, e.Kind, e.From = a.Name, a.Kind, a.From
		if c.parts != nil {
			c.parts.entries = append(c.parts.entries, e)
			continue
		}
		if err := tx.Audit().Append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// Unwritten is the version that a caller gives for a thing that has not been
// written yet. The thing's own version is 0, but 0 from a caller means any.
const Unwritten int64 = -1

// Note adds an entry to the audit log, with the fields in which two states of a
// thing differ; nil means a thing that does not exist.
type Note func(action, target string, before, after any)

// Update runs fn in a transaction, as the actor sees it, for use cases that live
// elsewhere, and writes
// what fn notes into the audit log in that transaction. fn may be run more than
// once.
func (c *Controller) Update(ctx context.Context, a Actor, fn func(tx Tx, note Note) error) error {
	return c.update(ctx, a, func(tx Tx, j *journal) error { return fn(tx, j.note) })
}

// View runs fn in a transaction that only reads, as the actor sees it. The zero
// Actor sees everything.
func (c *Controller) View(ctx context.Context, a Actor, fn func(tx Tx) error) error {
	return c.view(ctx, a, fn)
}

// lister is what has a list: a table, for one.
type lister[T, F any] interface {
	List(context.Context, F, Page) (List[T], error)
}

// Each is all of a list, which it reads page by page.
func Each[T, F any](ctx context.Context, t lister[T, F], f F) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for p := (Page{Limit: MaxPage, Uncounted: true}); ; {
			l, err := t.List(ctx, f, p)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, v := range l.Items {
				if !yield(v, nil) {
					return
				}
			}
			if p.After = l.Next; p.After == "" {
				return
			}
		}
	}
}

// Collect reads a whole list.
func Collect[T, F any](ctx context.Context, t lister[T, F], f F) (all []T, err error) {
	for v, err := range Each(ctx, t, f) {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// keyed is a row of a table.
type keyed interface{ Key() string }

// ListOnly is a page of those rows that keep wants. It reads the whole list, and is
// for lists that are short.
func ListOnly[T keyed, F any](ctx context.Context, t Table[T, F], f F, p Page,
	keep func(T) (bool, error)) (l List[T], err error) {
	all, err := Collect(ctx, t, f)
	if err != nil {
		return l, err
	}
	l.Items = []T{}
	for _, v := range all {
		switch ok, err := keep(v); {
		case err != nil:
			return l, err
		case !ok:
			continue
		}
		l.Total++
		if v.Key() > p.After && len(l.Items) <= p.Size() {
			l.Items = append(l.Items, v)
		}
	}
	if len(l.Items) > p.Size() {
		l.Items = l.Items[:p.Size()]
		l.Next = l.Items[len(l.Items)-1].Key()
	}
	return l, nil
}

// Within returns the same controller inside a transaction that somebody else
// ends: what its use cases write comes to nothing with it.
func (c *Controller) Within(tx Tx) *Controller {
	within := &Controller{cfg: c.cfg, store: inTx{tx}, hasher: c.hasher, ids: c.ids, parts: c.parts}
	return within.gather()
}

// Time is the time as the store keeps it.
func (c *Controller) Time() time.Time { return c.now() }

// Random returns n random bytes as hexadecimal digits.
func (c *Controller) Random(n int) string { return c.random(n) }

// CheckVersion compares the version of a thing with the one that the caller has
// read; 0 means any version. An error matches ErrConflict.
func CheckVersion(is, want int64) error { return checkVersion(Meta{Version: is}, want) }

// checkVersion compares the stored version with the one that the caller has
// read; 0 means any version.
func checkVersion(m Meta, want int64) error {
	if want == Unwritten && m.Version == 0 {
		return nil
	}
	if want == Unwritten {
		return fmt.Errorf("%w: it is at version %d, and was not written before", ErrConflict, m.Version)
	}
	if want != 0 && want != m.Version {
		return fmt.Errorf("%w: it is at version %d, not %d", ErrConflict, m.Version, want)
	}
	return nil
}

// find reads a thing and names it in the error if it is not there.
func find[T, F any](ctx context.Context, t Table[T, F], what, key string) (T, error) {
	v, err := t.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return v, notFound(what, key)
	}
	return v, err
}

// lookup reads a thing that need not be there.
func lookup[T, F any](ctx context.Context, t Table[T, F], key string) (T, bool, error) {
	v, err := t.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		var zero T
		return zero, false, nil
	}
	return v, err == nil, err
}

// create puts a new thing and names it in the error if it is there already.
func create[T, F any](ctx context.Context, t Table[T, F], v *T, what, key string) error {
	err := t.Put(ctx, v)
	if errors.Is(err, ErrExists) {
		return fmt.Errorf("%w: %s %q", ErrExists, what, key)
	}
	return err
}

// inTx is a Store within a transaction that somebody else ends.
type inTx struct{ tx Tx }

// View implements Store.
func (s inTx) View(_ context.Context, fn func(Tx) error) error { return fn(s.tx) }

// Update implements Store. After an error, what fn has written stays until the
// transaction ends: the caller gives it up, unless fn writes last.
func (s inTx) Update(_ context.Context, fn func(Tx) error) error { return fn(s.tx) }

// Export implements Store.
func (s inTx) Export(context.Context, io.Writer) error { return ErrUnavailable }

// Import implements Store.
func (s inTx) Import(context.Context, io.Reader) error { return ErrUnavailable }

// Close implements Store.
func (s inTx) Close() error { return nil }

// parts are the entries of the audit log that one order makes.
type parts struct{ entries []AuditEntry }

// appendParts writes the entries of an order: one stands for itself, several are
// parts of one.
func (c *Controller) appendParts(ctx context.Context, tx Tx, a Actor, whole AuditEntry, entries []AuditEntry,
	out *Changed) error {
	undo := slices.ContainsFunc(entries, func(e AuditEntry) bool { return undoable(e.Action) })
	switch len(entries) {
	case 0:
		return nil
	case 1:
		if undo {
			out.Audit = entries[0].ID
		}
		return tx.Audit().Append(ctx, entries[0])
	}
	whole.ID = c.id() // the latest: it is listed before its parts
	whole.At, whole.Actor, whole.Kind, whole.From = entries[0].At, a.Name, a.Kind, a.From
	if undo {
		out.Audit = whole.ID
	}
	for i := range entries {
		entries[i].PartOf = whole.ID
	}
	for _, e := range append(entries, whole) {
		if err := tx.Audit().Append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// Webhook says who is told of what. It has the secret that signs the messages.
type Webhook struct {
	Meta
	webhook.Hook
}

// Key is the webhook's name.
func (w Webhook) Key() string { return w.Name }

// Delivery is a message that is to be delivered, or was given up.
type Delivery struct {
	Meta
	webhook.Delivery
}

// Key is the message's id.
func (d Delivery) Key() string { return d.ID }

// DeliveryFilter finds messages. Fields that are "" mean all.
type DeliveryFilter struct {
	Webhook string
	State   webhook.State
}

// forNone is a table of what nobody sees or writes who is limited to sites.
type forNone[T, F any] struct{ forAll[T, F] }

func (f forNone[T, F]) Get(_ context.Context, key string) (none T, err error) {
	return none, hides(f.what, key)
}

func (f forNone[T, F]) GetAll(context.Context, []string) (map[string]T, error) {
	return map[string]T{}, nil
}

func (f forNone[T, F]) List(context.Context, F, Page) (List[T], error) {
	return List[T]{Items: []T{}}, nil
}

func (t *realmTx) Webhooks() Table[Webhook, None] {
	return forNone[Webhook, None]{forAll[Webhook, None]{t.Tx.Webhooks(), t, "webhooks tell of"}}
}

func (t *realmTx) Deliveries() Table[Delivery, DeliveryFilter] {
	return forNone[Delivery, DeliveryFilter]{forAll[Delivery, DeliveryFilter]{t.Tx.Deliveries(), t, "webhooks tell of"}}
}

// settled is a snapshot without devices and without its transaction, as it was at a
// revision. It does not change.
type settled struct {
	at   int64
	snap *snapshot
}

// settledTables are those that a snapshot reads.
var settledTables = []string{"enterprises", "file_sets", "loads", "models", "profiles", "releases"}

// Basis is a number that stands for all that Judge goes by, but for the device itself,
// and for what was heard of devices where a load is assigned. ok is false if nobody counts
// it, or if who asks has some sites only.
func (k *Batch) Basis(ctx context.Context) (n int64, ok bool, err error) {
	counts, ok := k.tx.(Revised)
	if !ok || k.by.Realm.Limited() {
		return 0, false, nil
	}
	return counts.Revision(ctx, append([]string{"sites"}, settledTables...)...)
}

// settledSnapshot is snapshot, but begins with all that was read since one of its tables
// has changed: to read it again for each device would take longer than all else. keep keeps
// what was read. It is not for transactions that write, which may come to nothing.
func (c *Controller) settledSnapshot(ctx context.Context, tx Tx) (snap *snapshot, keep func(), err error) {
	counts, counted := tx.(Revised)
	var at int64
	if counted = counted && c.settled != nil; counted {
		if at, counted, err = counts.Revision(ctx, settledTables...); err != nil {
			return nil, nil, err
		}
	}
	if !counted {
		snap, err = c.snapshot(ctx, tx)
		return snap, func() {}, err
	}
	last := c.settled.Load()
	same := last != nil && last.at == at
	if same {
		snap = last.snap.in(tx)
	} else if snap, err = c.snapshot(ctx, tx); err != nil {
		return nil, nil, err
	}
	return snap, func() {
		if !same || snap.size() > last.snap.size() {
			c.settled.Store(&settled{at, snap.in(nil)})
		}
	}, nil
}

// in is a snapshot of another transaction that sees the same: what it reads further is
// its own.
func (snap *snapshot) in(tx Tx) *snapshot {
	return &snapshot{tx: tx, enterprise: snap.enterprise, table: snap.table, models: snap.models, stones: snap.stones,
		profiles: maps.Clone(snap.profiles), loads: maps.Clone(snap.loads), releases: maps.Clone(snap.releases),
		sets: maps.Clone(snap.sets), sites: map[string]*Site{}, names: map[string][]string{}}
}

// size counts what was read since a snapshot began.
func (snap *snapshot) size() int {
	n := len(snap.profiles) + len(snap.loads) + len(snap.releases) + len(snap.sets)
	if snap.stones != nil {
		n++
	}
	return n
}

// desiredOf is what a device should be, or why that cannot be said.
type desiredOf struct {
	Desired
	err error
}

// desiredOf says what devices should be, by their names.
func (c *Controller) desiredOf(ctx context.Context, tx Tx, names []string) ([]desiredOf, error) {
	devices, err := tx.Devices().GetAll(ctx, names)
	if err != nil {
		return nil, err
	}
	snap, keep, err := c.settledSnapshot(ctx, tx)
	if err != nil {
		return nil, err
	}
	if err := snap.readVerdicts(ctx, VerdictFilter{Devices: names}); err != nil {
		return nil, err
	}
	holders, err := tx.RolloutDevices().Holders(ctx, names)
	if err != nil {
		return nil, err
	}
	all := make([]desiredOf, len(names))
	for i, name := range names {
		d, known := devices[name]
		if !known {
			all[i].err = notFound("device", name)
		} else if all[i].Desired, err = snap.desired(ctx, d); err != nil {
			return nil, err
		}
		all[i].Holder = holders[name]
	}
	keep()
	return all, nil
}
