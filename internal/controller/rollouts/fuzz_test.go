package rollouts

import (
	"encoding/json"
	"testing"
)

// FuzzPlan: a plan that is taken is written as people do, and read again is the
// same.
func FuzzPlan(f *testing.F) {
	for _, seed := range []string{`{}`, `{"waves":[{"percent":5,"soak":"90m"},{"percent":100}],"windows":["22:00-05:00"]}`,
		`{"silence":{"rule":"ignore","after":"25h"},"retry":{"reasons":["disk"],"times":3,"back_off":"1m"}}`,
		`{"lost":"-1s"}`, `{"valid":"1e9h"}`, `{"waves":[{"devices":["SEP000000000001"],"opener":"external"},{"percent":100}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Plan
		if json.Unmarshal(b, &p) != nil {
			return
		}
		m, err := p.machine()
		if err != nil {
			return
		}
		again, err := planOf(m).machine()
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		first, _ := json.Marshal(m)
		second, _ := json.Marshal(again)
		if string(first) != string(second) {
			t.Errorf("%s is %s, and then %s", b, first, second)
		}
	})
}

// FuzzAnswer: an answer is a go only if it says so, and a URL that is taken has a
// host to ask.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"go":true}`, `{"go":false}`, `{"Go":true}`, `{"go":"true"}`, `[{"go":true}]`, ``, `null`,
		"https://monitor.example/go", "http://[::1]:80/?a=b", "ftp://a", "http://user@a/"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if yes, said := parseAnswer(b); yes {
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil || said != "go" {
				t.Errorf("%q is a go: %v", b, err)
			}
		}
		if url := string(b); checkURL(url) == nil && url != "" && host(url) == "" {
			t.Errorf("%q has no host", b)
		}
	})
}
