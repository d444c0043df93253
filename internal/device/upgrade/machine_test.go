package upgrade_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/report"
)

// script tells a machine events and looks at what follows.
type script struct {
	t   *testing.T
	m   *upgrade.Machine
	now time.Time
}

func begin(t *testing.T, r upgrade.Record) *script {
	return &script{t: t, m: upgrade.New(r), now: time.Unix(1_700_000_000, 0).UTC()}
}

// tell takes events to the machine and returns the actions of the last one.
func (s *script) tell(events ...upgrade.Event) (out []upgrade.Action) {
	for _, e := range events {
		out = s.m.Step(s.now, e, nil)
	}
	return out
}

// wants looks for an action.
func (s *script) wants(out []upgrade.Action, want upgrade.Action) {
	s.t.Helper()
	for _, a := range out {
		if reflect.DeepEqual(a, want) {
			return
		}
	}
	s.t.Fatalf("no %T%+v in %+v", want, want, out)
}

// state looks at the record.
func (s *script) state(p upgrade.Phase, load, state string) {
	s.t.Helper()
	if r := s.m.Record(); r.Phase != p || r.Load != load || r.State != state {
		s.t.Fatalf("phase %s of %s, state %s; want %s of %s, %s", r.Phase, r.Load, r.State, p, load, state)
	}
}

// runsL1 are slots with one load that is good; in fullL2 another is complete, in
// triesL2 on trial.
func runsL1() upgrade.Slots {
	return upgrade.Slots{Active: upgrade.Slot{Load: "L1", Version: "1", State: upgrade.SlotConfirmed}}
}

func fullL2() upgrade.Slots {
	return upgrade.Slots{Active: runsL1().Active, Inactive: upgrade.Slot{Load: "L2", Version: "2"}}
}

func triesL2() upgrade.Slots {
	l2 := upgrade.Slot{Load: "L2", Version: "2", State: upgrade.SlotTrial}
	return upgrade.Slots{Active: l2, Inactive: runsL1().Active}
}

func step(s upgrade.Step, load, version string) upgrade.RunStep {
	return upgrade.RunStep{Step: s, Load: load, Version: version}
}

// TestLifeOfAnUpgrade: from provisioned to confirmed, with a restart between.
func TestLifeOfAnUpgrade(t *testing.T) {
	s := begin(t, upgrade.Record{BootID: "1"})
	s.tell(upgrade.Configured{ByCommand: true, Within: time.Minute}, upgrade.Started{Boot: "1", Slots: runsL1()})
	out := s.tell(upgrade.Provisioned{Load: "L2"}, upgrade.Wake{})
	s.wants(out, step(upgrade.StepDownload, "L2", ""))
	s.wants(s.tell(upgrade.StepEnded{}), upgrade.Fetch{Load: "L2"})
	s.state(upgrade.Download, "L2", report.StateDownloading)
	s.wants(s.tell(upgrade.Fetched{Version: "2", Slots: fullL2()}), step(upgrade.StepInstall, "L2", "2"))
	s.state(upgrade.Install, "L2", report.StateInstalling)
	s.wants(s.tell(upgrade.StepEnded{Restart: true}), upgrade.ChangeSlots{Change: upgrade.SwitchTrial})
	s.wants(s.tell(upgrade.SlotsChanged{Slots: triesL2()}), step(upgrade.StepReboot, "L2", "2"))
	s.state(upgrade.Reboot, "L2", report.StateRebooting)
	s.tell(upgrade.StepEnded{})

	s = begin(t, s.m.Record())
	s.tell(upgrade.Configured{ByCommand: true, Within: time.Minute})
	s.wants(s.tell(upgrade.Started{Boot: "2", Slots: triesL2()}), upgrade.ChangeSlots{Change: upgrade.CountBoot})
	s.tell(upgrade.SlotsChanged{Slots: triesL2()})
	s.state(upgrade.Trial, "L2", report.StateTrial)
	s.wants(s.tell(upgrade.Wake{}), upgrade.AskHealth{Load: "L2", Version: "2"})
	s.tell(upgrade.Asked{Err: errors.New("not yet")})
	if at, ok := s.m.Deadline(); !ok || at.Sub(s.now) != 2*time.Second {
		t.Fatalf("it asks again at %v, %v", at, ok)
	}
	s.now = s.now.Add(2 * time.Second)
	s.tell(upgrade.Tick{})
	s.wants(s.tell(upgrade.Asked{}), step(upgrade.StepCommit, "L2", "2"))
	s.wants(s.tell(upgrade.StepEnded{}), upgrade.ChangeSlots{Change: upgrade.Confirm})
	runs := upgrade.Slots{Active: upgrade.Slot{Load: "L2", State: upgrade.SlotConfirmed}, Inactive: runsL1().Active}
	s.wants(s.tell(upgrade.SlotsChanged{Slots: runs}), upgrade.Ended{Result: upgrade.Committed, Load: "L2", Version: "2"})
	s.state(upgrade.Idle, "L2", report.StateIdle)
	if s.m.Working() || s.m.Unfinished() {
		t.Error("there is still something to do")
	}
}

