package main

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/cli"
	"github.com/peerload/peerload/internal/device/agent"
	"github.com/peerload/peerload/internal/device/doctor"
	"github.com/peerload/peerload/internal/device/origin"
	"github.com/peerload/peerload/internal/device/peernet"
	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/durable"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/internal/terminal"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/trust"
)

// errNotReady makes the exit status say that a check failed.
var errNotReady = errors.New("this device cannot share yet: do what stands below each line that says fail")

func doctorCommand() *cli.Command {
	var c configFlags
	cmd := &cli.Command{
		Use: "doctor", Short: "Check what this device needs, and say what to do",
		Long: `Doctor checks the interfaces (carrier, MTU, other networks), the address and whether
broadcasts are heard, the peers' port and the firewall's rules for it (as far as this
user may read them), other devices and whether they can be connected to, the state
directory, the clock, the publisher's root and metadata, names, the servers, the DHCP
options, and what the proxy for other programs has done.
Each line says ok, warn or fail, and what to do, in English, or Japanese where LC_ALL,
LC_MESSAGES or LANG say so. Exit status: 0 if nothing failed, else 2.`,
		Args: cli.NoArgs,
	}
	cmd.Run = func(ctx context.Context, _ []string) error {
		cfg, _, err := c.load(cmd.Flags())
		if err != nil {
			printFinding(os.Stdout, doctor.Failure(doctor.Say("configuration: %v", "設定: %v", err),
				doctor.Say("mend the configuration; 'peerload config show --origin' says where values come from",
					"設定を直してください。値の出所は「peerload config show --origin」で分かります")))
			return errNotReady
		}
		return examine(ctx, os.Stdout, cfg)
	}
	c.register(cmd.Flags())
	return cmd
}

// examine runs all checks, each whatever the others found.
func examine(ctx context.Context, w io.Writer, cfg agent.Config) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	failed := false
	for _, check := range []func(context.Context, agent.Config) []doctor.Finding{checkModel, checkHost,
		checkLinks, checkNet, checkFirewall, checkState, checkClock, checkPin, checkLease, checkNames, checkServers,
		checkProxy} {
		for _, f := range check(ctx, cfg) {
			printFinding(w, f)
			failed = failed || f.Verdict == doctor.Fail
		}
	}
	if failed {
		return errNotReady
	}
	return nil
}

func printFinding(w io.Writer, f doctor.Finding) {
	l := locale()
	tell(w, "%-4s  %s", f.Verdict, l.of(f.What.EN, f.What.JA))
	if f.Do != (doctor.Text{}) {
		tell(w, "      -> %s", l.of(f.Do.EN, f.Do.JA))
	}
}

func checkModel(_ context.Context, cfg agent.Config) []doctor.Finding {
	m := policy.Builtin().Lookup(cfg.Model)
	switch {
	case !m.CanShare:
		return []doctor.Finding{doctor.Warning(doctor.Say("model %s (%s) cannot share", "モデル%s(%s)は共有できません",
			m.Name, m.Family), doctor.Say("nothing: it upgrades from the server, as it always did",
			"対処は不要です。これまでどおりサーバから更新します"))}
	case !m.Known():
		return []doctor.Finding{doctor.Warning(
			doctor.Say("model %q is not in the table: it shares with devices of the very same name",
				"モデル%qは表にありません。まったく同じ名前の機器とだけ共有します", cfg.Model),
			doctor.Say("check how it is written, if it should be one of the table",
				"表にあるはずのモデルなら表記を確認してください"))}
	}
	return []doctor.Finding{doctor.Found(doctor.Say("model %s (%s) can share", "モデル%s(%s)は共有できます",
		m.Name, m.Family))}
}

// checkHost looks for what the configuration names. That a model is in no table
// is a warning of checkModel.
func checkHost(_ context.Context, cfg agent.Config) []doctor.Finding {
	cfg.Model = policy.Builtin().Models()[0].Name
	err := cfg.CheckHost()
	if err == nil {
		return nil
	}
	return []doctor.Finding{doctor.Failure(doctor.Say("configuration: %v", "設定: %v", err),
		doctor.Say("mend the configuration; 'peerload agent --check-config' says the same",
			"設定を直してください。「peerload agent --check-config」でも確認できます"))}
}

