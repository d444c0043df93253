package services_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/api"
	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/files"
	"github.com/peerload/peerload/internal/controller/files/cnf"
	"github.com/peerload/peerload/internal/controller/services"
	"github.com/peerload/peerload/internal/controller/store/postgres"
	"github.com/peerload/peerload/internal/controller/store/sqlite"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/storesuite"
	"github.com/peerload/peerload/report"
)

// The fleet of the benchmarks, the same each time. A seventh of the devices was never
// heard of.
const benchSites = 500

// benchDevices are 100,000, or as many as PEERLOAD_FLEET says, in whole thousands.
var benchDevices = func() int {
	if n, err := strconv.Atoi(os.Getenv("PEERLOAD_FLEET")); err == nil && n >= 1000 {
		return n / 1000 * 1000
	}
	return 100_000
}()

var benchStates = []string{report.StateIdle, report.StateIdle, report.StateIdle, report.StateDownloading,
	report.StateFailed}

func benchName(i int) string   { return fmt.Sprintf("SEP%012X", i+1) }
func benchSecret(i int) string { return fmt.Sprintf("secret-of-%08d-0123456789abcdef", i) }

// benchFleet is a controller with 100,000 devices.
type benchFleet struct {
	services.Services
	dir   string
	admin domain.Actor
}

// onBoth runs a benchmark on a fleet in each database.
func onBoth(b *testing.B, fn func(b *testing.B, f *benchFleet)) {
	b.Run("sqlite", func(b *testing.B) {
		s, err := sqlite.Open(b.Context(), sqlite.Config{Path: filepath.Join(b.TempDir(), "controller.db")})
		if err != nil {
			b.Fatal(err)
		}
		fn(b, newBenchFleet(b, s))
	})
	b.Run("postgres", func(b *testing.B) {
		at, _, err := storesuite.PostgresFor(b, foreign.Missing).NewDatabase()
		if err != nil {
			b.Fatal(err)
		}
		s, err := postgres.Open(b.Context(), postgres.Config{URL: at})
		if err != nil {
			b.Fatal(err)
		}
		f := newBenchFleet(b, s)
		// As the server's own upkeep does some time after a large import.
		if _, err := s.Writes.ExecContext(b.Context(), "VACUUM ANALYZE"); err != nil {
			b.Fatal(err)
		}
		fn(b, f)
	})
}

func newBenchFleet(b *testing.B, s domain.Store) *benchFleet {
	b.Helper()
	b.Cleanup(func() { s.Close() })
	f := &benchFleet{dir: b.TempDir(), admin: domain.Local("root")}
	var err error
	f.Services, err = services.New(b.Context(), services.Config{Keys: f.dir, Domain: domain.Config{Store: s}})
	must(b, err)
	ctx, ctl := b.Context(), f.Controller
	for i := range benchSites {
		_, err := ctl.CreateSite(ctx, f.admin, fmt.Sprintf("Site %03d", i), domain.SiteChange{Networks: &[]string{
			fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)}})
		must(b, err)
	}
	for _, name := range []string{"Branch", "Lobby"} {
		_, err := ctl.CreateProfile(ctx, f.admin, name, domain.ProfileChange{Settings: domain.SettingsChange{
			Set: policy.Values{policy.PeerSharing: policy.On}}})
		must(b, err)
	}
	for name, model := range map[string]string{"SIP41": "7941", "SIP61": "7961"} {
		_, err := ctl.RegisterLoad(ctx, f.admin, domain.UnsignedLoad{Name: name, Models: []string{model}})
		must(b, err)
		_, err = ctl.AssignLoad(ctx, f.admin, domain.ModelTarget(model), name, 0)
		must(b, err)
	}
	for from := 0; from < benchDevices; from += 500 {
		must(b, s.Update(ctx, func(tx domain.Tx) error { return benchRows(ctx, tx, from, from+500) }))
	}
	return f
}

