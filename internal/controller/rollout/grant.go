package rollout

import (
	"time"

	"github.com/peerload/peerload/internal/controller/window"
)

// hand returns what a device may do, and writes it into its row.
func (m *Machine) hand(row *Row, said Report, at Place) (out Outcome) {
	step := m.stepOf(row, said)
	if out.Hold = m.closed(row); step == "" || out.Hold != HoldNone {
		if out.Hold == HoldNone {
			out.Hold = HoldTrial
		}
		if out.Hold == HoldBackOff {
			out.Again = row.After
		}
		return m.keep(row, said, out)
	}
	opening, opens := window.Opening(m.now, at.Zone, m.rec.Plan.Windows, at.Windows)
	if !m.rec.Plan.DownloadAnytime && !opening.Contains(m.now) {
		out.Hold = HoldWindow
		if opens {
			out.Again = opening.From
		}
		return m.keep(row, said, out)
	}
	download := m.valid()
	activate := opening.And(download)
	if activate.Empty() {
		activate = window.Span{}
	}
	if !m.rec.Plan.DownloadAnytime {
		download = activate
	}
	if row.Step != step || !row.holds(m.now) || !m.enough(row, opening, download, activate) {
		m.grant(row, step, download, activate)
	}
	out.Grant = m.handed(row)
	return out
}

// valid is how long a grant can hold from now on.
func (m *Machine) valid() window.Span {
	s := window.Span{From: m.now, Until: m.now.Add(m.rec.Plan.Valid)}
	if d := m.rec.Plan.Deadline; !d.IsZero() && d.Before(s.Until) {
		s.Until = d
	}
	return s
}

// closed says why a device gets nothing new, whatever its site.
func (m *Machine) closed(row *Row) Hold {
	switch {
	case !row.Standing.open():
		return HoldSettled
	case m.rec.State != Running:
		return HoldState
	case m.past():
		return HoldDeadline
	case row.Wave >= m.rec.Open:
		return HoldWave
	case row.Standing == Waiting && m.now.Before(row.After):
		return HoldBackOff
	}
	return HoldNone
}

// stepOf is the load that a device is to run next, "" for none: then the row
// says why, or the device tries the goal by itself. One that cannot go on is
// skipped once its wave is open. A device that installs is let end that.
func (m *Machine) stepOf(row *Row, said Report) string {
	if row.Standing == Began && said.Activity == Installing && said.Load == row.Step && !row.bad(row.Step) {
		return row.Step
	}
	if m.closed(row) != HoldNone {
		return ""
	}
	goal := m.resolve(row.Load)
	if said.Runs == goal && !row.bad(goal) {
		return ""
	}
	step, ok := m.next(said.Runs, goal)
	switch {
	case row.bad(goal):
		m.move(row, Skipped, ReasonJudged)
	case !ok || step == "" || step == said.Runs:
		m.move(row, Skipped, ReasonNoWay)
	case row.bad(step):
		m.move(row, Skipped, ReasonJudged)
	case row.Steps >= maxSteps:
		m.move(row, Failed, ReasonSteps)
	default:
		return step
	}
	return ""
}

// keep is for a device that gets nothing new: one that installs keeps what it has,
// for to be cut short there is worse, unless the load itself is to go; from all
// others it is taken.
func (m *Machine) keep(row *Row, said Report, out Outcome) Outcome {
	installs := row.Standing == Began && said.Activity == Installing && row.holds(m.now)
	if installs && m.rec.State != RolledBack && !row.bad(row.Step) {
		out.Grant, out.Hold, out.Again = m.handed(row), HoldNone, time.Time{}
		return out
	}
	row.withdraw()
	if row.Standing == Granted {
		m.move(row, Waiting, row.Reason)
	}
	return out
}

// enough reports whether what a device holds still does: it lies within what it
// could get, and has more than half of that before it. So a device that checks in
// often does not cause a write each time.
func (m *Machine) enough(row *Row, opening, download, activate window.Span) bool {
	half := func(have, could window.Span) bool {
		return could.Empty() || have.Until.Sub(m.now) > could.Until.Sub(m.now)/2
	}
	// A download is bound to windows only together with its activation.
	return opening.Covers(row.Activate) && !row.Download.Until.After(download.Until) && half(row.Download, download) &&
		half(row.Activate, activate)
}

// grant gives a device a step. It is another try unless the device holds one for
// that step, or has begun on it.
func (m *Machine) grant(row *Row, step string, download, activate window.Span) {
	if row.Step != step || row.Standing == Waiting {
		row.Step = step
		row.Try++
		row.After = time.Time{}
		if row.First.IsZero() {
			row.First = m.now
		}
		m.move(row, Granted, row.Reason)
	}
	row.Download, row.Activate = download, activate
}

// handed is the grant of a row.
func (m *Machine) handed(row *Row) *Grant {
	return &Grant{Rollout: m.rec.ID, Device: row.Device, Load: row.Step, Try: row.Try, Download: row.Download,
		Activate: row.Activate}
}
