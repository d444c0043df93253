package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// oddServer serves one file in one of the ways that servers in the field do.
// What its fields do not say it does as the RFCs say, with a window.
type oddServer struct {
	t       *testing.T
	content []byte
	// oack makes the bytes behind the operation of an OACK from the options that
	// were asked for, and what it really sends then.
	oack func(asked map[string]string) (options []byte, block, window int)
	// answer replaces the first answer to a request; nil: none.
	answer func(s *oddServer, asked map[string]string, to *net.UDPAddr) (sent bool)
	// block1 is the number that follows 65535.
	afterLast uint16
	noOAck    bool // sends blocks of the size asked for without an OACK
	own       int  // the size of its blocks, whatever is asked for; 0: that
	twice     bool // sends each DATA twice
	lost      int  // packets with more bytes of content are lost
	deaf      bool // an ACK that comes again makes it send nothing
	loses     int  // the block that is lost the first time; 0: none
	host      string

	mu       sync.Mutex
	requests []map[string]string
	done     sync.WaitGroup
}

func granted(o ...string) []byte { return []byte(strings.Join(o, "\x00") + "\x00") }

// start serves until the test ends.
func (s *oddServer) start() string {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.host == "" {
		s.host = "127.0.0.1"
	}
	s.done.Go(func() {
		for b := make([]byte, 2000); ; {
			n, from, err := conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			fields := strings.Split(string(b[2:n]), "\x00")
			asked := map[string]string{}
			for i := 2; i+1 < len(fields); i += 2 {
				asked[fields[i]] = fields[i+1]
			}
			s.mu.Lock()
			s.requests = append(s.requests, asked)
			s.mu.Unlock()
			s.done.Go(func() { s.serve(asked, from) })
		}
	})
	s.t.Cleanup(func() { conn.Close(); s.done.Wait() })
	return conn.LocalAddr().String()
}

// asked are the options of the requests so far.
func (s *oddServer) asked() []map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *oddServer) serve(asked map[string]string, to *net.UDPAddr) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(s.host)})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer conn.Close()
	first, block, window := []byte(nil), 512, 1
	switch {
	case len(asked) == 0:
	case s.answer != nil:
		if s.answer(s, asked, to) {
			return
		}
	case s.noOAck:
		if n, err := strconv.Atoi(asked["blksize"]); err == nil {
			block = n
		}
		if s.own > 0 {
			block = s.own
		}
	default:
		options := []byte(nil)
		options, block, window = s.oack(asked)
		first = append([]byte{0, 6}, options...)
	}
	s.send(conn, to, first, block, window)
}

// number is the number that a block goes by.
func (s *oddServer) number(block int) uint16 {
	if s.afterLast == 1 && block > 0 {
		return uint16((block-1)%65535 + 1)
	}
	return uint16(block)
}

// send sends the file; it ends when the last block is acknowledged, an ERROR
// comes, or nothing comes.
func (s *oddServer) send(conn *net.UDPConn, to *net.UDPAddr, first []byte, block, window int) {
	last, base, loses := len(s.content)/block+1, 1, s.loses
	if first != nil {
		base = 0
	}
	in := make([]byte, 100)
	for tries := 0; base <= last && tries < 4; {
		high := min(last, base+window-1)
		if base == 0 {
			conn.WriteToUDP(first, to)
			high = 0
		}
		for n := max(1, base); n <= high; n++ {
			if n == loses {
				loses = 0
				continue
			}
			body := s.content[(n-1)*block : min(len(s.content), n*block)]
			for copies := range 2 {
				if (copies == 0 || s.twice) && (s.lost == 0 || len(body) <= s.lost) {
					conn.WriteToUDP(append(binary.BigEndian.AppendUint16([]byte{0, 3}, s.number(n)), body...), to)
				}
			}
		}
		conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(in)
		for s.deaf && err == nil && n == 4 && in[1] == byte(opAck) &&
			s.number(base-1) == binary.BigEndian.Uint16(in[2:]) {
			n, err = conn.Read(in)
		}
		if err != nil {
			tries++
			continue
		}
		if n < 4 || in[1] != byte(opAck) {
			return
		}
		for b := high; b >= max(0, base-1); b-- {
			if s.number(b) == binary.BigEndian.Uint16(in[2:]) {
				base, tries = b+1, 0
				break
			}
		}
	}
}

