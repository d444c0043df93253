package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// siteKey is what a place among the peers depends on: when it changes, the
// device takes another place.
type siteKey struct {
	sharing  bool
	timing   string
	wan, lan int64
	address  netip.Prefix
	iface    string
	port     uint16
	cacert   string
	model    string
	group    string // of the models that it shares with
}

// site is the device's place among the peers, or alone where it does not
// share, with the files that it serves there.
type site struct {
	key  siteKey
	dev  *engine.Device
	net  peernet.Net
	mux  *origin.Mux
	end  context.CancelFunc
	gone chan struct{} // closed when the device stands still
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

// siteConfig is what openSite needs beside the key.
type siteConfig struct {
	id     uint64
	noSync bool
	report func(report.Event)
}

// openSite takes the place. A device that should share and has no address
// stays alone, and says so: it must be able to ask servers before the network
// is whole.
func openSite(key siteKey, c siteConfig) (s *site, warnings []string, err error) {
	s = &site{key: key, net: engine.NoPeers{}, files: map[string][]served{}, gone: make(chan struct{})}
	proto := pdp.NoPeers()
	if key.sharing {
		sock, err := peernet.Listen(peernet.Config{Address: key.address, Interface: key.iface, Port: key.port})
		if err != nil {
			return nil, nil, fmt.Errorf("the peers' ports: %w", err)
		}
		if proto, err = pdp.Preset(key.timing); err != nil {
			sock.Close()
			return nil, nil, err
		}
		s.net, warnings = sock, sock.Warnings()
	}
	if s.mux, err = newOrigin(key); err != nil {
		s.net.Close()
		return nil, nil, err
	}
	cfg := engine.Config{ID: c.id, Net: s.net, Origin: s.mux, Protocol: proto, Report: c.report, SendRate: key.lan}
	cfg.Slot.NoSync = c.noSync
	if s.dev, err = engine.NewDevice(cfg); err != nil {
		s.net.Close()
		return nil, nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	go func() {
		s.err = s.dev.Run(ctx)
		close(s.gone)
	}()
	return s, warnings, nil
}

// stallTimeout is a root's patience with its server, shorter than that of its
// followers, so that it gives up first and says why.
const stallTimeout = 5 * time.Second

func newOrigin(key siteKey) (*origin.Mux, error) {
	cfg := origin.Config{StallTimeout: stallTimeout, LimitRate: key.wan}
	if a := key.address.Addr(); a.IsValid() {
		cfg.LocalAddr = a
	}
	var err error
	if cfg.CACert, err = certificates(key.cacert); err != nil {
		return nil, err
	}
	return origin.New(cfg)
}

// close says goodbye and stands still.
func (s *site) close() {
	s.leaving.Store(true)
	for _, dir := range s.dirs() {
		s.release(dir)
	}
	s.end()
	<-s.gone
	_ = s.net.Close()
	s.mux.Close()
}

// left reports whether the device stands here no more.
func (s *site) left() bool {
	select {
	case <-s.gone:
		return true
	default:
		return s.leaving.Load()
	}
}

func (s *site) dirs() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for dir := range s.files {
		out = append(out, dir)
	}
	return out
}

// keep goes on serving what was fetched into a directory.
func (s *site) keep(dir string, files []*engine.File, close func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[dir] = append(s.files[dir], served{files, close})
}

// lingerMost is how long peers that still take a file hold up its removal.
const lingerMost = 30 * time.Second

// linger waits until nobody takes the files of a directory from this device.
func (s *site) linger(ctx context.Context, dir string) {
	s.mu.Lock()
	var files []*engine.File
	for _, k := range s.files[dir] {
		files = append(files, k.files...)
	}
	s.mu.Unlock()
	if len(files) > 0 {
		s.dev.Linger(ctx, files, lingerMost)
	}
}

// release lets go of the files of a directory.
func (s *site) release(dir string) {
	s.mu.Lock()
	gone := s.files[dir]
	delete(s.files, dir)
	for _, k := range gone {
		for _, f := range k.files {
			s.past.add(f.Final())
		}
	}
	s.mu.Unlock()
	for _, k := range gone {
		k.close()
	}
}

// hold offers the components of a slot to the peers: those that it does not
// serve yet. What is damaged is returned as an error and not offered.
func (s *site) hold(dir string, i slot.Info) error {
	if !s.key.sharing {
		return nil
	}
	var errs []error
	for _, c := range i.Components {
		f, err := s.dev.Hold(engine.Spec{Name: c.Name, Model: s.key.model, Group: s.key.group,
			Target: filepath.Join(dir, c.Name), Size: c.Size, Digest: c.Digest})
		switch {
		case errors.Is(err, engine.ErrTwice):
		case err != nil:
			errs = append(errs, err)
		default:
			s.keep(dir, []*engine.File{f}, func() { _ = f.Close() })
		}
	}
	return errors.Join(errs...)
}

// tally returns what all files ever served here have moved, and how many
// files and bytes are served now.
func (s *site) tally() (t traffic, files int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t = s.past
	for _, ks := range s.files {
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

// moved reports whether the address that the site stands at is no longer this
// host's.
func (s *site) moved() bool {
	own := s.net.Addr().Addr()
	if !s.key.sharing || own.IsLoopback() {
		return false
	}
	addrs, err := net.InterfaceAddrs()
	return err == nil && !slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == own
	})
}

// keyOf returns the place that configuration and settings ask for.
func keyOf(c Config, set settings, group string) siteKey {
	if group == "" {
		group = policy.Builtin().Group(c.Model)
	}
	k := siteKey{group: group, sharing: set.value(policy.PeerSharing) == policy.On, timing: set.value(policy.Timing), address: c.Address,
		iface: c.Interface, port: c.Port, cacert: c.CACert, model: c.Model}
	k.wan, _ = policy.ParseSize(set.value(policy.WANLimit))
	k.lan, _ = policy.ParseSize(set.value(policy.LANLimit))
	return k
}
