package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Firewall judges rules for a port by which peers are met, UDP and TCP: nft is what "nft
// list ruleset" prints, iptables what "iptables -S" does, "" if they could not be read. A
// rule with conditions that are not looked at, such as addresses, lets through what it
// accepts, and only may stop what it drops.
func Firewall(nft, iptables string, port uint16) (out []Finding) {
	for _, c := range slices.Concat(readNFT(nft), readIPTables(iptables)) {
		if c.hook == "" {
			continue
		}
		for _, proto := range []string{"udp", "tcp"} {
			// An answer goes to any port: only what comes in is judged for TCP.
			if c.hook == "output" && proto == "tcp" {
				continue
			}
			verdict, rule := c.judge(proto, port, 0)
			way := Text{"comes in", "受信"}
			if c.hook == "output" {
				way = Text{"goes out", "送信"}
			}
			do := Say("allow UDP and TCP %d there, in and out", "そこでUDPとTCPの%dを送受信とも許可してください", port)
			what := Text{fmt.Sprintf("%s %d that %s: %s", strings.ToUpper(proto), port, way.EN, rule),
				fmt.Sprintf("%s %dの%s: %s", strings.ToUpper(proto), port, way.JA, rule)}
			switch verdict {
			case stops:
				out = append(out, Failure(Text{"the firewall drops " + what.EN, "ファイアウォールが破棄します: " + what.JA}, do))
			case mayStop:
				out = append(out, Warning(Text{"the firewall may drop " + what.EN,
					"ファイアウォールが破棄する場合があります: " + what.JA}, do))
			}
		}
	}
	return out
}

// fate is what becomes of a packet.
type fate int

const (
	undecided fate = iota
	passes
	mayStop
	stops
)

// chain is a list of rules; hook is "input", "output" or "" if others jump to it.
type chain struct {
	name, hook string
	drops      bool // what no rule decides
	rules      []rule
	all        map[string]*chain // of its table
}

// rule is one.
type rule struct {
	text  string
	proto string // "" for any
	ports []span // nil for any
	more  bool   // there are other conditions
	does  string // "accept", "drop", "reject", "return", "jump"
	to    string // of jump
}

// elsewhere reports whether a rule is about what a peer's first packet never is: of a
// connection that stands, or of the host itself.
func (r rule) elsewhere() bool {
	t := strings.ToLower(strings.ReplaceAll(r.text, `"`, ""))
	return strings.Contains(t, "established") && !strings.Contains(t, "new") || strings.Contains(t, "iifname lo ") ||
		strings.Contains(t, "iif lo ") || strings.Contains(t, "-i lo ") || strings.Contains(t, "icmp")
}

type span struct{ from, to uint16 }

// maxJumps bounds how deep chains are followed.
const maxJumps = 16

// judge says what becomes of a packet to a port, and by which rule.
func (c *chain) judge(proto string, port uint16, depth int) (is fate, by string) {
	some := false // a rule with other conditions lets something through
	stop := func(why string) (fate, string) {
		if some {
			return mayStop, why
		}
		return stops, why
	}
	for _, r := range c.rules {
		fits := r.proto == "" && r.ports == nil || r.proto == proto && (r.ports == nil ||
			slices.ContainsFunc(r.ports, func(s span) bool { return s.from <= port && port <= s.to }))
		if !fits {
			continue
		}
		named := r.ports != nil
		switch r.does {
		case "accept":
			if named || !r.more {
				return max(is, passes), by
			}
			some = some || !r.elsewhere()
		case "drop", "reject":
			if !r.more {
				return stop(r.text)
			}
			if named && is < mayStop {
				is, by = mayStop, r.text
			}
		case "return":
			if !r.more {
				return is, by
			}
		case "jump":
			to := c.all[r.to]
			if to == nil || depth == maxJumps || r.more {
				continue
			}
			switch got, why := to.judge(proto, port, depth+1); got {
			case passes, stops:
				return max(is, got), why
			case mayStop:
				is, by = got, why
			}
		}
	}
	if c.drops {
		return stop("policy drop: " + c.name)
	}
	return is, by
}

