package rollout_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
)

// BenchmarkCheckIn measures one check-in of a fleet of so many devices that go
// through a whole upgrade: it costs the same in each. It also shows what a device
// takes in memory.
func BenchmarkCheckIn(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			m, rows := large(b, n)
			runtime.GC()
			runtime.ReadMemStats(&after)
			at := rollout.Place{Zone: zone(b, "Europe/Oslo"), Windows: schedule(b, "22:00-04:00")}
			now, i := noon, 0
			b.ResetTimer()
			for b.Loop() {
				if i == 4*n { // all are done
					b.StopTimer()
					m, rows = large(b, n)
					i = 0
					b.StartTimer()
				}
				row := rows[i/4]
				said := rollout.Report{Runs: "old", Load: row.Step, Try: row.Try}
				switch i % 4 {
				case 1:
					said.Activity = rollout.Fetching
				case 2:
					said.Activity = rollout.Installing
				case 3:
					said.Runs = "new"
				}
				m.Heard(now, row, said, at)
				now = now.Add(time.Millisecond)
				i++
			}
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/device")
		})
	}
}

// large is a rollout of n devices in ten waves, all open.
func large(b *testing.B, n int) (*rollout.Machine, []*rollout.Row) {
	p := rollout.Default()
	p.Waves, p.DownloadAnytime = nil, true
	for i := 1; i <= 10; i++ {
		p.Waves = append(p.Waves, rollout.Wave{Percent: 10 * i, Gate: rollout.Gate{Opener: rollout.ByPerson}})
	}
	r, err := rollout.NewRecord(noon, "r", "ann", p)
	if err != nil {
		b.Fatal(err)
	}
	m := rollout.New(r, rollout.Straight)
	must := func(e rollout.Event) {
		if _, err := m.Step(noon, e); err != nil {
			b.Fatal(err)
		}
	}
	must(rollout.Start{By: "ann"})
	rows := make([]*rollout.Row, n)
	for i := range rows {
		row, _, err := m.List(noon, rollout.Candidate{Device: fmt.Sprintf("SEP%012X", i), Site: "oslo", Load: "new",
			Runs: "old", Place: rollout.Place{Zone: time.UTC}})
		if err != nil {
			b.Fatal(err)
		}
		rows[i] = &row
	}
	must(rollout.Listed{})
	for range 9 {
		must(rollout.Next{By: "ann"})
	}
	return m, rows
}
