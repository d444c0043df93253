package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
)

// getFlags is what `peerload get` takes.
type getFlags struct {
	output, sha256, trust, model, peers, address, iface, state, profile string
	unsigned, json, slots, noSync                                       bool
	stay                                                                bool // linger was given
	verbose, trees                                                      int
	port                                                                uint16
	linger, maxTime                                                     time.Duration
	origin                                                              originFlags
}

const getLong = `Get downloads files, or a whole signed load, through the peers of the subnet: of
all devices that ask for the same content at about the same time one downloads it from
the server, the others get it from each other.

What is right is said by one of three: --sha256 HEX for one file, --trust DIR for a
load published as NAME.load with signed metadata, or --unsigned, which believes the
network. A file fetched with credentials is shared with the subnet like any other;
--peers off keeps it to this device.

A URL without a scheme, HOST/PATH, is tried as phones do it: HTTP on port 6970, then
TFTP.

Exit status: 0 done and verified; 2 usage, or refused; 3 verification failed;
4 server unreachable, no network yet, or --max-time over; 5 disk; 6 trust; 130 interrupted. Run the same
command again after any of 4, 5 and 130: it continues where it stood. With --json the last
lines are the reports, one for each file or load, with "event":"report".`

const getExample = `  peerload get http://10.0.0.5/fw/app.bin --sha256 9f86d08… -o /tmp/app.bin
  peerload get tftp://10.0.0.5/app.bin --unsigned -o firmware/
  peerload get tftp://10.0.0.5/SCCP41.9-4-2SR2-2S.loads --unsigned --model 7961 -o firmware/
  peerload get http://10.0.0.5/fw/phone.load --trust /etc/peerload/trust --model 7961 -o /var/lib/phone/`

func getCommand() *cli.Command {
	f := &getFlags{}
	cmd := &cli.Command{
		Use: "get URL...", Short: "Download files or a load through the peers",
		Long: getLong, Example: getExample,
		Args: func(_ string, args []string) error {
			if len(args) == 0 {
				return usagef("get needs at least one URL")
			}
			return nil
		},
	}
	fl := cmd.Flags()
	cmd.Run = func(ctx context.Context, args []string) error {
		f.stay = fl.Changed("linger")
		return f.run(ctx, args)
	}
	fl.StringVarP(&f.output, "output", "o", "", "file to write; a directory if it exists, ends in /, or several files come (default: the URL's last part, here)")
	fl.StringVar(&f.sha256, "sha256", "", "the file's SHA-256, 64 hexadecimal digits")
	fl.StringVar(&f.trust, "trust", "", "directory with the pinned root.json of the publisher of a load")
	fl.BoolVar(&f.unsigned, "unsigned", false, "believe what the server and the peers send")
	fl.StringVar(&f.model, "model", "", "this device's model; devices of one model group share")
	fl.StringVar(&f.peers, "peers", "on", "share with the peers of the subnet: on or off")
	fl.StringVar(&f.address, "address", "", "own address as IP/PREFIX (default: that of the interface)")
	fl.StringVar(&f.iface, "interface", "", "interface to take the address from (default: that of the default route)")
	fl.Uint16Var(&f.port, "port", 0, "peer port, UDP and TCP (default 4051)")
	stateFlag(fl, &f.state)
	fl.StringVar(&f.profile, "profile", "lan", "timing: lan, or classic as the original")
	fl.IntVar(&f.trees, "trees", 0, "how many trees a file takes: 1, 2, or 0 for two if it has 64 chunks or more; the root's word counts")
	fl.DurationVar(&f.linger, "linger", 0, "serve the peers for this long after the end; 0s exits at once (default: until those that wait are done, 1m at most)")
	fl.DurationVar(&f.maxTime, "max-time", 0, "give up after this long (default: never)")
	fl.BoolVar(&f.slots, "slots", false, "keep a load in two slots below the output directory, and switch DIR/current at the end")
	fl.BoolVar(&f.noSync, "no-sync", false, "do not wait for the disk: for laboratories, a power cut may damage files")
	fl.BoolVar(&f.json, "json", false, "events and the final report as JSON lines on standard output")
	fl.CountVarP(&f.verbose, "verbose", "v", "show the log of the election and the tree")
	f.origin.register(fl)
	cli.Values(fl, "peers", "on", "off")
	cli.Values(fl, "profile", "lan", "classic")
	cli.Values(fl, "trees", "0", "1", "2")
	return cmd
}

