package fileserver

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/tftp"
)

func TestTFTPWAN(t *testing.T) {
	s := onLoopback(t, 8*units.Mbit)
	want := content(500_000)
	srv := serveFile(t, s, want)
	fetchTFTP(t, s, serveTFTP(t, s, srv), want)
	if n := srv.Tally.Bytes(s.Host(0).Addr); n != int64(len(want)) {
		t.Errorf("%d payload bytes counted, want %d", n, len(want))
	}
}

// serveTFTP lets a server of a loopback site speak TFTP, too.
func serveTFTP(t testing.TB, s *site.Loopback, srv *Server) net.Addr {
	t.Helper()
	pc, err := s.ListenUDP()
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.ServeTFTP(pc, s.Shaper()); err != nil {
		t.Fatal(err)
	}
	return pc.LocalAddr()
}

// fetchTFTP has the first device fetch the file.
func fetchTFTP(t testing.TB, s *site.Loopback, server net.Addr, want []byte) {
	t.Helper()
	client := &tftp.Client{LocalAddr: s.Host(0).Addr}
	r, err := client.Get(t.Context(), server.String(), "f", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}
