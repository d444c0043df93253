package fetch

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/report"
)

// defaultRetries is how often a server is tried again if Server.Retries is nil.
const defaultRetries = 2

// device is this process as a peer of its subnet, for one request.
type device struct {
	*engine.Device
	id       uint64
	net      peernet.Net
	mux      *origin.Mux
	warnings []string // of the peer ports, for Request.Warn
	// moves reports whether the place on the network is another one now; nil where
	// that cannot be.
	moves func() bool
}

// newDevice opens the peer ports and the way to servers, which are hosts.
func (r *Request) newDevice(state *status.Dir, servers []string, events func(report.Event)) (_ *device, err error) {
	proto, err := r.protocol()
	if err != nil {
		return nil, err
	}
	d := &device{net: engine.NoPeers{}}
	if d.id, err = state.ID(); err != nil {
		return nil, err
	}
	if !r.Peers.Off {
		switch s, err := r.listen(servers); {
		case errors.Is(err, errAlone):
			r.warn(err.Error())
			proto = pdp.NoPeers()
			r.Server.limits(&proto.Transfer)
		case err != nil:
			return nil, err
		default:
			d.net, d.warnings = s, s.Warnings()
			if own := s.Addr().Addr(); !own.IsLoopback() {
				d.moves = func() bool { return peernet.Gone(own) }
			}
		}
	}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.mux, err = origin.New(r.Server.config(d.net.Addr().Addr())); err != nil {
		return nil, failure.WithKind(failure.Request, err)
	}
	cfg := engine.Config{ID: d.id, Net: d.net, Origin: d.mux, Protocol: proto, Report: events,
		Connections: r.Server.connections(), OriginRate: r.Server.LimitRate}
	cfg.Slot.NoSync = r.NoSync
	d.Device, err = engine.NewDevice(cfg)
	return d, err
}

// protocol returns the protocol's times. It switches the peers off for a model
// that cannot share.
func (r *Request) protocol() (pdp.Config, error) {
	c, err := pdp.Preset(r.Peers.Profile)
	if err != nil {
		return c, failure.WithKind(failure.Request, err)
	}
	if r.Peers.Trees > 0 {
		c.Transfer.Stripes = r.Peers.Trees
	}
	if r.Model != "" && !r.Peers.Off && !policy.Builtin().Lookup(r.Model).CanShare {
		r.warn("model " + r.Model + " cannot share: downloading the classic way")
		r.Peers.Off = true
	}
	if r.Peers.Off {
		c = pdp.NoPeers()
	}
	r.Server.limits(&c.Transfer)
	return c, nil
}

// limits sets how long the protocol tries a server that fails.
func (s Server) limits(c *transfer.Config) {
	c.Attempts = defaultRetries + 1
	if s.Retries != nil {
		c.Attempts = *s.Retries + 1
		c.Outage = 0 // Retries limits the attempts, so none are added
	}
}

// errAlone says that there is a network, and no address at which peers could be.
var errAlone = errors.New("the files are fetched without the peers")

// network says where the peers are.
func (r *Request) network(servers []string) peernet.Config {
	p := r.Peers
	return peernet.Config{Address: p.Address, Interface: p.Interface, Port: p.Port, Servers: servers}
}

func (r *Request) listen(servers []string) (*peernet.Sockets, error) {
	p := r.Peers
	s, err := peernet.Listen(r.network(servers))
	if errors.Is(err, peernet.ErrNoAddress) && !p.Address.IsValid() && p.Interface == "" {
		if peernet.Connected() {
			return nil, fmt.Errorf("%w: %w", errAlone, err)
		}
		// The request is not wrong: a device that is just starting has no
		// address yet.
		return nil, failure.WithKind(failure.Network,
			fmt.Errorf("%w: %w; try again when the network is up, or fetch without the peers", failure.Network, err))
	}
	return s, failure.WithKind(failure.Request, err)
}

func (r *Request) warn(message string) {
	if r.Warn != nil {
		r.Warn(message)
	}
}

// serve runs the device until stop is called, beyond the end of ctx, so that it
// can say Bye to its peers. If it ends by itself, it cancels what waits for it.
func (d *device) serve(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := d.Run(own); err != nil {
			cancel(err)
		}
	}()
	return func() {
		end()
		<-ended
	}
}

// close frees the ports and closes idle connections.
func (d *device) close() {
	_ = d.net.Close()
	if d.mux != nil {
		d.mux.Close()
	}
}