// request is what was asked for, understood.
type request struct {
	urls    [][]*url.URL // per file, in the order to try
	digest  load.Digest
	dir     bool // output is a directory
	load    bool // a load: several files, one directory
	classic bool // a load as NAME.loads, unsigned
	output  string
}

// parse understands what was typed, or says what is wrong with it.
func (f *getFlags) parse(args []string) (*request, error) {
	r := &request{output: f.output}
	for _, a := range args {
		sources, err := origin.Candidates(a)
		if err != nil {
			return nil, usageError{err}
		}
		u := sources[0]
		switch {
		case !slices.Contains([]string{"http", "https", "tftp", "file"}, u.Scheme):
			return nil, usagef("%s: the scheme is http, https, tftp or file", u.Redacted())
		case strings.HasSuffix(u.Path, "/") || u.Path == "":
			return nil, usagef("%s names no file", u.Redacted())
		}
		r.load = r.load || strings.HasSuffix(u.Path, load.ManifestSuffix)
		r.classic = len(args) == 1 && f.unsigned && strings.HasSuffix(u.Path, ".loads")
		r.urls = append(r.urls, sources)
	}
	if err := f.parseTrust(r); err != nil {
		return nil, err
	}
	if f.peers != "on" && f.peers != "off" {
		return nil, usagef("--peers is on or off, not %q", f.peers)
	}
	if f.linger < 0 || f.maxTime < 0 {
		return nil, usagef("--linger and --max-time must not be negative")
	}
	if f.trees < 0 || f.trees > 2 {
		return nil, usagef("--trees is 0, 1 or 2, not %d", f.trees)
	}
	r.dir = r.load || len(r.urls) > 1 || strings.HasSuffix(f.output, "/")
	if st, err := os.Stat(f.output); err == nil && st.IsDir() {
		r.dir = true
	}
	if r.output == "" {
		r.output, r.dir = ".", true
	}
	names := map[string]bool{}
	for _, sources := range r.urls {
		name := nameOf(sources[0])
		if names[name] {
			return nil, usagef("two of the files would get the name %s: fetch them one by one, each with its own -o", name)
		}
		names[name] = true
	}
	return r, nil
}

// parseTrust wants exactly one word on what is right.
func (f *getFlags) parseTrust(r *request) error {
	n := 0
	for _, set := range []bool{f.sha256 != "", f.trust != "", f.unsigned} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		return usagef("nothing says which bytes are right: give --sha256 HEX (one file), --trust DIR (a signed load), or --unsigned to believe the network")
	case n > 1:
		return usagef("--sha256, --trust and --unsigned exclude each other")
	case f.sha256 != "" && len(r.urls) > 1:
		return usagef("--sha256 speaks of one file, %d were asked for", len(r.urls))
	case f.trust != "" && (!r.load || len(r.urls) > 1):
		return usagef("--trust fetches one load: give the URL of its NAME%s", load.ManifestSuffix)
	case f.slots && f.trust == "":
		return usagef("--slots is for a signed load, NAME%s with --trust", load.ManifestSuffix)
	case r.load && f.unsigned:
		return usagef("a NAME%s is signed: give --trust DIR, or fetch its components by their own names", load.ManifestSuffix)
	}
	if r.load = f.trust != "" || r.classic; f.sha256 != "" {
		d, err := load.ParseDigest(f.sha256)
		if err != nil {
			return usagef("--sha256: %v", err)
		}
		r.digest = d
	}
	return nil
}

