// Package liars plays the programs of package liar on hosts of a site, with real sockets.
//
// What lives here: the sockets and links of a liar, and the loop that its faces run in.
// What must not: what they do (package liar), and which of them are worth a run. Read
// first: Start here, then link.go.
package liars

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// Config describes a liar.
type Config struct {
	// Program is what it does. Required.
	Program liar.Program
	// Seed is what its faces draw from.
	Seed uint64
	// Hosts are those of its faces, as many as Program.Faces. Required.
	Hosts []site.Host
	// Broadcast is where the devices of the subnet hear each other. Required.
	Broadcast netip.AddrPort
	// File is the file that it lies about. Required.
	File liar.File
	// Content is what is in the file. Required.
	Content io.ReaderAt
}

// Validate refuses what cannot be played.
func (c Config) Validate() error {
	switch {
	case c.Program.Faces < 1 || len(c.Hosts) != c.Program.Faces:
		return fmt.Errorf("a liar of %d faces has %d hosts", c.Program.Faces, len(c.Hosts))
	case !c.Broadcast.IsValid() || c.Content == nil || c.File.Size < 0:
		return errors.New("a liar needs a subnet and a file")
	}
	return nil
}

// Liar is a liar at work. Use Start.
type Liar struct {
	cfg   Config
	geo   load.Geometry
	began time.Time
	ctx   context.Context //nolint:containedctx // of its life
	end   context.CancelFunc
	wg    sync.WaitGroup
	in    chan happening
	faces []*face
}

// happening is an event of a face, in the order in which they came.
type happening struct {
	face  *face
	event pdp.Event
	link  *link // that is new with it, nil if none
}

// mostWaiting bounds the events that wait for the loop.
const mostWaiting = 1024

// Start starts a liar. Close ends it.
func Start(ctx context.Context, cfg Config) (l *Liar, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l = &Liar{cfg: cfg, geo: load.Geometry{Size: cfg.File.Size}, began: time.Now(), in: make(chan happening, mostWaiting)}
	l.ctx, l.end = context.WithCancel(ctx)
	mind := liar.NewMind(cfg.Program)
	rnd := rand.New(rand.NewPCG(cfg.Seed, 0x6c696172))
	for i, h := range cfg.Hosts {
		f := &face{liar: l, host: h, links: map[pdp.Link]*link{}, wrong: map[int]bool{},
			self: wire.Peer{ID: rnd.Uint64() | 1<<63, Nonce: rnd.Uint32() | 1}}
		l.faces = append(l.faces, f)
		if err := f.listen(); err != nil {
			l.Close()
			return nil, fmt.Errorf("a liar at %s: %w", h.Addr, err)
		}
		f.plays = mind.Face(i, f, rand.New(rand.NewPCG(rnd.Uint64(), rnd.Uint64())), cfg.Program.From)
	}
	l.wg.Go(l.run)
	return l, nil
}

// Close ends the liar and its links.
func (l *Liar) Close() {
	l.end()
	for _, f := range l.faces {
		f.close()
	}
	l.wg.Wait()
}

// tell passes an event to the loop, unless that has ended.
func (l *Liar) tell(h happening) {
	select {
	case l.in <- h:
	case <-l.ctx.Done():
	}
}

// run plays the faces, one event after the other: what they know they know in common.
func (l *Liar) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-timer.C:
			for _, f := range l.faces {
				f.step(nil)
			}
		case h := <-l.in:
			if h.link != nil {
				h.face.links[h.link.id] = h.link
			}
			h.face.step(h.event)
		}
		next := time.Second
		for _, f := range l.faces {
			if at, ok := f.plays.Deadline(); ok {
				next = min(next, at-time.Since(l.began))
			}
		}
		timer.Reset(max(next, time.Millisecond))
	}
}

// face is one address of the liar. The loop alone uses what is not of its sockets.
type face struct {
	liar  *Liar
	host  site.Host
	self  wire.Peer
	plays *liar.Face
	udp   *net.UDPConn // receives, and sends
	heard *net.UDPConn // receives broadcasts
	tcp   net.Listener
	links map[pdp.Link]*link
	wrong map[int]bool // the chunks that are sent with wrong bytes
}

