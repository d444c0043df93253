package origin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/load"
)

// wait is one read: how long it took, and how many bytes came.
type wait struct {
	took time.Duration
	n    int
}

// TestWaitBudget: what counts is the rate over the time, not a sign of life.
func TestWaitBudget(t *testing.T) {
	const most = 5 * time.Second
	for _, c := range []struct {
		name  string
		waits []wait // by turns
		ends  time.Duration
	}{
		{"nothing", []wait{{time.Second, 0}}, most},
		{"a byte a second", []wait{{time.Second, 1}}, 6 * time.Second},
		{"a byte just before the end", []wait{{most - time.Second, 1}}, 2 * (most - time.Second)},
		{"almost the least", []wait{{time.Second, LeastRate - 1}}, most * LeastRate},
		{"the least", []wait{{time.Second, LeastRate}}, 0},
		{"the least at once, and a pause", []wait{{0, 4 * LeastRate}, {4 * time.Second, 0}}, 0},
		{"a frame of a line of 12 kbit/s for 4", []wait{{4 * time.Second, 1460}}, 0},
		{"much, and then nothing", []wait{{0, 1 << 20}, {most, 0}}, most},
		{"a small file", []wait{{4 * time.Second, 10}, {0, 1 << 20}}, 0},
	} {
		p, spent := newWaitBudget(most), time.Duration(0)
		left := true
		for i := 0; left && i < 2000; i++ {
			w := c.waits[i%len(c.waits)]
			spent += w.took
			left = p.after(w.took, w.n)
		}
		if left == (c.ends > 0) || !left && spent != c.ends {
			t.Errorf("%s: left is %v after %v, want the end after %v", c.name, left, spent, c.ends)
		}
	}
}

// TestStallTellsWhy: the error has the bytes, and the time since all was well.
func TestStallTellsWhy(t *testing.T) {
	p := newWaitBudget(5 * time.Second)
	p.after(4*time.Second, 1<<20)
	p.after(2*time.Second, 3)
	p.after(time.Second, 4)
	// It is given up after 5 s and what 7 bytes may take.
	if got := p.spent(); got.Error() != "stalled: 7 bytes in 5.11s, the least is 64 a second" ||
		!errors.Is(got, ErrStalled) {
		t.Errorf("%v", got)
	}
}

// TestWaitBudgetHasABound: whatever a server does, it has sent the least rate over
// all but the budget, or is given up.
func TestWaitBudgetHasABound(t *testing.T) {
	const most = 5 * time.Second
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, waits := newWaitBudget(most), []wait(nil)
		for left := true; left && len(waits) < 100; {
			w := wait{time.Duration(r.Int64N(int64(2 * time.Second))), r.IntN(200)}
			if left = p.after(w.took, w.n); left {
				waits = append(waits, w)
			}
		}
		for from := range waits {
			var took time.Duration
			var bytes int
			for _, w := range waits[from:] {
				took, bytes = took+w.took, bytes+w.n
				if float64(bytes) < LeastRate*(took-most).Seconds() {
					t.Fatalf("seed %d: %d bytes in %v from read %d on were enough", seed, bytes, took, from)
				}
			}
		}
	}
}

// paced is a body that brings so many bytes after each pause, in virtual time.
type paced struct {
	pause   time.Duration
	n, left int
	closed  chan struct{}
	why     error
}

func (p *paced) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(p.pause):
	case <-p.closed:
		return 0, p.why
	}
	n := min(p.n, p.left, len(b))
	p.left -= n
	return n, nil
}

func (p *paced) Close() error { return nil }

func (p *paced) giveUp(why error) {
	p.why = why
	close(p.closed)
}

