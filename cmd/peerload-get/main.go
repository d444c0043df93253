// Command peerload-get fetches single files through the peers of the subnet. It is
// "peerload get" for devices that have no room for peerload: no signed loads, which take
// the library of TUF, no agent, no page, no terminal to draw on.
//
//	peerload-get http://10.0.0.5/fw/app.bin --sha256 9f86d08… -o app.bin
//
// It is wiring only: flags, output and exit statuses, which are those of peerload get. The
// download itself is in package fetch. A test of internal/programs bounds its size: before a
// package is imported here, see what it links.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/exit"
	"github.com/peerload/peerload/internal/device/fetch"
	"github.com/peerload/peerload/internal/device/peerflags"
	"github.com/peerload/peerload/internal/device/serverflags"
	"github.com/peerload/peerload/internal/printable"
	"github.com/peerload/peerload/internal/version"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// usageError is bad input.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errMaxTime ends a run that took too long.
var errMaxTime = errors.New("not done after --max-time")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(os.Stdout, os.Stderr).Execute(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		tell(os.Stderr, "%v", cli.Advise(err))
	}
	os.Exit(status(err, ctx.Err() != nil))
}

// status tells a script what kind of error it was.
func status(err error, interrupted bool) int {
	switch {
	case err == nil:
		return 0
	case interrupted:
		return exit.Interrupted
	case errors.As(err, new(usageError)):
		return exit.Usage
	case errors.Is(err, errMaxTime):
		return exit.Unreachable
	}
	return exit.Of(err)
}

// tell writes one line for people; what servers and peers have named steers no terminal.
func tell(w io.Writer, format string, args ...any) {
	fmt.Fprintln(w, printable.Line("peerload-get: "+fmt.Sprintf(format, args...)))
}

// flags are those of the command line.
type flags struct {
	output, sha256, model, state string
	unsigned, json               bool
	verbose                      int
	linger, maxTime              time.Duration
	digestGiven, lingerGiven     bool
	peers                        peerflags.Flags
	origin                       serverflags.Flags
}

const long = `Peerload-get downloads files through the peers of the subnet: of all devices that ask
for the same file at about the same time one downloads it from the server, the others get
it from each other. It does so with devices that run peerload, too.

What is right is said by --sha256 HEX, or --unsigned, which believes the network.

Exit status: 0 done and verified; 2 usage, or refused; 3 verification failed;
4 server unreachable, busy or failing, no network yet, or --max-time over; 5 disk;
7 the server has no such file; 8 it refuses the file; 9 TLS: a certificate is not
accepted; 10 an answer that no later attempt changes; 130 interrupted. Run the same command
again after any of 4, 5 and 130: it continues where it stood. With --json the last lines
are the reports, one for each file, with "event":"report".`

// command is the whole command line.
func command(stdout, stderr io.Writer) *cli.Command {
	f := &flags{}
	cmd := &cli.Command{
		Use: "peerload-get URL...", Short: "Download files through the peers", Long: long,
		Example: "  peerload-get http://10.0.0.5/fw/app.bin --sha256 9f86d08… -o app.bin",
		Version: version.Read().String(), Args: func(args []string) bool { return len(args) > 0 },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output", "o", "",
		"file to write; a directory if it exists, ends in /, or several files come (default: the URL's last part, here)")
	fl.StringVar(&f.sha256, "sha256", "", "the file's SHA-256, 64 hexadecimal digits")
	fl.BoolVar(&f.unsigned, "unsigned", false, "believe what the server and the peers send")
	fl.StringVar(&f.model, "model", "", "this device's model; devices of one model group share")
	f.peers.Register(fl)
	fl.StringVar(&f.state, "state", "", "state directory (default $PEERLOAD_STATE; else /var/lib/peerload-get for root, "+
		"$HOME/.local/state/peerload-get for others)")
	fl.DurationVar(&f.linger, "linger", 0, "serve the peers for this long after the end; 0s exits at once (default: "+
		"until those that wait are done, 1m at most)")
	fl.DurationVar(&f.maxTime, "max-time", 0, "give up after this long (default: never)")
	fl.BoolVar(&f.json, "json", false, "events and the final report as JSON lines on standard output")
	fl.CountVarP(&f.verbose, "verbose", "V", "show the log of the election and the tree")
	f.origin.Register(fl)
	cmd.Run = func(ctx context.Context, args []string) error {
		f.digestGiven, f.lingerGiven = fl.Changed("sha256"), fl.Changed("linger")
		return f.run(ctx, args, &output{f: f, out: stdout, err: stderr})
	}
	return cmd
}

