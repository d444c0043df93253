package site

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNetworks(t *testing.T) {
	got, err := Networks([]string{"10.1.0.0/24", "10.2.0.0/16", "10.1.2.3/16", "::ffff:10.1.0.0/112",
		"2001:db8::1/32", "10.1.128.0/17", "10.1.0.0/17"})
	want := []string{"10.1.0.0/16", "10.1.0.0/17", "10.1.0.0/24", "10.1.128.0/17", "10.2.0.0/16", "2001:db8::/32"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"", "10.1.0.0", "10.1.0.0/33", "10.1/16", "x/8", "::ffff:0:0/90", "fe80::1%eth0/64",
		"10.1.0.0/-1", " 10.0.0.0/8"} {
		if got, err := Networks([]string{bad}); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
	if _, err := Networks(make([]string, MaxNetworks+1)); err == nil || !strings.Contains(err.Error(), "at most 64") {
		t.Errorf("too many: %v", err)
	}
	if got, err := Networks(nil); err != nil || got == nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
}

// TestPlaces: the most specific network wins, and none is two sites'.
func TestPlaces(t *testing.T) {
	var p Places
	if at := p.At("10.1.2.3"); at != "" {
		t.Errorf("without a site it is %q", at)
	}
	for name, networks := range map[string][]string{"Kyoto": {"10.1.0.0/16", "2001:db8::/32"}, "Lab": {"10.1.7.0/24"},
		"World": {"0.0.0.0/0"}, "Door": {"10.1.7.9/32"}} {
		if taken, by, err := p.Add(name, networks); taken != "" || err != nil {
			t.Fatalf("%s: %s is %s's, %v", name, taken, by, err)
		}
	}
	for address, want := range map[string]string{"10.1.2.3": "Kyoto", "10.1.7.3": "Lab", "10.1.7.9": "Door",
		"::ffff:10.1.7.3": "Lab", "11.0.0.1": "World", "2001:db8::1": "Kyoto", "2001:db8::1%eth0": "Kyoto",
		"2001:db9::1": "", "local": "", "": ""} {
		if got := p.At(address); got != want {
			t.Errorf("%s is at %q, want %q", address, got, want)
		}
	}
	if taken, by, err := p.Add("Osaka", []string{"10.2.0.0/16", "10.1.0.0/16"}); taken != "10.1.0.0/16" || by != "Kyoto" {
		t.Errorf("another's network: %q, %q, %v", taken, by, err)
	}
	if at := p.At("10.2.0.1"); at != "World" {
		t.Errorf("of a site that was refused, %q stays", at)
	}
	if taken, _, err := p.Add("Kyoto", []string{"10.1.0.0/16"}); taken != "" || err != nil {
		t.Errorf("its own again: %q, %v", taken, err)
	}
	if _, _, err := p.Add("x", []string{"x"}); err == nil {
		t.Error("no network was added")
	}
	if at := p.Of(netip.Addr{}); at != "" {
		t.Errorf("no address is at %q", at)
	}
}

// TestPlacesAgree compares the search by lengths with one through all networks.
func TestPlacesAgree(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		address := rapid.Custom(func(r *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(r, "b")), 0,
				byte(rapid.IntRange(0, 3).Draw(r, "d"))})
		})
		var p Places
		all := map[netip.Prefix]string{}
		for _, name := range []string{"a", "b", "c", "d"} {
			n := netip.PrefixFrom(address.Draw(r, "network"), rapid.IntRange(0, 32).Draw(r, "bits")).Masked()
			taken, _, err := p.Add(name, []string{n.String()})
			if _, had := all[n]; err != nil || had != (taken != "") {
				r.Fatalf("%s of %v: taken %q, %v", n, all, taken, err)
			}
			if taken == "" {
				all[n] = name
			}
		}
		a := address.Draw(r, "address")
		best, want := -1, ""
		for n, name := range all {
			if n.Contains(a) && n.Bits() > best {
				best, want = n.Bits(), name
			}
		}
		if got := p.Of(a); got != want {
			r.Fatalf("%s of %v is %q, want %q", a, all, got, want)
		}
	})
}

func TestCheckZone(t *testing.T) {
	for _, good := range []string{"UTC", "Asia/Tokyo", "Europe/Berlin", "America/Argentina/Buenos_Aires"} {
		if err := CheckZone(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "Local", "Asia/Tokio", "../etc/passwd", "/etc/localtime", "Tokyo",
		strings.Repeat("x", 65)} {
		if err := CheckZone(bad); err == nil || !strings.Contains(err.Error(), "Asia/Tokyo") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestWindow(t *testing.T) {
	for text, want := range map[string]string{
		"22:00-05:00": "22:00-05:00", "mon-sun 22:00-05:00": "22:00-05:00", "Mon-Fri 22:00-05:00": "mon-fri 22:00-05:00",
		"sat,sun 00:00-23:59": "sat-sun 00:00-23:59", "sun 01:00-02:00": "sun 01:00-02:00",
		"fri-mon  01:00-02:00": "mon,fri-sun 01:00-02:00", "mon,wed,fri 9:30-17:00": "",
		"mon,wed,fri 09:30-17:00": "mon,wed,fri 09:30-17:00", "tue-mon 01:00-02:00": "01:00-02:00",
		"": "", "22:00": "", "22:00-22:00": "", "24:00-05:00": "", "22:00-05:60": "", "mo 22:00-05:00": "",
		"mon- 22:00-05:00": "", "mon 22:00-05:00 x": "", "22-05": "", "mon,,tue 01:00-02:00": "", "22:00-05:00-06:00": "",
		"mon " + strings.Repeat(" ", 80) + "01:00-02:00": "",
	} {
		w, err := ParseWindow(text)
		if (err == nil) != (want != "") || err == nil && w.String() != want {
			t.Errorf("%q: %q, %v; want %q", text, w, err, want)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		w := Window{Start: rapid.IntRange(0, 1439).Draw(r, "start"), End: rapid.IntRange(0, 1439).Draw(r, "end")}
		for i := range w.Days {
			w.Days[i] = rapid.Bool().Draw(r, "day")
		}
		w.Days[rapid.IntRange(0, 6).Draw(r, "one")] = true
		got, err := ParseWindow(w.String())
		if (w.Start == w.End) != (err != nil) || err == nil && got != w {
			r.Fatalf("%s is read as %v, %v", w, got, err)
		}
	})
}
