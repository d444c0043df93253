package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/yield"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// instanceKey has the settings of an instance of the engine: when they change,
// another instance replaces it.
type instanceKey struct {
	sharing  bool
	timing   string
	wan, lan int64
	width    int  // most connections to servers
	front    bool // downloads do not give way to what else is on the line
	address  netip.Prefix
	iface    string
	port     uint16
	cacert   string
	model    string
	group    string // of the models that it shares with
	servers  string // hosts, a space between them: the peers are where the way to them begins
}

// instance is the engine with its net and its origin, for one set of settings,
// and the files that it serves. Where the device does not share, it has no
// peers.
type instance struct {
	key  instanceKey
	dev  *engine.Device
	net  peernet.Net
	mux  *origin.Mux
	end  context.CancelFunc
	gone chan struct{} // closed when the engine has ended
	err  error         // why, once gone is closed

	leaving atomic.Bool

	mu    sync.Mutex
	files map[string][]served // by the directory that they are in
	past  traffic             // of files that are no longer served
}

// served is a file, or a whole load, that can be let go.
type served struct {
	files []*engine.File
	close func()
}

// traffic is where bytes came from and went.
type traffic struct{ origin, peers, cache, sent int64 }

func (t *traffic) add(f *report.Final) {
	t.origin += f.BytesFromOrigin
	t.peers += f.BytesFromPeers
	t.cache += f.BytesFromCache
	t.sent += f.BytesToPeers
}

func (t *traffic) join(o traffic) {
	t.origin += o.origin
	t.peers += o.peers
	t.cache += o.cache
	t.sent += o.sent
}

// instanceConfig is what openInstance needs beside the key.
type instanceConfig struct {
	id     uint64
	noSync bool
	files  slot.FS
	report func(report.Event)
}

// openInstance starts the engine. Where key asks for sharing and the device has
// no usable address it fails: the caller may then ask for one that does not
// share.
func openInstance(key instanceKey, c instanceConfig) (i *instance, warnings []string, err error) {
	i = &instance{key: key, net: engine.NoPeers{}, files: map[string][]served{}, gone: make(chan struct{})}
	proto := pdp.NoPeers()
	if key.sharing {
		sock, err := peernet.Listen(key.network())
		if err != nil {
			return nil, nil, fmt.Errorf("the peers' ports: %w", err)
		}
		if proto, err = pdp.Preset(key.timing); err != nil {
			sock.Close()
			return nil, nil, err
		}
		i.net, warnings = sock, sock.Warnings()
	}
	if i.mux, err = newOrigin(key); err != nil {
		i.net.Close()
		return nil, nil, err
	}
	cfg := engine.Config{ID: c.id, Net: i.net, Origin: i.mux, Protocol: proto, Report: c.report, SendRate: key.lan,
		Files: c.files, Connections: key.width, OriginRate: key.wan}
	cfg.Slot.NoSync = c.noSync
	if i.dev, err = engine.NewDevice(cfg); err != nil {
		i.net.Close()
		return nil, nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	i.end = end
	go func() {
		i.err = i.dev.Run(ctx)
		close(i.gone)
	}()
	return i, warnings, nil
}

// network says where the peers are.
func (k instanceKey) network() peernet.Config {
	return peernet.Config{Address: k.address, Interface: k.iface, Port: k.port, Servers: strings.Fields(k.servers)}
}

func newOrigin(key instanceKey) (*origin.Mux, error) {
	cfg := origin.Config{StallTimeout: origin.RootStallTimeout, LimitRate: key.wan, Background: !key.front}
	if a := key.address.Addr(); a.IsLoopback() {
		cfg.LocalAddr = a // several devices on one host; elsewhere the route says from where
	}
	var err error
	if cfg.CACert, err = certificates(key.cacert); err != nil {
		return nil, err
	}
	return origin.New(cfg)
}

// close lets go of all files, which tells the peers, and ends the engine.
func (i *instance) close() {
	i.leaving.Store(true)
	for _, dir := range i.dirs() {
		i.release(dir)
	}
	i.end()
	<-i.gone
	_ = i.net.Close()
	i.mux.Close()
}

// left reports whether the engine has ended, or is about to.
func (i *instance) left() bool {
	select {
	case <-i.gone:
		return true
	default:
		return i.leaving.Load()
	}
}

func (i *instance) dirs() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []string
	for dir := range i.files {
		out = append(out, dir)
	}
	return out
}

// keep goes on serving what was fetched into a directory.
func (i *instance) keep(dir string, files []*engine.File, close func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.files[dir] = append(i.files[dir], served{files, close})
}

