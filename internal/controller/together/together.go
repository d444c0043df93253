// Package together lets those who ask at the same time be answered at once: by one
// transaction, one statement, one wait for the disk.
//
// What lives here: who is answered with whom. What must not: what is asked, and how it
// is answered.
package together

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// How says how a Group answers.
type How[Q, A any] struct {
	// Answer answers all questions, in their order. Its context does not end when one of
	// the callers gives up, since several wait. If it fails, each question is answered by
	// itself, so that one that cannot be answered fails no other. Required.
	Answer func(ctx context.Context, all []Q) ([]A, error)
	// Most bounds the questions of one call of Answer, and Turns the calls that run at the
	// same time. Both are at least 1.
	Most, Turns int
	// Key names what a question is about: two questions with the same key are not answered
	// in one call. nil: any are.
	Key func(Q) string
	// All reports whether an error concerns all questions, which are then not answered one
	// by one. nil: no error does.
	All func(error) bool
}

// Group answers questions. It may be used by several goroutines.
type Group[Q, A any] struct {
	cfg     How[Q, A]
	mu      sync.Mutex
	waiting []*call[Q, A]
	// turns are held by those who answer.
	turns chan struct{}
}

// New returns a group.
func New[Q, A any](cfg How[Q, A]) *Group[Q, A] {
	return &Group[Q, A]{cfg: cfg, turns: make(chan struct{}, cfg.Turns)}
}

// call is a question that somebody waits for.
type call[Q, A any] struct {
	question Q
	answer   A
	err      error
	// taken is closed when somebody begins to answer it, done when it is answered.
	taken, done chan struct{}
}

// Ask returns the answer to a question, by a call of Answer that begins after it was
// asked. A caller that finds a turn free answers for all that wait then.
func (g *Group[Q, A]) Ask(ctx context.Context, q Q) (A, error) {
	own := &call[Q, A]{question: q, taken: make(chan struct{}), done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, own)
	g.mu.Unlock()
	for {
		select {
		case <-own.taken:
			// Somebody answers it, so a turn would find nothing to do.
			select {
			case <-own.done:
				return own.answer, own.err
			case <-ctx.Done():
				var none A
				return none, ctx.Err()
			}
		case <-ctx.Done():
			g.mu.Lock()
			defer g.mu.Unlock()
			g.waiting = slices.DeleteFunc(g.waiting, func(o *call[Q, A]) bool { return o == own })
			var none A
			return none, ctx.Err()
		case g.turns <- struct{}{}:
			func() {
				defer func() { <-g.turns }() // whatever happens, others go on
				g.answer(context.WithoutCancel(ctx))
			}()
		}
	}
}

// answer answers those who wait now.
func (g *Group[Q, A]) answer(ctx context.Context) {
	some := g.next()
	if len(some) == 0 {
		return
	}
	// Whoever waits hears an error if this ends in a panic, which goes on.
	defer func() {
		for _, c := range some {
			select {
			case <-c.done:
			default:
				c.err = errors.New("nobody has answered")
				close(c.done)
			}
		}
	}()
	err := g.try(ctx, some)
	alone := err != nil && len(some) > 1 && (g.cfg.All == nil || !g.cfg.All(err))
	for i, c := range some {
		if alone {
			err = g.try(ctx, some[i:i+1])
		}
		c.err = err
		close(c.done)
	}
}

// try has questions answered.
func (g *Group[Q, A]) try(ctx context.Context, some []*call[Q, A]) error {
	questions := make([]Q, len(some))
	for i, c := range some {
		questions[i] = c.question
	}
	answers, err := g.cfg.Answer(ctx, questions)
	if err == nil && len(answers) != len(some) {
		err = errors.New("not every question has an answer")
	}
	if err != nil {
		return err
	}
	for i, c := range some {
		c.answer = answers[i]
	}
	return nil
}

// next takes questions that wait.
func (g *Group[Q, A]) next() (some []*call[Q, A]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	taken := map[string]bool{}
	g.waiting = slices.DeleteFunc(g.waiting, func(c *call[Q, A]) bool {
		if len(some) == g.cfg.Most {
			return false
		}
		if g.cfg.Key != nil {
			key := g.cfg.Key(c.question)
			if taken[key] {
				return false
			}
			taken[key] = true
		}
		some = append(some, c)
		close(c.taken)
		return true
	})
	return some
}
