package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
)

// looks is how often memory is looked at while devices report.
const looks = 30

// sender has devices report to a controller.
type sender struct {
	f     *fleet
	at    string // base of its API
	begun time.Time
	next  atomic.Int64
	done  atomic.Int64
	// heard are the devices whose report was acknowledged.
	heard []atomic.Bool
	// slow are how long reports took, one in a hundred.
	mu   sync.Mutex
	slow []time.Duration
}

// reports has devices report at the rate, over HTTP, and looks at the memory meanwhile.
func (f *fleet) reports(ctx context.Context) error {
	srv, err := api.New(api.Config{Services: f.Services, Spool: f.dir})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	h := &http.Server{Handler: srv, ReadHeaderTimeout: time.Minute}
	go h.Serve(l) // it ends with Close
	defer h.Close()
	s := &sender{f: f, at: "http://" + l.Addr().String() + api.Prefix, begun: time.Now(),
		heard: make([]atomic.Bool, f.o.devices)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	used := processor()
	var wg sync.WaitGroup
	for range f.o.clients {
		wg.Go(func() {
			if err := s.send(ctx); err != nil {
				cancel(err)
			}
		})
	}
	var memory []float64
	look := time.NewTicker(max(f.o.duration/looks, time.Millisecond))
	defer look.Stop()
	for range looks {
		select {
		case <-look.C:
			memory = append(memory, resident())
		case <-ctx.Done():
		}
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.print(memory, processor()-used)
	return s.kept(context.WithoutCancel(ctx))
}

// send is one client: each report has its time, and is sent at once if that has passed.
func (s *sender) send(ctx context.Context) error {
	c := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	defer c.CloseIdleConnections()
	for {
		n := int(s.next.Add(1) - 1)
		due := s.begun.Add(time.Duration(n) * time.Second / time.Duration(s.f.o.rate))
		if due.Sub(s.begun) >= s.f.o.duration || time.Since(s.begun) >= s.f.o.duration {
			return nil
		}
		wait := time.NewTimer(time.Until(due))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
		if err := s.one(ctx, c, n); err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// one sends the nth report: devices take turns, in an order that is spread over the
// fleet.
func (s *sender) one(ctx context.Context, c *http.Client, n int) error {
	i := n * 7919 % s.f.o.devices
	body, err := json.Marshal(s.f.device(i).says(n/s.f.o.devices + 1))
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.at+"/devices/"+name(i)+"/check-in", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+secret(i))
	r.Header.Set("Content-Type", "application/json")
	begun := time.Now()
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil || resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s: %s %s %w", name(i), resp.Status, text, err)
	}
	s.heard[i].Store(true)
	if s.done.Add(1)%100 == 0 {
		s.mu.Lock()
		s.slow = append(s.slow, time.Since(begun))
		s.mu.Unlock()
	}
	return nil
}

// print prints what came of it.
func (s *sender) print(memory []float64, used time.Duration) {
	f, took := s.f, time.Since(s.begun).Seconds()
	f.atLeast(fmt.Sprintf("reports a second for %v, of %d that were due", f.o.duration, f.o.rate),
		float64(s.done.Load())/took, min(wantedRate, 0.99*float64(f.o.rate)), "/s")
	f.told("of a report: processor time of clients and controller",
		float64(used.Microseconds())/float64(max(s.done.Load(), 1)), "µs")
	if slices.Sort(s.slow); len(s.slow) > 0 {
		f.told("report, median", ms(s.slow[len(s.slow)/2]), "ms")
		f.told("report, p99", ms(s.slow[(len(s.slow)*99-1)/100]), "ms")
	}
	// The first sixth warms up: caches fill, and connections are made.
	start, middle, end := memory[len(memory)/6], memory[len(memory)/2], slices.Max(memory[len(memory)-5:])
	f.told("memory of controller and clients at the start", start, "MB")
	f.told("in the middle", middle, "MB")
	f.atMost("at the end: at most a quarter and 4 MB more than at the start", end, start*1.25+4, "MB")
}

// kept looks that what was acknowledged is in the database.
func (s *sender) kept(ctx context.Context) error {
	want := 0
	for i := range s.heard {
		if s.heard[i].Load() {
			want++
		}
	}
	return s.f.store.View(ctx, func(tx domain.Tx) error {
		got, err := tx.Tallies().Heard(ctx, nil, s.begun.Add(-time.Second))
		if err == nil && got[""] < want {
			err = fmt.Errorf("%d devices were acknowledged, and %d are kept as heard", want, got[""])
		}
		return err
	})
}

// resident is how much memory this process has, in MB: the controller, and here and
// there its clients.
func resident() float64 {
	debug.FreeOSMemory() // what nobody holds any more is not the controller's
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kB float64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kB); err == nil {
			break
		}
	}
	return kB / 1000
}

// processor is what this process has used of the processors.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