// fast is a client that waits for less, so that a test takes less.
func fast() *Client { return &Client{Timeout: 150 * time.Millisecond, Learned: &Learned{}} }

// asIs grants the block size asked for, if any is, and the rest of the OACK is as
// given.
func asIs(rest ...string) func(map[string]string) ([]byte, int, int) {
	return func(asked map[string]string) ([]byte, int, int) {
		block, err := strconv.Atoi(asked["blksize"])
		if err != nil {
			return granted(append([]string{"tsize", "0"}, rest...)...), defaultBlock, 1
		}
		return granted(append([]string{"blksize", asked["blksize"]}, rest...)...), block, 1
	}
}

// oddOAcks are OACKs of servers in the field, with what they send behind them.
func oddOAcks(size int) map[string]func(map[string]string) ([]byte, int, int) {
	tail := func(b string) func(map[string]string) ([]byte, int, int) {
		return func(asked map[string]string) ([]byte, int, int) {
			o, block, window := asIs()(asked)
			return append(o, b...), block, window
		}
	}
	sends := func(grant string, block, window int, rest ...string) func(map[string]string) ([]byte, int, int) {
		return func(map[string]string) ([]byte, int, int) {
			return granted(append([]string{"blksize", grant}, rest...)...), block, window
		}
	}
	return map[string]func(map[string]string) ([]byte, int, int){
		"as asked":             asIs("tsize", strconv.Itoa(size)),
		"tsize 0":              asIs("tsize", "0"),
		"tsize 1":              asIs("tsize", "1"),
		"tsize too long":       asIs("tsize", "99999999999999999999"),
		"tsize empty":          asIs("tsize", ""),
		"tsize no number":      asIs("tsize", "unknown"),
		"an option of its own": asIs("utimeout", "250000"),
		"another timeout":      asIs("timeout", "77"),
		"an option twice":      func(a map[string]string) ([]byte, int, int) { return asIs("blksize", a["blksize"])(a) },
		"spare NULs":           tail("\x00\x00\x00\x00"),
		"spare bytes":          tail("\x00\x00\x00\x00junk"),
		"nothing granted":      func(map[string]string) ([]byte, int, int) { return nil, 512, 1 },
		"in capitals": func(a map[string]string) ([]byte, int, int) {
			return granted("BLKSIZE", a["blksize"]), 1428, 1
		},
		"grants 1428 sends 512": sends("1428", 512, 1),
		"the same with a size":  sends("1428", 512, 1, "tsize", strconv.Itoa(size)),
		"the same in windows":   sends("1428", 512, 16, "tsize", strconv.Itoa(size), "windowsize", "16"),
		"grants 512 sends 1428": sends("512", 1428, 1),
		"grants more":           sends("1500", 1500, 1),
		"without the last NUL": func(a map[string]string) ([]byte, int, int) {
			o, block, window := asIs()(a)
			return o[:len(o)-1], block, window
		},
	}
}

// Whatever an OACK says, all bytes come, and the size is not another.
func TestOddOAck(t *testing.T) {
	tiers.Long(t, "it waits for each odd answer")
	t.Parallel()
	for _, size := range []int{300_000, 512, 100, 0} {
		data := content(size)
		for name, oack := range oddOAcks(size) {
			if name == "tsize 1" && size == 0 || name == "grants 512 sends 1428" && size == 512 {
				continue // a byte less than announced, and a block that looks as if another followed
			}
			s := &oddServer{t: t, content: data, oack: oack}
			got, r, err := fetch(fast(), s.start(), "f", 0)
			if err != nil || !bytes.Equal(got, data) || r.Size() >= 0 && r.Size() != int64(size) {
				t.Errorf("%s: %d bytes of %d: %v", name, len(got), size, err)
			}
		}
	}
}

