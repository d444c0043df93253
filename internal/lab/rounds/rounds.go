// Package rounds plays rounds of random faults on a site of real agents: in each
// round a load is published while devices are killed, stopped, cut off, filled,
// damaged or replaced by a peer that lies. After it every honest device must run
// the load, nobody may have wrong bytes, and what long-lived processes use must
// not grow.
//
// What lives here: the plan of a round, which its seed and number decide alone,
// how it is carried out, and what is checked. What must not: how a site is built,
// and stories that somebody tells (package story).
//
// Read plan.go (what may happen), then Site.Run here, then check.go.
package rounds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// Config says what is played.
type Config struct {
	// Devices is the number of devices, 2 to MaxDevices. Required.
	Devices int
	// Rounds is how many rounds are played, at least 1. Required.
	Rounds int
	// First is the number of the first round, from 1: a round is played again by
	// its seed and number. Required.
	First int
	// Seed decides what happens.
	Seed uint64
	// Limit is how long a round may take once its faults are over. Required.
	Limit time.Duration
	// Agent is the program peerload. Required.
	Agent string
	// Server is the program peerload-server. Required.
	Server string
	// Base is where the files of the run are; "": see process.NewRunDir.
	Base string
	// OnRound is called after each round. nil: nobody is told.
	OnRound func(Round)
}

// MaxDevices bounds the devices: each is a process with some 25 MB.
const MaxDevices = 200

// Validate refuses what cannot be played.
func (c Config) Validate() error {
	switch {
	case c.Devices < 2 || c.Devices > MaxDevices:
		return fmt.Errorf("--devices is 2 to %d, not %d", MaxDevices, c.Devices)
	case c.Rounds < 1 || c.First < 1:
		return errors.New("--rounds and --first are at least 1")
	case c.Limit < time.Second:
		return fmt.Errorf("--limit is at least 1s, not %v", c.Limit)
	}
	return nil
}

// Round is what came of a round.
type Round struct {
	Event string `json:"event"` // "round"
	Round int    `json:"round"`
	Seed  uint64 `json:"seed"`
	// Plan in words, and the size of the load in bytes.
	Plan string `json:"plan"`
	Size int    `json:"size"`
	// Right is how many of the Honest devices run the load.
	Honest int `json:"honest"`
	Right  int `json:"right"`
	// Exits are agents that ended by themselves.
	Exits []string `json:"exits,omitempty"`
	// Deceived is how many links honest devices made to liars.
	Deceived int `json:"deceived,omitempty"`
	// Damaged says which files were changed, and how.
	Damaged []string `json:"damaged,omitempty"`
	// Wrong says what is not as it must be; nothing if all is right.
	Wrong []string `json:"wrong,omitempty"`
	WallS float64  `json:"wall_s"`
}

// Result is what came of all rounds.
type Result struct {
	Event   string `json:"event"` // "rounds"
	Devices int    `json:"devices"`
	Rounds  int    `json:"rounds"`
	Seed    uint64 `json:"seed"`
	// Faults counts them by their kind, "wan" for cuts of the WAN.
	Faults map[string]int `json:"faults"`
	// Deceived is how many links honest devices made to liars.
	Deceived int `json:"deceived"`
	// FromOrigin and FromPeers are the bytes that devices have reported.
	FromOrigin int64 `json:"from_origin"`
	FromPeers  int64 `json:"from_peers"`
	// Failed are the numbers of the rounds in which something was wrong.
	Failed []int `json:"failed,omitempty"`
	Exits  int   `json:"exits"`
	// Growth of the controller and of the agents that were never killed; none
	// after too few rounds.
	Growth []Growth `json:"growth,omitempty"`
	WallS  float64  `json:"wall_s"`
}

// Right reports whether all was as it must be.
func (r *Result) Right() bool {
	for _, g := range r.Growth {
		if !g.Flat {
			return false
		}
	}
	return len(r.Failed) == 0
}

// Site is a site on which rounds are played.
type Site struct {
	cfg     Config
	dir     *process.RunDir
	net     *site.Namespaces
	server  *controller
	devices []*device
	life    context.Context //nolint:containedctx // of all processes
	end     context.CancelFunc

	mu    sync.Mutex
	round Round // the present one
}

