package frame

import (
	"os"
	"regexp"
	"testing"

	"github.com/peerload/peerload/internal/controller/pages/words"
)

// The audit log's words for things and people are in the language of the page, and their
// names are as they were.
func TestTarget(t *testing.T) {
	for is, want := range map[string][2]string{
		"user admin":                    {"user admin", "ユーザー admin"},
		"enterprise":                    {"enterprise", "エンタープライズ"},
		"fileset tones-1":               {"file set tones-1", "ファイルセット tones-1"},
		"order key 3":                   {"order key 3", "指示の鍵 3"},
		"order 01ab":                    {"order 01ab", "指示 01ab"},
		"bulk job of 3 rows: desks.csv": {"bulk change of 3 lines: desks.csv", "3 行の一括変更: desks.csv"},
		"bulk job 01ab: 4 rows":         {"bulk change 01ab: 4 rows", "一括変更 01ab: 4 rows"},
		"bulk job 01ab: bulk job of 3 rows": {"bulk change 01ab: bulk job of 3 rows",
			"一括変更 01ab: bulk job of 3 rows"},
		"12 rows": {"12 lines", "12 行"}, "devices": {"devices", "devices"}, "": {"", ""},
	} {
		if en, ja := Target(false, is), Target(true, is); en != want[0] || ja != want[1] {
			t.Errorf("%q is %q and %q", is, en, ja)
		}
	}
}

func TestActor(t *testing.T) {
	for is, want := range map[[2]string][2]string{
		{"user", "upkeep"}:          {"upkeep", "upkeep"},
		{"system", "upkeep"}:        {"upkeep", "定期処理"},
		{"user", "token a of b"}:    {"token a of b", "token a of b"},
		{"token", "token ci of bo"}: {"token ci of bo", "bo のトークン ci"},
		{"system", "job of ken"}:    {"bulk change of ken", "ken の一括変更"},
		{"system", "rollout r"}:     {"rollout r", "ロールアウト r"},
		{"system", "issuer https://id.example"}: {"sign-in service https://id.example",
			"サインインサービス https://id.example"},
		{"device", "SEP001122334455"}: {"SEP001122334455", "SEP001122334455"},
	} {
		if en, ja := Actor(false, is[0], is[1]), Actor(true, is[0], is[1]); en != want[0] || ja != want[1] {
			t.Errorf("%q is %q and %q", is, en, ja)
		}
	}
}

// Whatever the controller writes to the audit log as a target has words.
func TestTargetKinds(t *testing.T) {
	written := regexp.MustCompile(`(?:note|event|Note)\([^"]*"[a-z.-]+", (?:fmt\.Sprintf\()?"([a-z ]+?) ?(?:%[sd][^"]*)?"`)
	n := 0
	for _, dir := range []string{"domain", "orders", "bulk", "filesets", "rollouts", "webhooks"} {
		files, err := os.ReadDir("../../" + dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.IsDir() {
				continue
			}
			b, err := os.ReadFile("../../" + dir + "/" + f.Name())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range written.FindAllStringSubmatch(string(b), -1) {
				if n++; !words.Known("target "+m[1]) && Target(true, m[1]+" 3 rows") == m[1]+" 3 rows" {
					t.Errorf("%s: no words for the target %q", f.Name(), m[1])
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d targets were found", n)
	}
	for _, kind := range targetKinds {
		if !words.Known("target " + kind) {
			t.Errorf("no words for the target %q", kind)
		}
	}
}

// The audit log's values are words in the language of the page, with their codes beside
// them; what people wrote stays as it was.
func TestValue(t *testing.T) {
	for is, want := range map[[2]string]Said{
		{"state", "paused"}:                 {"一時停止中", "paused"},
		{"state", "of a newer controller"}:  {"of a newer controller", ""},
		{"role", "admin"}:                   {"管理者", "admin"},
		{"origin", "administrator"}:         {"管理者", "administrator"},
		{"description", "true"}:             {"true", ""},
		{"description", "paused"}:           {"paused", ""},
		{"disabled", "true"}:                {"はい", "true"},
		{"events", `["device.failed","x"]`}: {"機器の失敗, x", `["device.failed","x"]`},
		{"networks", `["10.0.0.0/8"]`}:      {"10.0.0.0/8", `["10.0.0.0/8"]`},
		{"networks", `[`}:                   {"[", ""},
		{"wan_rate", "1000000"}:             {"1.0 MB/s", "1000000"},
		{"size", "many"}:                    {"many", ""},
		{"plan.valid", "24h"}:               {"24 時間", "24h"},
		{"plan.valid", "soon"}:              {"soon", ""},
		{"expires", "2026-11-29T23:04:06Z"}: {"2026-11-29 23:04 UTC", "2026-11-29T23:04:06Z"},
		{"plan.silence.rule", "ignore"}:     {"待たない", "ignore"},
		{"settings.peer-sharing", "on"}:     {"オン", "on"},
		{"settings.timing", "lan"}:          {"lan (有線 LAN 用)", "lan"},
		{"components", `[{"name":"a.bin","sha256":"00","size":12}]`}: {"a.bin (12 B)",
			`[{"name":"a.bin","sha256":"00","size":12}]`},
		{"plan.waves", `[{"opener":"person","percent":50},{"sites":["Kyoto"]}]`}: {"50\u00a0% (人の指示により次へ), Kyoto",
			`[{"opener":"person","percent":50},{"sites":["Kyoto"]}]`},
	} {
		if got := Value(true, is[0], is[1]); got != want {
			t.Errorf("%v is %q", is, got)
		}
	}
	if got := Value(false, "state", "awaiting-approval"); got != (Said{"awaits approval", "awaiting-approval"}) {
		t.Errorf("%q", got)
	}
}