// oddError answers with an ERROR of a code.
func oddError(code byte) func(*oddServer, map[string]string, *net.UDPAddr) bool {
	return func(s *oddServer, _ map[string]string, to *net.UDPAddr) bool {
		conn, err := net.DialUDP("udp4", nil, to)
		if err != nil {
			s.t.Error(err)
			return true
		}
		defer conn.Close()
		conn.Write([]byte{0, 5, 0, code, 'n', 'o', 0})
		return true
	}
}

// A server that does not like the options is asked with fewer of them, in the
// end with none; what it told counts if that is of no use either.
func TestServersThatDislikeOptions(t *testing.T) {
	t.Parallel()
	data := content(20_000)
	for name, s := range map[string]*oddServer{
		"error 0":                      {answer: oddError(0)},
		"error 2":                      {answer: oddError(2)},
		"error 4":                      {answer: oddError(4)},
		"error 8":                      {answer: oddError(8)},
		"error 99":                     {answer: oddError(99)},
		"no answer":                    {answer: func(*oddServer, map[string]string, *net.UDPAddr) bool { return true }},
		"no OACK":                      {noOAck: true},
		"no OACK from another address": {noOAck: true, host: "127.0.0.2"},
		"another address":              {oack: asIs(), host: "127.0.0.2"},
		"blocks of 1024 at most": {oack: asIs(), answer: func(s *oddServer, asked map[string]string, to *net.UDPAddr) bool {
			if n, _ := strconv.Atoi(asked["blksize"]); n > 1024 {
				return oddError(8)(s, asked, to)
			}
			return false
		}},
	} {
		s.t, s.content = t, data
		server := s.start()
		c := fast()
		for range 2 {
			got, _, err := fetch(c, server, "f", 0)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes: %v", name, len(got), err)
			}
		}
	}
	s := &oddServer{t: t, content: data, answer: oddError(1)}
	if _, _, err := fetch(fast(), s.start(), "f", 0); !errors.Is(err, ErrNotFound) || len(s.asked()) != 1 {
		t.Errorf("no such file: %v after %d requests", err, len(s.asked()))
	}
}

// Where large blocks are lost, smaller ones are asked for, and next time at
// once.
func TestLargeBlocksAreLost(t *testing.T) {
	tiers.Long(t, "it waits for lost packets")
	data := content(30_000)
	for _, tc := range []struct{ passes, want int }{{1372, 1228}, {1228, 1228}, {1000, 512}, {512, 512}} {
		s := &oddServer{t: t, content: data, oack: func(asked map[string]string) ([]byte, int, int) {
			block, err := strconv.Atoi(asked["blksize"])
			if err != nil {
				return granted("tsize", "30000"), 512, 1
			}
			return granted("blksize", strconv.Itoa(block), "tsize", "30000"), block, 1
		}, lost: tc.passes}
		server, c := s.start(), fast()
		for range 2 {
			got, r, err := fetch(c, server, "f", 0)
			if err != nil || !bytes.Equal(got, data) || r.params.blockSize != tc.want {
				t.Fatalf("%d bytes pass: %d bytes: %v", tc.passes, len(got), err)
			}
		}
		asked := func(size string) func(map[string]string) bool {
			return func(r map[string]string) bool { return r["blksize"] == size }
		}
		requests := s.asked()
		if n := slices.IndexFunc(requests[1:], asked("1428")); n >= 0 {
			t.Errorf("%d bytes pass: blocks of 1428 were asked for again: %v", tc.passes, requests)
		}
	}
}

