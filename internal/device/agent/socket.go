package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/failure"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/signed"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// Request is one line that a program sends to the daemon of its device.
type Request struct {
	// Op is "get", "status", "check-in", or "yield" with Yield.
	Op string `json:"op"`
	// Yield says whether the device serves others only where nobody else can.
	Yield bool `json:"yield,omitempty"`
	// Get says what to fetch.
	Get *GetRequest `json:"get,omitempty"`
}

// GetRequest asks for files or for a load.
type GetRequest struct {
	// URLs of the files, for each the sources to try in order.
	URLs [][]string `json:"urls"`
	// Targets are the absolute paths that the files get; for a load one, its
	// directory.
	Targets []string `json:"targets"`
	// One of these three says which bytes are right: SHA256 of the one file;
	// Trust, the publisher's directory, of a signed load; Unsigned, nothing.
	SHA256   string `json:"sha256,omitempty"`
	Trust    string `json:"trust,omitempty"`
	Unsigned bool   `json:"unsigned,omitempty"`
	// Load says that the one URL is that of a load, classic if it is Unsigned.
	Load  bool `json:"load,omitempty"`
	Slots bool `json:"slots,omitempty"`
	// Model that the files are for, "" if not told.
	Model string `json:"model,omitempty"`
	// Linger is how long to serve the files afterwards; negative: until
	// nobody waits for them.
	Linger time.Duration `json:"linger"`
	// Stay serves them although the program that asked has gone: its answer comes as
	// soon as they are in place.
	Stay bool `json:"stay,omitempty"`
}

// Reply is one line that the daemon sends back. The last one
// has End.
type Reply struct {
	// Event is something that happened meanwhile.
	Event *report.Event `json:"event,omitempty"`
	// Final is the report of a file or load that is in place.
	Final *report.Final `json:"final,omitempty"`
	// Device answers "status".
	Device *report.Device `json:"device,omitempty"`
	// Declined says that the daemon does not do this, and why: the program that
	// asked does it itself.
	Declined string `json:"declined,omitempty"`
	// Error says what went wrong, Reason is its code, Exit the exit status for it.
	Error  string      `json:"error,omitempty"`
	Reason reason.Code `json:"reason,omitempty"`
	Exit   int         `json:"exit,omitempty"`
	// End marks the last line.
	End bool `json:"end,omitempty"`
}

// maxLineJSON bounds a line at the socket, in bytes.
const maxLineJSON = 4 << 20

// ErrNoDaemon says that no daemon runs with a state directory, or that it
// serves another user.
var ErrNoDaemon = errors.New("no agent runs here")

// Ask sends a request to the daemon of a state directory and hands its replies
// to each until the last.
func Ask(ctx context.Context, state string, r Request, each func(Reply)) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", filepath.Join(state, SocketName))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrPermission) {
			return ErrNoDaemon
		}
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(r); err != nil {
		return err
	}
	err = readReplies(c, each)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// readReplies hands the replies of a daemon to each until the last.
func readReplies(from io.Reader, each func(Reply)) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLineJSON)
	for lines.Scan() {
		var p Reply
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("the agent's answer cannot be read: %w", err)
		}
		each(p)
		if p.End {
			return nil
		}
	}
	return errors.Join(errors.New("the agent ended in the middle of its answer"), lines.Err())
}

// Errands does for other programs of this device what they would else do by
// themselves: one place on the subnet serves them all. The daemon does; so does a proxy
// where no daemon runs. Device, Events and ExitOf are required.
type Errands struct {
	// Device returns the device as a peer of its subnet, nil while it shares nothing.
	Device func() *engine.Device
	// Events passes what happens to f until the returned function is called.
	Events func(f func(report.Event)) (end func())
	// ExitOf is the exit status for an error.
	ExitOf func(error) int
	// Scratch is a directory for what is not part of a load; it is there.
	Scratch string
	// Moved is told of files that were fetched, before they are closed. nil: nobody is.
	Moved func(files []*engine.File)
	// Other answers what is no "get", and reports whether it knows it. nil: nothing.
	Other func(r Request) (Reply, bool)
}

// session is one program connected to the socket.
type session struct {
	e    *Errands
	conn net.Conn
	mu   sync.Mutex // events come while an answer is given
	out  *json.Encoder
}

// requestTime is how long a program may take to send its request, replyTime how
// long to read a reply.
const (
	requestTime = 5 * time.Second
	replyTime   = 10 * time.Second
)

// reply sends one line to the program.
func (s *session) reply(p Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(replyTime))
	_ = s.out.Encode(p)
}

// readRequest reads the one line that a program sends.
func readRequest(from io.Reader) (r Request, err error) {
	line, err := bufio.NewReader(io.LimitReader(from, maxLineJSON)).ReadBytes('\n')
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(line, &r)
	return r, err
}

