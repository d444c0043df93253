package tftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// probe is a client under the test's control.
type probe struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort // where the next packet goes
}

func newProbe(t *testing.T, server string) *probe {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &probe{t, conn, netip.MustParseAddrPort(server)}
}

func (p *probe) raw(b []byte) { p.conn.WriteToUDPAddrPort(b, p.to) }

func (p *probe) send(q packet) { p.raw(q.append(nil)) }

func (p *probe) get(name string, o ...option) {
	p.send(packet{op: opRead, name: name, mode: "octet", options: o})
}

func (p *probe) ack(block uint16) { p.send(packet{op: opAck, block: block}) }

// read returns the next packet and turns to whoever sent it; operation 0 if
// none comes in time.
func (p *probe) read(wait time.Duration) packet {
	p.t.Helper()
	b := make([]byte, 65536)
	p.conn.SetReadDeadline(time.Now().Add(wait))
	n, from, err := p.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		return packet{}
	}
	p.to = from
	q, err := parse(b[:n])
	if err != nil {
		p.t.Errorf("the server sent %q: %v", b[:n], err)
	}
	return q
}

func (p *probe) want(o op, block uint16) packet {
	p.t.Helper()
	q := p.read(patience)
	if q.op != o || q.block != block {
		p.t.Fatalf("got operation %d block %d code %d %q, want operation %d block %d", q.op, q.block, q.code, q.message, o,
			block)
	}
	return q
}

const short = 100 * time.Millisecond

