package relay

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// TestReports: reports go by way of the carrier over its one connection, all of a site
// together; a carrier that leaves, or that says what it cannot know, has none.
func TestReports(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	const n = 8
	s := newSite(t, n, 0)
	for i := range n {
		s.start(i)
	}
	s.answered(s.send(), n)
	s.wait(n)
	first := s.carrier()
	text, err := json.Marshal(report.Device{Schema: report.Schema, State: report.StateIdle, Active: "L1"})
	s.must(err)
	followers := func() (all []*node) {
		for _, x := range s.nodes {
			if x != first && x.relay.Follows() {
				all = append(all, x)
			}
		}
		return all
	}
	for len(followers()) < n-1 { // one may still be on its own
		s.answered(s.send(), n)
		s.wait(n)
		first = s.carrier()
	}
	conns, handed := s.front.conns.Load(), s.handed.Load()
	var busy sync.WaitGroup
	for _, x := range followers() {
		busy.Go(func() {
			if !x.relay.Report(t.Context(), text) {
				t.Errorf("%s: not handed over", x.name)
			}
		})
	}
	busy.Wait()
	if more := s.handed.Load() - handed; more < 1 || more >= n-1 || s.front.conns.Load() != conns {
		t.Errorf("%d requests, %d new connections", more, s.front.conns.Load()-conns)
	}
	for _, x := range followers() {
		if row, err := s.ctl.Device(t.Context(), s.root, x.name); err != nil || row.State.Last.Active != "L1" {
			t.Errorf("%s: %+v, %v", x.name, row.State, err)
		}
	}
	if first.relay.Report(t.Context(), text) {
		t.Error("the carrier reports by way of somebody")
	}
	lied := followers()[0]
	s.front.close(true) // nobody can know whether it comes
	answer := make(chan bool, 1)
	go func() { answer <- lied.relay.Report(t.Context(), text) }()
	lied.relay.post(func() {
		l, _ := lied.relay.m.Served()
		lied.relay.carried(l, order.Carried{Took: &order.Ack{Device: lied.name, Code: make([]byte, 32)}})
	})
	if <-answer {
		t.Error("a forged acknowledgement is believed")
	}
	s.front.close(false)
	last := followers()
	if len(last) == 0 {
		return
	}
	go func() { answer <- last[0].relay.Report(t.Context(), text) }()
	first.end()
	<-answer // it is told, whether or not it was handed over
}
