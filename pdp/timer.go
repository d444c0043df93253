package pdp

import "time"

// timer is an instant at which something is due, or none.
type timer struct {
	at  time.Duration
	set bool
}

// start makes something due at an instant.
func (t *timer) start(at time.Duration) { t.at, t.set = at, true }

// stop makes nothing due any more.
func (t *timer) stop() { t.at, t.set = 0, false }

// due reports whether the instant has come.
func (t *timer) due(now time.Duration) bool { return t.set && now >= t.at }

// deadline returns the instant; ok is false if there is none.
func (t *timer) deadline() (at time.Duration, ok bool) { return t.at, t.set }

// sooner is for deadlines: it returns the earlier of two, of which either may be
// none.
func sooner(a time.Duration, aOK bool, b time.Duration, bOK bool) (at time.Duration, ok bool) {
	if aOK && (!bOK || a <= b) {
		return a, true
	}
	return b, bOK
}
