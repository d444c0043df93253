package fileserver

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/tftp"
)

// tftpServer is the TFTP side of a Server.
type tftpServer struct {
	addr   net.Addr
	cancel context.CancelFunc
	done   chan error
}

// ServeTFTP serves the directory over TFTP too, on pc. A shaper, if not nil,
// gives the rate; TFTP has a bucket of its own, so a WAN that both protocols use
// at one time is twice as wide.
func (s *Server) ServeTFTP(pc *net.UDPConn, wan *site.Shaper) error {
	server := &tftp.Server{Files: &countedFiles{files: tftp.Dir(s.root), tally: s.Tally}, MaxTransfers: site.MaxDevices}
	if wan != nil {
		server.Rate = int64(wan.Rate() / 8)
	}
	if err := server.Validate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.tftp = &tftpServer{addr: pc.LocalAddr(), cancel: cancel, done: make(chan error, 1)}
	go func() { s.tftp.done <- server.Serve(ctx, pc) }()
	return nil
}

// TFTPURL returns the TFTP address of a file of the directory.
func (s *Server) TFTPURL(name string) string {
	return "tftp://" + s.tftp.addr.String() + "/" + name
}

func (t *tftpServer) close() error {
	t.cancel()
	return <-t.done
}

// countedFiles counts what TFTP transfers read: every byte of a transfer once,
// though the server reads again what it sends again. A transfer that breaks
// off counts up to a window too much.
type countedFiles struct {
	files tftp.Opener
	tally *Tally
}

func (c *countedFiles) Open(name string, client netip.AddrPort) (tftp.File, error) {
	f, err := c.files.Open(name, client)
	if err != nil {
		return nil, err
	}
	a := client.Addr().Unmap()
	c.tally.request(a)
	return &countedFile{File: f, tally: c.tally, addr: a}, nil
}

type countedFile struct {
	tftp.File
	tally *Tally
	addr  netip.Addr

	mu   sync.Mutex
	from bool  // next is set
	next int64 // the first byte not counted yet
}

func (f *countedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.from {
		f.from, f.next = true, off
	}
	if end := off + int64(n); end > f.next {
		f.tally.sent(f.addr, end-f.next)
		f.next = end
	}
	return n, err
}
