// Package measure runs a site whose devices all fetch one file at once: it says
// what crossed the WAN and when each device had the file.
//
// What lives here: the run, its result, and other programs that fetch in the
// place of peerload. What must not: which sites are worth measuring, and the
// targets (package bench). Read first: Config and Run here, then result.go.
package measure

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/lab/fileserver"
	"github.com/peerload/peerload/internal/lab/liars"
	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/report"
)

// Config describes one measurement: devices that fetch one random file
// at the same moment.
type Config struct {
	// Devices is the number of devices, 1 to MaxDevices. Required.
	Devices int
	// WAN is the rate of the file server's link. Required.
	WAN units.Rate
	// LAN is the rate of a device's port; namespace sites only. Required.
	LAN units.Rate
	// RTT is the round trip of the idle WAN: see LinkConfig; namespace sites
	// only. 0: that of the host.
	RTT time.Duration
	// Jitter is how much later a packet may come over the WAN: see LinkConfig;
	// namespace sites only. 0: none.
	Jitter time.Duration
	// Loss is the part of the packets that the WAN loses: see LinkConfig;
	// namespace sites only. 0: none.
	Loss units.Fraction
	// Queue is how long a packet may wait before the WAN: see LinkConfig; namespace
	// sites only. 0: a round trip and 50 ms.
	Queue time.Duration
	// Beside is what others do on the WAN; namespace sites only. Nothing: they are quiet.
	Beside Beside
	// Size of the file. Required.
	Size units.Size
	// Kind of site: KindLoopback or KindNamespace. Required.
	Kind string
	// TFTP makes the origin TFTP. False: HTTP.
	TFTP bool
	// Peers says that devices share. False: every device downloads by itself.
	Peers bool
	// KillRoot lists percentages, rising: when the current root has that much
	// of the file, it is killed. None: nobody dies.
	KillRoot []int
	// Restart makes a killed device start again at once. False: it stays dead.
	Restart bool
	// Product is the path of the program peerload. Required.
	Product string
	// Base is where the run's directory is made. Empty: see process.NewRunDir.
	Base string
	// Logs is a directory that gets the devices' output. Empty: none.
	Logs string
	// Timeout ends a run. 0 means a minute and ten times the ideal time, or for
	// every device by itself a minute and twice the time of all copies: a run
	// that needs more has failed.
	Timeout time.Duration
	// Linger is how long every device goes on serving. 0 leaves it to the
	// product.
	Linger time.Duration
	// Args are further arguments for every device. None: as the product is.
	Args []string
	// Procs is GOMAXPROCS of a device. 0 means 1, what a small device has; -1
	// leaves it to the device.
	Procs int
	// Late is how many further devices start when all others have the file. 0:
	// none.
	Late int
	// Congestion is the congestion control of the file server's connections, such as
	// bbr. "": that of the site.
	Congestion string
	// Client fetches in the place of peerload. nil: peerload does.
	Client *Client
	// Server serves in the place of the lab's; namespace sites only. nil: the lab does.
	Server *Server
	// Liar breaks the protocol beside the devices, from hosts of its own; namespace sites
	// only. nil: nobody does.
	Liar *liar.Program
	// LiarSeed is what the liar draws from. 0 is a seed as well.
	LiarSeed uint64
}

// Validate refuses what cannot be run.
func (c Config) Validate() error {
	if err := choice.Check("kind of site", c.Kind, []string{site.KindLoopback, site.KindNamespace}); err != nil {
		return err
	}
	switch {
	case c.Devices < 1 || c.Devices > site.MaxDevices:
		return fmt.Errorf("--devices is 1 to %d, not %d", site.MaxDevices, c.Devices)
	case c.Size < 1 || c.WAN < 1 || c.LAN < 1:
		return errors.New("size, WAN and LAN must be set")
	case c.link().Long() && c.Kind != site.KindNamespace:
		return errors.New("only a site of --kind netns has a WAN with a round trip or loss: choose it")
	case c.Beside.Any() && c.Kind != site.KindNamespace:
		return errors.New("only a site of --kind netns has room for a call or a download of others: choose it")
	case c.Liar != nil && (c.Kind != site.KindNamespace || !c.Peers):
		return errors.New("a liar needs devices that share on a site of --kind netns")
	case c.Beside.Downloads < 0 || c.Beside.Downloads > mostBeside:
		return fmt.Errorf("--elsewhere is 0 to %d, not %d", mostBeside, c.Beside.Downloads)
	case !c.Peers && len(c.KillRoot) > 0:
		return errors.New("without peers there is no root to kill: leave --kill-root out")
	case c.Client != nil && (c.Peers || c.Late > 0):
		return errKillForeign
	case c.sends() && c.Kind != site.KindNamespace:
		return errors.New("only a namespace site carries multicast from the server")
	case c.Server != nil && (c.Kind != site.KindNamespace || c.TFTP):
		return errors.New("another server serves HTTP on a namespace site only")
	case c.Late < 0 || c.Devices+c.Late > site.MaxDevices:
		return fmt.Errorf("--late is 0 to %d beside %d devices, not %d", site.MaxDevices-c.Devices, c.Devices, c.Late)
	case c.Procs < -1:
		return fmt.Errorf("--device-procs is 1 or more, or -1 to leave it to the device, not %d", c.Procs)
	}
	last := 0
	for _, p := range c.KillRoot {
		if p <= last || p > 99 {
			return fmt.Errorf("--kill-root is percentages that rise from 1 to 99, not %v", c.KillRoot)
		}
		last = p
	}
	return c.link().Validate()
}

