// Package doctor finds what keeps a host from sharing. It judges by the host's links,
// firewall, names, clock and metadata, and by what its peers send.
//
// What lives here: findings, each with what to do, in English and Japanese; it is pure.
// What must not: how a host is asked, which the command does.
//
// Read first: Finding, then Links and Firewall.
package doctor

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/device/wording"
)

// Verdict of one check.
type Verdict string

// The verdicts: Fail keeps the device from sharing, Warn may.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warn"
	Fail Verdict = "fail"
)

// Text is in both languages.
type Text struct{ EN, JA string }

// Finding is what a check found, and what to do about it, if anything.
type Finding struct {
	Verdict Verdict
	What    Text
	Do      Text
}

// Say makes a text; both languages have the same arguments.
func Say(en, ja string, args ...any) Text {
	return Text{wording.Fill(en, args...), fmt.Sprintf(ja, args...)}
}

// Found is a finding by which nothing is to be done.
func Found(what Text) Finding { return Finding{OK, what, Text{}} }

// Warning is a finding of what may be in the way.
func Warning(what, do Text) Finding { return Finding{Warn, what, do} }

// Failure is a finding of what keeps the device from sharing.
func Failure(what, do Text) Finding { return Finding{Fail, what, do} }

// Link is a network interface.
type Link struct {
	Name string
	// Up is as somebody has set it, Carrier whether something is at the other end.
	Up, Carrier bool
	// Loopback is the host's own.
	Loopback bool
	MTU      int
	// Addresses of IPv4, with their prefixes.
	Addresses []netip.Prefix
}

// The MTU of an Ethernet, and the least with which the datagrams of the protocol pass in
// one piece.
const usualMTU, leastMTU = 1500, 1280

// Links judges the interfaces of a host. own is the address at which it meets its peers,
// zero if it has none.
func Links(own netip.Addr, all []Link) (out []Finding) {
	var others []string
	for _, l := range all {
		mine := slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == own })
		switch {
		case l.Loopback || !l.Up:
		case !l.Carrier && (mine || !own.IsValid() && len(l.Addresses) > 0):
			out = append(out, Failure(Say("interface %s has no carrier", "インターフェース%sにキャリアがありません", l.Name),
				Say("check the cable, the port of the switch, or the association of the WLAN",
					"ケーブル、スイッチのポート、無線LANの接続を確認してください")))
		case mine && l.MTU < leastMTU:
			out = append(out, Warning(Say("interface %s has an MTU of %d", "インターフェース%sのMTUは%dです", l.Name, l.MTU),
				Say("set it to that of the subnet, usually %d: datagrams to the peers are sent in pieces, which some switches drop",
					"サブネットのMTU(通常%d)に合わせてください。ピアへのデータグラムが分割され、破棄するスイッチがあります",
					usualMTU)))
		case mine && l.MTU > usualMTU:
			out = append(out, Warning(Say("interface %s has an MTU of %d", "インターフェース%sのMTUは%dです", l.Name, l.MTU),
				Say("all devices and switches of the subnet must have it too, else links to peers stall: set %d if in doubt",
					"サブネットのすべての機器とスイッチで同じ値が必要です。異なるとピアとの接続が止まります。"+
						"不明な場合は%dにしてください",
					usualMTU)))
		case !mine && l.Carrier && own.IsValid():
			for _, p := range l.Addresses {
				if !p.Addr().IsLinkLocalUnicast() {
					others = append(others, fmt.Sprintf("%s (%s)", l.Name, p))
				}
			}
		}
	}
	if len(others) > 0 && !own.IsLoopback() {
		list := strings.Join(others, ", ")
		out = append(out, Warning(Say("this host is on other networks too: %s",
			"このホストは他のネットワークにも接続しています: %s", list),
			Say("peers are looked for from %s; if they are elsewhere, give --interface or --address",
				"ピアは%sから探します。別のネットワークにいる場合は--interfaceまたは--addressを指定してください", own)))
	}
	return out
}

