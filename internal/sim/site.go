package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/report"
)

// overhead of Ethernet with TCP over IPv4.
const overhead = 0.048

// metadataRequests is how many requests make a bundle of metadata: whether there
// is a newer root, timestamp, snapshot, targets, manifest.
const metadataRequests = 5

// maxMetadata bounds it, as package trust does.
const maxMetadata = 4 << 20

// MaxSiteDevices bounds the devices of a subnet: beyond it, broadcasts are no
// longer a sensible way to meet.
const MaxSiteDevices = 10_000

// What a site can have, at most: the round trip to its server, and the share of packets
// that LAN or WAN lose.
const (
	MaxRTT  = 10 * time.Second
	MaxLoss = 0.5
)

// Site is one subnet of equal devices that all start within Spread and fetch
// the same files. It is a plain value: the same Site always gives the same run.
type Site struct {
	// Seed determines every random number.
	Seed uint64
	// Devices, 1 to MaxSiteDevices.
	Devices int
	// Sizes of the files in bytes, fetched one after the other.
	Sizes []int64
	// Metadata is how many bytes of signed metadata and manifest are fetched
	// before them; 0: the files are not signed.
	Metadata int64
	// WAN is the rate towards the server, LAN that of each port; bits per
	// second, above 0.
	WAN, LAN float64
	// RTT is the round trip to the server.
	RTT time.Duration
	// Spread is the time over which the devices start; 0: all at once.
	Spread time.Duration
	// Loss is the chance that a datagram within the subnet is lost, 0 to 0.5.
	Loss float64
	// WANLoss is the part of the packets that the WAN loses, 0 to 0.5. It bounds what
	// one connection brings.
	WANLoss float64
	// Connections is the most connections of a device to the server: 0 to 16. 0 or 1:
	// one stream.
	Connections int
	// Untabled: nobody has a chunk table, only the digest of each file, and
	// nobody knows its size beforehand.
	Untabled bool
	// Faults that happen, each as ParseFault reads it.
	Faults []Fault
	// Trace, if not nil, gets a line for each event.
	Trace Tracer
	// Cancelled, if not nil, is asked now and then; when it says yes Play
	// returns ErrCancelled.
	Cancelled func() bool
}

// ErrCancelled is what Play returns if it was cancelled.
var ErrCancelled = errors.New("sim: cancelled")

// Outcome is what came of a Site.
type Outcome struct {
	// Devices that were to end complete, how many did, and how many others
	// ended with a reason.
	Expected, Complete, Failed int
	// Last and Median are when devices were complete, from the first start.
	Last, Median time.Duration
	// Bound is the time that no way can beat: the files over the slower of
	// WAN and LAN, without headers.
	Bound time.Duration
	Size  int64
	// WANBytes is the payload that the server sent.
	WANBytes int64
	// Elections counts how often a device became root, Requests what the
	// server was asked, Broadcasts what was sent to all.
	Elections, Requests, Broadcasts int
	Events                          uint64
	// Hash is equal for equal runs.
	Hash uint64
	// Violations of invariants; empty is right.
	Violations []string
}

// Validate says what cannot be played.
func (c Site) Validate() error {
	switch {
	case c.Devices < 1 || c.Devices > MaxSiteDevices:
		return fmt.Errorf("a subnet has 1 to %d devices, not %d", MaxSiteDevices, c.Devices)
	case len(c.Sizes) == 0 || len(c.Sizes) > load.MaxComponents:
		return fmt.Errorf("a load has 1 to %d files, not %d", load.MaxComponents, len(c.Sizes))
	case !(c.WAN > 0) || !(c.LAN > 0):
		return fmt.Errorf("the rates of WAN and LAN must be above 0")
	case c.RTT < 0 || c.RTT > MaxRTT:
		return fmt.Errorf("a round trip is 0s to %v, not %v", MaxRTT, c.RTT)
	case c.Spread < 0:
		return fmt.Errorf("the devices start over 0s or longer, not %v", c.Spread)
	case !(c.Loss >= 0 && c.Loss <= MaxLoss):
		return fmt.Errorf("the LAN loses 0%% to 50%%, not %v%%", 100*c.Loss)
	case !(c.WANLoss >= 0 && c.WANLoss <= MaxLoss):
		return fmt.Errorf("the WAN loses 0%% to 50%%, not %v%%", 100*c.WANLoss)
	case c.Connections < 0 || c.Connections > pieces.Most:
		return fmt.Errorf("a device has 0 to %d connections to the server, not %d", pieces.Most, c.Connections)
	}
	if c.Metadata < 0 || c.Metadata > maxMetadata {
		return fmt.Errorf("metadata has 0 to %d bytes, not %d", maxMetadata, c.Metadata)
	}
	for _, n := range c.Sizes {
		if n < 0 || n > load.MaxFileSize {
			return fmt.Errorf("a file has 0 to %d bytes, not %d", int64(load.MaxFileSize), n)
		}
	}
	for _, f := range c.Faults {
		if err := choice.Check("fault", f.Name, FaultNames()); err != nil {
			return err
		}
	}
	return nil
}

