package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/testkit/faultdisk"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// fetchOn fetches the site's file on a disk of its own to /d/app.bin.
func (s *site) fetchOn(d *testDevice, disk *faultdisk.Disk) error {
	d.cfg.Files = disk
	spec := s.spec(d, true)
	spec.Target = "/d/app.bin"
	f, err := d.Fetch(spec)
	if err != nil {
		return err
	}
	d.file = f
	if err = f.Wait(s.t.Context()); err == nil {
		err = f.Commit()
	}
	return err
}

// diskContent reads a file of a disk, nil if it is not there.
func diskContent(disk *faultdisk.Disk, name string) []byte {
	f, err := disk.OpenFile(name, 0, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, _ := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	return b
}

func emptyDisk(t *testing.T) *faultdisk.Disk {
	t.Helper()
	disk := faultdisk.New(1)
	if err := errors.Join(disk.Mkdir("/d", 0o755), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return disk
}

// TestFailingDisk lets each operation on the disk fail, while the bytes come
// from the origin and while they come from a parent: the file does not come, the
// disk is named as the reason, and the next try continues. A name that is there
// is that of the right bytes.
func TestFailingDisk(t *testing.T) {
	for source, parent := range map[string]bool{report.SourceOrigin: false, report.SourcePeer: true} {
		t.Run(source, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 200_000, 0)
				defer s.end()
				first, whole := s.join(), emptyDisk(t)
				begun := whole.Ops()
				if err := s.fetchOn(first, whole); err != nil {
					t.Fatal(err)
				}
				if !parent {
					_ = first.file.Close()
				}
				for n := begun + 1; n <= whole.Ops(); n++ {
					s.failAt(n, source)
				}
			})
		})
	}
}

// failAt lets a device fetch the file whose disk fails at an operation, and then
// once more.
func (s *site) failAt(n int, source string) {
	d, disk := s.join(), emptyDisk(s.t)
	disk.FailAt(n, syscall.EIO)
	err := s.fetchOn(d, disk)
	op := disk.Log()[n-1]
	var e *Error
	if !errors.Is(err, syscall.EIO) || errors.As(err, &e) && e.Reason != wire.ReasonDisk {
		s.t.Errorf("%q fails: %v", op, err)
	}
	if got := diskContent(disk, "/d/app.bin"); got != nil && !bytes.Equal(got, s.content) {
		s.t.Errorf("%q fails: %d wrong bytes have the name", op, len(got))
	}
	if d.file != nil {
		_ = d.file.Close()
	}
	if err := s.fetchOn(d, disk); err != nil || !bytes.Equal(diskContent(disk, "/d/app.bin"), s.content) {
		s.t.Errorf("after %q failed, the next try: %v", op, err)
	}
	if f := d.file.Final(); f.Source != source && f.Source != report.SourceCache {
		s.t.Errorf("after %q failed the bytes came from %s, not %s", op, f.Source, source)
	}
	_ = d.file.Close()
}

// rotting is an origin that lets a byte on the disk rot once, when the file is
// nearly whole.
type rotting struct {
	Downloader
	disk   *faultdisk.Disk
	rotten bool
}

func (o *rotting) Open(ctx context.Context, r origin.Request) (*origin.Body, error) {
	b, err := o.Downloader.Open(ctx, r)
	if err == nil && !o.rotten {
		o.rotten = true
		rot := func() { _ = o.disk.Rot("/d/.app.bin.part", 7) }
		b.ReadCloser = &rottingBody{ReadCloser: b.ReadCloser, left: 150_000, rot: rot}
	}
	return b, err
}

type rottingBody struct {
	io.ReadCloser
	left int
	rot  func()
}

func (b *rottingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left <= 0 && b.rot != nil {
		b.rot()
		b.rot = nil
	}
	return n, err
}

// TestLyingDisk: what the disk returns otherwise than it was written is fetched
// again.
func TestLyingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 200_000, 0)
		defer s.end()
		d, disk := s.join(), emptyDisk(t)
		d.cfg.Origin = &rotting{Downloader: d.cfg.Origin, disk: disk}
		if err := s.fetchOn(d, disk); err != nil || !bytes.Equal(diskContent(disk, "/d/app.bin"), s.content) {
			t.Errorf("%v, %d bytes", err, len(diskContent(disk, "/d/app.bin")))
		}
		if f := d.file.Final(); f.BytesFromOrigin <= int64(len(s.content)) {
			t.Errorf("%d bytes from the origin: nothing was fetched again", f.BytesFromOrigin)
		}
	})
}

