package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peerflags"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/serverflags"
	"github.com/peerload/peerload/internal/device/status"
	"github.com/peerload/peerload/internal/device/target"
	"github.com/peerload/peerload/load"
)

// getFlags is what `peerload get` takes.
type getFlags struct {
	output, sha256, trust, model, state, profile, exec string
	unsigned, json, slots, noSync                      bool
	stay                                               bool // linger was given
	digestGiven, trustGiven, execGiven                 bool // be it ""
	verbose, trees                                     int
	linger, maxTime                                    time.Duration
	peers                                              peerflags.Flags
	origin                                             serverflags.Flags

	sink     *sink     // of the file, if it does not go among the files
	follower *follower // gets the file, nil if no command does
}

const getLong = `Get downloads files, or a whole signed load, through the peers of the subnet: of
all devices that ask for the same content at about the same time one downloads it from
the server, the others get it from each other.

What is right is said by one of three: --sha256 HEX for one file, --trust DIR for a
load published as NAME.load with signed metadata, or --unsigned, which believes the
network. A file fetched with credentials is shared with the subnet like any other;
--peers off keeps it to this device.

A symbolic link as output stays, and what it points to is written. Standard output, a
FIFO or a device gets the file when all of it is verified, and nothing before.

With --exec a command gets the verified file: its path where {} stands among the words,
else on standard input. No shell is between: write sh -c for one. Without -o the file is
kept only until the command has ended well. Meanwhile, and for 20 s at least, the file is
served to peers, by the agent or the proxy of this device where one runs.

A URL without a scheme, HOST/PATH, is tried as phones do it: HTTP on port 6970, then
TFTP.

Exit status: 0 done and verified; 2 usage, or refused; 3 verification failed;
4 server unreachable, busy or failing, no network yet, or --max-time over; 5 disk;
6 trust; 7 the server has no such file; 8 it refuses the file; 9 TLS: a certificate is
not accepted; 10 an answer that no later attempt changes, such as a redirect loop;
11 the command of --exec failed; 130 interrupted. Run the same command again after any of
4, 5 and 130: it continues where it stood, unless other users can write the directory, as
they can /tmp: there it begins anew. With --json the last lines are the reports, one for
each file or load, with "event":"report".`

const getExample = `  peerload get http://10.0.0.5/fw/app.bin --sha256 9f86d08… -o app.bin
  peerload get tftp://10.0.0.5/app.bin --unsigned -o firmware/
  peerload get http://10.0.0.5/fw/app.raucb --sha256 9f86d08… --exec 'rauc install {}'
  peerload get tftp://10.0.0.5/SCCP41.9-4-2SR2-2S.loads --unsigned --model 7961 -o firmware/
  peerload get http://10.0.0.5/fw/phone.load --trust /etc/peerload/trust --model 7961 -o /var/lib/phone/`

