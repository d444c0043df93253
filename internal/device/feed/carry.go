package feed

import (
	"context"
	"errors"
	"time"

	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/order"
)

// Pinned is closed once this device has pinned a key: before that it can believe
// nothing that comes by way of others.
func (f *Follower) Pinned() <-chan struct{} { return f.pinned }

// Seldom reports of the end of Once that it is of no use to try again soon.
func Seldom(err error) bool { return errors.Is(err, errSeldom) }

// Again hands over what could not be handed over before: the way may be open.
func (f *Follower) Again() { f.wakeAnswers() }

// Mandate makes a mandate for a carrier.
func (f *Follower) Mandate(carrier string, nonce uint32) ([]byte, error) {
	c, err := f.cfg.Controller()
	if err != nil {
		return nil, err
	}
	m := order.Mandate{Device: f.cfg.Device, Nonce: nonce}
	f.mu.Lock()
	m.Time = f.now()
	f.mu.Unlock()
	m.Stamp, _ = f.stamp()
	return order.NewSecret(c.Secret).Mandate(m, carrier)
}

// stamp is that of the file by which the device is provisioned, zero if there is none;
// false if nobody told how to get it.
func (f *Follower) stamp() (order.Stamp, bool) {
	if f.cfg.Stamp == nil {
		return order.Stamp{}, false
	}
	return f.cfg.Stamp(), true
}

// Report seals a report of this device for a carrier. Without a word of the controller it
// fails: by a wrong clock, an old report would pass for a new one.
func (f *Follower) Report(carrier string, report []byte) (order.Reported, error) {
	c, err := f.cfg.Controller()
	if err != nil {
		return order.Reported{}, err
	}
	f.mu.Lock()
	now, unknown := f.now(), f.came.IsZero()
	f.mu.Unlock()
	if unknown {
		return order.Reported{}, errors.New("the controller's time is not known")
	}
	return order.NewSecret(c.Secret).SealReport(f.cfg.Device, carrier, now, report)
}

// Reported reports whether the controller has said that it has a report of this device.
func (f *Follower) Reported(r order.Reported, ack []byte) bool {
	c, err := f.cfg.Controller()
	return err == nil && order.NewSecret(c.Secret).Acked(r.Code, ack)
}

// HandReports hands reports of others over to the controller, and returns what it says.
func (f *Follower) HandReports(ctx context.Context, all []order.Reported) (order.Acks, error) {
	c, err := f.cfg.Controller()
	if err != nil {
		return order.Acks{}, err
	}
	packed, err := order.PackReports(all)
	if err != nil {
		return order.Acks{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return acked(f.send(ctx, c, "reports", "application/octet-stream", packed))
}

// Covered reports whether the controller has made a cover for a mandate of this
// device and a beat.
func (f *Follower) Covered(mandate, beat, cover []byte) bool {
	c, err := f.cfg.Controller()
	return err == nil && order.NewSecret(c.Secret).Covers(mandate, beat, cover)
}

// Passed is a genuine line that came by way of another device: an order with its
// number, or a beat, whose number is 0.
type Passed struct {
	Line   order.Line
	Feed   string
	Number uint64
	// Last and Time are a beat's.
	Last uint64
	Time time.Time
}

// Verify reads a line that came by way of another device; false if it is not genuine,
// or neither beat nor order. It is not taken yet: see Take.
func (f *Follower) Verify(l order.Line) (p Passed, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case l.Beat != nil:
		b, err := f.key.OpenBeat(l.Beat)
		return Passed{Line: order.Line{Beat: l.Beat}, Feed: b.Feed, Last: b.Last, Time: b.Time}, err == nil
	case l.Order != nil:
		o, err := f.key.Open(l.Order, f.cfg.Device, f.now())
		if errors.Is(err, order.ErrNotForMe) || errors.Is(err, order.ErrExpired) {
			err = nil
		}
		return Passed{Line: order.Line{Order: l.Order}, Feed: o.Feed, Number: o.Number}, err == nil
	}
	return Passed{}, false
}

// Next follows statements that came by way of another device.
func (f *Follower) Next(statements [][]byte) { _ = f.next(statements) }

// Take takes a genuine line that came by way of another device, in a feed that is
// known to be this device's and not old. A beat sets the clock forward only: who passes
// it on late must not have an order that has expired carried out once more.
func (f *Follower) Take(p Passed) {
	if p.Line.Order != nil {
		_ = f.got(p.Line.Order) // it was verified; one for others, or expired, does nothing
		return
	}
	f.mu.Lock()
	if f.came.IsZero() || p.Time.After(f.now()) {
		f.beat, f.came = order.Beat{Time: p.Time, Feed: p.Feed, Last: p.Last}, time.Now()
	}
	f.mu.Unlock()
	f.step(inbox.Tick{})
}