// TestProgramStartedTwiceInOneBoot: the device has restarted into a good load,
// and the program was killed before it could note that. The next start of the
// program asks for no other restart: the slots would take that for a load
// that does not stay up, and go back.
func TestProgramStartedTwiceInOneBoot(t *testing.T) {
	booted := triesL2()
	booted.Active.Booted = true
	for name, c := range map[string]struct {
		from  string
		slots upgrade.Slots
	}{
		"counted":               {"1", booted},
		"not counted":           {"1", triesL2()},
		"of an earlier version": {"", booted},
	} {
		s := begin(t, upgrade.Record{Phase: upgrade.Reboot, Load: "L2", Assigned: "L2", BootID: "2", RebootFrom: c.from})
		s.tell(upgrade.Configured{Within: time.Minute}, upgrade.Started{Boot: "2", Slots: c.slots})
		if p := s.m.Record().Phase; p != upgrade.Trial {
			t.Errorf("%s: phase %s", name, p)
		}
	}
	// In the start of the device that asked for the restart it is asked again.
	s := begin(t, upgrade.Record{Phase: upgrade.Reboot, Load: "L2", Assigned: "L2", BootID: "1", RebootFrom: "1"})
	s.tell(upgrade.Started{Boot: "1", Slots: triesL2()})
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepReboot, "L2", ""))
}

// TestInstallHasAnEnd: an installer that takes the device down with it each time,
// and slots that cannot be switched, do not keep a device busy for ever.
func TestInstallHasAnEnd(t *testing.T) {
	t.Run("takes the device down", func(t *testing.T) {
		r := upgrade.Record{Phase: upgrade.Install, Load: "L2", Version: "2", Assigned: "L2", Installs: 1}
		for boot := 1; boot <= 5; boot++ {
			s := begin(t, r)
			s.tell(upgrade.Started{Boot: fmt.Sprint(boot), Slots: fullL2()}, upgrade.SlotsChanged{Slots: fullL2()})
			want := step(upgrade.StepInstall, "L2", "2")
			if boot == 5 {
				want.Step = upgrade.StepRollback
			}
			s.wants(s.tell(upgrade.Wake{}), want)
			r = s.m.Record()
		}
		if f, ok := r.FailedBefore("L2"); !ok || f.Reason != reason.Installer {
			t.Errorf("%+v", r)
		}
	})
	t.Run("cannot be switched", func(t *testing.T) {
		s := begin(t, upgrade.Record{BootID: "1"})
		s.tell(upgrade.Started{Boot: "1", Slots: runsL1()}, upgrade.Provisioned{Load: "L2"})
		tries := 0
		for s.tell(upgrade.Wake{}); s.m.Working() && tries < 20; s.tell(upgrade.Wake{}) {
			tries++
			s.tell(upgrade.StepEnded{}, upgrade.Fetched{Version: "2", Slots: fullL2()}, upgrade.StepEnded{},
				upgrade.SlotsChanged{Err: errors.New("damaged"), Slots: fullL2()})
		}
		if tries != 6 { // five that install, and one that undoes it
			t.Errorf("it came to rest after %d tries", tries)
		}
	})
	t.Run("cut while it is undone", func(t *testing.T) {
		s := begin(t, upgrade.Record{Phase: upgrade.Install, Load: "L2", Version: "2", Assigned: "L2", BootID: "1"})
		s.tell(upgrade.Started{Boot: "1", Slots: fullL2()}, upgrade.Wake{})
		s.wants(s.tell(upgrade.StepEnded{Err: errors.New("exit status 1")}), step(upgrade.StepRollback, "L2", "2"))
		s = begin(t, s.m.Record())
		s.tell(upgrade.Started{Boot: "1", Slots: fullL2()})
		s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepRollback, "L2", "2"))
		s.tell(upgrade.StepEnded{})
		s.state(upgrade.Idle, "L2", report.StateFailed)
		if r := s.m.Record(); r.Reason != reason.Installer || r.Message != "exit status 1" {
			t.Errorf("it does not say why: %+v", r)
		}
	})
}

