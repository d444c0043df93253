package engine

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/report"
)

// strict serves files by their exact paths; any other path, be it only spelled
// otherwise, is not found.
func strict(t *testing.T, files map[string]string) *httptest.Server {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// single is a device without neighbours, which takes part until the test ends.
func single(t *testing.T) *Device {
	src, err := origin.New(origin.Config{StallTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return alone(t, src)
}

// alone is the same with another origin.
func alone(t *testing.T, src Downloader) *Device {
	t.Helper()
	return told(t, src, nil)
}

// told is the same, which tells somebody what it does; nil: nobody.
func told(t *testing.T, src Downloader, take func(report.Event)) *Device {
	t.Helper()
	proto := pdp.NoPeers()
	proto.Transfer.Attempts = 1
	d, err := NewDevice(Config{ID: 1, Net: NoPeers{}, Origin: src, Protocol: proto, Report: take})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-d.done
	})
	return d
}

// A classic load may stand at a server's top or anywhere below.
func TestClassicPaths(t *testing.T) {
	for _, dir := range []string{"/", "/fw/", "/a%20b/"} {
		t.Run(dir, func(t *testing.T) {
			at, _ := url.PathUnescape(dir)
			srv := strict(t, map[string]string{at + "L.loads": "app.sbn\r\ndsp.sbn\r\n", at + "app.sbn": "app",
				at + "dsp.sbn": "dsp"})
			u, err := url.Parse(srv.URL + dir + "L.loads")
			if err != nil {
				t.Fatal(err)
			}
			to := t.TempDir()
			run, err := single(t).FetchClassic(t.Context(), LoadSpec{URLs: []*url.URL{u}, Dir: to})
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			if !run.Final().Unsigned {
				t.Error("the report does not say that nothing protects the load")
			}
			for _, name := range []string{"app", "dsp"} {
				if b, err := os.ReadFile(filepath.Join(to, name+".sbn")); err != nil || string(b) != name {
					t.Errorf("%s: %q, %v", name, b, err)
				}
			}
		})
	}
}

// TestWhyClassic: a device without peers says in both languages that it downloads from the
// server because sharing is off, and so why it is what it is. For the protocol it is the root of itself, but nobody
// has elected it.
func TestWhyClassic(t *testing.T) {
	srv := strict(t, map[string]string{"/L.loads": "app.sbn\r\n", "/app.sbn": "app"})
	u, err := url.Parse(srv.URL + "/L.loads")
	if err != nil {
		t.Fatal(err)
	}
	src, err := origin.New(origin.Config{StallTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	var mu sync.Mutex
	var said []report.Event
	d := told(t, src, func(e report.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Event == report.KindSource || e.Event == report.KindRole {
			said = append(said, e)
		}
	})
	run, err := d.FetchClassic(t.Context(), LoadSpec{URLs: []*url.URL{u}, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	run.Close()
	mu.Lock()
	defer mu.Unlock()
	if len(said) < 2 {
		t.Fatal("it does not say where the bytes come from, or what it is")
	}
	for _, e := range said {
		told := e.Event == report.KindRole || // the phones' own line, which gives no reason
			strings.HasSuffix(e.Message, ": peers-off") && strings.HasSuffix(e.MessageJA, ": peers-off")
		if e.Role != report.RoleClassic || e.Reason != "peers-off" || !told {
			t.Errorf("%+v", e)
		}
	}
}

// A load is fetched from the first server that has it; what is wrong with it
// there is not looked for elsewhere.
func TestClassicServers(t *testing.T) {
	has := strict(t, map[string]string{"/L.loads": "app.sbn\r\n", "/app.sbn": "app", "/bad.loads": "# no component\r\n"})
	hasNot := strict(t, nil)
	lacks := strict(t, map[string]string{"/L.loads": "app.sbn\r\n"})
	for _, c := range []struct {
		name    string
		sources []*httptest.Server
		ok      bool
		last    int
	}{
		{"/L.loads", []*httptest.Server{hasNot, has}, true, 1},
		{"/L.loads", []*httptest.Server{lacks, has}, true, 1},
		{"/L.loads", []*httptest.Server{has, hasNot}, true, 0},
		{"/L.loads", []*httptest.Server{hasNot, hasNot}, false, 1},
		{"/bad.loads", []*httptest.Server{has, lacks}, false, 0},
	} {
		var sources []*url.URL
		for _, s := range c.sources {
			u, err := url.Parse(s.URL + c.name)
			if err != nil {
				t.Fatal(err)
			}
			sources = append(sources, u)
		}
		run, err := single(t).FetchClassic(t.Context(), LoadSpec{URLs: sources, Dir: t.TempDir()})
		run.Close()
		if (err == nil) != c.ok || run.Final().URL != sources[c.last].String() {
			t.Errorf("%s of %v: %v, from %s", c.name, sources, err, run.Final().URL)
		}
	}
}
