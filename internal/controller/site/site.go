// Package site says what a site's properties can be: its networks, and which
// of several holds an address; its time zone; its window.
//
// What lives here: reading and comparing them. What must not: the things
// themselves, and which devices belong to them, which are package domain's.
// Read Places first.
package site

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the host may have no time zones
)

// MaxNetworks bounds the networks of one site.
const MaxNetworks = 64

// Networks reads prefixes such as 10.1.0.0/16 and returns each in its one way
// of writing it, in order, none twice.
func Networks(texts []string) ([]string, error) {
	if len(texts) > MaxNetworks {
		return nil, fmt.Errorf("%d networks, at most %d for a site", len(texts), MaxNetworks)
	}
	all := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		p, err := network(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	names := make([]string, 0, len(all))
	for _, p := range slices.Compact(all) {
		names = append(names, p.String())
	}
	return names, nil
}

// network reads one prefix. IPv4 within IPv6 is IPv4.
func network(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%.60q is not a network such as 10.1.0.0/16", text)
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return p, fmt.Errorf("%.60q is wider than all of IPv4: write it such as 10.1.0.0/16", text)
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// Places finds the site of an address. The zero value has no sites.
type Places struct{ by map[netip.Prefix]string }

// Add gives a site its networks, as Networks returns them. If another has the
// very same network, nothing is added, and taken and by name it; a part of
// another's network may be a site of its own.
func (p *Places) Add(name string, networks []string) (taken, by string, err error) {
	all := make([]netip.Prefix, 0, len(networks))
	for _, text := range networks {
		n, err := network(text)
		if err != nil {
			return "", "", err
		}
		if other, ok := p.by[n]; ok && other != name {
			return n.String(), other, nil
		}
		all = append(all, n)
	}
	if p.by == nil {
		p.by = map[netip.Prefix]string{}
	}
	for _, n := range all {
		p.by[n] = name
	}
	return "", "", nil
}

// At returns the site of the smallest network that holds an address, written
// as a text without a port; "" if none does.
func (p *Places) At(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	return p.Of(a)
}

// Of is At for an address that was read.
func (p *Places) Of(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	for bits := a.BitLen(); bits >= 0 && len(p.by) > 0 && a.IsValid(); bits-- {
		n, err := a.Prefix(bits)
		if err != nil {
			return ""
		}
		if name, ok := p.by[n]; ok {
			return name
		}
	}
	return ""
}

// CheckZone refuses what is no time zone of the IANA database.
func CheckZone(name string) error {
	if name != "" && name != "Local" && len(name) <= 64 {
		if _, err := time.LoadLocation(name); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%.64q is no time zone: write its IANA name, such as Asia/Tokyo or UTC", name)
}

// Window is a span of time that comes again on some days of the week, in the
// time of its site.
type Window struct {
	// Days on which it begins, by time.Weekday.
	Days [7]bool
	// Start and End in minutes after midnight. If End is not after Start, the
	// window ends on the next day.
	Start, End int
}

// days are the short names, by time.Weekday.
var days = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindow reads a window such as "22:00-05:00", on every day, or
// "mon-fri,sun 22:00-05:00".
func ParseWindow(text string) (w Window, err error) {
	bad := fmt.Errorf("%.80q is no window: write it such as 22:00-05:00, or mon-fri 22:00-05:00 for some days", text)
	fields := strings.Fields(strings.ToLower(text))
	if len(text) > 80 || len(fields) < 1 || len(fields) > 2 {
		return w, bad
	}
	hours := fields[len(fields)-1]
	for i := range w.Days {
		w.Days[i] = len(fields) == 1
	}
	if len(fields) == 2 {
		for _, part := range strings.Split(fields[0], ",") {
			first, last, span := strings.Cut(part, "-")
			from, to := slices.Index(days[:], first), slices.Index(days[:], last)
			if !span {
				to = from
			}
			if from < 0 || to < 0 {
				return w, bad
			}
			for d := from; ; d = (d + 1) % len(days) {
				if w.Days[d] = true; d == to {
					break
				}
			}
		}
	}
	start, end, ok := strings.Cut(hours, "-")
	if w.Start, err = minutes(start); err != nil || !ok {
		return w, bad
	}
	if w.End, err = minutes(end); err != nil {
		return w, bad
	}
	if w.Start == w.End {
		return w, fmt.Errorf("%.80q has no length: a window ends at another time than it begins", text)
	}
	return w, nil
}

// minutes reads HH:MM.
func minutes(text string) (int, error) {
	t, err := time.Parse("15:04", text)
	if err == nil && len(text) != len("15:04") {
		err = fmt.Errorf("%q is not HH:MM", text)
	}
	return t.Hour()*60 + t.Minute(), err
}

// String writes the window in its one way: its days from Monday on, with those
// that follow each other as a span.
func (w Window) String() string {
	hours := fmt.Sprintf("%02d:%02d-%02d:%02d", w.Start/60, w.Start%60, w.End/60, w.End%60)
	if w.Days == [7]bool{true, true, true, true, true, true, true} {
		return hours
	}
	var parts []string
	for i := 1; i <= len(days); i++ { // Sunday comes last
		first := i
		for i <= len(days) && w.Days[i%len(days)] {
			i++
		}
		switch n := i - first; {
		case n == 1:
			parts = append(parts, days[first%len(days)])
		case n > 1:
			parts = append(parts, days[first%len(days)]+"-"+days[(i-1)%len(days)])
		}
	}
	return strings.Join(parts, ",") + " " + hours
}
