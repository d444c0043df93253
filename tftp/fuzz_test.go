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
