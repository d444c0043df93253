package origin

import "time"

// Line is what a device has seen itself of the way to the origin. The zero value
// has seen nothing.
type Line struct {
	rate  float64       // bytes per second, all downloads together
	first int64         // bytes of the present download that came with the first piece, 0 before
	bytes int64         // that came after those
	last  time.Duration // when bytes came last
	took  time.Duration // for which they came
}

// What a line is judged by. Less than a second says nothing, and whoever gets
// nothing for longer than a server may be silent was not listening.
const (
	leastSeen   = time.Second
	longestGap  = 10 * time.Second
	longestTime = 10 * time.Minute
)

// Begin begins to measure a download.
func (l *Line) Begin() { l.first, l.bytes, l.took = 0, 0, 0 }

// Seen takes how many bytes have come in the download in all, while so many others
// are under way.
func (l *Line) Seen(now time.Duration, bytes int64, others int) {
	if l.first == 0 {
		l.first, l.last = bytes, now
		return
	}
	if gap := now - l.last; gap <= longestGap {
		l.took += gap
	}
	if l.last, l.bytes = now, bytes-l.first; l.Timed() {
		l.rate = float64(l.bytes) / l.took.Seconds() * float64(1+others)
	}
}

// Timed reports whether the present download has gone on long enough to tell the
// rate.
func (l *Line) Timed() bool { return l.bytes > 0 && l.took >= leastSeen }

// Takes returns how long so many bytes take if nothing else is under way, at most
// ten minutes; 0 if that is not known.
func (l *Line) Takes(bytes int64) time.Duration {
	if l.rate <= 0 {
		return 0
	}
	return time.Duration(min(float64(bytes)/l.rate, longestTime.Seconds()) * float64(time.Second))
}
