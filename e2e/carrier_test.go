package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/testkit/tiers"
)

// line is the way of a site to its controller, which can be cut.
type line struct {
	net.Listener
	to string

	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &line{Listener: l, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { w.Close(); w.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w
}

// carry carries a connection.
func (w *line) carry(c net.Conn) {
	defer c.Close()
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer far.Close()
	w.mu.Lock()
	if w.cut {
		w.mu.Unlock()
		return
	}
	w.open[c], w.open[far] = true, true
	w.mu.Unlock()
	ended := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			ended <- struct{}{}
		}()
	}
	<-ended
	w.mu.Lock()
	delete(w.open, c)
	delete(w.open, far)
	w.mu.Unlock()
}

// set cuts the line, or mends it.
func (w *line) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut = cut; cut {
		for c := range w.open {
			c.Close()
		}
	}
}

// subnet are agents of one subnet, each a process.
type subnet struct {
	*office
	names  []string
	agents map[string]*exec.Cmd
	bin    string // the program of the agents that are started next
}

// newSubnet has a controller and nobody else.
func newSubnet(t *testing.T, n int) *subnet {
	t.Helper()
	s := &subnet{office: newOffice(t, 0, 0), agents: map[string]*exec.Cmd{}, bin: peerload}
	s.ports["site-2"] = freePort(t)
	for i := range n {
		s.names = append(s.names, fmt.Sprintf("SEP0283000000%02X", i))
	}
	s.devices["site-2"] = s.names
	s.publish("box-1.0", "1.0", "linux-amd64") // there is nothing to trust before
	s.run("trust", "export", "--out", "trust")
	key := []byte(s.run("enrolment", "add", "k", "--site-key"))
	if err := os.WriteFile(filepath.Join(s.dir, "key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// reported waits until so many agents have reported.
func (s *subnet) reported(n int) {
	s.t.Helper()
	s.until("all have reported", 2*time.Minute, func() bool {
		return s.count(func(client.Device) bool { return true }) == n
	})
}

// agent starts an agent, whose way to the controller is the line.
func (s *subnet) agent(name string, n int, way *line) {
	s.t.Helper()
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.bin, "agent", "--config", filepath.Join(s.dir, "none.toml"), "--server", "http://"+s.http,
		"--mac", name[3:], "--model", "linux-amd64", "--trust", filepath.Join(s.dir, "trust"),
		"--address", fmt.Sprintf("127.83.%d.%d/8", n/200, n%200+1), "--port", fmt.Sprint(s.ports["site-2"]),
		"--state", filepath.Join(s.dir, name), "--controller", "http://"+way.Addr().String(),
		"--token-file", filepath.Join(s.dir, "key"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.agents[name] = cmd
	s.t.Cleanup(func() { s.end(name); log.Close() })
}

// end kills an agent.
func (s *subnet) end(name string) {
	if cmd := s.agents[name]; cmd != nil {
		delete(s.agents, name)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}
}

// carrier is the agent that has said last that it keeps the connection.
func (s *subnet) carrier() (name string) {
	s.t.Helper()
	last := ""
	for n := range s.agents {
		text, err := os.ReadFile(filepath.Join(s.dir, n+".log"))
		if err != nil {
			s.t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			if strings.Contains(l, "keeps the connection to the controller") && l > last {
				name, last = n, l
			}
		}
	}
	return name
}

// send sends an order to all.
func (s *subnet) send(kind string) string {
	s.t.Helper()
	o, err := s.c.SendOrder(s.t.Context(), client.OrderRequest{Kind: kind, All: true}, false)
	if err != nil {
		s.t.Fatal(err)
	}
	return o.Order.ID
}

// answered waits until every agent that runs has carried an order out. One that was
// killed may have done so before.
func (s *subnet) answered(what, id string) {
	s.t.Helper()
	began := time.Now()
	s.until(what, 5*time.Minute, func() bool {
		done := map[string]bool{}
		for d, err := range s.c.OrderDevices(id).List(s.t.Context(), client.Filter{}) {
			if err != nil {
				return false
			}
			done[d.Device] = d.Standing == "done"
		}
		for name := range s.agents {
			if !done[name] {
				return false
			}
		}
		return true
	})
	s.t.Logf("%s: %v", what, time.Since(began).Round(10*time.Millisecond))
}

// TestCarrier: the agents of a subnet get their orders by one connection, and get them
// though the carrier is killed during one, the controller during another, and the line
// is cut during a third.
func TestCarrier(t *testing.T) {
	tiers.Long(t, "it starts many devices or waits long")
	t.Parallel()
	n := 8
	if os.Getenv("PEERLOAD_FULL") == "1" {
		n = 100
	}
	s := newSubnet(t, n)
	way := newLine(t, s.api)
	for i, name := range s.names {
		s.agent(name, i, way)
	}
	s.reported(n)
	s.answered("all are connected", s.send("forget-failure"))
	s.answered("an order", s.send("forget-failure"))
	s.answered("all report", s.send("check-in"))
	began := time.Now()
	id := s.send("check-in") // it is done when the controller has the report
	s.end(s.carrier())
	s.answered("the carrier is killed while all report", id)
	for d, err := range s.c.Devices.List(t.Context(), client.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.agents[d.Name] != nil && (d.State == nil || d.State.Reported.Before(began.Add(-time.Second))) {
			t.Errorf("%s: its report is lost", d.Name)
		}
	}

	id = s.send("forget-failure")
	s.kill()
	s.start()
	s.answered("the controller is killed", id)

	way.set(true)
	id = s.send("check-in")
	if os.Getenv("PEERLOAD_FULL") == "1" {
		<-time.After(time.Minute) // until those who wait for the controller have given it up
	}
	way.set(false)
	s.answered("the line is cut", id)
}

// TestOldAndNewCarrier: agents of the version before this one and of this one are one
// subnet to their controller, whichever of them carries: orders reach all, and so do
// reports their controller.
func TestOldAndNewCarrier(t *testing.T) {
	older := old(t)
	for _, carrierIsOld := range []bool{true, false} {
		t.Run(fmt.Sprintf("carrier old %v", carrierIsOld), func(t *testing.T) {
			const n = 6
			s := newSubnet(t, n)
			way := newLine(t, s.api)
			for i, name := range s.names {
				if s.bin = peerload; (i == 0) == carrierIsOld {
					s.bin = older
				}
				s.agent(name, i, way)
				if i == 0 { // it carries before there is anybody else
					s.until("the first one carries", time.Minute, func() bool { return s.carrier() == name })
				}
			}
			s.reported(n)
			for range 2 {
				s.answered("all are connected", s.send("forget-failure"))
				began := time.Now()
				s.answered("all report", s.send("check-in"))
				for d, err := range s.c.Devices.List(t.Context(), client.Filter{}) {
					if err != nil || d.State == nil || d.State.Reported.Before(began.Add(-time.Second)) {
						t.Errorf("%s: its report is lost, %v", d.Name, err)
					}
				}
			}
			if c := s.carrier(); c != s.names[0] {
				t.Errorf("%s carries: %s was to", c, s.names[0])
			}
			text, err := os.ReadFile(filepath.Join(s.dir, s.names[n-1]+".log"))
			if err != nil || !strings.Contains(string(text), "come by way of another device") {
				t.Errorf("the last agent follows nobody: %v: %s", err, text)
			}
		})
	}
}