// TestSlowBody: a server below the least rate is given up, one above it is not,
// however slow the reader is. All pauses are by the clock of a bubble.
func TestSlowBody(t *testing.T) {
	for _, c := range []struct {
		name string
		body paced
		size int64
		own  time.Duration // what the reader takes for each read
		ok   bool
	}{
		{"a byte a second", paced{pause: time.Second, n: 1, left: 1000}, 1000, 0, false},
		{"four bytes a second", paced{pause: time.Second, n: 4, left: 10}, 10, 0, true},
		{"a line of 12 kbit/s", paced{pause: time.Second, n: 1500, left: 100_000}, 100_000, 0, true},
		{"pauses", paced{pause: 4 * time.Second, n: 1460, left: 100_000}, 100_000, 0, true},
		{"silence", paced{pause: 6 * time.Second, n: 1460, left: 100_000}, 100_000, 0, false},
		{"a slow reader", paced{pause: time.Second, n: 100, left: 1000}, 1000, time.Minute, true},
		{"the last byte late", paced{pause: 4900 * time.Millisecond, n: 1, left: 1}, 1, 0, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			c.body.closed = make(chan struct{})
			r := &reader{body: &c.body, ctx: t.Context(), budget: newWaitBudget(5 * time.Second), left: c.size, want: c.size}
			var err error
			var got int64
			for b := make([]byte, 4096); err == nil; time.Sleep(c.own) {
				var n int
				n, err = r.Read(b)
				got += int64(n)
			}
			if done := err == io.EOF && got == c.size; done != c.ok || !c.ok && !errors.Is(err, ErrStalled) {
				t.Errorf("%s: %d of %d bytes, %v", c.name, got, c.size, err)
			}
		})
	}
}

// TestTricklingServers: HTTP and TFTP alike. Without the least rate each of
// these would last for minutes.
func TestTricklingServers(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	base := answering(t, trickle)
	for _, u := range []string{base + "/body", base + "/unsized", base + "/head", base + "/redirect",
		"tftp://" + trickleTFTP(t) + "/f"} {
		t.Run(strings.ReplaceAll(u, "/", " "), func(t *testing.T) {
			t.Parallel()
			m := newMux(t, Config{StallTimeout: time.Second})
			got, _, err := get(m, Request{URL: parseURL(t, u), Size: load.UnknownSize})
			if redirected := strings.HasSuffix(u, "/redirect"); redirected && (err != nil || string(got) != "done") {
				t.Errorf("%q, %v", got, err)
			} else if !redirected && (!errors.Is(err, ErrStalled) || Reason(err) != "stalled" || len(got) > fileSize/2) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// trickle answers with twenty bytes a second.
func trickle(w http.ResponseWriter, r *http.Request) {
	text := strings.Repeat("x", 2000)
	switch r.URL.Path {
	case "/redirect":
		w.Header().Set("Location", "/done")
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.WriteHeader(http.StatusFound)
	case "/done":
		_, _ = io.WriteString(w, "done")
		return
	case "/body":
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	case "/head":
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		drip(r.Context(), conn, "HTTP/1.1 200 OK\r\nX-Text: "+text)
		return
	}
	w.(http.Flusher).Flush()
	drip(r.Context(), flushing{w}, text)
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// drip writes a byte each 50 ms for as long as anybody reads.
func drip(ctx context.Context, w io.Writer, text string) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i := range text {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if _, err := io.WriteString(w, text[i:i+1]); err != nil {
			return
		}
	}
}

// trickleTFTP is a server that grants blocks of 8 bytes and sends one each 200 ms.
func trickleTFTP(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for b := make([]byte, 2048); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			answer := []byte("\x00\x06blksize\x008\x00")
			if n == 4 && b[1] == 4 { // ACK: the next block
				<-tick.C
				answer = binary.BigEndian.AppendUint16([]byte{0, 3}, binary.BigEndian.Uint16(b[2:])+1)
				answer = append(answer, "8 bytes."...)
			} else if b[1] != 1 {
				continue
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	return conn.LocalAddr().String()
}

// TestReadAll: a body is read whole, or is too much.
func TestReadAll(t *testing.T) {
	for most, want := range map[int64]error{5: nil, 4: ErrTooMuch} {
		if b, err := ReadAll(strings.NewReader("01234"), most); !errors.Is(err, want) || want == nil && len(b) != 5 {
			t.Errorf("at most %d: %q, %v", most, b, err)
		}
	}
}