func getCommand() *cli.Command {
	f := &getFlags{}
	cmd := &cli.Command{
		Use: "get URL...", Short: "Download files or a load through the peers",
		Long: getLong, Example: getExample,
		Args: func(args []string) bool { return len(args) > 0 },
	}
	fl := cmd.Flags()
	cmd.Run = func(ctx context.Context, args []string) error {
		f.stay, f.digestGiven, f.trustGiven = fl.Changed("linger"), fl.Changed("sha256"), fl.Changed("trust")
		f.execGiven = fl.Changed("exec")
		return f.run(ctx, args)
	}
	fl.StringVarP(&f.output, "output", "o", "",
		"file to write; a directory if it exists, ends in /, or several files come; - is standard output (default: the "+
			"URL's last part, here)")
	fl.StringVar(&f.sha256, "sha256", "", "the file's SHA-256, 64 hexadecimal digits")
	fl.StringVar(&f.trust, "trust", "", "directory with the pinned root.json of the publisher of a load")
	fl.BoolVar(&f.unsigned, "unsigned", false, "believe what the server and the peers send")
	fl.StringVar(&f.model, "model", "", "this device's model; devices of one model group share")
	f.peers.Register(fl)
	stateFlag(fl, &f.state)
	fl.StringVar(&f.profile, "profile", "lan", "timing: lan, or classic as the original")
	fl.IntVar(&f.trees, "trees", 0,
		"how many trees a file takes: 1, 2, or 0 for two if it has 64 chunks or more; the root's word counts")
	fl.DurationVar(&f.linger, "linger", 0, "serve the peers for this long after the end; 0s exits at once (default: "+
		"until those that wait are done, 1m at most)")
	fl.StringVar(&f.exec, "exec", "", "command that gets the verified file: as {} among its words, else on standard input")
	fl.DurationVar(&f.maxTime, "max-time", 0, "give up after this long (default: never)")
	fl.BoolVar(&f.slots, "slots", false,
		"keep a load in two slots below the output directory, and switch DIR/current at the end")
	fl.BoolVar(&f.noSync, "no-sync", false, "do not wait for the disk: for laboratories, a power cut may damage files")
	fl.BoolVar(&f.json, "json", false, "events and the final report as JSON lines on standard output")
	fl.CountVarP(&f.verbose, "verbose", "v", "show the log of the election and the tree")
	f.origin.Register(fl)
	cli.Values(fl, "profile", "lan", "classic")
	cli.Values(fl, "trees", "0", "1", "2")
	return cmd
}

// request is the parsed command line.
type request struct {
	*target.List
	proof peerload.Proof
}

// words are the names of the options in messages.
func words() target.Words {
	return target.Words{Digest: "--sha256", Trust: "--trust", GiveTrust: "--trust DIR", Slots: "--slots", Output: "-o"}
}

// parse parses the command line, or says what is wrong with it.
func (f *getFlags) parse(args []string) (*request, error) {
	l, err := target.Parse(args, f.output)
	if err != nil {
		return nil, err
	}
	proof, kind, err := f.proof()
	if err != nil {
		return nil, err
	}
	if err := l.Resolve(kind, f.slots, words()); err != nil {
		return nil, err
	}
	if err := f.origin.Named(); err != nil {
		return nil, usageError{err}
	}
	if f.linger < 0 || f.maxTime < 0 {
		return nil, usagef("--linger and --max-time are 0s or longer: give none for the default")
	}
	return &request{l, proof}, nil
}

// proof requires exactly one option that says which bytes are right.
func (f *getFlags) proof() (p peerload.Proof, kind target.Proof, err error) {
	n := 0
	for _, set := range []bool{f.digestGiven, f.trustGiven, f.unsigned} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		return p, kind, usagef("nothing says which bytes are right: give --sha256 HEX (one file), --trust DIR (a signed " +
			"load), or --unsigned to believe the network")
	case n > 1:
		return p, kind, usagef("--sha256, --trust and --unsigned exclude each other: give one of them")
	case f.trustGiven && f.trust == "":
		return p, kind, usagef("--trust names no directory: give the one with the publisher's root.json")
	case f.trustGiven:
		return peerload.Trust(f.trust), target.Signed, nil
	case f.unsigned:
		return peerload.Unsigned(), target.Unsigned, nil
	}
	d, err := load.ParseDigest(f.sha256)
	if err != nil {
		return p, kind, usagef("--sha256: %v", err)
	}
	return peerload.SHA256(d), target.Digest, nil
}

// run does what was asked for.
func (f *getFlags) run(ctx context.Context, args []string) error {
	dir, err := stateDir(f.state)
	if err != nil {
		return err
	}
	if f.execGiven {
		if f.follower, err = f.newFollower(dir, args); err != nil {
			return err
		}
	}
	r, err := f.parse(args)
	if err != nil {
		return err
	}
	if f.maxTime > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.maxTime, fmt.Errorf("%w %v", errMaxTime, f.maxTime))
		defer cancel()
	}
	if err := r.MakeDir(); err != nil {
		return err
	}
	state, err := status.Open(dir)
	if err != nil {
		return err
	}
	if f.sink, err = newSink(f.output, state.Path(), r); err != nil {
		return err
	}
	if f.sink != nil && f.json && f.sink.path == "" {
		return usagef("-o %s and --json both write to standard output: give a file", f.output)
	}
	if done, err := f.viaAgent(ctx, r, state); done || err != nil {
		if err == nil && f.follower != nil {
			f.follower.begin(ctx, f.follower.file)
			err = f.follower.finish(ctx)
		}
		return advised(err)
	}
	return f.fetch(ctx, args, r, state)
}