// hearWait is how long the subnet is listened to: an own broadcast is back by then, and a
// carrier of orders has claimed.
const hearWait = 1200 * time.Millisecond

// checkNet opens the device's ports on the subnet for a moment.
func checkNet(ctx context.Context, cfg agent.Config) []doctor.Finding {
	port := cfg.Port
	if port == 0 {
		port = wire.Port
	}
	if _, err := daemonStatus(ctx, cfg.State); err == nil {
		return []doctor.Finding{doctor.Found(doctor.Say("an agent runs here and has port %d",
			"エージェントが動作中で、ポート%dを使っています", port))}
	}
	s, err := peernet.Listen(peernet.Config{Address: cfg.Address, Interface: cfg.Interface, Port: cfg.Port})
	if err != nil {
		return []doctor.Finding{doctor.Failure(doctor.Say("address: %v", "アドレス: %v", err),
			doctor.Say("give --address IP/PREFIX or --interface IF, and check the cable",
				"--address IP/PREFIXまたは--interface IFを指定し、ケーブルを確認してください"))}
	}
	defer s.Close()
	out := []doctor.Finding{doctor.Found(doctor.Say("address %s", "アドレス%s", s.Addr().Addr()))}
	for _, w := range s.Warnings() {
		out = append(out, doctor.Warning(doctor.Say("address: %s", "アドレス: %s", w),
			doctor.Say("check the prefix of the address", "アドレスのプレフィックス長を確認してください")))
	}
	if s.Addr().Port() != port || s.TCPPort() != port {
		out = append(out, doctor.Warning(
			doctor.Say("port %d is taken: this device uses UDP %d and TCP %d", "ポート%dは使用中です。UDP %dとTCP %dを使います",
				port, s.Addr().Port(), s.TCPPort()),
			doctor.Say("see who has it with 'ss -lunpt'; another port works, but real phones and firewalls expect this one",
				"使用者は「ss -lunpt」で分かります。別のポートでも動きますが、"+
					"実際の電話機やファイアウォールはこのポートを前提とします")))
	} else {
		out = append(out, doctor.Found(doctor.Say("port %d is free, UDP and TCP", "ポート%dはUDP、TCPとも空いています",
			port)))
	}
	return append(out, hear(ctx, cfg, s)...)
}

// heard is what comes from the subnet for a moment.
type heard struct {
	own   netip.Addr
	probe []byte

	back  bool // the probe came
	peers map[netip.Addr]netip.AddrPort
	other map[netip.Addr]byte // versions of the protocol that are not this one's
}

// maxHeard bounds the devices that are looked at, maxAsked those that are connected to.
const maxHeard, maxAsked = 256, 8

func (h *heard) datagram(from netip.AddrPort, b []byte) {
	if bytes.Equal(b, h.probe) {
		h.back = true
	}
	if from.Addr() == h.own || len(h.peers)+len(h.other) >= maxHeard {
		return
	}
	mine := wire.Marshal(wire.Envelope{}, &wire.Resign{})
	env, _, err := wire.Unmarshal(b)
	switch {
	case err == nil:
		h.peers[from.Addr()] = netip.AddrPortFrom(from.Addr(), env.TCPPort)
	case len(b) > 4 && bytes.Equal(b[:4], mine[:4]) && b[4] != mine[4]:
		h.other[from.Addr()] = b[4]
	}
}

// hear listens to the subnet. It sends from a second socket, since a device does not hear
// itself.
func hear(ctx context.Context, cfg agent.Config, s *peernet.Sockets) []doctor.Finding {
	other, err := peernet.Listen(peernet.Config{Address: cfg.Address, Interface: cfg.Interface, Port: cfg.Port})
	if err != nil {
		return []doctor.Finding{doctor.Warning(doctor.Say("broadcast: no second socket: %v",
			"ブロードキャスト: 2つ目のソケットを開けません: %v", err), doctor.Say("try again", "もう一度実行してください"))}
	}
	defer other.Close()
	h := &heard{own: s.Addr().Addr(), probe: make([]byte, 24), peers: map[netip.Addr]netip.AddrPort{},
		other: map[netip.Addr]byte{}}
	_, _ = crand.Read(h.probe) // no message of the protocol: peers ignore it
	moment, cancel := context.WithTimeout(ctx, hearWait)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(moment, peernet.Handler{Accept: func(c net.Conn) { c.Close() }, Datagram: h.datagram})
	}()
	err = other.Broadcast(h.probe)
	<-moment.Done()
	<-ended
	var out []doctor.Finding
	switch {
	case err != nil:
		out = append(out, doctor.Failure(doctor.Say("broadcast cannot be sent: %v", "ブロードキャストを送信できません: %v",
			err),
			doctor.Say("check firewall and routes", "ファイアウォールと経路を確認してください")))
	case !h.back:
		out = append(out, doctor.Failure(doctor.Say("an own broadcast did not come back within %v",
			"自分のブロードキャストが%v以内に戻りませんでした", hearWait),
			doctor.Say("allow UDP broadcasts on this port in the firewall",
				"ファイアウォールでこのポートのUDPブロードキャストを許可してください")))
	default:
		out = append(out, doctor.Found(doctor.Say("broadcasts are sent and heard on this host",
			"このホストでブロードキャストを送受信できます")))
	}
	return append(out, doctor.Peers(h.asked(ctx))...)
}