// What was learned is about one server, for a while, and of a bounded number.
func TestLearned(t *testing.T) {
	var none *Learned
	a, b := netip.MustParseAddrPort("10.0.0.1:69"), netip.MustParseAddrPort("10.0.0.2:69")
	now := time.Unix(1000, 0)
	none.keep(a, learned{form: 1}, now)
	l := &Learned{}
	l.keep(a, learned{form: 1, options: true}, now)
	if none.of(a, now).form != 0 || l.of(b, now).form != 0 || l.of(a, now).form != 1 ||
		l.of(a, now.Add(learnedFor+1)).form != 0 {
		t.Error("it is not about that server for that time")
	}
	for i := range 3 * maxLearned {
		l.keep(netip.AddrPortFrom(a.Addr(), uint16(i+1)), learned{form: 1}, now)
	}
	if len(l.servers) > maxLearned {
		t.Errorf("%d servers are known", len(l.servers))
	}
	// An outage after the options were agreed looks like lost blocks: it must not
	// make blocks small for good.
	k := learned{}
	k.failed(0, 2, true)
	if k.form != 2 {
		t.Errorf("the next request begins with %d", k.form)
	}
	if k.failed(2, 4, true); k.form != 0 {
		t.Errorf("the one after it begins with %d", k.form)
	}
}

// A size that the body does not bear out is not believed again.
func TestWrongSizeIsLearned(t *testing.T) {
	data := content(30_000)
	for tsize, fails := range map[string]int{"2000": 1, "50000": 2, "30000": 0} {
		s := &oddServer{t: t, content: data, oack: asIs("tsize", tsize)}
		server, c := s.start(), fast()
		for range fails {
			if _, _, err := fetch(c, server, "f", 0); !errors.Is(err, ErrTooMuch) && !errors.Is(err, ErrTruncated) {
				t.Errorf("tsize %s: %v", tsize, err)
			}
		}
		got, _, err := fetch(c, server, "f", 0)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("tsize %s: %d bytes: %v", tsize, len(got), err)
		}
	}
}

// Block numbers go from 65535 to 0 with some servers and to 1 with others.
func TestNumberAfter65535(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	data := content(8*65536 + 5000*8 + 3)
	for _, after := range []uint16{0, 1} {
		for _, window := range []int{1, 4, 16} {
			t.Run(fmt.Sprintf("%d after 65535, window %d", after, window), func(t *testing.T) {
				t.Parallel()
				if window < 16 {
					tiers.Long(t, "each of 65,536 packets is waited for")
				}
				s := &oddServer{t: t, content: data, afterLast: after, oack: func(map[string]string) ([]byte, int, int) {
					return granted("blksize", "8", "windowsize", strconv.Itoa(window)), 8, window
				}}
				got, _, err := fetch(fast(), s.start(), "f", 0)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes of %d: %v", len(got), len(data), err)
				}
			})
		}
	}
}

// Whatever is lost around it, the number after 65535 is never mistaken.
func TestNumberAfter65535UnderLoss(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		window := []int64{1, 2, 4, 16}[seed%4]
		s := &oddServer{afterLast: uint16(seed / 4 % 2)}
		now := time.Unix(0, 0)
		r := newReceiver(now, params{blockSize: 8, window: int(window)}, time.Second, time.Hour, 1000)
		r.next, r.acked = 65530, 65529
		last := int64(65537 + rnd.IntN(40))
		for base := r.next; !r.finished; {
			acks := []int64{}
			ack := func() {
				n := r.ack()
				for b := base - 1; b < base+window; b++ {
					if s.number(int(b)) == n && rnd.IntN(10) > 0 {
						acks = append(acks, b)
					}
				}
			}
			for b := base; b < base+window && b <= last; b++ {
				size := 8
				if b == last {
					size = 7
				}
				if rnd.IntN(20) == 0 {
					continue
				}
				next := r.next
				accept, reply := r.data(now, s.number(int(b)), size)
				if accept && b != next {
					t.Fatalf("seed %d: block %d was taken for %d", seed, b, next)
				}
				if reply {
					ack()
				}
			}
			if len(acks) == 0 {
				now = r.deadline()
				if !r.timeout(now) {
					t.Fatalf("seed %d: it gave up at block %d", seed, r.next)
				}
				ack()
			}
			for _, b := range acks {
				base = b + 1
			}
		}
		if r.next != last+1 {
			t.Fatalf("seed %d: it ended after block %d of %d", seed, r.next-1, last)
		}
	}
}

