package measure

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerload/peerload/internal/lab/fileserver"
	"github.com/peerload/peerload/internal/lab/output"
	"github.com/peerload/peerload/internal/lab/site"
)

// Beside is what others do on the WAN while the devices fetch: they are on a host of
// their own at the site, and beside the file server.
type Beside struct {
	// Call is true if there is a call: both ways 50 packets of 172 bytes a second.
	Call bool
	// Downloads is how many connections others download by, without end, from 2 s on.
	Downloads int
}

// Any reports whether there is anything.
func (b Beside) Any() bool { return b.Call || b.Downloads > 0 }

// mostBeside bounds the downloads of others.
const mostBeside = 100

// How what is beside a download is measured.
const (
	callEvery, callBytes = 20 * time.Millisecond, 172
	// downloadsFrom is when the downloads of others begin; from besideFrom on it is
	// counted, for besideFor or until the devices have the file.
	downloadsFrom = 2 * time.Second
	besideFrom    = 5 * time.Second
	besideFor     = 30 * time.Second
	// straggler is how long a packet of the call may take before it counts as lost.
	straggler = 2 * time.Second
)

// BesideResult is what came of what was beside the download.
type BesideResult struct {
	ForS float64  `json:"for_s"` // how long it was counted
	Down *CallWay `json:"call_down,omitempty"`
	Up   *CallWay `json:"call_up,omitempty"`
	// Used is the part of the WAN's rate to the site that frames of any kind took;
	// Ours that of the file's payload, where the lab serves it; Elsewhere that of the
	// payload of others' downloads.
	// QueueMedianMS and QueueP99MS are how long the link itself was busy with what waited,
	// looked at as often as the call's packets come: what the processors add to those is
	// not in it.
	QueueMedianMS float64 `json:"queue_median_ms"`
	QueueP99MS    float64 `json:"queue_p99_ms"`
	Used          float64 `json:"line_used"`
	Ours          float64 `json:"line_ours,omitempty"`
	Elsewhere     float64 `json:"line_elsewhere,omitempty"`
}

// CallWay is one direction of a call. Times are what the packets took beyond half of
// the empty line's round trip.
type CallWay struct {
	Packets  int     `json:"packets"`
	Lost     int     `json:"lost"`
	MedianMS float64 `json:"median_ms"`
	P99MS    float64 `json:"p99_ms"`
}

// beside is what runs beside a measurement.
type beside struct {
	m    *measurement
	host site.Host // of the others, at the site

	server, phone *net.UDPConn // the ends of the call
	flood         net.Listener
	got           atomic.Int64 // payload of the others' downloads
	conns         sync.WaitGroup
}

// besides runs what is beside the download until it was counted, or until ctx ends.
func (m *measurement) besides(ctx context.Context) error {
	b := &beside{m: m, host: m.site.Host(m.cfg.Devices + m.cfg.Late)}
	ctx, end := context.WithCancel(ctx)
	defer b.conns.Wait()
	defer end()
	if err := b.open(); err != nil {
		return errors.Join(err, b.close())
	}
	context.AfterFunc(ctx, func() { _ = b.close() }) // their goroutines end with them
	var down, up *callWay
	if m.cfg.Beside.Call {
		down, up = b.call(ctx, b.server, b.phone), b.call(ctx, b.phone, b.server)
	}
	wait(ctx, time.Until(m.zero.Add(downloadsFrom)))
	for range m.cfg.Beside.Downloads {
		if err := b.download(ctx); err != nil {
			return err
		}
	}
	wait(ctx, time.Until(m.zero.Add(besideFrom)))
	from, base, payload := time.Now(), b.counts(), b.m.server.Tally.Total()
	counted, done := context.WithTimeout(ctx, besideFor)
	defer done()
	queue := b.watch(counted)
	until, now := time.Now(), b.counts()
	took := until.Sub(from).Seconds()
	rate := float64(m.cfg.WAN) / 8 * took
	r := &BesideResult{ForS: took, Used: float64(now[0]-base[0]) / rate, Elsewhere: float64(now[1]-base[1]) / rate,
		Ours: float64(m.server.Tally.Total()-payload) / rate}
	if len(queue) > 0 {
		r.QueueMedianMS, r.QueueP99MS = output.Quantile(queue, 0.5), output.Quantile(queue, 0.99)
	}
	if m.cfg.Beside.Call {
		wait(ctx, straggler)
		r.Down, r.Up = down.result(from, until, m.cfg.RTT/2), up.result(from, until, m.cfg.RTT/2)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.besideResult = r
	return nil
}

// watch looks at the link's queue until the devices have the file, or until ctx ends. It
// returns how long packets waited, in milliseconds, sorted.
func (b *beside) watch(ctx context.Context) (waits []float64) {
	s, _ := b.m.site.(*site.Namespaces)
	tick := time.NewTicker(callEvery)
	defer tick.Stop()
	for ctx.Err() == nil && !b.m.held() {
		select {
		case <-tick.C:
			if w, ok := s.Waits(); ok {
				waits = append(waits, float64(w)/1e6)
			}
		case <-ctx.Done():
		}
	}
	slices.Sort(waits)
	return waits
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// counts are the bytes so far: frames to the site, and payload of others' downloads.
func (b *beside) counts() [2]uint64 {
	w, _ := b.m.site.Wire()
	return [2]uint64{w.Down, uint64(b.got.Load())}
}

// open opens the sockets at both ends.
func (b *beside) open() (err error) {
	if b.server, err = b.m.site.ListenUDP(); err != nil {
		return err
	}
	err = b.host.Run(func() error {
		b.phone, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(b.host.Addr, 0)))
		return err
	})
	if err != nil {
		return err
	}
	if b.flood, err = b.m.site.Listen(); err != nil {
		return err
	}
	// A sender by bbr leaves the queue empty, and says nothing of who gives way.
	if _, err := fileserver.Tune(b.flood, "cubic"); err != nil {
		return err
	}
	b.conns.Go(b.serve)
	return nil
}

