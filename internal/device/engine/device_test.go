package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/fabric"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// site is a subnet in virtual time: real devices, real files, a virtual net,
// and an origin at a given rate.
type site struct {
	t       *testing.T
	dir     string
	fabric  *fabric.Fabric
	content []byte
	rate    int64
	devices []*testDevice
}

// testDevice is one device of a site.
type testDevice struct {
	*Device
	node *fabric.Node
	dir  string
	stop context.CancelFunc
	file *File
}

func newSite(t *testing.T, size int, rate int64) *site {
	s := &site{t: t, dir: t.TempDir(), rate: rate, content: make([]byte, size)}
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range s.content {
		s.content[i] = byte(r.Uint32())
	}
	if err := os.WriteFile(filepath.Join(s.dir, "origin.bin"), s.content, 0o644); err != nil {
		t.Fatal(err)
	}
	s.fabric = fabric.New(fabric.Config{Latency: 200 * time.Microsecond, Seed: 1})
	return s
}

// join adds a device that takes part until the test ends.
func (s *site) join() *testDevice {
	src, err := origin.New(origin.Config{LimitRate: s.rate})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.joinFrom(src)
}

// joinFrom adds a device with another origin.
func (s *site) joinFrom(src Downloader) *testDevice {
	n := len(s.devices) + 1
	node := s.fabric.Join(netip.AddrFrom4([4]byte{10, 77, 0, byte(n)}))
	d := &testDevice{node: node, dir: filepath.Join(s.dir, fmt.Sprint("device", n))}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	var err error
	d.Device, err = NewDevice(Config{ID: uint64(n), Net: node, Origin: src, Protocol: pdp.LAN()})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	d.stop = cancel
	go func() { _ = d.Run(ctx) }()
	s.devices = append(s.devices, d)
	return d
}

func (s *site) spec(d *testDevice, signed bool) Spec {
	sp := Spec{
		Name: "app.bin", Sources: []*url.URL{{Scheme: "file", Path: filepath.Join(s.dir, "origin.bin")}},
		Target: filepath.Join(d.dir, "app.bin"), Size: load.UnknownSize, Digest: slot.Expect(load.DigestOf(s.content)),
	}
	if signed {
		c, err := load.Describe(sp.Name, bytes.NewReader(s.content), int64(len(s.content)))
		if err != nil {
			s.t.Fatal(err)
		}
		sp.Size, sp.Table = c.Size, c.Table
	}
	return sp
}

// fetch begins the file on a device.
func (s *site) fetch(d *testDevice, signed bool) {
	f, err := d.Fetch(s.spec(d, signed))
	if err != nil {
		s.t.Fatal(err)
	}
	d.file = f
}

// finish waits for a device, commits, and compares the bytes.
func (s *site) finish(d *testDevice) *report.Final {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	if err := d.file.Wait(ctx); err != nil {
		s.t.Fatalf("device %v: %v", d.node.Addr(), err)
	}
	if err := d.file.Commit(); err != nil {
		s.t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(d.dir, "app.bin"))
	if err != nil || !bytes.Equal(got, s.content) {
		s.t.Fatalf("device %v: committed other bytes (%v)", d.node.Addr(), err)
	}
	return d.file.Final()
}

// end lets every device go, so that nothing runs when the bubble ends: it is for
// sites in bubbles only, where its wait takes no time.
func (s *site) end() {
	for _, d := range s.devices {
		if d.file != nil {
			_ = d.file.Close()
		}
		d.stop()
		<-d.done
		_ = d.node.Close()
	}
	time.Sleep(2 * lastFramesTimeout) // links whose last frames go to a device that is gone
}

// A site of eight devices downloads once; all commit the same bytes, and the
// reports add up.
func TestSiteDownloadsOnce(t *testing.T) {
	for _, signed := range []bool{true, false} {
		t.Run(fmt.Sprint("signed=", signed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 3<<20+17, 2<<20)
				defer s.end()
				for range 8 {
					s.join()
				}
				for _, d := range s.devices {
					s.fetch(d, signed)
				}
				var origin, peers, roots int64
				for _, d := range s.devices {
					f := s.finish(d)
					origin += f.BytesFromOrigin
					peers += f.BytesFromPeers
					roots += int64(f.Elections)
					if f.SHA256 != load.DigestOf(s.content).String() {
						t.Errorf("report tells sha256 %s", f.SHA256)
					}
				}
				if size := int64(len(s.content)); origin != size || peers != 7*size || roots != 1 {
					t.Errorf("%d bytes from the origin, %d from peers, %d roots; the file has %d", origin, peers, roots, size)
				}
			})
		})
	}
}

