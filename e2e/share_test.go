package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/report"
)

const mib = 1 << 20

func TestTwelveShareOneDownload(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(1, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	srv.awaitMeeting(s, 12)
	ds := s.start(12, srv.url(), "--sha256", shaOf(body))
	roots := 0
	var last time.Duration
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
		f := d.final()
		if f.Role == report.RoleRoot {
			roots++
			if f.BytesFromOrigin == 0 || f.Source != report.SourceOrigin {
				t.Errorf("the root reports %d bytes from %s", f.BytesFromOrigin, f.Source)
			}
		} else if f.Source != report.SourcePeer || f.BytesFromPeers+f.BytesFromOrigin < int64(len(body)) || f.Parent == "" {
			t.Errorf("%s reports source %s, %d bytes from peers, parent %q", d.addr, f.Source, f.BytesFromPeers, f.Parent)
		}
		if f.SHA256 != shaOf(body) || f.Size != int64(len(body)) {
			t.Errorf("%s reports %s, %d bytes", d.addr, f.SHA256, f.Size)
		}
		last = max(last, time.Duration(f.ElapsedS*float64(time.Second)))
	}
	if roots != 1 {
		t.Errorf("%d roots", roots)
	}
	srv.once(nearlyOnce)
	t.Logf("last device after %v, the server's pace alone takes 1 s", last)
}

// TestAlone: a device that nobody answers is root, and one with peers off
// downloads the classic way, each with one request. A figure of the bench
// compares their times.
func TestAlone(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(2, 2*mib)
	for _, peers := range []string{"off", "on"} {
		srv := newServer(t, body)
		s := newSite(t)
		d := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body), "--peers", peers, "--origin-connections", "1")
		d.wait(0)
		d.holds(body)
		if n := len(srv.asked(appPath)); n != 1 {
			t.Errorf("--peers %s: %d requests", peers, n)
		}
		srv.once(1)
		want := report.RoleClassic
		if peers == "on" {
			want = report.RoleRoot
		}
		if f := d.final(); f.Role != want || f.Source != report.SourceOrigin {
			t.Errorf("--peers %s: role %s, source %s", peers, f.Role, f.Source)
		}
	}
}

func TestTwoAtOneAddress(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(3, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	var ds []*device
	for _, n := range []string{"a", "b"} {
		ds = append(ds, s.getAs(startup{state: s.dir + "/" + n + "/state", out: s.dir + "/" + n + "/file"},
			addrOf(0), srv.url(), "--sha256", shaOf(body)))
	}
	ports := map[string]bool{}
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
		e, _ := d.until("listening", func(e report.Event) bool { return e.Event == report.KindListening })
		ports[e.Address] = true
	}
	if len(ports) != 2 {
		t.Errorf("both listen at %v", ports)
	}
	srv.once(nearlyOnce)
}

// TestTwoOfOneDevice: two processes of one device have its id and its address,
// which is no conflict.
func TestTwoOfOneDevice(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(3, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	var ds []*device
	for _, n := range []string{"a", "b"} {
		ds = append(ds, s.getAs(startup{state: s.dir + "/state", out: s.dir + "/" + n}, addrOf(0), srv.url(),
			"--sha256", shaOf(body)))
	}
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
		if n := d.count(func(e report.Event) bool { return e.Event == report.KindConflict }); n > 0 {
			t.Errorf("%d conflicts of a device with itself", n)
		}
	}
	srv.once(nearlyOnce)
}

// TestTwoForOneName: two processes of one device want to write one name.
func TestTwoForOneName(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(4, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	a := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body))
	srv.waitBytes(128 << 10)
	b := s.get(addrOf(0), srv.url(), "--sha256", shaOf(body))
	b.wait(5)
	t.Logf("the second says: %s", b.lastError())
	a.wait(0)
	a.holds(body)
}

func TestLateDeviceAndRerun(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(5, 2*mib+12345)
	srv := newServer(t, body)
	s := newSite(t)
	early := s.start(4, srv.url(), "--sha256", shaOf(body), "--linger", "1ms")
	keeper := s.get(addrOf(4), srv.url(), "--sha256", shaOf(body))
	for _, d := range append(early, keeper) {
		d.wait(0)
	}
	// A device that has the file offers it: the rerun takes it from its disk.
	sent := srv.sentOf(appPath)
	again := s.get(addrOf(4), srv.url(), "--sha256", shaOf(body), "--linger", "20s")
	f := again.done()
	t.Logf("rerun with the file in place: %.3f s, source %s", f.ElapsedS, f.Source)
	if f.Source != report.SourceCache || f.BytesFromOrigin+f.BytesFromPeers != 0 {
		t.Errorf("the rerun took %d and %d bytes, source %s", f.BytesFromOrigin, f.BytesFromPeers, f.Source)
	}
	if !again.running() {
		t.Fatal("a complete device that was told to linger has gone")
	}
	if n := srv.sentOf(appPath); n != sent {
		t.Errorf("the rerun took %d bytes from the server", n-sent)
	}
	// From now on the server does not answer. A busy machine may let the late
	// device ask it before the other one has answered its claim; what it needs
	// comes from that one all the same.
	srv.set(func(s *server) {
		s.fault = func(_ http.ResponseWriter, r *http.Request, _ int) bool { <-r.Context().Done(); return true }
	})
	late := s.get(addrOf(9), srv.url(), "--sha256", shaOf(body))
	late.wait(0)
	late.holds(body)
	if f := late.final(); f.Source != report.SourcePeer || f.BytesFromOrigin != 0 {
		t.Errorf("the late device's source is %s, with %d bytes from the server", f.Source, f.BytesFromOrigin)
	}
	t.Logf("late device: %d requests to the server, %.3f s", len(srv.asked(appPath))-1, late.final().ElapsedS)
}