// listen opens the sockets: one belongs to the host on whose thread it is made.
func (f *face) listen() error {
	port := f.liar.cfg.Broadcast.Port()
	err := f.host.Run(func() (err error) {
		if f.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.host.Addr, port))); err != nil {
			return err
		}
		if f.heard, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(f.liar.cfg.Broadcast)); err != nil {
			return err
		}
		f.tcp, err = net.Listen("tcp4", netip.AddrPortFrom(f.host.Addr, port).String())
		return err
	})
	if err != nil {
		return err
	}
	f.liar.wg.Go(func() { f.hear(f.udp) })
	f.liar.wg.Go(func() { f.hear(f.heard) })
	f.liar.wg.Go(f.accept)
	return nil
}

func (f *face) close() {
	for _, c := range []*net.UDPConn{f.udp, f.heard} {
		if c != nil {
			c.Close()
		}
	}
	if f.tcp != nil {
		f.tcp.Close()
	}
}

// hear passes on what is said of the file.
func (f *face) hear(c *net.UDPConn) {
	b := make([]byte, wire.MaxDatagram+1)
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		e, m, err := wire.Unmarshal(b[:n])
		if err != nil || e.From == f.self || e.Hierarchy != f.liar.cfg.File.Hierarchy {
			continue
		}
		f.liar.tell(happening{face: f, event: pdp.Datagram{
			From: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), Env: e, Msg: m}})
	}
}

// step lets the face play, from its beginning on, and does what it says.
func (f *face) step(e pdp.Event) {
	now := time.Since(f.liar.began)
	if closed, ok := e.(pdp.Closed); ok {
		if l := f.links[closed.Link]; l != nil {
			l.close()
			delete(f.links, closed.Link)
		}
	}
	if now < f.liar.cfg.Program.From {
		return
	}
	for _, a := range f.plays.Step(now, e, nil) {
		switch a := a.(type) {
		case pdp.Dial:
			f.dial(a)
		case pdp.SendFrame:
			f.links[a.Link].send(wire.AppendFrame(nil, a.Frame), false)
		case pdp.SendChunk:
			f.links[a.Link].send(f.chunk(a.Index), true)
		case pdp.SendTable:
			f.sendTable(f.links[a.Link])
		case pdp.Close:
			if l := f.links[a.Link]; l != nil {
				l.endSoon()
			}
		}
	}
}

// chunk returns the frame of a chunk, with right or wrong bytes.
func (f *face) chunk(i int) []byte {
	off, n := f.liar.geo.Span(i)
	head := wire.ChunkFrameHeader(i, n, false)
	b := append(head, make([]byte, n)...)
	body := b[len(head):]
	if _, err := f.liar.cfg.Content.ReadAt(body, off); err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	if f.wrong[i] {
		for k := range body {
			body[k] ^= 0x55
		}
	}
	return b
}

// sendTable sends the digests of the chunks as the face has them.
func (f *face) sendTable(l *link) {
	n := f.liar.geo.Chunks()
	for first := 0; first < n; first += wire.MaxTablePart {
		end := min(first+wire.MaxTablePart, n)
		part := &wire.TablePart{First: first, Total: n}
		for i := first; i < end; i++ {
			b := f.chunk(i)
			part.Digests = append(part.Digests, load.DigestOf(b[len(wire.ChunkFrameHeader(i, 0, false)):]))
		}
		l.send(wire.AppendFrame(nil, part), false)
	}
}

// Self returns the name of the face, and the address that it has.
func (f *face) Self() (wire.Peer, netip.Addr) { return f.self, f.host.Addr }

// File returns the file that the liar lies about.
func (f *face) File() liar.File { return f.liar.cfg.File }

// Tell sends a datagram.
func (f *face) Tell(e wire.Envelope, to netip.AddrPort, m wire.Message) {
	if !to.IsValid() {
		to = f.liar.cfg.Broadcast
	}
	_, _ = f.udp.WriteToUDPAddrPort(wire.Marshal(e, m), to) // what is lost is lost
}

// Links returns the links in their order.
func (f *face) Links() []pdp.Link {
	return slices.Sorted(maps.Keys(f.links))
}

// Busy reports whether two chunks wait on a link.
func (f *face) Busy(l pdp.Link) bool { return f.links[l] == nil || f.links[l].chunks.Load() >= 2 }

// Hold notes whether a chunk is sent with wrong bytes.
func (f *face) Hold(index int, isWrong bool) { f.wrong[index] = isWrong }
