package origin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/peerload/peerload/internal/testkit/limits"
	"github.com/peerload/peerload/load"
)

func TestPlaces(t *testing.T) {
	for text, want := range map[string]place{
		"127.0.0.1": here, "127.9.9.9": here, "::1": here, "::ffff:127.0.0.1": here, "0.0.0.0": here, "::": here,
		"169.254.169.254": link, "::ffff:169.254.1.1": link, "fe80::1": link, "fe80::1%eth0": link, "224.0.0.1": link,
		"10.0.0.1": elsewhere, "192.168.0.1": elsewhere, "2001:db8::1": elsewhere, "128.0.0.1": elsewhere,
	} {
		if got := placeOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is at %d, not %d", text, got, want)
		}
		for from := range places {
			control := dialling(from)
			refused := errors.Is(control("tcp", netip.AddrPortFrom(netip.MustParseAddr(text), 80).String(), nil), errPlace)
			if refused != (want != elsewhere && want != from) {
				t.Errorf("from %d to %s: refused is %v", from, text, refused)
			}
		}
	}
	for text, want := range map[string]place{"http://localhost/": here, "http://LocalHost.:80/": here,
		"http://a.localhost/": here, "http://[::1]:80/": here, "http://169.254.169.254/latest": link,
		"http://fw.example/": elsewhere, "http://localhost.example/": elsewhere, "http://notlocalhost/": elsewhere} {
		if got := placeOfURL(parseURL(t, text)); got != want {
			t.Errorf("%s is at %d, not %d", text, got, want)
		}
	}
}

// ownAddress is an address of this host by which others reach it.
func ownAddress(t *testing.T) netip.Addr {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && placeOf(p.Addr()) == elsewhere {
			return p.Addr()
		}
	}
	t.Skip("this host has loopback addresses only")
	return netip.Addr{}
}

// serverAt serves at an address.
func serverAt(t *testing.T, a netip.Addr, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(a, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: f}}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// TestRedirectToThisDevice: a server elsewhere sends nobody to services of the
// device itself, by whatever name, over whatever hops; one on the device may.
func TestRedirectToThisDevice(t *testing.T) {
	asked := 0
	service := answering(t, func(w http.ResponseWriter, r *http.Request) { asked++; io.WriteString(w, "secret") })
	_, port, err := net.SplitHostPort(parseURL(t, service).Host)
	if err != nil {
		t.Fatal(err)
	}
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	}
	far := serverAt(t, ownAddress(t), redirect)
	other := serverAt(t, ownAddress(t), redirect)
	near := answering(t, redirect)
	via := func(base, to string) string { return base + "/?to=" + url.QueryEscape(to) }
	for _, prepared := range []bool{false, true} {
		m := newMux(t, Config{})
		try := func(text string) error {
			u := parseURL(t, text)
			if prepared {
				if err := m.Prepare(t.Context(), u); err != nil {
					t.Fatal(err)
				}
			}
			_, _, err := get(m, Request{URL: u, Size: load.UnknownSize})
			return err
		}
		// The connection to the service that this makes is no way in for others.
		if err := errors.Join(try(via(near, "http://127.0.0.1:"+port+"/")), try(service)); err != nil {
			t.Fatal(err)
		}
		asked = 0
		for _, to := range []string{"http://127.0.0.1:" + port + "/", "http://localhost:" + port + "/",
			"http://127.1:" + port + "/", "http://0.0.0.0:" + port + "/", "http://[::ffff:127.0.0.1]:" + port + "/",
			"http://169.254.169.254/latest/meta-data", "http://[fe80::1%25lo]/"} {
			for _, text := range []string{via(far.URL, to), via(far.URL, via(other.URL, to))} {
				err := try(text)
				if err == nil || asked > 0 || to != "http://127.1:"+port+"/" && !errors.Is(err, errPlace) {
					t.Errorf("%s: %v, the service was asked %d times", text, err, asked)
				}
				if Reason(err) == "stalled" {
					t.Errorf("%s: %v", text, err)
				}
			}
		}
		if err := try(via(near, "http://169.254.169.254/")); !errors.Is(err, errPlace) {
			t.Errorf("from this device to its link: %v", err)
		}
	}
}

// TestConfig: what no server could be asked with is refused.
func TestConfig(t *testing.T) {
	zero := limits.AtLeast(0)
	limits.Test(t, Config{}, func(c Config) error { return c.Validate() }, map[string]limits.Range{
		"Headers": limits.Any("below"), "UserAgent": limits.Any("any text"), "CACert": limits.Any("nil: the system's"),
		"ClientCert": limits.Any("nil: none"), "NoProxyEnv": limits.Any("both ways work"),
		"Background": limits.Any("both ways work"), "LocalAddr": limits.Any("any"),
		"MaxRedirects": limits.Any("a negative number is that of none"), "ConnectTimeout": zero, "StallTimeout": zero,
		"LimitRate": zero, "BlockSize": limits.Any("0, or the range of RFC 2348: see below"),
		"WindowSize": limits.AtLeast(0), "Slide": limits.Any("a negative number means none"),
	})
	for n, valid := range map[int]bool{-1: false, 0: true, 7: false, 8: true, 65464: true, 65465: false} {
		// A window of one block, since windows of large ones have a limit.
		if c := (Config{BlockSize: n, WindowSize: 1}); (c.Validate() == nil) != valid {
			t.Errorf("blocks of %d bytes: %v", n, c.Validate())
		}
	}
	for name, h := range map[string]http.Header{
		"the range": {"Range": {"bytes=0-"}}, "in any case": {"if-range": {"x"}}, "the encoding": {"Accept-Encoding": {"x"}},
		"the length": {"Content-Length": {"0"}}, "the framing": {"transfer-encoding": {"chunked"}},
		"the connection": {"Connection": {"close"}}, "a line end": {"X-A": {"a", "b\nHost: c"}},
		"a return": {"X-A": {"b\rc"}}, "a zero": {"X-A": {"b\x00"}}, "a line end in a name": {"X\nA": {"b"}},
	} {
		if (&Config{Headers: h}).Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		if _, err := New(Config{Headers: h}); err == nil {
			t.Errorf("%s: an origin was made", name)
		}
	}
	if err := (&Config{Headers: http.Header{"X-A": {"a", "b"}, "Authorization": {"Bearer c"}}}).Validate(); err != nil {
		t.Errorf("headers that are right: %v", err)
	}
	if (&Config{Slide: 4097}).Validate() == nil {
		t.Error("a slide of 4097 is valid")
	}
}
