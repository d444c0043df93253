package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerload/peerload/internal/device/engine"
	"github.com/peerload/peerload/internal/device/proxy"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/testkit/tiers"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// TestYield: the file of the option and programs say that the device yields, and its
// machines hear it.
func TestYield(t *testing.T) {
	tiers.Long(t, "it runs whole devices; a short run has a whole upgrade of a site")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.YieldFile = filepath.Join(t.TempDir(), "call")
	r := start(t, cfg)
	r.runs("L1")
	said := make(chan string, 100)
	defer r.sink.subscribe(func(e report.Event) {
		if e.Reason == wire.ReasonYields.String() {
			said <- e.Message
		}
	})()
	says := func(what string) {
		t.Helper()
		select {
		case m := <-said:
			if !strings.Contains(m, what) {
				t.Errorf("said %q, not %q", m, what)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nobody said %q", what)
		}
	}
	say := func(on bool) {
		t.Helper()
		if err := Ask(context.Background(), cfg.State, Request{Op: "yield", Yield: on}, func(Reply) {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(cfg.YieldFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	says("yields: serves others only")
	if err := os.Remove(cfg.YieldFile); err != nil {
		t.Fatal(err)
	}
	until(t, "no more", func() bool { return !r.place.yields.On() })
	say(true)
	until(t, "again", r.place.yields.On)
	say(false)
	if r.place.yields.On() {
		t.Error("it yields on")
	}
}

// TestSocket: another program on the device asks the daemon, which fetches
// through the peers; what it cannot do it declines.
func TestSocket(t *testing.T) {
	tiers.Long(t, "it waits for some seconds")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.load("L2", "good", 100_000, "CP-7961G")
	d.write("tool.bin", strings.Repeat("tool", 50_000))
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := start(t, cfg)
	r.runs("L1")
	ctx := context.Background()
	ask := func(q Request) (last Reply, finals []*report.Final, events int) {
		t.Helper()
		err := Ask(ctx, cfg.State, q, func(p Reply) {
			if p.Event != nil {
				events++
			}
			if p.Final != nil {
				finals = append(finals, p.Final)
			}
			last = p
		})
		if err != nil {
			t.Fatal(err)
		}
		return last, finals, events
	}
	if p, _, _ := ask(Request{Op: "status"}); p.Device == nil || p.Device.Active != "L1" {
		t.Errorf("%+v", p)
	}
	to := filepath.Join(t.TempDir(), "tool.bin")
	p, finals, events := ask(Request{Op: "get",
		Get: &GetRequest{URLs: [][]string{{d.url + "/tool.bin?sig=geheim"}}, Targets: []string{to}, Unsigned: true,
			Linger: -1}})
	if b, err := os.ReadFile(to); p.Error != "" || len(finals) != 1 || events == 0 || len(b) != 200_000 || err != nil {
		t.Errorf("%+v, %d reports, %d events, %d bytes, %v", p, len(finals), events, len(b), err)
	}
	dir := t.TempDir()
	load := Request{Op: "get", Get: &GetRequest{URLs: [][]string{{d.url + "/L2.load"}}, Targets: []string{dir},
		Load: true, Trust: cfg.Trust, Linger: -1}}
	p, finals, events = ask(load)
	if b, err := os.ReadFile(filepath.Join(dir, "health")); p.Error+p.Declined != "" || len(finals) != 1 ||
		events == 0 || string(b) != "good" || err != nil {
		t.Errorf("%+v, %d reports, %d events, %q, %v", p, len(finals), events, b, err)
	}
	// What the daemon fetched itself is offered by it already.
	load.Get.URLs[0][0] = d.url + "/L1.load"
	if p, _, _ = ask(load); p.Declined == "" {
		t.Errorf("the daemon's own load: %+v", p)
	}
	p, _, _ = ask(Request{Op: "get",
		Get: &GetRequest{URLs: [][]string{{d.url + "/gone.bin"}}, Targets: []string{to + "2"},
			Unsigned: true}})
	if p.Error == "" || p.Exit == 0 {
		t.Errorf("a file that does not exist: %+v", p)
	}
	for _, none := range []GetRequest{{}, {SHA256: "1", Unsigned: true}, {Load: true}, {Load: true, SHA256: "1"}} {
		none.URLs, none.Targets = [][]string{{d.url + "/tool.bin"}}, []string{to + "3"}
		p, _, _ := ask(Request{Op: "get", Get: &none})
		if _, err := os.Lstat(to + "3"); p.Error == "" || err == nil {
			t.Errorf("nothing says which bytes are right, or two things do: %+v: %+v", none, p)
		}
	}
	one, two := []string{d.url + "/tool.bin"}, []string{to + "3", to + "4"}
	digest := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Repeat("tool", 50_000))))
	for name, q := range map[string]GetRequest{
		"one digest for two files": {URLs: [][]string{one, one}, Targets: two, SHA256: digest},
		"two targets for one file": {URLs: [][]string{one}, Targets: two, Unsigned: true},
		"no file":                  {Unsigned: true},
		"no digest":                {URLs: [][]string{one}, Targets: two[:1], SHA256: "12"},
		"trust for a file":         {URLs: [][]string{one}, Targets: two[:1], Trust: cfg.Trust},
		"no URL":                   {URLs: [][]string{{"nonsense"}}, Targets: two[:1], Unsigned: true},
		"no folder":                {URLs: [][]string{one}, Targets: []string{to + "/3"}, Unsigned: true},
	} {
		p, _, _ := ask(Request{Op: "get", Get: &q})
		if _, err := os.Lstat(two[0]); p.Error == "" || p.Exit == 0 || err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	for _, q := range []Request{{Op: "dance"}, {Op: "get"}} {
		if p, _, _ := ask(q); p.Declined == "" {
			t.Errorf("%+v: %+v", q, p)
		}
	}
	if st, err := os.Stat(filepath.Join(cfg.State, SocketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st.Mode(), err)
	}
	r.stop()
	if err := Ask(ctx, cfg.State, Request{Op: "status"}, func(Reply) {}); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
	d.provision("<Default></Default>")
	r = start(t, cfg)
	until(t, "off", func() bool { s := r.place.current(); return s != nil && !s.key.sharing })
	p, _, _ = ask(Request{Op: "get", Get: &GetRequest{URLs: [][]string{{d.url + "/tool.bin"}}, Targets: []string{to}}})
	if !strings.Contains(p.Declined, "share") {
		t.Errorf("a device that does not share: %+v", p)
	}
}

// TestAbout: of two presigned downloads that go on at once, whose URLs differ in values
// of the query alone, each program is told of its own.
func TestAbout(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.write("tool.bin", strings.Repeat("tool", 50_000))
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	r := start(t, cfg)
	r.runs("L1")
	get := func(ctx context.Context, id string, linger time.Duration, each func(report.Event)) error {
		q := &GetRequest{URLs: [][]string{{d.url + "/tool.bin?id=" + id}}, Targets: []string{filepath.Join(t.TempDir(), id)},
			Unsigned: true, Linger: linger}
		return Ask(ctx, cfg.State, Request{Op: "get", Get: q}, func(p Reply) {
			if p.Event != nil {
				each(*p.Event)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first, inPlace, over := map[string]int{}, make(chan struct{}, 1), make(chan error, 1)
	go func() {
		over <- get(ctx, "one", time.Hour, func(e report.Event) {
			first[e.Hierarchy]++
			if e.Event == report.KindCommitted {
				inPlace <- struct{}{}
			}
		})
	}()
	select {
	case <-inPlace:
	case err := <-over:
		t.Fatalf("the first ends: %v", err)
	}
	second := map[string]int{}
	if err := get(ctx, "two", 0, func(e report.Event) { second[e.Hierarchy]++ }); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-over
	if len(first) != 1 || len(second) != 1 || reflect.DeepEqual(first, second) {
		t.Errorf("events of %v and of %v", first, second)
	}
	for id := range second {
		if first[id] > 0 {
			t.Errorf("the first program was told of the second one's file: %v, %v", first, second)
		}
	}
	of := GetRequest{URLs: [][]string{{"http://h/fw/L1.load?sig=a/b"}}, Load: true}
	for at, want := range map[string]bool{"http://h/fw/L1.load?sig=xxxxx": true, "http://h/fw/components/1.app": true,
		"http://h/other/L1.load": false, "http://h/fw2/app": false, "": false} {
		if got := of.about()(report.Event{URL: at}); got != want {
			t.Errorf("of a load, %q: %v", at, got)
		}
	}
}

// FuzzRequest: a request is refused, or means the same when it is sent again.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"get","get":{"urls":[["http://h/f","h/f"]],"targets":["/f"],"unsigned":true,"linger":-1}}` + "\n"))
	f.Add([]byte(`{"op":"status"}` + "\n" + `{"op":"check-in"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readRequest(bytes.NewReader(b))
		if err != nil {
			return
		}
		if r.Get != nil {
			for _, texts := range r.Get.URLs {
				if urls, err := parseURLs(texts); err == nil && len(urls) != len(texts) {
					t.Fatalf("%q are %v", texts, urls)
				}
			}
		}
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := readRequest(bytes.NewReader(append(line, '\n'))); err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

// TestStay: a program that does not wait for the peers is answered at once, and the file
// is served when it has gone.
func TestStay(t *testing.T) {
	tiers.Long(t, "it runs whole devices; a short run has a whole upgrade of a site")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	d.write("tool.bin", strings.Repeat("tool", 50_000))
	d.provision(withSharing("L1", ""))
	cfg := newSubnet(t).config(d, "CP-7961G")
	start(t, cfg).runs("L1")
	get := func() (last Reply) {
		t.Helper()
		q := &GetRequest{URLs: [][]string{{d.url + "/tool.bin"}}, Targets: []string{filepath.Join(t.TempDir(), "tool.bin")},
			Unsigned: true, Linger: time.Hour, Stay: true}
		if err := Ask(t.Context(), cfg.State, Request{Op: "get", Get: q}, func(p Reply) { last = p }); err != nil {
			t.Fatal(err)
		}
		return last
	}
	if p := get(); !p.End || p.Error != "" || p.Declined != "" {
		t.Errorf("%+v", p)
	}
	if p := get(); !strings.Contains(p.Declined, engine.ErrTwice.Error()) {
		t.Errorf("the file is not served any more: %+v", p)
	}
}

// TestProxy: an agent with an address for it is a proxy by the device's own place among
// its peers, from a table of the configuration.
func TestProxy(t *testing.T) {
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 100_000, "CP-7961G")
	want := strings.Repeat("tool", 50_000)
	d.write("tool.bin", want)
	d.provision(withSharing("L1", ""))
	name := filepath.Join(t.TempDir(), "a.toml")
	write(t, name, "model = \"CP-7961G\"\n[proxy]\naddress = \"127.0.0.1:4052\"\nrule = [\""+d.url+
		"/** unsigned ignore=a,b\"]\n")
	env := func(string) (string, bool) { return "", false }
	read, _, err := Load(Sources{Path: name, Env: env})
	if err != nil || read.ProxyAddress != "127.0.0.1:4052" || len(read.ProxyRules) != 1 || read.ProxyKeep != 1<<30 {
		t.Fatalf("%+v, %v", read, err)
	}
	rules := func(name string) (string, bool) {
		return "http://a/** never; http://b/** unsigned", name == "PEERLOAD_PROXY_RULE"
	}
	if c, _, err := Load(Sources{Path: name, Env: rules}); err != nil || len(c.ProxyRules) != 2 {
		t.Errorf("%+v, %v", c.ProxyRules, err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.ProxyAddress, cfg.ProxyRules = l.Addr().String(), read.ProxyRules
	l.Close()
	r := start(t, cfg)
	r.runs("L1")
	at := "http://" + cfg.ProxyAddress + "/" + strings.Replace(d.url, "://", "/", 1) + "/tool.bin"
	if got := get(t, at, ""); got != want {
		t.Errorf("%d bytes through the proxy", len(got))
	}
	s := r.proxy.get().Status()
	if s.BytesShared != int64(len(want)) || s.Kept != 1 {
		t.Errorf("%+v", s)
	}
	if text := string(r.metrics()); !strings.Contains(text, "peerload_proxy_shared_bytes_total 200000\n") {
		t.Errorf("the metrics have nothing of it:\n%s", text)
	}
	for _, f := range r.rec.Status().Files {
		if f.File == "tool.bin" && !f.Done {
			t.Errorf("%+v", f)
		}
	}
}

// TestProxyKnowsLoad: the proxy of an agent knows the load that the agent runs, on its
// publisher's word: a client that asks for a component gets it chunk by chunk.
func TestProxyKnowsLoad(t *testing.T) {
	tiers.Long(t, "it waits for a proxy that comes back")
	t.Parallel()
	d := newDepot(t)
	d.load("L1", "good", 300_000, "CP-7961G")
	d.provision(withSharing("L1", ""))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := newSubnet(t).config(d, "CP-7961G")
	cfg.ProxyAddress = l.Addr().String()
	l.Close()
	spawn(t, cfg)
	var want []byte
	until(t, "the load runs", func() bool {
		active := ""
		err := Ask(t.Context(), cfg.State, Request{Op: "status"}, func(p Reply) {
			if p.Device != nil {
				active = p.Device.Active
			}
		})
		apps, _ := filepath.Glob(filepath.Join(cfg.State, slotsName, "[ab]", "app.bin"))
		if err != nil || active != "L1" || len(apps) != 1 {
			return false
		}
		want, err = os.ReadFile(apps[0])
		return err == nil
	})
	at := "http://" + cfg.ProxyAddress
	known := func() (s struct {
		Requests map[reason.Code]int `json:"requests"`
	}) {
		t.Helper()
		if err := json.Unmarshal([]byte(get(t, at+proxy.StatusPath, "")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	component := fmt.Sprintf("/components/%x.app.bin", sha256.Sum256(want))
	got := get(t, at+"/"+strings.Replace(d.url, "://", "/", 1)+component, "")
	if got != string(want) || len(got) != 300_000 {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
	if s := known(); s.Requests[reason.ProxyByLoad] != 1 {
		t.Errorf("on another word than that of the load: %v", s.Requests)
	}
}

// FuzzReplies: an answer ends with its last line or with an error, and nothing is
// told behind the last line.
func FuzzReplies(f *testing.F) {
	f.Add([]byte(`{"event":{"event":"done"}}` + "\n" + `{"final":{"file":"f"}}` + "\n" + `{"end":true}` + "\n{"))
	f.Add([]byte(`{"declined":"no","exit":5`))
	f.Fuzz(func(t *testing.T, b []byte) {
		told, end := 0, false
		err := readReplies(bytes.NewReader(b), func(p Reply) {
			if end {
				t.Fatal("told behind the end")
			}
			told, end = told+1, p.End
		})
		if end != (err == nil) || told > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d replies, ended %v: %v", told, end, err)
		}
	})
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case err := <-p.fails:
		return nil, err
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return nil }

// TestSlowClients: who does not send a request, or does not read the answer, is
// disconnected in time; a failed accept is not the end; and when the agent
// ends, nothing stays behind, whoever is connected.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{make(chan error), make(chan net.Conn), make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		serveHTTP(ctx, l, slog.New(slog.DiscardHandler), &busy, func(*http.Request) page {
			return page{status: 200, mediaType: "text/plain", body: []byte("here")}
		})
		l.fails <- syscall.ENOMEM
		connect := func(send string) net.Conn {
			near, far := net.Pipe()
			l.conns <- far
			if _, err := near.Write([]byte(send)); err != nil {
				t.Fatal(err)
			}
			return near
		}
		const whole = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

		silent, start := connect("GET / HTTP/1.1\r\n"), time.Now()
		if got, err := io.ReadAll(silent); len(got) > 0 || err != nil || time.Since(start) != requestTime {
			t.Errorf("half a request: %q, %v after %v, want the end after %v", got, err, time.Since(start), requestTime)
		}
		deaf := connect(whole)
		time.Sleep(replyTime) // by the bubble's clock
		synctest.Wait()
		if got, err := io.ReadAll(deaf); len(got) > 0 || err != nil {
			t.Errorf("an answer that nobody read for %v: %q, %v, want the end", replyTime, got, err)
		}
		if got, err := io.ReadAll(connect(whole + whole)); err != nil || strings.Count(string(got), "HTTP/1.1 200") != 1 {
			t.Errorf("two requests at once: %q, %v, want one answer", got, err)
		}
		held, deaf := connect("GET"), connect(whole)
		cancel()
		busy.Wait()
		for name, c := range map[string]net.Conn{"half a request": held, "an answer not read": deaf} {
			if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
				t.Errorf("%s, when the agent ends: %q, %v, want the end", name, got, err)
			}
		}
	})
}

// TestServeHTTPWaits: when the agent ends, a connection is closed at once, and
// nobody looks at the daemon afterwards.
func TestServeHTTPWaits(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var busy sync.WaitGroup
	var looked atomic.Bool
	looking, closed := make(chan struct{}), make(chan struct{})
	serveHTTP(ctx, l, slog.New(slog.DiscardHandler), &busy, func(*http.Request) page {
		close(looking)
		<-closed
		looked.Store(true)
		return page{status: 200, mediaType: "text/plain"}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-looking
	cancel()
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("%q, want the end", got)
	}
	close(closed)
	busy.Wait()
	if !looked.Load() {
		t.Error("somebody still looks")
	}
}

// TestTooManyConnections: who comes beyond the bound is turned away at once,
// and when somebody has left, the next is taken.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	l := bound(inner)
	connect := func() net.Conn {
		far, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { far.Close() })
		return far
	}
	var held []net.Conn
	for range maxConnections {
		connect()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	beyond := connect()
	taken := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			taken <- c
		}
	}()
	if _, err := beyond.Read(make([]byte, 1)); err == nil {
		t.Error("one more than the bound was not turned away")
	}
	held[0].Close()
	held[0].Close() // gives back one slot, not two
	connect()
	defer (<-taken).Close()
	if n := len(l.slots); n != maxConnections {
		t.Errorf("%d slots are taken, want %d", n, maxConnections)
	}
}