// benchRows makes some of the devices.
func benchRows(ctx context.Context, tx domain.Tx, from, to int) error {
	var devices []domain.Device
	var states []domain.DeviceState
	var secrets []domain.Credential
	now := time.Now().UTC()
	for i := from; i < to; i++ {
		d := domain.Device{Meta: domain.Meta{Created: now, Changed: now}, Name: benchName(i),
			Description: fmt.Sprintf("Phone %d, room %d", i, i%997), Model: []string{"CP-7941G", "CP-7961G"}[i%2],
			Profile: []string{"Branch", "Lobby", ""}[i%3], Registration: domain.RegistrationByEnrolment}
		if i%4 == 0 {
			d.Site = fmt.Sprintf("Site %03d", i%benchSites)
		}
		devices = append(devices, d)
		sum := sha256.Sum256([]byte(benchSecret(i)))
		secrets = append(secrets, domain.Credential{Meta: domain.Meta{Created: now}, ID: fmt.Sprintf("%016x", i),
			Kind: domain.CredentialDevice, Subject: d.Name, Hash: hex.EncodeToString(sum[:])})
		if i%7 == 6 {
			continue
		}
		states = append(states, domain.DeviceState{Meta: domain.Meta{Created: now, Changed: now}, Device: d.Name,
			Last: benchReport(i, 0), From: "127.0.0.1", Site: fmt.Sprintf("Site %03d", i%benchSites),
			LastSeen: now.Add(-time.Duration(i) * time.Second), Reported: now, Since: now,
			Traffic: domain.Traffic{FromOrigin: int64(i), FromPeers: int64(i) * 20}})
	}
	for _, err := range []error{tx.Devices().PutAll(ctx, devices), tx.States().PutAll(ctx, states),
		tx.Credentials().PutAll(ctx, secrets)} {
		if err != nil {
			return err
		}
	}
	return nil
}

func benchFrom(i int) string { return fmt.Sprintf("10.%d.%d.7", i%benchSites/250, i%benchSites%250) }

// benchReport is what a device says the nth time.
func benchReport(i, n int) report.Device {
	return report.Device{Schema: report.Schema, Model: []string{"CP-7941G", "CP-7961G"}[i%2],
		Active: []string{"SIP41", "SIP61", "old"}[(i+n)%3], Wanted: []string{"SIP41", "SIP61"}[i%2],
		State: benchStates[(i+n)%len(benchStates)], Boot: "1", Address: benchFrom(i), Program: "peerload 1.0"}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// timed prints the 99th percentile of how long calls take, in milliseconds, beside
// the bound.
func timed(b *testing.B, bound time.Duration, call func(n int) error) {
	b.Helper()
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		begun := time.Now()
		must(b, call(n))
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "ms/median")
	b.ReportMetric(ms(took[(len(took)*99-1)/100]), "ms/p99")
	b.ReportMetric(ms(bound), "ms/bound")
}

// BenchmarkLists reads pages of the list of devices, the overview, the list of sites
// and a site, and tells the memory in use.
func BenchmarkLists(b *testing.B) {
	onBoth(b, func(b *testing.B, f *benchFleet) {
		ctx, ctl := b.Context(), f.Controller
		for name, filter := range map[string]func(n int) domain.DeviceFilter{
			"all": func(int) domain.DeviceFilter { return domain.DeviceFilter{} },
			"site": func(n int) domain.DeviceFilter {
				return domain.DeviceFilter{Site: fmt.Sprintf("Site %03d", n%benchSites)}
			},
			"model":   func(n int) domain.DeviceFilter { return domain.DeviceFilter{Model: []string{"7941", "7961"}[n%2]} },
			"profile": func(n int) domain.DeviceFilter { return domain.DeviceFilter{Profile: "Branch", Model: "7961"} },
			"failed":  func(int) domain.DeviceFilter { return domain.DeviceFilter{State: report.StateFailed} },
			"active":  func(int) domain.DeviceFilter { return domain.DeviceFilter{Active: "old", Model: "7941"} },
			"text":    func(n int) domain.DeviceFilter { return domain.DeviceFilter{Text: fmt.Sprintf("room %d", n%997)} },
			"name":    func(n int) domain.DeviceFilter { return domain.DeviceFilter{Text: benchName(n)} },
		} {
			b.Run("page/"+name, func(b *testing.B) {
				next := ""
				timed(b, 20*time.Millisecond, func(n int) error {
					l, err := ctl.Devices(ctx, f.admin, filter(n), domain.Page{After: next})
					if next = l.Next; n%5 == 4 {
						next = ""
					}
					return err
				})
			})
		}
		b.Run("overview", func(b *testing.B) {
			timed(b, 50*time.Millisecond, func(int) error {
				o, err := ctl.Overview(ctx, f.admin, "", time.Hour)
				if err == nil && (o.Devices != benchDevices || len(o.BySite) != benchSites) {
					err = fmt.Errorf("%d devices, %d sites", o.Devices, len(o.BySite))
				}
				return err
			})
		})
		b.Run("sites", func(b *testing.B) {
			timed(b, 50*time.Millisecond, func(int) error {
				l, err := ctl.Sites(ctx, f.admin, domain.TextFilter{}, time.Hour, domain.Page{})
				if err == nil && (l.Total != benchSites || l.Items[0].Counts.Devices == 0) {
					err = fmt.Errorf("%d sites, the first is %+v", l.Total, l.Items[0])
				}
				return err
			})
		})
		b.Run("site", func(b *testing.B) {
			timed(b, 50*time.Millisecond, func(n int) error {
				_, err := ctl.Site(ctx, f.admin, fmt.Sprintf("Site %03d", n%benchSites), time.Hour)
				return err
			})
		})
		b.Run("memory", func(b *testing.B) {
			for b.Loop() {
				runtime.GC()
			}
			b.ReportMetric(resident(b), "MB/resident")
			b.ReportMetric(200, "MB/bound")
		})
	})
}

