package feed

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	iofs "io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/inbox"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/order"
)

const (
	one    = "SEP000000000001"
	secret = "a secret that only this device has"
	local  = "http://127.0.0.1:1"
)

var (
	first  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	second = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

func keyOf(private ed25519.PrivateKey, version int) order.Key {
	return order.Key{Version: version, Public: private.Public().(ed25519.PublicKey)}
}

func keyLine(t *testing.T, private ed25519.PrivateKey) order.Line {
	t.Helper()
	text, err := keyOf(private, 1).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return order.Line{Key: text}
}

func beatLine(private ed25519.PrivateKey, at time.Time) order.Line {
	return order.Line{Beat: order.SealBeat(private, order.Beat{Time: at, Feed: "f"})}
}

func orderLine(t *testing.T, private ed25519.PrivateKey, id string, at time.Time) order.Line {
	t.Helper()
	sealed, err := order.Seal(private, order.Order{ID: id, Kind: order.CheckIn, Targets: []string{one}, Issued: at,
		Expires: at.Add(time.Hour), Feed: "f", Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	return order.Line{Order: sealed}
}

// done are the ids of the orders that were carried out.
type done struct {
	mu  sync.Mutex
	ids []string
	ch  chan string
}

func (d *done) do(_ context.Context, e inbox.Entry) (order.Outcome, string) {
	d.mu.Lock()
	d.ids = append(d.ids, e.ID)
	d.mu.Unlock()
	if d.ch != nil {
		d.ch <- e.ID
	}
	return order.Done, "text of " + e.ID
}

func open(t *testing.T, dir string, d *done, c Controller) *Follower {
	t.Helper()
	f, err := New(Config{State: dir, Files: slot.OS{}, Device: one, Do: d.do, Log: slog.New(slog.DiscardHandler),
		Controller: func() (Controller, error) { return c, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A key is pinned once, over a way that nobody else is on, and left by a statement
// of its own only; it stays over a restart.
func TestPin(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, &done{}, Controller{})
	now := time.Now()
	if err := f.take(beatLine(first, now), local); !errors.Is(err, order.ErrSignature) {
		t.Errorf("a beat before there is a key: %v", err)
	}
	for _, url := range []string{"http://controller:8443", "http://10.0.0.1", "http://127.0.0.1.example.com", "ftp://x"} {
		if err := f.take(keyLine(t, first), url); !errors.Is(err, errSeldom) || f.key.Version != 0 {
			t.Errorf("%s: %v, version %d", url, err, f.key.Version)
		}
	}
	if err := f.take(keyLine(t, first), "https://controller:8443"); err != nil {
		t.Fatal(err)
	}
	if err := f.take(keyLine(t, second), local); err != nil || !f.key.Public.Equal(first.Public()) {
		t.Errorf("another key took its place: %v", err)
	}
	if err := f.take(beatLine(second, now), local); !errors.Is(err, order.ErrSignature) || !errors.Is(err, errSeldom) {
		t.Errorf("a beat of another key: %v", err)
	}
	f = open(t, dir, &done{}, Controller{})
	statement, err := order.SealNext(first, keyOf(second, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.take(order.Line{Next: [][]byte{statement}}, local); err != nil {
		t.Fatal(err)
	}
	if err := f.take(beatLine(second, now), local); err != nil {
		t.Error(err)
	}
	if err := f.take(order.Line{Next: [][]byte{statement}}, local); !errors.Is(err, errSeldom) {
		t.Errorf("the statement again: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, KeyName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(filepath.Join(dir, KeyName), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if f := open(t, dir, &done{}, Controller{}); f.key.Version != 0 {
		t.Errorf("a damaged key is version %d", f.key.Version)
	}
}

// The key of the answer to an enrolment is pinned as the first of a feed would be, and
// what the feed brings then does not take its place.
func TestPinnedAtEnrolment(t *testing.T) {
	dir := t.TempDir()
	answer := order.Enrolled{OrderKey: keyLine(t, first).Key}
	f := open(t, dir, &done{}, Controller{})
	for _, c := range []struct {
		answer order.Enrolled
		url    string
	}{{order.Enrolled{}, "https://controller"}, {answer, "http://controller"}} {
		if err := f.Enrolled(c.answer, c.url); err != nil || f.key.Version != 0 {
			t.Errorf("%s: %v, version %d", c.url, err, f.key.Version)
		}
	}
	if err := f.Enrolled(order.Enrolled{OrderKey: []byte("{}")}, "https://controller"); err == nil || f.key.Version != 0 {
		t.Errorf("no key is pinned as one: %v", err)
	}
	if err := f.Enrolled(answer, "https://controller"); err != nil {
		t.Fatal(err)
	}
	f = open(t, dir, &done{}, Controller{})
	if err := f.take(keyLine(t, second), local); err != nil || !f.key.Public.Equal(first.Public()) {
		t.Errorf("the feed's key took its place: %v", err)
	}
	if err := f.Enrolled(order.Enrolled{OrderKey: keyLine(t, second).Key}, local); err != nil ||
		!f.key.Public.Equal(first.Public()) {
		t.Errorf("the key of another enrolment took its place: %v", err)
	}
	select {
	case <-f.Pinned():
	default:
		t.Error("nobody is told")
	}
}

// failing is a file system on which the key cannot be read at the moment.
type failing struct{ slot.OS }

func (f failing) OpenFile(name string, flag int, mode iofs.FileMode) (slot.File, error) {
	if filepath.Base(name) == KeyName {
		return nil, syscall.EIO
	}
	return f.OS.OpenFile(name, flag, mode)
}

// A file that cannot be read at the moment is not taken for a damaged one: the pinned
// key would be forgotten. What is no file is put aside.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir, &done{}, Controller{}).take(keyLine(t, first), local); err != nil {
		t.Fatal(err)
	}
	cfg := open(t, dir, &done{}, Controller{}).cfg
	cfg.Files = failing{}
	if _, err := New(cfg); !errors.Is(err, syscall.EIO) {
		t.Errorf("a key that cannot be read: %v", err)
	}
	if f := open(t, dir, &done{}, Controller{}); !f.key.Public.Equal(first.Public()) {
		t.Error("the key is forgotten")
	}
	name := filepath.Join(dir, KeyName)
	if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600)); err != nil {
		t.Fatal(err)
	}
	if f := open(t, dir, &done{}, Controller{}); f.key.Version != 0 {
		t.Errorf("a pipe is a key of version %d", f.key.Version)
	}
	if _, err := os.Lstat(name + ".damaged"); err != nil {
		t.Error(err)
	}
}

// Whether an order has expired is told by the controller's clock: a device's own may
// be wrong.
func TestClock(t *testing.T) {
	d := &done{}
	f := open(t, t.TempDir(), d, Controller{})
	past := time.Now().Add(-1000 * time.Hour)
	for _, l := range []order.Line{keyLine(t, first), orderLine(t, first, "late", past), beatLine(first, past),
		orderLine(t, first, "good", past)} {
		if err := f.take(l, local); err != nil {
			t.Fatal(err)
		}
	}
	if e := <-f.jobs; e.ID != "good" {
		t.Errorf("%s is carried out", e.ID)
	}
}

// server is a controller that sends given lines, and takes results unless it is
// told not to.
type server struct {
	lines   []order.Line
	mu      sync.Mutex
	results []order.Result
	deaf    bool
	heard   chan struct{}
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Authorization") != "Bearer "+secret {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/feed") {
		for _, l := range s.lines {
			text, _ := l.Marshal()
			_, _ = w.Write(text)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var in order.Results
	_ = json.Unmarshal(body, &in)
	acks := order.Acks{Acks: []order.Ack{}}
	for _, b := range in.Results {
		res, err := order.NewSecret(secret).Open(b)
		if err != nil {
			continue
		}
		s.results = append(s.results, res)
		code := order.NewSecret(secret).Ack(b)
		if s.deaf {
			code[0] ^= 1 // somebody in between says that it came
		}
		acks.Acks = append(acks.Acks, order.Ack{Order: res.Order, Device: one, Code: code})
	}
	_ = json.NewEncoder(w).Encode(acks)
	s.heard <- struct{}{}
}

// An order is carried out once, though it comes again and the program is started
// again; its result is kept until the controller itself has acknowledged it.
func TestFollow(t *testing.T) {
	now := time.Now()
	s := &server{deaf: true, heard: make(chan struct{}, 10), lines: []order.Line{keyLine(t, first), beatLine(first, now),
		orderLine(t, first, "a", now), orderLine(t, first, "a", now), {}}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	dir := t.TempDir()
	d := &done{ch: make(chan string, 10)}
	c := Controller{URL: srv.URL, Client: srv.Client(), Secret: secret}
	run := func(until func()) {
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		f := open(t, dir, d, c)
		go func() { f.Run(ctx); close(ended) }()
		until()
		end()
		<-ended
	}
	run(func() { <-d.ch; <-s.heard })
	s.mu.Lock()
	s.deaf = false
	s.mu.Unlock()
	run(func() { <-s.heard })
	s.mu.Lock()
	if len(s.results) < 2 || s.results[len(s.results)-1].Text != "text of a" {
		t.Errorf("%+v", s.results)
	}
	s.mu.Unlock()
	if len(d.ids) != 1 {
		t.Errorf("carried out: %q", d.ids)
	}
}

// A result that is asked for once more while others are handed over takes the place
// of none of them.
func TestAskedForMeanwhile(t *testing.T) {
	now := time.Now()
	ended := func(id string) inbox.Entry {
		return inbox.Entry{ID: id, Kind: order.CheckIn, Expires: now.Add(time.Hour), State: inbox.Ended, Outcome: order.Done,
			At: now}
	}
	known := ended("known")
	known.Taken = true
	s := &server{heard: make(chan struct{}, 1)}
	srv := httptest.NewServer(s)
	defer srv.Close()
	f := open(t, t.TempDir(), &done{}, Controller{})
	f.box = inbox.New(inbox.Record{Entries: []inbox.Entry{ended("new"), known}})
	f.again = append(make([]inbox.Entry, 0, 8), ended("again"))
	f.cfg.Controller = func() (Controller, error) {
		f.step(inbox.Got{Order: order.Order{ID: "known"}})
		return Controller{URL: srv.URL, Client: srv.Client(), Secret: secret}, nil
	}
	if _, err := f.hand(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.results) != 2 || s.results[0].Order != "again" || s.results[1].Order != "new" {
		t.Errorf("handed over: %+v", s.results)
	}
}

// The record of orders that cannot be written keeps orders from being carried out,
// not from being taken once it can.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, &done{}, Controller{})
	if err := f.take(keyLine(t, first), local); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	l := orderLine(t, first, "a", time.Now())
	if err := f.take(l, local); err != nil || len(f.jobs) != 0 {
		t.Errorf("%d are carried out, %v", len(f.jobs), err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := f.take(l, local); err != nil || len(f.jobs) != 1 {
		t.Errorf("%d are carried out, %v", len(f.jobs), err)
	}
}

// FuzzFeed: whatever comes in a feed, nothing is carried out that the pinned key has
// not signed.
func FuzzFeed(f *testing.F) {
	now := time.Now()
	var all []byte
	for _, l := range []order.Line{beatLine(first, now), {Next: [][]byte{{1}}}, {Order: []byte{1}}} {
		text, err := l.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		all = append(all, text...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, body []byte) {
		o := open(t, t.TempDir(), &done{}, Controller{})
		o.key = keyOf(first, 1)
		lines := 0
		_ = o.lines(bytes.NewReader(body), local, func(order.Line) { lines++ })
		if len(o.jobs) != 0 || o.key.Version != 1 || lines > bytes.Count(body, []byte("\n"))+1 {
			t.Errorf("%q: %d orders, key %d, %d lines", body, len(o.jobs), o.key.Version, lines)
		}
	})
}

// A carrier that passes lines on late, or twice, does not set the clock back: an order
// that has expired stays expired. What is not signed is not taken at all.
func TestPassedOn(t *testing.T) {
	d := &done{}
	f := open(t, t.TempDir(), d, Controller{})
	now := time.Now()
	if err := errors.Join(f.take(keyLine(t, first), local), f.take(beatLine(first, now), local)); err != nil {
		t.Fatal(err)
	}
	past := now.Add(-2 * time.Hour)
	for _, l := range []order.Line{beatLine(first, past), orderLine(t, first, "late", past),
		orderLine(t, first, "good", now)} {
		p, ok := f.Verify(l)
		if !ok {
			t.Errorf("%+v is not genuine", l)
		}
		f.Take(p)
	}
	if e := <-f.jobs; e.ID != "good" || len(f.jobs) != 0 {
		t.Errorf("%s is carried out", e.ID)
	}
	for _, l := range []order.Line{beatLine(second, now), orderLine(t, second, "forged", now), keyLine(t, second), {}} {
		if p, ok := f.Verify(l); ok {
			t.Errorf("%+v is taken for genuine", p)
		}
	}
}
