package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// falseSize is a TFTP server that sends files and tells other sizes of them.
type falseSize struct {
	file func(name string) []byte // nil: there is none
	told func(size int) int
	// honest is how many requests it answers without a size at first.
	honest int
	pause  time.Duration // after each block
	conn   *net.UDPConn
	asked  atomic.Int32
	sent   atomic.Int64
}

func (s *falseSize) serve(t *testing.T) (host string) {
	t.Helper()
	var err error
	if s.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 9, 0, 4)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := s.conn.ReadFromUDP(b)
			if err != nil {
				return
			}
			if n > 2 && b[1] == 1 {
				go s.send(from, bytes.Split(bytes.Clone(b[2:n]), []byte{0}))
			}
		}
	}()
	return s.conn.LocalAddr().String()
}

// send answers a request: file, mode, then names of options and their values.
func (s *falseSize) send(to *net.UDPAddr, words [][]byte) {
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 9, 0, 4)}, to)
	if err != nil {
		return
	}
	defer conn.Close()
	body, block, oack := s.file(string(words[0])), 512, []byte{0, 6}
	if body == nil {
		_, _ = conn.Write([]byte("\x00\x05\x00\x01no\x00"))
		return
	}
	lie := int(s.asked.Add(1)) > s.honest
	for i := 2; i+1 < len(words); i += 2 {
		switch name := string(words[i]); {
		case name == "blksize":
			block, _ = strconv.Atoi(string(words[i+1]))
			oack = fmt.Appendf(oack, "blksize\x00%d\x00", block)
		case name == "tsize" && lie:
			oack = fmt.Appendf(oack, "tsize\x00%d\x00", s.told(len(body)))
		}
	}
	if len(oack) > 2 && !exchange(conn, oack, 0) {
		return
	}
	for n, at := 1, 0; at <= len(body); n, at = n+1, at+block {
		piece := body[at:min(at+block, len(body))]
		packet := append([]byte{0, 3, byte(n >> 8), byte(n)}, piece...)
		if !exchange(conn, packet, uint16(n)) {
			return
		}
		s.sent.Add(int64(len(piece)))
		if s.pause > 0 {
			<-time.After(s.pause)
		}
	}
}

// exchange sends a packet until its acknowledgement comes, and reports whether
// one did.
func exchange(conn *net.UDPConn, packet []byte, n uint16) bool {
	b := make([]byte, 512)
	for range 10 {
		if _, err := conn.Write(packet); err != nil {
			return false
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			m, err := conn.Read(b)
			if err != nil {
				break
			}
			if m >= 4 && b[1] == 5 {
				return false
			}
			if m >= 4 && b[1] == 4 && binary.BigEndian.Uint16(b[2:]) == n {
				return true
			}
		}
	}
	return false
}

// TestFalseSize: a server tells a size that its body does not have, and peers
// take it from the root. Each device ends with the file.
func TestFalseSize(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(21, 300_000)
	exact := content(22, 196*1024) // whole blocks, whole packets
	for _, c := range []struct {
		name   string
		body   []byte
		told   int
		honest int
		copies float64
	}{
		{"larger", body, 500_000, 0, 1.1},
		{"larger by less than a chunk", body, 300_001, 0, 1.1},
		{"smaller", body, 100_000, 0, 2.1},
		{"smaller by a byte", body, 299_999, 0, 2.1},
		{"of whole chunks", body, 2 << 16, 0, 2.1},
		{"one chunk more", exact, len(exact) + 1<<16, 0, 1.1},
		{"beyond the largest chunk of that size", body, 300 << 20, 0, 2.1},
		{"one byte, as tftpy tells of each file", body, 1, 0, 1.1},
		{"none", body, 0, 0, 1.1},
		{"of a small file, larger", body[:400], 1000, 0, 1.1},
		{"of a small file, smaller", body[:5000], 4000, 0, 2.1},
		{"right the first time", body, 500_000, 1, 1.1},
	} {
		for _, n := range []int{1, 3} {
			for _, how := range []string{"--sha256", "--unsigned"} {
				t.Run(fmt.Sprintf("%s, %d devices, %s", c.name, n, how), func(t *testing.T) {
					t.Parallel()
					srv := &falseSize{file: func(string) []byte { return c.body }, told: func(int) int { return c.told },
						honest: c.honest}
					if n > 1 {
						srv.pause = time.Millisecond
					}
					args := []string{"tftp://" + srv.serve(t) + "/app.bin", how}
					if how == "--sha256" {
						args = append(args, shaOf(c.body))
					}
					s := waitingSite(t) // for the end of a file that never comes
					ds := s.start(n, args...)
					for _, d := range ds {
						d.wait(0)
						d.holds(c.body)
					}
					copies := float64(srv.sent.Load()) / float64(len(c.body))
					t.Logf("%d requests, %.2f copies", srv.asked.Load(), copies)
					// A small file may be there before the devices have met.
					if how == "--sha256" && copies > c.copies && len(c.body) > 100_000 {
						t.Errorf("the server sent %.2f copies, bound %.1f", copies, c.copies)
					}
				})
			}
		}
	}
}

// TestFalseSizesOfALoad: where the sizes are signed, what the server tells of them
// does not count at all.
func TestFalseSizesOfALoad(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	v := newVendor(t, nil)
	files := firmware(45)
	v.add("1", files)
	for name, told := range map[string]func(int) int{
		"larger":  func(n int) int { return n + 70_000 },
		"smaller": func(n int) int { return n/2 + 1 },
		"empty":   func(int) int { return 0 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &falseSize{told: told, file: func(name string) []byte {
				b, err := os.ReadFile(filepath.Join(v.base, filepath.Clean("/"+name)))
				if err != nil {
					return nil
				}
				return b
			}}
			host, s := srv.serve(t), newSite(t)
			var ds []*device
			for i := range 2 {
				ds = append(ds, s.getLoad(v.trustDir(), i, "tftp://"+host+"/fw.load"))
			}
			for _, d := range ds {
				d.wait(0)
				inDir(t, d.out, files)
			}
			t.Logf("%d requests", srv.asked.Load())
		})
	}
}

// TestFalseSizeRootKilled: the root dies while all believe a false size, and the
// others find it out.
func TestFalseSizeRootKilled(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(23, mib)
	for name, told := range map[string]int{"larger": 3 * mib, "smaller": mib / 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := &falseSize{file: func(string) []byte { return body }, told: func(int) int { return told },
				pause: 2 * time.Millisecond}
			s := newSite(t)
			ds := s.start(3, "tftp://"+srv.serve(t)+"/app.bin", "--sha256", shaOf(body))
			root := s.rootOf(ds)
			root.until("a fifth", isProgress(20))
			root.signal(syscall.SIGKILL)
			for _, d := range ds {
				if d != root {
					d.wait(0)
					d.holds(body)
				}
			}
			t.Logf("%d requests, %.2f copies", srv.asked.Load(), float64(srv.sent.Load())/float64(len(body)))
		})
	}
}
