package rollout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/window"
	"github.com/peerload/peerload/internal/parse"
)

// Limits of a plan.
const (
	MaxWaves   = 100
	MaxNamed   = 1000 // devices or sites that a wave names
	MaxReasons = 64   // reasons that are tried again
	MaxTries   = 100

	minValid    = 5 * time.Minute
	maxDuration = 366 * 24 * time.Hour
)

// Plan is what people ask for.
type Plan struct {
	// Waves in their order. A device belongs to the first that takes it; the
	// last takes all that are left.
	Waves []Wave `json:"waves"`
	// MaxFailed pauses the rollout when so many devices have failed. 0: no count
	// does.
	MaxFailed int `json:"max_failed,omitempty"`
	// MaxFailedShare pauses the rollout when at least so many of a hundred
	// devices of a wave have failed. 0: no share does.
	MaxFailedShare int `json:"max_failed_share,omitempty"`
	// Silence says what becomes of devices that are not heard of.
	Silence Silence `json:"silence"`
	// Lost is after how long without a word a device fails that has begun.
	Lost time.Duration `json:"lost"`
	// Longest is how long after its first grant a device fails that has not got
	// there, heard of or not. 0: it is given all the time.
	Longest time.Duration `json:"longest,omitempty"`
	// Retry says which failures are tried again.
	Retry Retry `json:"retry"`
	// Windows in which devices may work, by the clock of their site. Those of
	// the site must be open as well. None: always.
	Windows window.Schedule `json:"windows,omitempty"`
	// DownloadAnytime lets devices download outside the windows, which then hold
	// for the activation alone.
	DownloadAnytime bool `json:"download_anytime,omitempty"`
	// Valid is how long what a device is handed holds at most, and more than the
	// time between two check-ins: so long it goes on
	// while the controller is away, and so long a pause does not reach a device
	// that does not check in.
	Valid time.Duration `json:"valid"`
	// Start is when the first wave opens. Zero: at once.
	Start time.Time `json:"start,omitzero"`
	// Deadline is after when no device may do anything. Zero: there is none.
	Deadline time.Time `json:"deadline,omitzero"`
	// Approval by a second person is wanted before the start.
	Approval bool `json:"approval,omitempty"`
	// LeaveOut leaves out devices that cannot take part, and counts them; without
	// it one such device refuses the start.
	LeaveOut bool `json:"leave_out,omitempty"`
	// AskEvery is the distance between two questions to an external check.
	AskEvery time.Duration `json:"ask_every,omitempty"`
}

// Wave is a part of the target. One of the three ways to say which is given.
type Wave struct {
	// Devices are named one by one: a canary.
	Devices []string `json:"devices,omitempty"`
	// Sites are taken as a whole.
	Sites []string `json:"sites,omitempty"`
	// Percent of the target, those of the waves before it included.
	Percent int `json:"percent,omitempty"`
	// Gate is what must be so before the next wave opens.
	Gate Gate `json:"gate"`
}

// Opener is who opens the next wave.
type Opener string

// The openers. A person may open the next wave in any case.
const (
	BySuccess  Opener = "success"  // success and soak are enough
	ByPerson   Opener = "person"   // a person must say next
	ByExternal Opener = "external" // after success and soak an external check must say go
)

// Gate is what must be so before the next wave opens.
type Gate struct {
	Opener Opener `json:"opener"`
	// Success is how many of a hundred devices of the wave must be done.
	Success int `json:"success,omitempty"`
	// Soak is how long they must have been, without a break.
	Soak time.Duration `json:"soak,omitempty"`
}

// SilenceRule says what becomes of a silent device.
type SilenceRule string

// The rules for silent devices.
const (
	SilenceWaits  SilenceRule = "wait"   // the rollout waits for it
	SilencePasses SilenceRule = "ignore" // it is counted as silent, and nothing waits for it
	SilenceFails  SilenceRule = "fail"   // it is counted as failed
)

// Silence is the setting for devices that are not heard of.
type Silence struct {
	Rule SilenceRule `json:"rule"`
	// After is how long a device must not have been heard of, while its wave is
	// open and it is not kept waiting after a failure.
	After time.Duration `json:"after,omitempty"`
}

// Retry is the policy for failures.
type Retry struct {
	// Reasons that are tried again, as devices report them.
	Reasons []string `json:"reasons,omitempty"`
	// Times at most for one step.
	Times int `json:"times,omitempty"`
	// BackOff is the time before the first; it doubles up to MaxBackOff. Up to a
	// quarter is added so that devices do not come together.
	BackOff time.Duration `json:"back_off,omitempty"`
	// MaxBackOff bounds it. 0: it is BackOff each time.
	MaxBackOff time.Duration `json:"max_back_off,omitempty"`
}

// Default is a careful plan with one wave: silent devices are waited for, nothing
// is tried again, and one failed device of a hundred pauses.
func Default() Plan {
	return Plan{
		Waves:          []Wave{{Percent: 100}},
		MaxFailedShare: 1,
		Silence:        Silence{Rule: SilenceWaits},
		Lost:           24 * time.Hour,
		Valid:          24 * time.Hour,
		AskEvery:       time.Minute,
	}
}

