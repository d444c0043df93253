package carrier

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/peerload/peerload/internal/order"
)

// Reports in the virtual subnet are sealed, packed and taken as real ones are: what a
// liar makes of them is as good as it can be without their devices' secrets.

// reporter is what a node reports, and has of the reports of others.
type reporter struct {
	carrier string // for whom its last mandate is
	// beat is the controller's time that it has heard last, when that was.
	beat   time.Time
	beatAt time.Duration

	made    int // reports that it has sent, by whatever way; each has another number
	todo    []*told
	telling bool // one report is on its way
	sealed  order.Reported
	number  int // of the one on its way
	covers  int // how many of todo it has
	handing bool

	// kept is what a liar has of others.
	kept []order.Reported
}

// told is something that a device has to report, until the controller has it.
type told struct {
	at    time.Duration
	after time.Duration // until the controller had it
	done  bool
}

// reportsOf is what the controller has of a device.
type reportsOf struct {
	last  time.Time // when it has reported last
	taken map[int]bool
	most  int // the newest
}

// lie is what a liar does with reports.
type lie int

const (
	honest    lie = iota
	drops         // takes them and says nothing
	delays        // hands them over a minute late
	forges        // says at once that the controller has them
	refuses       // says at once that it has none
	alters        // hands other ones over
	repeats       // hands all that it ever had over, in any order
	exchanges     // gives followers what the controller has said to others
)

// flaw is what a site has wrong, for a test to see that it is noticed.
type flaw int

const (
	sound     flaw = iota
	gullible       // followers believe whoever says that the controller has a report
	careless       // the controller takes what nobody has sealed
	forgetful      // the controller takes what is older than what it has
	patient        // devices do not report by themselves
)

func (x *node) name() string         { return fmt.Sprintf("SEP%012X", x.peer.ID) }
func (x *node) secret() order.Secret { return order.NewSecret("of " + x.name()) }

func (x *node) bootReporter() {
	x.reporter = reporter{made: x.made, todo: x.todo, kept: x.kept}
	x.tellSoon()
}

// hearTime sets the clock of a node, forward only.
func (x *node) hearTime(at time.Time) {
	if now, known := x.clock(); !known || at.After(now) {
		x.beat, x.beatAt = at, x.site.now
	}
}

// clock is the controller's as the node knows it.
func (x *node) clock() (time.Time, bool) {
	return x.beat.Add(x.site.now - x.beatAt), !x.beat.IsZero()
}

// news gives a node something to report.
func (x *node) news() *told {
	t := &told{at: x.site.now}
	x.todo = append(x.todo, t)
	x.tellAll()
	return t
}

func (x *node) tellSoon() { x.later(time.Second, x.tellAll) }

// tellAll reports all that there is, one report at a time.
func (x *node) tellAll() {
	if x.telling || len(x.todo) == 0 || x.dead || x.m == nil {
		return
	}
	x.telling = true
	x.compose()
	now, known := x.clock()
	sealed, err := x.secret().SealReport(x.name(), x.carrier, now, x.text(x.number))
	if err != nil || !known {
		x.direct()
		return
	}
	x.sealed = sealed
	x.step(Reporting{})
}

// compose has a new report say all that there is.
func (x *node) compose() {
	x.made++
	x.number, x.covers = x.made, len(x.todo)
}

func (x *node) text(number int) []byte { return fmt.Appendf(nil, `{"of":%q,"n":%d}`, x.name(), number) }

// reported ends a report by way of the carrier.
func (x *node) reported(has bool) {
	switch {
	case has:
		x.ended()
	case x.site.flaw != patient:
		x.direct()
	default:
		x.telling = false
	}
}

// ended says that the controller has what was reported, so far as the node knows.
func (x *node) ended() {
	x.telling = false
	if d := x.site.deskOf(x.name()); !d.taken[x.number] {
		x.site.breaks("%s: its report %d is lost, and it does not know", x.name(), x.number)
	}
	for _, t := range x.todo[:x.covers] {
		t.done, t.after = true, x.site.now-t.at
	}
	if x.todo = x.todo[x.covers:]; len(x.todo) > 0 {
		x.tellSoon()
	}
}

// direct reports without a carrier.
func (x *node) direct() {
	s := x.site
	s.directs++
	x.compose()
	x.later(2*s.wan(), func() {
		if s.down || x.cut {
			x.later(3*time.Second, func() { x.telling = false; x.tellSoon() })
			return
		}
		s.takes(x.name(), x.number, epoch.Add(s.now))
		x.ended()
	})
}

func (s *site) breaks(format string, args ...any) {
	s.broken = append(s.broken, fmt.Sprintf(format, args...))
}

