package wire

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/peerload/peerload/load"
)

var update = flag.Bool("update", false, "write the golden files anew")

// envelope stands before every sample datagram.
var envelope = Envelope{
	Hierarchy: HierarchyOf("CP-7961G", []byte("SCCP41.9-4-2SR2-2S.loads")),
	From:      Peer{ID: 0x0008_0027_F800_0001, Nonce: 0xA1B2C3D4},
	TCPPort:   Port,
}

var (
	peerA = Peer{ID: 0x1111_1111_1111_1111, Nonce: 0x0A0A0A0A}
	peerB = Peer{ID: 0x2222_2222_2222_2222, Nonce: 0x0B0B0B0B}
)

// samples has one of each datagram, no field of which is zero.
func samples() map[string]Message {
	return map[string]Message{
		"claim": &Claim{
			Rank:  Rank{Confirmed: true, Complete: true, Prefix: 77, Strength: 0xB1D4D43D},
			Epoch: 0x0102030405060708, Size: 5_000_000, Prefix: 76, Bytes: 4_999_999,
			Complete: true, Waiting: true, Map: 0xFF9D7CB9, Spread: 250, Members: 999, Reason: ReasonStrongest,
		},
		"ask": &Ask{
			Attached: true, Move: true, Done: true, Yields: true, Stripe: 1, Free: 2, Children: 1, Depth: 3, Prefix: 12,
			Epoch: 0x0102030405060708, Parent: peerA, Failed: peerB, Reason: ReasonParentSlow, Trees: 2, Speed: 11_900,
		},
		"place": &Place{
			Stripe: 1, Depth: 4, Wait: 200, Parent: peerA, Addr: netip.MustParseAddrPort("10.106.117.68:4051"), Trees: 2,
		},
		"resign": &Resign{Reason: ReasonOriginStalled, Successor: peerB, Backoff: 60_000},
		"direct": &Direct{Reason: ReasonPeersFailed, Done: true, Prefix: 9, Bytes: 589_824},
	}
}

// frames has one of each frame, no field of which is zero.
func frames() map[string]Frame {
	return map[string]Frame{
		"hello": &Hello{
			Hierarchy: envelope.Hierarchy, From: peerA, TCPPort: Port, Stripe: 1,
			Epoch: 0x0102030405060708, Prefix: 12, Trees: 2,
		},
		"welcome":   &Welcome{From: peerB, Epoch: 0x0102030405060708, Size: 5_000_000},
		"refuse":    &Refuse{Reason: ReasonFull},
		"progress":  &Progress{Prefix: 12, RootPrefix: 15, RootBytes: 1_000_000, Detached: true},
		"path":      &Path{Peers: []Peer{peerA, peerB}},
		"chunk":     &Chunk{Index: 3, Provisional: true, Bytes: []byte("bytes of a chunk")},
		"end":       &End{Size: 5_000_000},
		"report":    &Report{Prefix: 77, Complete: true},
		"table-ask": &TableAsk{},
		"table-part": &TablePart{First: 1, Total: 4,
			Digests: []load.Digest{load.DigestOf([]byte("a")), load.DigestOf([]byte("b"))}},
		"bye":   &Bye{Reason: ReasonDone},
		"carry": &Carry{Text: []byte("an order")},
	}
}

// TestSamplesAreFull keeps the samples honest: a field that a sample leaves
// zero would not be missed if it were not sent.
func TestSamplesAreFull(t *testing.T) {
	check := func(name string, m any) {
		for field, v := range fieldsOf(reflect.ValueOf(m).Elem(), name) {
			if v.IsZero() {
				t.Errorf("%s is zero in its sample", field)
			}
		}
	}
	kinds := make(map[kind]string)
	for name, m := range samples() {
		check(name, m)
		kinds[m.kind()] = name
	}
	for k := kind(1); datagramOf(k) != nil; k++ {
		if kinds[k] == "" {
			t.Errorf("datagram type %d has no sample", k)
		}
	}
	clear(kinds)
	for name, m := range frames() {
		check(name, m)
		kinds[m.frameKind()] = name
	}
	for k := kind(1); frameOf(k) != nil || k == kindChunk; k++ {
		if kinds[k] == "" {
			t.Errorf("frame type %d has no sample", k)
		}
	}
}

// fieldsOf lists the fields of a message, those of its rank one by one.
func fieldsOf(v reflect.Value, name string) map[string]reflect.Value {
	all := make(map[string]reflect.Value)
	for i := range v.NumField() {
		f, n := v.Field(i), name+"."+v.Type().Field(i).Name
		if f.Type() == reflect.TypeFor[Rank]() {
			for k, w := range fieldsOf(f, n) {
				all[k] = w
			}
			continue
		}
		all[n] = f
	}
	return all
}

func TestGolden(t *testing.T) {
	for name, m := range samples() {
		t.Run("datagram/"+name, func(t *testing.T) {
			b := golden(t, "datagram-"+name, fmt.Sprintf("%T of %v in hierarchy %v", m, envelope.From, envelope.Hierarchy),
				Marshal(envelope, m))
			e, have, err := Unmarshal(b)
			if err != nil || e != envelope || !reflect.DeepEqual(have, m) {
				t.Errorf("read as %+v %+v, %v; want %+v %+v", e, have, err, envelope, m)
			}
		})
	}
	for name, m := range frames() {
		t.Run("frame/"+name, func(t *testing.T) {
			b := golden(t, "frame-"+name, fmt.Sprintf("%T", m), AppendFrame(nil, m))
			r := bytes.NewReader(b)
			have, err := ReadFrame(r, makeBuf)
			if err != nil || r.Len() != 0 || !reflect.DeepEqual(have, m) {
				t.Errorf("read as %+v, %v, %d bytes left; want %+v", have, err, r.Len(), m)
			}
		})
	}
}

