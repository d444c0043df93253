package fetch

import (
	"context"
	"errors"
	"time"

	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/report"
)

const (
	// look is how often the own address is looked at.
	look = time.Second
	// awaitAddress is how long a device that had an address waits for another: as
	// long as it waits out an outage of the line.
	awaitAddress = time.Minute
)

// errMoved ends a device whose place on the network is another one now.
var errMoved = errors.New("the address of this device has changed")

// place runs the request at the place on the network that the device has, and
// again at the next one when the address changes: what came is kept.
func (f *fetching) place(ctx context.Context) ([]report.Final, error) {
	for moved := false; ; moved = true {
		var err error
		if f.dev, err = f.open(ctx, moved); err != nil {
			return f.finals, err
		}
		finals, err := f.at(ctx)
		if !errors.Is(err, errMoved) || ctx.Err() != nil {
			return finals, err
		}
	}
}

// at runs the request until it ends or the place is another one.
func (f *fetching) at(ctx context.Context) ([]report.Final, error) {
	defer f.dev.close()
	for _, w := range f.dev.warnings {
		f.req.warn(w)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := f.dev.serve(ctx, cancel)
	defer stop()
	if f.dev.moves != nil {
		go f.watch(ctx, cancel, f.dev.moves)
	}
	if f.list.Load {
		return f.loads(f, ctx)
	}
	return f.files(ctx)
}

// watch ends ctx when the device has moved.
func (f *fetching) watch(ctx context.Context, cancel context.CancelCauseFunc, moved func() bool) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if moved() {
				cancel(errMoved)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// open opens a device. Where one was before, it waits for an address, and does
// without the peers meanwhile if there is another network.
func (f *fetching) open(ctx context.Context, moved bool) (*device, error) {
	r, hosts := f.req, f.list.Hosts()
	end := time.NewTimer(awaitAddress)
	defer end.Stop()
	for {
		d, err := r.newDevice(f.state, hosts, f.tell)
		if err == nil && moved && d.moves != nil {
			r.warn(errMoved.Error() + ": going on as " + d.net.Addr().Addr().String())
		}
		if !moved || !errors.Is(err, peernet.ErrNoAddress) {
			return d, err
		}
		if peernet.Connected() {
			return f.alone(hosts)
		}
		select {
		case <-time.After(look):
		case <-end.C:
			return nil, failure.WithKind(failure.Network, err)
		case <-ctx.Done():
			return nil, f.failed(ctx, "", ctx.Err(), nil)
		}
	}
}

// alone opens a device without peers, which moves as soon as there can be some.
func (f *fetching) alone(hosts []string) (*device, error) {
	f.req.warn(errMoved.Error() + ": going on without peers for now")
	r := *f.req
	r.Peers.Off = true
	d, err := r.newDevice(f.state, hosts, f.tell)
	if err == nil {
		cfg := f.req.network(hosts)
		d.moves = func() bool { return peernet.Choose(cfg) == nil }
	}
	return d, err
}
