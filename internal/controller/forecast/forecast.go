// Package forecast says what an upgrade will take at each site before it is
// started: how many bytes cross the line of the site, and when its last device is
// complete, beside the ways without peers and beside what its last upgrade took.
//
// What lives here: what the devices of a site would fetch, and which questions
// about that are put to package predict. What must not: the simulator, which
// package sim is; which devices a rollout has, which package rollouts knows; SQL,
// HTTP.
//
// Read first: Census (in one transaction: who would fetch what, and what the last
// upgrade took), then Service.Plans (outside of it: how long that takes).
package forecast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/predict"
	"github.com/peerload/peerload/internal/sim"
	"github.com/peerload/peerload/load"
)

// What is assumed of a site where nobody has said more: that of the laboratory.
const (
	// defaultLAN is the rate of a device's port, in bytes a second.
	defaultLAN = 100e6 / 8
	// defaultRTT is the round trip to the server.
	defaultRTT = 250 * time.Millisecond
	// spread is the time within which devices begin.
	spread = 80 * time.Millisecond
)

// Limits of what is simulated: sites of 5 and of 1,000 devices end within a few
// thousandths of each other, so a plan takes no longer for a large one.
const (
	mostDevices = 20
	fewestSim   = 5
	// chunks are those that all devices of one simulation fetch together.
	chunks = 8000
	// mostRuns bounds the simulations of one plan. Sites alike take one.
	mostRuns = 200
	// mostKnown bounds the answers that are kept.
	mostKnown = 1000
)

// SitePlan is what an upgrade of one site will take.
type SitePlan struct {
	Site string `json:"site" doc:"empty for devices that belong to none"`
	// Devices that would fetch something.
	Devices int `json:"devices"`
	// Loads that they would fetch, stepping stones included.
	Loads []string `json:"loads"`
	// WANBytes cross the line of the site: one copy for those that share, one for
	// each of the others.
	WANBytes int64 `json:"wan_bytes" doc:"bytes over the line of the site"`
	// Last is nil if it cannot be said; Unknown is why then.
	Last    *float64    `json:"last_device_s,omitempty" doc:"seconds from the first start to the last device, without waves, windows and restarts; left out if unknown"`
	Unknown string      `json:"unknown,omitempty" doc:"why there are no times"`
	Classic SiteClassic `json:"classic"`
	Line    SiteLine    `json:"line"`
	// Took is what the last upgrade of the site took, nil if none was reported.
	Took *SiteTook `json:"last_upgrade,omitempty"`
}

// SiteClassic is what the same takes if every device downloads by itself.
type SiteClassic struct {
	WANBytes int64    `json:"wan_bytes"`
	HTTP     *float64 `json:"http_s,omitempty" doc:"seconds by HTTP"`
	TFTP     *float64 `json:"tftp_s,omitempty" doc:"seconds by TFTP in blocks of 512 bytes"`
}

// SiteLine is what was assumed of the site's network.
type SiteLine struct {
	WANRate int64   `json:"wan_rate" doc:"bytes a second that the site gets from this controller, 0 if nobody has said"`
	LANRate int64   `json:"lan_rate" doc:"bytes a second of a device's port"`
	RTT     float64 `json:"round_trip_s" doc:"to the server"`
}

// SiteTook is what an upgrade took, as devices have reported it.
type SiteTook struct {
	Load string `json:"load"`
	// Devices that have said how they got it.
	Devices  int     `json:"devices"`
	WANBytes int64   `json:"wan_bytes"`
	Last     float64 `json:"last_device_s" doc:"seconds that the slowest device took, from its own start"`
	// Ended is when the last of them came to run it.
	Ended time.Time `json:"ended"`
}

// Service predicts. It may be used by several goroutines.
type Service struct {
	ctl *domain.Controller
	// slots leave a processor to devices.
	slots chan struct{}

	mu    sync.Mutex
	known map[string]predict.Way
}

// New returns a service.
func New(ctl *domain.Controller) *Service {
	return &Service{ctl: ctl, slots: make(chan struct{}, max(1, runtime.NumCPU()-1)), known: map[string]predict.Way{}}
}

// Ask is a load or a release, one of them.
type Ask struct{ Load, Release string }

