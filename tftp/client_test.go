package tftp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/parallel"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// hung is after what time a transfer is taken to hang. The longest takes seconds on a
// machine that does nothing else.
const hung = 4 * time.Minute

func TestMain(m *testing.M) {
	parallel.Tests(8) // they wait for the other side
	m.Run()
}

// content returns n bytes that differ from place to place.
func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// dirWith makes a directory with one file f of the given content.
func dirWith(t testing.TB, data []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fetch reads a whole file.
func fetch(c *Client, server, file string, offset int64) ([]byte, *Reader, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hung)
	defer cancel()
	r, err := c.Get(ctx, server, file, offset)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return b, r, err
}

// A server without an address of the own family is reached nevertheless.
func TestServerOfAnotherFamily(t *testing.T) {
	pc, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	root, err := os.OpenRoot(dirWith(t, []byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- (&Server{Files: Dir(root)}).Serve(ctx, pc) }()
	got, _, err := fetch(&Client{LocalAddr: netip.MustParseAddr("127.0.0.77")}, pc.LocalAddr().String(), "f", 0)
	if err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	cancel()
	<-done
}

func TestGet(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 511, 512, 513, 1427, 1428, 1429, 1428 * 16, 1428*16 + 1, 300_000} {
		want := content(size)
		server := serveDir(t, dirWith(t, want), &Server{})
		for _, c := range []Client{
			{}, {WindowSize: 1}, {BlockSize: 512, WindowSize: 1}, {NoOptions: true}, {BlockSize: 8, WindowSize: 64},
			{BlockSize: 65464, WindowSize: 3}, {Timeout: 2 * time.Second}, {LocalAddr: netip.MustParseAddr("127.0.0.77")},
		} {
			if c.BlockSize == 8 && size > 30_000 {
				continue
			}
			got, r, err := fetch(&c, server, "/f", 0)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("size %d, %+v: %d bytes, error %v", size, c, len(got), err)
			}
			if c.WindowSize == 0 && !c.NoOptions && r.params.slide != DefaultSlide || c.NoOptions && r.params.slide != 0 {
				t.Errorf("size %d, %+v: Slide is %d", size, c, r.params.slide)
			}
			if wantSize := int64(size); r.Size() != wantSize && !(c.NoOptions && r.Size() == -1) {
				t.Errorf("size %d, %+v: Size is %d", size, c, r.Size())
			}
		}
	}
}

func TestGetFromOffset(t *testing.T) {
	want := content(100_000)
	server := serveDir(t, dirWith(t, want), &Server{})
	for _, offset := range []int64{1, 1428, 99_999, 100_000} {
		got, r, err := fetch(&Client{}, server, "f", offset)
		if err != nil || r.Offset() != offset || r.Size() != 100_000 || !bytes.Equal(got, want[offset:]) {
			t.Fatalf("offset %d: granted %d, %d bytes, error %v", offset, r.Offset(), len(got), err)
		}
	}
	got, r, err := fetch(&Client{}, server, "f", 100_001)
	if err != nil || r.Offset() != 0 || !bytes.Equal(got, want) {
		t.Errorf("beyond the end: granted %d, error %v", r.Offset(), err)
	}
}

// The file is past 65535 blocks of 512 bytes.
func TestGetPast32MiB(t *testing.T) {
	tiers.Long(t, "it moves 33 MB in blocks of 512 bytes")
	t.Parallel()
	want := content(65536*512 + 12_345)
	server := serveDir(t, dirWith(t, want), &Server{})
	for _, c := range []Client{{NoOptions: true}, {BlockSize: 512, WindowSize: 64}} {
		got, _, err := fetch(&c, server, "f", 0)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%+v: %d bytes, error %v", c, len(got), err)
		}
	}
}

func TestGetNetASCII(t *testing.T) {
	want := bytes.Repeat([]byte("line\nwith \r in it\r\n\n"), 1000)
	server := serveDir(t, dirWith(t, want), &Server{})
	for _, c := range []Client{{NetASCII: true}, {NetASCII: true, BlockSize: 9, WindowSize: 3},
		{NetASCII: true, NoOptions: true}} {
		got, r, err := fetch(&c, server, "f", 0)
		if err != nil || !bytes.Equal(got, want) || r.Size() != -1 {
			t.Fatalf("%+v: %d bytes, size %d, error %v", c, len(got), r.Size(), err)
		}
	}
}

