package peerload_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/peerload/peerload"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// Three devices want the same firmware at the same time; the server sends it
// once.
func ExampleFetch() {
	firmware := bytes.Repeat([]byte("firmware"), 64<<10)
	var sent atomic.Int64
	// The server keeps the second half back until two devices have a parent.
	placed := gathering{devices: map[int]bool{}, most: 2, complete: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		half := len(firmware) / 2
		w.Header().Set("Content-Length", strconv.Itoa(len(firmware)))
		n, _ := w.Write(firmware[:half])
		sent.Add(int64(n))
		_ = http.NewResponseController(w).Flush()
		select {
		case <-placed.complete:
			n, _ = w.Write(firmware[half:])
			sent.Add(int64(n))
		case <-r.Context().Done():
		}
	}))
	defer server.Close()

	dir, err := os.MkdirTemp("", "peerload-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	port, err := freePort()
	if err != nil {
		fmt.Println(err)
		return
	}
	var right atomic.Int32
	var devices sync.WaitGroup
	for i := range 3 {
		home := filepath.Join(dir, fmt.Sprint("device", i+1))
		devices.Go(func() {
			finals, err := peerload.Fetch(context.Background(), peerload.Request{
				URLs:   []string{server.URL + "/fw/app.bin"},
				Proof:  peerload.SHA256(sha256.Sum256(firmware)),
				Output: home + "/",
				State:  filepath.Join(home, "state"),
				// A real device finds its address, and the port is 4051.
				Peers: peerload.Peers{Address: netip.MustParsePrefix(fmt.Sprintf("127.51.7.%d/8", i+1)), Port: port},
				Events: func(e report.Event) {
					if e.Parent != "" {
						placed.come(i)
					}
				},
			})
			if err != nil {
				fmt.Println(err)
				return
			}
			if got, err := os.ReadFile(finals[0].Path); err == nil && bytes.Equal(got, firmware) {
				right.Add(1)
			}
		})
	}
	devices.Wait()
	fmt.Printf("%d devices have it, the server sent %d copy\n", right.Load(), sent.Load()/int64(len(firmware)))
	// Output: 3 devices have it, the server sent 1 copy
}

// gathering is complete when so many different devices have come.
type gathering struct {
	mu       sync.Mutex
	devices  map[int]bool
	most     int
	complete chan struct{}
}

func (g *gathering) come(device int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.devices[device] {
		return
	}
	g.devices[device] = true
	if len(g.devices) == g.most {
		close(g.complete)
	}
}

// freePort returns a port that no peer of this host uses.
func freePort() (uint16, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), nil
}

// The digest comes from wherever the program trusts, as text or as bytes.
func ExampleSHA256() {
	digest, err := load.ParseDigest("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(peerload.SHA256(digest) == peerload.SHA256(sha256.Sum256([]byte("test"))))
	// Output: true
}
