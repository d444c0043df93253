package site

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
)

// nowhere is a connection that takes everything at once.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) Close() error                { return nil }

// one is a listener with one connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (l one) Accept() (net.Conn, error) { return l.conn, nil }

// TestShaper: two connections have the rate together, and each has half of it.
// After a pause two pieces are ahead of it.
func TestShaper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 1_000_000
		s := newShaper(16 * units.Mbit)
		accept := func() net.Conn {
			c, err := s.Listener(one{conn: nowhere{}}).Accept()
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		start := time.Now()
		ended := make(chan time.Duration, 2)
		for range 2 {
			go func() {
				if n, err := accept().Write(make([]byte, each)); n != each || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
				ended <- time.Since(start)
			}()
		}
		first, last := <-ended, <-ended
		if early := s.rate.Time(2*each) - last; early < 0 || early > s.rate.Time(2*piece) {
			t.Errorf("%d bytes took %v, at the rate %v", 2*each, last, s.rate.Time(2*each))
		}
		if last-first > s.rate.Time(3*piece) {
			t.Errorf("one ended at %v, the other at %v", first, last)
		}
		<-time.After(time.Hour)
		start = time.Now()
		c := accept()
		if _, err := c.Write(make([]byte, 12*piece)); err != nil || time.Since(start) != s.rate.Time(10*piece) {
			t.Errorf("after a pause 12 pieces took %v, %v", time.Since(start), err)
		}
		time.AfterFunc(time.Second, func() { c.Close() })
		if n, err := c.Write(make([]byte, 10*each)); !errors.Is(err, net.ErrClosed) || n > 2*each+2*piece {
			t.Errorf("closed after a second: %d bytes, %v", n, err)
		}
	})
}
