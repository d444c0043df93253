package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/proxy"
	"github.com/peerload/peerload/internal/device/serverflags"
	"github.com/peerload/peerload/internal/device/sharing"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/parse"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/report"
)

// proxyFlags is what `peerload proxy` takes.
type proxyFlags struct {
	listen, keep, state, address, iface, cacert, limitRate string
	rules, allow                                           []string
	port                                                   uint16
	noSync                                                 bool
}

const proxyLong = `Proxy is an HTTP proxy for other people's programs: what they download comes
through the peers of the subnet where something says which bytes are right, and
passes through as it is everywhere else. A digest is known from URLs (apt's by-hash,
blobs of OCI registries), from indexes that pass through (apt's Packages and Release,
SHA256SUMS), from headers (Repr-Digest, Digest), and from rules.

Point a program to it by http_proxy=http://127.0.0.1:4052, or write URLs in the form
of a mirror: http://127.0.0.1:4052/https/HOST/PATH. What a proxy cannot see, which is
HTTPS through CONNECT, is joined and not looked at.

A rule is a pattern of URLs and words: never; unsigned, which believes the network;
sha256=HEX; sidecar=.sha256 or sidecar=SHA256SUMS, files that say the digest;
trust=DIR, which verifies loads, each chunk of which is then handed on as it comes; stream,
which hands bytes on before all of them are verified, and breaks the connection before
the last one if they are wrong; credentials, which shares what is fetched with
Authorization or cookies; ignore=NAME,..., query parameters that belong to a presigned
URL. The first rule that matches counts. docs/UPDATERS.md has recipes.`

const proxyExample = `  peerload proxy
  peerload proxy --rule 'http://updates.example/fw/** unsigned'
  peerload proxy --rule 'https://s3.example/** unsigned stream ignore=X-Amz-*'
  http_proxy=http://127.0.0.1:4052 apt-get update
  peerload proxy status`

func proxyCommand() *cli.Command {
	f := &proxyFlags{}
	cmd := &cli.Command{Use: "proxy", Short: "Share what other programs download", Long: proxyLong, Example: proxyExample,
		Args: cli.NoArgs, Commands: []*cli.Command{proxyStatusCommand()}}
	f.register(cmd.Flags())
	cmd.Run = func(ctx context.Context, _ []string) error { return f.run(ctx) }
	return cmd
}

func (f *proxyFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.listen, "listen", proxy.DefaultAddress, "IP:PORT for clients; beyond loopback only with --allow")
	fl.StringArrayVar(&f.rules, "rule", nil, "pattern of URLs and what holds for them; may be repeated")
	fl.StringVar(&f.keep, "keep", "1G", "most bytes that copies take")
	fl.StringArrayVar(&f.allow, "allow", nil, "network of other clients, such as 192.0.2.0/24; may be repeated")
	fl.StringVar(&f.address, "address", "", "own address, IP or IP/PREFIX (default: that of the interface)")
	fl.StringVar(&f.iface, "interface", "", "interface to take the address from (default: that of the default route)")
	fl.Uint16Var(&f.port, "port", 0, "peer port, UDP and TCP (default 4051)")
	fl.StringVar(&f.cacert, "cacert", "", "file with the CA certificates of HTTPS servers (PEM)")
	fl.StringVar(&f.limitRate, "limit-rate", "", "most bytes a second from servers for what is shared, such as 200k or 2M")
	fl.BoolVar(&f.noSync, "no-sync", false, "do not wait for the disk: for laboratories, a power cut may damage copies")
	stateFlag(fl, &f.state)
}

