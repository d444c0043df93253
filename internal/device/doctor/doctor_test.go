package doctor_test

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/device/doctor"
)

// says checks findings: each want is a verdict and a part of what is said in English.
func says(t *testing.T, name string, got []doctor.Finding, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d findings, want %q: %+v", name, len(got), want, got)
		return
	}
	for i, f := range got {
		verdict, part, _ := strings.Cut(want[i], " ")
		if string(f.Verdict) != verdict || !strings.Contains(f.What.EN, part) {
			t.Errorf("%s: %+v, want %q", name, f, want[i])
		}
		if f.What.JA == "" || f.What.JA == f.What.EN || (f.Do.EN == "") != (f.Do.JA == "") {
			t.Errorf("%s: not in both languages: %+v", name, f)
		}
		if f.Verdict != doctor.OK && f.Do.EN == "" {
			t.Errorf("%s: %q, and not what to do", name, f.What.EN)
		}
		for _, text := range []string{f.What.EN, f.What.JA, f.Do.EN, f.Do.JA} {
			if strings.Contains(text, "%!") {
				t.Errorf("%s: %q", name, text)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	mine, far := netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("192.168.1.2/24")
	eth := doctor.Link{Name: "eth0", Up: true, Carrier: true, MTU: 1500, Addresses: []netip.Prefix{mine}}
	mtu := func(n int) doctor.Link {
		l := eth
		l.MTU = n
		return l
	}
	dead := eth
	dead.Carrier = false
	lo := doctor.Link{Name: "lo", Up: true, Carrier: true, Loopback: true, MTU: 65536,
		Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}}
	wlan := doctor.Link{Name: "wlan0", Up: true, Carrier: true, MTU: 1500, Addresses: []netip.Prefix{far}}
	off := wlan
	off.Carrier = false
	local := wlan
	local.Addresses = []netip.Prefix{netip.MustParsePrefix("169.254.1.1/16")}
	for name, c := range map[string]struct {
		own  netip.Addr
		all  []doctor.Link
		want []string
	}{
		"healthy":           {mine.Addr(), []doctor.Link{lo, eth, off, local}, nil},
		"no carrier":        {mine.Addr(), []doctor.Link{dead}, []string{"fail no carrier"}},
		"none at all":       {netip.Addr{}, []doctor.Link{lo, off}, []string{"fail wlan0 has no carrier"}},
		"small":             {mine.Addr(), []doctor.Link{mtu(1200)}, []string{"warn MTU of 1200"}},
		"jumbo":             {mine.Addr(), []doctor.Link{mtu(9000)}, []string{"warn MTU of 9000"}},
		"at the bounds":     {mine.Addr(), []doctor.Link{mtu(1280)}, nil},
		"a second network":  {mine.Addr(), []doctor.Link{eth, wlan}, []string{"warn wlan0 (192.168.1.2/24)"}},
		"only on this host": {netip.MustParseAddr("127.0.0.1"), []doctor.Link{lo, eth, wlan}, nil},
	} {
		says(t, name, doctor.Links(c.own, c.all), c.want...)
	}
}

func TestExpiry(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	day := 24 * time.Hour
	says(t, "nothing yet", doctor.Expiry(now, nil))
	says(t, "long", doctor.Expiry(now, map[string]time.Time{"timestamp": now.Add(3 * day), "targets": now.Add(90 * day)}),
		"ok timestamp is valid until")
	says(t, "soon", doctor.Expiry(now, map[string]time.Time{"timestamp": now.Add(3 * day), "targets": now.Add(day / 2)}),
		"warn targets expires in 12h")
	says(t, "a day", doctor.Expiry(now, map[string]time.Time{"timestamp": now.Add(day)}), "ok valid")
	says(t, "over", doctor.Expiry(now, map[string]time.Time{"timestamp": now}), "fail timestamp has expired")
}

func TestClocksAndNames(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	date := func(after time.Duration) string { return now.Add(after).UTC().Format(http.TimeFormat) }
	says(t, "no date", doctor.Skew(now, "", "s"))
	says(t, "right", doctor.Skew(now, date(-5*time.Minute), "s"))
	says(t, "behind", doctor.Skew(now, date(6*time.Minute), "s"), "warn by -6m")
	says(t, "ahead", doctor.Skew(now, date(-6*time.Minute), "s"), "warn by 6m")
	says(t, "known", doctor.Name("s", 1, nil))
	says(t, "not known", doctor.Name("s", 0, errors.New("no such host")), "fail s is not resolved: no such host")
	says(t, "with bbr", doctor.Congestion("reno cubic bbr\n"))
	says(t, "not told", doctor.Congestion(""))
	says(t, "without bbr", doctor.Congestion("reno cubic\n"), "ok bbr is not available")
}

func TestProxy(t *testing.T) {
	says(t, "not used", doctor.Proxy("127.0.0.1:4052", 0, 0), "warn no program has used the proxy at 127.0.0.1:4052")
	says(t, "no digests", doctor.Proxy("a", 10, 6), "warn of 10 requests to the proxy, 6 were not shared")
	says(t, "half", doctor.Proxy("a", 10, 5), "ok has had 10 requests")
}

func TestPeers(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")
	says(t, "nobody", doctor.Peers(nil), "ok no other device")
	says(t, "reached", doctor.Peers([]doctor.Peer{{Address: a, Asked: true, Reached: true}, {Address: b}}),
		"ok 2 other devices")
	says(t, "isolated", doctor.Peers([]doctor.Peer{{Address: a, Asked: true}}), "fail cannot be connected to: 10.0.0.3")
	says(t, "one of two", doctor.Peers([]doctor.Peer{{Address: a, Asked: true}, {Address: b, Asked: true, Reached: true}}),
		"warn cannot be connected to: 10.0.0.3")
	says(t, "another version", doctor.Peers([]doctor.Peer{{Address: a, Version: 7}}),
		"warn another version of the protocol: 10.0.0.3 (7)")
}

func TestFirewall(t *testing.T) {
	input := func(policy string, rules ...string) string {
		return "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy " +
			policy + ";\n\t\t" + strings.Join(rules, "\n\t\t") +
			"\n\t}\n\n\tchain extra {\n\t\tudp dport 4051 counter packets 3 bytes 90 drop\n\t}\n}\n"
	}
	const udp, tcp = "drops UDP 4051 that comes in", "drops TCP 4051 that comes in"
	for name, c := range map[string]struct {
		nft, iptables string
		want          []string
	}{
		"nothing":       {"", "", nil},
		"accepts":       {input("accept"), "", nil},
		"drops UDP":     {input("accept", "udp dport 4051 drop"), "", []string{"fail " + udp}},
		"rejects a set": {input("accept", "tcp dport { 22, 4000-5000 } reject"), "", []string{"fail " + tcp}},
		"another port":  {input("accept", "udp dport { 53, 4050 } drop"), "", nil},
		"accepts first": {input("drop", "udp dport 4051 accept", "tcp dport 4000-5000 accept"), "", nil},
		"from some": {input("accept", `ip saddr 10.1.0.0/16 udp dport 4051 drop`), "",
			[]string{"warn may drop UDP 4051"}},
		"to some":           {input("drop", `ip saddr 10.0.0.0/8 udp dport 4051 accept`, "tcp dport 4051 accept"), "", nil},
		"a trusted network": {input("drop", `iifname "eth0" accept`), "", []string{"warn may drop UDP", "warn may drop TCP"}},
		"policy": {input("drop", "ct state established,related accept", `iifname "lo" accept`, "tcp dport 22 accept"), "",
			[]string{"fail " + udp, "fail " + tcp}},
		"everything":     {input("accept", "counter packets 0 bytes 0 drop"), "", []string{"fail " + udp, "fail " + tcp}},
		"invalid only":   {input("accept", "ct state invalid drop"), "", nil},
		"another chain":  {input("accept", "jump extra"), "", []string{"fail " + udp}},
		"no such chain":  {input("accept", "jump missing"), "", nil},
		"of a protocol":  {input("accept", "meta l4proto tcp accept", "drop"), "", []string{"fail " + udp}},
		"iptables drops": {"", "-P INPUT ACCEPT\n-A INPUT -p udp -m udp --dport 4051 -j DROP\n", []string{"fail " + udp}},
		"iptables rejects": {"", "-P INPUT ACCEPT\n-A INPUT -p tcp -m multiport --dports 22,4051 -j REJECT --reject-with " +
			"icmp-port-unreachable\n", []string{"fail " + tcp}},
		"iptables policy": {"", "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate " +
			"RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 4000:5000 -j ACCEPT\n", []string{"fail " + udp}},
		"iptables chain": {"", "-P INPUT ACCEPT\n-N in\n-A INPUT -j in\n-A INPUT -j LOG\n-A in -p udp -m comment --comment " +
			"x -m udp --dport 4051 -j DROP\n", []string{"fail " + udp}},
		"goes out": {"", "-P OUTPUT DROP\n-A OUTPUT -p tcp -j ACCEPT\n", []string{"fail drops UDP 4051 that goes out"}},
		"a loop":   {"", "-P INPUT ACCEPT\n-N a\n-A INPUT -j a\n-A a -j a\n", nil},
	} {
		says(t, name, doctor.Firewall(c.nft, c.iptables, 4051), c.want...)
	}
}

// FuzzTold: what servers and a publisher tell is read.
func FuzzTold(f *testing.F) {
	f.Add("Sun, 29 Nov 2026 02:00:00 GMT", []byte(`{"signed":{"expires":"2026-12-01T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, date string, metadata []byte) {
		_ = doctor.Skew(time.Unix(1_790_000_000, 0), date, "s")
		if at, ok := doctor.ReadExpiry(metadata); ok && at.IsZero() {
			t.Error("it expires at no time")
		}
	})
}

// FuzzFirewall: rules in any form are read.
func FuzzFirewall(f *testing.F) {
	f.Add("table ip f {\nchain i {\ntype filter hook input priority 0; policy drop;\nudp dport { 4051 } accept\n}\n}",
		"-P INPUT DROP\n-A INPUT -p udp --dport 4051 -j ACCEPT")
	f.Fuzz(func(t *testing.T, nft, iptables string) {
		for _, x := range doctor.Firewall(nft, iptables, 4051) {
			if x.Verdict == doctor.OK || x.Do.EN == "" {
				t.Errorf("%+v", x)
			}
		}
	})
}
