package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// PlaceConfig is what a device of its own needs: that of a proxy without an agent.
type PlaceConfig struct {
	// ID is the device's id. Required.
	ID uint64
	// Net says where the peers are. The zero value is right for most devices.
	Net peernet.Config
	// Origin is how servers are reached.
	Origin origin.Config
	// Slot says how carefully files are settled.
	Slot slot.Config
	// Report takes the events of the engine; it must not block. nil drops them.
	Report func(report.Event)
	// Warn takes what is worth a line in a log. nil drops it.
	Warn func(message string)
}

// Validate says what is missing.
func (c PlaceConfig) Validate() error {
	if c.ID == 0 {
		return errors.New("proxy: a device needs an id")
	}
	return errors.Join(c.Net.Validate(), c.Origin.Validate())
}

// Place is the place of a device on its network, which may change.
type Place struct {
	cfg PlaceConfig

	mu  sync.Mutex
	dev *engine.Device // nil while there are no peers
}

// NewPlace returns a place that has no peers until Run runs.
func NewPlace(cfg PlaceConfig) (*Place, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string) {}
	}
	return &Place{cfg: cfg}, nil
}

// Device returns the device as a peer, nil while there are no peers.
func (p *Place) Device() *engine.Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dev
}

func (p *Place) put(d *engine.Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dev = d
}

// lookEvery is how often the own address is looked at.
const lookEvery = 2 * time.Second

// Run takes part until ctx ends, at each place that the device has. ready is called
// when the first place is open, or it is known that there is none yet.
func (p *Place) Run(ctx context.Context, ready func()) error {
	said := ""
	for ctx.Err() == nil {
		err := p.at(ctx, func() { ready(); ready = func() {} })
		if err != nil && !errors.Is(err, peernet.ErrNoAddress) {
			return err
		}
		ready()
		ready = func() {}
		if err != nil && err.Error() != said {
			said = err.Error()
			p.cfg.Warn(said + ": passing everything through until there are peers")
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
	return nil
}

// at takes part at one place until ctx ends or the place is another one.
func (p *Place) at(ctx context.Context, ready func()) error {
	sock, err := peernet.Listen(p.cfg.Net)
	if err != nil {
		return err
	}
	defer sock.Close()
	for _, w := range sock.Warnings() {
		p.cfg.Warn(w)
	}
	own := sock.Addr().Addr()
	from := p.cfg.Origin
	if own.IsLoopback() {
		from.LocalAddr = own // several devices on one host
	}
	mux, err := origin.New(from)
	if err != nil {
		return err
	}
	defer mux.Close()
	dev, err := engine.NewDevice(engine.Config{ID: p.cfg.ID, Net: sock, Origin: mux, Protocol: pdp.LAN(),
		Slot: p.cfg.Slot, Report: p.cfg.Report})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	go watch(ctx, own, end)
	p.put(dev)
	defer p.put(nil)
	ready()
	if err := dev.Run(ctx); err != nil {
		return fmt.Errorf("%w: %w", peernet.ErrNoAddress, err)
	}
	return nil
}

// watch ends ctx when the address is another one.
func watch(ctx context.Context, own netip.Addr, moved context.CancelCauseFunc) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !own.IsLoopback() && peernet.Gone(own) {
				moved(errors.New("the address of this device has changed"))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