// run serves until ctx ends.
func (f *proxyFlags) run(ctx context.Context) error {
	cfg, place, err := f.configs()
	if err != nil {
		return err
	}
	l, err := proxy.Listen(f.listen, cfg.Allow)
	if err != nil {
		return usagef("--listen: %w", err)
	}
	defer l.Close()
	dir, err := stateDir(f.state)
	if err != nil {
		return err
	}
	state, err := status.Open(dir)
	if err != nil {
		return err
	}
	if place.ID, err = state.ID(); err != nil {
		return err
	}
	rec := state.Record("peerload proxy")
	defer rec.Close()
	device := fmt.Sprintf("%016x", place.ID)
	cfg.Report = func(e report.Event) { e.Device = device; rec.Take(e) }
	told := &listeners{to: map[chan report.Event]bool{}}
	place.Report = func(e report.Event) { rec.Take(e); told.take(e) }
	place.Warn = func(s string) { tell(os.Stderr, "peerload: %s", s) }
	at, err := proxy.NewPlace(place)
	if err != nil {
		return usageError{err}
	}
	cfg.Dir, cfg.Device = filepath.Join(dir, proxyDir), at.Device
	p, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	placed, ready := make(chan error, 1), make(chan struct{})
	go func() { placed <- at.Run(ctx, func() { close(ready) }) }()
	select {
	case err := <-placed:
		return err
	case <-ready:
	}
	var busy sync.WaitGroup
	if err := serveErrands(ctx, &agent.Errands{Device: at.Device, Events: told.subscribe}, cfg.Dir, &busy); err != nil {
		place.Warn("peerload get does not find this proxy: " + err.Error())
	}
	tell(os.Stderr, "peerload: proxy on http://%s", l.Addr())
	err = p.Serve(ctx, l)
	cancel(nil)
	busy.Wait()
	<-placed
	return err
}

// proxyDir is the directory of a proxy below the state directory: it has its copies,
// and the socket by which peerload get finds it.
const proxyDir = "proxy"

// serveErrands lets peerload get hand to the proxy what it would else do by itself, and
// stay for.
func serveErrands(ctx context.Context, e *agent.Errands, dir string, busy *sync.WaitGroup) error {
	e.ExitOf = func(err error) int { return exitCode(err, false) }
	e.Scratch = filepath.Join(dir, "scratch")
	if err := os.RemoveAll(e.Scratch); err != nil { // of an earlier process
		return err
	}
	if err := os.MkdirAll(e.Scratch, 0o700); err != nil {
		return err
	}
	return e.Serve(ctx, dir, busy)
}

// listeners get the events of a device, each in its own time: what one does not take is
// dropped for it.
type listeners struct {
	mu sync.Mutex
	to map[chan report.Event]bool
}

// waiting is how many events wait for one listener.
const waiting = 256

// take takes an event. It never blocks.
func (l *listeners) take(e report.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.to {
		select {
		case c <- e:
		default:
		}
	}
}

// subscribe passes every event to f until the returned function is called.
func (l *listeners) subscribe(f func(report.Event)) (end func()) {
	c := make(chan report.Event, waiting)
	l.mu.Lock()
	l.to[c] = true
	l.mu.Unlock()
	go func() {
		for e := range c {
			f(e)
		}
	}()
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.to, c)
		close(c)
	}
}

// configs reads the command line.
func (f *proxyFlags) configs() (cfg proxy.Config, place proxy.PlaceConfig, err error) {
	bad := func(flag string, err error) (proxy.Config, proxy.PlaceConfig, error) {
		return cfg, place, usagef("--%s: %w", flag, err)
	}
	for _, text := range f.rules {
		r, err := sharing.ParseRule(text)
		if err != nil {
			return bad("rule", err)
		}
		cfg.Rules = append(cfg.Rules, r)
	}
	for _, text := range f.allow {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return bad("allow", fmt.Errorf("%q is no network, such as 192.0.2.0/24", text))
		}
		cfg.Allow = append(cfg.Allow, n)
	}
	if cfg.Keep, err = parse.Size(f.keep); err != nil || cfg.Keep == 0 {
		return bad("keep", fmt.Errorf("%q is no number of bytes, such as 500M or 2G", f.keep))
	}
	place.Net = peernet.Config{Interface: f.iface, Port: f.port}
	if f.address != "" {
		if place.Net.Address, err = parse.Address(f.address); err != nil {
			return bad("address", err)
		}
	}
	place.Origin = origin.Config{StallTimeout: origin.RootStallTimeout, NoProxyEnv: proxy.NamesItself(f.listen)}
	if place.Origin.LimitRate, err = serverflags.Rate(f.limitRate); err != nil {
		return cfg, place, usageError{err}
	}
	if f.cacert != "" {
		pem, err := os.ReadFile(f.cacert)
		if err != nil {
			return bad("cacert", err)
		}
		place.Origin.CACert = x509.NewCertPool()
		if !place.Origin.CACert.AppendCertsFromPEM(pem) {
			return bad("cacert", fmt.Errorf("%s holds no certificate: name a file in PEM", f.cacert))
		}
	}
	cfg.CACerts, cfg.NoProxyEnv = place.Origin.CACert, place.Origin.NoProxyEnv
	place.Slot.NoSync = f.noSync
	return cfg, place, nil
}

