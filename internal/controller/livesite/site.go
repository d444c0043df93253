package livesite

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/peerload/peerload/internal/live"
)

// Node is how a device stands in its upgrade.
type Node struct {
	Device string `json:"device"`
	// Address by which its peers know it, "" while it does not share.
	Address string `json:"address,omitempty"`
	Load    string `json:"load,omitempty"`
	// State and Reason are those of report.Device.
	State  string `json:"state,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Files, in a change only those that have changed. With another load the files from
	// before are gone.
	Files []NodeFile `json:"files,omitempty"`
	// Fresh: files that are not in it are gone.
	Fresh bool `json:"fresh,omitempty"`
	// Gone: it does not belong to the site any more.
	Gone bool `json:"gone,omitempty"`
	// Old: it has told nothing since a restart, and is as it was kept at that time. Who has
	// seen it later than that knows better.
	Old time.Time `json:"old,omitzero"`
}

// NodeFile is how a device stands with one file; numbers are bytes.
type NodeFile struct {
	File   string `json:"file"`
	Size   int64  `json:"size"`
	Have   int64  `json:"have"`
	WAN    int64  `json:"wan"`
	Role   string `json:"role,omitempty"`
	Source string `json:"source,omitempty"`
	Reason string `json:"reason,omitempty"`
	Root   string `json:"root,omitempty"`
	// Parents are the addresses of those that send it.
	Parents []string `json:"parents,omitempty"`
	// End is done or failed, "" while it goes on.
	End string `json:"end,omitempty"`
}

// Picture is the data of an event: how all devices stand, or those that have changed.
type Picture struct {
	At      time.Time `json:"at"`
	Devices []Node    `json:"devices"`
}

// Kinds of events.
const (
	Snapshot = "snapshot" // how the site stands: it replaces what was known
	Change   = "change"   // what has changed since the event before
)

// Event is one of a stream.
type Event struct {
	// ID by which the stream can be gone on with.
	ID string
	// Kind is Snapshot or Change.
	Kind string
	// Data is a Picture in JSON.
	Data []byte
}

// Replay is an upgrade from its beginning on.
type Replay struct {
	// Begun is when, zero if nothing is known of any.
	Begun time.Time `json:"begun,omitzero"`
	// Before is how the site stood then, Changes what has changed since.
	Before  Picture   `json:"before"`
	Changes []Picture `json:"changes"`
}

const (
	// flushEvery is how long changes are put together before they are sent.
	flushEvery = 500 * time.Millisecond
	// quietTime is how long nothing is at work before what comes next is another upgrade.
	quietTime = time.Minute
	// maxWeight bounds what is kept of one upgrade, in devices and files that were told
	// of, and maxChanges how many changes.
	maxWeight, maxChanges = 40_000, 4000
	// maxWaiting bounds the events that wait for somebody who reads slowly.
	maxWaiting = 64
)

// site is how one site stands. One goroutine puts its events together for all who look.
type site struct {
	name, epoch string
	now         func() time.Time

	mu      sync.Mutex
	picture live.Picture
	pending pending // what has changed since the last event
	gone    []string
	seq     uint64
	timer   *time.Timer // until the next event; nil if nothing waits
	busy    map[string]bool

	// The last upgrade. The event before the first change had the number from.
	begun   time.Time
	before  []live.State
	from    uint64
	changes []change
	heavy   int
	last    time.Time

	watchers map[*watcher]bool
	limits   limits
	dirty    bool // what is kept on disk is older
	// old are devices that have told nothing since a restart, with the time of what is known.
	old map[string]time.Time
}

// limits are what bounds how much devices tell: the rate of the site's line, and who
// shares it, with the time at which they told something last.
type limits struct {
	line     int64
	carriers map[string]time.Time
}

// pending are changes of devices that are put together, by device.
type pending map[string]live.State

func (p pending) add(s live.State) {
	if before, ok := p[s.Device]; ok {
		s = live.Join(before, s)
	}
	p[s.Device] = s
}

func (p pending) all() []live.State {
	all := make([]live.State, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		all = append(all, p[name])
	}
	return all
}

// change is one event of what has changed.
type change struct {
	seq    uint64
	at     time.Time
	states []live.State
	gone   []string
}

// watcher is somebody who looks.
type watcher struct{ events chan Event }

func newSite(name, epoch string, now func() time.Time) *site {
	return &site{name: name, epoch: epoch, now: now, watchers: map[*watcher]bool{},
		limits: limits{carriers: map[string]time.Time{}}, busy: map[string]bool{}, pending: pending{},
		old: map[string]time.Time{}}
}

// take takes what the devices of this site tell.
func (s *site) take(carrier string, states []live.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.limits.carriers[carrier] = now
	for _, st := range states {
		delete(s.old, st.Device)
		if len(s.busy) == 0 && st.Busy() && now.Sub(s.last) >= quietTime {
			s.begin(now)
		}
		if st.Busy() {
			s.busy[st.Device] = true
		}
		if c, ok := s.picture.Apply(st); ok {
			s.pending.add(c)
			s.last = now
		}
		if whole, _ := s.picture.Get(st.Device); !whole.Busy() {
			delete(s.busy, st.Device)
		}
	}
	s.later()
}

// begin begins to keep another upgrade.
func (s *site) begin(now time.Time) {
	s.flush()
	s.begun, s.before, s.from = now, s.picture.All(), s.seq
	s.changes, s.heavy = nil, 0
}

// forget drops a device that belongs elsewhere.
func (s *site) forget(device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.picture.Get(device); !ok {
		return
	}
	s.picture.Forget(device)
	delete(s.pending, device)
	delete(s.busy, device)
	delete(s.old, device)
	s.gone = append(s.gone, device)
	s.later()
}

// later has what has changed sent soon.
func (s *site) later() {
	if s.timer == nil && (len(s.pending) > 0 || len(s.gone) > 0) {
		s.timer = time.AfterFunc(flushEvery, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.flush()
		})
	}
}

// flush makes an event of what has changed, and sends it to all who look.
func (s *site) flush() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if len(s.pending) == 0 && len(s.gone) == 0 {
		return
	}
	s.seq++
	c := change{s.seq, s.now(), s.pending.all(), s.gone}
	s.pending, s.gone, s.dirty = pending{}, nil, true
	if !s.begun.IsZero() {
		s.changes = append(s.changes, c)
		s.heavy += c.weight()
		s.thin()
	} else {
		s.from = s.seq
	}
	if len(s.watchers) == 0 {
		return
	}
	e := s.event(c)
	for w := range s.watchers {
		select {
		case w.events <- e:
		default:
			delete(s.watchers, w)
			close(w.events)
		}
	}
}

func (c change) weight() int {
	n := len(c.gone)
	for _, st := range c.states {
		n += heft(st.Device, st.Address, st.Load, st.Phase, st.Reason)
		for _, f := range st.Files {
			n += heft(f.Name, f.Role, f.Source, f.Reason, f.Root, f.End) + heft(f.Parents...) - 1
		}
	}
	return n
}

// wordy is how many bytes of words count as one device or file more: what devices tell
// in long words must not take more memory than what they have to tell.
const wordy = 256

// heft is the weight of one device or file with its words.
func heft(words ...string) int {
	n := 0
	for _, w := range words {
		n += len(w)
	}
	return 1 + n/wordy
}

// thin puts neighbours together until what is kept is not too much; what cannot be made
// shorter is dropped.
func (s *site) thin() {
	for s.heavy > maxWeight || len(s.changes) > maxChanges {
		before, n := s.heavy, len(s.changes)
		var thinner []change
		for pair := range slices.Chunk(s.changes, 2) {
			c := pair[0]
			if len(pair) == 2 {
				c = join(c, pair[1])
			}
			thinner = append(thinner, c)
		}
		s.changes, s.heavy = thinner, 0
		for _, c := range s.changes {
			s.heavy += c.weight()
		}
		if n < 2 || s.heavy > before-before/10 && len(s.changes) <= maxChanges {
			s.changes, s.heavy, s.begun, s.before, s.from = nil, 0, time.Time{}, nil, s.seq
		}
	}
}

// join is one change that has the effect of two. A device that went in the first one
// and came again in the second is told as gone, and then as it is.
func join(a, b change) change {
	p := pending{}
	for _, st := range a.states {
		p.add(st)
	}
	for _, d := range b.gone {
		delete(p, d)
	}
	for _, st := range b.states {
		p.add(st)
	}
	return change{b.seq, b.at, p.all(), append(slices.Clone(a.gone), b.gone...)}
}

func (s *site) id(seq uint64) string { return s.epoch + "-" + strconv.FormatUint(seq, 10) }

func (s *site) event(c change) Event {
	return Event{s.id(c.seq), Change, encode(c.picture())}
}

func (c change) picture() Picture {
	p := pictureOf(c.at, c.states)
	var gone []Node
	for _, d := range c.gone {
		gone = append(gone, Node{Device: d, Gone: true})
	}
	p.Devices = append(gone, p.Devices...)
	return p
}

func encode(p Picture) []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("livesite: " + err.Error()) // texts, numbers and a time have a form
	}
	return b
}

func pictureOf(at time.Time, states []live.State) Picture {
	p := Picture{At: at, Devices: make([]Node, 0, len(states))}
	for _, st := range states {
		d := Node{Device: st.Device, Address: st.Address, Load: st.Load, State: st.Phase, Reason: st.Reason, Fresh: st.Fresh}
		for _, f := range st.Files {
			d.Files = append(d.Files, NodeFile{File: f.Name, Size: f.Size, Have: f.Have, WAN: f.WAN, Role: f.Role,
				Source: f.Source, Reason: f.Reason, Root: f.Root, Parents: f.Parents, End: f.End})
		}
		p.Devices = append(p.Devices, d)
	}
	return p
}

// enter has somebody look, and reports whether it is the first one. Since tells him what
// he needs before the first event.
func (s *site) enter(wanRate int64) (*watcher, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.line = wanRate
	w := &watcher{make(chan Event, maxWaiting)}
	first := len(s.watchers) == 0
	s.watchers[w] = true
	return w, first
}

// leave reports whether nobody looks any more.
func (s *site) leave(w *watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.watchers, w)
	return len(s.watchers) == 0
}

// since is what somebody lacks who has seen the event of an id: the changes after it,
// or else a snapshot. Events that he was sent meanwhile are in it, and not sent again.
func (s *site) since(w *watcher, after string) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	for len(w.events) > 0 {
		<-w.events
	}
	seq, known := s.number(after)
	if !known || s.seq-seq > maxResume {
		p := pictureOf(s.now(), s.picture.All())
		for i := range p.Devices {
			p.Devices[i].Old = s.old[p.Devices[i].Device]
		}
		return []Event{{s.id(s.seq), Snapshot, encode(p)}}
	}
	var all []Event
	for _, c := range s.changes {
		if c.seq > seq {
			all = append(all, s.event(c))
		}
	}
	return all
}

// maxResume bounds the changes that somebody gets who goes on: a snapshot is shorter.
const maxResume = 200

// number is that of an id; false if it is not known any more.
func (s *site) number(id string) (uint64, bool) {
	epoch, number, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	return seq, err == nil && epoch == s.epoch && seq >= s.from && seq <= s.seq
}

// rate is how many bytes a second each device that keeps a connection may tell, 0 if
// nobody looks.
func (s *site) rate(now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watchers) == 0 {
		return 0
	}
	for d, at := range s.limits.carriers {
		if now.Sub(at) > carrierTime {
			delete(s.limits.carriers, d)
		}
	}
	all := int64(maxRate)
	if s.limits.line > 0 {
		all = max(minRate, min(all, s.limits.line/share))
	}
	return int(max(1, all/int64(max(1, len(s.limits.carriers)))))
}

// devices are the names of all.
func (s *site) devices() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, s.picture.Len())
	for _, st := range s.picture.All() {
		names = append(names, st.Device)
	}
	return names
}

func (s *site) replay() Replay {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	r := Replay{Begun: s.begun, Before: pictureOf(s.begun, s.before), Changes: []Picture{}}
	for _, c := range s.changes {
		r.Changes = append(r.Changes, c.picture())
	}
	return r
}

func (s *site) weight() (int, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heavy, s.last
}

func (s *site) lastChange() time.Time {
	_, last := s.weight()
	return last
}

// drop forgets the last upgrade.
func (s *site) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes, s.heavy, s.begun, s.before, s.from = nil, 0, time.Time{}, nil, s.seq
}