func TestGetErrors(t *testing.T) {
	server := serveDir(t, dirWith(t, content(10)), &Server{})
	if _, _, err := fetch(&Client{}, server, "missing", 0); !errors.Is(err, ErrNotFound) || errors.Is(err, ErrAccess) {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := fetch(&Client{}, server, "../f", 0); !errors.Is(err, ErrAccess) {
		t.Errorf("traversal: %v", err)
	}
	if _, _, err := fetch(&Client{MaxSize: 9}, server, "f", 0); !errors.Is(err, ErrTooMuch) {
		t.Errorf("beyond MaxSize: %v", err)
	}
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	// It would wait an hour for an answer, but is refused.
	_, _, err = fetch(&Client{Timeout: time.Hour}, closed.LocalAddr().String(), "f", 0)
	if !errors.Is(err, ErrRefused) {
		t.Errorf("nobody there: %v", err)
	}
	for _, bad := range []Client{{BlockSize: 7}, {BlockSize: 65465}, {WindowSize: -1}, {WindowSize: 5000}, {Idle: -1},
		{BlockSize: 65464, WindowSize: 1000}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
	for _, bad := range []string{"", "a\x00b", string(make([]byte, maxName+1))} {
		if _, err := (&Client{}).Get(context.Background(), server, bad, 0); err == nil {
			t.Errorf("file name %q is valid", bad)
		}
	}
}

// script is a server under the test's control.
type script struct {
	t    *testing.T
	conn *net.UDPConn
	peer netip.AddrPort
}

// scripted starts f as a server on a socket of its own.
func scripted(t *testing.T, f func(s *script)) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &script{t: t, conn: conn}
	done := make(chan struct{})
	go func() { defer close(done); f(s) }()
	t.Cleanup(func() { <-done; conn.Close() }) // every read has its limit
	return conn.LocalAddr().String()
}

// read returns the next packet, or one of operation 0 if none comes in time.
func (s *script) read(wait time.Duration) packet {
	b := make([]byte, 2048)
	s.conn.SetReadDeadline(time.Now().Add(wait))
	n, from, err := s.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		return packet{}
	}
	s.peer = from
	p, err := parse(b[:n])
	if err != nil {
		s.t.Errorf("the client sent %q: %v", b[:n], err)
	}
	return p
}

func (s *script) write(p packet) { s.conn.WriteToUDPAddrPort(p.append(nil), s.peer) }

func (s *script) oack(o ...option) { s.write(packet{op: opOAck, options: o}) }

func (s *script) data(block uint16, n int) {
	s.write(packet{op: opData, block: block, data: make([]byte, n)})
}

const patience = 5 * time.Second

func TestServerThatIgnoresOptions(t *testing.T) {
	server := scripted(t, func(s *script) {
		s.read(patience)
		s.data(1, 512)
		s.read(patience)
		s.data(2, 3)
		s.read(patience)
	})
	got, r, err := fetch(&Client{}, server, "f", 77)
	if err != nil || len(got) != 515 || r.Offset() != 0 || r.Size() != -1 || r.params.blockSize != 512 ||
		r.WindowSize() != 1 {
		t.Errorf("%d bytes, %+v, %v", len(got), r, err)
	}
}

func TestServerThatRefusesOptions(t *testing.T) {
	for _, code := range []uint16{codeBadOption, codeIllegal, codeUndefined, codeAccess} {
		server := scripted(t, func(s *script) {
			if p := s.read(patience); len(p.options) == 0 {
				t.Error("the first request has no options")
			}
			s.write(packet{op: opError, code: code, message: "no options here"})
			if p := s.read(patience); p.op != opRead || len(p.options) != 2 {
				t.Errorf("the second request: %+v", p)
			}
			s.write(packet{op: opError, code: code, message: "nor these"})
			if p := s.read(patience); p.op != opRead || len(p.options) != 0 {
				t.Errorf("the third request: %+v", p)
			}
			s.data(1, 5)
			s.read(patience)
		})
		if got, _, err := fetch(&Client{}, server, "f", 0); err != nil || len(got) != 5 {
			t.Errorf("code %d: %d bytes, %v", code, len(got), err)
		}
	}
}