// lingerMost is how long peers that still take a file hold up its removal.
const lingerMost = 30 * time.Second

// linger waits until nobody takes the files of a directory from this device.
func (i *instance) linger(ctx context.Context, dir string) {
	i.mu.Lock()
	var files []*engine.File
	for _, k := range i.files[dir] {
		files = append(files, k.files...)
	}
	i.mu.Unlock()
	if len(files) > 0 {
		i.dev.Linger(ctx, files, lingerMost)
	}
}

// release lets go of the files of a directory.
func (i *instance) release(dir string) {
	i.mu.Lock()
	gone := i.files[dir]
	delete(i.files, dir)
	for _, k := range gone {
		for _, f := range k.files {
			i.past.add(f.Final())
		}
	}
	i.mu.Unlock()
	for _, k := range gone {
		k.close()
	}
}

// hold offers the components of a slot to the peers: those that it does not
// serve yet. Damaged components are returned as an error and not offered.
func (i *instance) hold(dir string, content slot.Info) error {
	if !i.key.sharing {
		return nil
	}
	var errs []error
	for _, c := range content.Components {
		f, err := i.dev.Hold(engine.Spec{Name: c.Name, Model: i.key.model, Group: i.key.group,
			Target: filepath.Join(dir, c.Name), Size: c.Size, Digest: slot.Expect(c.Digest)})
		switch {
		case errors.Is(err, engine.ErrTwice):
		case err != nil:
			errs = append(errs, err)
		default:
			i.keep(dir, []*engine.File{f}, func() { _ = f.Close() })
		}
	}
	return errors.Join(errs...)
}

// tally returns what all files ever served by it have moved, and how many
// files and bytes are served now.
func (i *instance) tally() (t traffic, files int, bytes int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t = i.past
	for _, ks := range i.files {
		for _, k := range ks {
			for _, f := range k.files {
				fin := f.Final()
				t.add(fin)
				files++
				bytes += fin.Size
			}
		}
	}
	return t, files, bytes
}

// moved reports whether the address that the instance is bound to is no longer
// this host's.
func (i *instance) moved() bool {
	own := i.net.Addr().Addr()
	return i.key.sharing && !own.IsLoopback() && peernet.Gone(own)
}

// keyOf returns what configuration and settings ask for.
func keyOf(c Config, set settings, group string) instanceKey {
	if group == "" {
		group = policy.Builtin().Group(c.Model)
	}
	k := instanceKey{group: group, sharing: set.value(policy.PeerSharing) == policy.On, timing: set.value(policy.Timing),
		address: c.Address,
		iface:   c.Interface, port: c.Port, cacert: c.CACert, model: c.Model}
	for _, s := range c.Servers {
		if urls, err := candidates(s, "x"); err == nil {
			k.servers += urls[0].Hostname() + " "
		}
	}
	k.front = set.value(policy.Foreground) == policy.On
	k.wan, _ = parse.Size(set.value(policy.WANLimit))
	k.lan, _ = parse.Size(set.value(policy.LANLimit))
	width, _ := parse.Size(set.value(policy.OriginConnections)) // "1" to "16", as the policy has checked
	k.width = int(width)
	return k
}

// place is the device's place on the network: the instance that serves now, and
// what those before it have moved.
type place struct {
	mu       sync.Mutex
	instance *instance // nil if there is none
	past     traffic
	changed  chan struct{} // closed by the next put; nil if nobody waits
	yields   yield.Watch
}

// lookEvery is how often it is looked whether the place is another one.
const lookEvery = 2 * time.Second

// lookOut asks for a check-in, which moves the device, when its address has gone and
// there is another. Where there is none, the device downloads by itself meanwhile.
func (p *place) lookOut(ctx context.Context, kick chan<- struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if i := p.current(); i != nil && i.moved() && peernet.Choose(i.key.network()) == nil {
			select {
			case kick <- struct{}{}:
			default: // one is asked for
			}
		}
	}
}

func (p *place) current() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.instance
}

func (p *place) put(i *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instance = i
	p.changed = closed(p.changed)
	if i == nil {
		p.yields.Tell(nil)
	} else {
		p.yields.Tell(i.dev.Yield)
	}
}

// serving returns the instance that serves now, and what is closed when that changes.
func (p *place) serving() (*instance, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.instance, p.changed
}

// moved counts what files have moved that no instance serves any more.
func (p *place) moved(t traffic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.past.join(t)
}

// tally returns what all files have moved since the start, and how many files
// and bytes are served now.
func (p *place) tally() (t traffic, files int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.instance != nil {
		t, files, bytes = p.instance.tally()
	}
	t.join(p.past)
	return t, files, bytes
}