// TestReassignedWhileItFetches: the load that is assigned now is fetched as soon
// as the one before has let go of the slot, and not before.
func TestReassignedWhileItFetches(t *testing.T) {
	s := begin(t, upgrade.Record{BootID: "1"})
	s.tell(upgrade.Started{Boot: "1", Slots: runsL1()}, upgrade.Provisioned{Load: "L2"})
	s.tell(upgrade.Wake{}, upgrade.StepEnded{})
	out := s.tell(upgrade.Provisioned{Load: "L3"}, upgrade.Wake{})
	s.wants(out, upgrade.Stop{})
	if out = s.tell(upgrade.Wake{}); len(out) != 0 {
		t.Fatalf("told once more: %+v", out)
	}
	// It may have been complete when it was stopped: then it is L3's slot all the same.
	s.wants(s.tell(upgrade.Fetched{Version: "2", Slots: fullL2()}), step(upgrade.StepDownload, "L3", ""))
	s.state(upgrade.Download, "L3", report.StateDownloading)
	s.wants(s.tell(upgrade.StepEnded{}), upgrade.Fetch{Load: "L3"})
	// None is assigned any more: the device does not say that it downloads.
	s.wants(s.tell(upgrade.Provisioned{}, upgrade.Wake{}), upgrade.Stop{})
	s.tell(upgrade.NotFetched{Err: errors.New("killed"), Slots: fullL2()})
	s.state(upgrade.Idle, "L3", report.StateIdle)
}

// TestFirstLoadFails: there is no way back from it. It is not confirmed, stays
// known as failed, and is tried again once it may be.
func TestFirstLoadFails(t *testing.T) {
	first := upgrade.Slots{Active: upgrade.Slot{Load: "L1", State: upgrade.SlotTrial}}
	s := begin(t, upgrade.Record{Phase: upgrade.Trial, Load: "L1", Assigned: "L1", BootID: "1"})
	s.tell(upgrade.Configured{Within: time.Minute}, upgrade.Started{Boot: "1", Slots: first}, upgrade.Wake{})
	s.now = s.now.Add(time.Minute)
	s.wants(s.tell(upgrade.Tick{}), upgrade.ChangeSlots{Change: upgrade.GoBack})
	out := s.tell(upgrade.SlotsChanged{NoWayBack: true, Err: errors.New("empty"), Slots: first})
	s.wants(out, upgrade.ChangeSlots{Change: upgrade.Fail})
	first.Active.State = upgrade.SlotFailed
	s.tell(upgrade.SlotsChanged{Slots: first}, upgrade.StepEnded{})
	s.state(upgrade.Idle, "L1", report.StateFailed)
	if s.m.Unfinished() {
		t.Error("a load that failed is tried again")
	}
	s.tell(upgrade.Forget{})
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepDownload, "L1", ""))
}

