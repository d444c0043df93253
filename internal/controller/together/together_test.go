package together_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/peerload/peerload/internal/controller/together"
)

var errBad, errAway = errors.New("bad"), errors.New("away")

// rounds holds the first answer until the others wait, and counts them.
type rounds struct {
	sync.Mutex
	all  [][]string
	held chan struct{}
}

func (r *rounds) answer(_ context.Context, all []string) (answers []string, err error) {
	r.Lock()
	r.all = append(r.all, slices.Clone(all))
	first := len(r.all) == 1
	r.Unlock()
	if first {
		<-r.held
	}
	for _, q := range all {
		switch q {
		case "bad":
			err = errBad
		case "away":
			err = errAway
		}
		answers = append(answers, strings.ToUpper(q))
	}
	return answers, err
}

// ask asks questions at the same time, each after those before it wait, and returns what
// became of each.
func ask(cfg together.How[string, string], r *rounds, questions ...string) map[string]error {
	r.held = make(chan struct{})
	cfg.Answer = r.answer
	g := together.New(cfg)
	var mu sync.Mutex
	got := map[string]error{}
	var wg sync.WaitGroup
	for _, q := range questions {
		wg.Go(func() {
			a, err := g.Ask(context.Background(), q)
			if err == nil && a != strings.ToUpper(q) {
				err = errors.New(a + " is no answer to " + q)
			}
			mu.Lock()
			defer mu.Unlock()
			got[q] = errors.Join(got[q], err)
		})
		synctest.Wait() // they wait in their order
	}
	close(r.held)
	wg.Wait()
	return got
}

// TestTogether: those who come while one is answered are answered at once, each with its
// own answer, as many as may be, and no two of one key.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		got := ask(together.How[string, string]{Most: 3, Turns: 1, Key: func(q string) string { return q }}, &r,
			"a", "b", "b", "c", "d", "e")
		for q, err := range got {
			if err != nil {
				t.Errorf("%s: %v", q, err)
			}
		}
		if len(r.all) != 3 || len(r.all[0]) != 1 || len(r.all[1]) != 3 || len(r.all[2]) != 2 {
			t.Fatalf("%q", r.all)
		}
		slices.Sort(r.all[1])
		if len(slices.Compact(r.all[1])) != 3 {
			t.Errorf("two of one key: %q", r.all)
		}
	})
}

// TestAlone: one that cannot be answered is nobody else's fault, unless the error is
// everybody's.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := together.How[string, string]{Most: 9, Turns: 1,
			All: func(err error) bool { return errors.Is(err, errAway) }}
		var r rounds
		got := ask(cfg, &r, "first", "a", "bad", "b")
		if !errors.Is(got["bad"], errBad) || got["a"] != nil || got["b"] != nil || got["first"] != nil {
			t.Errorf("%v after %q", got, r.all)
		}
		r = rounds{}
		got = ask(cfg, &r, "first", "a", "away", "b")
		if !errors.Is(got["a"], errAway) || !errors.Is(got["b"], errAway) || len(r.all) != 2 {
			t.Errorf("%v after %q", got, r.all)
		}
	})
}

// TestGone: who no longer waits is not answered, and others are.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rounds{held: make(chan struct{})}
		g := together.New(together.How[string, string]{Answer: r.answer, Most: 9, Turns: 1})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = g.Ask(t.Context(), "first") })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := g.Ask(ctx, "gone"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
		wg.Go(func() {
			if a, err := g.Ask(t.Context(), "stays"); a != "STAYS" || err != nil {
				t.Errorf("%q, %v", a, err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(r.held)
		wg.Wait()
		if len(r.all) != 2 || !slices.Equal(r.all[1], []string{"stays"}) {
			t.Errorf("%q", r.all)
		}
	})
}

// TestPanic: whoever waits for a turn that ends in a panic hears an error, and the next
// turn goes on.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		g := together.New(together.How[string, string]{Most: 9, Turns: 1,
			Answer: func(_ context.Context, all []string) ([]string, error) {
				<-held
				if slices.Contains(all, "panics") {
					panic("as it was told")
				}
				return all, nil
			}})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				defer func() { _ = recover() }()
				if _, err := g.Ask(t.Context(), "panics"); err == nil {
					t.Error("no error")
				}
			})
		}
		synctest.Wait()
		close(held)
		wg.Wait()
		if a, err := g.Ask(t.Context(), "next"); a != "next" || err != nil {
			t.Errorf("%q, %v", a, err)
		}
	})
}
