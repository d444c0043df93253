package origin

import (
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

func TestPatience(t *testing.T) {
	cfg := transfer.LAN()
	p := NewPatience(cfg)
	var last time.Duration
	for i := range cfg.Attempts {
		if p.Spent(0) {
			t.Fatalf("gives up after %d attempts", i)
		}
		if d := p.Failed(0, wire.ReasonOriginUnreachable); d <= last {
			t.Errorf("back-off %v after %v", d, last)
		} else {
			last = d
		}
	}
	if !p.Spent(0) {
		t.Error("never gives up")
	}
	for range 40 {
		if d := p.Failed(0, wire.ReasonOriginOther); d > cfg.BackoffMax {
			t.Fatalf("back-off %v", d)
		}
	}
	q := NewPatience(cfg)
	for range 10 {
		q.Heard(0, time.Hour, wire.ReasonOriginStalled)
	}
	if q.Spent(0) {
		t.Error("gives up on peers' word alone")
	}
	if !q.Doubtful(0) || q.NotBefore() > cfg.BackoffMax {
		t.Errorf("doubtful %v, not before %v", q.Doubtful(0), q.NotBefore())
	}
	q.Progress(0)
	if q.Doubtful(0) || q.Failing() {
		t.Error("bytes do not restore the trust")
	}
	n := NewPatience(cfg)
	n.Heard(0, 0, wire.ReasonOriginNotFound)
	if !n.Doubtful(0) || n.Spent(0) {
		t.Error("a missing file is not looked for once")
	}
	n.Failed(0, wire.ReasonOriginNotFound)
	if !n.Spent(0) {
		t.Error("a missing file is asked for again")
	}
}

// TestOutage: an origin that served a while ago and is gone is waited for, and
// tried more often than one that never was there.
func TestOutage(t *testing.T) {
	cfg := transfer.LAN()
	served := func() *Patience {
		p := NewPatience(cfg)
		p.Progress(time.Second)
		return p
	}
	p := served()
	for range 20 {
		if d := p.Failed(2*time.Second, wire.ReasonOriginStalled); d > 2*cfg.Backoff {
			t.Fatalf("left alone for %v", d)
		}
		p.Heard(2*time.Second, time.Second, wire.ReasonOriginUnreachable)
		if p.Spent(2*time.Second) || p.Doubtful(2*time.Second) {
			t.Fatal("gives up a second after the last byte")
		}
	}
	end := p.OutageEnds(2 * time.Second)
	if end <= cfg.Outage || p.Spent(end-1) || !p.Spent(end) || p.OutageEnds(end) != 0 {
		t.Errorf("the outage ends at %v: before %v, then %v", end, p.Spent(end-1), p.Spent(end))
	}
	for _, why := range []wire.Reason{wire.ReasonOriginNotFound, wire.ReasonOriginForbidden,
		wire.ReasonOriginTruncated, wire.ReasonOriginOther} {
		p := served()
		for range cfg.Attempts {
			p.Failed(2*time.Second, why)
		}
		if !p.Spent(2 * time.Second) {
			t.Errorf("%v is waited for", why)
		}
	}
}