// New builds the site and starts the controller and all agents; see
// site.Isolate. Close must be called if there is no error.
func New(ctx context.Context, cfg Config) (_ *Site, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Site{cfg: cfg}
	s.life, s.end = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.dir, err = process.NewRunDir(cfg.Base, int64(cfg.Devices)*diskSize/4+(64<<20)); err != nil {
		return nil, err
	}
	s.net, err = site.NewNamespaces(site.NamespaceConfig{Devices: cfg.Devices, WAN: 50 * units.Mbit,
		LAN: 100 * units.Mbit})
	if err != nil {
		return nil, err
	}
	if s.server, err = newController(s.life, s); err != nil {
		return nil, fmt.Errorf("the controller: %w", err)
	}
	for i := range cfg.Devices {
		d, err := s.newDevice(i)
		if err != nil {
			return nil, err
		}
		s.devices = append(s.devices, d)
	}
	for _, d := range s.devices {
		if err := d.start(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// diskSize is the size of a device's disk in bytes: two loads, and as much again.
const diskSize = 4 << 20

// Close ends all processes and removes all that the site has made.
func (s *Site) Close() error {
	s.end()
	var err error
	for _, d := range s.devices {
		d.kill()
	}
	if s.server != nil {
		s.server.close()
	}
	if s.net != nil {
		err = errors.Join(err, s.net.Close())
	}
	for _, d := range s.devices {
		err = errors.Join(err, unix.Unmount(d.dir, unix.MNT_DETACH))
	}
	if s.dir != nil {
		err = errors.Join(err, s.dir.Close())
	}
	return err
}

// Run plays all rounds. The result is of those that were played; the error says
// why there are no more.
func (s *Site) Run(ctx context.Context) (*Result, error) {
	began := time.Now()
	r := &Result{Event: "rounds", Devices: s.cfg.Devices, Seed: s.cfg.Seed, Faults: map[string]int{}}
	var err error
	for n := s.cfg.First; n < s.cfg.First+s.cfg.Rounds && err == nil; n++ {
		var round Round
		plan := Draw(s.cfg.Seed, n, s.cfg.Devices)
		if round, err = s.play(ctx, plan); err != nil {
			break
		}
		r.Rounds++
		r.Exits += len(round.Exits)
		r.Deceived += round.Deceived
		for _, f := range plan.Faults {
			r.Faults[string(f.Kind)]++
		}
		if plan.CutWAN.For > 0 {
			r.Faults["wan"]++
		}
		if len(round.Wrong) > 0 {
			r.Failed = append(r.Failed, n)
		}
		s.sample()
		if s.cfg.OnRound != nil {
			s.cfg.OnRound(round)
		}
	}
	if g, ok := growth("controller", s.server.uses); ok {
		r.Growth = append(r.Growth, g)
	}
	for i, d := range s.devices {
		if g, ok := growth(fmt.Sprintf("agent %d", i+1), d.uses); ok && Steady(i, s.cfg.Devices) {
			r.Growth = append(r.Growth, g)
		}
	}
	r.FromOrigin, r.FromPeers = s.server.traffic(s.life)
	r.WallS = time.Since(began).Seconds()
	return r, err
}

// play plays one round. The error says why it could not be played.
func (s *Site) play(ctx context.Context, p Plan) (Round, error) {
	began := time.Now()
	s.mu.Lock()
	s.round = Round{Event: "round", Round: p.Round, Seed: p.Seed, Plan: p.String(), Size: p.Size}
	s.mu.Unlock()
	// Liars are there before anybody looks for the new load.
	for _, f := range p.Faults {
		if f.Kind == Liar {
			if err := s.devices[f.Device].lie(f.Draw); err != nil {
				return Round{}, fmt.Errorf("round %d: %w", p.Round, err)
			}
		}
	}
	want, err := s.server.publish(ctx, p)
	if err != nil {
		return Round{}, fmt.Errorf("round %d: %w", p.Round, err)
	}
	for i, d := range s.devices {
		d.mu.Lock()
		d.full = false
		d.mu.Unlock()
		if !p.Lies(i) {
			d.signal(syscall.SIGHUP)
		}
	}
	if err := s.happen(ctx, p); err != nil {
		return Round{}, fmt.Errorf("round %d: %w", p.Round, err)
	}
	s.await(ctx, p, want)
	s.check(p, want)
	for i, d := range s.devices {
		if p.Lies(i) {
			if err := d.honest(); err != nil {
				return Round{}, err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round.WallS = time.Since(began).Seconds()
	return s.round, ctx.Err()
}

// happen lets all faults of a plan happen, and returns when they are over.
func (s *Site) happen(ctx context.Context, p Plan) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(p.Faults)+1)
	spell := func(f Fault, begin, end func() error) {
		wg.Go(func() {
			if !pause(ctx, f.At) {
				return
			}
			err := begin()
			pause(ctx, f.For)
			errs <- errors.Join(err, end())
		})
	}
	for _, f := range p.Faults {
		if f.Kind != Liar {
			begin, end := s.devices[f.Device].fault(s, f)
			spell(f, begin, end)
		}
	}
	if p.CutWAN.For > 0 {
		spell(p.CutWAN, func() error { return s.net.CutWAN(true) }, func() error { return s.net.CutWAN(false) })
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return errors.Join(all, ctx.Err())
}

// pause waits; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// note adds to what is told of the present round.
func (s *Site) note(change func(r *Round)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.round)
}

// path is a path below the directory of the run.
func (s *Site) path(names ...string) string {
	return filepath.Join(append([]string{s.dir.Path}, names...)...)
}

// mountDisk gives a device a small disk of its own.
func mountDisk(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("peerload-lab", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", diskSize)); err != nil {
		return fmt.Errorf("a small disk at %s: %w", dir, err)
	}
	return nil
}
