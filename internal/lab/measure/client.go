package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// Client is a program that fetches the file instead of `peerload get`, to
// compare with.
type Client struct {
	Name string
	// Prepare makes what the client needs before the start; nil if nothing.
	Prepare func(*Fetch) error
	// Helper is a program that runs on the host of the first device beside its
	// client, and the address that it listens on; nil if there is none.
	Helper func(*Fetch) (argv []string, listens string)
	// Sender is a program that starts with the devices, beside the file server,
	// and sends the file to all of them by multicast; nil if there is none.
	Sender func(*Fetch) (argv []string)
	// Device is the command of device i.
	Device func(f *Fetch, i int) (argv []string)
	// Done recognises the line of output after which the device has the file
	// and goes on serving until all have it. Nil: it has the file when it ends.
	Done func(line []byte) bool
}

// Fetch is what a client is told about the run.
type Fetch struct {
	URL     string
	Source  string // path of the server's file, to prepare from
	Dir     string // for what the client prepares
	Size    int64
	Devices int
	WAN     units.Rate
	LAN     units.Rate
	host    func(i int) site.Host
	dir     func(i int) string
}

// Host returns the host of device i.
func (f *Fetch) Host(i int) site.Host { return f.host(i) }

// DeviceDir returns the directory in which device i puts the file, under the
// name of the server's.
func (f *Fetch) DeviceDir(i int) string { return f.dir(i) }

func (m *measurement) fetch() *Fetch {
	return &Fetch{
		URL: m.url(), Source: m.public(), Dir: m.dir.Path, Size: int64(m.cfg.Size), Devices: m.cfg.Devices,
		WAN: m.cfg.WAN, LAN: m.cfg.LAN, host: m.site.Host, dir: m.deviceDir,
	}
}

// foreign turns the command of a device into that of the client.
func (m *measurement) foreign(c process.Command, i int) process.Command {
	argv := m.cfg.Client.Device(m.fetch(), i)
	c.Path, c.Args = argv[0], argv[1:]
	c.Done, c.EndsDone = m.cfg.Client.Done, m.cfg.Client.Done == nil
	return c
}

// startHelper starts the client's helper, which lives until ctx ends, and
// waits until it listens.
func (m *measurement) startHelper(ctx context.Context) error {
	if m.cfg.Client == nil || m.cfg.Client.Helper == nil {
		return nil
	}
	argv, listens := m.cfg.Client.Helper(m.fetch())
	log := &process.Tail{}
	procs, _, err := process.StartAll(ctx, []process.Command{{
		Host: m.site.Host(0), Path: argv[0], Args: argv[1:], EndsDone: true, Stdout: log, Stderr: log,
	}})
	if err != nil {
		return err
	}
	m.helper = procs[0]
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := m.helper.Host.Run(func() error {
			c, err := net.Dial("tcp4", listens)
			if err == nil {
				err = c.Close()
			}
			return err
		})
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !m.helper.Running() || time.Now().After(deadline):
			return fmt.Errorf("%s does not listen on %s: %w\n%s", argv[0], listens, err, log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sends reports whether the client has a sender beside the server.
func (c Config) sends() bool { return c.Client != nil && c.Client.Sender != nil }

// sender returns the command of the client's sender.
func (m *measurement) sender() process.Command {
	argv := m.cfg.Client.Sender(m.fetch())
	return process.Command{
		// On the server's host, which is this process's.
		Path: argv[0], Args: argv[1:], EndsDone: true, Stdout: &m.sent, Stderr: &m.sent,
	}
}

// senderGrace is how long devices may take to report the file after their
// sender has ended, and the sender to end after they have reported it.
const senderGrace = 3 * time.Second

// watchSender ends the devices, by end, when the sender has ended and a device
// still has not the file some time later: nobody will send it any more.
func (m *measurement) watchSender(ctx context.Context, p *process.Proc, end func()) {
	select {
	case <-p.Done():
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, senderGrace)
	defer cancel()
	if !m.allHeld(ctx) {
		end()
	}
}

// endClients ends the processes, by end, when all devices have their file:
// clients that serve on do not know when that is. A sender ends first, by
// itself: a receiver may say that it has the file before it has closed it, and
// remove it if it is ended in between.
func (m *measurement) endClients(ctx context.Context, end func()) {
	if !m.allHeld(ctx) {
		return
	}
	if m.sending != nil {
		grace := time.NewTimer(senderGrace)
		defer grace.Stop()
		select {
		case <-m.sending.Done():
		case <-grace.C:
		case <-ctx.Done():
		}
	}
	end()
}

// allHeld waits until all devices have the file, or until ctx ends, and
// reports whether they have it. Those that the lab left dead do not count.
func (m *measurement) allHeld(ctx context.Context) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !m.held() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return m.held()
		}
	}
	return true
}

func (m *measurement) held() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, p := range m.procs {
		if !m.left[i] && p.File().Committed.IsZero() {
			return false
		}
	}
	return true
}

// LateDevice is a device that was started when all others had the file.
type LateDevice struct {
	TookS  float64 `json:"took_s"`
	BoundS float64 `json:"bound_s"` // size / LAN; 0 where the LAN is not shaped
	// WANBytes is the payload that the server sent to anyone from then on.
	WANBytes int64 `json:"wan_bytes"`
}

// startLate starts the late devices when all others have the file; they live
// until life ends.
func (m *measurement) startLate(ctx, life context.Context) {
	if !m.allHeld(ctx) {
		return
	}
	var commands []process.Command
	for i := range m.cfg.Late {
		c, err := m.command(m.cfg.Devices + i)
		if err != nil {
			return // the missing device is told in the result
		}
		commands = append(commands, c)
	}
	m.lateFrom = m.server.Tally.Total()
	procs, zero, _ := process.StartAll(life, commands)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lateZero = zero
	m.procs = append(m.procs, procs...)
}

// late returns what became of the last of the late devices.
func (m *measurement) late() *LateDevice {
	if len(m.procs) <= m.cfg.Devices {
		return nil
	}
	l := &LateDevice{WANBytes: m.server.Tally.Total() - m.lateFrom}
	if m.cfg.Kind == site.KindNamespace {
		l.BoundS = m.cfg.LAN.Time(int64(m.cfg.Size)).Seconds()
	}
	for _, p := range m.procs[m.cfg.Devices:] {
		if v := p.File(); !v.Committed.IsZero() {
			l.TookS = max(l.TookS, v.Committed.Sub(m.lateZero).Seconds())
		}
	}
	return l
}

// lateLinger is how long the others go on serving if late devices are expected.
func (c Config) lateLinger() time.Duration {
	return 5*time.Second + 3*c.LAN.Time(int64(c.Size))
}

// prepareClient lets a foreign client prepare.
func (m *measurement) prepareClient() error {
	if m.cfg.Client == nil || m.cfg.Client.Prepare == nil {
		return nil
	}
	return m.cfg.Client.Prepare(m.fetch())
}

var errKillForeign = errors.New("only roots of peerload can be killed")

// publicDir is the folder of the server's files in the run's directory.
const publicDir = "server"

func (m *measurement) public() string {
	return m.dir.Path + string(os.PathSeparator) + publicDir + string(os.PathSeparator) + process.FileName
}

func (m *measurement) url() string {
	if m.foreignServer != nil {
		return m.foreignServer.url
	}
	if m.cfg.TFTP {
		return m.server.TFTPURL(process.FileName)
	}
	return m.server.URL(process.FileName)
}