func (b *beside) close() (err error) {
	for _, c := range []io.Closer{b.server, b.phone, b.flood} {
		switch c := c.(type) {
		case *net.UDPConn:
			if c != nil {
				err = errors.Join(err, c.Close())
			}
		case net.Listener:
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// serve sends zeros to whoever connects.
func (b *beside) serve() {
	for {
		c, err := b.flood.Accept()
		if err != nil {
			return
		}
		b.conns.Go(func() {
			defer c.Close()
			for zeros := make([]byte, 64<<10); ; {
				if _, err := c.Write(zeros); err != nil {
					return
				}
			}
		})
	}
}

// download downloads by one connection until ctx ends.
func (b *beside) download(ctx context.Context) error {
	var c net.Conn
	err := b.host.Run(func() (err error) {
		c, err = net.DialTimeout("tcp4", b.flood.Addr().String(), besideFrom)
		return err
	})
	if err != nil {
		return fmt.Errorf("the download beside ours: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	b.conns.Go(func() {
		defer stop()
		defer c.Close()
		for room := make([]byte, 64<<10); ; {
			n, err := c.Read(room)
			if b.got.Add(int64(n)); err != nil {
				return
			}
		}
	})
	return nil
}

// callWay is one direction of a call under way.
type callWay struct {
	mu   sync.Mutex
	zero time.Time
	sent []time.Duration // of each packet, after zero
	took []time.Duration // the same packet's, 0: it has not come
}

// call sends packets from one end to the other until ctx ends.
func (b *beside) call(ctx context.Context, from, to *net.UDPConn) *callWay {
	w := &callWay{zero: time.Now()}
	b.conns.Go(func() {
		for p := make([]byte, callBytes+1); ; {
			n, _, err := to.ReadFromUDPAddrPort(p)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && n == callBytes {
				w.came(binary.BigEndian.Uint32(p), time.Since(w.zero))
			}
		}
	})
	b.conns.Go(func() {
		tick := time.NewTicker(callEvery)
		defer tick.Stop()
		p, at := make([]byte, callBytes), to.LocalAddr().(*net.UDPAddr).AddrPort()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			binary.BigEndian.PutUint32(p, w.send(time.Since(w.zero)))
			_, _ = from.WriteToUDPAddrPort(p, at) // what is not sent is lost
		}
	})
	return w
}

// send notes that a packet is sent, and returns its number.
func (w *callWay) send(at time.Duration) (number uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent, w.took = append(w.sent, at), append(w.took, 0)
	return uint32(len(w.sent) - 1)
}

func (w *callWay) came(number uint32, at time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if int(number) < len(w.sent) {
		w.took[number] = at - w.sent[number]
	}
}

// result is that of the packets that were sent from one time until another.
func (w *callWay) result(from, until time.Time, way time.Duration) *CallWay {
	w.mu.Lock()
	defer w.mu.Unlock()
	var added []float64
	r := &CallWay{}
	for i, at := range w.sent {
		if sent := w.zero.Add(at); sent.Before(from) || sent.After(until) {
			continue
		}
		if r.Packets++; w.took[i] == 0 {
			r.Lost++
			continue
		}
		added = append(added, float64(w.took[i]-way)/1e6)
	}
	if slices.Sort(added); len(added) > 0 {
		r.MedianMS, r.P99MS = output.Quantile(added, 0.5), output.Quantile(added, 0.99)
	}
	return r
}

// text writes the result for people.
func (r *BesideResult) text(p func(format string, args ...any)) {
	if r == nil {
		return
	}
	for _, w := range []struct {
		name string
		way  *CallWay
	}{{"to the site", r.Down}, {"from it", r.Up}} {
		if w.way != nil {
			p("  call %-11s median %.1f ms, p99 %.1f ms more than on the empty line; %d of %d packets lost", w.name,
				w.way.MedianMS, w.way.P99MS, w.way.Lost, w.way.Packets)
		}
	}
	p("  queue            median %.1f ms, p99 %.1f ms", r.QueueMedianMS, r.QueueP99MS)
	p("  line             %.3f used, with all headers; payload of ours %.3f, of others %.3f; for %.1f s", r.Used, r.Ours,
		r.Elsewhere, r.ForS)
}

// Short is the result in one line.
func (r *BesideResult) Short() string {
	text := fmt.Sprintf("line %.2f used", r.Used)
	if r.Down != nil {
		text = fmt.Sprintf("call p99 %.1f ms, %d of %d lost, queue p99 %.1f ms, %s", r.Down.P99MS,
			r.Down.Lost+r.Up.Lost, r.Down.Packets+r.Up.Packets, r.QueueP99MS, text)
	}
	if r.Elsewhere > 0 {
		text += fmt.Sprintf(", %.2f elsewhere", r.Elsewhere)
	}
	return text
}