// TestTriedAgain: a load that failed is tried again where the device has none that
// works, after a pause that doubles up to six hours and is counted anew from each
// start; installed once each time. Beside a load that works it is not.
func TestTriedAgain(t *testing.T) {
	full := upgrade.Slots{Inactive: upgrade.Slot{Load: "L1", Version: "1"}}
	s := begin(t, upgrade.Record{BootID: "1", Assigned: "L1", Installs: 4})
	s.tell(upgrade.Started{Boot: "1"})
	fails := func() {
		t.Helper()
		s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepDownload, "L1", ""))
		s.tell(upgrade.StepEnded{})
		s.wants(s.tell(upgrade.Fetched{Version: "1", Slots: full}), step(upgrade.StepInstall, "L1", "1"))
		s.wants(s.tell(upgrade.StepEnded{Err: errors.New("exit status 1")}), step(upgrade.StepRollback, "L1", "1"))
		s.wants(s.tell(upgrade.StepEnded{}), upgrade.Ended{Result: upgrade.Failed, Load: "L1", Version: "1",
			Reason: reason.Installer, Message: "exit status 1"})
	}
	fails()
	minutes := []time.Duration{15, 30, 60, 120, 240, 360, 360}
	for n, pause := range minutes {
		if n == 2 { // another start, shortly before it is due
			s.now = s.now.Add(59 * time.Minute)
			s.m = upgrade.New(s.m.Record())
			s.tell(upgrade.Started{Boot: "1", Slots: full})
		}
		s.now = s.now.Add(pause*time.Minute - time.Second)
		if out := s.tell(upgrade.Wake{}); len(out) != 0 {
			t.Fatalf("after %d failures it is tried again too soon: %+v", n+1, out)
		}
		s.now = s.now.Add(time.Second)
		fails()
	}
	if f := s.m.Record().Failed[0]; f.Tries != len(minutes)+1 || f.Again {
		t.Errorf("%+v", f)
	}
	s.now = s.now.Add(24 * time.Hour)
	r := s.m.Record()
	r.BootID = "1"
	works := begin(t, r)
	works.tell(upgrade.Started{Boot: "1", Slots: upgrade.Slots{Active: upgrade.Slot{Load: "L0",
		State: upgrade.SlotConfirmed}}})
	works.now = works.now.Add(24 * time.Hour)
	if out := works.tell(upgrade.Wake{}); len(out) != 0 || works.m.Unfinished() {
		t.Errorf("it is tried again beside a load that works: %+v", out)
	}
	// Once it works it is forgotten that it ever failed.
	s.tell(upgrade.Wake{}, upgrade.StepEnded{}, upgrade.Fetched{Version: "1", Slots: full}, upgrade.StepEnded{},
		upgrade.SlotsChanged{Slots: upgrade.Slots{Active: upgrade.Slot{Load: "L1", State: upgrade.SlotTrial}}},
		upgrade.Provisioned{Load: "L1"}, upgrade.StepEnded{},
		upgrade.SlotsChanged{Slots: upgrade.Slots{Active: upgrade.Slot{Load: "L1", State: upgrade.SlotConfirmed}}})
	s.state(upgrade.Idle, "L1", report.StateIdle)
	if left := s.m.Record().Failed; len(left) > 0 {
		t.Errorf("%+v", left)
	}
}

// TestNotRemembered: nothing follows from what is not on disk, and the next Wake
// begins it again.
func TestNotRemembered(t *testing.T) {
	s := begin(t, upgrade.Record{BootID: "1"})
	s.tell(upgrade.Started{Boot: "1", Slots: runsL1()}, upgrade.Provisioned{Load: "L2"}, upgrade.NotRemembered{})
	if s.m.Record().Assigned != "" || len(s.tell(upgrade.Wake{})) != 0 {
		t.Error("a load is fetched that is not remembered")
	}
	s.tell(upgrade.Provisioned{Load: "L2"}, upgrade.Wake{}, upgrade.NotRemembered{})
	if s.m.Working() || !s.m.Unfinished() {
		t.Error("it works on what is not remembered")
	}
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepDownload, "L2", ""))
	// The slots went on and the record did not: it follows them.
	s = begin(t, upgrade.Record{Phase: upgrade.Trial, Load: "L2", Assigned: "L2", BootID: "1"})
	s.tell(upgrade.Configured{Within: time.Minute}, upgrade.Started{Boot: "1", Slots: triesL2()}, upgrade.Wake{},
		upgrade.Provisioned{Load: "L2"}, upgrade.StepEnded{})
	runs := upgrade.Slots{Active: upgrade.Slot{Load: "L2", State: upgrade.SlotConfirmed}, Inactive: runsL1().Active}
	s.tell(upgrade.SlotsChanged{Slots: runs}, upgrade.NotRemembered{})
	s.state(upgrade.Trial, "L2", "")
	s.tell(upgrade.Wake{})
	s.state(upgrade.Idle, "L2", report.StateIdle)
}

