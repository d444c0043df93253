package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/device/upgrade"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/provision"
	"github.com/peerload/peerload/load"
)

// lastGood puts the last good provisioning file in force again: a device that
// starts without its server behaves as before. One that is damaged is put aside.
func (d *Daemon) lastGood() {
	kept := filepath.Join(d.conf.get().State, provisionName)
	b, err := readBounded(kept, maxKept)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil && !errors.Is(err, errDamaged) && !slot.NoFile(err) {
		d.log.Warn("the last provisioning file cannot be read", "error", err)
		return
	}
	var from string
	if err == nil {
		from, b, err = unpackKept(b)
	}
	var f *provision.File
	if err == nil {
		if from == "" {
			from = d.keep.get().Provision
		}
		f, err = parseProvision(from, b)
	}
	if err != nil {
		if aside := d.damage.PutAside(d.files, kept, err); aside != nil {
			d.damage = append(d.damage, aside)
		}
		return
	}
	if err := d.apply(f, from); err != nil {
		d.log.Warn("the last provisioning file cannot be put in force again", "error", err)
	}
}

// maxKept bounds the last good provisioning file as it is kept, in bytes.
const maxKept = provision.MaxSize + 4096

// checkedIn is how a check-in ended. Its two halves do not wait for each other: the
// controller may be away.
type checkedIn struct{ provision, report error }

// checkIn reads the provisioning file and reports to the controller. Unless it is to be
// a full one, a device that has nothing to do leaves it out while it is connected.
func (d *Daemon) checkIn(ctx context.Context, full bool) (c checkedIn) {
	if !full && d.idle() {
		d.examine()
		d.examineSets()
		return c
	}
	defer func() { d.calm.ended(c) }()
	a, err := d.ask(ctx)
	d.sink.count.checkIn(err)
	d.prov.asked(err)
	switch {
	case ctx.Err() != nil:
		return checkedIn{ctx.Err(), ctx.Err()}
	case errors.Is(err, provision.ErrFile):
		d.log.Error("bad provisioning file: the last good one stays in force", "from", a.from, "error", err)
		d.out.failure("", "", reason.BadProvisioning, err)
	case err != nil:
		d.log.Warn("not provisioned", "error", err)
	default:
		if err = d.accept(a); err != nil {
			d.log.Error("the provisioning file is not in force", "from", a.from, "error", err)
		}
	}
	d.examine()
	d.examineSets()
	if c.provision = err; d.reporter != nil {
		c.report = d.report(ctx)
	}
	return c
}

// accept puts a provisioning file in force and keeps it.
func (d *Daemon) accept(a answer) error {
	if err := d.apply(a.file, a.from); err != nil {
		return err
	}
	assigned, err := a.file.Assigned(policy.Builtin(), d.conf.get().Model)
	if err != nil {
		d.out.failure("", "", reason.Model, err)
		return err
	}
	kept := filepath.Join(d.conf.get().State, provisionName)
	b := packKept(a.from, a.raw)
	if old, err := readBounded(kept, maxKept); err != nil || !bytes.Equal(old, b) {
		if err := disk(d.files).Replace(kept, b, ownerOnly); err != nil {
			return err
		}
		d.log.Info("provisioned", "from", a.from, "load", assigned)
	}
	d.prov.understood()
	d.calm.provisioned(a.raw)
	if r := d.keep.get(); r.Server != a.server || r.Provision != a.from {
		if err := d.keep.change(func(r *record) { r.Server, r.Provision = a.server, a.from }); err != nil {
			return err
		}
	}
	return d.upgrade.tell(provisionedBy(a.file, assigned))
}

// provisionedBy is what a file says of the load to run: what a rollout allows takes
// the place of what is assigned.
func provisionedBy(f *provision.File, assigned string) upgrade.Provisioned {
	g := f.Grant
	if g == nil {
		return upgrade.Provisioned{Load: assigned}
	}
	return upgrade.Provisioned{Load: g.Load, Grant: &upgrade.Grant{By: upgrade.By{Rollout: g.Rollout, Try: g.Try},
		Download: upgrade.Span(g.Download), Activate: upgrade.Span(g.Activate)}}
}

// apply computes the settings of a file.
func (d *Daemon) apply(f *provision.File, from string) error {
	c := d.conf.get()
	set, err := effective(c.Model, f.Levels)
	if err != nil {
		return err
	}
	d.prov.apply(set, f, from)
	// A log server that is away must not keep a device from its load.
	if err := d.sink.logTo(set.value(policy.LogServer), "SEP"+d.mac, c.Address.Addr()); err != nil {
		d.log.Warn("no log server", "error", err)
	}
	return nil
}