func (c Config) link() site.LinkConfig {
	return site.LinkConfig{Rate: c.WAN, RTT: c.RTT, Jitter: c.Jitter, Loss: c.Loss, Queue: c.Queue}
}

// hosts is how many there are at the site.
func (c Config) hosts() int {
	n := c.liarsFrom()
	if c.Liar != nil {
		n += c.Liar.Faces
	}
	return n
}

// liarsFrom is the first host of a liar.
func (c Config) liarsFrom() int {
	if c.Beside.Any() {
		return c.Devices + c.Late + 1
	}
	return c.Devices + c.Late
}

// Bound is the shortest time in which the last device can have the file.
func (c Config) Bound() time.Duration {
	b := c.WAN.Time(int64(c.Size))
	if c.Kind == site.KindNamespace {
		b = max(b, c.LAN.Time(int64(c.Size)))
	}
	return b
}

func (c Config) timeout() time.Duration {
	switch {
	case c.Timeout > 0:
		return c.Timeout
	case c.Peers:
		return time.Minute + 10*c.Bound()
	}
	return time.Minute + 2*c.Bound() + 2*c.WAN.Time(int64(c.Size))*time.Duration(c.Devices)
}

// measurement is one running measurement.
type measurement struct {
	cfg    Config
	dir    *process.RunDir
	site   site.Site
	server *fileserver.Server
	sends  string    // congestion control of the server's connections, "" for the site's
	sum    string    // SHA-256 of the file, hexadecimal
	base   site.Wire // the link's counters before the start

	foreignServer *serving // nil if the lab's own serves

	zero  time.Time       // the devices were started
	procs []*process.Proc // by device
	tails []*process.Tail
	logs  []*os.File

	helper   *process.Proc // of a foreign client; nil if none
	sending  *process.Proc // a foreign client's sender; nil if none
	sent     process.Tail  // what it said
	lateZero time.Time     // the late devices were started
	lateFrom int64         // payload that the server had sent then

	mu    sync.Mutex
	dead  []*process.Proc // killed and replaced
	kills []kill
	left  map[int]bool // killed and left dead

	besideResult *BesideResult

	liar *liars.Liar // nil if there is none
}

// kill is a root that was killed, and when.
type kill struct {
	output.Kill
	at time.Time
}

