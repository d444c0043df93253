package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/device/doctor"
	"github.com/peerload/peerload/internal/testkit/filesystem"
	"github.com/peerload/peerload/internal/testkit/foreign"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// wires is a network of two namespaces: the server's, and that of the device,
// which has the interface eth0.
type wires struct {
	t              *testing.T
	server, device string
}

var wired atomic.Int32

func newWires(t *testing.T) *wires {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces with names need root")
	}
	n := wired.Add(1)
	w := &wires{t: t, server: fmt.Sprintf("pls%d-%d", os.Getpid(), n), device: fmt.Sprintf("pld%d-%d", os.Getpid(), n)}
	if out, err := exec.Command("ip", "netns", "add", w.server).CombinedOutput(); err != nil {
		t.Skipf("no network namespaces here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		_ = exec.Command("ip", "netns", "del", w.server).Run()
		_ = exec.Command("ip", "netns", "del", w.device).Run()
	})
	w.do("ip netns add DEVICE")
	w.do("ip -n SERVER link set lo up")
	w.do("ip -n DEVICE link set lo up")
	w.do("ip link add s0 netns SERVER type veth peer name eth0 netns DEVICE")
	w.do("ip -n SERVER link set s0 up")
	w.do("ip -n DEVICE link set eth0 up")
	return w
}

// do runs commands, one a line.
func (w *wires) do(lines string) {
	w.t.Helper()
	lines = strings.NewReplacer("SERVER", w.server, "DEVICE", w.device).Replace(lines)
	for line := range strings.Lines(lines) {
		if f := strings.Fields(line); len(f) > 0 {
			if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
				w.t.Skipf("%s: %v: %s", strings.TrimSpace(line), err, out)
			}
		}
	}
}

// inServer opens something in the server's namespace.
func (w *wires) inServer(open func() error) {
	w.t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		w.t.Fatal(err)
	}
	defer here.Close()
	there, err := netns.GetFromName(w.server)
	if err != nil {
		w.t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		w.t.Fatal(err)
	}
	err = open()
	if back := netns.Set(here); err != nil || back != nil {
		w.t.Fatal(err, back)
	}
}

// link waits until an interface of the device is as ip(8) says: the kernel notes a carrier
// a little later.
func (w *wires) link(name, is string) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		out, err := exec.Command("ip", "-n", w.device, "link", "show", "dev", name).CombinedOutput()
		if err != nil {
			w.t.Fatalf("%v: %s", err, out)
		}
		if strings.Contains(string(out), is) {
			return
		}
	}
}

// serve serves with f in the server's namespace.
func (w *wires) serve(address string, f http.HandlerFunc) string {
	w.t.Helper()
	var l net.Listener
	w.inServer(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		return err
	})
	s := &http.Server{Handler: f}
	go s.Serve(l)
	w.t.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String() + "/f"
}

// get runs `peerload get` in the device's namespace.
func (w *wires) get(args ...string) (out string, code int) {
	w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	c := command(nil)
	c.Path, err = exec.LookPath("ip")
	if err != nil {
		w.t.Fatal(err)
	}
	c.Args = append([]string{"ip", "netns", "exec", w.device, self, "get", "--unsigned", "--linger", "0s", "--state",
		w.t.TempDir()}, args...)
	b, err := c.CombinedOutput()
	if c.ProcessState == nil {
		w.t.Fatal(err)
	}
	return string(b), c.ProcessState.ExitCode()
}

