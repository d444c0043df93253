package wording

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/device/reason"
	"github.com/peerload/peerload/internal/device/slot"
	"github.com/peerload/peerload/internal/note"
	"github.com/peerload/peerload/pdp/wire"
)

// TestCSCsh20977_NoTextIsMissing: every word and every reason has its text in
// both languages, and every reason of the protocol has one.
func TestCSCsh20977_NoTextIsMissing(t *testing.T) {
	for key, w := range words {
		if w[0] == "" || w[1] == "" {
			t.Errorf("%s is missing in a language", key)
		}
	}
	for _, state := range []slot.State{slot.StateEmpty, slot.StateFilling, slot.StateComplete, slot.StateTrial,
		slot.StateConfirmed, slot.StateFailed} {
		if _, ok := words["slot "+string(state)]; !ok {
			t.Errorf("there is no text for the state %s of a slot", state)
		}
	}
	for code, w := range reasons {
		if w[0] == "" || w[1] == "" || w[0] == w[1] {
			t.Errorf("reason %s is missing in a language", code)
		}
	}
	for code, w := range failed {
		if w[0] == "" || w[1] == "" || strings.Count(w[0], "%") != strings.Count(w[1], "%") {
			t.Errorf("what to do about %s is missing in a language", code)
		}
	}
	for code, w := range advice {
		if w[0] == "" || w[1] == "" || w[0] == w[1] {
			t.Errorf("the advice about %s is missing in a language", code)
		}
	}
	for _, code := range reason.Own() {
		if _, ok := advice[code]; !ok {
			t.Errorf("there is no advice about %s", code)
		}
	}
	all := reason.All()
	for _, code := range all {
		if _, ok := reasons[code]; !ok {
			t.Errorf("there is no text for the reason %s", code)
		}
	}
	if len(reasons) != len(all) {
		t.Errorf("%d texts of %d reasons", len(reasons), len(all))
	}
}

// Two reasons are never told in the same words: a reason means one thing.
func TestNoTwoReasonsSayTheSame(t *testing.T) {
	for i := range 2 {
		said := map[string]reason.Code{}
		for code, w := range reasons {
			if other, ok := said[w[i]]; ok {
				t.Errorf("%s and %s are both %q", code, other, w[i])
			}
			said[w[i]] = code
		}
	}
}

func TestWhy(t *testing.T) {
	for _, c := range []struct {
		ja                  bool
		code, message, want string
	}{
		{false, "alone", "", "no other device answered (alone)"},
		{true, "alone", "x", "他の機器から応答なし (alone: x)"},
		{false, "", "x", "x"},
		{false, "none", "x", "x"},
		{true, "newer-than-this", "x", "newer-than-this: x"},
	} {
		if got := Why(c.ja, c.code, c.message); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestFailed(t *testing.T) {
	for _, c := range []struct {
		ja         bool
		code       reason.Code
		from, want string
	}{
		{false, reason.Of(wire.ReasonOriginBusy), "http://h/%s", "http://h/%s is busy; try again later"},
		{true, reason.Of(wire.ReasonOriginBusy), "u", "u が混雑しています。後で再実行してください"},
		{false, reason.Of(wire.ReasonPeersFailed), "u", "the peers failed"},
		{true, reason.Of(wire.ReasonPeersFailed), "u", "ピアからの取得に失敗"},
		{false, "newer-than-this", "u", "newer-than-this"},
	} {
		if got := Failed(c.ja, c.code, c.from); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestPhasesHaveWords: whatever a device was at when it failed has words of its own in
// both languages.
func TestPhasesHaveWords(t *testing.T) {
	seen := map[string]string{}
	phases := []string{"download", "install", "reboot", "commit", "rollback"} // steps of the installer
	for _, code := range reason.All() {
		phases = append(phases, code.Phase())
	}
	for _, phase := range phases {
		for _, ja := range []bool{false, true} {
			text := Say(ja, "phase "+phase)
			if other, told := seen[text]; told && other != phase || ja && text == phase {
				t.Errorf("%q of %q is the text of %q, too, or none", text, phase, other)
			}
			seen[text] = phase
		}
	}
}

// TestReasonsAreTold: package report lists the codes that are not the protocol's.
func TestReasonsAreTold(t *testing.T) {
	text, err := os.ReadFile("../../../report/device.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(strings.ReplaceAll(string(text), "\n\t//", ""), "one of the agent's own: ")
	list, _, _ := strings.Cut(rest, ".")
	told := strings.Split(list, ", ")
	var want []string
	for _, code := range reason.Own() {
		if code != reason.MetadataRefused { // an event's only
			want = append(want, string(code))
		}
	}
	slices.Sort(told)
	slices.Sort(want)
	if !slices.Equal(told, want) {
		t.Errorf("package report tells of %q, not of %q", told, want)
	}
}

// TestAdvice: every failure has something to do, and what is none has nothing.
func TestAdvice(t *testing.T) {
	if Advice(false, "") != "" || Advice(true, "") != "" {
		t.Error("advice about nothing")
	}
	for _, code := range append(reason.All(), "newer-than-this") {
		if en, ja := Advice(false, code), Advice(true, code); en == "" || ja == "" || en == ja {
			t.Errorf("%s: %q, %q", code, en, ja)
		}
	}
}

// counted finds a number before a word in the plural, or a verb of one, that stays so if
// the number is 1.
var counted = regexp.MustCompile(`%[ds](?: of %d| more)? ([a-z]{2,}s|children|are|were|have)\b`)

// Texts with a number say one as one.
func TestFill(t *testing.T) {
	for _, c := range []struct {
		text string
		args []any
		want string
	}{
		{"%d {device has|devices have} failed", []any{1}, "1 device has failed"},
		{"%d {device has|devices have} failed", []any{0}, "0 devices have failed"},
		{"%s {device|devices}, %d {file|files}", []any{"1", 21}, "1 device, 21 files"},
		{"%s {device|devices}", []any{"1,001"}, "1,001 devices"},
		{"%d %% of %d {device|devices}", []any{2, 1}, "2 % of 1 device"},
		{"{device|devices}", []any{1}, "device"},
		{"{device|devices}", []any{2}, "devices"},
		{"%[2]s の %[1]s", []any{"a", "b"}, "b の a"},
		{"%s", []any{"{a|b}"}, "{a|b}"},
		{"%s: {why}", []any{"x"}, "x: {why}"},
	} {
		if got := Fill(c.text, c.args...); got != c.want {
			t.Errorf("%q with %v: %q", c.text, c.args, got)
		}
	}
	for key, w := range words {
		if bad := counted.FindString(w[0]); bad != "" {
			t.Errorf("%s: %q is wrong of 1", key, bad)
		}
	}
	one := note.Altered{Count: 1}
	if got := Note(false, File{}, one, 0); !strings.HasPrefix(got, "1 chunk was altered on its way") {
		t.Errorf("%q", got)
	}
	b, err := os.ReadFile("notes.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`both\("([^"]+)"`).FindAllStringSubmatch(string(b), -1) {
		if bad := counted.FindStringSubmatch(m[1]); bad != nil && bad[1] != "is" && bad[1] != "has" {
			t.Errorf("a note: %q is wrong of 1", bad[0])
		}
	}
}
