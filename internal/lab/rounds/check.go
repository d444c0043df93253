package rounds

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
)

// lookEvery is how often the devices are looked at.
const lookEvery = 200 * time.Millisecond

// await waits until all honest devices run the load, or the round has taken as long as it may.
func (s *Site) await(ctx context.Context, p Plan, want [sha256.Size]byte) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limit)
	defer cancel()
	for {
		left := slices.ContainsFunc(s.devices, func(d *device) bool { return !p.Lies(d.index) && !d.has(want) })
		if !left || !pause(ctx, lookEvery) {
			return
		}
	}
}

// has reports whether the device runs that load.
func (d *device) has(want [sha256.Size]byte) bool {
	b, err := d.active()
	return err == nil && sha256.Sum256(b) == want
}

// check notes which devices have what they should, and what is wrong: an honest
// device without the load, and bytes under a file's name that nobody published.
func (s *Site) check(p Plan, want [sha256.Size]byte) {
	for _, d := range s.devices {
		if p.Lies(d.index) {
			continue
		}
		var wrong []string
		right := d.has(want)
		if !right {
			wrong = append(wrong, fmt.Sprintf("device %d does not run the load: %s", d.index+1, d.lastLine()))
		}
		all, err := d.committed()
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("device %d: %v", d.index+1, err))
		}
		for slot, b := range all {
			if !s.server.published[sha256.Sum256(b)] {
				wrong = append(wrong, fmt.Sprintf("device %d has wrong bytes in slot %s", d.index+1, slot))
			}
		}
		s.note(func(r *Round) {
			r.Honest++
			if right {
				r.Right++
			}
			r.Wrong = append(r.Wrong, wrong...)
		})
	}
}

func (d *device) lastLine() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return lastLine(d.stderr.String())
}

// sample notes what the controller and the agents that are never killed use.
func (s *Site) sample() {
	if u, err := useOf(s.life, s.server.proc, s.server.api+"/metrics", s.server.token); err == nil {
		s.server.uses = append(s.server.uses, u)
	}
	for i, d := range s.devices {
		d.mu.Lock()
		p := d.proc
		d.mu.Unlock()
		if !Steady(i, len(s.devices)) || p == nil {
			continue
		}
		u, err := useOf(s.life, p, fmt.Sprintf("http://%s:%d/metrics", d.host.Addr, metricsPort), "")
		if err == nil {
			d.uses = append(d.uses, u)
		}
	}
}

// useOf asks the kernel, and the process for its goroutines.
func useOf(ctx context.Context, p *process.Proc, metrics, token string) (u Use, err error) {
	text, err := get(ctx, metrics, token)
	if err != nil {
		return u, err
	}
	if u.Goroutines, err = metric(text, "peerload_goroutines"); err != nil {
		return u, err
	}
	u.Memory, u.Descriptors, err = p.Use()
	return u, err
}

// traffic is what the devices have told the controller of where their bytes came
// from.
func (c *controller) traffic(ctx context.Context) (origin, peers int64) {
	text, err := get(ctx, c.api+"/metrics", c.token)
	if err != nil {
		return 0, 0
	}
	const name = `peerload_devices_received_bytes_total{source="`
	origin, _ = metric(text, name+`origin"}`) // 0 if there are none yet
	peers, _ = metric(text, name+`peer"}`)
	return origin, peers
}

// metric finds the value of a metric, whose name has its labels.
func metric(text, name string) (int64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0, err
			}
			return int64(v), nil
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}