// TestTwoDevicesWithOneID: a copied image carries the id of the first device.
func TestTwoDevicesWithOneID(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(6, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	srv.awaitMeeting(s, 3) // on a busy machine the last one may begin when the others are done
	var ds []*device
	for i := range 3 {
		st := startup{state: s.dir + "/" + addrOf(i) + "/state"}
		if i < 2 {
			writeFile(t, st.state+"/id", "00000000deadbeef\n")
		} else {
			// One of the two is root: the other hears it.
			s.rootOf(ds)
		}
		ds = append(ds, s.getAs(st, addrOf(i), srv.url(), "--sha256", shaOf(body)))
	}
	conflicts := 0
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
		conflicts += d.count(func(e report.Event) bool { return e.Event == report.KindConflict })
	}
	if conflicts == 0 {
		t.Error("nobody reports the conflict")
	}
	srv.once(nearlyOnce)
}

func TestPeersOff(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(7, mib)
	srv := newServer(t, body)
	s := newSite(t)
	for _, d := range s.start(3, srv.url(), "--sha256", shaOf(body), "--peers", "off") {
		d.wait(0)
		d.holds(body)
	}
	if n := srv.sentOf(appPath); n != 3*int64(len(body)) {
		t.Errorf("the server sent %d bytes, want 3 times %d", n, len(body))
	}
}

func TestUnsigned(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	for _, c := range []struct{ name, etag string }{{"with ETag", `"abc"`}, {"without", ""}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			body := content(8, 2*mib)
			srv := newServer(t, body)
			srv.set(func(s *server) { s.etag, s.rate = c.etag, 2*mib })
			s := newSite(t)
			srv.awaitMeeting(s, 5)
			for _, d := range s.start(5, srv.url(), "--unsigned") {
				d.wait(0)
				d.holds(body)
				if !d.final().Unsigned {
					t.Errorf("%s does not say that the file is unsigned", d.addr)
				}
			}
			srv.once(nearlyOnce)
		})
	}
}

// TestForty devices share one download.
func TestForty(t *testing.T) {
	tiers.Long(t, "it starts many devices or waits long")
	if raceEnabled {
		t.Skip("too many processes for this machine")
	}
	body := content(104, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = mib })
	s := newSite(t)
	var last float64
	for _, d := range s.start(40, srv.url(), "--sha256", shaOf(body)) {
		d.wait(0)
		d.holds(body)
		last = max(last, d.final().ElapsedS)
	}
	t.Logf("last of 40 after %.2f s, the server's pace alone takes 4 s", last)
	srv.once(nearlyOnce)
}

// TestClassic: the original's timing, store-and-forward, still one download.
func TestClassic(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(122, mib)
	srv := newServer(t, body)
	s := newSite(t)
	for _, d := range s.start(3, srv.url(), "--sha256", shaOf(body), "--profile", "classic") {
		d.wait(0)
		d.holds(body)
		t.Logf("%s: first byte after %.1f s as %s", d.addr, d.final().FirstByteS, d.final().Role)
	}
	srv.once(nearlyOnce)
}

// TestModelGroups: devices of two models do not share; one that cannot share
// downloads by itself and says so.
func TestModelGroups(t *testing.T) {
	t.Parallel()
	tiers.Long(t, "it starts many devices or waits long")
	body := content(123, 2*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 4 * mib })
	s := newSite(t)
	var ds []*device
	for i, m := range []string{"7961", "7961", "7941", "7941"} {
		ds = append(ds, s.get(addrOf(i), srv.url(), "--sha256", shaOf(body), "--model", m))
	}
	for _, d := range ds {
		d.wait(0)
		d.holds(body)
	}
	t.Logf("two models: %.2f times the file from the server", float64(srv.sentOf(appPath))/float64(len(body)))
	if groupOf("7961") == groupOf("7941") {
		return
	}
	if ratio := float64(srv.sentOf(appPath)) / float64(len(body)); ratio < 2 || ratio > 2*nearlyOnce {
		t.Errorf("two groups took %.2f times the file from the server, want twice", ratio)
	}
}

// TestJoinInTheMiddle: a device that joins in the middle takes part.
func TestJoinInTheMiddle(t *testing.T) {
	tiers.Long(t, "it starts several processes")
	t.Parallel()
	body := content(124, 4*mib)
	srv := newServer(t, body)
	srv.set(func(s *server) { s.rate = 2 * mib })
	s := newSite(t)
	ds := s.start(3, srv.url(), "--sha256", shaOf(body))
	srv.waitBytes(int64(len(body) * 3 / 4))
	srv.set(func(s *server) { s.rate = mib / 8 }) // or a busy machine has it start when all is over
	at := time.Now()
	late := s.get(addrOf(9), srv.url(), "--sha256", shaOf(body))
	late.until("a source", func(e report.Event) bool { return e.Source == report.SourcePeer })
	srv.set(func(s *server) { s.rate = 2 * mib })
	for _, d := range append(ds, late) {
		d.wait(0)
		d.holds(body)
	}
	t.Logf("joined at three quarters, done %v later",
		late.began.Sub(at)+time.Duration(late.final().ElapsedS*float64(time.Second)))
	srv.once(nearlyOnce)
}