// statusTime bounds how long a proxy may take to say what it does.
const statusTime = 5 * time.Second

func proxyStatusCommand() *cli.Command {
	var listen string
	var asJSON bool
	cmd := &cli.Command{Use: "status", Short: "Say what the proxy of this device has done, and why",
		Args: cli.NoArgs, Example: "  peerload proxy status --json"}
	cmd.Flags().StringVar(&listen, "listen", proxy.DefaultAddress, "IP:PORT where the proxy listens")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Run = func(ctx context.Context, _ []string) error {
		s, err := proxyStatus(ctx, listen)
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(os.Stdout).Encode(s)
		}
		printProxy(locale(), s)
		return nil
	}
	return cmd
}

// proxyStatus asks a proxy.
func proxyStatus(ctx context.Context, listen string) (s proxy.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	if _, err := netip.ParseAddrPort(listen); err != nil {
		return s, usagef("--listen: %q is no address with a port, such as %s", listen, proxy.DefaultAddress)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listen+proxy.StatusPath, nil)
	if err != nil {
		return s, usageError{err}
	}
	resp, err := (&http.Client{Transport: &http.Transport{}}).Do(req)
	if err != nil {
		return s, usagef("no proxy answers at %s: start it with peerload proxy, or name its address with --listen", listen)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, usagef("what answers at %s is no proxy of this program", listen)
	}
	const most = 1 << 20
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(&s); err != nil {
		return s, usagef("what answers at %s is no proxy of this program: %w", listen, err)
	}
	return s, nil
}

// printProxy shows what a proxy has done.
func printProxy(lang language, s proxy.Status) {
	if !s.Sharing {
		tell(os.Stdout, "%s", lang.of("There are no peers now: everything passes through.",
			"現在ピアがないため、すべてそのまま通過させています。"))
	}
	tell(os.Stdout, lang.of("clients got %s shared, %s passed through, %s through tunnels; %d {answer|answers} went on "+
		"from the server", "クライアントへの送信: 共有 %s、通過 %s、トンネル %s。サーバからの継続 %d 件"),
		terminal.Bytes(s.BytesShared),
		terminal.Bytes(s.BytesPassed), terminal.Bytes(s.BytesTunnelled), s.Fallbacks)
	tell(os.Stdout, lang.of("%d {copy|copies} with %s of at most %s; %d {file|files} open; %d {digest|digests} known",
		"コピー %d 件 %s (上限 %s)、使用中のファイル %d 件、既知のダイジェスト %d 件"), s.Kept, terminal.Bytes(s.KeptBytes),
		terminal.Bytes(s.KeptMost), s.Open, s.Known)
	rows := [][]string{{lang.of("requests", "要求"), lang.of("why", "理由")}}
	for _, why := range slices.Sorted(maps.Keys(s.Requests)) {
		rows = append(rows, []string{strconv.FormatInt(s.Requests[why], 10), lang.why(string(why), "")})
	}
	if len(rows) == 1 {
		return
	}
	for _, line := range terminal.Table(rows) {
		tell(os.Stdout, "  %s", line)
	}
}