// ReadExpiry reads when metadata expires; false if it does not say.
func ReadExpiry(metadata []byte) (time.Time, bool) {
	var m struct {
		Signed struct {
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	err := json.Unmarshal(metadata, &m)
	return m.Signed.Expires, err == nil && !m.Signed.Expires.IsZero()
}

// Expiry judges when metadata of a publisher expires, by its role. What a device has not
// fetched yet is not there.
func Expiry(now time.Time, roles map[string]time.Time) []Finding {
	first, which := time.Time{}, ""
	for role, at := range roles {
		if first.IsZero() || at.Before(first) || at.Equal(first) && role < which {
			first, which = at, role
		}
	}
	left := first.Sub(now).Round(time.Minute)
	when := first.UTC().Format(time.RFC3339)
	switch {
	case which == "":
		return nil
	case left <= 0:
		return []Finding{Failure(Say("the publisher's %s has expired: %s", "発行者の%sは期限切れです: %s", which, when),
			Say("check that the server can be reached and signs anew, and that the clock here is right",
				"サーバに到達できて再署名されているか、この機器の時計が正しいか確認してください"))}
	case left < 24*time.Hour:
		return []Finding{Warning(Say("the publisher's %s expires in %v", "発行者の%sはあと%vで期限切れになります",
			which, left),
			Say("check that the server can be reached: it signs anew well before that",
				"サーバに到達できるか確認してください。通常はそれより前に再署名されます"))}
	}
	return []Finding{Found(Say("the publisher's %s is valid until %s", "発行者の%sは%sまで有効です", which, when))}
}

// Skew judges the clock by that of a server, which need not be right either: date is the
// field Date of its answer, "" if it has none.
func Skew(here time.Time, date, server string) []Finding {
	there, err := time.Parse("Mon, 02 Jan 2006 15:04:05 GMT", date)
	if err != nil {
		return nil
	}
	off := here.Sub(there).Round(time.Second)
	const much = 5 * time.Minute
	if off.Abs() <= much {
		return nil
	}
	return []Finding{Warning(Say("the clock differs from that of %s by %v", "時計が%sと%vずれています", server, off),
		Say("set both by NTP: signed metadata expires, and certificates do",
			"両方をNTPで合わせてください。署名付きメタデータと証明書には期限があります"))}
}

// Name judges the resolution of a server's name.
func Name(host string, found int, err error) []Finding {
	if err != nil || found == 0 {
		return []Finding{Failure(Say("the name %s is not resolved: %v", "名前%sを解決できません: %v", host, err),
			Say("check /etc/resolv.conf and the DNS server, or give the server's address",
				"/etc/resolv.confとDNSサーバを確認するか、サーバをアドレスで指定してください"))}
	}
	return nil
}

// Congestion judges which algorithms the kernel has, as
// /proc/sys/net/ipv4/tcp_available_congestion_control lists them.
func Congestion(available string) []Finding {
	if available == "" || slices.Contains(strings.Fields(available), "bbr") {
		return nil
	}
	return []Finding{Found(Say("bbr is not available: a controller on this host would serve long lines slower; modprobe "+
		"tcp_bbr loads it", "bbrは利用できません。このホストのコントローラは長い回線で遅くなります。"+
		"modprobe tcp_bbrで読み込めます"))}
}

// Proxy judges what the proxy for other programs has done: requests in all, and those of
// which nothing says which bytes are right.
func Proxy(address string, requests, unknown int64) []Finding {
	switch {
	case requests == 0:
		return []Finding{Warning(Say("no program has used the proxy at %s", "%sのプロキシを使ったプログラムはありません",
			address),
			Say("set http_proxy=http://%s or the program's own option; docs/UPDATERS.md has recipes",
				"http_proxy=http://%s、またはプログラムの設定を指定してください。手順はdocs/UPDATERS.mdにあります", address))}
	case unknown*2 > requests:
		return []Finding{Warning(Say("of %d {request|requests} to the proxy, %d {was|were} not shared: "+
			"the digest is not known",
			"プロキシへの要求%d件のうち%d件は、ダイジェストが不明なため共有されませんでした", requests, unknown),
			Say("give a rule that names where the digest is; 'peerload explain FILE' says why of one file",
				"ダイジェストの場所を示す規則を指定してください。ファイルごとの理由は「peerload explain FILE」で分かります"))}
	}
	return []Finding{Found(Say("the proxy at %s has had %d {request|requests}",
		"%sのプロキシは%d件の要求を受けました", address, requests))}
}

// Peer is another device that was heard.
type Peer struct {
	Address netip.Addr
	// Version of its protocol, 0 if it is this one's.
	Version byte
	// Asked says that it was connected to, Reached that it answered.
	Asked, Reached bool
}

// Peers judges who was heard on the subnet.
func Peers(all []Peer) (out []Finding) {
	if len(all) == 0 {
		return []Finding{{OK, Say("no other device was heard just now", "他の機器の通信は受信していません"),
			Say("nothing, if this one is alone or all are idle; else see whether the access point or switch isolates clients",
				"この機器だけ、または全機器が待機中なら問題ありません。そうでなければ、"+
					"アクセスポイントやスイッチがクライアントを分離していないか"+
					"確認してください")}}
	}
	var other, cut []string
	reached := 0
	for _, p := range all {
		switch {
		case p.Version != 0:
			other = append(other, fmt.Sprintf("%s (%d)", p.Address, p.Version))
		case p.Asked && !p.Reached:
			cut = append(cut, p.Address.String())
		case p.Reached:
			reached++
		}
	}
	if len(other) > 0 {
		out = append(out, Warning(Say("devices with another version of the protocol: %s",
			"プロトコルのバージョンが異なる機器: %s",
			strings.Join(other, ", ")), Say("update them: they share among themselves, and not with this one",
			"更新してください。その機器同士でのみ共有し、この機器とは共有しません")))
	}
	if len(cut) > 0 {
		v := Warning
		if reached == 0 {
			v = Failure // it is here, or everywhere
		}
		out = append(out, v(Say("heard, but cannot be connected to: %s", "受信できますが接続できません: %s",
			strings.Join(cut, ", ")),
			Say("allow TCP to their port in the firewall, and turn off client isolation at the access point or switch",
				"ファイアウォールでそのポートへのTCPを許可し、アクセスポイントやスイッチのクライアント分離を無効にしてください")))
	}
	if len(out) == 0 {
		out = append(out, Found(Say("%d other devices are heard", "他の機器%d台の通信を受信しています", len(all))))
	}
	return out
}
