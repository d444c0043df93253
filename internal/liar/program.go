package liar

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Program is a liar: rules that say which message of the protocol it sends
// when, with which lies. A plain value, so that one can be played again, written
// down and made shorter.
type Program struct {
	// Faces is how many addresses the liar has, 1 to maxFaces.
	Faces int
	// Turns, if not 0, is how long one face speaks before the next one does;
	// 0: all speak at once.
	Turns time.Duration
	// From is when it begins.
	From time.Duration
	// Up is the rate of each face's port in bits per second; 0: as the others'.
	// A slow port sends bytes that make no chunk for long.
	Up    float64
	Rules []Rule
}

// Rule is one habit of a liar.
type Rule struct {
	On    Trigger
	Every time.Duration // between two runs of the rule; with OnTime the period
	// Chance is how often it is followed, 0 to 1.
	Chance float64
	// Since and Until bound when it is followed, from the beginning of the
	// program; Until 0: for good.
	Since, Until time.Duration
	Do           Effect
	As           Name // in whose name a datagram is sent
	To           Aim  // where a datagram goes
	// Lies are the fields, in the order in which the message has them.
	Lies [10]Lie
}

// Trigger is what a rule waits for.
type Trigger uint8

// What a rule waits for.
const (
	OnTime Trigger = iota
	OnClaim
	OnAsk
	OnPlace
	OnResign
	OnDirect
	OnAccepted
	OnOpened
	OnFrame
	OnTableAsk
	OnSent
	OnClosed
	triggers
)

var triggerNames = [triggers]string{
	"time", "claim", "ask", "place", "resign", "direct", "accepted", "opened", "frame", "table-ask", "sent", "closed",
}

// Effect is what a rule does.
type Effect uint8

// What a rule does.
const (
	DoClaim Effect = iota
	DoAsk
	DoPlace
	DoResign
	DoDirect
	DoReplay // a datagram that was heard
	DoWelcome
	DoRefuse
	DoProgress
	DoPath
	DoEnd
	DoBye
	DoReport
	DoTableAsk
	DoTable
	DoChunk // the next one of a link
	DoAnyChunk
	DoDial
	DoClose
	effects
)

var effectNames = [effects]string{
	"claim", "ask", "place", "resign", "direct", "replay", "welcome", "refuse", "progress", "path", "end", "bye",
	"report", "table-ask", "table", "chunk", "any-chunk", "dial", "close",
}

// Name is in whose name a datagram is sent. Its address stays the liar's.
type Name uint8

// The names that a liar uses.
const (
	AsSelf Name = iota
	AsOther
	AsRoot
	AsSender
	AsNew
	names
)

var nameNames = [names]string{"self", "another id", "the root", "the sender", "a new id each time"}

// Aim is where a datagram goes.
type Aim uint8

// Where a datagram goes.
const (
	ToAll Aim = iota
	ToSender
	ToRoot
	ToAny
	aims
)

var aimNames = [aims]string{"all", "the sender", "the root", "anyone"}

// Lie makes the value of a field.
type Lie struct {
	Mode Mode
	N    int64
}

// Mode is how a lie comes about.
type Mode uint8

// How a lie comes about: what was heard last, nothing, the most there is, more
// with time (N in a second), any number, N, and a little more than was heard.
const (
	Truth Mode = iota
	Zero
	Most
	Grows
	Random
	Fixed
	Ahead
	modes
)

var modeNames = [modes]string{"truth", "0", "most", "grows", "random", "fixed", "ahead"}

const (
	maxFaces = 3
	// leastEvery bounds how often a rule is followed, and mostSaid how many
	// datagrams and frames a face sends in all: a flood is not what is looked
	// for here.
	leastEvery = 10 * time.Millisecond
	mostSaid   = 20_000
)

// String tells the program, a rule a line.
func (p Program) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "liar from %v, %d addresses", p.From, p.Faces)
	if p.Turns > 0 {
		fmt.Fprintf(&b, " by turns of %v", p.Turns)
	}
	if p.Up > 0 {
		fmt.Fprintf(&b, ", port of %.0f bit/s", p.Up)
	}
	for _, r := range p.Rules {
		fmt.Fprintf(&b, "\n  %s", r)
	}
	return b.String()
}

// String tells the rule.
func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "on %s", triggerNames[r.On])
	fmt.Fprintf(&b, " every %v", r.Every)
	if r.Chance < 1 {
		fmt.Fprintf(&b, " at %.2f", r.Chance)
	}
	if r.Since > 0 || r.Until > 0 {
		fmt.Fprintf(&b, " from %v to %v", r.Since, r.Until)
	}
	fmt.Fprintf(&b, ": %s", effectNames[r.Do])
	if r.Do <= DoReplay {
		fmt.Fprintf(&b, " as %s to %s", nameNames[r.As], aimNames[r.To])
	}
	for _, l := range r.Lies {
		fmt.Fprintf(&b, " %s", modeNames[l.Mode])
		if l.Mode == Fixed || l.Mode == Grows || l.Mode == Ahead {
			fmt.Fprintf(&b, " %d", l.N)
		}
	}
	return b.String()
}