// run does what was asked for.
func (f *getFlags) run(ctx context.Context, args []string) error {
	r, err := f.parse(args)
	if err != nil {
		return err
	}
	if f.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.maxTime, fmt.Errorf("%w %v", errMaxTime, f.maxTime))
		defer cancel()
	}
	if r.dir {
		if err := os.MkdirAll(r.output, 0o755); err != nil {
			return err
		}
	}
	dir, err := stateDir(f.state)
	if err != nil {
		return err
	}
	state, err := status.Open(dir)
	if err != nil {
		return err
	}
	if done, err := f.viaAgent(ctx, r, state); done || err != nil {
		return err
	}
	out := newOutput(f, state.Record(f.commandLine(os.Args)))
	defer out.close()
	d, err := f.device(state, out)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := serve(ctx, d, cancel)
	defer stop() // before out closes: the device reports until it stands still
	g := &getter{f: f, r: r, dev: d, out: out, state: state}
	return g.fetch(ctx)
}

// commandLine is what was typed, without what is secret in it: the status file
// is for everybody on this host.
func (f *getFlags) commandLine(args []string) string {
	var words []string
	for _, w := range args {
		for _, h := range f.origin.headers {
			if name, value, ok := strings.Cut(h, ":"); ok && value != "" {
				w = strings.ReplaceAll(w, h, name+": xxxxx")
			}
		}
		if sources, err := origin.Candidates(w); err == nil && sources[0].User != nil {
			w = sources[0].Redacted()
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// serve runs the device until stop is called, longer than ctx, so that it can
// say goodbye. If it ends by itself, what waits for it is cancelled.
func serve(ctx context.Context, d *engine.Device, cancel context.CancelCauseFunc) (stop func()) {
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

// device opens the peer ports and the way to servers.
func (f *getFlags) device(state *status.Dir, out *output) (*engine.Device, error) {
	proto, err := pdp.Preset(f.profile)
	if err != nil {
		return nil, usageError{err}
	}
	if f.trees > 0 {
		proto.Transfer.Stripes = f.trees
	}
	if f.model != "" && f.peers == "on" && !policy.Builtin().Lookup(f.model).CanShare {
		out.warn("model " + f.model + " cannot share: downloading the classic way")
		f.peers = "off"
	}
	if f.peers == "off" {
		proto = pdp.NoPeers()
	}
	f.origin.patience(&proto.Transfer)
	id, err := state.ID()
	if err != nil {
		return nil, err
	}
	net, err := f.listen(out)
	if err != nil {
		return nil, err
	}
	src, err := f.origin.open(net.Addr().Addr())
	if err != nil {
		return nil, err
	}
	cfg := engine.Config{ID: id, Net: net, Origin: src, Protocol: proto, Report: out.event}
	cfg.Slot.NoSync = f.noSync
	return engine.NewDevice(cfg)
}

func (f *getFlags) listen(out *output) (peernet.Net, error) {
	if f.peers == "off" {
		return engine.NoPeers{}, nil
	}
	cfg := peernet.Config{Interface: f.iface, Port: f.port}
	if f.address != "" {
		p, err := netip.ParsePrefix(f.address)
		if err != nil {
			return nil, usagef("--address wants IP/PREFIX, such as 10.0.0.7/24: %v", err)
		}
		cfg.Address = p
	}
	s, err := peernet.Listen(cfg)
	if errors.Is(err, peernet.ErrNoAddress) && f.address == "" && f.iface == "" {
		// Not what was typed is wrong: a device that starts has no address yet.
		return nil, fmt.Errorf("%w: %w; try again when the network is up, or fetch without the peers by --peers off", errNoNetwork, err)
	}
	if err != nil {
		return nil, usageError{err}
	}
	for _, w := range s.Warnings() {
		out.warn(w)
	}
	return s, nil
}

// target returns the path that the file of a URL gets.
func (r *request) target(u *url.URL) (string, error) {
	if !r.dir {
		return r.output, nil
	}
	name := path.Base(u.Path)
	if err := load.CheckName(name); err != nil {
		return "", usagef("%s: %v; name the file with -o", u.Redacted(), err)
	}
	return filepath.Join(r.output, name), nil
}