// An OACK that grants what was not asked is refused with ERROR 8, then the
// client asks for less.
func TestSenselessOAck(t *testing.T) {
	for _, o := range []option{
		{"blksize", "1429"}, {"blksize", "7"}, {"blksize", "-1"}, {"windowsize", "17"}, {"windowsize", "0"},
		{"windowsize", ""}, {"offset", "4"},
	} {
		server := scripted(t, func(s *script) {
			s.read(patience)
			s.oack(o)
			if p := s.read(patience); p.op != opError || p.code != codeBadOption {
				t.Errorf("%v was answered with %+v", o, p)
			}
			if p := s.read(patience); p.op != opRead || len(p.options) != 2 {
				t.Errorf("%v: the second request: %+v", o, p)
			}
			s.data(1, 5)
			s.read(patience)
		})
		if got, _, err := fetch(&Client{}, server, "f", 0); err != nil || len(got) != 5 {
			t.Errorf("%v: %d bytes, %v", o, len(got), err)
		}
	}
}

func TestBodyOfWrongSize(t *testing.T) {
	for _, tc := range []struct {
		tsize string
		want  error
	}{{"600", ErrTooMuch}, {"1026", ErrTruncated}} {
		server := scripted(t, func(s *script) {
			s.read(patience)
			s.oack(option{"tsize", tc.tsize})
			s.read(patience)
			s.data(1, 512)
			s.read(patience)
			s.data(2, 512)
			if s.read(patience).op == opError {
				return
			}
			s.data(3, 1)
			if p := s.read(patience); tc.want == ErrTruncated && p.op != opAck {
				t.Errorf("the end of the body was answered with %+v", p)
			}
		})
		// Bytes that came are handed over, also where there should be more.
		got, _, err := fetch(&Client{}, server, "f", 0)
		if !errors.Is(err, tc.want) || tc.want == ErrTruncated && len(got) != 1025 {
			t.Errorf("tsize %s: %d bytes, %v", tc.tsize, len(got), err)
		}
	}
	server := scripted(t, func(s *script) {
		s.read(patience)
		for n := uint16(1); n < 4; n++ {
			s.data(n, 512)
			if s.read(patience).op == opError {
				return
			}
		}
	})
	if got, _, err := fetch(&Client{MaxSize: 1000}, server, "f", 0); !errors.Is(err, ErrTooMuch) || len(got) != 512 {
		t.Errorf("no tsize: %d bytes, %v", len(got), err)
	}
}

func TestBlockBeyondAgreedSize(t *testing.T) {
	server := scripted(t, func(s *script) {
		s.read(patience)
		s.oack(option{"blksize", "600"})
		s.read(patience)
		s.data(1, 600)
		s.read(patience)
		s.data(2, 601)
		if p := s.read(patience); p.op != opError || p.code != codeIllegal {
			t.Errorf("answered with %+v", p)
		}
	})
	if _, _, err := fetch(&Client{}, server, "f", 0); !errors.Is(err, errProtocol) {
		t.Error(err)
	}
}

// A packet from another port is answered with ERROR 5 and changes nothing,
// whatever it holds; a closed port behind it does not either.
func TestStrangerDoesNotDisturb(t *testing.T) {
	server := scripted(t, func(s *script) {
		s.read(patience)
		s.oack(option{"tsize", "1024"})
		s.read(patience)
		s.data(1, 512)
		s.read(patience)
		for _, p := range []packet{
			{op: opData, block: 2, data: make([]byte, 9)}, {op: opOAck}, {op: opAck, block: 1},
			{op: opError, code: codeNotFound, message: "no"},
		} {
			stranger, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Error(err)
				return
			}
			stranger.WriteToUDPAddrPort(p.append(nil), s.peer)
			if p.op == opError {
				stranger.Close()
				continue
			}
			b := make([]byte, 100)
			stranger.SetReadDeadline(time.Now().Add(patience))
			n, _, err := stranger.ReadFromUDPAddrPort(b)
			if q, _ := parse(b[:n]); err != nil || q.op != opError || q.code != codeUnknownTID {
				t.Errorf("operation %d of a stranger was answered with %+v, %v", p.op, q, err)
			}
			stranger.Close()
		}
		gone, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Error(err)
			return
		}
		gone.WriteToUDPAddrPort((&packet{op: opAck}).append(nil), s.peer)
		gone.Close() // so that the answer to it is refused
		s.read(short)
		s.data(2, 512)
		s.read(patience)
		s.data(3, 0)
		s.read(patience)
	})
	got, _, err := fetch(&Client{}, server, "f", 0)
	if err != nil || len(got) != 1024 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestErrorBeforeTheClosedPort: a server that tells why it ends and closes its