// networks are ways in which devices are connected; each has the server at
// 10.78.0.1.
var networks = map[string]struct {
	setup string
	flags string
	// root is the address at which the device meets its peers.
	root string
}{
	"a LAN": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0`, "", "10.78.0.2"},
	"a VPN with half routes": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0
		ip -n DEVICE route add default via 10.78.0.1
		ip -n DEVICE tuntap add tun0 mode tun
		ip -n DEVICE addr add 10.8.0.6 peer 10.8.0.5 dev tun0
		ip -n DEVICE link set tun0 up
		ip -n DEVICE route add 0.0.0.0/1 dev tun0
		ip -n DEVICE route add 128.0.0.0/1 dev tun0`, "", "10.78.0.2"},
	"a bridge of containers": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0
		ip -n DEVICE link add docker0 type bridge
		ip -n DEVICE addr add 172.17.0.1/16 dev docker0
		ip -n DEVICE link set docker0 up`, "", "10.78.0.2"},
	"an uplink without a subnet, a LAN beside it": {`ip -n SERVER addr add 10.78.0.1 peer 10.64.0.2 dev s0
		ip -n DEVICE addr add 10.64.0.2 peer 10.78.0.1 dev eth0
		ip -n DEVICE route add default dev eth0
		ip link add s1 netns SERVER type veth peer name eth1 netns DEVICE
		ip -n SERVER link set s1 up
		ip -n DEVICE link set eth1 up
		ip -n DEVICE addr add 10.79.0.2/24 dev eth1`, "", "10.79.0.2"},
	"another interface for the peers": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0
		ip link add s1 netns SERVER type veth peer name eth1 netns DEVICE
		ip -n SERVER link set s1 up
		ip -n DEVICE link set eth1 up
		ip -n DEVICE addr add 10.79.0.2/24 dev eth1`, "--interface eth1", "10.79.0.2"},
	"an address without its prefix": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0`, "--address 10.78.0.2", "10.78.0.2"},
	"a link-local address too": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 169.254.7.7/16 dev eth0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0`, "", "10.78.0.2"},
	"31 bits": {`ip -n SERVER addr add 10.78.0.1/31 dev s0
		ip -n DEVICE addr add 10.78.0.0/31 dev eth0`, "", "10.78.0.0"},
	"32 bits": {`ip -n SERVER addr add 10.78.0.1/32 dev s0
		ip -n SERVER route add 10.78.0.2 dev s0
		ip -n DEVICE addr add 10.78.0.2/32 dev eth0
		ip -n DEVICE route add 10.78.0.1 dev eth0`, "", "10.78.0.2"},
	"an MTU of 1280": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0
		ip -n SERVER link set s0 mtu 1280
		ip -n DEVICE link set eth0 mtu 1280`, "", "10.78.0.2"},
	"an MTU of 9000": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0
		ip -n SERVER link set s0 mtu 9000
		ip -n DEVICE link set eth0 mtu 9000`, "", "10.78.0.2"},
	"a bridge": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE link add br0 type bridge
		ip -n DEVICE link set br0 up
		ip -n DEVICE link set eth0 master br0
		ip -n DEVICE addr add 10.78.0.2/24 dev br0`, "", "10.78.0.2"},
	"a macvlan": {`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE link add link eth0 name mac0 type macvlan mode bridge
		ip -n DEVICE link set mac0 up
		ip -n DEVICE addr add 10.78.0.2/24 dev mac0`, "", "10.78.0.2"},
	"a vxlan": {`ip -n SERVER addr add 10.70.0.1/24 dev s0
		ip -n DEVICE addr add 10.70.0.2/24 dev eth0
		ip -n SERVER link add vx0 type vxlan id 7 dstport 4789 remote 10.70.0.2 dev s0
		ip -n DEVICE link add vx0 type vxlan id 7 dstport 4789 remote 10.70.0.1 dev eth0
		ip -n SERVER link set vx0 up
		ip -n DEVICE link set vx0 up
		ip -n SERVER addr add 10.78.0.1/24 dev vx0
		ip -n DEVICE addr add 10.78.0.2/24 dev vx0`, "", "10.78.0.2"},
}

// TestNetworks: in each network the server is reached as any program reaches it,
// and the peers are looked for where they can be.
func TestNetworks(t *testing.T) {
	tiers.Long(t, "it starts the program in each of many networks")
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWires(t)
			w.do(n.setup)
			url := w.serve("10.78.0.1", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "firmware") })
			file := filepath.Join(t.TempDir(), "f")
			out, code := w.get(append(strings.Fields(n.flags), url, "--json", "-o", file)...)
			if b, _ := os.ReadFile(file); code != 0 || string(b) != "firmware" || !strings.Contains(out,
				`"root":"`+n.root+":4051\"") {
				t.Errorf("%d, %q: %s", code, b, out)
			}
		})
	}
}

