// Package demo shows a site of three models upgrade, two of them through the
// peers: signed loads of real boot firmware, devices on loopback addresses, a
// slow link.
//
// What lives here: the demo, its picture, lines and summary, and where its
// firmware comes from. What must not: code that another instrument needs too.
// Read first: Config and New here, then summary.go.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/controller/publish"
	"github.com/peerload/peerload/internal/controller/repository"
	"github.com/peerload/peerload/internal/lab/fileserver"
	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
	"github.com/peerload/peerload/trust"
)

// minDevices allows two devices of one model, one of the other and a classic
// one.
const minDevices = 4

// maxDevices limits a demo to what a screen can show.
const maxDevices = 100

// restartAfter is how long a killed device stays off.
const restartAfter = time.Second

// Config describes a demo: two models that share and one device of a third
// that does not, on loopback addresses.
type Config struct {
	// Devices is the number of devices, 4 to 100, the classic one included.
	// Required.
	Devices int
	// WAN is the rate of the file server's link. Required.
	WAN units.Rate
	// Peers says that two of the models share. False: all devices upgrade the
	// classic way, to compare.
	Peers bool
	// KillRoot is the percentage of the first load's largest component at which
	// its root is killed, 1 to 99. 0: nobody dies.
	KillRoot int
	// Product is the path of the program peerload. Required.
	Product string
	// Firmware is the directory of the components. Required.
	Firmware string
	// Base is where the run's directory is made. Empty: see process.NewRunDir.
	Base string
	// Timeout ends the demo. 0 means a minute and three times the time of what
	// is expected to cross the WAN: a demo that needs more has failed.
	Timeout time.Duration
	// OnEvent is called for every event of a device, one at a time. nil: nobody
	// is told.
	OnEvent func(Event)
}

// Validate refuses what cannot be shown.
func (c Config) Validate() error {
	switch {
	case c.Devices < minDevices || c.Devices > maxDevices:
		return fmt.Errorf("--devices is %d to %d, not %d", minDevices, maxDevices, c.Devices)
	case c.WAN < 1:
		return errors.New("the WAN's rate must be set")
	case c.KillRoot < 0 || c.KillRoot > 99:
		return fmt.Errorf("--kill-root is 1 to 99, not %d", c.KillRoot)
	case c.KillRoot > 0 && !c.Peers:
		return errors.New("without peers there is no root to kill: leave --kill-root out")
	}
	return nil
}

// kindKilled is the kind of the demo's own event that it has killed a device.
const kindKilled = "killed"

// Event is a device's event, for people and machines.
type Event struct {
	report.Event
	At     float64 `json:"t_s"`    // seconds since the devices were started
	Device string  `json:"device"` // the device's address
	Model  string  `json:"model"`
}

// Demo is a running demo.
type Demo struct {
	cfg     Config
	dir     *process.RunDir
	site    *site.Loopback
	server  *fileserver.Server
	loads   [2]*load.Manifest
	zero    time.Time
	devices []*device

	events sync.Mutex // held while OnEvent runs

	mu      sync.Mutex
	kills   []kill
	expired bool
}

// kill is a root that was killed, when, and of which file.
type kill struct {
	output.Kill
	at   time.Time
	file string
}

// device is a device and the load that it should have.
type device struct {
	process.Device
	model   string
	load    *load.Manifest
	classic bool
}