// Size returns the bytes of all files.
func (c Site) Size() (n int64) {
	n = c.Metadata
	for _, x := range c.Sizes {
		n += x
	}
	return n
}

// Bound returns the time that no way can beat.
func (c Site) Bound() time.Duration {
	return time.Duration(float64(c.Size()) * 8 / min(c.WAN, c.LAN) * float64(time.Second))
}

// Play runs the site until every device has ended and, to see that the subnet
// is quiet, 5 s longer.
func (c Site) Play() (Outcome, error) {
	if err := c.Validate(); err != nil {
		return Outcome{}, err
	}
	cfg := Config{Seed: c.Seed, Overhead: overhead, Trace: c.Trace}
	for _, f := range c.Faults {
		cfg.AllowBudgetOverlap = cfg.AllowBudgetOverlap || faults[f.Name].overlap
	}
	s := New(cfg)
	sub := s.Subnet(SubnetConfig{LAN: c.LAN, WAN: c.WAN, RTT: c.RTT, Jitter: 300 * time.Microsecond, Loss: c.Loss,
		SlowStart: true, WANLoss: c.WANLoss, Connections: c.Connections})
	var files []*File
	if c.Metadata > 0 {
		f := NewFile("metadata", c.Metadata)
		f.Signed, f.Keyed, f.Unsized, f.Requests = false, false, true, metadataRequests
		files = append(files, f)
	}
	for i, n := range c.Sizes {
		f := NewFile(fmt.Sprintf("f%d", i), n)
		f.Signed, f.Unsized = !c.Untabled, c.Untabled
		files = append(files, f)
	}
	sub.Fill(c.Devices, files...)
	for _, d := range sub.devices {
		d.Serial = len(files) > 1
		s.At(time.Duration(s.rnd.Int64N(int64(c.Spread)+1)), d.Start)
	}
	for _, f := range c.Faults {
		sub.when(int64(f.At*float64(c.Size())), func() { faults[f.Name].do(sub, sub.current(files)) })
	}
	s.cancelled = c.Cancelled
	limit := 5*time.Minute + 20*c.Bound() + c.Spread
	s.Run(c.Spread)
	ended := s.RunToEnd(limit)
	if !ended {
		s.violate("not all devices have ended")
	}
	s.Run(s.now + 5*time.Second)
	if c.Cancelled != nil && c.Cancelled() {
		return Outcome{}, ErrCancelled
	}
	s.CheckEnd()
	return c.outcome(s, sub), nil
}

// when does something as soon as the server has sent so many bytes and there
// is a root.
func (sub *Subnet) when(bytes int64, do func()) {
	s := sub.s
	var look func()
	look = func() {
		if sub.Server.Bytes >= bytes && len(sub.Opened) > 0 {
			do()
			return
		}
		s.After(10*time.Millisecond, look)
	}
	s.After(0, look)
}

// current returns the file that the server sends.
func (sub *Subnet) current(files []*File) *File {
	if n := len(sub.Opened); n > 0 {
		return sub.Opened[n-1].Task.file
	}
	return files[0]
}

func (c Site) outcome(s *Sim, sub *Subnet) Outcome {
	o := Outcome{
		Bound: c.Bound(), Size: c.Size(), WANBytes: sub.Server.Bytes, Requests: len(sub.Opened),
		Broadcasts: len(sub.Broadcasts), Events: s.events, Hash: s.hash, Violations: s.faults,
	}
	var done []time.Duration
	for _, d := range sub.devices {
		last, complete, full := time.Duration(0), true, false
		for _, t := range d.order {
			last, complete, full = max(last, t.Done), complete && t.complete, full || t.full
			for _, n := range t.Notes {
				if n.Kind == report.KindRole && n.Peer.Addr() == d.Addr {
					o.Elections++
				}
			}
		}
		switch {
		case !d.on || d.Liar != nil:
			continue
		case full:
			o.Failed++
			continue
		}
		o.Expected++
		if complete {
			o.Complete++
			done = append(done, last)
		}
	}
	if slices.Sort(done); len(done) > 0 {
		o.Last, o.Median = done[len(done)-1], done[(len(done)-1)/2]
	}
	return o
}