func (s *site) deskOf(device string) *reportsOf {
	d := s.desks[device]
	if d == nil {
		d = &reportsOf{taken: map[int]bool{}}
		s.desks[device] = d
	}
	return d
}

// takes writes a report of a device at the controller.
func (s *site) takes(device string, number int, at time.Time) {
	d := s.deskOf(device)
	if number <= d.most {
		s.breaks("%s: its report %d counts over %d", device, number, d.most)
	}
	d.most, d.last = max(d.most, number), at
	d.taken[number] = true
}

// taken has the controller take what a carrier hands over, as the real one does.
func (s *site) taken(carrier string, packed []byte) (acks []order.Ack) {
	all, err := order.UnpackReports(packed)
	if err != nil {
		s.t.Fatal(err)
	}
	now, seen := epoch.Add(s.now), map[string]bool{}
	for _, r := range all {
		i := slices.IndexFunc(s.nodes, func(x *node) bool { return x.name() == r.Device })
		if i < 0 || seen[r.Device] {
			continue
		}
		x, d := s.nodes[i], s.deskOf(r.Device)
		last := d.last
		if s.flaw == forgetful {
			last = time.Time{}
		}
		if !x.secret().Takes(r, carrier, last, now) && s.flaw != careless {
			continue
		}
		seen[r.Device] = true
		var said struct {
			Of string
			N  int
		}
		if json.Unmarshal(r.Report, &said) != nil || said.Of != r.Device || said.N > x.made {
			s.breaks("%s: a forged report counts: %s", r.Device, r.Report)
			continue
		}
		s.takes(r.Device, said.N, now)
		acks = append(acks, order.Ack{Device: r.Device, Code: x.secret().Ack(r.Code)})
	}
	return acks
}

// doReport carries out what is about reports.
func (x *node) doReport(a Action) {
	switch a := a.(type) {
	case SendReport:
		r := x.sealed
		x.tell(a.Link, func(l Link) Event { return Handed{l, r} })
	case Reported:
		x.reported(a.Has)
	case HandOver:
		x.site.batches++
		if x.handing {
			x.site.breaks("%s: two batches at a time", x.name())
		}
		x.handing = true
		x.handOver(a.Reports)
	case Took:
		x.answer(a.Link, a.Ack)
	}
}

// answer tells a follower what the controller has said; it knows whether that is genuine.
func (x *node) answer(l Link, a order.Ack) {
	e := x.links[l]
	if e == nil || e.node == nil {
		return
	}
	y := e.node
	x.tell(l, func(l Link) Event {
		return Answered{l, len(a.Code) > 0 && (y.secret().Acked(y.sealed.Code, a.Code) || x.site.flaw == gullible)}
	})
}

// handOver hands reports over, or lies.
func (x *node) handOver(all []order.Reported) {
	acks := map[string][]byte{}
	over := func(all []order.Reported, then func([]order.Ack)) {
		s := x.site
		packed, err := order.PackReports(all)
		if err != nil {
			s.t.Fatal(err)
		}
		x.later(2*s.wan(), func() {
			if s.down || x.cut {
				x.later(3*time.Second, func() { then(nil) })
				return
			}
			then(s.taken(x.name(), packed))
		})
	}
	end := func(acks []order.Ack) {
		x.handing = false
		x.step(HandedOver{acks})
	}
	if x.liar == nil || x.liar.reports == honest {
		over(all, end)
		return
	}
	x.kept = append(x.kept, all...)
	x.kept = x.kept[max(0, len(x.kept)-order.MaxReports/2):]
	switch x.liar.reports {
	case drops:
		x.later(time.Hour, func() { end(nil) })
	case delays:
		x.later(time.Minute, func() { over(all, end) })
	case forges:
		for _, r := range all {
			acks[r.Device] = order.NewSecret("of a liar").Ack(r.Code)
		}
		end(acksOf(acks))
	case refuses:
		end(nil)
	case alters:
		other := slices.Clone(all)
		for i := range other {
			other[i].Report = json.RawMessage(`{"of":"a liar","n":1}`)
			other[i].At += int64(i)
		}
		over(other, end)
	case repeats:
		old := slices.Clone(x.kept)
		x.site.rnd.Shuffle(len(old), func(i, j int) { old[i], old[j] = old[j], old[i] })
		over(old, end)
		x.later(x.site.upTo(time.Minute), func() { over(old, func([]order.Ack) {}) })
	case exchanges:
		over(all, func(got []order.Ack) {
			for i := range got {
				got[i].Device = got[(i+1)%len(got)].Device
			}
			end(got)
		})
	}
}

func acksOf(codes map[string][]byte) (all []order.Ack) {
	for _, d := range slices.Sorted(maps.Keys(codes)) {
		all = append(all, order.Ack{Device: d, Code: codes[d]})
	}
	return all
}