// TestInterrupt: what fetches stops and begins again with the next Wake; what
// installs does not.
func TestInterrupt(t *testing.T) {
	s := begin(t, upgrade.Record{BootID: "1"})
	s.tell(upgrade.Started{Boot: "1", Slots: runsL1()}, upgrade.Provisioned{Load: "L2"})
	s.tell(upgrade.Wake{}, upgrade.StepEnded{})
	s.wants(s.tell(upgrade.Interrupt{}), upgrade.Stop{})
	if out := s.tell(upgrade.Provisioned{Load: "L3"}, upgrade.Wake{}); len(out) != 0 {
		t.Fatalf("told once more: %+v", out)
	}
	s.tell(upgrade.NotFetched{Err: errors.New("killed"), Slots: runsL1()}, upgrade.Provisioned{Load: "L2"})
	if s.m.Working() {
		t.Fatal("it goes on by itself")
	}
	s.state(upgrade.Download, "L2", report.StateDownloading)
	s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepDownload, "L2", ""))
	s.tell(upgrade.StepEnded{}, upgrade.Fetched{Version: "2", Slots: fullL2()})
	if out := s.tell(upgrade.Interrupt{}); len(out) != 0 {
		t.Errorf("an installer is stopped: %+v", out)
	}
}

// TestFailedIsBounded: the list of loads that failed does not grow without end,
// and forgets the oldest first.
func TestFailedIsBounded(t *testing.T) {
	r := upgrade.Record{Phase: upgrade.Rollback, Load: "L2", Assigned: "L2", BootID: "1", Reason: reason.Reboot}
	for i := range 16 {
		r.Failed = append(r.Failed, upgrade.FailedLoad{Load: fmt.Sprint("old ", i), Reason: reason.Switch})
	}
	s := begin(t, r)
	s.tell(upgrade.Started{Boot: "1", Slots: runsL1()}, upgrade.Wake{}, upgrade.StepEnded{})
	after := s.m.Record()
	if _, first := after.FailedBefore("old 0"); first || len(after.Failed) != 16 || after.Failed[15].Load != "L2" {
		t.Errorf("%+v", after.Failed)
	}
	if len(r.Failed) != 16 || r.Failed[0].Load != "old 0" {
		t.Errorf("an earlier record has changed: %+v", r.Failed)
	}
}

// TestSlotsWentBack: the slots have gone back by themselves, and the program was
// killed before it noted that. The load is not fetched once more.
func TestSlotsWentBack(t *testing.T) {
	back := upgrade.Slots{Active: runsL1().Active, Inactive: upgrade.Slot{Load: "L2", State: upgrade.SlotFailed}}
	for _, p := range []upgrade.Phase{upgrade.Reboot, upgrade.Trial} {
		s := begin(t, upgrade.Record{Phase: p, Load: "L2", Version: "2", Assigned: "L2", BootID: "2"})
		s.tell(upgrade.Started{Boot: "2", Slots: back})
		s.wants(s.tell(upgrade.Wake{}), step(upgrade.StepRollback, "L2", "2"))
		s.tell(upgrade.StepEnded{}, upgrade.Wake{})
		s.state(upgrade.Idle, "L2", report.StateRolledBack)
		r := s.m.Record()
		if f, ok := r.FailedBefore("L2"); !ok || f.Reason != reason.NotConfirmed || r.Message == "" {
			t.Errorf("%s: %+v", p, r)
		}
	}
	// The record is lost: what the slots say counts.
	s := begin(t, upgrade.Record{})
	s.tell(upgrade.Started{Boot: "2", Slots: triesL2()}, upgrade.SlotsChanged{RolledBack: true, Slots: back})
	s.state(upgrade.Rollback, "L2", "")
	s = begin(t, upgrade.Record{})
	s.tell(upgrade.Started{Boot: "2", Slots: triesL2()}, upgrade.SlotsChanged{Slots: triesL2()})
	s.state(upgrade.Trial, "L2", report.StateTrial)
}

// TestDoesNotStayUp: a program that is started time and again during a trial
// goes back to the load before.
func TestDoesNotStayUp(t *testing.T) {
	r := upgrade.Record{Phase: upgrade.Trial, Load: "L2", Assigned: "L2", BootID: "1", Starts: 1}
	for starts := 2; starts < 10; starts++ {
		s := begin(t, r)
		s.tell(upgrade.Configured{ByCommand: true, Within: time.Hour}, upgrade.Started{Boot: "1", Slots: triesL2()})
		out := s.tell(upgrade.Wake{})
		if r = s.m.Record(); r.Phase == upgrade.Rollback {
			s.wants(out, upgrade.ChangeSlots{Change: upgrade.GoBack})
			if starts != 6 || r.Reason != reason.NotConfirmed {
				t.Errorf("it goes back after %d starts: %+v", starts, r)
			}
			return
		}
		s.wants(out, upgrade.AskHealth{Load: "L2"})
	}
	t.Error("it never goes back")
}

