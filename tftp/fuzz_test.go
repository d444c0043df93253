package tftp

import (
	"bytes"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// FuzzPacket: whatever parses is within its limits and parses again from its
// own wire form to the same.
func FuzzPacket(f *testing.F) {
	for _, p := range []packet{
		{op: opRead, name: "f", mode: "octet"},
		{op: opRead, name: "a/b", mode: "netascii", options: []option{{"blksize", "1428"}, {"tsize", "0"}, {"offset", "7"}}},
		{op: opWrite, name: "f", mode: "mail"},
		{op: opData, block: 65535, data: []byte("data")},
		{op: opAck, block: 1},
		{op: opError, code: codeNotFound, message: "no such file"},
		{op: opOAck, options: []option{{"windowsize", "16"}}},
	} {
		f.Add(p.append(nil))
	}
	f.Add([]byte("\x00\x05\x00\x01\x80\xff\x1b[2J"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parse(b)
		if err != nil {
			return
		}
		if len(p.name) > maxName || len(p.mode) > maxMode || len(p.options) > maxOptions ||
			len(p.message) > 3*maxErrorMessage {
			t.Fatalf("beyond the limits: %+v", p)
		}
		if strings.ContainsFunc(p.message, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("control characters in %q", p.message)
		}
		q, err := parse(p.append(nil))
		if err != nil {
			t.Fatalf("%+v does not parse again: %v", p, err)
		}
		if len(p.data) == 0 && len(q.data) == 0 {
			p.data, q.data = nil, nil
		}
		if !reflect.DeepEqual(p, q) {
			t.Fatalf("%+v became %+v", p, q)
		}
	})
}

// FuzzNegotiate: what the server grants is within range and what the client
// accepts.
func FuzzNegotiate(f *testing.F) {
	f.Add("blksize", "1428", "windowsize", "64", int64(1000))
	f.Add("windowsize", "16", "slide", "4097", int64(1000))
	f.Add("offset", "1000", "tsize", "0", int64(1000))
	f.Add("timeout", "255", "BLKSIZE", "99999999", int64(-1))
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2 string, size int64) {
		size = max(size, -1)
		req := packet{op: opRead, name: "f", mode: "octet", options: []option{{n1, v1}, {n2, v2}}}
		wire := req.append(nil)
		req, err := parse(wire)
		if err != nil {
			return
		}
		p, granted := negotiate(&req, size, true, limits{maxBlock, maxWindow, maxWindow})
		if p.blockSize < minBlock || p.blockSize > maxBlock || p.window < 1 || p.window > maxWindow || p.offset < 0 ||
			p.offset > max(0, size) || p.timeout < 0 || p.slide != 0 && (p.slide <= p.window || p.slide > maxWindow) ||
			p.window > 1 && p.window*p.blockSize > maxWindowBytes {
			t.Fatalf("%+v", p)
		}
		got, err := accept(&req, &packet{op: opOAck, options: granted})
		if err != nil || got != p {
			t.Fatalf("granted %+v, the client understood %+v, %v", p, got, err)
		}
	})
}

// FuzzCleanName: a clean name stays below the directory it is joined to.
func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"/f", "a/b", "../x", "a/../../x", "....//x", "a\\b", "c:/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := CleanName(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(name, "\\\x00") || strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
			t.Fatalf("%q became %q", s, name)
		}
		again, err := CleanName(name)
		if err != nil || again != name {
			t.Fatalf("%q is clean, yet became %q, %v", name, again, err)
		}
	})
}