// Site plans that all devices of a site get a load, or their load of a release. A
// site that nobody has made matches domain.ErrNotFound.
func (s *Service) Site(ctx context.Context, a domain.Actor, site string, ask Ask) (p SitePlan, err error) {
	if err := a.Check(domain.ScopeRead); err != nil {
		return p, err
	}
	var d Draft
	err = s.ctl.View(ctx, a, func(tx domain.Tx) error {
		if _, err := domain.SiteNamed(ctx, tx, site); err != nil {
			return err
		}
		if (ask.Load == "") == (ask.Release == "") {
			return fmt.Errorf("%w: a site is planned for a load or a release: name one of them", domain.ErrInvalid)
		}
		if err := s.ctl.Assignable(ctx, tx, ask.Load, ask.Release); err != nil {
			return err
		}
		c, err := s.Census(ctx, tx)
		if err != nil {
			return err
		}
		for page := (domain.Page{Limit: domain.MaxPage}); ; {
			l, err := s.ctl.Wanted(ctx, tx, domain.DeviceFilter{Site: site}, ask.Load, ask.Release, page)
			if err != nil {
				return err
			}
			for _, w := range l.Items {
				if err := c.Add(w.Device, w.Site, w.State.Last.Active, w.Load); err != nil {
					return err
				}
			}
			if page.After = l.Next; page.After == "" {
				break
			}
		}
		c.at(site) // one without devices has a plan, too
		d, err = c.Draft(ctx)
		return err
	})
	if err != nil {
		return p, err
	}
	all, err := s.Plans(ctx, d)
	if err != nil {
		return p, err
	}
	return all[0], nil
}

// Plans says what each site of a draft takes, by name. It simulates: call it
// outside of a transaction.
func (s *Service) Plans(ctx context.Context, d Draft) ([]SitePlan, error) {
	out, runs := []SitePlan{}, 0
	for _, site := range slices.Sorted(maps.Keys(d.sites)) {
		p, err := s.plan(ctx, d, site, &runs)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// errRuns says that a plan is too large to be simulated as a whole.
var errRuns = errors.New("more different sites than one plan simulates: plan this one by itself")

func (s *Service) plan(ctx context.Context, d Draft, name string, runs *int) (SitePlan, error) {
	t := d.sites[name]
	p := SitePlan{Site: name, Devices: t.devices, Loads: slices.Sorted(maps.Keys(t.loads())), Line: t.line, Took: t.took}
	if t.line.WANRate == 0 && name == "" {
		p.Unknown = "these devices belong to no site, so nobody knows their line"
	} else if t.line.WANRate == 0 {
		p.Unknown = "nobody has said what the line of the site carries: give the site its WAN rate"
	}
	var last, http, tftp float64
	for _, f := range t.sorted() {
		n := t.fetch[f]
		c, known := d.loads[f.load].site(t.line, n)
		if !known {
			p.Unknown = fmt.Sprintf("the size of %s is not known, because it is unsigned", f.load)
			continue
		}
		copies := int64(n)
		if f.group != "" {
			copies = 1
		}
		p.WANBytes += copies * c.Size()
		p.Classic.WANBytes += int64(n) * c.Size()
		if p.Unknown != "" {
			continue
		}
		alone := c.CopiesOverWAN().Seconds()
		http += alone
		tftp += c.LockStep(sim.ClassicBlock).Seconds()
		if f.group == "" {
			last += alone
			continue
		}
		w, err := s.shared(ctx, c, runs)
		if errors.Is(err, errRuns) {
			p.Unknown = err.Error()
			continue
		}
		if err != nil {
			return p, err
		}
		last += w.Last.Seconds()
		p.WANBytes += max(0, w.WANBytes-c.Size()) // what is asked for twice
	}
	if p.Unknown == "" {
		p.Last, p.Classic.HTTP, p.Classic.TFTP = &last, &http, &tftp
	}
	return p, nil
}

// shared simulates a site of which it has not been asked before.
func (s *Service) shared(ctx context.Context, c sim.Site, runs *int) (predict.Way, error) {
	c = smaller(c)
	key := fmt.Sprint(c.Devices, c.Sizes, c.Metadata, c.WAN, c.LAN, c.RTT)
	s.mu.Lock()
	w, ok := s.known[key]
	s.mu.Unlock()
	if ok {
		return w, nil
	}
	if *runs++; *runs > mostRuns {
		return w, errRuns
	}
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return w, ctx.Err()
	}
	defer func() { <-s.slots }()
	c.Cancelled = func() bool { return ctx.Err() != nil }
	w, err := predict.Within("", c, chunks)
	if errors.Is(err, sim.ErrCancelled) {
		return w, ctx.Err()
	}
	if err != nil {
		return w, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= mostKnown {
		clear(s.known)
	}
	s.known[key] = w
	return w, nil
}

// smaller is a site with as many devices as need be simulated.
func smaller(c sim.Site) sim.Site {
	each := 1
	for _, n := range c.Sizes {
		each += load.Geometry{Size: n}.Chunks()
	}
	c.Devices = min(c.Devices, max(fewestSim, min(mostDevices, chunks/each)))
	return c
}
