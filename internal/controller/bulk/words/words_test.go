package words_test

import (
	"strings"
	"testing"

	"github.com/peerload/peerload/internal/controller/bulk/words"
)

// TestSay: a verdict is said with all that it names; one without words stays as it is.
func TestSay(t *testing.T) {
	for verdict, want := range map[string]string{
		`not found: profile "Brnach"; did you mean Branch?`:                                     `プロファイル "Brnach" はありません(Branch の誤りではありませんか)`,
		`line 3: column description: it holds #REF!, the error of a formula`:                    `3行目: 列 description: 数式のエラー #REF! です`,
		`bad setting: timing: the value is lan or classic, not "clasic"; did you mean classic?`: `設定 timing: 値は lan、classic のいずれかです。"clasic" ではありません(classic の誤りではありませんか)`,
		`not found: site "$1 %1"`: `拠点 "$1 %1" はありません`,
		`something else`:          `something else`,
	} {
		if got := words.Say(verdict, true); got != want {
			t.Errorf("%s: %s, want %s", verdict, got, want)
		}
		if got := words.Say(verdict, false); got != verdict {
			t.Errorf("in English it is %s", got)
		}
		if got := words.Known(verdict); got != (verdict != "something else") {
			t.Errorf("%s: known %v", verdict, got)
		}
	}
	const part = "line 3: something else"
	if words.Known(part) || !strings.Contains(words.Say(part, true), "3行目: something") {
		t.Error("a part without words is known, or lost")
	}
}