// reports are servers of which reports in the trackers of TFTP programs tell,
// with a client that meets what the report does.
func reports() map[string]struct {
	server *oddServer
	client Client
} {
	type row = struct {
		server *oddServer
		client Client
	}
	return map[string]row{
		// Callisto82/tftp.net issue 22: it knows no options, and its blocks have 256
		// bytes where RFC 1350 says 512.
		"blocks of 256, without options": {server: &oddServer{noOAck: true, own: 256}},
		// shevek/tftp4j issue 2: it uses the block size asked for, and never says so.
		"the block size asked for, without an OACK": {server: &oddServer{noOAck: true}},
		// altugbakan/rs-tftpd issue 5: every DATA goes out twice.
		"every DATA twice": {server: &oddServer{oack: asIs(), twice: true}},
		"every DATA twice, in windows": {server: &oddServer{twice: true,
			oack: func(asked map[string]string) ([]byte, int, int) {
				options, block, _ := asIs("windowsize", "16")(asked)
				return options, block, 16
			}}},
		// pypxe/PyPXE pull 125: the OACK has tsize, for which nobody asked. In
		// netascii the client does not.
		"tsize that was not asked for": {client: Client{NetASCII: true},
			server: &oddServer{oack: asIs("tsize", "77")}},
		// msoulier/tftpy issue 41: an ACK that comes again asks it for nothing; what
		// was lost goes out again when the server's own time is over.
		"repeated ACKs are passed over": {server: &oddServer{oack: asIs(), deaf: true, loses: 3}},
		"the same, of the first block": {client: Client{Timeout: time.Second},
			server: &oddServer{oack: asIs(), deaf: true, loses: 1}},
	}
}

// Each server of a report gives all bytes of files of every size that matters to
// it: within one block, whole blocks, more than one.
func TestServersOfReports(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	for _, size := range []int{0, 100, 256, 512, 1000, 1024, 1428, 20_000} {
		data := bytes.ReplaceAll(bytes.ReplaceAll(content(size), []byte{'\r'}, []byte{'r'}), []byte{'\n'}, []byte{'n'})
		for name, tc := range reports() {
			if tc.server.deaf && size < 20_000 {
				continue // one loss is as good as another, and takes the server a second
			}
			t.Run(fmt.Sprintf("%s, %d bytes", name, size), func(t *testing.T) {
				t.Parallel()
				s := tc.server
				s.t, s.content = t, data
				c := tc.client
				c.Timeout, c.Learned = orElse(c.Timeout, 150*time.Millisecond), &Learned{}
				server := s.start()
				got, _, err := fetch(&c, server, "f", 0)
				if s.noOAck && s.own == 0 && size == defaultBlock && errors.Is(err, ErrRefused) {
					// Nobody can tell whether 512 bytes are all: the next request asks so
					// that the server must say.
					got, _, err = fetch(&c, server, "f", 0)
				}
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes: %v, asked %v", len(got), err, s.asked())
				}
			})
		}
	}
}

// What was learned of a file of one block is about that file: others of the
// server are asked for as before, with a server that is silent then as with one
// that is gone.
func TestWholeFileIsLearned(t *testing.T) {
	t.Parallel()
	l := &Learned{}
	server := scripted(t, func(s *script) {
		s.read(10 * time.Second)
		s.data(1, defaultBlock)
	})
	c := &Client{Timeout: 100 * time.Millisecond, Retries: 2, Learned: l}
	if _, _, err := fetch(c, server, "f", 0); !errors.Is(err, ErrTimeout) {
		t.Errorf("a block after which nothing comes: %v", err)
	}
	at := netip.MustParseAddrPort(server)
	if k := l.of(at, time.Now()); k.wholeFile != "f" || k.form != 0 {
		t.Errorf("learned: %+v", k)
	}
	c = &Client{Learned: l}
	s := &oddServer{t: t, content: content(20_000), noOAck: true}
	server = s.start()
	l.whole(netip.MustParseAddrPort(server), "f", time.Now())
	for _, name := range []string{"f", "g"} {
		if got, _, err := fetch(c, server, name, 0); err != nil || !bytes.Equal(got, s.content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if asked := s.asked(); len(asked) != 2 || len(asked[0]) != 0 || asked[1]["blksize"] == "" {
		t.Errorf("asked with %v", asked)
	}
}
