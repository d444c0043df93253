package files

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestConfig: each thing that is missing or out of range is refused by itself.
func TestConfig(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ln := &net.TCPListener{}
	for name, c := range map[string]Config{
		"no directory":      {HTTP: ln},
		"no protocol":       {Root: root},
		"stall below 0":     {Root: root, HTTP: ln, Stall: -1},
		"transfers below 0": {Root: root, HTTP: ln, Budget: Budget{Transfers: -1}},
		"rate below 0":      {Root: root, HTTP: ln, Budget: Budget{Rate: -1}},
		"free below 0":      {Root: root, HTTP: ln, Budget: Budget{Free: -1}},
		"prefix below 0":    {Root: root, HTTP: ln, Budget: Budget{PrefixV4: -1}},
		"prefix of 33":      {Root: root, HTTP: ln, Budget: Budget{PrefixV4: 33}},
		"prefix6 below 0":   {Root: root, HTTP: ln, Budget: Budget{PrefixV6: -1}},
		"prefix6 of 129":    {Root: root, HTTP: ln, Budget: Budget{PrefixV6: 129}},
	} {
		if c.Validate() == nil {
			t.Errorf("%s was taken", name)
		}
	}
	most := Config{Root: root, TFTP: &net.UDPConn{}, Stall: time.Hour, Budget: Budget{PrefixV4: 32, PrefixV6: 128}}
	if err := most.Validate(); err != nil {
		t.Errorf("up to the bounds: %v", err)
	}
}

// TestOnlyPlainFiles: what is no regular file is not there, and nobody waits for
// its writer.
func TestOnlyPlainFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(at("pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	links := [][2]string{{"pipe", "to-pipe"}, {"../outside", "to-outside"}, {"/dev/zero", "to-zero"}, {".", "to-dir"}}
	for _, link := range links {
		if err := os.Symlink(link[0], at(link[1])); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"pipe", "socket", "to-pipe", "to-outside", "to-zero", "to-dir", "none"} {
		w := httptest.NewRecorder()
		Handler(root).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+name, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", name, w.Code)
		}
		if f, _, err := open(root, name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
}

// TestSitesAreBounded: whatever addresses ask, no more sites are remembered than
// may be; those beyond are served all the same, and each is forgotten at its end.
func TestSitesAreBounded(t *testing.T) {
	g := newGate(Budget{Transfers: 1, PrefixV4: 32})
	permits := make([]permit, maxSites+2)
	for i := range permits {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if ok, _ := g.enter(&permits[i], a, big); !ok {
			t.Fatalf("site %d was refused", i)
		}
	}
	if len(g.sites) != maxSites {
		t.Errorf("%d sites are remembered, at most %d may be", len(g.sites), maxSites)
	}
	for i := range permits {
		permits[i].leave()
		permits[i].leave() // gives back nothing twice
	}
	if len(g.sites) != 0 {
		t.Errorf("%d sites are remembered after the end", len(g.sites))
	}
	var one, two permit
	here := netip.MustParseAddr("10.0.0.1")
	if ok, _ := g.enter(&one, here, big); !ok {
		t.Error("a permit was lost")
	}
	if ok, _ := g.enter(&two, netip.MustParseAddr("::ffff:10.0.0.1"), big); ok {
		t.Error("the same address in its other form is another site")
	}
	if ok, _ := g.enter(&permit{}, here, defaultFree); !ok {
		t.Error("a small file needs a permit")
	}
	one.leave()
	if ok, _ := g.enter(&two, here, big); !ok {
		t.Error("a permit that was given back is not to be had")
	}
}
