package engine

import (
	"net/netip"
	"sort"
	"time"

	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/load"
	"github.com/peerload/peerload/pdp"
	"github.com/peerload/peerload/pdp/election"
	"github.com/peerload/peerload/pdp/wire"
	"github.com/peerload/peerload/report"
)

// progressEvery is the distance between progress events of one file.
const progressEvery = 250 * time.Millisecond

// counters has the counts of the final report. job.mu guards it.
type counters struct {
	start      time.Time
	firstByte  time.Time
	end        time.Time
	fromOrigin int64
	fromPeers  int64
	fromCache  int64
	toPeers    int64
	elections  int
	fallbacks  []report.Fallback
	children   map[string]bool
	parent     string
	root       string
	role       string
	digest     load.Digest
}

func (j *job) originBytes(n int) { j.received(n, &j.count.fromOrigin) }
func (j *job) peerBytes(n int)   { j.received(n, &j.count.fromPeers) }

func (j *job) received(n int, counter *int64) {
	j.mu.Lock()
	if j.count.firstByte.IsZero() && n > 0 {
		j.count.firstByte = time.Now()
	}
	*counter += int64(n)
	j.mu.Unlock()
}

func (j *job) servedBytes(peer string, n int) {
	j.mu.Lock()
	j.count.toPeers += int64(n)
	j.count.children[peer] = true
	j.mu.Unlock()
}

func (j *job) currentEpoch() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.epoch
}

// statusEvent describes where the job stands.
func (j *job) statusEvent() report.Event {
	s := j.machine.Status()
	e := report.Event{
		File: j.spec.Name, Model: j.spec.Model, Hierarchy: j.spec.Hierarchy().String(), URL: j.url(),
		Role: j.roleOf(s), Source: sourceOf(s), Root: text(s.Root),
	}
	switch {
	case e.Role == report.RoleRoot:
		e.Root = j.dev.self.Addr.String()
	case len(s.Parents) > 0:
		e.Parent = text(s.Parent)
		for _, p := range s.Parents {
			if len(s.Parents) > 1 {
				e.Parents = append(e.Parents, text(p))
			}
		}
	}
	for id, l := range j.links {
		if id > 0 {
			e.Children = append(e.Children, l.peer)
		}
	}
	sort.Strings(e.Children)
	if g := (load.Geometry{Size: s.Size}); g.Size > 0 {
		e.Size = g.Size
		e.Bytes = min(int64(s.Held)*int64(g.ChunkSize()), g.Size)
		e.Percent = int(e.Bytes * 100 / g.Size)
	}
	return e
}

// roleOf says what the device is in the hierarchy.
func (j *job) roleOf(s pdp.Status) string {
	_, noPeers := j.dev.cfg.Net.(NoPeers)
	switch {
	case s.Election == election.Root && noPeers:
		return report.RoleClassic
	case s.Election == election.Root:
		return report.RoleRoot
	case len(s.Parents) > 0 && s.Children > 0:
		return report.RoleParent
	case len(s.Parents) > 0:
		return report.RoleLeaf
	case s.Children > 0 || s.Seeking:
		return report.RoleDetached
	}
	return report.RoleNone
}

// sourceOf says where bytes come from now.
func sourceOf(s pdp.Status) string {
	switch {
	case s.FromOrigin:
		return report.SourceOrigin
	case len(s.Parents) > 0:
		return report.SourcePeer
	case s.Complete:
		return report.SourceCache
	}
	return report.SourceNone
}

func text(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// about is what the machine's notes are about.
func (j *job) about() wording.File {
	f := wording.File{Hierarchy: j.spec.Hierarchy(), Name: j.spec.Name, Model: j.spec.Model}
	if u := j.origin(); u != nil {
		f.Scheme = u.Scheme
	}
	return f
}

// note reports a decision of the machine.
func (j *job) note(n pdp.Note) {
	if n.Kind == report.KindConflict && n.Peer.Addr() == j.dev.self.Addr.Addr() {
		return // another process of this device, which has the same id
	}
	e := j.statusEvent()
	why := n.Reason
	if e.Role == report.RoleClassic && (why == wire.ReasonRootOfFile || why == wire.ReasonAlone) {
		why = wire.ReasonPeersOff // it is the root of itself, and has asked nobody
	}
	e.Event, e.Reason, e.Message = n.Kind, why.String(), wording.Note(false, j.about(), n.What, why)
	if ja := wording.Note(true, j.about(), n.What, why); ja != e.Message {
		e.MessageJA = ja
	}
	j.mu.Lock()
	switch n.Kind {
	case report.KindRole:
		if e.Role == report.RoleRoot {
			j.count.elections++
		}
	case report.KindFallback:
		if len(j.count.fallbacks) < 32 {
			from := text(n.Peer)
			if from == "" {
				from = j.url()
			}
			j.count.fallbacks = append(j.count.fallbacks, report.Fallback{
				AtS: time.Since(j.count.start).Seconds(), From: from, Reason: n.Reason.String()})
		}
	}
	if e.Role != report.RoleNone && e.Role != report.RoleDetached {
		j.count.role = e.Role
	}
	if e.Parent != "" {
		j.count.parent = e.Parent
	}
	if e.Root != "" {
		j.count.root = e.Root
	}
	j.mu.Unlock()
	j.dev.event(e)
}

// reportStatus reports progress, at most every progressEvery.
func (j *job) reportStatus(now time.Duration) {
	j.mu.Lock()
	j.wanted = 0
	for _, l := range j.links {
		j.wanted |= l.wants
	}
	j.mu.Unlock()
	if now < j.progress {
		return
	}
	if held := j.machine.Status().Held; held != j.told {
		j.told, j.progress = held, now+progressEvery
		e := j.statusEvent()
		e.Event = report.KindProgress
		j.dev.event(e)
	}
}

// final returns the report of the file so far.
func (j *job) final() *report.Final {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := &j.count
	f := &report.Final{
		File: j.spec.Name, URL: j.url(), Role: c.role, Root: c.root, Parent: c.parent,
		BytesFromOrigin: c.fromOrigin, BytesFromPeers: c.fromPeers, BytesFromCache: c.fromCache, BytesToPeers: c.toPeers,
		Elections: c.elections, Fallbacks: c.fallbacks, Unsigned: !j.spec.keyed(),
		Source: report.SourceCache,
	}
	if !j.complete && c.fromOrigin+c.fromPeers+c.fromCache == 0 {
		f.Source = report.SourceNone // nothing of it ever came
	}
	if f.Role == "" {
		f.Role = report.RoleNone
	}
	if j.part != nil && j.part.Geometry().Known() {
		f.Size = j.part.Geometry().Size
	}
	if !c.digest.IsZero() {
		f.SHA256 = c.digest.String()
	}
	if j.complete {
		f.Path = j.spec.Target
	}
	if c.fromOrigin > c.fromCache && c.fromOrigin >= c.fromPeers {
		f.Source = report.SourceOrigin
	} else if c.fromPeers > c.fromCache {
		f.Source = report.SourcePeer
	}
	for a := range c.children {
		f.Children = append(f.Children, a)
	}
	sort.Strings(f.Children)
	if !c.firstByte.IsZero() {
		f.FirstByteS = c.firstByte.Sub(c.start).Seconds()
	}
	end := c.end
	if end.IsZero() {
		end = time.Now()
	}
	f.ElapsedS = end.Sub(c.start).Seconds()
	return f
}
