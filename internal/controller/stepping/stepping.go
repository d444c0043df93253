// Package stepping decides by which loads a device gets to the one that it should
// run: a load may say that it is installed from some versions only.
//
// What lives here: patterns of versions, and the way between two loads. What must
// not: an order of versions, which are free text: a load names those that it may
// be installed from, and the list of loads says which load has which version; the
// store; who may assign what.
//
// Read Load and Stones.Next.
package stepping

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Load is what matters of a load here.
type Load struct {
	// Name of the load, and Version as its manifest has it, "" if it has none.
	Name, Version string
	// Models that it is for, each written in the one way that all loads share.
	Models []string
	// From are patterns of the versions that it may be installed from, those first
	// that are preferred on the way. None: from any, known or not.
	From []string
	// Created is when it was made known: of two stones of one version the later one
	// is taken.
	Created time.Time
	// Unusable loads cannot be handed out: they only say which load has which
	// version.
	Unusable bool
}

// Nothing in a list of patterns stands for a device that says that it runs no load.
const Nothing = "none"

// Limits.
const (
	// MaxPatterns bounds the patterns of a load.
	MaxPatterns = 64
	// MaxPattern bounds a pattern, in bytes.
	MaxPattern = 100
	// maxWay bounds the loads on the way of a device: no device needs so many.
	maxWay = 16
)

// ErrPattern says that a pattern cannot be one.
var ErrPattern = errors.New("not a pattern of versions")

// Check refuses patterns that could match nothing, or are too many or too long.
func Check(patterns []string) error {
	if len(patterns) > MaxPatterns {
		return fmt.Errorf("%w: %d patterns are more than %d; \"*\" in a pattern stands for any text", ErrPattern,
			len(patterns), MaxPatterns)
	}
	for i, p := range patterns {
		switch {
		case p == "" || p != strings.TrimSpace(p) || len(p) > MaxPattern:
			return fmt.Errorf("%w: one has 1 to %d bytes and no space at its ends, such as 9.3(1)* for every version that "+
				"begins so", ErrPattern, MaxPattern)
		case slices.Contains(patterns[:i], p):
			return fmt.Errorf("%w: %q stands twice", ErrPattern, p)
		}
	}
	return nil
}

// Matches reports whether a text is as a pattern says: "*" stands for any text,
// which may be empty, everything else for itself.
func Matches(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return pattern == text
	}
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}

// Stones are the loads that a controller knows. They do not change, and may be
// used by several goroutines.
type Stones struct {
	loads map[string]Load
	order []Load // the later ones first
}

// New returns the stones of these loads.
func New(loads []Load) *Stones {
	s := &Stones{loads: make(map[string]Load, len(loads)), order: slices.Clone(loads)}
	for _, l := range loads {
		s.loads[l.Name] = l
	}
	slices.SortFunc(s.order, func(a, b Load) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Name, b.Name))
	})
	return s
}

// rank is the place of the first pattern of a load that takes a device which runs
// another one, -1 if none does. A pattern is compared with the version of what
// runs and with its name, which is all that is known of a load of nobody's list,
// and of one without a version.
func (s *Stones) rank(l Load, runs string) int {
	if len(l.From) == 0 {
		return 0
	}
	return slices.IndexFunc(l.From, func(p string) bool {
		if runs == "" {
			return p == Nothing
		}
		version := s.loads[runs].Version
		return Matches(p, runs) || version != "" && Matches(p, version)
	})
}

// Version is that of a load, its name if it states none or nobody knows it.
func (s *Stones) Version(name string) string { return cmp.Or(s.loads[name].Version, name) }

// Restricted reports whether a load may be installed from some versions only.
func (s *Stones) Restricted(name string) bool { return len(s.loads[name].From) > 0 }

// knows reports whether the version of what a device runs is known. If not, nothing
// is put between but what says that it may be: a load that names no versions was
// perhaps only never asked about, and might take a device back.
func (s *Stones) knows(runs string) bool { _, ok := s.loads[runs]; return ok }

// Next returns what a device is to install that runs one load, "" if none, and
// should run the goal: the goal itself, or the first of the fewest loads that lead
// to it. ok is false if none does. What is taken on the way is for every model
// that both the goal and the load that runs are for, so that it is for the device
// whatever its model is. It is a rollout.NextStep.
func (s *Stones) Next(runs, goal string) (load string, ok bool) {
	models := s.loads[goal].Models
	if from, known := s.loads[runs]; known {
		models = slices.DeleteFunc(slices.Clone(models), func(m string) bool { return !slices.Contains(from.Models, m) })
	}
	return s.next(runs, goal, models)
}

// NextOf is Next for a device of that model.
func (s *Stones) NextOf(model, runs, goal string) (load string, ok bool) {
	return s.next(runs, goal, []string{model})
}

// next goes back from the goal, so that of several ways the one with the fewest
// loads is found, and of these the one that the loads nearest to the goal prefer.
func (s *Stones) next(runs, goal string, models []string) (load string, ok bool) {
	to, known := s.loads[goal]
	if runs == goal || !known || s.rank(to, runs) >= 0 {
		return goal, true // what nobody knows restricts nothing
	}
	seen := map[string]bool{goal: true}
	for layer, n := []Load{to}, 0; len(layer) > 0 && n < maxWay; n++ {
		var before []Load
		for _, l := range layer {
			for _, k := range s.leadingTo(l, models) {
				if !seen[k.Name] {
					seen[k.Name] = true
					before = append(before, k)
				}
			}
		}
		for _, k := range before {
			if s.rank(k, runs) >= 0 && (len(k.From) > 0 || s.knows(runs)) {
				return k.Name, true
			}
		}
		layer = before
	}
	return "", false
}

// leadingTo are the loads for these models that a load may be installed from, those
// first that it prefers.
func (s *Stones) leadingTo(l Load, models []string) []Load {
	var all []Load
	for _, k := range s.order {
		lacks := func(m string) bool { return !slices.Contains(k.Models, m) }
		if k.Unusable || k.Name == l.Name || slices.ContainsFunc(models, lacks) || s.rank(l, k.Name) < 0 {
			continue
		}
		all = append(all, k)
	}
	slices.SortStableFunc(all, func(a, b Load) int { return cmp.Compare(s.rank(l, a.Name), s.rank(l, b.Name)) })
	return all
}
