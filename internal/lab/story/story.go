// Package story runs a site of devices that all want one file while things
// happen to it: roots die, the WAN is cut, ports grow slow. It is the command
// `peerload-lab up`.
//
// What lives here: the language of stories, who they mean and how they are
// made to happen, the timeline and the page of a run. What must not: how a
// link is cut or slowed (package site). Read first: story.go, up.go, then
// direct.go.
package story

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/internal/choice"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// Deeds are what a story does to a site.
const (
	deedKill    = "kill"    // end a process as a power cut would
	deedCut     = "cut"     // no packet passes the WAN
	deedIsolate = "isolate" // the ports do not reach each other any more
	deedFill    = "fill"    // no room on the disk
	deedSlow    = "slow"    // a port gets another rate
	deedStart   = "start"   // devices that were switched off until then
	deedWake    = "wake"    // how the devices start
)

// Targets of a deed that is not for one device.
const (
	targetRoot   = "root"          // the root that has the most of the file
	targetRoots  = "roots"         // that of each subnet, each at its moment
	targetParent = "random-parent" // one that has children and is no root
	targetRandom = "random"        // any that runs
	targetHalf   = "half"          // every second one
	targetAll    = "all"
)

// Defaults and bounds of stories.
const (
	// killFor is how long a killed device stays off, unless the story says.
	killFor    = time.Second
	maxStories = 100
	maxStory   = 200       // bytes of one line
	maxMoment  = time.Hour // of anything in a story
)

// errStory is wrapped by the errors of Parse.
var errStory = errors.New("story not understood")

// Story is one thing that happens to a site: see Parse for how it is
// written. Its moment is At, Percent or Every, else the start.
type Story struct {
	At      time.Duration // after the start of the devices
	Percent int           // of the file, at the root that has the most; 100: all that were started are through
	Every   time.Duration // again and again

	Deed   string        // one of the deeds
	Target string        // one of the targets; "" if Device or Count says it
	Device int           // from 1
	Count  int           // of devices, of deedStart
	Rate   units.Rate    // of deedSlow
	For    time.Duration // then it is undone; 0: it stays
	Over   time.Duration // of deedWake: the time from the first to the last
}

// Parse reads one line:
//
//	[at 30% | at 10s | every 5s] DEED [for 20s | for good]
//
// where DEED is one of
//
//	kill root | kill roots | kill random-parent | kill random | kill device 3
//	cut wan
//	isolate half | isolate all | isolate device 3
//	fill disk of 3
//	slow device 4 to 1mbit
//	start 5 devices late at 100%
//	wake at once | wake over 60s
//
// A killed device starts again after a second, unless the line says otherwise.
// Case does not matter; "device" and "devices" may be left out.
func Parse(line string) (Story, error) {
	if len(line) > maxStory {
		return Story{}, fmt.Errorf("%w: longer than %d bytes", errStory, maxStory)
	}
	p := &storyParser{words: strings.Fields(strings.ToLower(line))}
	s, err := p.story()
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("leave out %q at the end", strings.Join(p.words, " "))
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return Story{}, fmt.Errorf("%w: %q: %w", errStory, line, err)
	}
	return s, nil
}

// Read reads one story per line; empty lines and text after a # are ignored.
func Read(r io.Reader) ([]Story, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxStories*maxStory*2))
	if err != nil {
		return nil, err
	}
	var all []Story
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		s, err := Parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if all = append(all, s); len(all) > maxStories {
			return nil, fmt.Errorf("more than %d stories", maxStories)
		}
	}
	return all, nil
}

// String writes the story as Parse reads it.
func (s Story) String() string {
	var b strings.Builder
	moment := func() string {
		switch {
		case s.Percent > 0:
			return fmt.Sprintf("at %d%%", s.Percent)
		case s.At > 0:
			return fmt.Sprintf("at %v", s.At)
		case s.Every > 0:
			return fmt.Sprintf("every %v", s.Every)
		}
		return ""
	}()
	if moment != "" && s.Deed != deedStart {
		b.WriteString(moment + " ")
	}
	target := s.Target
	if s.Device > 0 {
		target = fmt.Sprintf("device %d", s.Device)
	}
	switch s.Deed {
	case deedCut:
		target = "wan"
	case deedFill:
		target = "disk of " + strings.TrimPrefix(target, "device ")
	case deedSlow:
		rate := strings.TrimSuffix(strings.ReplaceAll(strings.ToLower(s.Rate.String()), " ", ""), "/s")
		target += " to " + rate
	case deedStart:
		target = fmt.Sprintf("%d devices late %s", s.Count, moment)
	case deedWake:
		target = "at once"
		if s.Over > 0 {
			target = fmt.Sprintf("over %v", s.Over)
		}
	}
	b.WriteString(s.Deed + " " + target)
	switch {
	case s.Deed == deedKill && s.For == 0:
		b.WriteString(" for good")
	case s.For > 0 && !(s.Deed == deedKill && s.For == killFor):
		fmt.Fprintf(&b, " for %v", s.For)
	}
	return b.String()
}