// TestNoPeersPossible: a host without an IPv4 address fetches alone, and says so.
func TestNoPeersPossible(t *testing.T) {
	tiers.Long(t, "it starts the program many times")
	w := newWires(t)
	w.do(`ip -n SERVER addr add fd00::1/64 dev s0 nodad
		ip -n DEVICE addr add fd00::2/64 dev eth0 nodad`)
	url := w.serve("fd00::1", func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, "firmware") })
	out, code := w.get(url, "-o", filepath.Join(t.TempDir(), "f"))
	if code != 0 || !strings.Contains(out, "without the peers") {
		t.Errorf("%d: %s", code, out)
	}
}

// TestNetworkChanges: a download goes on when the address changes in the middle
// of it, and when the interface goes and comes back.
func TestNetworkChanges(t *testing.T) {
	tiers.Long(t, "it waits until connections are given up")
	for name, change := range map[string]string{
		"another address": `ip -n DEVICE addr flush dev eth0
			ip -n DEVICE addr add 10.78.0.33/24 dev eth0`,
		"the interface goes and comes back": `ip -n DEVICE link set eth0 down
			ip -n DEVICE link set eth0 up`,
		"the address goes and comes back": `ip -n DEVICE addr flush dev eth0
			ip -n DEVICE addr add 10.78.0.2/24 dev eth0`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWires(t)
			w.do(`ip -n SERVER addr add 10.78.0.1/24 dev s0
				ip -n DEVICE addr add 10.78.0.2/24 dev eth0`)
			body := strings.Repeat("firmware", 1<<16)
			var asked atomic.Int32
			url := w.serve("10.78.0.1", func(rw http.ResponseWriter, r *http.Request) {
				if asked.Add(1) > 1 {
					rw.Header().Set("ETag", `"1"`)
					http.ServeContent(rw, r, "f", time.Time{}, strings.NewReader(body))
					return
				}
				rw.Header().Set("ETag", `"1"`)
				rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
				io.WriteString(rw, body[:len(body)/2])
				_ = http.NewResponseController(rw).Flush()
				w.do(change)
				<-r.Context().Done()
			})
			file := filepath.Join(t.TempDir(), "f")
			out, code := w.get(url, "-o", file)
			if b, _ := os.ReadFile(file); code != 0 || string(b) != body {
				t.Errorf("%d, %d bytes of %d after %d requests: %s", code, len(b), len(body), asked.Load(), out)
			}
		})
	}
}

// TestPeersAfterAMove: a device whose address changes in the middle meets its
// peers at the new one, and so does one whose interface is away for a while.
func TestPeersAfterAMove(t *testing.T) {
	tiers.Long(t, "it waits until connections are given up")
	for name, c := range map[string]struct{ change, flags, at string }{
		"another address": {`ip -n DEVICE addr flush dev eth0
			ip -n DEVICE addr add 10.78.0.33/24 dev eth0`, "", "10.78.0.33"},
		"another network": {`ip -n SERVER addr add 10.79.0.1/24 dev s0
			ip -n DEVICE addr flush dev eth0
			ip -n DEVICE addr add 10.79.0.2/24 dev eth0
			ip -n DEVICE route add 10.78.0.1 dev eth0 via 10.79.0.1`, "", "10.79.0.2"},
		"the interface is made anew": {`ip -n SERVER link del s0
			sleep 3
			ip link add s0 netns SERVER type veth peer name eth0 netns DEVICE
			ip -n SERVER addr add 10.78.0.1/24 dev s0
			ip -n SERVER link set s0 up
			ip -n DEVICE addr add 10.78.0.2/24 dev eth0
			ip -n DEVICE link set eth0 up`, "--interface eth0", "10.78.0.2"},
		"another interface stays": {`ip -n DEVICE link add other type bridge
			ip -n DEVICE addr add 10.99.0.1/24 dev other
			ip -n DEVICE link set other up
			ip -n DEVICE addr flush dev eth0
			sleep 3
			ip -n DEVICE addr add 10.78.0.2/24 dev eth0`, "--address 10.78.0.2", "10.78.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWires(t)
			w.do(`ip -n SERVER addr add 10.78.0.1/24 dev s0
				ip -n DEVICE addr add 10.78.0.2/24 dev eth0`)
			body := strings.Repeat("firmware", 1<<16)
			changed := make(chan struct{})
			var asked atomic.Int32
			url := w.serve("10.78.0.1", func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("ETag", `"1"`)
				if asked.Add(1) > 1 {
					<-changed
					http.ServeContent(rw, r, "f", time.Time{}, &slowly{strings.NewReader(body)})
					return
				}
				rw.Header().Set("Content-Length", fmt.Sprint(len(body)))
				io.WriteString(rw, body[:len(body)/2])
				_ = http.NewResponseController(rw).Flush()
				w.do(c.change)
				close(changed)
				<-r.Context().Done()
			})
			file := filepath.Join(t.TempDir(), "f")
			out, code := w.get(append(strings.Fields(c.flags), url, "--json", "-o", file)...)
			if b, _ := os.ReadFile(file); code != 0 || string(b) != body {
				t.Errorf("%d, %d bytes of %d after %d requests: %s", code, len(b), len(body), asked.Load(), out)
			}
			var listened []string
			for line := range strings.Lines(out) {
				var e report.Event
				if json.Unmarshal([]byte(line), &e) == nil && e.Event == report.KindListening {
					listened = append(listened, e.Address)
				}
			}
			if len(listened) < 2 || listened[len(listened)-1] != c.at+":4051" {
				t.Errorf("met its peers at %v, at last not at %s: %s", listened, c.at, out)
			}
		})
	}
}