// FuzzNetASCII: a text comes back as it was, however it is cut.
func FuzzNetASCII(f *testing.F) {
	f.Add([]byte("a\nb\r\nc\rd\r"), 3)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		wire, err := io.ReadAll(iotest.HalfReader(&netasciiReader{r: bytes.NewReader(text)}))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range wire {
			if b == '\n' && (i == 0 || wire[i-1] != '\r') {
				t.Fatalf("a bare LF in %q", wire)
			}
		}
		cut = max(1, cut%10)
		var d netasciiDecoder
		var got []byte
		for len(wire) > 0 {
			n := min(cut, len(wire))
			got = d.decode(got, wire[:n], n == len(wire))
			wire = wire[n:]
		}
		if !bytes.Equal(got, text) {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

// FuzzServer: a server is a host with a port, as it was given or the default one.
func FuzzServer(f *testing.F) {
	for _, s := range []string{"h", "h:69", "[::1]", "[::1]:7", "h:0", "h:x", "::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := splitServer(s)
		if (err != nil) != (port == 0) {
			t.Fatalf("%q is %q, %d, %v", s, host, port, err)
		}
		if err != nil || strings.ContainsAny(host, "[]") {
			return
		}
		again, port2, err := splitServer(net.JoinHostPort(host, strconv.Itoa(int(port))))
		if err != nil || again != host || port2 != port {
			t.Fatalf("%q is %q, %d, and that %q, %d, %v", s, host, port, again, port2, err)
		}
	})
}

// FuzzAcks: whatever a client acknowledges, and when, no more is in flight than
// was agreed, nothing goes out beyond the last block, and the transfer is done
// when the last block was acknowledged, not before.
func FuzzAcks(f *testing.F) {
	f.Add(uint8(4), true, []byte{0, 1, 0, 1, 4, 0, 2, 1, 1, 8, 0})
	f.Add(uint8(2), false, []byte{0, 0, 1, 2, 0, 1, 3, 0, 2, 0, 1, 255, 255})
	f.Fuzz(func(t *testing.T, window uint8, oack bool, steps []byte) {
		p := defaultParams()
		p.window = 1 + int(window%64)
		const last = 40
		now := time.Unix(0, 0)
		s := newSender(now, p, oack, time.Second, time.Minute, 1000)
		for ; len(steps) > 0; steps = steps[1:] {
			now = now.Add(time.Millisecond)
			switch steps[0] % 3 {
			case 0:
				for s.wantsToSend() {
					s.sent(now, s.next == last)
				}
			case 1:
				if len(steps) < 3 {
					return
				}
				before := s.base
				progress, done := s.acked(now, uint16(steps[1])|uint16(steps[2])<<8)
				if progress != (s.base > before) || done != (s.last >= 0 && s.base > s.last) {
					t.Fatalf("progress %v from %d, done %v: %+v", progress, before, done, s)
				}
				if steps = steps[2:]; done {
					return
				}
			case 2:
				now = s.deadline()
				if !s.timeout(now) {
					return
				}
			}
			if s.base > s.high || s.next > s.high || s.next-s.base > s.window || s.next > last+1 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

// FuzzBlocks: whatever a server sends, and when, blocks are taken in order, each
// once, and none behind the last; and what is acknowledged was taken.
func FuzzBlocks(f *testing.F) {
	f.Add(uint8(4), []byte{1, 0, 8, 2, 0, 8, 4, 0, 8, 3, 0, 8, 4, 0, 0})
	f.Add(uint8(2), []byte{1, 0, 8, 1, 0, 8, 3, 0, 8, 2, 0, 7, 255, 255, 8})
	f.Fuzz(func(t *testing.T, window uint8, steps []byte) {
		p := params{blockSize: 8, window: 1 + int(window%64)}
		now := time.Unix(0, 0)
		r := newReceiver(now, p, time.Second, time.Minute, 1000)
		for ; len(steps) >= 3; steps = steps[3:] {
			now = now.Add(time.Millisecond)
			wire, n := uint16(steps[0])|uint16(steps[1])<<8, int(steps[2]%9)
			next, over := r.next, r.finished
			accept, ack := r.data(now, wire, n)
			switch {
			case accept != (r.next == next+1) || !accept && r.next != next:
				t.Fatalf("accepted %v from block %d on: %+v", accept, next, r)
			case accept && (over || wire != uint16(next) || r.finished != (n < p.blockSize)):
				t.Fatalf("block %d with %d bytes was taken as %d: %+v", wire, n, next, r)
			}
			if ack {
				if behind := uint16(r.next-1) - r.ack(); int64(behind) >= int64(p.window) && behind > 0 {
					t.Fatalf("an ACK %d blocks behind: %+v", behind, r)
				}
			}
			if steps[2] > 250 {
				if now = r.deadline(); !r.timeout(now) {
					return
				}
			}
		}
	})
}