// New draws a program. Most claim to be root and take children in some
// way, so that what they do next matters; the rest is any message at any time.
func New(rnd *rand.Rand) Program {
	p := Program{Faces: 1, From: time.Duration(rnd.Int64N(int64(4 * time.Second)))}
	if rnd.IntN(3) == 0 {
		p.From = 0
	}
	if rnd.IntN(4) == 0 {
		p.Faces = 2 + rnd.IntN(maxFaces-1)
		if rnd.IntN(2) == 0 {
			p.Turns = time.Second << rnd.IntN(5)
		}
	}
	if rnd.IntN(4) == 0 {
		p.Up = []float64{1e4, 1e5, 1e6, 5e6}[rnd.IntN(4)]
	}
	n := 1 + rnd.IntN(8)
	if rnd.IntN(4) > 0 {
		p.Rules = asRoot(rnd)
		n = rnd.IntN(5)
	}
	for range n {
		p.Rules = append(p.Rules, anyRule(rnd))
	}
	return p
}

// asRoot is what makes others follow: claims of a high rank, places, welcomes,
// some sort of progress and of service.
func asRoot(rnd *rand.Rand) []Rule {
	high := Rule{On: OnTime, Every: 50 * time.Millisecond << rnd.IntN(5), Chance: 1, Do: DoClaim, Lies: anyLies(rnd)}
	high.Lies[0], high.Lies[1] = Lie{Mode: Most}, Lie{Mode: Mode(rnd.IntN(3))}
	high.Lies[2], high.Lies[3] = Lie{Mode: Most}, Lie{Mode: Most}
	again := high
	again.On, again.Every, again.Chance = OnClaim, 20*time.Millisecond, rnd.Float64()
	place := Rule{On: OnAsk, Every: leastEvery, Chance: 1, Do: DoPlace, To: ToSender, Lies: anyLies(rnd)}
	if rnd.IntN(3) > 0 {
		place.Lies[0] = Lie{} // below itself
	}
	welcome := Rule{On: OnAccepted, Every: leastEvery, Chance: 1, Do: DoWelcome, Lies: anyLies(rnd)}
	if rnd.IntN(4) > 0 {
		welcome.Lies[0], welcome.Lies[1] = Lie{}, Lie{} // the right epoch and size
	}
	path := Rule{On: OnAccepted, Every: leastEvery, Chance: 1, Do: DoPath, Lies: anyLies(rnd)}
	if rnd.IntN(4) > 0 {
		path.Lies[0] = Lie{Mode: Zero}
	}
	alive := Rule{On: OnTime, Every: 100 * time.Millisecond << rnd.IntN(5), Chance: 1, Do: DoProgress, Lies: anyLies(rnd)}
	rules := []Rule{high, again, place, welcome, path, alive}
	if rnd.IntN(3) > 0 {
		serve := Rule{On: OnTime, Every: 50 * time.Millisecond << rnd.IntN(9), Chance: 1, Do: DoChunk}
		serve.Lies[0] = Lie{Mode: []Mode{Truth, Truth, Truth, Random, Most}[rnd.IntN(5)]}
		if rnd.IntN(3) == 0 {
			serve.Until = time.Duration(rnd.Int64N(int64(10 * time.Second)))
		}
		rules = append(rules, serve)
	}
	kept := rules[:0]
	for _, r := range rules {
		if rnd.IntN(8) > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}

func anyRule(rnd *rand.Rand) Rule {
	r := Rule{
		On: Trigger(rnd.IntN(int(triggers))), Do: Effect(rnd.IntN(int(effects))), Chance: 1,
		Every: leastEvery << rnd.IntN(11), Lies: anyLies(rnd), To: Aim(rnd.IntN(int(aims))),
	}
	if rnd.IntN(2) == 0 {
		r.As = Name(rnd.IntN(int(names)))
	}
	if rnd.IntN(2) == 0 {
		r.Chance = rnd.Float64()
	}
	if rnd.IntN(2) == 0 {
		r.Since = time.Duration(rnd.Int64N(int64(10 * time.Second)))
		r.Until = r.Since + time.Duration(rnd.Int64N(int64(20*time.Second)))
	}
	return r
}

func anyLies(rnd *rand.Rand) (all [10]Lie) {
	for i := range all {
		switch l := &all[i]; rnd.IntN(3) {
		case 0:
		case 1:
			*l = Lie{Mode: Zero + Mode(rnd.IntN(2))}
		default:
			*l = Lie{Mode: Mode(rnd.IntN(int(modes))), N: 1 << rnd.IntN(31)}
			if rnd.IntN(2) == 0 {
				l.N = int64(rnd.IntN(8))
			}
		}
	}
	return all
}
