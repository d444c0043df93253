package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// TestStoppedInTheMiddle: a parent or a leaf whose power goes, or that hangs,
// holds up nobody else.
func TestOthersStopped(t *testing.T) {
	t.Parallel()
	for _, role := range []string{report.RoleParent, report.RoleLeaf} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			srv, _ := crash(t, 9, func(s *site, ds []*device) (v *device) {
				s.poll(5*time.Second, "a "+role, func() bool {
					for _, d := range ds {
						// Where a file takes two trees nearly everybody has children.
						e := d.last()
						if parent := e.Role == report.RoleParent && len(e.Children) > 0; parent && role == report.RoleParent ||
							role == report.RoleLeaf && (e.Role == report.RoleLeaf || parent && len(e.Children) < wire.MaxChildren) {
							v = d
						}
					}
					return v != nil
				})
				return v
			}, syscall.SIGSTOP, nil)
			srv.once(nearlyOnce)
		})
	}
}

// TestRottenDisk: what an earlier run left is not what it should be.
func TestRottenDisk(t *testing.T) {
	t.Parallel()
	body := content(120, 4*mib)
	for _, c := range []struct {
		name string
		rot  func(t *testing.T, out string)
	}{
		{"partial altered", func(t *testing.T, out string) { alter(t, partOf(t, out, ".part")) }},
		{"index altered", func(t *testing.T, out string) { alter(t, partOf(t, out, ".part.idx")) }},
		{"index empty", func(t *testing.T, out string) { writeFile(t, partOf(t, out, ".part.idx"), "") }},
		{"partial cut off", func(t *testing.T, out string) {
			if err := os.Truncate(partOf(t, out, ".part"), 100_000); err != nil {
				t.Fatal(err)
			}
		}},
		{"file in place altered", func(t *testing.T, out string) {
			b := append([]byte(nil), body...)
			b[len(b)/2] ^= 1
			writeFile(t, out, string(b))
		}},
		{"a directory in its place", func(t *testing.T, out string) {
			if err := os.Mkdir(out, 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"a link in its place", func(t *testing.T, out string) {
			victim := filepath.Join(filepath.Dir(out), "victim")
			writeFile(t, victim, "precious")
			if err := os.Symlink(victim, out); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if b, _ := os.ReadFile(victim); string(b) != "precious" {
					t.Errorf("what the link points to is now %d bytes", len(b))
				}
			})
		}},
	} {
		for _, keeper := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, a peer has the file: %v", c.name, keeper), func(t *testing.T) {
				t.Parallel()
				srv := newServer(t, body)
				srv.set(func(s *server) { s.rate = 2 * mib })
				s := newSite(t)
				a := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body))
				a.until(10*time.Second, "half", isProgress(50))
				a.signal(syscall.SIGKILL)
				<-a.ended
				c.rot(t, a.out)
				srv.set(func(s *server) { s.rate = 0 })
				if keeper {
					k := s.get(addrOf(1), srv.url(), "--sha256", shaOf(body), "--linger", "20s")
					k.done(10 * time.Second)
				}
				b := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body))
				b.wait(15*time.Second, 0)
				if st, err := os.Stat(b.out); err == nil && st.IsDir() {
					b.out = filepath.Join(b.out, "app.bin")
				}
				b.holds(body)
				t.Log(srv.ranges())
				if f := b.final(); keeper {
					t.Logf("%d bytes from the server while a peer has the file, aim 0", f.BytesFromOrigin)
				}
			})
		}
	}
}

// partOf finds the file that a run left beside its target.
func partOf(t *testing.T, out, suffix string) string {
	t.Helper()
	p := filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+suffix)
	if _, err := os.Stat(p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMaxTime(t *testing.T) {
	t.Parallel()
	body := content(121, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	d := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body), "--max-time", "1s")
	<-d.ended
	t.Logf("after %v with %d: %s", d.took, d.code, d.lastError())
	if d.code != 4 || d.took > 4*time.Second || !strings.Contains(d.lastError(), "max-time") {
		t.Errorf("ended with %d after %v: %s", d.code, d.took, d.lastError())
	}
	d.holdsNothing()
}

// TestClassic: the original's timing, store-and-forward, still one download.
func TestClassic(t *testing.T) {
	t.Parallel()
	body := content(122, mib)
	srv := newServer(t, body)
	s := newSite(t)
	for _, d := range s.start(3, srv.url(), "--sha256", shaOf(body), "--profile", "classic") {
		d.wait(60*time.Second, 0)
		d.holds(body)
		t.Logf("%s: first byte after %.1f s as %s", d.addr, d.final().FirstByteS, d.final().Role)
	}
	srv.once(nearlyOnce)
}

// TestModelGroups: devices of two models do not share; one that cannot share
// downloads by itself and says so.
func TestModelGroups(t *testing.T) {
	t.Parallel()
	body := content(123, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	var ds []*device
	for i, m := range []string{"7961", "7961", "7941", "7941"} {
		ds = append(ds, s.get(addrOf(i), srv.url(), "--sha256", shaOf(body), "--model", m))
	}
	for _, d := range ds {
		d.wait(20*time.Second, 0)
		d.holds(body)
	}
	t.Logf("two models: %.2f times the file from the server", float64(srv.sentOf(appPath))/float64(len(body)))
	if n := srv.sentOf(appPath); n != 2*int64(len(body)) && groupOf("7961") != groupOf("7941") {
		t.Errorf("two groups took %d bytes from the server", n)
	}
}

// TestNewerJoinsOlderRun: a device that joins in the middle takes part.
func TestJoinInTheMiddle(t *testing.T) {
	t.Parallel()
	body := content(124, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(3, srv.url(), "--sha256", shaOf(body))
	srv.waitBytes(int64(len(body)*3/4), 10*time.Second)
	at := time.Now()
	late := s.get(addrOf(9), srv.url(), "--sha256", shaOf(body))
	for _, d := range append(ds, late) {
		d.wait(20*time.Second, 0)
		d.holds(body)
	}
	t.Logf("joined at three quarters, done %v later", late.began.Sub(at)+time.Duration(late.final().ElapsedS*float64(time.Second)))
	srv.once(nearlyOnce)
}
