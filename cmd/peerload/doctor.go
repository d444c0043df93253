package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/trust"
)

// verdict of one check.
type verdict string

const (
	checkOK   verdict = "ok"
	checkWarn verdict = "warn"
	checkFail verdict = "fail"
)

// finding is what a check found, and what to do about it.
type finding struct {
	verdict verdict
	what    string
	do      string
}

func fine(format string, args ...any) finding {
	return finding{checkOK, fmt.Sprintf(format, args...), ""}
}
func warnThat(do, format string, args ...any) finding {
	return finding{checkWarn, fmt.Sprintf(format, args...), do}
}
func failThat(do, format string, args ...any) finding {
	return finding{checkFail, fmt.Sprintf(format, args...), do}
}

// errNotReady makes the exit status say that a check failed.
var errNotReady = errors.New("this device cannot share yet: do what stands below each line that says fail")

func doctorCommand() *cli.Command {
	var c configFlags
	cmd := &cli.Command{
		Use: "doctor", Short: "Check what this device needs, and say what to do",
		Long: `Doctor checks the address and whether broadcasts are heard, the peers' port, the
state directory, the clock, the publisher's root, the servers and the DHCP options.
Each line says ok, warn or fail, and what to do. Exit status: 0 if nothing failed, else 2.`,
		Args: cli.NoArgs,
	}
	cmd.Run = func(ctx context.Context, _ []string) error {
		cfg, _, err := c.load(cmd.Flags())
		if err != nil {
			printFinding(os.Stdout,
				failThat("mend the configuration; 'peerload config show --origin' says where values come from", "configuration: %v",
					err))
			return errNotReady
		}
		return examine(ctx, os.Stdout, cfg)
	}
	c.register(cmd.Flags())
	return cmd
}

// examine runs all checks, each whatever the others found.
func examine(ctx context.Context, w io.Writer, cfg agent.Config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	failed := false
	for _, check := range []func(context.Context, agent.Config) []finding{
		checkModel, checkHost, checkNet, checkState, checkClock, checkPin, checkLease, checkServers,
	} {
		for _, f := range check(ctx, cfg) {
			printFinding(w, f)
			failed = failed || f.verdict == checkFail
		}
	}
	if failed {
		return errNotReady
	}
	return nil
}

func printFinding(w io.Writer, f finding) {
	tell(w, "%-4s  %s", f.verdict, f.what)
	if f.do != "" {
		tell(w, "      -> %s", f.do)
	}
}

func checkModel(_ context.Context, cfg agent.Config) []finding {
	m := policy.Builtin().Lookup(cfg.Model)
	switch {
	case !m.CanShare:
		return []finding{warnThat("nothing: it upgrades from the server, as it always did", "model %s (%s) cannot share",
			m.Name, m.Family)}
	case !m.Known():
		return []finding{warnThat("check how it is written, if it should be one of the table",
			"model %q is not in the table: it shares with devices of the very same name", cfg.Model)}
	}
	return []finding{fine("model %s (%s) can share", m.Name, m.Family)}
}

// checkHost looks for what the configuration names. That a model is in no table
// is a warning of checkModel.
func checkHost(_ context.Context, cfg agent.Config) []finding {
	cfg.Model = policy.Builtin().Models()[0].Name
	err := cfg.CheckHost()
	if err == nil {
		return nil
	}
	return []finding{failThat("mend the configuration; 'peerload agent --check-config' says the same",
		"configuration: %v", err)}
}

// hearWait is how long an own broadcast may take to come back.
const hearWait = time.Second

// checkNet opens the device's ports on the subnet for a moment.
func checkNet(ctx context.Context, cfg agent.Config) []finding {
	port := cfg.Port
	if port == 0 {
		port = wire.Port
	}
	if _, err := daemonStatus(ctx, cfg.State); err == nil {
		return []finding{fine("an agent runs here and has port %d", port)}
	}
	s, err := peernet.Listen(peernet.Config{Address: cfg.Address, Interface: cfg.Interface, Port: cfg.Port})
	if err != nil {
		return []finding{failThat("give --address IP/PREFIX or --interface IF, and check the cable", "address: %v", err)}
	}
	defer s.Close()
	out := []finding{fine("address %s", s.Addr().Addr())}
	for _, w := range s.Warnings() {
		out = append(out, warnThat("check the prefix of the address", "%s", w))
	}
	if s.Addr().Port() != port || s.TCPPort() != port {
		out = append(out,
			warnThat("see who has it with 'ss -lunpt'; another port works, but real phones and firewalls expect this one",
				"port %d is taken: UDP %d and TCP %d are used", port, s.Addr().Port(), s.TCPPort()))
	} else {
		out = append(out, fine("port %d is free, UDP and TCP", port))
	}
	return append(out, checkBroadcast(ctx, cfg, s))
}

