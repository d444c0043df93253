package rollout

import (
	"fmt"
	"slices"
)

// Undo makes of a device of this rollout, which was rolled back, a candidate of the
// rollout that takes it back to what it ran before. ok is false for a device that
// this rollout never handed anything. The load that it brought is judged bad for
// the device, to be kept for good: so whatever is rolled back later, it does not
// come again. A device of which nobody knows what it ran has nothing to go back
// to. The caller adds the candidate's Place.
func (m *Machine) Undo(row *Row) (c Candidate, judged Verdict, ok bool, err error) {
	switch {
	case m.rec.State != RolledBack:
		return c, judged, false, fmt.Errorf("rollout %s: %w", m.rec.ID, m.wrong("undo what it did", RolledBack))
	case row.Try == 0:
		return c, judged, false, nil
	}
	goal := m.resolve(row.Load)
	c = Candidate{Device: row.Device, Site: row.Site, Load: row.Ran, Bad: slices.Clone(row.Bad)}
	for _, load := range []string{row.Load, goal} {
		if !slices.Contains(c.Bad, load) {
			c.Bad = append(c.Bad, load)
		}
	}
	// Of a device that may still be at work nobody knows what it runs by now. One
	// that is done may run a load that was replaced since.
	if row.Standing == Done {
		c.Runs = row.Step
	}
	return c, Verdict{Device: row.Device, Load: goal, Reason: ReasonByHand}, true, nil
}
