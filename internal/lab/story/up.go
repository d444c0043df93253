package story

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/lab/fileserver"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// MaxDevices bounds the devices of one `up`.
const MaxDevices = 200

// Rhythm of an `up`.
const (
	lookEvery   = 10 * time.Millisecond  // looks for what is due
	sampleEvery = 200 * time.Millisecond // writes the state to the timeline
	linger      = time.Hour              // devices serve on until the lab ends them
	stopGrace   = 5 * time.Second        // for all to end
)

// Config describes a site of devices that all want one random file, and what
// happens to it.
type Config struct {
	// Site is the site on which the devices stand.
	Site site.NamespaceConfig
	// Size of the file. Required.
	Size units.Size
	// TFTP makes the origin TFTP. False: HTTP.
	TFTP bool
	// Stories are what happens to the site. None: nothing happens.
	Stories []Story
	// Seed decides which devices a story means, and the order in which devices
	// wake. 0 is as good as any other.
	Seed uint64
	// Product is the path of the program peerload. Required.
	Product string
	// Base is where the run's directory is made. Empty: see process.NewRunDir.
	Base string
	// Logs is a directory that gets the devices' output, with their -v log.
	// Empty: none, because it is large.
	Logs string
	// Timeout ends the run. 0 means two minutes, ten times the ideal time and
	// what the stories take: a run that needs more has failed.
	Timeout time.Duration
	// Args are further arguments for every device. None: as the product is.
	Args []string
	// Timeline gets what happens as JSON lines. nil: nobody does.
	Timeline io.Writer
	// OnMark is called for each thing worth a line, one at a time. nil: nobody
	// is told.
	OnMark func(Mark)
}

// Validate refuses what cannot be run.
func (c Config) Validate() error {
	if err := c.Site.Validate(); err != nil {
		return err
	}
	if c.Site.Devices > MaxDevices {
		return fmt.Errorf("--devices is 1 to %d, not %d", MaxDevices, c.Site.Devices)
	}
	if c.Size < 1 || c.Site.LAN < 1 {
		return errors.New("size and LAN must be set")
	}
	late, wakes := 0, 0
	for _, s := range c.Stories {
		if err := s.check(); err != nil {
			return err
		}
		if s.Device > c.Site.Devices {
			return fmt.Errorf("%q: choose a device of 1 to %d", s, c.Site.Devices)
		}
		late += s.Count
		if s.Deed == deedWake {
			wakes++
		}
	}
	if late >= c.Site.Devices {
		return fmt.Errorf("%d of %d devices are late: one must start at once", late, c.Site.Devices)
	}
	if wakes > 1 {
		return errors.New("devices wake in one way only: give one story of wake")
	}
	return nil
}

// bound is the shortest time in which the last device can have the file when
// each subnet downloads it once.
func (c Config) bound() time.Duration {
	return max(c.Site.WAN.Time(int64(c.Size)*int64(max(c.Site.Subnets, 1))), c.Site.LAN.Time(int64(c.Size)))
}

func (c Config) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	ideal := c.bound()
	if c.Site.Loss > 0 {
		// What one TCP connection carries over a lossy link, about: Mathis et
		// al., 1997: 1.2 packets a round trip over the root of the loss.
		perS := 1.2 * site.MTU / max(c.Site.RTT.Seconds(), 0.001) / math.Sqrt(float64(c.Site.Loss))
		ideal = max(ideal, units.Seconds(float64(c.Size)/perS))
	}
	told := time.Duration(0)
	for _, s := range c.Stories {
		told += s.At + s.For + s.Over
	}
	return 2*time.Minute + 10*ideal + told
}

