package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/load"
)

// lastGood puts the last good provisioning file in force again: a device that
// starts without its server behaves as before.
func (d *Daemon) lastGood() {
	if d.saved.Provision == "" {
		return
	}
	b, err := readBounded(filepath.Join(d.cfg.State, provisionName), provision.MaxSize)
	if err == nil {
		var f *provision.File
		if f, err = parseProvision(d.saved.Provision, b); err == nil {
			err = d.apply(f, d.saved.Provision)
		}
	}
	if err != nil {
		d.log.Warn("the last provisioning file cannot be read again", "error", err)
	}
}

// checkIn asks how the device is provisioned and tells the controller how it
// is. The error is that of the provisioning: the controller may be away.
func (d *Daemon) checkIn(ctx context.Context) error {
	a, err := d.ask(ctx)
	d.sink.count.checkIn(err)
	d.mu.Lock()
	if a.file != nil || errors.Is(err, provision.ErrFile) {
		d.told.At = time.Now()
	}
	d.told.Err = ""
	if err != nil {
		d.told.Err = err.Error()
	}
	d.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, provision.ErrFile):
		d.log.Error("bad provisioning file: the last good one stays in force", "from", a.from, "error", err)
		d.failure("", "", wording.ReasonProvisioning, err)
	case err != nil:
		d.log.Warn("not provisioned", "error", err)
	default:
		if err = d.accept(a); err != nil {
			d.log.Error("the provisioning file is not in force", "from", a.from, "error", err)
		}
	}
	if d.reporter != nil {
		d.report(ctx)
	}
	return err
}

// accept puts a provisioning file in force and keeps it.
func (d *Daemon) accept(a answer) error {
	if err := d.apply(a.file, a.from); err != nil {
		return err
	}
	assigned, err := a.file.Assigned(policy.Builtin(), d.config().Model)
	if err != nil {
		d.failure("", "", wording.ReasonModel, err)
		return err
	}
	kept := filepath.Join(d.config().State, provisionName)
	if old, err := readBounded(kept, provision.MaxSize); err != nil || string(old) != string(a.raw) {
		if err := durable.Write(kept, a.raw, 0o644); err != nil {
			return err
		}
		d.log.Info("provisioned", "from", a.from, "load", assigned)
	}
	d.mu.Lock()
	d.told.Contact = time.Now()
	d.mu.Unlock()
	return d.change(func(r *record) {
		if assigned != r.Assigned {
			r.Failed = nil
		}
		r.Assigned, r.Server, r.Provision = assigned, a.server, a.from
	})
}

// apply computes the settings of a file.
func (d *Daemon) apply(f *provision.File, from string) error {
	c := d.config()
	set, err := effective(c.Model, f.Levels)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.set, d.file, d.told.From = set, f, from
	d.mu.Unlock()
	// A log server that is away must not keep a device from its load.
	if err := d.sink.logTo(set.value(policy.LogServer), "SEP"+d.mac, c.Address.Addr()); err != nil {
		d.log.Warn("no log server", "error", err)
	}
	return nil
}

// answer is what the device was told, and by whom.
type answer struct {
	file *provision.File
	raw  []byte
	// from names the file for people: its URL or its path. server is the URL
	// of the directory that it was in, "" for a file of this host.
	from, server string
}

// errNoServer says that nobody is there to be asked.
var errNoServer = errors.New("no server to ask: give --server, or have DHCP option 150 or 66 in one of the lease files")

// ask fetches how the device is provisioned, as phones do: for each server
// HTTP, then TFTP; the file of the device, then the one for all. It says too
// whether any server answered.
func (d *Daemon) ask(ctx context.Context) (answer, error) {
	c := d.config()
	if c.Provision != "" {
		b, err := readBounded(c.Provision, provision.MaxSize)
		if err != nil {
			return answer{}, err
		}
		f, err := parseProvision(c.Provision, b)
		return answer{file: f, raw: b, from: c.Provision}, err
	}
	servers := d.servers(c)
	if len(servers) == 0 {
		return answer{}, errNoServer
	}
	var errs []error
	for _, s := range servers {
		urls, err := candidates(s, "x")
		if err != nil {
			return answer{}, err
		}
		for _, u := range urls {
			base := *u
			base.Path = strings.TrimSuffix(u.Path, "x")
			a, err := d.askServer(ctx, &base)
			if err == nil || errors.Is(err, provision.ErrFile) || ctx.Err() != nil {
				return a, err
			}
			errs = append(errs, err)
		}
	}
	return answer{}, errors.Join(errs...)
}