func makeBuf(n int) []byte { return make([]byte, n) }

// golden compares b with a file of hexadecimal digits and returns what the
// file holds.
func golden(t *testing.T, name, comment string, b []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	if *update {
		out := "# " + comment + "\n"
		for i := 0; i < len(b); i += 16 {
			out += fmt.Sprintf("% x\n", b[i:min(i+16, len(b))])
		}
		if err := os.WriteFile(path, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, digits, _ := strings.Cut(string(text), "\n")
	want, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("encoded as\n% x, want\n% x\nas in %s", b, want, path)
	}
	return want
}

// TestEachFieldAlone clears every field of every sample in turn, and leaves
// every flag alone in turn, so that no two fields share a place.
func TestEachFieldAlone(t *testing.T) {
	try := func(name string, fresh func() any, trip func(any) (any, error)) {
		for field := range fieldsOf(reflect.ValueOf(fresh()).Elem(), name) {
			for _, others := range []bool{true, false} {
				m := fresh()
				for n, v := range fieldsOf(reflect.ValueOf(m).Elem(), name) {
					// All but one set; then, of the flags, only one set.
					if n == field && others || n != field && !others && v.Kind() == reflect.Bool {
						v.SetZero()
					}
				}
				have, err := trip(m)
				if err != nil {
					// Some fields may not be zero; that they are refused is
					// tested elsewhere.
					continue
				}
				if fmt.Sprintf("%+v", have) != fmt.Sprintf("%+v", m) {
					t.Errorf("%s, others %v: %+v came back as %+v", field, others, m, have)
				}
			}
		}
	}
	for name := range samples() {
		try(name, func() any { return samples()[name] }, func(m any) (any, error) {
			_, have, err := Unmarshal(Marshal(envelope, m.(Message)))
			return have, err
		})
	}
	for name := range frames() {
		try(name, func() any { return frames()[name] }, func(m any) (any, error) {
			return ReadFrame(bytes.NewReader(AppendFrame(nil, m.(Frame))), makeBuf)
		})
	}
}

func TestChunkFrameHeader(t *testing.T) {
	m := frames()["chunk"].(*Chunk)
	b := append(ChunkFrameHeader(m.Index, len(m.Bytes), m.Provisional), m.Bytes...)
	if want := AppendFrame(nil, m); !bytes.Equal(b, want) {
		t.Errorf("header and bytes % x, want % x", b, want)
	}
}

func TestAddresses(t *testing.T) {
	for _, s := range []string{"", "10.0.0.1:4051", "0.0.0.0:1", "255.255.255.255:65535", "[fe80::1]:4051", "[::1]:0"} {
		var want netip.AddrPort
		if s != "" {
			want = netip.MustParseAddrPort(s)
		}
		_, m, err := Unmarshal(Marshal(envelope, &Place{Parent: peerA, Addr: want}))
		if err != nil || m.(*Place).Addr != want {
			t.Errorf("%q came back as %+v, %v", s, m, err)
		}
	}
}

func TestUnknownSize(t *testing.T) {
	for _, size := range []int64{load.UnknownSize, 0, load.MaxFileSize} {
		_, m, err := Unmarshal(Marshal(envelope, &Claim{Size: size}))
		if err != nil || m.(*Claim).Size != size {
			t.Errorf("a claim for %d bytes came back as %+v, %v", size, m, err)
		}
	}
}

func TestHierarchyOf(t *testing.T) {
	seen := make(map[Hierarchy]string)
	for _, c := range []struct{ group, key, want string }{
		{"", "", "3420ff86"},
		{"CP-7961G", "SCCP41.9-4-2SR2-2S.loads", "9411f56a"},
		{"CP-7961GS", "CCP41.9-4-2SR2-2S.loads", ""},
		{"", "CP-7961GSCCP41.9-4-2SR2-2S.loads", ""},
		{"CP-7941", "SCCP41.9-4-2SR2-2S.loads", ""},
	} {
		h := HierarchyOf(c.group, []byte(c.key))
		if other, ok := seen[h]; ok {
			t.Errorf("%q %q has the hierarchy of %s", c.group, c.key, other)
		}
		seen[h] = c.group + " " + c.key
		if c.want != "" && h.String() != c.want {
			t.Errorf("hierarchy of %q %q is %v, want %s", c.group, c.key, h, c.want)
		}
	}
}

func TestPeer(t *testing.T) {
	if s := envelope.From.String(); s != "00080027f8000001.d4" {
		t.Errorf("shown as %s", s)
	}
	if s := (Peer{}).String(); s != "-" || !(Peer{}).IsZero() || peerA.IsZero() {
		t.Errorf("nobody is shown as %s", s)
	}
	same := Peer{ID: peerA.ID, Nonce: peerA.Nonce + 1}
	if !peerA.Less(peerB) || peerB.Less(peerA) || !peerA.Less(same) || same.Less(peerA) || peerA.Less(peerA) {
		t.Error("peers are not ordered by id, then nonce")
	}
}