func TestServerRefusesToLeaveItsDirectory(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "root")
	for _, d := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(dir, "...x")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{filepath.Join(base, "secret"), filepath.Join(dir, "f"), filepath.Join(dir, "sub", "g"),
		filepath.Join(dir, "..h")} {
		if err := os.WriteFile(f, []byte(filepath.Base(f)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"out": "../secret", "abs": filepath.Join(base, "secret"), "outdir": "..", "inside": "sub/g", "dangling": "nowhere",
		"self": "self",
	} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := serveDir(t, dir, &Server{})
	for name, want := range map[string]string{
		"f": "f", "/f": "f", "sub/g": "g", "/sub/g": "g", "inside": "g", "..h": "..h",
	} {
		if got, _, err := fetch(&Client{}, server, name, 0); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{
		"../secret", "..", ".", "/", "//f", "/../secret", "sub/../../secret", "sub/../f", "..\\secret", "sub\\g",
		"....//secret", "..../secret", ".../f", "sub/./g", "sub//g", "sub/", "./f", "\\secret", "C:/secret", "C:secret",
		"f\x01", "f\n", "\x7f", "/" + filepath.Join(base, "secret"), "out", "abs", "outdir/secret", "outdir", "sub", "fifo",
		"self",
	} {
		if got, _, err := fetch(&Client{}, server, name, 0); !errors.Is(err, ErrAccess) {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"missing", "dangling", "f/g", filepath.Join(base, "secret"), "sub/missing",
		strings.Repeat("x", 300), "%2e%2e/secret"} {
		if got, _, err := fetch(&Client{}, server, name, 0); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	p := newProbe(t, server)
	p.raw([]byte("\x00\x01f\x00/../../secret\x00octet\x00")) // the NUL ends the name
	if q := p.read(patience); q.op != opError {
		t.Errorf("a name with NUL: %+v", q)
	}
}

func TestServerRefusesRequests(t *testing.T) {
	server := serveDir(t, dirWith(t, content(10)), &Server{})
	long := strings.Repeat("a", maxRequest)
	for raw, want := range map[string]uint16{
		"\x00\x02f\x00octet\x00":                codeAccess,
		"\x00\x01f\x00mail\x00":                 codeIllegal,
		"\x00\x01f\x00octet":                    codeIllegal,
		"\x00\x01f":                             codeIllegal,
		"\x00\x01":                              codeIllegal,
		"\x00\x01\x00octet\x00":                 codeIllegal,
		"\x00\x01f\x00octet\x00blksize\x00":     codeIllegal,
		"\x00\x01f\x00octet\x00blksize\x001428": codeIllegal,
		"\x00\x01f\x00octet\x00\x00\x00":        codeIllegal,
		"\x00\x01f\x00octet\x00blksize\x00600\x00BLKSIZE\x00600\x00":          codeIllegal,
		"\x00\x01f\x00octet\x00" + strings.Repeat("a\x00", 300):               codeIllegal,
		"\x00\x01f\x00octet\x00blksize\x00" + long[:maxOptionText+1] + "\x00": codeIllegal,
		"\x00\x01" + long + "\x00octet\x00":                                   codeIllegal,
		"\x00\x01f\x00" + long[:100] + "\x00":                                 codeIllegal,
	} {
		p := newProbe(t, server)
		p.raw([]byte(raw))
		if q := p.read(patience); q.op != opError || q.code != want {
			t.Errorf("%.60q: %+v", raw, q)
		}
	}
	for _, raw := range []string{"", "\x00", "\x00\x05\x00\x00boo\x00", "\x00\x04\x00\x00", "\x00\x03\x00\x01data",
		"\x00\x09", "\xff\xff\xff"} {
		p := newProbe(t, server)
		p.raw([]byte(raw))
		if q := p.read(short / 4); q.op != 0 {
			t.Errorf("%q was answered with %+v", raw, q)
		}
	}
}

// Senseless values are ignored, large ones lowered; nothing takes memory.
func TestServerNegotiates(t *testing.T) {
	server := serveDir(t, dirWith(t, content(1000)), &Server{MaxBlockSize: 8192, MaxWindow: 32})
	for _, tc := range []struct{ asked, granted string }{
		{"blksize=1428", "blksize=1428"},
		{"BlkSize=512", "blksize=512"},
		{"blksize=65464", "blksize=8192"},
		{"blksize=9223372036854775807", "blksize=8192"},
		{"blksize=99999999999999999999", ""},
		{"blksize=7", ""},
		{"blksize=-1", ""},
		{"blksize=+600", ""},
		{"blksize=0x400", ""},
		{"blksize=", ""},
		{"windowsize=16", "windowsize=16"},
		{"windowsize=65535", "windowsize=32"},
		{"windowsize=0", ""},
		{"tsize=0", "tsize=1000"},
		{"tsize=77", "tsize=1000"},
		{"timeout=1", "timeout=1"},
		{"timeout=0", ""},
		{"timeout=256", ""},
		{"offset=500", "offset=500"},
		{"offset=1000", "offset=1000"},
		{"offset=1001", ""},
		{"offset=-1", ""},
		{"multicast=", ""},
		{"slide=100", ""},
		{"windowsize=16 slide=16", "windowsize=16"},
		{"windowsize=16 slide=-1", "windowsize=16"},
		{"slide=100 windowsize=16", "windowsize=4 slide=100"},
		{"windowsize=16 slide=9999999", "windowsize=4 slide=4096"},
		{"tsize=0 offset=10 blksize=600 windowsize=4 timeout=3", "tsize=1000 offset=10 blksize=600 windowsize=4 timeout=3"},
	} {
		var o []option
		for _, s := range strings.Fields(tc.asked) {
			name, value, _ := strings.Cut(s, "=")
			o = append(o, option{name, value})
		}
		p := newProbe(t, server)
		p.get("f", o...)
		q := p.read(patience)
		var granted []string
		for _, o := range q.options {
			granted = append(granted, o.name+"="+o.value)
		}
		if got := strings.Join(granted, " "); got != tc.granted || got == "" && q.op != opData {
			t.Errorf("%s: operation %d, granted %q, want %q", tc.asked, q.op, got, tc.granted)
		}
		p.send(packet{op: opError})
	}
	p, granted := negotiate(&packet{options: []option{{"blksize", "65464"}, {"windowsize", "4096"}}}, 1, true,
		limits{maxBlock, maxWindow, maxWindow})
	if p.blockSize*p.window > maxWindowBytes || granted[1].value != fmt.Sprint(p.window) {
		t.Errorf("%+v, %v", p, granted)
	}
}

// The server's half of the Sorcerer's Apprentice and of the TID check.
func TestServerIgnoresDuplicatesAndStrangers(t *testing.T) {
	server := serveDir(t, dirWith(t, content(2000)), &Server{})
	p := newProbe(t, server)
	p.get("f", option{"timeout", "10"}) // no timer of the server takes part
	p.want(opOAck, 0)
	p.ack(0)
	p.want(opData, 1)
	p.ack(1)
	p.want(opData, 2)
	p.ack(1)
	p.ack(1)
	p.ack(0)
	p.ack(9)
	if q := p.read(short); q.op != 0 {
		t.Errorf("duplicate ACKs were answered with %+v", q)
	}
	stranger := newProbe(t, p.to.String())
	stranger.ack(2)
	if q := stranger.read(patience); q.op != opError || q.code != codeUnknownTID {
		t.Errorf("a stranger got %+v", q)
	}
	stranger.send(packet{op: opError})
	if q := stranger.read(short / 4); q.op != 0 {
		t.Errorf("a stranger's ERROR was answered with %+v", q)
	}
	p.ack(2)
	p.want(opData, 3)
	p.ack(3)
	if q := p.want(opData, 4); len(q.data) != 2000-3*512 {
		t.Errorf("the last block has %d bytes", len(q.data))
	}
	p.ack(4)
	if q := p.read(short / 4); q.op != 0 {
		t.Errorf("after the end: %+v", q)
	}
}

func TestServerSendsAgain(t *testing.T) {
	t.Parallel()
	events := make(chan Transfer, 10)
	s := &Server{Timeout: 20 * time.Millisecond, Retries: 2, OnTransfer: func(e Transfer) { events <- e }}
	server := serveDir(t, dirWith(t, content(600)), s)
	p := newProbe(t, server)
	p.get("f", option{"tsize", "0"})
	p.want(opOAck, 0)
	p.want(opOAck, 0)
	p.ack(0)
	p.want(opData, 1)
	p.want(opData, 1)
	p.want(opData, 1)
	if q := p.want(opError, 0); q.message != "timeout" {
		t.Errorf("%+v", q)
	}
	if e := <-events; e.Ended || e.Name != "f" || e.Size != 600 || e.Client.Port() == 0 {
		t.Errorf("at start: %+v", e)
	}
	e := <-events
	if !e.Ended || !errors.Is(e.Err, ErrTimeout) || e.Sent != 512 || e.Resent != 1024 || e.Elapsed <= 0 {
		t.Errorf("at the end: %+v", e)
	}
}

// A gap inside a window starts the window again after it.
func TestServerRollsBack(t *testing.T) {
	server := serveDir(t, dirWith(t, content(512*7)), &Server{})
	p := newProbe(t, server)
	p.get("f", option{"windowsize", "4"}, option{"timeout", "10"})
	p.want(opOAck, 0)
	p.ack(0)
	for n := uint16(1); n <= 4; n++ {
		p.want(opData, n)
	}
	p.ack(2)
	for n := uint16(3); n <= 6; n++ {
		p.want(opData, n)
	}
	p.ack(6)
	p.want(opData, 7)
	p.want(opData, 8)
	p.ack(8)
}

// A repeated request is not a second transfer; another request from the same
// port takes the first one's place.
func TestServerKnowsItsClients(t *testing.T) {
	dir := dirWith(t, content(600))
	if err := os.WriteFile(filepath.Join(dir, "g"), content(3), 0o644); err != nil {
		t.Fatal(err)
	}
	events := make(chan Transfer, 10)
	server := serveDir(t, dir, &Server{Timeout: 10 * time.Second, MaxTransfers: 1,
		OnTransfer: func(e Transfer) { events <- e }})
	p := newProbe(t, server)
	p.get("f")
	p.want(opData, 1)
	main := netip.MustParseAddrPort(server)
	p.to = main
	p.get("f")
	if q := p.read(short); q.op != 0 {
		t.Errorf("the repeated request was answered with %+v", q)
	}
	other := newProbe(t, server)
	other.get("g")
	if q := other.read(short); q.op != 0 {
		t.Errorf("a request beyond MaxTransfers was answered with %+v", q)
	}
	p.to = main
	p.get("g")
	if q := p.want(opData, 1); len(q.data) != 3 {
		t.Errorf("%+v", q)
	}
	p.ack(1)
	ends := map[string]error{}
	for len(ends) < 2 {
		if e := <-events; e.Ended {
			ends[e.Name] = e.Err
		}
	}
	if !errors.Is(ends["f"], errSuperseded) || ends["g"] != nil {
		t.Errorf("%v", ends)
	}
}

func TestServerStops(t *testing.T) {
	root, err := os.OpenRoot(dirWith(t, content(600)))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- (&Server{Files: Dir(root)}).Serve(ctx, pc) }()
	p := newProbe(t, pc.LocalAddr().String())
	p.get("f")
	p.want(opData, 1)
	cancel()
	if q := p.want(opError, 0); q.message != "the server stops" {
		t.Errorf("%+v", q)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A server on all addresses answers from the one it was asked at.
func TestServerAnswersFromTheAddressAsked(t *testing.T) {
	root, err := os.OpenRoot(dirWith(t, content(600)))
	if err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp4", "udp"} {
		pc, err := net.ListenUDP(network, &net.UDPAddr{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- (&Server{Files: Dir(root)}).Serve(ctx, pc) }()
		for _, host := range []string{"127.0.0.1", "127.0.0.9"} {
			at := fmt.Sprintf("%s:%d", host, pc.LocalAddr().(*net.UDPAddr).Port)
			_, r, err := fetch(&Client{Timeout: short, Retries: 3}, at, "f", 0)
			if err != nil || r.peer.Addr().String() != host {
				t.Errorf("%s: %+v, %v", at, r, err)
			}
		}
		cancel()
		<-done
	}
}

func TestManyClients(t *testing.T) {
	want := content(200_000)
	var sum tally
	t.Cleanup(func() { // the server has ended
		if sum.sent != 30*200_000 {
			t.Errorf("%d bytes sent", sum.sent)
		}
	})
	server := serveDir(t, dirWith(t, want), &Server{OnTransfer: sum.add})
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			c := Client{LocalAddr: netip.AddrFrom4([4]byte{127, 0, 1, byte(i)}), WindowSize: 1 + i}
			if got, _, err := fetch(&c, server, "f", 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("client %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
}

func TestRate(t *testing.T) {
	t.Parallel()
	const rate, size = 2 << 20, 1 << 20
	server := serveDir(t, dirWith(t, content(size)), &Server{Rate: rate})
	start := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r, err := (&Client{}).Get(context.Background(), server, "f", size/2)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if n, err := io.Copy(io.Discard, r); n != size/2 || err != nil {
				t.Error(n, err)
			}
		})
	}
	wg.Wait()
	// Package ratelimit says when a byte may go. Here counts that the server
	// asks it, for both clients together: without it they take a few ms.
	if took := time.Since(start); took < 450*time.Millisecond {
		t.Errorf("1 MiB for two at 2 MiB/s took %v", took)
	}
}

// Requests beyond MaxTransfers are dropped, and are served when there is room.
func TestMaxTransfers(t *testing.T) {
	server := serveDir(t, dirWith(t, content(2000)), &Server{MaxTransfers: 2})
	var open []*probe
	for range 2 {
		p := newProbe(t, server)
		p.get("f")
		p.want(opData, 1)
		open = append(open, p)
	}
	late := newProbe(t, server)
	late.get("f")
	if q := late.read(short); q.op != 0 {
		t.Errorf("a third transfer got %+v", q)
	}
	open[0].send(packet{op: opError})
	for end := time.Now().Add(patience); ; { // the server notices in its own time
		late.to = netip.MustParseAddrPort(server)
		late.get("f")
		if q := late.read(short); q.op == opData {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a transfer ended, and nobody else is served")
		}
	}
}
