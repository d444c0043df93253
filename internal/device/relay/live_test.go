package relay

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/teller"
	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/internal/order"
)

// liveBytes has a carrier tell a controller over TLS how devices download, each of which
// has something new for each batch, and returns the bytes a second, TCP/IP included. The
// seconds are those that the carrier waits; nobody waits for them.
func liveBytes(t testing.TB, s *site, watch order.Watch, devices, batches int) float64 {
	t.Helper()
	x := s.nodes[0]
	from := teller.New(x.name, func() teller.Phase { return teller.Phase{Load: "phone-2", State: "downloading"} })
	from.Watch(watch)
	bytes, seconds := 0.0, 0.0
	for i := range batches {
		for d := range devices {
			text, err := json.Marshal(live.State{Device: fmt.Sprintf("SEP02AA%08X", d), Load: "phone-2", Phase: "downloading",
				Address: fmt.Sprintf("10.0.%d.%d", d/250, d%250), Files: []live.File{{Name: "SCCP41.9-4-2SR2-2S.bin", Size: 9 << 20,
					Have: int64(i*d+1) << 8, Root: "10.0.0.1", Parents: []string{fmt.Sprintf("10.0.%d.%d", d/500, d/2%250)}}}})
			if err != nil || !from.Put(text) {
				t.Fatalf("%s: %v", text, err)
			}
		}
		before := s.front.bytes.Load()
		batch, next := from.Batch()
		if batch == nil {
			t.Fatal("nothing is told")
		}
		s.must(x.feed.Live(t.Context(), batch))
		sent := float64(s.front.bytes.Load() - before)
		bytes += sent + segment*(math.Ceil(sent/payload)+1) // the answer is a segment of its own
		seconds += next.Seconds()
	}
	return bytes / seconds
}

// liveRates are the bounds of a fast line and of thin ones, in bytes a second.
var liveRates = []int{4000, 1000, 200, 30}

// liveSite is a site with a carrier.
func liveSite(t testing.TB) *site {
	s := newSite(t, 1, time.Hour)
	s.start(0)
	s.answered(s.send(), 1)
	s.wait(1)
	return s
}

// TestLiveRate: what a carrier tells takes no more of its line than the controller has
// said, the headers of HTTP, TLS and TCP/IP included, however thin the line is.
func TestLiveRate(t *testing.T) {
	s := liveSite(t)
	for _, rate := range liveRates {
		if is := liveBytes(t, s, order.Watch{Rate: rate}, 300, 8); is > float64(rate) {
			t.Errorf("%.0f bytes a second, at most %d", is, rate)
		}
	}
	for kept, most := range map[int]float64{0: teller.SeldomRate, 30: 30} { // nobody looks
		if is := liveBytes(t, s, order.Watch{Kept: kept}, 300, 8); is > most {
			t.Errorf("nobody looks: %.0f bytes a second, at most %.0f", is, most)
		}
	}
}

// BenchmarkLive measures what it costs a line that somebody looks at the upgrade of 1,000
// devices: at most 4 kB a second, and 2 % of the line.
func BenchmarkLive(b *testing.B) {
	s := liveSite(b)
	for b.Loop() { // it is the same each time
		for _, rate := range liveRates {
			is := liveBytes(b, s, order.Watch{Rate: rate}, 1000, 40)
			if b.ReportMetric(is, fmt.Sprintf("B/s-of-%d", rate)); is > float64(rate) {
				b.Errorf("%.0f bytes a second, at most %d", is, rate)
			}
		}
	}
}