// Up is a running site.
type Up struct {
	cfg     Config
	dir     *process.RunDir
	site    *site.Namespaces
	server  *fileserver.Server
	sum     string      // SHA-256 of the file, hexadecimal
	base    site.Wire   // the WAN's counters before the start
	bounds  []site.Wire // the ports' counters at the last sample
	devices []*device
	byAddr  map[netip.Addr]*device
	line    *timeline
	rng     *rand.Rand
	ctx     context.Context // of the devices' lives; set by Run
	told    []*tale
	due     []dueDeed
	late    []*device // that no story has started yet

	mu   sync.Mutex
	zero time.Time
}

// device is a device and its state in the stories.
type device struct {
	process.Device
	subnet int
	dir    string
	disk   bool // the directory is a small disk of its own
	logs   []*os.File

	// Only the goroutine that runs the stories uses these.
	on      bool // has been switched on
	waiting bool // is off and will be switched on
	started time.Duration
	kills   int
}

// New builds the site and starts the file server; see site.Isolate. The devices
// are started by Run; Close must be called in any case.
func New(cfg Config) (_ *Up, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	u := &Up{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0)), byAddr: map[netip.Addr]*device{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, u.Close())
		}
	}()
	if u.dir, err = process.NewRunDir(cfg.Base,
		int64(cfg.Size)*int64(cfg.Site.Devices+1)*21/20+int64(cfg.Site.Devices)<<20); err != nil {
		return nil, err
	}
	pub := filepath.Join(u.dir.Path, "server")
	if err := os.Mkdir(pub, 0o755); err != nil {
		return nil, err
	}
	if u.sum, err = process.RandomFile(context.Background(), filepath.Join(pub, process.FileName),
		int64(cfg.Size)); err != nil {
		return nil, err
	}
	if u.site, err = site.NewNamespaces(cfg.Site); err != nil {
		return nil, err
	}
	if err := u.serve(pub); err != nil {
		return nil, err
	}
	for i := range cfg.Site.Devices {
		if err := u.addDevice(i); err != nil {
			return nil, err
		}
	}
	u.line = newTimeline(cfg, u)
	return u, nil
}

func (u *Up) serve(pub string) error {
	ln, err := u.site.Listen()
	if err != nil {
		return err
	}
	if u.server, err = fileserver.Serve(ln, pub, nil); err != nil || !u.cfg.TFTP {
		return err
	}
	pc, err := u.site.ListenUDP()
	if err != nil {
		return err
	}
	return u.server.ServeTFTP(pc, nil)
}

func (u *Up) addDevice(i int) error {
	d := &device{subnet: u.site.Subnet(i), dir: filepath.Join(u.dir.Path, fmt.Sprintf("d%04d", i+1))}
	d.Number, d.Host = i+1, u.site.Host(i)
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	u.devices = append(u.devices, d)
	u.byAddr[d.Host.Addr] = d
	fills := slices.ContainsFunc(u.cfg.Stories, func(s Story) bool { return s.Deed == deedFill && s.Device == i+1 })
	if fills {
		// Room for the file, its state and as much again.
		size := fmt.Sprintf("size=%d,mode=755", 2*int64(u.cfg.Size)+(4<<20))
		if err := unix.Mount("peerload-lab", d.dir, "tmpfs", 0, size); err != nil {
			return fmt.Errorf("a small disk for device %d: %w", i+1, err)
		}
		d.disk = true
	}
	if u.cfg.Logs == "" {
		return nil
	}
	if err := os.MkdirAll(u.cfg.Logs, 0o755); err != nil {
		return err
	}
	for _, ext := range []string{"jsonl", "log"} {
		f, err := os.Create(filepath.Join(u.cfg.Logs, fmt.Sprintf("d%04d.%s", i+1, ext)))
		if err != nil {
			return err
		}
		d.logs = append(d.logs, f)
	}
	return nil
}