// TestFramesOfTheWrongSide: a child sends no chunks and no table, and nobody
// sends a chunk that is larger than the file's: the link ends.
func TestFramesOfTheWrongSide(t *testing.T) {
	chunk := func(n int) []byte {
		return append(wire.ChunkFrameHeader(1, n, true), make([]byte, n)...)
	}
	table := wire.AppendFrame(nil, &wire.TablePart{Total: 1, Digests: make([]load.Digest, 1)})
	for _, c := range []struct {
		name   string
		link   pdp.Link
		frame  []byte
		stored bool
		ends   bool
	}{
		{"a parent's chunk", -99, chunk(load.MinChunkSize), true, false},
		{"a parent's chunk that is too large", -99, chunk(load.MinChunkSize + 1), false, true},
		{"a child's chunk", 99, chunk(load.MinChunkSize), false, true},
		{"a child's table", 99, table, false, false},
		{"what is no frame", -99, bytes.Repeat([]byte{0xff}, 10), false, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, 300_000, 1)
			d := s.join()
			s.fetch(d, false)
			j := d.file.j
			near, far := net.Pipe()
			l := &link{id: c.link, job: j, conn: near, dropped: make(chan struct{})}
			d.call(func(time.Duration) { j.links[l.id] = l })
			go l.read()
			_ = far.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = far.Write(c.frame)
			synctest.Wait()
			part, _ := j.content()
			if part.Has(1) != c.stored {
				t.Errorf("%s: stored is %v", c.name, part.Has(1))
			}
			_ = far.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := far.Read(make([]byte, 1)); errors.Is(err, io.EOF) != c.ends {
				t.Errorf("%s: the link ends with %v", c.name, err)
			}
			_ = near.Close()
			_ = far.Close()
			d.stop()
			synctest.Wait()
		})
	}
}

// scripted is an origin that answers each request with such a body.
type scripted struct {
	offset, size int64
	content      string
}

func (o *scripted) Prepare(context.Context, *url.URL) error { return nil }

func (o *scripted) Open(context.Context, origin.Request) (*origin.Body, error) {
	r := io.NopCloser(strings.NewReader(o.content))
	return &origin.Body{ReadCloser: r, Offset: o.offset, Size: o.size, Validator: `"v"`}, nil
}

// TestSenselessBodies: a body that begins where nobody asked it to, ends too
// early or is of another content brings no file.
func TestSenselessBodies(t *testing.T) {
	for name, c := range map[string]struct {
		origin scripted
		why    wire.Reason // none: it comes
	}{
		"right":           {scripted{0, 10, "0123456789"}, wire.ReasonNone},
		"without a size":  {scripted{0, load.UnknownSize, "0123456789"}, wire.ReasonNone},
		"begins within":   {scripted{5, 10, "56789"}, wire.ReasonOriginOther},
		"ends too early":  {scripted{0, 10, "01234"}, wire.ReasonOriginTruncated},
		"another content": {scripted{0, 10, "0123456780"}, wire.ReasonOriginWrong},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, 10, 0)
				defer s.end()
				s.content = []byte("0123456789")
				d := s.join()
				d.cfg.Origin = &c.origin
				s.fetch(d, false)
				err := d.file.Wait(t.Context())
				var e *Error
				comes := c.why == wire.ReasonNone
				if comes && err != nil || !comes && (!errors.As(err, &e) || e.Reason != c.why) {
					t.Errorf("ended with %v, want %v", err, c.why)
				}
			})
		})
	}
}

// TestTwice: one device fetches one content once at a time, and keeps nothing of a second try
// from others.
func TestTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 300_000, 1)
		d := s.join()
		s.fetch(d, false)
		spec := s.spec(d, false)
		spec.Target += ".other"
		if f, err := d.Fetch(spec); !errors.Is(err, ErrTwice) || f != nil {
			t.Errorf("%v, %v", f, err)
		}
		p, err := slot.OpenPartial(d.cfg.Files, spec.Target, slot.Spec{Key: spec.key(), Digest: spec.Digest}, d.cfg.Slot)
		if err != nil {
			t.Fatalf("another program cannot have it: %v", err)
		}
		p.Close()
		d.stop()
		synctest.Wait()
	})
}

// TestReadAllIsBounded: a small file is read into memory only if it is one.
func TestReadAllIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 100, 0)
		defer s.end()
		d := s.join()
		s.fetch(d, false)
		s.finish(d)
		if b, err := d.file.ReadAll(100); err != nil || !bytes.Equal(b, s.content) {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		if b, err := d.file.ReadAll(99); err == nil {
			t.Errorf("%d bytes where 99 were the most", len(b))
		}
	})
}

// TestConfig: what a device cannot work without is refused.
func TestConfig(t *testing.T) {
	good := Config{ID: 1, Net: NoPeers{}, Origin: &scripted{}, Protocol: pdp.LAN()}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *Config){
		"ID": func(c *Config) { c.ID = 0 }, "Net": func(c *Config) { c.Net = nil },
		"Origin": func(c *Config) { c.Origin = nil }, "SendRate": func(c *Config) { c.SendRate = -1 },
		"Slot": func(c *Config) { c.Slot.Window = -1 }, "Protocol": func(c *Config) { c.Protocol = pdp.Config{} },
	} {
		c := good
		change(&c)
		if _, err := NewDevice(c); err == nil {
			t.Errorf("a device without its %s", name)
		}
	}
}

// TestTheirTable: parts of a table that do not follow on each other make none.
func TestTheirTable(t *testing.T) {
	part := func(first, total, n int) *wire.TablePart {
		return &wire.TablePart{First: first, Total: total, Digests: make([]load.Digest, n)}
	}
	var table theirTable
	for i, x := range []struct {
		p     *wire.TablePart
		whole bool
		held  int
	}{
		{part(1, 3, 1), false, 0}, {part(0, 3, 2), false, 2}, {part(1, 3, 1), false, 2}, {part(3, 4, 1), false, 2},
		{part(2, 3, 1), true, 3}, {part(3, 3, 0), true, 3}, {part(0, 3, 2), false, 2},
	} {
		if whole := table.add(x.p); whole != x.whole || len(table.digests) != x.held {
			t.Errorf("part %d: whole %v, %d digests", i, whole, len(table.digests))
		}
	}
}
