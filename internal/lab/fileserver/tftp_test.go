package fileserver

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/tftp"
)

func TestTFTPWAN(t *testing.T) {
	const wan = 8 * units.Mbit
	s := onLoopback(t, wan)
	dir := t.TempDir()
	want := bytes.Repeat([]byte("0123456789abcdef"), 500_000/16)
	if err := os.WriteFile(filepath.Join(dir, "f"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	srv, err := Serve(ln, dir, s.Shaper())
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	pc, err := s.ListenUDP()
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.ServeTFTP(pc, s.Shaper()); err != nil {
		t.Fatal(err)
	}
	host := s.Host(0)
	client := &tftp.Client{LocalAddr: host.Addr}
	start := time.Now()
	r, err := client.Get(context.Background(), pc.LocalAddr().String(), "f", 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	r.Close()
	if f := wan.Time(int64(len(want))).Seconds() / time.Since(start).Seconds(); f < 0.8 || f > 1.1 {
		t.Errorf("%.3f of the rate", f)
	}
	if n := srv.Tally.Bytes(host.Addr); n != int64(len(want)) {
		t.Errorf("%d payload bytes counted, want %d", n, len(want))
	}
}