// checkBroadcast sends from a second socket, since a device does not hear
// itself.
func checkBroadcast(ctx context.Context, cfg agent.Config, s *peernet.Sockets) finding {
	other, err := peernet.Listen(peernet.Config{Address: cfg.Address, Interface: cfg.Interface, Port: cfg.Port})
	if err != nil {
		return warnThat("try again", "broadcast: no second socket: %v", err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(ctx, hearWait)
	defer cancel()
	probe := make([]byte, 24) // no message of the protocol: peers ignore it
	_, _ = crand.Read(probe)
	heard := make(chan struct{}, 1)
	go func() {
		_ = s.Serve(ctx, peernet.Handler{Accept: func(c net.Conn) { c.Close() }, Datagram: func(_ netip.AddrPort, b []byte) {
			if bytes.Equal(b, probe) {
				select {
				case heard <- struct{}{}:
				default:
				}
			}
		}})
	}()
	if err := other.Broadcast(probe); err != nil {
		return failThat("check firewall and routes", "broadcast cannot be sent: %v", err)
	}
	select {
	case <-heard:
		return fine("broadcasts are sent and heard on this host")
	case <-ctx.Done():
		return failThat("allow UDP broadcasts on this port in the firewall", "an own broadcast did not come back within %v",
			hearWait)
	}
}

func checkState(_ context.Context, cfg agent.Config) []finding {
	if err := (durable.Writer{}).MkdirAll(cfg.State, 0o755); err != nil {
		return []finding{failThat("run as root, or choose another with --state", "state directory: %v", err)}
	}
	f, err := os.CreateTemp(cfg.State, ".doctor-")
	if err != nil {
		return []finding{failThat("run as root, or choose another with --state", "state directory: %v", err)}
	}
	_, err = f.Write([]byte("x"))
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	if err != nil {
		return []finding{failThat("check the medium", "state directory %s: %v", cfg.State, err)}
	}
	free, err := (slot.OS{}).StatFree(cfg.State)
	const little = 64 << 20
	if err == nil && free < little {
		return []finding{warnThat("make room: a load needs its size twice over", "state directory %s has %s left", cfg.State,
			terminal.Bytes(int64(free)))}
	}
	return []finding{fine("state directory %s can be written", cfg.State)}
}

// oldest is a time in the past: a clock that shows an earlier one was never
// set.
var oldest = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func checkClock(context.Context, agent.Config) []finding {
	now := time.Now()
	if now.Before(oldest) {
		return []finding{failThat("set the clock, for example by NTP: signed metadata expires", "the clock says %s",
			now.Format(time.RFC3339))}
	}
	return []finding{fine("the clock says %s", now.Format(time.RFC3339))}
}

func checkPin(_ context.Context, cfg agent.Config) []finding {
	_, err := trust.New(trust.Config{Dir: cfg.Trust})
	switch {
	case errors.Is(err, trust.ErrNoRoot):
		return []finding{warnThat("copy root.json of 'peerload-server trust export' there; without it only unsigned loads "+
			"can be run, where they are allowed, and none where the option trust was ever given",
			"no publisher is trusted: %v", err)}
	case err != nil:
		return []finding{failThat("put a good root.json there", "trust: %v", err)}
	}
	return []finding{fine("the publisher's root in %s is usable", cfg.Trust)}
}

func checkLease(_ context.Context, cfg agent.Config) []finding {
	hosts, from := agent.LeaseServers(cfg.Leases)
	switch {
	case from != "":
		return []finding{fine("DHCP names the servers %s (%s)", strings.Join(hosts, ", "), from)}
	case len(cfg.Servers) > 0 || cfg.Provision != "":
		return []finding{fine("no DHCP option 150 or 66, and none is needed")}
	}
	return []finding{failThat("give --server, or make the DHCP client ask for options 150 and 66 and keep the lease in "+
		strings.Join(cfg.Leases, " or "), "no server is known: no lease names one")}
}

// checkServers asks each server for the file for all devices.
func checkServers(ctx context.Context, cfg agent.Config) []finding {
	servers := cfg.Servers
	if len(servers) == 0 {
		servers, _ = agent.LeaseServers(cfg.Leases)
	}
	way := origin.Config{ConnectTimeout: 3 * time.Second, StallTimeout: 3 * time.Second}
	if a := cfg.Address.Addr(); a.IsLoopback() {
		way.LocalAddr = a
	}
	m, err := origin.New(way)
	if err != nil {
		return []finding{failThat("mend the configuration", "servers: %v", err)}
	}
	defer m.Close()
	var out []finding
	for _, s := range servers {
		urls, err := origin.Candidates(strings.TrimSuffix(s, "/") + "/XMLDefault.cnf.xml")
		if err != nil {
			out = append(out, failThat("write it as HOST, HOST:PORT or a URL", "server %s: %v", s, err))
			continue
		}
		reached := false
		for _, u := range urls {
			b, err := m.Open(ctx, origin.Request{URL: u, Size: load.UnknownSize})
			if err == nil {
				b.Close()
			}
			if reached = err == nil || errors.Is(err, origin.ErrNotFound) || errors.Is(err, origin.ErrForbidden); reached {
				out = append(out, fine("server %s answers by %s", s, u.Scheme))
				break
			}
		}
		if !reached {
			out = append(out, failThat("check that it runs and that nothing blocks TCP 6970 and UDP 69",
				"server %s does not answer, by HTTP nor by TFTP", s))
		}
	}
	return out
}

// daemonStatus asks the agent of a state directory, if one runs.
func daemonStatus(ctx context.Context, state string) (string, error) {
	if _, err := os.Stat(filepath.Join(state, agent.SocketName)); err != nil {
		return "", err
	}
	text := ""
	err := agent.Ask(ctx, state, agent.Request{Op: "status"}, func(p agent.Reply) {
		if p.Device != nil {
			text = p.Device.State
		}
	})
	return text, err
}
