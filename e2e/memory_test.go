package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
)

// endless is a file of any size that needs no room: 1 MiB of chance over and
// over, each with its number in front.
type endless struct {
	block []byte
	size  int64
}

// ReadAt implements io.ReaderAt.
func (e endless) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) && off < e.size {
		i, at := off/mib, off%mib
		head := fmt.Appendf(nil, "%016d", i)
		src := e.block[at:]
		if at < int64(len(head)) {
			src = head[at:]
		}
		m := copy(b[n:], src[:min(int64(len(src)), e.size-off)])
		n += m
		off += int64(m)
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

var peakLine = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peak is the largest resident set of a running process, in bytes.
func (d *device) peak() int64 {
	d.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		d.t.Skip(err)
	}
	m := peakLine.FindSubmatch(b)
	if m == nil {
		d.t.Fatalf("no VmHWM in %s", b)
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// TestMemory: what a root, a parent and a leaf take does not grow with the
// file. Measured without the race detector, which multiplies memory.
func TestMemory(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	peaks := map[int64]int64{}
	sizes := []int64{5 * mib, 500 * mib}
	for _, size := range sizes {
		file := endless{block: content(21, mib), size: size}
		sum := sha256.New()
		if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
			t.Fatal(err)
		}
		srv := newServer(t, nil)
		big := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"big"`)
			http.ServeContent(w, r, "app.bin", time.Time{}, io.NewSectionReader(file, 0, size))
		})
		srv.set(func(s *server) { s.handler = big })
		s := newSite(t)
		s.bin = peerloadPlain
		digest := hex.EncodeToString(sum.Sum(nil))
		ds := s.start(2, srv.url(), "--sha256", digest, "--linger", "30s")
		for _, d := range ds {
			f := d.done()
			p := d.peak()
			peaks[size] = max(peaks[size], p)
			t.Logf("%d MiB as %s: peak %.1f MiB resident, aim 24; %.2f s", size/mib, f.Role, float64(p)/mib, f.ElapsedS)
			if p > 40*mib {
				t.Errorf("%s takes %d bytes", f.Role, p)
			}
		}
		for _, d := range ds {
			d.signal(syscall.SIGKILL)
		}
	}
	if peaks[sizes[1]] > peaks[sizes[0]]+16*mib {
		t.Errorf("the peak grows with the file: %v", peaks)
	}
}

// TestSmallProgram: text/template keeps the linker from leaving out methods
// that nobody calls, which costs a device 2 MB of its flash.
func TestSmallProgram(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("go", "tool", "nm", peerloadPlain).Output()
	if err != nil || len(b) == 0 {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("text/template.(*Template).Execute")) {
		t.Error("the program contains text/template")
	}
}
