package origin

import (
	"fmt"
	"time"
)

// LeastRate is the fewest bytes a second that a server must send on the
// average; what brings less counts as stalled. 64 is below the share that each
// of 16 devices has of a line of 12 kbit/s.
const LeastRate = 64

// waitBudget is how much longer to wait for a server. Waiting spends it, and each
// byte refills it by the time that one byte takes at LeastRate, up to what it
// was at first. So pauses that are shorter than that, and small files, do no
// harm, and however the bytes are spread: of any time T spent waiting,
// LeastRate × (T - most) bytes came, or the body is given up.
//
// It is pure: its caller measures the time.
type waitBudget struct {
	most time.Duration // what it was at first
	left time.Duration

	waited time.Duration // since it was full
	bytes  int64         // that came since then
}

// newWaitBudget returns a full budget; most must be positive.
func newWaitBudget(most time.Duration) waitBudget { return waitBudget{most: most, left: most} }

// after takes how long was waited, and how many bytes came then. It reports
// whether any of it is left.
func (p *waitBudget) after(waited time.Duration, n int) bool {
	p.waited += waited
	p.bytes += int64(n)
	p.left += time.Duration(n)*(time.Second/LeastRate) - waited
	if p.left >= p.most {
		*p = newWaitBudget(p.most)
	}
	return p.left > 0
}

// spent is the error for a server that sends nothing more until the budget
// is spent.
func (p waitBudget) spent() error {
	return fmt.Errorf("%w: %d bytes in %v, the least is %d a second", ErrStalled, p.bytes,
		(p.waited + max(0, p.left)).Round(10*time.Millisecond), LeastRate)
}