// answer is a provisioning file, and where it came from.
type answer struct {
	file *provision.File
	raw  []byte
	// from names the file for people: its URL or its path. server is the URL
	// of the directory that it was in, "" for a file of this host.
	from, server string
}

// errNoServer says that nobody is there to be asked.
var errNoServer = errors.New("no server to ask: give --server, or have DHCP option 150 or 66 in one of the lease files")

// ask fetches the provisioning file, as phones do: for each server over HTTP,
// then TFTP; the device's own file, then the one for all. It also reports
// whether any server answered.
func (d *Daemon) ask(ctx context.Context) (answer, error) {
	c := d.conf.get()
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

// askServer asks for the two files by one protocol. Whatever a server that is
// there says about the first leads on to the second: servers have many codes for
// a file that they do not have. One that asks for a later attempt, or begins to send
// the first, has said nothing of the kind.
func (d *Daemon) askServer(ctx context.Context, base *url.URL) (answer, error) {
	var errs []error
	for _, name := range []string{"SEP" + d.mac + ".cnf.xml", "XMLDefault.cnf.xml"} {
		u := base.JoinPath(name)
		b, err := d.fetchSmall(ctx, u, provision.MaxSize)
		if err != nil {
			errs = append(errs, err)
			switch origin.Reason(err) {
			case "not-found", "forbidden", "answer", "other":
				continue
			}
			break
		}
		a := answer{raw: b, from: u.Redacted(), server: base.String()}
		if a.file, err = parseProvision(name, b); err != nil {
			err = fmt.Errorf("%s: %w", u.Redacted(), err)
		}
		return a, err
	}
	return answer{}, errors.Join(errs...)
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

// falseSizes is how often a small file is asked for again at once where a TFTP
// server told another size than it sent: then what it tells does not count.
const falseSizes = 2

// fetchSmall fetches a file of at most most bytes from a server, not through
// the peers: it is this device's own.
func (d *Daemon) fetchSmall(ctx context.Context, u *url.URL, most int64) (b []byte, err error) {
	for range falseSizes + 1 {
		b, err = d.fetchOnce(ctx, u, most)
		if u.Scheme != "tftp" || !errors.Is(err, origin.ErrTruncated) && !errors.Is(err, origin.ErrTooMuch) {
			break
		}
	}
	return b, err
}

func (d *Daemon) fetchOnce(ctx context.Context, u *url.URL, most int64) ([]byte, error) {
	b, err := d.conf.asks().Open(ctx, origin.Request{URL: u, Size: load.UnknownSize})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return origin.ReadAll(b, most)
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
	c := d.conf.get()
	if s := d.prov.setting(policy.LoadServer); s != "" {
		return candidates(s, file)
	}
	var out []*url.URL
	add := func(u *url.URL) {
		if !slices.ContainsFunc(out, func(o *url.URL) bool { return o.String() == u.String() }) {
			out = append(out, u)
		}
	}
	if s := d.keep.get().Server; s != "" {
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

// provisioned is the result of the last provisioning.
type provisioned struct {
	mu   sync.Mutex
	set  settings
	file *provision.File // nil before the first
	told told
}

// told describes the last provisioning.
type told struct {
	From    string    // the file in force
	Contact time.Time // when a server last gave one that is good
	Err     string    // why the last try gave none
}

// last returns what is known of the last provisioning.
func (p *provisioned) last() told {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.told
}

// asked notes how a try ended.
func (p *provisioned) asked(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told.Err = ""
	if err != nil {
		p.told.Err = err.Error()
	}
}

// understood notes that a file is good and in force.
func (p *provisioned) understood() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told.Contact = time.Now()
}

// apply puts the settings of a file in force.
func (p *provisioned) apply(set settings, f *provision.File, from string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set, p.file, p.told.From = set, f, from
}

// settings returns all effective values, setting one of them.
func (p *provisioned) settings() settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set
}

// fileSets returns the file sets that the device is to have, by their directories; ok
// is false if nobody has said it.
func (p *provisioned) fileSets() (by map[string]string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file == nil {
		return nil, false
	}
	return p.file.FileSets.Told()
}

func (p *provisioned) setting(name string) string { return p.settings().value(name) }

// remodel computes the settings for another model.
func (p *provisioned) remodel(model string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var l policy.Levels
	if p.file != nil {
		l = p.file.Levels
	}
	if set, err := effective(model, l); err == nil {
		p.set = set
	}
}

// key returns what configuration and settings ask of the instance.
func (p *provisioned) key(c Config) instanceKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	group := "" // what the model table says
	if p.file != nil {
		group = p.file.Group
	}
	return keyOf(c, p.set, group)
}

// settings are the effective values, with the level that each comes from.
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
