package rollout

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/controller/window"
)

// Share is where a device stands among all devices of a rollout, in ten-thousandths
// of them: the same at each call. The devices of a percentage are those below a
// hundred times it, so a higher percentage has all of a lower one.
func Share(rollout, device string) int {
	sum := sha256.Sum256([]byte(rollout + "\x00" + device))
	return int(binary.BigEndian.Uint64(sum[:8]) % 10000)
}

// List takes a device of the target. listed is false for one that is left out;
// the record then counts why.
func (m *Machine) List(now time.Time, c Candidate) (row Row, listed bool, err error) {
	m.now = plainTime(now)
	if err := m.lists(); err != nil {
		return row, false, fmt.Errorf("rollout %s: %w", m.rec.ID, err)
	}
	if why := m.unfit(c); why != "" {
		m.rec.LeftOut[why]++
		return row, false, nil
	}
	row = Row{Device: c.Device, Site: c.Site, Wave: m.waveOf(c), Load: c.Load, Ran: c.Runs, Standing: Waiting,
		Since: m.now, Bad: slices.Clone(c.Bad)}
	if c.Runs == c.Load {
		row.Standing = Had
	}
	*m.rec.Waves[row.Wave].of(row.Standing)++
	m.due(&row, c.Heard, true)
	return row, true, nil
}

// lists refuses what is for a rollout whose target is being listed.
func (m *Machine) lists() error {
	if m.rec.Listed || !m.rec.State.Active() {
		return fmt.Errorf("%w: it is %s, and its target is listed once it is scheduled, and once only", ErrState, m.rec.State)
	}
	return nil
}

// clearList begins the list with nobody.
func (m *Machine) clearList() {
	m.rec.Waves = make([]WaveRecord, len(m.rec.Plan.Waves))
	clear(m.rec.LeftOut)
}

// unfit says why a device cannot take part, "" if it can.
func (m *Machine) unfit(c Candidate) string {
	switch {
	case c.Claimed != "" && c.Claimed != m.rec.ID:
		return ReasonClaimed
	case c.Load == "":
		return ReasonNoLoad
	case slices.Contains(c.Bad, c.Load):
		return ReasonJudged
	case !m.everOpen(c.Place):
		return ReasonNoWindow
	case c.Runs == "" || c.Runs == c.Load:
		return ""
	}
	step, ok := m.next(c.Runs, c.Load)
	switch {
	case !ok:
		return ReasonNoWay
	case slices.Contains(c.Bad, step):
		return ReasonJudged
	}
	return ""
}

// everOpen reports whether the windows of a site and of the plan are open together
// at times.
func (m *Machine) everOpen(at Place) bool {
	_, ok := window.Opening(m.now, at.Zone, m.rec.Plan.Windows, at.Windows)
	return ok
}

// waveOf is the first wave that takes a device.
func (m *Machine) waveOf(c Candidate) int {
	share := Share(m.rec.ID, c.Device)
	return slices.IndexFunc(m.rec.Plan.Waves, func(w Wave) bool {
		return slices.Contains(w.Devices, c.Device) || slices.Contains(w.Sites, c.Site) || share < w.Percent*100
	})
}

// listed ends the listing, or makes the rollout a draft again if its target will
// not do. A wave that names devices or sites and has none is a slip of the pen:
// it would open the next one with nothing shown.
func (m *Machine) listed() error {
	r := &m.rec
	if err := m.lists(); err != nil {
		return err
	}
	sum := r.Totals()
	why := ""
	switch {
	case sum.Total() == 0:
		why = "the target has no device that can take part" + m.saysLeftOut(" (", ")")
	case len(r.LeftOut) > 0 && !r.Plan.LeaveOut:
		why = "devices of the target cannot take part: " + m.saysLeftOut("", "") + "; leave them out, or change the target"
	}
	for i, w := range r.Plan.Waves {
		if why == "" && w.Percent == 0 && r.Waves[i].Total() == 0 {
			why = fmt.Sprintf("wave %d has no device of the target: name others, or leave the wave out", i+1)
		}
	}
	if why == "" {
		r.Listed = true
		return nil
	}
	r.Waves = nil
	m.change(Draft, "", why)
	m.tell(Drop{})
	return fmt.Errorf("%w: %s", ErrRefused, why)
}

// saysLeftOut counts the devices that are left out in words, "" for none.
func (m *Machine) saysLeftOut(before, after string) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(m.rec.LeftOut)) {
		parts = append(parts, fmt.Sprintf("%d %s", m.rec.LeftOut[why], why))
	}
	if len(parts) == 0 {
		return ""
	}
	return before + strings.Join(parts, ", ") + after
}
