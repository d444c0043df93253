package bench

import (
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/lab/measure"
)

// way is a way to bring the file to all devices.
type way struct {
	name   string
	change func(*measure.Config)
	ours   bool // the product
	// each is true if every device downloads by itself.
	each bool
	// grow, if not nil, computes rows of more than eachUpTo devices, and of the
	// scenario's file from those of its sample.
	grow growth
	// netns is true if the way needs a subnet of its own.
	netns bool
	// lockStep is true if a device gets one block per round trip: over a long
	// link that is measured for a while, and computed for the whole file.
	lockStep bool
	// alone is true if one device downloads, whatever the site has.
	alone bool
	// on says which scenarios the way is compared on.
	on places
}

// places are the scenarios that a way is compared on.
type places int8

const (
	sites places = iota // whole sites
	lines               // what a line brings
	both
	calls // what others get beside it
)

// aloneTime is how long a device alone may take: one connection over a line that loses
// packets takes minutes.
const aloneTime = 10 * time.Minute

// takesPart reports whether the way is compared on a scenario.
func (w way) takesPart(s Scenario) bool {
	switch {
	case s.Beside.Any():
		return w.on == calls || w.alone || w.ours && w.on == both
	case w.on == calls:
		return false
	}
	return w.on == both || (w.on == lines) == s.Line
}

// growth computes from a measured row what a larger site of the scenario
// takes, for the scenario's file: times, bytes and processor time.
type growth func(r Row, devices int, s Scenario) Row

// Names of the ways that a report sets beside each other.
const (
	httpEach = "HTTP per device"
	twoTrees = "Peerload, two trees"
)

// lockStepBlock is what the product's TFTP client moves in a round trip if it may
// send nothing ahead, and lockStepTime is for how long that is looked at.
const (
	lockStepBlock = 1428
	lockStepTime  = 14 * time.Second
)

// eachUpTo is how many devices are measured if a rule gives the rest.
const eachUpTo = 16

// ways returns the ways of other programs, as far as they are installed, and
// the product's.
func (c Config) ways(skip func(what, why string)) []way {
	all := []way{
		{name: "TFTP per device", each: true, grow: sharedWAN, lockStep: true, change: func(c *measure.Config) {
			// Lock step, as phones do it: one block, one acknowledgement.
			c.TFTP, c.Args = true, []string{"--tftp-window", "1"}
		}},
		{name: httpEach, each: true, grow: sharedWAN, change: func(*measure.Config) {}},
	}
	for _, f := range []struct {
		name string
		find func() (*measure.Client, error)
		grow growth
		on   places
	}{{"nginx cache", cache, sharedPort, sites}, {"aria2", aria2, nil, sites}, {"uftp", uftp, nil, both}} {
		client, err := f.find()
		if err != nil {
			skip(f.name, err.Error())
			continue
		}
		all = append(all, way{name: client.Name, netns: true, grow: f.grow, on: f.on,
			change: func(m *measure.Config) { m.Client = client }})
	}
	for _, f := range []func() (*measure.Client, error){curl, aria2Wide} {
		if client, err := f(); err == nil {
			all = append(all, way{name: client.Name + ", one device", netns: true, alone: true, on: lines,
				change: func(m *measure.Config) { m.Client = client }})
		}
	}
	all = append(all, c.ownWays(skip)...)
	return slices.DeleteFunc(all, func(w way) bool {
		return len(c.Methods) > 0 && !slices.ContainsFunc(c.Methods, func(part string) bool {
			return strings.Contains(strings.ToLower(w.name), strings.ToLower(part))
		})
	})
}

// ownWays returns the product's: as it is on all scenarios, in simpler forms on sites,
// from other servers on lines.
func (c Config) ownWays(skip func(what, why string)) []way {
	all := []way{}
	add := func(name string, on places, change func(*measure.Config), args ...string) {
		all = append(all, way{name: name, ours: true, on: on, change: func(m *measure.Config) {
			m.Peers, m.Args = true, args
			change(m)
		}})
	}
	same := func(*measure.Config) {}
	add("Peerload, store and forward", sites, same, "--profile", "classic")
	add("Peerload, one tree", sites, same, "--trees", "1")
	add(twoTrees, both, same, "--trees", "2")
	if server, err := nginxServer(); err == nil {
		add("Peerload from nginx", lines, func(m *measure.Config) { m.Server = server })
	} else {
		skip("nginx as the server", err.Error())
	}
	add("Peerload, bbr at the server", lines, func(m *measure.Config) { m.Congestion = "bbr" })
	add("Peerload in the background", calls, same, "--background")
	add("Peerload over TFTP", lines, func(m *measure.Config) { m.TFTP = true })
	return all
}

// headers is the least that a link carries per byte of a file: IP and TCP in
// full packets.
const headers = 1500.0 / 1448

// sharedWAN grows a row of devices that each download by themselves. They share
// only the WAN: once it is full, every further byte takes its time there. If
// the way is the limit, as with blocks in lock step over a long link, time
// grows only with the file until the WAN is full.
func sharedWAN(r Row, devices int, s Scenario) Row {
	more, larger := float64(devices)/float64(r.Devices), float64(s.Size)/float64(r.Size)
	measured, full := s.WAN.Time(r.Size).Seconds()*float64(r.Devices), s.WAN.Time(int64(s.Size)).Seconds()*float64(devices)
	paced := r.LastS > 2*measured
	for _, t := range []*float64{&r.LastS, &r.MedianS, &r.P99S} {
		if paced {
			*t = max(*t*larger, full*headers)
		} else {
			*t += (full - measured) * headers
		}
	}
	r.WANRatio *= more
	r.CPUS *= more * larger
	return r
}

// sharedPort grows a row of devices that all get the file through the port of
// one of them: every further byte takes its time in that port. The device with
// the port needs none.
func sharedPort(r Row, devices int, s Scenario) Row {
	others, more := float64(r.Devices-1), float64(devices-1)
	time := (s.LAN.Time(int64(s.Size)).Seconds()*more - s.LAN.Time(r.Size).Seconds()*others) * headers
	time += s.WAN.Time(int64(s.Size)-r.Size).Seconds() * headers
	for _, t := range []*float64{&r.LastS, &r.MedianS, &r.P99S} {
		*t += time
	}
	r.BusiestRatio *= more / others
	r.CPUS *= float64(devices) / float64(r.Devices) * float64(s.Size) / float64(r.Size)
	return r
}