// Run runs one measurement. An error means that it could not be run; a
// device that fails is part of the result.
func Run(ctx context.Context, cfg Config) (_ *Result, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &measurement{cfg: cfg, left: map[int]bool{}}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.prepare(ctx); err != nil {
		return nil, err
	}
	runCtx, cancel := context.WithTimeout(ctx, cfg.timeout())
	defer cancel()
	life, end := context.WithCancel(runCtx)
	defer end()
	if err := m.start(life); err != nil {
		end()
		m.wait()
		return nil, err
	}
	var helpers sync.WaitGroup
	var failed error // of what is beside
	watch, stop := context.WithCancel(runCtx)
	helpers.Go(func() { m.sample(watch) })
	if len(cfg.KillRoot) > 0 {
		helpers.Go(func() { m.killRoots(watch, life) })
	}
	if cfg.Late > 0 {
		helpers.Go(func() { m.startLate(watch, life) })
	}
	if cfg.Client != nil && cfg.Client.Done != nil {
		helpers.Go(func() { m.endClients(watch, end) })
	}
	if cfg.Beside.Any() {
		helpers.Go(func() { failed = m.besides(watch) })
	}
	if m.sending != nil {
		helpers.Go(func() { m.watchSender(watch, m.sending, end) })
	}
	m.wait()
	stop()
	if m.liar != nil {
		m.liar.Close()
	}
	helpers.Wait()
	m.wait() // a device that was started meanwhile
	if failed != nil {
		return nil, failed
	}
	for _, p := range []*process.Proc{m.helper, m.sending} {
		if p != nil {
			end()
			_ = p.Wait() // it was ended, whatever it says of it
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return m.result(runCtx.Err() != nil), nil
}

func (m *measurement) prepare(ctx context.Context) (err error) {
	devices := m.cfg.Devices + m.cfg.Late
	need := int64(m.cfg.Size)*int64(devices+2)*21/20 + int64(devices)<<20
	if m.dir, err = process.NewRunDir(m.cfg.Base, need); err != nil {
		return err
	}
	pub := filepath.Join(m.dir.Path, publicDir)
	if err := os.Mkdir(pub, 0o755); err != nil {
		return err
	}
	if m.sum, err = process.RandomFile(ctx, filepath.Join(pub, process.FileName), int64(m.cfg.Size)); err != nil {
		return err
	}
	if m.cfg.Logs != "" {
		if err := os.MkdirAll(m.cfg.Logs, 0o755); err != nil {
			return err
		}
	}
	if m.site, err = newSite(m.cfg); err != nil {
		return err
	}
	ln, err := m.site.Listen()
	if err != nil {
		return err
	}
	if m.cfg.Congestion != "" {
		if m.sends, err = fileserver.Tune(ln, m.cfg.Congestion); err != nil {
			return fmt.Errorf("--congestion: %w", err)
		}
	}
	if m.cfg.Server != nil {
		if err := m.serve(ln, pub); err != nil {
			return err
		}
		// The lab's own stays, for what asks it; no device does.
		if ln, err = m.site.Listen(); err != nil {
			return err
		}
	}
	if m.server, err = fileserver.Serve(ln, pub, m.site.Shaper()); err != nil {
		return err
	}
	if m.cfg.TFTP {
		pc, err := m.site.ListenUDP()
		if err != nil {
			return err
		}
		if err := m.server.ServeTFTP(pc, m.site.Shaper()); err != nil {
			return err
		}
	}
	return m.prepareClient()
}

// newSite keeps nil pointers out of the interface.
func newSite(cfg Config) (site.Site, error) {
	if cfg.Kind == site.KindNamespace {
		s, err := site.NewNamespaces(site.NamespaceConfig{
			Devices: cfg.hosts(), WAN: cfg.WAN, LAN: cfg.LAN, RTT: cfg.RTT, Jitter: cfg.Jitter, Loss: cfg.Loss,
			Queue: cfg.Queue, Multicast: cfg.sends(),
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := site.NewLoopback(cfg.WAN)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (m *measurement) deviceDir(i int) string {
	return filepath.Join(m.dir.Path, fmt.Sprintf("d%04d", i+1))
}

// command returns the command of device i. A device that is started again
// gets the same one, so that it finds its state.
func (m *measurement) command(i int) (process.Command, error) {
	dir := m.deviceDir(i)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return process.Command{}, err
	}
	host := m.site.Host(i)
	peers := "on"
	if !m.cfg.Peers {
		peers = "off"
	}
	args := []string{
		"get", m.url(), "-o", filepath.Join(dir, process.FileName), "--sha256", m.sum,
		"--state", filepath.Join(dir, "state"), "--peers", peers, "--json",
	}
	linger := m.cfg.Linger
	if m.cfg.Late > 0 && linger == 0 {
		linger = m.cfg.lateLinger()
	}
	if linger > 0 {
		args = append(args, "--linger", linger.String())
	}
	c := process.Command{Host: host, Path: m.cfg.Product, Args: append(append(args, host.Args...), m.cfg.Args...),
		Procs: m.cfg.Procs}
	if m.cfg.Client != nil {
		c = m.foreign(c, i)
	}
	for len(m.tails) <= i {
		m.tails = append(m.tails, &process.Tail{})
	}
	c.Stderr = m.tails[i]
	if m.cfg.Logs != "" {
		out, err := m.logFile(i, "jsonl")
		if err != nil {
			return process.Command{}, err
		}
		errs, err := m.logFile(i, "log")
		if err != nil {
			return process.Command{}, err
		}
		c.Stdout, c.Stderr = out, io.MultiWriter(errs, m.tails[i])
	}
	return c, nil
}

// logFile opens a log of device i; a second process of the device appends.
func (m *measurement) logFile(i int, ext string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if m.procs == nil {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(filepath.Join(m.cfg.Logs, fmt.Sprintf("d%04d.%s", i+1, ext)), flags, 0o644)
	if err == nil {
		m.logs = append(m.logs, f)
	}
	return f, err
}

func (m *measurement) start(ctx context.Context) error {
	commands := make([]process.Command, m.cfg.Devices)
	for i := range commands {
		c, err := m.command(i)
		if err != nil {
			return err
		}
		commands[i] = c
	}
	if err := m.startHelper(ctx); err != nil {
		return err
	}
	if m.cfg.sends() {
		commands = append(commands, m.sender())
	}
	m.base, _ = m.site.Wire()
	procs, zero, err := process.StartAll(ctx, commands)
	m.zero = zero
	if m.cfg.sends() {
		m.sending = procs[m.cfg.Devices]
	}
	m.mu.Lock()
	m.procs = procs[:m.cfg.Devices]
	m.mu.Unlock()
	if err == nil && m.cfg.Liar != nil {
		err = m.startLiar(ctx)
	}
	return err
}

// running returns the processes of the moment, by device.
func (m *measurement) running() []*process.Proc {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*process.Proc(nil), m.procs...)
}

func (m *measurement) wait() {
	for _, p := range m.running() {
		// How each ended is in the result.
		_ = p.Wait()
	}
}

// sample reads the memory of all devices until ctx ends.
func (m *measurement) sample(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, p := range m.running() {
			p.Sample()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// killRoots kills roots as configured until ctx ends; what it starts again
// lives until life ends.
func (m *measurement) killRoots(ctx, life context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, percent := range m.cfg.KillRoot {
		for killed := false; !killed; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			killed = m.killRoot(life, percent)
		}
	}
}

// killRoot kills the root if it has the percentage, by its own report or, if it
// downloaded from the start, by the bytes that the server sent it.
func (m *measurement) killRoot(life context.Context, percent int) bool {
	sent := m.server.Tally.ByAddress()
	for i, p := range m.running() {
		v := p.File()
		if v.Role != report.RoleRoot || !p.Running() || v.Held() {
			continue
		}
		has := max(v.Percent, int(100*sent[p.Host.Addr]/int64(m.cfg.Size)))
		if has < percent {
			continue
		}
		k := kill{Kill: output.Kill{Percent: has, Device: p.Host.Addr}, at: time.Now()}
		if p.Kill() != nil {
			continue
		}
		_ = p.Wait()
		m.mu.Lock()
		m.kills = append(m.kills, k)
		m.mu.Unlock()
		m.replace(life, i)
		return true
	}
	return false
}

// replace starts device i again or leaves it dead.
func (m *measurement) replace(life context.Context, i int) {
	var again []*process.Proc
	if m.cfg.Restart {
		if c, err := m.command(i); err == nil {
			again, _, _ = process.StartAll(life, []process.Command{c})
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(again) == 0 {
		m.left[i] = true
		return
	}
	m.dead = append(m.dead, m.procs[i])
	m.procs[i] = again[0]
}

// intact reports whether device i has the file under its name with the right
// bytes; it reads the file itself.
func (m *measurement) intact(i int) bool {
	f, err := os.Open(filepath.Join(m.deviceDir(i), process.FileName))
	if err != nil {
		return false
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return err == nil && n == int64(m.cfg.Size) && hex.EncodeToString(h.Sum(nil)) == m.sum
}

func (m *measurement) close() error {
	err := m.foreignServer.end()
	if m.server != nil {
		err = errors.Join(err, m.server.Close())
	}
	if m.site != nil {
		err = errors.Join(err, m.site.Close())
	}
	for _, f := range m.logs {
		err = errors.Join(err, f.Close())
	}
	if m.dir != nil {
		err = errors.Join(err, m.dir.Close())
	}
	return err
}

// resumed finds when bytes flowed again after each kill, and to whom.
func (m *measurement) resumed() []output.Kill {
	out := []output.Kill{}
	for _, v := range m.kills {
		v.AtS = v.at.Sub(m.zero).Seconds()
		// Not to the killed device, unless nobody else ever got a byte: then
		// it was started again and became root itself.
		at, to, ok := m.server.Tally.First(v.at, func(a netip.Addr) bool { return a != v.Device })
		if !ok && m.cfg.Restart {
			at, to, ok = m.server.Tally.First(v.at.Add(fileserver.Resolution), nil)
		}
		if ok {
			v.NewRoot, v.ResumeS = to, at.Sub(v.at).Seconds()
		}
		out = append(out, v.Kill)
	}
	return out
}