// asked connects to some of the devices that were heard.
func (h *heard) asked(ctx context.Context) []doctor.Peer {
	all := make([]doctor.Peer, 0, len(h.peers)+len(h.other))
	for a, version := range h.other {
		all = append(all, doctor.Peer{Address: a, Version: version})
	}
	first := len(all)
	for a := range h.peers {
		all = append(all, doctor.Peer{Address: a})
	}
	var busy sync.WaitGroup
	dialer := net.Dialer{Timeout: hearWait, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.own, 0))}
	for i := first; i < min(len(all), first+maxAsked); i++ {
		to := h.peers[all[i].Address]
		if to.Port() == 0 {
			continue // it takes no links
		}
		all[i].Asked = true
		busy.Go(func() {
			c, err := dialer.DialContext(ctx, "tcp4", to.String())
			if all[i].Reached = err == nil; err == nil {
				c.Close()
			}
		})
	}
	busy.Wait()
	slices.SortFunc(all, func(a, b doctor.Peer) int { return a.Address.Compare(b.Address) })
	return all
}

// checkLinks looks at the interfaces.
func checkLinks(_ context.Context, cfg agent.Config) []doctor.Finding {
	ifs, err := net.Interfaces()
	if err != nil {
		return nil
	}
	own := cfg.Address.Addr()
	var all []doctor.Link
	for _, i := range ifs {
		l := doctor.Link{Name: i.Name, Up: i.Flags&net.FlagUp != 0, Carrier: i.Flags&net.FlagRunning != 0,
			Loopback: i.Flags&net.FlagLoopback != 0, MTU: i.MTU}
		addresses, _ := i.Addrs()
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
				ip, _ := netip.AddrFromSlice(n.IP.To4())
				ones, _ := n.Mask.Size()
				l.Addresses = append(l.Addresses, netip.PrefixFrom(ip, ones))
			}
		}
		if i.Name == cfg.Interface && !own.IsValid() && len(l.Addresses) > 0 {
			own = l.Addresses[0].Addr()
		}
		all = append(all, l)
	}
	if !own.IsValid() {
		if s, err := peernet.Listen(peernet.Config{Interface: cfg.Interface, Servers: cfg.Servers}); err == nil {
			own = s.Addr().Addr()
			s.Close()
		}
	}
	return doctor.Links(own, all)
}

// checkFirewall reads the rules of the firewall, as far as this user may.
func checkFirewall(ctx context.Context, cfg agent.Config) []doctor.Finding {
	if cfg.Address.Addr().IsLoopback() {
		return nil
	}
	rules := func(name string, args ...string) string {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, name, args...).Output()
		if err != nil {
			return ""
		}
		return string(out)
	}
	port := cfg.Port
	if port == 0 {
		port = wire.Port
	}
	return doctor.Firewall(rules("nft", "list", "ruleset"), rules("iptables", "-S"), port)
}

