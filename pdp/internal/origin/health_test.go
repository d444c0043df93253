package origin

import (
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

func TestHealth(t *testing.T) {
	cfg := transfer.LAN()
	p := NewHealth(cfg)
	var last time.Duration
	for i := range cfg.Attempts {
		if p.Spent(0) {
			t.Fatalf("gives up after %d attempts", i)
		}
		if d := p.Failed(0, wire.ReasonOriginUnreachable, false); d <= last {
			t.Errorf("back-off %v after %v", d, last)
		} else {
			last = d
		}
	}
	if !p.Spent(0) {
		t.Error("never gives up")
	}
	for range 40 {
		if d := p.Failed(0, wire.ReasonOriginOther, false); d > cfg.BackoffMax {
			t.Fatalf("back-off %v", d)
		}
	}
	q := NewHealth(cfg)
	for range 10 {
		q.Heard(0, time.Hour, wire.ReasonOriginStalled)
	}
	if q.Spent(0) {
		t.Error("gives up on peers' word alone")
	}
	if !q.Doubtful(0) || q.NotBefore() > 2*cfg.Backoff {
		t.Errorf("doubtful %v, not before %v", q.Doubtful(0), q.NotBefore())
	}
	q.Progress(0)
	if q.Doubtful(0) || q.Failing() {
		t.Error("bytes do not restore the trust")
	}
	n := NewHealth(cfg)
	n.Heard(0, 0, wire.ReasonOriginNotFound)
	if !n.Doubtful(0) || n.Spent(0) {
		t.Error("a missing file is not looked for once")
	}
	n.Failed(0, wire.ReasonOriginNotFound, false)
	if !n.Spent(0) {
		t.Error("a missing file is asked for again")
	}
}

// TestOutage: an origin that served a while ago and is gone is waited for, and
// tried more often than one that never was there.
func TestOutage(t *testing.T) {
	cfg := transfer.LAN()
	served := func() *Health {
		p := NewHealth(cfg)
		p.Progress(time.Second)
		return p
	}
	p := served()
	for range 20 {
		if d := p.Failed(2*time.Second, wire.ReasonOriginStalled, false); d > 2*cfg.Backoff {
			t.Fatalf("left alone for %v", d)
		}
		p.Heard(2*time.Second, time.Second, wire.ReasonOriginUnreachable)
		if p.Spent(2*time.Second) || p.Doubtful(2*time.Second) {
			t.Fatal("gives up a second after the last byte")
		}
	}
	end := p.InterruptionEnds(2 * time.Second)
	if end <= cfg.Outage || p.Spent(end-1) || !p.Spent(end) || p.InterruptionEnds(end) != 0 {
		t.Errorf("the outage ends at %v: before %v, then %v", end, p.Spent(end-1), p.Spent(end))
	}
	for _, why := range []wire.Reason{wire.ReasonOriginNotFound, wire.ReasonOriginForbidden,
		wire.ReasonOriginTruncated, wire.ReasonOriginOther} {
		p := served()
		for range cfg.Attempts {
			p.Failed(2*time.Second, why, false)
		}
		if !p.Spent(2 * time.Second) {
			t.Errorf("%v is waited for", why)
		}
	}
}

// TestHearsay: what peers tell is counted apart from what this device has seen
// itself. It does not end the file, and delays neither the device's own check nor,
// for long, its download.
func TestHearsay(t *testing.T) {
	cfg := transfer.LAN()
	p := NewHealth(cfg)
	p.Failed(0, wire.ReasonOriginOther, false)
	mine := p.ProbeNotBefore()
	p.Heard(0, time.Hour, wire.ReasonOriginNotFound)
	for range 2 * cfg.Attempts {
		p.Heard(0, time.Hour, wire.ReasonOriginOther)
	}
	p.Heard(0, time.Hour, wire.ReasonOriginForbidden)
	if p.Spent(0) {
		t.Error("a failure that a peer told counts as this device's own")
	}
	if p.ProbeNotBefore() != mine || p.NotBefore() > 2*cfg.Backoff {
		t.Errorf("checks not before %v, downloads not before %v", p.ProbeNotBefore(), p.NotBefore())
	}
	q := *p
	p.Progress(mine)
	if p.NotBefore() > mine || p.Failing() {
		t.Errorf("bytes from the origin do not end the pause: not before %v", p.NotBefore())
	}
	for range cfg.Attempts - 1 {
		if q.Spent(0) {
			t.Error("gives up before the last attempt")
		}
		q.Failed(0, wire.ReasonOriginOther, false)
	}
	if !q.Spent(0) {
		t.Error("never gives up")
	}
}

// TestOutageByHearsay: that a peer calls the origin unreachable does not let this
// device wait for an outage to end whose failures it has seen otherwise.
func TestOutageByHearsay(t *testing.T) {
	cfg := transfer.LAN()
	p := NewHealth(cfg)
	p.Progress(time.Second)
	for range cfg.Attempts {
		p.Failed(2*time.Second, wire.ReasonOriginOther, false)
	}
	p.Heard(2*time.Second, 0, wire.ReasonOriginUnreachable)
	if !p.Spent(2 * time.Second) {
		t.Error("waits for an outage that it has not seen")
	}
}

// TestCrowded: a device gives up after so many failures of its own, and after twice as many
// where each may have come since many downloaded at once: a server that always stops in the
// middle serves all others no better. What comes begins the count again.
func TestCrowded(t *testing.T) {
	cfg := transfer.LAN()
	p := NewHealth(cfg)
	for range 2*cfg.Attempts - 1 {
		if p.Failed(0, wire.ReasonOriginStalled, true); p.Spent(0) || !p.Failing() {
			t.Fatal("gives up for what others do, or knows of no failure")
		}
	}
	if p.Failed(0, wire.ReasonOriginStalled, true); !p.Spent(0) {
		t.Error("never gives up while others download")
	}
	p.Progress(0)
	for range cfg.Attempts {
		p.Failed(0, wire.ReasonOriginStalled, true)
	}
	later := cfg.Outage + time.Second
	if p.Spent(later) {
		t.Error("gives up, though something came meanwhile")
	}
	if p.Failed(later, wire.ReasonOriginStalled, false); !p.Spent(later) {
		t.Error("never gives up")
	}
}
