package liars

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
)

// deadline bounds what the test waits for, where nothing comes.
const deadline = time.Minute

// play starts a liar that names itself a parent, welcomes, and sends a chunk for each
// report.
func play(t *testing.T, isWrong bool, content []byte) (l *Liar, file liar.File, at netip.AddrPort) {
	t.Helper()
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).AddrPort().Port()
	free.Close()
	chunk := liar.Rule{On: liar.OnFrame, Chance: 1, Do: liar.DoChunk}
	if isWrong {
		chunk.Lies[0] = liar.Lie{Mode: liar.Most}
	}
	file = liar.File{Hierarchy: wire.HierarchyOf("", content), Size: int64(len(content)), Trees: 1,
		Chunks: load.Geometry{Size: int64(len(content))}.Chunks()}
	host := netip.MustParseAddr("127.77.0.9")
	l, err = Start(t.Context(), Config{
		Program: liar.Program{Faces: 1, Rules: []liar.Rule{
			{On: liar.OnAsk, Chance: 1, Do: liar.DoPlace, To: liar.ToSender},
			{On: liar.OnAccepted, Chance: 1, Do: liar.DoWelcome},
			{On: liar.OnTableAsk, Chance: 1, Do: liar.DoTable},
			chunk,
		}},
		Hosts: []site.Host{{Addr: host}}, File: file, Content: bytes.NewReader(content),
		Broadcast: netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), port),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, file, netip.AddrPortFrom(host, port)
}

// TestPlaces: a device that asks for a place is told one below the liar.
func TestPlaces(t *testing.T) {
	l, file, at := play(t, false, make([]byte, 1<<17))
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(deadline))
	env := wire.Envelope{Hierarchy: file.Hierarchy, From: wire.Peer{ID: 1, Nonce: 1}, TCPPort: at.Port()}
	if _, err := c.Write(wire.Marshal(env, &wire.Ask{Free: 2})); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, wire.MaxDatagram)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	e, m, err := wire.Unmarshal(b[:n])
	p, ok := m.(*wire.Place)
	if err != nil || !ok || p.Parent != l.faces[0].self || p.Addr.Addr() != at.Addr() || e.From != p.Parent {
		t.Errorf("answers %+v from %v: %v", m, e.From, err)
	}
}

// TestServes: a child gets the chunks that the program says, right or wrong, and a table
// of the same bytes.
func TestServes(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcde"), 9000)
	for _, isWrong := range []bool{false, true} {
		_, file, at := play(t, isWrong, content)
		c, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(deadline))
		r := bufio.NewReader(c)
		say := func(f wire.Frame) wire.Frame {
			if _, err := c.Write(wire.AppendFrame(nil, f)); err != nil {
				t.Fatal(err)
			}
			m, err := wire.ReadFrame(r, func(n int) []byte { return make([]byte, n) })
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		if _, ok := say(&wire.Hello{Hierarchy: file.Hierarchy, From: wire.Peer{ID: 1}, Trees: 1}).(*wire.Welcome); !ok {
			t.Fatal("does not welcome a child")
		}
		var table load.Table
		for i := range file.Chunks {
			off, n := load.Geometry{Size: file.Size}.Span(i)
			chunk, ok := say(&wire.Report{Prefix: i}).(*wire.Chunk)
			if !ok || chunk.Index != i || bytes.Equal(chunk.Bytes, content[off:off+int64(n)]) == isWrong {
				t.Fatalf("wrong %v: chunk %d is %+v", isWrong, i, chunk)
			}
			table = append(table, load.DigestOf(chunk.Bytes))
		}
		part, ok := say(&wire.TableAsk{}).(*wire.TablePart)
		if !ok || part.Total != len(table) || len(part.Digests) != len(table) || part.Digests[0] != table[0] {
			t.Errorf("wrong %v: its table is not that of its bytes", isWrong)
		}
	}
}

// TestConfig: each face has a host, and the liar a file.
func TestConfig(t *testing.T) {
	good := Config{Program: liar.Program{Faces: 1}, Hosts: []site.Host{{}},
		Broadcast: netip.MustParseAddrPort("127.255.255.255:4051"), Content: bytes.NewReader(nil)}
	for name, change := range map[string]func(*Config){
		"no face":    func(c *Config) { c.Program.Faces, c.Hosts = 0, nil },
		"no host":    func(c *Config) { c.Hosts = nil },
		"no subnet":  func(c *Config) { c.Broadcast = netip.AddrPort{} },
		"no content": func(c *Config) { c.Content = nil },
	} {
		c := good
		if change(&c); good.Validate() != nil || c.Validate() == nil {
			t.Errorf("%s is taken, or what is right is not", name)
		}
	}
}
