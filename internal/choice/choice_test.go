package choice

import (
	"slices"
	"testing"
)

func TestUnknown(t *testing.T) {
	commands := []string{"agent", "config", "get", "status", "screen"}
	for _, c := range []struct {
		word  string
		valid []string
		want  string
	}{
		{"gt", commands, `unknown command "gt": choose agent, config, get, status or screen; did you mean get?`},
		{"s", commands, `unknown command "s": choose agent, config, get, status or screen; did you mean status or screen?`},
		{"xbit", []string{"kbit", "mbit"}, `unknown command "xbit": choose kbit or mbit`},
		{"STATUSS", commands, `unknown command "STATUSS": choose agent, config, get, status or screen; did you mean status?`},
		{"xyz", []string{"get"}, `unknown command "xyz": choose get`},
		{"gt", []string{"get"}, `unknown command "gt": choose get`},
		{"", commands, `unknown command "": choose agent, config, get, status or screen`},
		{"x", nil, `unknown command "x"`},
	} {
		if got := Unknown("command", c.word, c.valid).Error(); got != c.want {
			t.Errorf("%q: %s, want %s", c.word, got, c.want)
		}
	}
	if err := Check("command", "get", commands); err != nil {
		t.Error(err)
	}
	if err := Check("command", "got", commands); err == nil || err.Error() != Unknown("command", "got", commands).Error() {
		t.Error(err)
	}
}

func TestValue(t *testing.T) {
	profiles := []string{"lan", "classic"}
	for value, want := range map[string]string{
		"classic": "",
		"clasic":  `--profile is lan or classic, not "clasic"; did you mean classic?`,
		"":        `--profile is lan or classic, not ""`,
	} {
		err := Value("--profile", value, profiles)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	for word, want := range map[string][]string{
		"agnet":  {"agent"},
		"Ag":     {"agent"},
		"GETT":   {"get"},
		"gte":    {"get"},
		"agents": {"agent"},
		"abent":  {"agent"},
		"abnet":  {"agent"},
		"abne":   nil, // two letters of a short word
		"abnett": nil, // three
		"u":      {"up"},
		"x":      nil, // of "a" no letter would be left
		"":       nil,
	} {
		if got := Nearest(word, []string{"get", "agent", "up", "a"}); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"get", "get", 0}, {"gte", "get", 1}, {"agent", "agnet", 1}, {"agent", "abnet", 2},
		{"kitten", "sitting", 3}, {"flaw", "lawn", 2},
	} {
		if got, back := distance(c.a, c.b), distance(c.b, c.a); got != c.want || back != c.want {
			t.Errorf("%s to %s: %d, back %d, want %d", c.a, c.b, got, back, c.want)
		}
	}
}