// port at once is heard, although the system tells of the closed port first.
func TestErrorBeforeTheClosedPort(t *testing.T) {
	for range 20 {
		server := scripted(t, func(s *script) {
			s.read(patience)
			s.data(1, 512)
			s.write(packet{op: opError, code: codeAccess, message: "gone"})
			s.conn.Close()
		})
		_, _, err := fetch(&Client{NoOptions: true, Timeout: patience}, server, "f", 0)
		var told *Error
		if !errors.As(err, &told) || told.Message != "gone" {
			t.Fatalf("%v, want what the server said", err)
		}
	}
}

func TestServerGoesSilent(t *testing.T) {
	tiers.Long(t, "it waits for a server that is silent")
	gone := make(chan struct{})
	server := scripted(t, func(s *script) {
		s.read(patience)
		s.data(1, 512)
		for p := s.read(patience); p.op == opAck; p = s.read(patience) {
		}
		close(gone)
	})
	got, _, err := fetch(&Client{Timeout: 50 * time.Millisecond, Idle: 400 * time.Millisecond}, server, "f", 0)
	if !errors.Is(err, ErrTimeout) || len(got) != 512 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	<-gone
	silent := scripted(t, func(s *script) {
		for s.read(time.Second).op == opRead {
		}
	})
	if _, _, err := fetch(&Client{Timeout: 20 * time.Millisecond, Retries: 2}, silent, "f", 0); !errors.Is(err,
		ErrTimeout) {
		t.Error(err)
	}
}

func TestCancelStopsAtOnce(t *testing.T) {
	for _, answer := range []bool{false, true} {
		asked := make(chan struct{}, 10)
		server := scripted(t, func(s *script) {
			s.read(patience)
			if answer {
				s.data(1, 512)
			}
			asked <- struct{}{}
			s.read(100 * time.Millisecond)
		})
		ctx, cancel := context.WithCancelCause(context.Background())
		why := errors.New("enough")
		go func() { <-asked; cancel(why) }()
		// Nothing but the cancelling ends it within the time of a test.
		r, err := (&Client{Timeout: time.Hour, Idle: time.Hour}).Get(ctx, server, "f", 0)
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if !errors.Is(err, why) {
			t.Errorf("answer %v: %v", answer, err)
		}
	}
}

// Close tells the server, and ends a Read under way.
func TestCloseTellsServer(t *testing.T) {
	told := make(chan packet, 1)
	server := scripted(t, func(s *script) {
		s.read(patience)
		s.data(1, 512)
		s.read(patience)
		told <- s.read(patience)
	})
	r, err := (&Client{}).Get(context.Background(), server, "f", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { _, err := r.Read(make([]byte, 1)); ended <- err }()
	r.Close()
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Error(err)
	}
	if p := <-told; p.op != opError {
		t.Errorf("the server was sent %+v", p)
	}
}

// The last ACK was lost: it comes again after the Reader was closed.
func TestLastAckIsRepeated(t *testing.T) {
	second := make(chan packet, 1)
	closed := make(chan struct{})
	server := scripted(t, func(s *script) {
		s.read(patience)
		s.data(1, 5)
		s.read(patience)
		<-closed
		s.data(1, 5)
		second <- s.read(patience)
	})
	if _, _, err := fetch(&Client{}, server, "f", 0); err != nil {
		t.Fatal(err)
	}
	close(closed)
	if p := <-second; p.op != opAck || p.block != 1 {
		t.Errorf("the last block again was answered with %+v", p)
	}
}

// A transfer begins with block 1: DATA of any other comes from a transfer that
// went before, and the file would lack its beginning.
func TestFirstDataOfAnotherBlock(t *testing.T) {
	for _, block := range []uint16{0, 2, 65535} {
		server := scripted(t, func(s *script) {
			s.read(patience)
			s.data(block, 512)
			s.data(1, 5)
			if p := s.read(patience); p.op != opAck || p.block != 1 {
				t.Errorf("block %d, then 1: the client answers %+v", block, p)
			}
		})
		if got, _, err := fetch(&Client{}, server, "f", 0); err != nil || len(got) != 5 {
			t.Errorf("block %d, then 1: %d bytes, %v", block, len(got), err)
		}
	}
}