// Serve does errands for the programs that connect to the socket of a directory, until
// ctx ends. It returns once the socket is there; busy waits for the end.
func (e *Errands) Serve(ctx context.Context, dir string, busy *sync.WaitGroup) error {
	l, err := listenPrivate(filepath.Join(dir, SocketName))
	if err != nil {
		return err
	}
	e.serveAt(ctx, l, busy)
	return nil
}

// serveAt is Serve for a listener that is open.
func (e *Errands) serveAt(ctx context.Context, l net.Listener, busy *sync.WaitGroup) {
	busy.Go(func() { accept(ctx, bound(l), busy, e.serveProgram) })
	busy.Go(func() {
		<-ctx.Done()
		_ = l.Close()
	})
}

// errands are those of the daemon.
func (d *Daemon) errands() *Errands {
	return &Errands{Device: d.peer, Events: d.sink.subscribe, ExitOf: d.exitOf,
		Scratch: filepath.Join(d.conf.get().State, scratchName), Moved: d.movedFiles, Other: d.other}
}

// other does what programs ask the daemon alone for.
func (d *Daemon) other(r Request) (p Reply, known bool) {
	switch r.Op {
	case "status":
		st := d.Status()
		p.Device = &st
	case "check-in":
		d.Wake()
	case "yield":
		d.place.yields.Say(r.Yield)
	default:
		return p, false
	}
	return p, true
}

// serveProgram answers the one request of a program.
func (e *Errands) serveProgram(ctx context.Context, c net.Conn) {
	s := &session{e: e, conn: c, out: json.NewEncoder(c)}
	if !sameUser(c) {
		s.reply(Reply{Declined: "the agent runs for another user", End: true})
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(requestTime))
	r, err := readRequest(c)
	if err != nil {
		s.reply(Reply{Declined: "the request cannot be read", End: true})
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	switch {
	case r.Op == "get" && r.Get != nil:
		asked, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, c) // ends when the other side goes away
			cancel()
		}()
		s.get(ctx, asked, r.Get)
	default:
		p := Reply{Declined: "this program does not know " + r.Op}
		if e.Other != nil {
			if answer, known := e.Other(r); known {
				p = answer
			}
		}
		p.End = true
		s.reply(p)
	}
}

// sameUser reports whether the other side is this user or root: what is
// fetched is written with this process's rights.
func sameUser(c net.Conn) bool {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cerr == nil && err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid())
}

// get fetches for another program, which goes when ctx ends; the daemon goes on until
// all ends.
func (s *session) get(all, ctx context.Context, r *GetRequest) {
	dev := s.e.Device()
	if dev == nil {
		s.reply(Reply{Declined: "this device does not share by its settings", End: true})
		return
	}
	about := r.about()
	end := s.e.Events(func(e report.Event) {
		if about(e) {
			s.reply(Reply{Event: &e})
		}
	})
	defer end()
	if !r.proved() {
		s.reply(Reply{Error: errRequest.Error() + ": one of sha256, trust and unsigned says which bytes are right",
			Reason: reason.Refused, Exit: s.e.ExitOf(errRequest), End: true})
		return
	}
	fetch := s.getFiles
	if r.Load {
		fetch = s.getLoad
	}
	g, err := fetch(ctx, dev, r)
	defer s.e.letGo(g)
	switch {
	case errors.Is(err, engine.ErrTwice):
		s.reply(Reply{Declined: err.Error(), End: true})
	case err != nil && ctx.Err() == nil && s.e.Device() != dev:
		s.reply(Reply{Declined: "the settings of this device changed meanwhile", End: true})
	case err != nil:
		s.reply(Reply{Error: err.Error(), Reason: failure.Reason(err), Exit: s.e.ExitOf(err), End: true})
	default:
		if !r.Stay {
			s.linger(ctx, dev, g.files, r.Linger)
		}
		for _, f := range g.finals() {
			s.reply(Reply{Final: f})
		}
		s.reply(Reply{End: true})
		if r.Stay {
			s.linger(all, dev, g.files, r.Linger)
		}
	}
}

// proved reports whether exactly one thing says which bytes are right.
func (r *GetRequest) proved() bool {
	n := 0
	for _, said := range []bool{r.SHA256 != "", r.Trust != "", r.Unsigned} {
		if said {
			n++
		}
	}
	return n == 1
}