// Validate says what of a plan cannot work, and what to do.
func (p *Plan) Validate() error {
	var errs []error
	bad := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, wrong(format, args...))
		}
	}
	bad(p.MaxFailed < 0, "a failure count of %d: it is 0 (no count pauses) or more", p.MaxFailed)
	bad(p.MaxFailedShare < 0 || p.MaxFailedShare > 100, "a failure share of %d %%: it is 0 (no share pauses) to 100",
		p.MaxFailedShare)
	bad(outside(p.Lost, time.Minute), "devices that began are lost after %v: give from 1m to a year", p.Lost)
	bad(p.Longest != 0 && outside(p.Longest, time.Minute), "a longest time of %v: give 0 (none), or from 1m to a year",
		p.Longest)
	bad(outside(p.Valid, minValid), "grants hold for %v: give from %v to a year", p.Valid, minValid)
	bad(!p.Deadline.IsZero() && !p.Start.Before(p.Deadline), "the deadline %s is not after the start",
		p.Deadline.Format(time.RFC3339))
	if err := p.Windows.Validate(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, p.Silence.validate(), p.Retry.validate(), p.waves())
	return errors.Join(errs...)
}

// wrong is an error with times as people type them.
func wrong(format string, args ...any) error {
	for i, a := range args {
		if d, ok := a.(time.Duration); ok {
			args[i] = parse.Duration(d)
		}
	}
	return fmt.Errorf(format, args...)
}

// outside reports whether a time is shorter than that, or longer than a year.
func outside(d, least time.Duration) bool { return d < least || d > maxDuration }

func (s Silence) validate() error {
	switch {
	case s.Rule == SilenceWaits:
		return nil
	case s.Rule != SilencePasses && s.Rule != SilenceFails:
		return fmt.Errorf("silent devices: %q is none of %s, %s, %s", s.Rule, SilenceWaits, SilencePasses, SilenceFails)
	case outside(s.After, time.Minute):
		return wrong("devices are silent after %v: give from 1m to a year", s.After)
	}
	return nil
}

func (r Retry) validate() error {
	switch {
	case r.Times < 0 || r.Times > MaxTries:
		return fmt.Errorf("%d more tries: give 0 to %d", r.Times, MaxTries)
	case len(r.Reasons) > MaxReasons:
		return fmt.Errorf("%d reasons to try again: at most %d", len(r.Reasons), MaxReasons)
	case r.Times > 0 && len(r.Reasons) == 0:
		return errors.New("no reason to try again: name some, as devices report them, or give no more tries")
	case r.Times > 0 && outside(r.BackOff, time.Second):
		return wrong("a back-off of %v: give from 1s to a year", r.BackOff)
	case r.MaxBackOff != 0 && (r.MaxBackOff < r.BackOff || r.MaxBackOff > maxDuration):
		return wrong("a back-off of at most %v: give 0, or from %v to a year", r.MaxBackOff, r.BackOff)
	}
	return nil
}

// waves says what is wrong with the waves.
func (p *Plan) waves() error {
	n := len(p.Waves)
	if n == 0 || n > MaxWaves {
		return fmt.Errorf("%d waves: give 1 to %d", n, MaxWaves)
	}
	percent := 0
	for i, w := range p.Waves {
		ways := 0
		for _, given := range []bool{len(w.Devices) > 0, len(w.Sites) > 0, w.Percent != 0} {
			if given {
				ways++
			}
		}
		switch {
		case ways != 1:
			return fmt.Errorf("wave %d: name devices, or sites, or a percentage", i+1)
		case len(w.Devices) > MaxNamed || len(w.Sites) > MaxNamed:
			return fmt.Errorf("wave %d names more than %d: give a percentage, or several waves", i+1, MaxNamed)
		case slices.Contains(w.Devices, "") || slices.Contains(w.Sites, ""):
			return fmt.Errorf("wave %d: a name is empty", i+1)
		case w.Percent != 0 && (w.Percent <= percent || w.Percent > 100):
			return fmt.Errorf("wave %d: %d %%: percentages include the waves before them, so they rise, to 100", i+1, w.Percent)
		case i == n-1 && w.Percent != 100:
			return fmt.Errorf("the last wave takes the rest of the target: give it 100 %%")
		}
		percent = max(percent, w.Percent)
		if i == n-1 {
			break // nothing opens after it
		}
		if err := w.Gate.validate(); err != nil {
			return fmt.Errorf("wave %d: %w", i+1, err)
		}
		if w.Gate.Opener == ByExternal && outside(p.AskEvery, time.Second) {
			return wrong("the external check is asked every %v: give from 1s to a year", p.AskEvery)
		}
	}
	return nil
}

func (g Gate) validate() error {
	switch {
	case g.Opener != BySuccess && g.Opener != ByPerson && g.Opener != ByExternal:
		return fmt.Errorf("the next wave is opened by %q: it is one of %s", g.Opener,
			strings.Join([]string{string(BySuccess), string(ByPerson), string(ByExternal)}, ", "))
	case g.Opener != ByPerson && (g.Success < 1 || g.Success > 100):
		return fmt.Errorf("a success share of %d %%: give 1 to 100", g.Success)
	case g.Soak < 0 || g.Soak > maxDuration:
		return wrong("a soak time of %v: give 0 to a year", g.Soak)
	}
	return nil
}