func checkState(_ context.Context, cfg agent.Config) []doctor.Finding {
	cannot := func(err error) []doctor.Finding {
		return []doctor.Finding{doctor.Failure(doctor.Say("state directory: %v", "状態ディレクトリ: %v", err),
			doctor.Say("run as root, or choose another with --state", "rootで実行するか、--stateで別の場所を指定してください"))}
	}
	if err := (durable.Writer{}).MkdirAll(cfg.State, 0o755); err != nil {
		return cannot(err)
	}
	f, err := os.CreateTemp(cfg.State, ".doctor-")
	if err != nil {
		return cannot(err)
	}
	_, err = f.Write([]byte("x"))
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
	if err != nil {
		return []doctor.Finding{doctor.Failure(doctor.Say("state directory %s: %v", "状態ディレクトリ%s: %v", cfg.State, err),
			doctor.Say("check the medium", "媒体を確認してください"))}
	}
	free, err := (slot.OS{}).StatFree(cfg.State)
	const little = 64 << 20
	if err == nil && free < little {
		return []doctor.Finding{doctor.Warning(doctor.Say("state directory %s has %s left",
			"状態ディレクトリ%sの空きは%sです",
			cfg.State, terminal.Bytes(int64(free))), doctor.Say("make room: a load needs its size twice over",
			"空きを増やしてください。ロードにはその2倍の容量が必要です"))}
	}
	return []doctor.Finding{doctor.Found(doctor.Say("state directory %s can be written",
		"状態ディレクトリ%sに書き込めます", cfg.State))}
}

// oldest is a time in the past: a clock that shows an earlier one was never
// set.
var oldest = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

func checkClock(context.Context, agent.Config) []doctor.Finding {
	now := time.Now()
	says := doctor.Say("the clock says %s", "時計は%sです", now.Format(time.RFC3339))
	if now.Before(oldest) {
		return []doctor.Finding{doctor.Failure(says, doctor.Say("set the clock, for example by NTP: signed metadata expires",
			"NTPなどで時計を合わせてください。署名付きメタデータには期限があります"))}
	}
	// What a controller on this host would use, and how the clock stands.
	available, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	return append(doctor.Congestion(string(available)), doctor.Found(says))
}

func checkPin(_ context.Context, cfg agent.Config) []doctor.Finding {
	_, err := trust.New(trust.Config{Dir: cfg.Trust})
	switch {
	case errors.Is(err, trust.ErrNoRoot):
		return []doctor.Finding{doctor.Warning(doctor.Say("no publisher is trusted: %v",
			"信頼する発行者がありません: %v", err),
			doctor.Say("copy root.json of 'peerload-server trust export' there; without it only unsigned loads can be run, "+
				"where they are allowed, and none where the option trust was ever given",
				"「peerload-server trust export」のroot.jsonをそこに置いてください。ない場合は、"+
					"許可された未署名のロードだけを実行できます"))}
	case err != nil:
		return []doctor.Finding{doctor.Failure(doctor.Say("trust: %v", "信頼: %v", err),
			doctor.Say("put a good root.json there", "正しいroot.jsonを置いてください"))}
	}
	roles := map[string]time.Time{}
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		const most = 16 << 20
		b, err := durable.Read(filepath.Join(cfg.Trust, role+".json"), most)
		if at, ok := doctor.ReadExpiry(b); err == nil && ok {
			roles[role] = at
		}
	}
	return append([]doctor.Finding{doctor.Found(doctor.Say("the publisher's root in %s is usable",
		"%sの発行者のルートは使えます",
		cfg.Trust))}, doctor.Expiry(time.Now(), roles)...)
}

func checkLease(_ context.Context, cfg agent.Config) []doctor.Finding {
	hosts, from := agent.LeaseServers(cfg.Leases)
	switch {
	case from != "":
		return []doctor.Finding{doctor.Found(doctor.Say("DHCP names the servers %s (%s)", "DHCPが示すサーバ: %s (%s)",
			strings.Join(hosts, ", "), from))}
	case len(cfg.Servers) > 0 || cfg.Provision != "":
		return []doctor.Finding{doctor.Found(doctor.Say("no DHCP option 150 or 66, and none is needed",
			"DHCPオプション150、66はありませんが、不要です"))}
	}
	return []doctor.Finding{doctor.Failure(doctor.Say("no server is known: no lease names one",
		"サーバが分かりません。DHCPのリースにもありません"),
		doctor.Say("give --server, or make the DHCP client ask for options 150 and 66 and keep the lease in %s",
			"--serverを指定するか、DHCPクライアントがオプション150と66を要求し、リースを%sに保存するようにしてください",
			strings.Join(cfg.Leases, " or ")))}
}