// about tells the events that are about what was asked for. A file is known by its
// hierarchy: the URL of an event is without the values of its query, which may be all
// that two files differ in. The files of a load become known as it goes; they are beside
// its manifest.
func (r *GetRequest) about() func(report.Event) bool {
	if !r.Load {
		specs, _ := r.specs() // what cannot be fetched has no events
		return func(e report.Event) bool {
			return slices.ContainsFunc(specs, func(s engine.Spec) bool { return s.Hierarchy().String() == e.Hierarchy })
		}
	}
	var beside []string
	for _, texts := range r.URLs {
		urls, _ := parseURLs(texts)
		for _, u := range urls {
			dir := *u
			dir.Path, dir.RawPath, dir.RawQuery = path.Dir(u.Path), "", ""
			beside = append(beside, strings.TrimSuffix(origin.Shown(&dir), "/")+"/")
		}
	}
	return func(e report.Event) bool {
		return slices.ContainsFunc(beside, func(dir string) bool { return strings.HasPrefix(e.URL, dir) })
	}
}

// linger serves what was fetched for those that wait for it.
func (s *session) linger(ctx context.Context, dev *engine.Device, files []*engine.File, d time.Duration) {
	if d < 0 {
		dev.Linger(ctx, files, time.Minute)
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// got is what was fetched for another program.
type got struct {
	files  []*engine.File
	finals func() []*report.Final
	close  func()
}

// letGo closes the files fetched for another program.
func (e *Errands) letGo(g got) {
	if e.Moved != nil {
		e.Moved(g.files)
	}
	if g.close != nil {
		g.close()
	}
}

// movedFiles counts what was fetched for other programs.
func (d *Daemon) movedFiles(files []*engine.File) {
	var t traffic
	for _, f := range files {
		t.add(f.Final())
	}
	d.place.moved(t)
}

var errRequest = errors.New("the request contradicts itself")

// specs are the files of a request that is for no load.
func (r *GetRequest) specs() (all []engine.Spec, err error) {
	digest := slot.ExpectAny()
	if r.SHA256 != "" {
		d, err := load.ParseDigest(r.SHA256)
		if err != nil {
			return nil, err
		}
		digest = slot.Expect(d)
	}
	if len(r.Targets) != len(r.URLs) || len(r.URLs) == 0 || r.SHA256 != "" && len(r.URLs) > 1 || r.Trust != "" {
		return nil, errRequest
	}
	for n, us := range r.URLs {
		sources, err := parseURLs(us)
		if err != nil {
			return all, err
		}
		all = append(all, engine.Spec{Name: path.Base(sources[0].Path), Model: r.Model,
			Group: policy.Builtin().Group(r.Model), Sources: sources, Target: r.Targets[n], Size: load.UnknownSize,
			Digest: digest, Key: sources[0].Redacted()})
	}
	return all, nil
}

func (s *session) getFiles(ctx context.Context, dev *engine.Device, r *GetRequest) (g got, err error) {
	specs, err := r.specs()
	if err != nil {
		return g, err
	}
	g.close = func() {
		for _, f := range g.files {
			_ = f.Close()
		}
	}
	g.finals = func() (out []*report.Final) {
		for _, f := range g.files {
			out = append(out, f.Final())
		}
		return out
	}
	for _, spec := range specs {
		f, err := dev.Fetch(spec)
		if err != nil {
			return g, err
		}
		g.files = append(g.files, f)
	}
	for _, f := range g.files {
		err := f.Wait(ctx)
		if err == nil {
			err = f.Commit()
		}
		if err != nil {
			return g, err
		}
	}
	return g, nil
}

func (s *session) getLoad(ctx context.Context, dev *engine.Device, r *GetRequest) (got, error) {
	if len(r.URLs) != 1 || len(r.Targets) != 1 || r.SHA256 != "" {
		return got{}, errRequest
	}
	urls, err := parseURLs(r.URLs[0])
	if err != nil {
		return got{}, err
	}
	fetch := dev.FetchLoad
	if r.Unsigned {
		fetch = dev.FetchClassic
	}
	// Not where an upgrade to the same load has its scratch files.
	scratch, err := os.MkdirTemp(s.e.Scratch, "get-")
	if err != nil {
		return got{}, err
	}
	run, err := fetch(ctx, engine.LoadSpec{URLs: urls, Trust: signed.Dir(r.Trust), Model: r.Model,
		Group: policy.Builtin().Group(r.Model), Dir: r.Targets[0], Slots: r.Slots, Scratch: scratch})
	if err != nil {
		run.Close()
	}
	return got{
		files:  run.Files,
		finals: func() []*report.Final { return []*report.Final{run.Final()} },
		close:  func() { run.Close(); _ = os.RemoveAll(scratch) },
	}, err
}

func parseURLs(texts []string) ([]*url.URL, error) {
	var out []*url.URL
	for _, s := range texts {
		us, err := origin.Candidates(s)
		if err != nil {
			return nil, err
		}
		out = append(out, us[0])
	}
	if len(out) == 0 {
		return nil, errRequest
	}
	return out, nil
}