// slowly gives way to what looks at the network meanwhile.
type slowly struct{ *strings.Reader }

func (s *slowly) Read(b []byte) (int, error) {
	<-time.After(100 * time.Millisecond)
	return s.Reader.Read(b[:min(len(b), 16<<10)])
}

// TestAgentAfterAMove: an agent whose address changes meets its peers at the new
// one without waiting for its next check-in.
func TestAgentAfterAMove(t *testing.T) {
	tiers.Long(t, "it waits until the address is looked at")
	w := newWires(t)
	w.do(`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0`)
	dir := t.TempDir()
	file := filepath.Join(dir, "default.cnf.xml")
	const share = "<device><vendorConfig><peerFirmwareSharing>1</peerFirmwareSharing></vendorConfig></device>"
	if err := os.WriteFile(file, []byte(share), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := command(nil)
	if c.Path, err = exec.LookPath("ip"); err != nil {
		t.Fatal(err)
	}
	c.Args = []string{"ip", "netns", "exec", w.device, self, "agent", "--provision", file, "--mac", "02:00:00:00:00:01",
		"--model", "7961", "--state", filepath.Join(dir, "state"), "--check-in", "1h", "--trust", dir}
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	listens := func(at string) {
		t.Helper()
		limit, tick := time.NewTimer(time.Minute), time.NewTicker(50*time.Millisecond)
		defer tick.Stop()
		for {
			out, err := exec.Command("ip", "netns", "exec", w.device, "ss", "-Hlun").CombinedOutput()
			if err != nil {
				t.Skipf("no ss here: %v: %s", err, out)
			}
			if strings.Contains(string(out), at+":4051") {
				return
			}
			select {
			case <-tick.C:
			case <-limit.C:
				_ = c.Process.Kill()
				_ = c.Wait()
				t.Fatalf("does not listen at %s: %s\n%s", at, out, log.String())
			}
		}
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	listens("10.78.0.2")
	w.do(`ip -n DEVICE addr flush dev eth0
		ip -n DEVICE addr add 10.78.0.33/24 dev eth0`)
	listens("10.78.0.33")
	w.do(`ip -n DEVICE addr flush dev eth0
		ip -n DEVICE link set eth0 down
		ip -n DEVICE link set eth0 up
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0`)
	listens("10.78.0.2")
}

// TestDoctorFinds: doctor finds in a network what keeps devices from sharing there.
func TestDoctorFinds(t *testing.T) {
	tiers.Long(t, "doctor listens to the network three times")
	t.Parallel()
	w := newWires(t)
	w.do(`ip -n SERVER addr add 10.78.0.1/24 dev s0
		ip -n DEVICE addr add 10.78.0.2/24 dev eth0
		ip -n DEVICE link set eth0 mtu 1200
		ip link add s1 netns SERVER type veth peer name wlan0 netns DEVICE
		ip -n SERVER link set s1 up
		ip -n DEVICE addr add 192.168.78.2/24 dev wlan0
		ip -n DEVICE link set wlan0 up`)
	w.link("wlan0", "state UP")
	url := w.serve("10.78.0.1", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		http.NotFound(rw, r)
	})
	var peer net.PacketConn
	w.inServer(func() (err error) {
		peer, err = net.ListenPacket("udp4", "10.78.0.1:4051")
		return err
	})
	defer peer.Close()
	// A peer that can be heard but not connected to, and in its second half one of
	// another version.
	claim := wire.Marshal(wire.Envelope{From: wire.Peer{ID: 1, Nonce: 1}, TCPPort: 4051}, &wire.Resign{})
	old := bytes.Clone(claim)
	old[4]++
	var say atomic.Pointer[[]byte]
	say.Store(&claim)
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			_, err := peer.WriteTo(*say.Load(), &net.UDPAddr{IP: net.IPv4(10, 78, 0, 255), Port: 4051})
			if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	doctor := func(env []string, args ...string) string {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		c := command(env)
		if c.Path, err = exec.LookPath("ip"); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		c.Args = append([]string{"ip", "netns", "exec", w.device, self, "doctor", "--config", noConfig(t, dir),
			"--model", "7961", "--interface", "eth0", "--trust", dir, "--state", dir,
			"--dhcp-lease", filepath.Join(dir, "none")}, args...)
		out, _ := c.CombinedOutput()
		return string(out)
	}
	has := func(out string, all ...string) {
		t.Helper()
		for _, want := range all {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
	}
	has(doctor(nil, "--server", strings.TrimSuffix(url, "/f")), "warn  interface eth0 has an MTU of 1200",
		"warn  this host is on other networks too: wlan0 (192.168.78.2/24)",
		"ok    broadcasts are sent and heard", "fail  heard, but cannot be connected to: 10.78.0.1",
		"warn  the clock differs from that of 10.78.0.1")
	say.Store(&old)
	want := []string{"warn  プロトコルのバージョンが異なる機器: 10.78.0.1",
		"fail  名前no-such-name.invalidを解決できません",
		"      -> "}
	for _, c := range []struct{ with, rule, says string }{
		{"nft", `ip netns exec DEVICE nft add table inet f
			ip netns exec DEVICE nft add chain inet f in { type filter hook input priority 0 ; policy accept ; }
			ip netns exec DEVICE nft add rule inet f in tcp dport 4051 drop`, "tcp dport 4051 drop"},
		{"iptables", "ip netns exec DEVICE iptables -A INPUT -p tcp --dport 4051 -j DROP", "-A INPUT -p tcp"},
	} {
		if _, err := exec.LookPath(c.with); err != nil {
			t.Logf("%s is not installed: its rules are read in the tests of internal/device/doctor only", c.with)
			continue
		}
		w.do(c.rule)
		want = append(want, "fail  ファイアウォールが破棄します: TCP 4051の受信: "+c.says)
	}
	has(doctor([]string{"LANG=ja_JP.UTF-8"}, "--server", "no-such-name.invalid"), want...)
	w.do("ip -n SERVER link set s0 down")
	w.link("eth0", "state DOWN")
	has(doctor(nil, "--server", "10.78.0.1"), "fail  interface eth0 has no carrier")
}

// TestDoctorDisk: a disk on which no load has room is found, and what cannot be written.
func TestDoctorDisk(t *testing.T) {
	has := func(dir string, verdict doctor.Verdict, what string) {
		t.Helper()
		got := checkState(t.Context(), agent.Config{State: dir})
		if len(got) != 1 || got[0].Verdict != verdict || !strings.Contains(got[0].What.EN, what) {
			t.Errorf("%+v, want %s %q", got, verdict, what)
		}
	}
	has("/dev/null/state", doctor.Fail, "state directory")
	has(filesystem.SmallTmpfs(8<<20).Mount(t, foreign.Program), doctor.Warn, "left")
}
