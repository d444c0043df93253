package engine

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/wire"
)

// TestChunkOfAnEarlierContent: what a parent sent before the content was begun
// anew, and its reader still has in hand, does not become part of it. Found by
// a peer that sent wrong bytes: one of them outlived the dropping of all.
func TestChunkOfAnEarlierContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 300_000, 1)
		d := s.join()
		s.fetch(d, false)
		j := d.file.j
		l := &link{id: -99, job: j}
		took := func() bool {
			l.chunk(&wire.Chunk{Index: 1, Bytes: make([]byte, load.MinChunkSize)})
			part, _ := j.content()
			return part.Has(1)
		}
		if !took() {
			t.Fatal("a chunk of a parent is not stored at all")
		}
		d.call(func(time.Duration) { j.reset(pdp.Reset{Size: load.UnknownSize}) })
		if took() {
			t.Error("a chunk of the earlier content is in the new one")
		}
		d.stop()
		synctest.Wait()
	})
}

// Links that say nothing replace each other and nobody else: one that
// says hello is answered at once.
func TestSilentLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, 1<<20, 1<<20)
		defer s.end()
		d := s.join()
		s.fetch(d, true)
		stranger := s.fabric.Join(netip.MustParseAddr("10.77.0.200"))
		defer stranger.Close()
		to := netip.AddrPortFrom(d.node.Addr().Addr(), d.node.TCPPort())
		var silent []net.Conn
		for range 5 * maxPending {
			c, err := stranger.Dial(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// A frame of the largest size that never comes.
			_, _ = c.Write([]byte{0, 1, 0, 1, 4})
			silent = append(silent, c)
		}
		c, err := stranger.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		hello := &wire.Hello{Hierarchy: d.file.j.spec.Hierarchy(), From: wire.Peer{ID: 200, Nonce: 1}}
		_, _ = c.Write(wire.AppendFrame(nil, hello))
		if f, err := wire.ReadFrame(c, func(int) []byte { return nil }); err != nil ||
			time.Since(began) > 50*time.Millisecond {
			t.Errorf("a hello among silent links is answered with %v, %v after %v", f, err, time.Since(began))
		}
		open := 0
		for _, c := range silent {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
				open++
			}
		}
		if open > maxPending {
			t.Errorf("%d silent links are held, at most %d should be", open, maxPending)
		}
	})
}