// Run starts the devices, runs the stories, and ends all devices when each has
// the file or has failed. The result is complete in any case; the error says
// why the run could not be brought to its end.
func (u *Up) Run(ctx context.Context) (*Result, error) {
	life, end := context.WithTimeout(ctx, u.cfg.timeout())
	defer end()
	u.ctx = life
	u.base, _ = u.site.Wire()
	u.mu.Lock()
	u.zero = time.Now()
	u.mu.Unlock()
	err := u.prepareStories()
	if err == nil {
		err = u.direct(life)
	}
	expired := errors.Is(life.Err(), context.DeadlineExceeded) && ctx.Err() == nil
	lasted := u.Elapsed()
	for _, d := range u.devices {
		d.sampleProcs()
	}
	u.line.sample(u)
	// Devices that still serve are told to stop. Those that had ended before
	// ended by themselves.
	ended := map[*device]bool{}
	for _, d := range u.devices {
		ended[d] = d.on && !d.Now().Running()
	}
	end()
	u.await(stopGrace)
	return u.result(ended, lasted, expired, errors.Join(err, ctx.Err())), errors.Join(err, ctx.Err(), u.line.flush())
}

// await waits for all processes to end; they have been told to.
func (u *Up) await(grace time.Duration) {
	for _, d := range u.devices {
		for _, p := range d.All() {
			timer := time.AfterFunc(grace, func() { _ = p.Kill() })
			// How each ended is in the result.
			_ = p.Wait()
			timer.Stop()
		}
	}
}

// Elapsed returns the time since the devices were started; 0 before.
func (u *Up) Elapsed() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.zero.IsZero() {
		return 0
	}
	return time.Since(u.zero)
}

// command is what a device is started with, each time.
func (u *Up) command(d *device) process.Command {
	url := u.server.URL(process.FileName)
	if u.cfg.TFTP {
		url = u.server.TFTPURL(process.FileName)
	}
	args := []string{
		"get", url, "-o", filepath.Join(d.dir, process.FileName), "--sha256", u.sum,
		"--state", filepath.Join(d.dir, "state"), "--linger", linger.String(), "--json",
	}
	c := process.Command{
		Host: d.Host, Path: u.cfg.Product, Stderr: &d.Stderr,
		OnEvent: func(ev report.Event) { u.line.event(u, d, ev) },
	}
	if len(d.logs) == 2 {
		args = append(args, "-v")
		c.Stdout, c.Stderr = d.logs[0], io.MultiWriter(d.logs[1], &d.Stderr)
	}
	c.Args = slices.Concat(args, d.Host.Args, u.cfg.Args)
	return c
}

// switchOn starts devices, all at once.
func (u *Up) switchOn(devices ...*device) error {
	commands := make([]process.Command, len(devices))
	for i, d := range devices {
		commands[i] = u.command(d)
	}
	procs, _, err := process.StartAll(u.ctx, commands)
	for i, d := range devices {
		if d.waiting, d.on = false, true; len(d.All()) == 0 {
			d.started = u.Elapsed()
		}
		d.Add(procs[i])
	}
	return err
}

// view is what the device's present process said of the file.
func (d *device) view() process.FileView { return d.View(process.FileName) }

// settled reports whether nothing more is to be expected of the device: it has
// the file, has failed, or is off for good.
func (d *device) settled() bool {
	switch {
	case d.waiting:
		return false
	case !d.on:
		return true
	}
	return d.view().Held() || !d.Now().Running()
}

func (d *device) sampleProcs() {
	for _, p := range d.All() {
		p.Sample()
	}
}

// Close removes all that the site has made.
func (u *Up) Close() error {
	var err error
	if u.server != nil {
		err = errors.Join(err, u.server.Close())
	}
	if u.site != nil {
		err = errors.Join(err, u.site.Close())
	}
	for _, d := range u.devices {
		if d.disk {
			err = errors.Join(err, unix.Unmount(d.dir, unix.MNT_DETACH))
		}
		for _, f := range d.logs {
			err = errors.Join(err, f.Close())
		}
	}
	if u.dir != nil {
		err = errors.Join(err, u.dir.Close())
	}
	return err
}
