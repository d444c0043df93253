package upgrade_test

import (
	"errors"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/report"
)

// granted is a grant that begins now: an hour to download, and the installation
// from two hours on, for an hour.
func granted(s *script, try int) *upgrade.Grant {
	return &upgrade.Grant{By: upgrade.By{Rollout: "up", Try: try},
		Download: upgrade.Span{From: s.now, Until: s.now.Add(time.Hour)},
		Activate: upgrade.Span{From: s.now.Add(2 * time.Hour), Until: s.now.Add(3 * time.Hour)}}
}

// passes lets time pass, and tells so once the machine wants it.
func (s *script) passes(d time.Duration) []upgrade.Action {
	s.t.Helper()
	s.now = s.now.Add(d)
	if at, ok := s.m.Deadline(); ok && !s.now.Before(at) {
		return s.tell(upgrade.Tick{})
	}
	return nil
}

// begun is a device that runs L1 and is granted L2.
func begun(t *testing.T) *script {
	s := begin(t, upgrade.Record{BootID: "1"})
	s.tell(upgrade.Configured{Within: time.Minute}, upgrade.Started{Boot: "1", Slots: runsL1()})
	s.tell(upgrade.Provisioned{Load: "L2", Grant: granted(s, 1)})
	return s
}

// TestGrant: a load is fetched and installed in the times of its grant, and not
// outside; a restart changes nothing of that.
func TestGrant(t *testing.T) {
	s := begun(t)
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepDownload, "L2", ""))
	if by := s.m.Record().By; by != (upgrade.By{Rollout: "up", Try: 1}) {
		t.Errorf("it is brought by %+v", by)
	}
	s.wants(s.tell(upgrade.StepEnded{}), upgrade.Fetch{Load: "L2"})
	s.tell(upgrade.Fetched{Version: "2", Slots: fullL2()})
	s.state(upgrade.Install, "L2", report.StateReady)
	if s.m.Working() || s.m.Unfinished() {
		t.Error("a load that waits is under way")
	}
	if out := s.passes(90 * time.Minute); len(out) != 0 {
		t.Fatalf("it begins too soon: %+v", out)
	}
	s = again(s)
	s.tell(upgrade.Started{Boot: "1", Slots: fullL2()})
	if out := s.tell(upgrade.Wake{}); len(out) != 0 {
		t.Fatalf("after a restart it begins too soon: %+v", out)
	}
	s.wants(s.passes(30*time.Minute), step(upgrade.StepInstall, "L2", "2"))
	s.state(upgrade.Install, "L2", report.StateInstalling)
	s.now = s.now.Add(5 * time.Hour)
	s = again(s)
	s.tell(upgrade.Started{Boot: "1", Slots: fullL2()})
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepInstall, "L2", "2")) // it was begun in time
}

// TestGrantEnds: what has ended allows nothing, whatever is assigned beside it.
func TestGrantEnds(t *testing.T) {
	s := begun(t)
	s.tell(upgrade.Wake{}, upgrade.StepEnded{})
	s.wants(s.passes(time.Hour), upgrade.Stop{})
	if _, ok := s.m.Deadline(); ok {
		t.Error("it wants to be told twice")
	}
	s.tell(upgrade.NotFetched{Slots: runsL1()})
	s.state(upgrade.Idle, "L2", report.StateIdle)
	if out := s.tell(upgrade.Wake{}); len(out) != 0 {
		t.Errorf("it goes on: %+v", out)
	}
	// Ready, and its time is over before anything was begun.
	s = begun(t)
	s.tell(upgrade.Wake{}, upgrade.StepEnded{}, upgrade.Fetched{Version: "2", Slots: fullL2()})
	s.now = s.now.Add(4 * time.Hour)
	if out := s.tell(upgrade.Wake{}, upgrade.Tick{}); len(out) != 0 {
		t.Errorf("it begins too late: %+v", out)
	}
	later := granted(s, 1)
	later.Activate = upgrade.Span{From: s.now, Until: s.now.Add(time.Hour)}
	s.tell(upgrade.Provisioned{Load: "L2", Grant: later})
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepInstall, "L2", "2"))
}

// TestGrantWithdrawn: without it what was fetched is not installed; what installs
// is let end.
func TestGrantWithdrawn(t *testing.T) {
	s := begun(t)
	s.tell(upgrade.Wake{}, upgrade.StepEnded{}, upgrade.Fetched{Version: "2", Slots: fullL2()})
	s.tell(upgrade.Provisioned{Load: "L1"}, upgrade.Wake{})
	s.state(upgrade.Idle, "L2", report.StateIdle)
	s = begun(t)
	s.tell(upgrade.Wake{}, upgrade.StepEnded{}, upgrade.Fetched{Version: "2", Slots: fullL2()})
	s.passes(2 * time.Hour)
	if out := s.tell(upgrade.Provisioned{Load: "L1"}, upgrade.Wake{}); len(out) > 1 {
		t.Errorf("an installer is stopped: %+v", out)
	}
	s.state(upgrade.Install, "L2", report.StateInstalling)
}

// TestGrantTriesAgain: a load that failed is left alone until another try is
// granted.
func TestGrantTriesAgain(t *testing.T) {
	s := begun(t)
	now := func(try int) *upgrade.Grant {
		g := granted(s, try)
		g.Activate = g.Download
		return g
	}
	s.tell(upgrade.Provisioned{Load: "L2", Grant: now(1)})
	s.tell(upgrade.Wake{}, upgrade.StepEnded{}, upgrade.Fetched{Version: "2", Slots: fullL2()})
	s.tell(upgrade.StepEnded{Err: errors.New("exit status 1")}, upgrade.StepEnded{})
	s.state(upgrade.Idle, "L2", report.StateFailed)
	if out := s.tell(upgrade.Provisioned{Load: "L2", Grant: now(1)}, upgrade.Wake{}); len(out) != 0 {
		t.Errorf("the same try is made twice: %+v", out)
	}
	s.tell(upgrade.Provisioned{Load: "L2", Grant: now(2)})
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepDownload, "L2", ""))
	if by := s.m.Record().By; by.Try != 2 {
		t.Errorf("it is brought by %+v", by)
	}
}

// again is another start of the program, at the same time.
func again(s *script) *script {
	return &script{t: s.t, m: upgrade.New(s.m.Record()), now: s.now}
}
