package forecast

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/pieces"
	"github.com/peerload/peerload/internal/sim"
	"github.com/peerload/peerload/load"
)

// fetching is a load that devices share which are of one group; those of the group
// "" share with nobody.
type fetching struct{ load, group string }

// tally is what the devices of one site fetch.
type tally struct {
	devices int
	fetch   map[fetching]int // devices
	line    SiteLine
	took    *SiteTook
}

func (t *tally) loads() map[string]bool {
	all := map[string]bool{}
	for f := range t.fetch {
		all[f.load] = true
	}
	return all
}

func (t *tally) sorted() []fetching {
	return slices.SortedFunc(maps.Keys(t.fetch), func(a, b fetching) int {
		return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.group, b.group))
	})
}

// Census counts what devices would fetch, within one transaction.
type Census struct {
	ctl   *domain.Controller
	tx    domain.Tx
	group func(domain.Device) (string, error)
	next  func(runs, goal string) (string, bool)
	sites map[string]*tally
}

// Census begins one.
func (s *Service) Census(ctx context.Context, tx domain.Tx) (*Census, error) {
	c := &Census{ctl: s.ctl, tx: tx, sites: map[string]*tally{}}
	var err error
	if c.group, err = s.ctl.Sharers(ctx, tx); err != nil {
		return nil, err
	}
	next, err := s.ctl.NextStep(ctx, tx)
	c.next = next
	return c, err
}

func (c *Census) at(site string) *tally {
	if c.sites[site] == nil {
		c.sites[site] = &tally{fetch: map[fetching]int{}}
	}
	return c.sites[site]
}

// mostSteps bounds the loads on the way of a device.
const mostSteps = 16

// Add counts a device of a site that runs one load and is to run another, with the
// stepping stones between. One that runs it already, or cannot get there, fetches
// nothing.
func (c *Census) Add(d domain.Device, site, runs, goal string) error {
	if goal == "" || runs == goal {
		return nil
	}
	var way []string
	for at := runs; at != goal; {
		next, ok := c.next(at, goal)
		if !ok || len(way) >= mostSteps {
			return nil
		}
		way, at = append(way, next), next
	}
	group, err := c.group(d)
	if err != nil {
		return err
	}
	t := c.at(site)
	t.devices++
	for _, l := range way {
		t.fetch[fetching{l, group}]++
	}
	return nil
}

// Draft is what the simulator needs to know, and the database does not need to be
// asked for again.
type Draft struct {
	sites map[string]*tally
	loads map[string]sizes
}

// sizes of the files of a load; none if they are not known.
type sizes struct {
	files    []int64
	metadata int64
}

// site is what of a site devices are simulated on. false if the sizes are unknown.
func (s sizes) site(l SiteLine, devices int) (c sim.Site, known bool) {
	c = sim.Site{Seed: 1, Devices: devices, Sizes: s.files, Metadata: s.metadata, WAN: float64(max(l.WANRate, 1)) * 8,
		LAN: float64(l.LANRate) * 8, RTT: time.Duration(l.RTT * float64(time.Second)), Spread: spread,
		Connections: pieces.Most}
	return c, len(s.files) > 0
}

// Draft ends the census: it reads what is known of the sites and the loads.
func (c *Census) Draft(ctx context.Context) (Draft, error) {
	d := Draft{sites: c.sites, loads: map[string]sizes{}}
	for name, t := range c.sites {
		t.line = SiteLine{LANRate: defaultLAN, RTT: defaultRTT.Seconds()}
		if name == "" {
			continue
		}
		site, err := c.tx.Sites().Get(ctx, name)
		if errors.Is(err, domain.ErrNotFound) {
			continue // it was removed since
		}
		if err != nil {
			return d, err
		}
		t.line.WANRate = site.WANRate
		if most := site.Limits.Rate; most > 0 && (most < site.WANRate || site.WANRate == 0) {
			t.line.WANRate = most
		}
		if t.took, err = took(ctx, c.tx, name); err != nil {
			return d, err
		}
	}
	for _, t := range c.sites {
		for name := range t.loads() {
			if _, ok := d.loads[name]; ok {
				continue
			}
			l, err := c.tx.Loads().Get(ctx, name)
			if err != nil {
				return d, err
			}
			d.loads[name] = sizesOf(l)
		}
	}
	return d, nil
}

// A manifest has one digest for each chunk, and some words; the other roles of the
// signed metadata are short.
const (
	manifestWords = 2000
	tableEntry    = 42
)

func sizesOf(l domain.Load) (s sizes) {
	if !l.Signed {
		return s
	}
	s.metadata = manifestWords
	for _, f := range l.Components {
		s.files = append(s.files, f.Size)
		s.metadata += tableEntry * int64(load.Geometry{Size: f.Size}.Chunks())
	}
	return s
}

// mostEntries bounds what is read of the history of a site.
const mostEntries = 2 * domain.MaxPage

// took says what the last upgrade of a site took: that to the load which a device
// of it came to run last, if devices have said how they got it. nil for none.
func took(ctx context.Context, tx domain.Tx, site string) (*SiteTook, error) {
	var order []string
	ran := map[string][]domain.HistoryEntry{} // by load, the latest first
	n := 0
	for e, err := range domain.Each(ctx, tx.History(), domain.HistoryFilter{Site: site, Kind: domain.HistoryLoad}) {
		if err != nil {
			return nil, err
		}
		if n++; n > mostEntries {
			break
		}
		if e.New == "" {
			continue
		}
		if ran[e.New] == nil {
			order = append(order, e.New)
		}
		ran[e.New] = append(ran[e.New], e)
	}
	for _, name := range order {
		if t, err := measured(ctx, tx, name, ran[name]); err != nil || t != nil {
			return t, err
		}
	}
	return nil, nil
}

// measured sums what devices have reported that came to run a load. nil if none has.
func measured(ctx context.Context, tx domain.Tx, name string, ran []domain.HistoryEntry) (*SiteTook, error) {
	t := SiteTook{Load: name, Ended: ran[0].At}
	var devices []string
	for _, e := range ran {
		devices = append(devices, e.Device)
	}
	slices.Sort(devices)
	states, err := tx.States().GetAll(ctx, slices.Compact(devices))
	if err != nil {
		return nil, err
	}
	for _, s := range states {
		for _, f := range s.Files {
			if f.File != name && f.File != name+load.ManifestSuffix {
				continue
			}
			t.Devices++
			t.WANBytes += min(f.BytesFromOrigin, math.MaxInt64-t.WANBytes)
			t.Last = max(t.Last, f.ElapsedS)
			break
		}
	}
	if t.Devices == 0 {
		return nil, nil
	}
	return &t, nil
}