// TestWayBack: a device that does not go down goes back, restarts if the
// installer wants that, and is idle in the end.
func TestWayBack(t *testing.T) {
	s := begin(t, upgrade.Record{Phase: upgrade.Reboot, Load: "L2", Assigned: "L2", BootID: "1"})
	s.tell(upgrade.Started{Boot: "1", Slots: triesL2()}, upgrade.Wake{}, upgrade.StepEnded{})
	if s.m.Record().RebootFrom != "1" {
		t.Error("it does not remember which start of the device asked for another")
	}
	at, ok := s.m.Deadline()
	if !ok || at.Sub(s.now) != 10*time.Minute {
		t.Fatalf("it waits until %v, %v", at, ok)
	}
	if out := s.tell(upgrade.Tick{}); len(out) != 0 {
		t.Fatalf("it did not wait: %+v", out)
	}
	s.now = at
	// What is not remembered is not done, and not asked for without end.
	if s.tell(upgrade.Tick{}, upgrade.NotRemembered{}); s.m.Working() {
		t.Fatal("it waits for what has passed")
	}
	s.tell(upgrade.Wake{}, upgrade.StepEnded{})
	s.now = at.Add(10 * time.Minute)
	s.wants(s.tell(upgrade.Tick{}), upgrade.ChangeSlots{Change: upgrade.GoBack})
	s.wants(s.tell(upgrade.SlotsChanged{Slots: runsL1()}), step(upgrade.StepRollback, "L2", ""))
	out := s.tell(upgrade.StepEnded{Restart: true})
	s.wants(out, step(upgrade.StepReboot, "L2", ""))
	s.state(upgrade.Idle, "L2", report.StateRolledBack)
	s.tell(upgrade.StepEnded{Err: errors.New("exit status 1")})
	if s.m.Working() || s.m.Unfinished() {
		t.Error("it does not come to rest")
	}
}

// TestTrialEndsInTime: the last question comes no later than the trial may take,
// and an answer that is good counts whenever it comes.
func TestTrialEndsInTime(t *testing.T) {
	s := begin(t, upgrade.Record{Phase: upgrade.Trial, Load: "L2", Assigned: "L2", BootID: "1"})
	s.tell(upgrade.Configured{ByCommand: true, Within: 3 * time.Second})
	s.tell(upgrade.Started{Boot: "1", Slots: triesL2()}, upgrade.Wake{})
	end := s.now.Add(3 * time.Second)
	asked := 0
	for s.now.Before(end) && asked < 10 {
		s.now = s.now.Add(10 * time.Millisecond) // the command takes that long
		s.tell(upgrade.Asked{Err: errors.New("not yet")})
		at, ok := s.m.Deadline()
		if !ok || at.After(end) {
			t.Fatalf("it waits until %v, %v", at, ok)
		}
		asked++
		if s.now = at; at.Before(end) {
			s.wants(s.tell(upgrade.Tick{}), upgrade.AskHealth{Load: "L2"})
		}
	}
	if asked != 4 {
		t.Errorf("it asked %d times", asked)
	}
	s.wants(s.tell(upgrade.Tick{}), upgrade.ChangeSlots{Change: upgrade.GoBack})
}

// TestAnotherLoadInTheSlot: a slot that holds another load than the one that was
// installed is not switched to, whatever put it there.
func TestAnotherLoadInTheSlot(t *testing.T) {
	other := upgrade.Slots{Active: runsL1().Active, Inactive: upgrade.Slot{Load: "L3", Version: "3"}}
	s := begin(t, upgrade.Record{Phase: upgrade.Reboot, Load: "L2", Version: "2", Assigned: "L2", BootID: "1"})
	out := s.tell(upgrade.Started{Boot: "1", Slots: other}, upgrade.Wake{})
	for _, a := range out {
		if c, ok := a.(upgrade.ChangeSlots); ok {
			t.Errorf("it changes the slots: %+v", c)
		}
	}
	if r := s.m.Record(); r.Reason != reason.Switch || r.State != report.StateFailed {
		t.Errorf("%+v; %+v", r, out)
	}
}
