package idle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/internal/testkit/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// inside runs a test in namespaces.
var inside = labtest.Isolation{Isolated: site.Isolated, Isolate: site.Isolate}

const (
	// server is the controller's address in a namespace site.
	server = "172.31.0.2"
	// dayBytes is what 100 idle agents may cost their line in a day.
	dayBytes = 1e6
	// feedBytes is more than a new feed for 100 devices takes, with the connection for it.
	feedBytes = 15_000
	// feedLife is how long a feed lasts: a stretch that is as long has one new feed.
	feedLife = 45 * time.Minute
)

// stretch is how long it is counted, and agents how many there are.
func stretch(t *testing.T) (d time.Duration, agents int) {
	text := os.Getenv("PEERLOAD_IDLE")
	if text == "" && os.Getenv("PEERLOAD_FULL") == "" {
		t.Skip("it counts for minutes; PEERLOAD_IDLE says how long, and ./test.sh full does it for two")
	}
	d, err := time.ParseDuration(cmp.Or(text, "2m"))
	if err != nil || d < time.Minute {
		t.Fatalf("PEERLOAD_IDLE=%s: it is a time such as 45m, a minute at least", text)
	}
	agents, err = strconv.Atoi(cmp.Or(os.Getenv("PEERLOAD_IDLE_AGENTS"), "100"))
	if err != nil || agents < 1 {
		t.Fatal("PEERLOAD_IDLE_AGENTS is a number of agents")
	}
	return d, agents
}

// lab is a controller, and agents at a site behind a line.
type lab struct {
	*testing.T
	dir, programs string
	net           *site.Namespaces
}

func newLab(t *testing.T, programs string, agents int) *lab {
	l := &lab{T: t, dir: t.TempDir(), programs: programs}
	var err error
	// A line with a delay carries IP alone: the routers' ARP is none of the agents'.
	l.net, err = site.NewNamespaces(site.NamespaceConfig{Devices: agents, WAN: 10 * units.Mbit, LAN: 100 * units.Mbit,
		RTT: 20 * time.Millisecond})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = l.net.Close() })
	serve := l.command("peerload-server", "serve", "--listen", server+":8443", "--http", server+":6970", "--tftp", "off",
		"--name", server)
	l.start("controller", serve, serve.Start)
	cert := filepath.Join(l.dir, "data", "tls", "cert.pem")
	l.until("the controller runs", func() bool { _, err := os.Stat(cert); return err == nil })
	l.write("app.bin", "an app")
	l.write("none.toml", "")
	l.do("enterprise", "set", "peer-sharing=on", "--yes")
	l.do("load", "add", "--name", "box-1", "--version", "1", "--model", "linux-amd64", "app.bin")
	l.do("trust", "export", "--out", "trust")
	l.write("key", string(l.do("enrolment", "add", "k", "--site-key")))
	for i := range agents {
		agent := l.command("peerload", "agent", "--config", "none.toml", "--server", "http://"+server+":6970",
			"--mac", fmt.Sprintf("0284000000%02X", i), "--model", "linux-amd64", "--trust", "trust",
			"--state", fmt.Sprintf("state-%d", i), "--controller", "https://"+server+":8443", "--cacert", cert,
			"--token-file", "key", "--no-sync")
		agent.Args = append(agent.Args, l.net.Host(i).Args...)
		l.start(fmt.Sprintf("agent-%d", i), agent, func() error { return l.net.Host(i).Run(agent.Start) })
	}
	return l
}

func (l *lab) write(name, text string) {
	l.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
}

// command is a program of the product.
func (l *lab) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(l.programs, name), args...)
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "PEERLOAD_DATA="+filepath.Join(l.dir, "data"), "LC_ALL=C")
	return cmd
}

// start starts a program, which ends with the test.
func (l *lab) start(name string, cmd *exec.Cmd, start func() error) {
	l.Helper()
	log, err := os.Create(filepath.Join(l.dir, name+".log"))
	if err != nil {
		l.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := errors.Join(start(), log.Close()); err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
}

// do runs a command of the controller.
func (l *lab) do(args ...string) []byte {
	l.Helper()
	out, err := l.command("peerload-server", args...).CombinedOutput()
	if err != nil {
		l.Fatalf("peerload-server %q: %v: %s", args, err, out)
	}
	return bytes.TrimSpace(out)
}

// until waits until something is so.
func (l *lab) until(what string, so func() bool) {
	l.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	late := time.After(10 * time.Minute)
	for !so() {
		select {
		case <-tick.C:
		case <-late:
			said, _ := os.ReadFile(filepath.Join(l.dir, "agent-0.log"))
			l.Fatalf("it does not come to pass: %s; an agent says: %s", what, said)
		}
	}
}

// answered sends an order to all, and waits until so many have carried it out.
func (l *lab) answered(kind string, agents int) {
	l.Helper()
	var sent struct {
		Item struct {
			Order struct {
				ID string `json:"id"`
			} `json:"order"`
		} `json:"item"`
	}
	out := l.do("order", "send", kind, "--all", "--yes", "--json")
	if err := json.Unmarshal(out, &sent); err != nil || sent.Item.Order.ID == "" {
		l.Fatalf("%v: %s", err, out)
	}
	l.until(kind, func() bool {
		return bytes.Count(l.do("order", "show", sent.Item.Order.ID, "--json"), []byte(`"standing":"done"`)) >= agents
	})
}

// bytes are those that the line has carried, both ways, with the headers of TCP, IP
// and Ethernet.
func (l *lab) bytes() float64 {
	w, ok := l.net.Wire()
	if !ok {
		l.Fatal("there is no line to count on")
	}
	return float64(w.Down + w.Up)
}

// TestIdle: agents that have nothing to do cost their line what they may. It counts all
// that crosses it, minute by minute.
func TestIdle(t *testing.T) {
	most, agents := stretch(t)
	programs := inside.RunPrograms(t, "peerload", "peerload-server")
	if programs == "" {
		return
	}
	l := newLab(t, programs, agents)
	l.until("all have enrolled", func() bool {
		return bytes.Count(l.do("device", "list", "--json"), []byte(`"reported"`)) >= agents
	})
	l.answered("forget-failure", agents)
	l.answered("check-in", agents) // who has not followed yet has reported by itself
	l.answered("check-in", agents)
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	for range 2 { // until what was opened for that has closed
		<-minute.C
	}
	begin := l.bytes()
	last, minutes := begin, 0
	for d := time.Duration(0); d < most; d += time.Minute {
		<-minute.C
		now := l.bytes()
		t.Logf("minute %d: %.0f bytes", minutes+1, now-last)
		last, minutes = now, minutes+1
	}
	sum := last - begin
	t.Logf("%d agents, %d minutes: %.0f bytes, that is %.2f MB a day", agents, minutes, sum,
		sum*24*60/float64(minutes)/1e6)
	bound := dayBytes * float64(minutes) / (24 * 60)
	if most < feedLife {
		bound += feedBytes // one may begin in it
	}
	if agents <= 100 && sum > bound {
		t.Errorf("%d bytes at most, not %d", int(bound), int(sum))
	}
}