// readNFT reads what "nft list ruleset" prints.
func readNFT(text string) (all []*chain) {
	table := map[string]*chain{}
	var c *chain
	for line := range strings.Lines(text) {
		f := strings.Fields(strings.NewReplacer(";", " ", ",", " ").Replace(line))
		switch {
		case len(f) == 0:
		case f[0] == "table":
			table = map[string]*chain{}
		case f[0] == "chain" && len(f) > 1:
			c = &chain{name: f[1], all: table}
			table[f[1]] = c
			all = append(all, c)
		case f[0] == "}":
			c = nil
		case c == nil:
		case f[0] == "type":
			if h := after(f, "hook"); after(f, "type") == "filter" && (h == "input" || h == "output") {
				c.hook = h
			}
			c.drops = after(f, "policy") == "drop"
		default:
			c.rules = append(c.rules, readNFTRule(strings.TrimSpace(line), f))
		}
	}
	return all
}

// after is the word that follows another one, "" if none does.
func after(f []string, word string) string {
	if i := slices.Index(f, word); i >= 0 && i+1 < len(f) {
		return f[i+1]
	}
	return ""
}

func readNFTRule(text string, f []string) rule {
	r := rule{text: text}
	for i := 0; i < len(f); i++ {
		next := func(n int) string {
			if i+n < len(f) {
				return f[i+n]
			}
			return ""
		}
		switch w := f[i]; {
		case w == "accept" || w == "drop" || w == "reject" || w == "return":
			r.does = w
			return r
		case w == "jump" || w == "goto":
			r.does, r.to = "jump", next(1)
			return r
		case w == "counter":
			if next(1) == "packets" {
				i += 4
			}
		case (w == "udp" || w == "tcp") && next(1) == "dport":
			r.proto, r.ports = w, []span{}
			if i += 2; next(0) == "{" {
				for i++; i < len(f) && f[i] != "}"; i++ {
					r.ports = appendSpan(r.ports, f[i], "-")
				}
			} else {
				r.ports = appendSpan(r.ports, next(0), "-")
			}
		case w == "meta" && next(1) == "l4proto", w == "ip" && next(1) == "protocol":
			r.proto = next(2)
			i += 2
		default:
			r.more = true
		}
	}
	return r
}

// appendSpan adds a port or a range of ports; what is none is left out.
func appendSpan(all []span, text, between string) []span {
	from, to, many := strings.Cut(text, between)
	if !many {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil {
		return all
	}
	return append(all, span{uint16(a), uint16(b)})
}

// readIPTables reads what "iptables -S" prints.
func readIPTables(text string) (all []*chain) {
	table := map[string]*chain{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		c := table[f[1]]
		if c == nil {
			c = &chain{name: f[1], all: table}
			if f[1] == "INPUT" || f[1] == "OUTPUT" {
				c.hook = strings.ToLower(f[1])
			}
			table[f[1]] = c
			all = append(all, c)
		}
		switch f[0] {
		case "-P":
			c.drops = len(f) > 2 && f[2] == "DROP"
		case "-A":
			c.rules = append(c.rules, readIPTablesRule(strings.TrimSpace(line), f[2:]))
		}
	}
	return all
}

func readIPTablesRule(text string, f []string) rule {
	r := rule{text: text}
	for i := 0; i+1 < len(f); i++ {
		switch f[i] {
		case "-p":
			i++
			r.proto = f[i]
		case "-m":
			i++
			r.more = r.more || !slices.Contains([]string{"udp", "tcp", "multiport", "comment"}, f[i])
		case "--comment":
			i++
		case "--dport", "--dports":
			i++
			r.ports = []span{}
			for p := range strings.SplitSeq(f[i], ",") {
				r.ports = appendSpan(r.ports, p, ":")
			}
		case "-j", "-g":
			switch to := f[i+1]; to {
			case "ACCEPT", "DROP", "REJECT", "RETURN":
				r.does = strings.ToLower(to)
			default:
				r.does, r.to = "jump", to
			}
			return r
		default:
			r.more = true
		}
	}
	return r
}
