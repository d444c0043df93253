package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// slotTimeout bounds the wait for the server: a device waits for its file.
const slotTimeout = 2 * time.Second

// slotRest is how long a server that did not answer in time is not asked again: those
// who ask do so one after the other, and each would wait for all before it.
const slotRest = 10 * time.Second

// Slots are counted over all controllers of a database: each slot is an advisory lock
// of one connection, so those of a controller that dies are free at once.
type Slots struct {
	store *Store
	now   func() time.Time

	mu   sync.Mutex
	conn *sql.Conn // nil: there is none
	held map[int32][]int32
	// lost are those of held that went with a connection.
	lost map[slot]bool
	// rests is until when the server is not asked, and why says for what.
	rests time.Time
	why   error
}

// slot is one by the number of its name and its own.
type slot struct{ key, number int32 }

// Slots returns slots, of which this controller has none yet. Close gives them back.
func (s *Store) Slots() *Slots { return &Slots{store: s, now: time.Now, held: map[int32][]int32{}} }

// Take takes one of the first n slots of a name, if one is free; leave gives it back,
// once. An error says that the database does not answer.
func (s *Slots) Take(name string, n int) (leave func(), ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().Before(s.rests) {
		return nil, false, s.why
	}
	defer func() { s.failed(err) }()
	ctx, cancel := context.WithTimeout(context.Background(), slotTimeout)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return nil, false, err
	}
	h := fnv.New32a()
	h.Write([]byte(name))
	key := int32(h.Sum32())
	var number int32
	// A session may lock again what it has locked: its own are left out.
	err = s.conn.QueryRowContext(ctx, "SELECT i FROM generate_series(1, $2::int) i "+
		"WHERE CASE WHEN i = ANY ($3::int[]) THEN false ELSE pg_try_advisory_lock($1::int, i) END LIMIT 1",
		key, n, append([]int32{}, s.held[key]...)).Scan(&number)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		s.drop()
		return nil, false, s.store.failed(err)
	}
	s.held[key] = append(s.held[key], number)
	return func() { s.leave(slot{key, number}) }, true, nil
}

// leave gives a slot back.
func (s *Slots) leave(o slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[o.key] = slices.DeleteFunc(s.held[o.key], func(n int32) bool { return n == o.number })
	if len(s.held[o.key]) == 0 {
		delete(s.held, o.key)
	}
	if s.conn == nil || s.lost[o] {
		delete(s.lost, o)
		return // it went with the connection
	}
	ctx, cancel := context.WithTimeout(context.Background(), slotTimeout)
	defer cancel()
	if _, err := s.conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1::int, $2::int)", o.key, o.number); err != nil {
		s.drop()
		s.failed(err)
	}
}

// failed lets a server rest that did not answer in time.
func (s *Slots) failed(err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		s.rests, s.why = s.now().Add(slotRest), err
	}
}

// connect sees to it that there is a connection, with what is held.
func (s *Slots) connect(ctx context.Context) (err error) {
	if s.conn == nil {
		if s.conn, err = s.store.Writes.Conn(ctx); err != nil {
			s.conn = nil
			return s.store.failed(err)
		}
		s.lost = map[slot]bool{}
		for key, numbers := range s.held {
			for _, n := range numbers {
				s.lost[slot{key, n}] = true
			}
		}
	}
	// The server may not have noticed yet that the old connection has ended. What another
	// controller has taken since is too many for a while.
	for o := range s.lost {
		var ok bool
		err := s.conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1::int, $2::int)", o.key, o.number).Scan(&ok)
		if err != nil {
			s.drop()
			return s.store.failed(err)
		}
		if ok {
			delete(s.lost, o)
		}
	}
	return nil
}

// drop ends the connection, and with it all locks.
func (s *Slots) drop() {
	if s.conn != nil {
		_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = s.conn.Close()
		s.conn = nil
	}
}

// Close gives all slots back.
func (s *Slots) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil { // the server notices the end of a connection a little later
		ctx, cancel := context.WithTimeout(context.Background(), slotTimeout)
		defer cancel()
		_, _ = s.conn.ExecContext(ctx, "SELECT pg_advisory_unlock_all()")
	}
	s.drop()
}
