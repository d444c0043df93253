package limits

import (
	"errors"
	"slices"
	"testing"
	"time"
)

type config struct {
	Wait  time.Duration
	Count int
	Name  string
	own   int
}

func (c config) Validate() error {
	if c.Wait <= 0 || c.Count < 2 || c.Count > 5 {
		return errors.New("no")
	}
	return nil
}

// TestProblems: what is right passes, and each kind of mistake is found.
func TestProblems(t *testing.T) {
	good := config{Wait: time.Second, Count: 3, own: 1}
	for _, c := range []struct {
		name string
		good config
		rows map[string]Range
		want []string
	}{
		{"right", good, map[string]Range{"Wait": AtLeast(1), "Count": Between(2, 5), "Name": Any("for people")}, nil},
		{"not good", config{Count: 3}, map[string]Range{"Wait": AtLeast(1), "Count": Any("the wait is refused"),
			"Name": Any("for people")}, []string{"what should be good is refused: no"}},
		{"no row, one too many", good, map[string]Range{"Wait": AtLeast(1), "Name": Any("for people"), "Other": AtLeast(1)},
			[]string{"Count has no row: say what it may be", "1 rows name no field"}},
		{"too little is accepted", good, map[string]Range{"Wait": AtLeast(2), "Count": Between(3, 4),
			"Name": Any("for people")}, []string{"Wait = 1 is valid", "Count = 2 is valid", "Count = 5 is valid"}},
		{"too much is refused", good, map[string]Range{"Wait": AtLeast(0), "Count": Between(1, 6), "Name": AtLeast(0)},
			[]string{"Wait = 0 is refused: no", "Count = 1 is refused: no", "Count = 6 is refused: no",
				"Name is no number: give it Any and a test of its own"}},
	} {
		if got := problems(c.good, config.Validate, c.rows); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