// resident is how much memory this process has, in MB.
func resident(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	must(b, err)
	var kB float64
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kB); err == nil {
			break
		}
	}
	return kB / 1000
}

// asking lets clients ask at the same time, each over a connection of its own that
// stays, and prints how many answers come in a second beside the bound, and how long
// the slowest take. The clients use the same processors, so they do as little as they
// can: request appends the nth request, and of an answer only its status is looked at.
func asking(b *testing.B, at net.Addr, clients int, bound float64, want string,
	request func(to []byte, n int) []byte) {
	b.Helper()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	took := make([][]time.Duration, clients)
	b.ResetTimer()
	begun, used := time.Now(), cpu(b)
	for i := range clients {
		wg.Go(func() {
			conn, err := net.Dial("tcp", at.String())
			if err != nil {
				failed.Store(&err)
				return
			}
			defer conn.Close()
			var text []byte
			answers := bufio.NewReader(conn)
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				text = request(text[:0], int(n))
				asked := time.Now()
				if err := exchange(conn, answers, text, want); err != nil {
					failed.Store(&err)
					return
				}
				took[i] = append(took[i], time.Since(asked))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatal(*err)
	}
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "answers/s")
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-µs/answer")
	b.ReportMetric(bound, "answers/s-bound")
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	b.ReportMetric(float64(all[(len(all)*99-1)/100].Milliseconds()), "ms/p99")
}

// exchange sends a request of HTTP and reads the answer to its end.
func exchange(conn net.Conn, answers *bufio.Reader, request []byte, want string) error {
	if _, err := conn.Write(request); err != nil {
		return err
	}
	status, err := answers.ReadString('\n')
	if err == nil && !strings.HasPrefix(status, "HTTP/1.1 "+want) {
		rest, _ := answers.Peek(answers.Buffered())
		err = fmt.Errorf("%s%s", status, rest)
	}
	length := 0
	for err == nil {
		var line []byte
		line, err = answers.ReadSlice('\n')
		if len(line) == 2 {
			_, err = answers.Discard(length)
			return err
		}
		if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, err = strconv.Atoi(string(bytes.TrimSpace(v)))
		}
	}
	return err
}

// cpu is what this process has used, clients and server: on a machine that does other
// things too, it says more than the time.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProvisioning fetches provisioning files over HTTP. The clients use the
// same processors.
func BenchmarkProvisioning(b *testing.B) {
	onBoth(b, func(b *testing.B, f *benchFleet) {
		root, err := os.OpenRoot(f.dir)
		must(b, err)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- files.Serve(ctx, files.Config{Root: root, HTTP: l, Metrics: files.NewMetrics(),
				Generate: cnf.Maker{Controller: f.Controller, Told: f.Rollouts.Told, Templates: f.dir}.Make})
		}()
		b.Run("http", func(b *testing.B) {
			asking(b, l.Addr(), 32, 5000, "200", func(to []byte, n int) []byte {
				return fmt.Appendf(to, "GET /%s.cnf.xml HTTP/1.1\r\nHost: h\r\n\r\n", benchName(n*7919%benchDevices))
			})
		})
		cancel()
		must(b, <-ended)
	})
}

// BenchmarkCheckIns sends check-ins to the API: each says something new.
func BenchmarkCheckIns(b *testing.B) {
	onBoth(b, func(b *testing.B, f *benchFleet) {
		srv, err := api.New(api.Config{Services: f.Services, Spool: b.TempDir()})
		must(b, err)
		h := httptest.NewServer(srv)
		defer h.Close()
		b.Run("http", func(b *testing.B) {
			// So many wait at a time if 3,000 come in a second and each waits for two commits of
			// some hundred.
			asking(b, h.Listener.Addr(), 384, 3000, "204", func(to []byte, n int) []byte {
				i := n * 7919 % benchDevices / 7 * 7 // one that was heard of
				body, err := json.Marshal(benchReport(i, n))
				if err != nil {
					panic(err)
				}
				to = fmt.Appendf(to, "POST %s/devices/%s/check-in HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"+
					"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", api.Prefix, benchName(i), benchSecret(i),
					len(body))
				return append(to, body...)
			})
		})
	})
}
