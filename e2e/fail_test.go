package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

// crash runs n devices, does something to one of them when a third of the file
// is there, and wants all others to finish. It returns the server, and the
// device that it hit.
func crash(t *testing.T, n int, victim func(s *site, ds []*device) *device, sig syscall.Signal,
	setup func(*server)) (*server, *device) {
	t.Helper()
	body := content(9, 6*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	if setup != nil {
		srv.set(setup)
	}
	s := newSite(t)
	srv.awaitMeeting(s, n)
	ds := s.start(n, srv.url(), "--sha256", shaOf(body))
	srv.waitBytes(int64(len(body) / 3))
	v := victim(s, ds)
	v.signal(sig)
	at := time.Now()
	before := srv.sentOf(appPath)
	var flows time.Time
	poll(t, "progress of another device", func() bool {
		for _, d := range ds {
			d.mu.Lock()
			for i, e := range d.events {
				if d != v && d.heard[i].After(at.Add(100*time.Millisecond)) && isProgress(40)(e) &&
					(flows.IsZero() || d.heard[i].Before(flows)) {
					flows = d.heard[i]
				}
			}
			d.mu.Unlock()
		}
		return !flows.IsZero()
	})
	t.Logf("%v of %s at %d bytes: progress beyond 40 %% %v later", sig, v.addr, before, flows.Sub(at))
	for _, d := range ds {
		if d == v {
			continue
		}
		d.wait(0)
		d.holds(body)
	}
	var last, exit float64
	for _, d := range ds {
		if d != v {
			last = max(last, d.final().ElapsedS)
			exit = max(exit, d.took.Seconds())
		}
	}
	t.Logf("last device after %.2f s, the server's pace alone takes 3 s; last process gone after %.2f s", last, exit)
	return srv, v
}

func theRoot(s *site, ds []*device) *device { return s.rootOf(ds) }

func TestRootKilledAtAThird(t *testing.T) {
	tiers.Long(t, "it starts many processes")
	t.Parallel()
	srv, v := crash(t, 8, theRoot, syscall.SIGKILL, nil)
	srv.once(nearlyOnce)
	rs := srv.asked(appPath)
	if r := rs[len(rs)-1]; r.client == v.addr || r.ranged == "" {
		t.Errorf("the last request, of %s, is not for the rest: %q", r.client, r.ranged)
	}
}

func TestRootKilledWithoutRange(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	srv, _ := crash(t, 5, theRoot, syscall.SIGKILL, func(s *server) { s.noRange = true })
	srv.once(1.50)
}

func TestRootStopped(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	srv, _ := crash(t, 6, theRoot, syscall.SIGSTOP, nil)
	// The server goes on sending into the buffers of the stopped root.
	srv.once(2.0)
}

func TestInteriorParentKilled(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	srv, _ := crash(t, 9, func(s *site, ds []*device) (v *device) {
		s.poll("an interior parent", func() bool {
			for _, d := range ds {
				if e := d.last(); e.Role == report.RoleParent && len(e.Children) > 0 {
					v = d
				}
			}
			return v != nil
		})
		return v
	}, syscall.SIGKILL, nil)
	srv.once(nearlyOnce)
}

// TestRootInterrupted: a root that is told to stop tells its peers.
func TestRootInterrupted(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			srv, v := crash(t, 5, theRoot, sig, nil)
			v.wait(130)
			srv.once(nearlyOnce)
		})
	}
}

// TestContinueAfterKill: the same command again resumes where it stopped.
func TestContinueAfterKill(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	for _, how := range []string{"--sha256", "--unsigned"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			body := content(10, 4*mib)
			srv := newServer(t, body)
			srv.set(func(s *server) { s.rate = 2 * mib })
			s := newSite(t)
			args := []string{srv.url(), how}
			if how == "--sha256" {
				args = append(args, shaOf(body))
			}
			args = append(args, "--origin-connections", "1") // or as many chunks are lost as come at once
			a := s.get(addrOf(0), args...)
			a.until("half", isProgress(50))
			a.signal(syscall.SIGKILL)
			<-a.ended
			b := s.get(addrOf(0), args...)
			b.wait(0)
			b.holds(body)
			rs := srv.asked(appPath)
			last := rs[len(rs)-1]
			var from int
			if _, err := fmt.Sscanf(last.ranged, "bytes=%d-", &from); err != nil || from < len(body)*4/10 {
				t.Errorf("the rerun asked for %q", last.ranged)
			}
			f := b.final()
			t.Logf("continued at byte %d of %d; %d bytes from the cache", from, len(body), f.BytesFromCache)
			if f.BytesFromCache < int64(from) {
				t.Errorf("the rerun reports %d bytes held before", f.BytesFromCache)
			}
			srv.once(1.10)
		})
	}
}

// TestContinueWithoutLength: the server tells no length, so the second run does
// not know the size of its partial file. It ends all the same, and downloads
// the file once.
func TestContinueWithoutLength(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(24, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) {
		s.rate = 2 * mib
		s.fault = func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			_, _ = io.Copy(onlyWriter{w}, bytes.NewReader(body))
			return true
		}
	})
	s := newSite(t)
	args := []string{srv.url(), "--sha256", shaOf(body)}
	a := s.get(addrOf(0), args...)
	srv.waitBytes(mib)
	a.signal(syscall.SIGKILL)
	<-a.ended
	b := s.get(addrOf(0), args...)
	b.wait(0)
	b.holds(body)
	srv.once(1.9)
}

// TestFailureOfTheOriginReachesAll: they are told why.
func TestFailureOfTheOriginReachesAll(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	srv := newServer(t, content(11, mib))
	s := newSite(t)
	ds := s.start(6, strings.TrimSuffix(srv.url(), "app.bin")+"missing.bin", "--unsigned")
	for _, d := range ds {
		d.wait(7)
		if !strings.Contains(d.lastError(), "does not exist") {
			t.Errorf("%s says %q", d.addr, d.lastError())
		}
		d.holdsNothing()
	}
	t.Logf("%d requests of 6 devices for a file that is missing", len(srv.asked("/fw/missing.bin")))
}

// TestContentChanges: between two runs, or between two roots, the server gets
// another file under the same name. What comes out is one of the two, whole.
func TestContentChanges(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	for _, c := range []struct {
		name, etag string // of the first content
		n          int
	}{{"restart with ETag", `"1"`, 1}, {"restart without", "", 1}, {"root killed with ETag", `"1"`, 4},
		{"root killed without", "", 4}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, fresh := content(22, 4*mib), content(23, 4*mib+99)
			srv := newServer(t, old)
			srv.set(func(s *server) { s.etag, s.rate = c.etag, 2*mib })
			s := newSite(t)
			ds := s.start(c.n, srv.url(), "--unsigned")
			root := s.rootOf(ds)
			root.until("half", isProgress(50))
			root.signal(syscall.SIGKILL)
			srv.set(func(s *server) {
				s.files[appPath] = fresh
				if c.etag != "" {
					s.etag = `"2"`
				}
			})
			<-root.ended
			if c.n == 1 {
				root = nil
				ds[0] = s.get(addrOf(0), srv.url(), "--unsigned")
			}
			for _, d := range ds {
				if d != root {
					d.wait(0)
					d.holds(fresh)
				}
			}
			t.Log(srv.ranges())
		})
	}
}