// serversOf are the servers of a device.
func serversOf(cfg agent.Config) []string {
	if len(cfg.Servers) > 0 {
		return cfg.Servers
	}
	hosts, _ := agent.LeaseServers(cfg.Leases)
	return hosts
}

// checkNames resolves the names of the servers and of the controller.
func checkNames(ctx context.Context, cfg agent.Config) (out []doctor.Finding) {
	all := serversOf(cfg)
	if cfg.Controller != "" {
		all = append(slices.Clone(all), cfg.Controller)
	}
	seen := map[string]bool{}
	for _, s := range all {
		urls, err := origin.Candidates(strings.TrimSuffix(s, "/") + "/XMLDefault.cnf.xml")
		if err != nil || len(urls) == 0 {
			continue // checkServers says so
		}
		host := urls[0].Hostname()
		if _, err := netip.ParseAddr(host); err == nil || seen[host] {
			continue
		}
		seen[host] = true
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		cancel()
		out = append(out, doctor.Name(host, len(found), err)...)
	}
	return out
}

// checkServers asks each server for the file for all devices.
func checkServers(ctx context.Context, cfg agent.Config) []doctor.Finding {
	way := origin.Config{ConnectTimeout: 3 * time.Second, StallTimeout: 3 * time.Second}
	if a := cfg.Address.Addr(); a.IsLoopback() {
		way.LocalAddr = a
	}
	m, err := origin.New(way)
	if err != nil {
		return []doctor.Finding{doctor.Failure(doctor.Say("servers: %v", "サーバ: %v", err),
			doctor.Say("mend the configuration", "設定を直してください"))}
	}
	defer m.Close()
	var out []doctor.Finding
	for _, s := range serversOf(cfg) {
		urls, err := origin.Candidates(strings.TrimSuffix(s, "/") + "/XMLDefault.cnf.xml")
		if err != nil {
			out = append(out, doctor.Failure(doctor.Say("server %s: %v", "サーバ%s: %v", s, err),
				doctor.Say("write it as HOST, HOST:PORT or a URL", "HOST、HOST:PORT、またはURLで書いてください")))
			continue
		}
		reached := false
		for _, u := range urls {
			b, err := m.Open(ctx, origin.Request{URL: u, Size: load.UnknownSize})
			if err == nil {
				b.Close()
			}
			if reached = err == nil || errors.Is(err, origin.ErrNotFound) || errors.Is(err, origin.ErrForbidden); reached {
				out = append(out, doctor.Found(doctor.Say("server %s answers by %s", "サーバ%sは%sで応答します", s, u.Scheme)))
				out = append(out, checkDate(ctx, u)...)
				break
			}
		}
		if !reached {
			out = append(out, doctor.Failure(doctor.Say("server %s does not answer, by HTTP nor by TFTP",
				"サーバ%sはHTTPでもTFTPでも応答しません", s),
				doctor.Say("check that it runs and that nothing blocks TCP 6970 and UDP 69",
					"動作していて、TCP 6970とUDP 69が遮断されていないか確認してください")))
		}
	}
	return out
}

// checkDate compares the clock with that of a server that is asked by HTTP.
func checkDate(ctx context.Context, u *url.URL) []doctor.Finding {
	if u.Scheme != "http" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return nil
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return nil
	}
	resp.Body.Close()
	return doctor.Skew(time.Now(), resp.Header.Get("Date"), u.Host)
}

// checkProxy asks the proxy of the agent what it has done.
func checkProxy(ctx context.Context, cfg agent.Config) []doctor.Finding {
	if cfg.ProxyAddress == "" {
		return nil
	}
	s, err := proxyStatus(ctx, cfg.ProxyAddress)
	if err != nil {
		return nil // the agent does not run
	}
	all := int64(0)
	for _, n := range s.Requests {
		all += n
	}
	return doctor.Proxy(cfg.ProxyAddress, all, s.Requests[reason.ProxyNoDigest]+s.Requests[reason.ProxyForeignDigest])
}

// daemonStatus asks the agent of a state directory, if one runs.
func daemonStatus(ctx context.Context, state string) (string, error) {
	if _, err := os.Stat(filepath.Join(state, agent.SocketName)); err != nil {
		return "", err
	}
	text := ""
	err := agent.Ask(ctx, state, agent.Request{Op: "status"}, func(p agent.Reply) {
		if p.Device != nil {
			text = p.Device.State
		}
	})
	return text, err
}
