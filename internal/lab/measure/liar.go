package measure

import (
	"context"
	"net/netip"
	"os"

	"github.com/peerload/peerload/internal/lab/liars"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/liar"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/transfer"
	"github.com/peerload/peerload/pdp/wire"
)

// startLiar starts the liar, which knows the file and lies about it.
func (m *measurement) startLiar(ctx context.Context) error {
	sum, err := load.ParseDigest(m.sum)
	if err != nil {
		return err
	}
	size := int64(m.cfg.Size)
	file := liar.File{Hierarchy: wire.HierarchyOf("", sum[:]), Size: size,
		Chunks: load.Geometry{Size: size}.Chunks(), Trees: wire.MaxStripes}
	if file.Chunks < transfer.LAN().StripeChunks {
		file.Trees = 1
	}
	content, err := os.Open(m.public())
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { content.Close() })
	hosts := make([]site.Host, m.cfg.Liar.Faces)
	for i := range hosts {
		hosts[i] = m.site.Host(m.cfg.liarsFrom() + i)
	}
	m.liar, err = liars.Start(ctx, liars.Config{
		Program: *m.cfg.Liar, Seed: m.cfg.LiarSeed, Hosts: hosts, File: file, Content: content,
		Broadcast: netip.AddrPortFrom(site.BroadcastOf(hosts[0].Addr), site.PeerPort),
	})
	return err
}