// fetch does by itself what was asked for.
func (f *getFlags) fetch(ctx context.Context, args []string, r *request, state *status.Dir) error {
	out := newOutput(f, state.Record(f.commandLine(os.Args)))
	defer out.close()
	req, err := f.request(args, r.proof, state.Path())
	if err != nil {
		return err
	}
	req.Events, req.Warn = out.take, out.warn
	if f.sink != nil {
		req.Output, req.Events = f.sink.held, f.sink.events(out.take)
	}
	if f.follower != nil {
		req.Events = f.follower.events(ctx, req.Events)
	}
	finals, err := peerload.Fetch(ctx, req)
	if err == nil && f.sink != nil {
		err = f.sink.finish(ctx)
	}
	if err == nil && f.follower != nil {
		err = f.follower.finish(ctx)
	}
	if err != nil {
		return advised(err)
	}
	for i := range finals {
		if f.sink != nil {
			finals[i] = *f.sink.named(finals[i])
		}
		out.result(&finals[i])
	}
	return nil
}

// request says the same to package peerload.
func (f *getFlags) request(urls []string, proof peerload.Proof, state string) (peerload.Request, error) {
	r := peerload.Request{
		URLs: urls, Proof: proof, Output: f.output, State: state, Slots: f.slots, Model: f.model, NoSync: f.noSync,
	}
	if f.stay {
		r.Linger = &f.linger
	} else if f.follower != nil {
		r.Linger = new(execLinger)
	}
	p, err := f.peers.Peers()
	if err != nil {
		return r, usageError{err}
	}
	r.Peers = peerload.Peers(p)
	r.Peers.Profile, r.Peers.Trees = f.profile, f.trees
	s, err := f.origin.Server()
	if err != nil {
		return r, usageError{err}
	}
	r.Server = peerload.Server(s)
	return r, nil
}

// again ends the message about an interrupted run.
const again = "; the same command continues where it stood"

// advised adds to an error what this command can do about it.
func advised(err error) error {
	switch {
	case errors.Is(err, peerload.ErrNoNetwork):
		return fmt.Errorf("%w by --peers off", err)
	case errors.Is(err, peerload.ErrRequest) && errors.Is(err, load.ErrName):
		return fmt.Errorf("%w; name the file with -o", err)
	case failure.Reason(err) == reason.TLS:
		return fmt.Errorf("%w; %s", err, tlsAdvice(err))
	case errors.As(err, new(*failure.Stopped)):
		return fmt.Errorf("%w%s", err, again)
	}
	return err
}

// tlsAdvice names the flag that helps with an error of TLS.
func tlsAdvice(err error) string {
	var refused *origin.TLSError
	if errors.As(err, &refused) && refused.Own {
		return "--cert and --key name the certificate of this device"
	}
	if errors.As(err, new(tls.RecordHeaderError)) || errors.Is(err, http.ErrSchemeMismatch) {
		return "the server speaks HTTP without TLS there: write http://, or another port"
	}
	return "--cacert names the certificates that are trusted"
}

// commandLine is what was typed, without what is secret in it: the status file
// is for everybody on this host.
func (f *getFlags) commandLine(args []string) string {
	var words []string
	for _, w := range args {
		w = f.origin.Hide(w)
		if sources, err := origin.Candidates(w); err == nil && (sources[0].User != nil || sources[0].RawQuery != "" ||
			sources[0].Fragment != "") {
			w = origin.Shown(sources[0])
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}
