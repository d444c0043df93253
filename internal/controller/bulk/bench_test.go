package bulk_test

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
)

// BenchmarkImport makes 100,000 devices by a job, or as many as PEERLOAD_FLEET says, with
// the check before it and the read-back of each row, and prints the time beside the bound
// for 100,000.
func BenchmarkImport(b *testing.B) {
	const bound = 15 * time.Second
	rows := 100_000
	if n, err := strconv.Atoi(os.Getenv("PEERLOAD_FLEET")); err == nil && n > 0 {
		rows = n
	}
	lines := []string{"device,model,profile,site,description,peer-sharing"}
	for i := range rows {
		lines = append(lines, fmt.Sprintf("%012X,%s,Branch,Kyoto,Phone %d,on", i+1, []string{"7941", "7961"}[i%2], i))
	}
	q := csv(lines...)
	for name, rig := range map[string]func(b *testing.B) *rig{
		"sqlite": func(b *testing.B) *rig { return newRig(b) },
		"postgres": func(b *testing.B) *rig {
			at, _, err := storesuite.PostgresFor(b, foreign.Missing).NewDatabase()
			if err != nil {
				b.Fatal(err)
			}
			s, err := postgres.Open(b.Context(), postgres.Config{URL: at})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { s.Close() })
			return rigOn(b, s)
		},
	} {
		b.Run(name, func(b *testing.B) {
			var took, busy time.Duration
			for range b.N {
				r := rig(b)
				begun, used := time.Now(), cpu(b)
				j := r.run(q)
				took, busy = took+time.Since(begun), busy+cpu(b)-used
				if j.State != domain.JobDone || j.Counts.Created != rows || j.Verified != j.Steps {
					b.Fatalf("%+v", j)
				}
			}
			b.ReportMetric(took.Seconds()/float64(b.N), "s/import")
			b.ReportMetric(busy.Seconds()/float64(b.N), "cpu-s/import")
			b.ReportMetric(bound.Seconds(), "s/bound")
		})
	}
}

// cpu is what this process has used: on a machine that does other things too, it
// says more than the time.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