// askServer asks for the two files by one protocol.
func (d *Daemon) askServer(ctx context.Context, base *url.URL) (answer, error) {
	var last error
	for _, name := range []string{"SEP" + d.mac + ".cnf.xml", "XMLDefault.cnf.xml"} {
		u := base.JoinPath(name)
		b, err := d.fetchSmall(ctx, u, provision.MaxSize)
		if err != nil {
			last = err
			if errors.Is(err, origin.ErrNotFound) || errors.Is(err, origin.ErrForbidden) {
				continue
			}
			return answer{}, err
		}
		a := answer{raw: b, from: u.Redacted(), server: base.String()}
		if a.file, err = parseProvision(name, b); err != nil {
			err = fmt.Errorf("%s: %w", u.Redacted(), err)
		}
		return a, err
	}
	return answer{}, last
}

// parseProvision reads a provisioning file by the end of its name.
func parseProvision(name string, b []byte) (*provision.File, error) {
	switch path.Ext(name) {
	case ".toml":
		return provision.ParseTOML(b)
	case ".json":
		return provision.ParseJSON(b)
	}
	return provision.Parse(b)
}

// fetchSmall fetches a file of at most most bytes from a server, not through
// the peers: it is this device's own.
func (d *Daemon) fetchSmall(ctx context.Context, u *url.URL, most int64) ([]byte, error) {
	b, err := d.asks().Open(ctx, origin.Request{URL: u, Size: load.UnknownSize})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return readMost(b, most)
}

// servers are those of the configuration, else those of the first lease that
// names any.
func (d *Daemon) servers(c Config) []string {
	if len(c.Servers) > 0 {
		return c.Servers
	}
	hosts, _ := LeaseServers(c.Leases)
	return hosts
}

// LeaseServers returns the servers that the first usable one of these lease
// files names, and that file. A pattern stands for all files that match, in
// order.
func LeaseServers(patterns []string) (hosts []string, from string) {
	for _, p := range patterns {
		names, err := filepath.Glob(p)
		if err != nil {
			continue
		}
		for _, n := range names {
			b, err := readBounded(n, provision.MaxLeaseSize)
			if err != nil {
				continue
			}
			if l, err := provision.ParseLease(b); err == nil {
				return l.Hosts(), n
			}
		}
	}
	return nil, ""
}

// loadURLs returns where a file of a load may be, in the order to try: on the
// load server if one is set, else beside the provisioning file, else on the
// other servers.
func (d *Daemon) loadURLs(file string) ([]*url.URL, error) {
	c := d.config()
	if s := d.setting(policy.LoadServer); s != "" {
		return candidates(s, file)
	}
	var out []*url.URL
	add := func(u *url.URL) {
		if !slices.ContainsFunc(out, func(o *url.URL) bool { return o.String() == u.String() }) {
			out = append(out, u)
		}
	}
	if s := d.record().Server; s != "" {
		if u, err := url.Parse(s); err == nil {
			add(u.JoinPath(file))
		}
	}
	for _, s := range d.servers(c) {
		urls, err := candidates(s, file)
		if err != nil {
			return nil, err
		}
		for _, u := range urls {
			add(u)
		}
	}
	if len(out) == 0 {
		return nil, errNoServer
	}
	return out, nil
}

// findMAC returns the device's MAC address: what is configured, else that of
// the interface which has its address.
func findMAC(c Config) (string, error) {
	if c.MAC != "" {
		return parse.MAC(strings.TrimSpace(c.MAC))
	}
	own := c.Address.Addr()
	if !own.IsValid() && c.Interface == "" {
		// Connecting a UDP socket sends nothing; the address is one of
		// documentation (RFC 5737).
		if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
			own = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			conn.Close()
		}
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	for _, i := range ifs {
		addrs, _ := i.Addrs()
		has := slices.ContainsFunc(addrs, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && p.Addr().Unmap() == own
		})
		if (i.Name == c.Interface || c.Interface == "" && has) && len(i.HardwareAddr) == 6 {
			return parse.MAC(i.HardwareAddr.String())
		}
	}
	return "", errors.New("this device's MAC address cannot be told: give --mac, or --interface")
}

// settings are the values in effect, with the level that each comes from.
type settings []policy.Answer

// effective computes the settings of a device.
func effective(model string, l policy.Levels) (settings, error) {
	return policy.EffectiveAll(policy.Builtin().Lookup(model), l)
}

// answer returns the answer for one setting.
func (s settings) answer(name string) policy.Answer {
	for _, a := range s {
		if a.Setting == name {
			return a
		}
	}
	return policy.Answer{Setting: name}
}

func (s settings) value(name string) string { return s.answer(name).Value }