// New publishes the loads and starts the file server. The devices are
// started by Run; Close must be called in any case.
func New(cfg Config) (_ *Demo, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := &Demo{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	const perDevice = 16 << 20
	if d.dir, err = process.NewRunDir(cfg.Base, int64(cfg.Devices+2)*perDevice); err != nil {
		return nil, err
	}
	root, err := d.publish()
	if err != nil {
		return nil, fmt.Errorf("publish the loads: %w", err)
	}
	if d.site, err = site.NewLoopback(cfg.WAN); err != nil {
		return nil, err
	}
	ln, err := d.site.Listen()
	if err != nil {
		return nil, err
	}
	if d.server, err = fileserver.Serve(ln, d.public(), d.site.Shaper()); err != nil {
		return nil, err
	}
	for i := range cfg.Devices {
		dev := &device{Device: process.Device{Number: i + 1, Host: d.site.Host(i)}, classic: !cfg.Peers}
		switch {
		case i == cfg.Devices-1:
			dev.model, dev.load, dev.classic = classicModel, d.loads[0], true
		case i < cfg.Devices/2:
			dev.model, dev.load = loads[0].Model, d.loads[0]
		default:
			dev.model, dev.load = loads[1].Model, d.loads[1]
		}
		pin := filepath.Join(d.deviceDir(dev), "trust")
		if err := os.MkdirAll(pin, 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(pin, trust.PinName), root, 0o600); err != nil {
			return nil, err
		}
		d.devices = append(d.devices, dev)
	}
	return d, nil
}

func (d *Demo) public() string { return filepath.Join(d.dir.Path, "server") }

func (d *Demo) deviceDir(dev *device) string {
	return filepath.Join(d.dir.Path, fmt.Sprintf("d%04d", dev.Number))
}

// publish signs both loads and returns the root that devices pin.
func (d *Demo) publish() ([]byte, error) {
	repo, err := repository.Open(repository.Config{Dir: d.public(), Keys: filepath.Join(d.dir.Path, "keys")})
	if err != nil {
		return nil, err
	}
	for i, l := range loads {
		req := publish.Request{Name: l.Name, Version: "demo", Models: []string{l.Model}}
		if i == 0 {
			req.Models = append(req.Models, classicModel)
		}
		for _, f := range l.Files {
			req.Files = append(req.Files, filepath.Join(d.cfg.Firmware, f))
		}
		res, err := publish.Add(repo, req)
		if err != nil {
			return nil, err
		}
		d.loads[i] = res.Manifest
	}
	root, _, err := repo.ExportRoot()
	return root, err
}

// Run starts the devices and waits for their end. The summary is complete in
// any case; the error says why the demo could not be run to its end.
func (d *Demo) Run(ctx context.Context) (*Summary, error) {
	life, cancel := context.WithTimeout(ctx, d.timeout())
	defer cancel()
	commands := make([]process.Command, len(d.devices))
	for i, dev := range d.devices {
		commands[i] = d.command(dev)
	}
	d.mu.Lock()
	d.zero = time.Now()
	d.mu.Unlock()
	procs, _, err := process.StartAll(life, commands)
	for i, dev := range d.devices {
		dev.Add(procs[i])
	}
	if err != nil {
		cancel()
	}
	var killer sync.WaitGroup
	watch, stop := context.WithCancel(life)
	if d.cfg.KillRoot > 0 {
		killer.Go(func() { d.killRoot(watch, life) })
	}
	d.wait()
	stop()
	killer.Wait()
	d.wait() // a device that was started again meanwhile
	d.mu.Lock()
	d.expired = life.Err() != nil && ctx.Err() == nil && err == nil
	d.mu.Unlock()
	err = errors.Join(err, ctx.Err())
	return d.summary(err), err
}

func (d *Demo) timeout() time.Duration {
	if d.cfg.Timeout > 0 {
		return d.cfg.Timeout
	}
	n := d.loadBytes()
	if !d.cfg.Peers {
		n = d.classicBytes()
	}
	return time.Minute + 3*d.cfg.WAN.Time(n)
}

func (d *Demo) command(dev *device) process.Command {
	peers := "on"
	if dev.classic {
		peers = "off"
	}
	dir := d.deviceDir(dev)
	args := []string{
		"get", d.server.URL(dev.load.Name + load.ManifestSuffix), "--trust", filepath.Join(dir, "trust"),
		"--model", dev.model, "-o", filepath.Join(dir, "load") + "/", "--state", filepath.Join(dir, "state"),
		"--peers", peers, "--json",
	}
	return process.Command{
		Host: dev.Host, Path: d.cfg.Product, Args: append(args, dev.Host.Args...), Stderr: &dev.Stderr,
		OnEvent: func(ev report.Event) { d.event(dev, ev) },
	}
}

func (d *Demo) event(dev *device, ev report.Event) {
	if d.cfg.OnEvent == nil {
		return
	}
	d.events.Lock()
	defer d.events.Unlock()
	d.cfg.OnEvent(Event{Event: ev, At: d.Elapsed().Seconds(), Device: dev.Host.Addr.String(), Model: dev.model})
}

// Elapsed returns the time since the devices were started; 0 before.
func (d *Demo) Elapsed() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.zero.IsZero() {
		return 0
	}
	return time.Since(d.zero)
}

func (d *Demo) wait() {
	for _, dev := range d.devices {
		// How each ended is in the summary.
		_ = dev.Now().Wait()
	}
}

// killRoot kills the root of the first load's largest component when it has
// the configured part of it, and starts it again a moment later.
func (d *Demo) killRoot(ctx, life context.Context) {
	file := largest(d.loads[0])
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, dev := range d.devices {
			v := dev.View(file)
			if v.Role != report.RoleRoot || v.Percent < d.cfg.KillRoot || v.Held() {
				continue
			}
			if dev.Now().Kill() != nil {
				continue
			}
			d.killed(life, dev, v)
			return
		}
	}
}

func (d *Demo) killed(life context.Context, dev *device, v process.FileView) {
	at := d.Elapsed().Seconds()
	d.event(dev, report.Event{
		Schema: report.Schema, Time: time.Now().Format(time.RFC3339Nano), Event: kindKilled, File: v.File,
		Percent: v.Percent, Message: fmt.Sprintf("killed, as root with %d %%", v.Percent),
	})
	_ = dev.Now().Wait()
	d.mu.Lock()
	d.kills = append(d.kills, kill{output.Kill{Percent: v.Percent, Device: dev.Host.Addr, AtS: at}, time.Now(), v.File})
	d.mu.Unlock()
	select {
	case <-time.After(restartAfter):
	case <-life.Done():
		return
	}
	again, _, err := process.StartAll(life, []process.Command{d.command(dev)})
	if err == nil {
		dev.Add(again[0])
	}
}

// largest returns the name of a load's largest component.
func largest(m *load.Manifest) string {
	best := m.Components[0]
	for _, c := range m.Components {
		if c.Size > best.Size {
			best = c
		}
	}
	return best.Name
}

// Close removes all that the demo has made.
func (d *Demo) Close() error {
	var err error
	if d.server != nil {
		err = errors.Join(err, d.server.Close())
	}
	if d.site != nil {
		err = errors.Join(err, d.site.Close())
	}
	if d.dir != nil {
		err = errors.Join(err, d.dir.Close())
	}
	return err
}
