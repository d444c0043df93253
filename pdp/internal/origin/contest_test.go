package origin

import (
	"testing"
	"time"
)

// TestContest: a peer that brings as much as the origin ends a direct download, and
// one that brings a chunk now and then does not.
func TestContest(t *testing.T) {
	var c Contest
	c.Begin(0, false, false)
	if !c.Peer() {
		t.Error("the origin brought nothing, and the peer's chunk does not do")
	}
	// A parent serves again: its chunks come one upon the other.
	c = Contest{}
	c.Begin(0, false, false)
	for range 100 {
		c.Origin()
	}
	if c.Peer() || !c.Peer() {
		t.Errorf("a parent that serves again has to make good %d more", c.lead)
	}
	// Where the device wants to know who is quicker, all of the lead counts.
	c = Contest{}
	c.Begin(0, false, true)
	for range 10 {
		c.Origin()
	}
	for i := range 10 {
		if c.Peer() != (i == 9) {
			t.Errorf("chunk %d: %d to make good", i, c.lead)
		}
	}
	if c.Begin(0, false, false); c.limit != 2*leastLead {
		t.Errorf("%d count in the next download", c.limit)
	}
	c = Contest{}
	c.Begin(0, false, false)
	for range 100 {
		c.Origin()
	}
	// A trickle: one chunk for each four of the origin.
	for i := range 100 {
		if i%5 < 4 {
			c.Origin()
		} else if c.Peer() {
			t.Fatalf("chunk %d ends the download", i)
		}
	}
	// The lead grows with each download that was ended, up to a bound.
	for range 10 {
		c.Begin(0, false, false)
	}
	for range 1000 {
		c.Origin()
	}
	n := 1
	for !c.Peer() {
		n++
	}
	if n != mostLead {
		t.Errorf("%d chunks end the tenth download", n)
	}
}

// TestUnmatched: two chunks of the origin against none in a second say that the
// peers give nothing.
func TestUnmatched(t *testing.T) {
	var c Contest
	c.Begin(time.Second, true, false)
	c.Origin()
	if c.Unmatched(time.Minute) {
		t.Error("after one chunk")
	}
	c.Origin()
	if c.Unmatched(2*time.Second-1) || !c.Unmatched(2*time.Second) || !c.WasRoot() {
		t.Error("not after two chunks and a second")
	}
	c.Peer()
	if c.Unmatched(time.Minute) {
		t.Error("though a peer brought a chunk")
	}
}