// run does what was asked for.
func (f *flags) run(ctx context.Context, urls []string, out *output) error {
	r, err := f.request(urls)
	if err != nil {
		return err
	}
	if f.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.maxTime, fmt.Errorf("%w %v", errMaxTime, f.maxTime))
		defer cancel()
	}
	r.Events, r.Warn = out.take, out.warn
	finals, err := fetch.Files(ctx, r)
	out.end(finals)
	return err
}

// request is what the command line asks for.
func (f *flags) request(urls []string) (r fetch.Request, err error) {
	if f.linger < 0 || f.maxTime < 0 {
		return r, usagef("--linger and --max-time are 0s or longer: give none for the default")
	}
	if err := f.origin.Named(); err != nil {
		return r, usageError{err}
	}
	r = fetch.Request{URLs: urls, Output: f.output, Model: f.model}
	if r.Proof, err = f.proof(); err != nil {
		return r, err
	}
	if r.State, err = f.stateDir(); err != nil {
		return r, err
	}
	if f.lingerGiven {
		r.Linger = &f.linger
	}
	if r.Peers, err = f.peers.Peers(); err != nil {
		return r, usageError{err}
	}
	if r.Server, err = f.origin.Server(); err != nil {
		return r, usageError{err}
	}
	return r, nil
}

// proof requires exactly one option that says which bytes are right.
func (f *flags) proof() (fetch.Proof, error) {
	switch {
	case f.digestGiven && f.unsigned:
		return fetch.Proof{}, usagef("--sha256 and --unsigned exclude each other: give one of them")
	case f.unsigned:
		return fetch.Unsigned(), nil
	case !f.digestGiven:
		return fetch.Proof{}, usagef("nothing says which bytes are right: give --sha256 HEX (one file), or --unsigned to " +
			"believe the network; signed loads take peerload get")
	}
	d, err := load.ParseDigest(f.sha256)
	if err != nil {
		return fetch.Proof{}, usagef("--sha256: %v", err)
	}
	return fetch.SHA256(d), nil
}

// stateDir is not that of peerload, of which an agent may be the owner.
func (f *flags) stateDir() (string, error) {
	if f.state != "" {
		return f.state, nil
	}
	if d := os.Getenv("PEERLOAD_STATE"); d != "" {
		return d, nil
	}
	if os.Geteuid() == 0 {
		return "/var/lib/peerload-get", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usagef("no place for the state: give --state DIR")
	}
	return filepath.Join(home, ".local", "state", "peerload-get"), nil
}

// output writes what a run tells: reports on standard output, everything else on
// standard error.
type output struct {
	f        *flags
	mu       sync.Mutex
	out, err io.Writer
	device   string
	failed   []report.Event
}

// take takes an event of the run.
func (o *output) take(e report.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.device = e.Device
	if e.Event == report.KindFailed {
		o.failed = append(o.failed, e)
	}
	switch {
	case o.f.json:
		_ = json.NewEncoder(o.out).Encode(e)
	case e.Event == report.KindProgress || e.Event == report.KindDone || e.Event == report.KindFailed:
	case o.f.verbose > 0 && e.Message != "", e.Event == report.KindFallback, e.Event == report.KindConflict:
		tell(o.err, "%s", e.Message)
	}
}

// warn tells of something that does not stop the run.
func (o *output) warn(s string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tell(o.err, "warning: %s", s)
}

// end writes the last words: of files in place, then of those that are not coming.
func (o *output) end(finals []report.Final) {
	for i := range finals {
		f := &finals[i]
		if !o.f.json {
			fmt.Fprintln(o.out, printable.Line(fmt.Sprintf("%s: %d bytes in %.1f s (%d from peers, %d from the server)", f.Path,
				f.Size, f.ElapsedS, f.BytesFromPeers, f.BytesFromOrigin)))
			continue
		}
		_ = json.NewEncoder(o.out).Encode(report.Event{Schema: report.Schema,
			Time: time.Now().UTC().Format(report.TimeLayout), Event: report.KindReport, Device: o.device, File: f.File,
			URL: f.URL, Role: f.Role, Source: f.Source, Bytes: f.Size, Size: f.Size, Percent: 100, Final: f})
	}
	for _, e := range o.failed {
		if e.Event = report.KindReport; o.f.json {
			_ = json.NewEncoder(o.out).Encode(e)
		}
	}
}