// When the root dies in mid-transfer another goes on where it stood.
func TestRootDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 4<<20, 2<<20)
		defer s.end()
		for range 6 {
			s.join()
		}
		for _, d := range s.devices {
			s.fetch(d, true)
		}
		time.Sleep(time.Second)
		var dead *testDevice
		for _, d := range s.devices {
			if d.file.Final().Role == report.RoleRoot {
				dead = d
			}
		}
		if dead == nil {
			t.Fatal("no root after a second")
		}
		s.fabric.Kill(dead.node)
		dead.stop()
		origin := dead.file.Final().BytesFromOrigin
		for _, d := range s.devices {
			if d != dead {
				origin += s.finish(d).BytesFromOrigin
			}
		}
		if most := int64(len(s.content)) * 115 / 100; origin > most {
			t.Errorf("%d bytes from the origin, at most %d expected", origin, most)
		}
	})
}

// A device that comes when all others are done takes nothing from the origin.
func TestLateDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1<<20, 0)
		defer s.end()
		for range 3 {
			s.fetch(s.join(), true)
		}
		for _, d := range s.devices {
			s.finish(d)
		}
		time.Sleep(time.Minute)
		late := s.join()
		s.fetch(late, true)
		if f := s.finish(late); f.BytesFromOrigin != 0 || f.Source != report.SourcePeer {
			t.Errorf("the late device took %d bytes from the origin, source %s", f.BytesFromOrigin, f.Source)
		}
	})
}

// A device that holds the file already needs nobody, and serves others.
func TestHeldFileIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1<<20, 0)
		defer s.end()
		a, b := s.join(), s.join()
		if err := os.WriteFile(filepath.Join(a.dir, "app.bin"), s.content, 0o644); err != nil {
			t.Fatal(err)
		}
		s.fetch(a, true)
		if f := s.finish(a); f.Source != report.SourceCache || f.BytesFromOrigin+f.BytesFromPeers != 0 {
			t.Errorf("a held file came from %s", f.Source)
		}
		s.fetch(b, true)
		if f := s.finish(b); f.BytesFromOrigin != 0 {
			t.Errorf("%d bytes from the origin though a neighbour holds the file", f.BytesFromOrigin)
		}
	})
}

// An interrupted download continues where it stood.
func TestRestartContinues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 4<<20, 1<<20)
		defer s.end()
		d := s.join()
		s.fetch(d, true)
		time.Sleep(2 * time.Second)
		if err := d.file.Close(); err != nil {
			t.Fatal(err)
		}
		before := d.file.Final().BytesFromOrigin
		s.fetch(d, true)
		f := s.finish(d)
		if f.BytesFromCache == 0 || f.BytesFromCache+f.BytesFromOrigin != int64(len(s.content)) {
			t.Errorf("%d bytes before the restart; then %d held and %d fetched of %d", before, f.BytesFromCache,
				f.BytesFromOrigin, len(s.content))
		}
	})
}

// A file whose digest is another one is not committed.
func TestWrongDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 200_000, 0)
		defer s.end()
		d := s.join()
		spec := s.spec(d, false)
		spec.Digest = slot.Expect(load.DigestOf([]byte("another file")))
		f, err := d.Fetch(spec)
		if err != nil {
			t.Fatal(err)
		}
		d.file = f
		err = f.Wait(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Reason != wire.ReasonOriginWrong {
			t.Fatalf("a wrong file ended with %v", err)
		}
		if _, err := os.Stat(spec.Target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the wrong file got its name: %v", err)
		}
	})
}

// TestChanged: whoever follows a file by its changes has read every chunk before it
// is complete, and is woken when it is.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 5<<20+17, 1<<20)
		d := s.join()
		s.fetch(d, true)
		var got []byte
		waits, i := 0, 0
		for {
			next := d.file.Changed()
			part := d.file.Partial()
			for ; i < part.Geometry().Chunks() && part.Has(i); i++ {
				b, err := part.ReadChunk(i, nil)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, b...)
			}
			complete, err := d.file.Ended()
			if err != nil {
				t.Fatal(err)
			}
			if complete {
				break
			}
			waits++
			<-next
		}
		if !bytes.Equal(got, s.content) || waits < 10 {
			t.Errorf("%d bytes after %d waits", len(got), waits)
		}
		s.finish(d)
		s.end()
	})
}