// check refuses stories that make no sense.
func (s Story) check() error {
	for _, d := range []time.Duration{s.At, s.Every, s.For, s.Over} {
		if d < 0 || d > maxMoment {
			return fmt.Errorf("a time is 0s to %v, not %v", maxMoment, d)
		}
	}
	switch {
	case s.Percent < 0 || s.Percent > 100:
		return fmt.Errorf("a part of the file is 0%% to 100%%, not %d%%", s.Percent)
	case s.Every > 0 && s.Every < 100*time.Millisecond:
		return errors.New("every 100ms at the most")
	case s.Every > 0 && s.Deed != deedKill:
		return errors.New("only a kill can happen every so often: write \"at\" and a time")
	case s.Device < 0 || s.Device > site.MaxDevices || s.Count < 0 || s.Count > site.MaxDevices:
		return fmt.Errorf("devices are numbered from 1 to %d", site.MaxDevices)
	case s.Percent == 100 && (s.Target == targetRoot || s.Target == targetRoots):
		return errors.New("a root that has all is none: 99% at the most")
	case s.Deed == deedWake && (s.At > 0 || s.Percent > 0 || s.For > 0):
		return errors.New("devices wake at the start: leave \"at\" out")
	case s.Deed == deedStart && (s.At == 0 && s.Percent == 0 || s.For > 0):
		return errors.New("write for example: start 5 devices late at 100%")
	}
	return nil
}

// storyParser takes words from the front.
type storyParser struct{ words []string }

// take takes the next word if it is one of the given ones.
func (p *storyParser) take(any ...string) bool {
	for _, w := range any {
		if len(p.words) > 0 && p.words[0] == w {
			p.words = p.words[1:]
			return true
		}
	}
	return false
}

func (p *storyParser) word() string {
	if len(p.words) == 0 {
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *storyParser) duration() (time.Duration, error) {
	d, err := time.ParseDuration(p.word())
	if err != nil || d <= 0 {
		return 0, errors.New("a time is written like 500ms, 20s or 1m")
	}
	return d, nil
}

func (p *storyParser) number() (int, error) {
	n, err := strconv.Atoi(p.word())
	if err != nil || n < 1 {
		return 0, errors.New("a number from 1 on is missing")
	}
	return n, nil
}

// moment takes what comes after "at".
func (p *storyParser) moment(s *Story) (err error) {
	w := p.word()
	if percent, ok := strings.CutSuffix(w, "%"); ok {
		if s.Percent, err = strconv.Atoi(percent); err != nil || s.Percent < 1 {
			return errors.New("a part of the file is 1% to 100%")
		}
		return nil
	}
	p.words = append([]string{w}, p.words...)
	s.At, err = p.duration()
	return err
}

func (p *storyParser) story() (s Story, err error) {
	switch {
	case p.take("at"):
		err = p.moment(&s)
	case p.take("every"):
		s.Every, err = p.duration()
	}
	if err == nil {
		s.Deed = p.word()
		err = p.deed(&s)
	}
	if err != nil || !p.take("for") {
		return s, err
	}
	if p.take("good") {
		s.For = 0
		return s, nil
	}
	s.For, err = p.duration()
	return s, err
}

func (p *storyParser) deed(s *Story) error {
	switch s.Deed {
	case deedKill:
		s.For = killFor
		return p.target(s, targetRoot, targetRoots, targetParent, targetRandom)
	case deedCut:
		if !p.take("wan") {
			return errors.New("write: cut wan")
		}
		return nil
	case deedIsolate:
		return p.target(s, targetHalf, targetAll)
	case deedFill:
		if !p.take("disk") || !p.take("of") {
			return errors.New("write for example: fill disk of 3")
		}
		return p.target(s)
	case deedSlow:
		return p.slow(s)
	case deedStart:
		return p.start(s)
	case deedWake:
		return p.wake(s)
	}
	return choice.Unknown("deed", s.Deed,
		[]string{deedKill, deedCut, deedIsolate, deedFill, deedSlow, deedStart, deedWake})
}

// target takes a device or one of the names.
func (p *storyParser) target(s *Story, names ...string) (err error) {
	for _, name := range names {
		if p.take(name) {
			s.Target = name
			return nil
		}
	}
	p.take("device")
	if s.Device, err = p.number(); err != nil {
		return fmt.Errorf("%s what? Choose %s", s.Deed, choice.List(append(names, "device 3")))
	}
	return nil
}

func (p *storyParser) slow(s *Story) error {
	if err := p.target(s, targetAll, targetHalf); err != nil {
		return err
	}
	if !p.take("to") {
		return errors.New("write the rate, for example: slow device 3 to 1mbit")
	}
	r, err := units.ParseRate(p.word())
	s.Rate = r
	return err
}

func (p *storyParser) start(s *Story) (err error) {
	if s.Count, err = p.number(); err != nil {
		return err
	}
	p.take("devices", "device")
	p.take("late")
	if p.take("at") {
		return p.moment(s)
	}
	return nil
}

func (p *storyParser) wake(s *Story) (err error) {
	if p.take("at") {
		if !p.take("once") {
			return errors.New("write: wake at once, or for example: wake over 60s")
		}
		return nil
	}
	if !p.take("over") {
		return errors.New("write: wake at once, or for example: wake over 60s")
	}
	s.Over, err = p.duration()
	return err
}
