package summary

import (
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/client"
)

// TestWords: what was saved and who failed is said in words, in both languages.
func TestWords(t *testing.T) {
	percent := func(n int) *int { return &n }
	much := client.Saving{FromOrigin: 500_000_000, Classic: 17_700_000_000, Saved: 17_200_000_000,
		SavedPercent: percent(97), Last: time.Unix(1, 0), LastDevice: "SEP000000000001",
		Fallbacks: map[string]int{"full": 1, "other": 2}}
	more := client.Saving{FromOrigin: 150, Classic: 100, Saved: -50, SavedPercent: percent(-50)}
	for _, c := range []struct {
		s        client.Saving
		japanese bool
		want     string
	}{
		{much, false, "17.2 GB saved, 97 %: 500 MB came over the WAN, where classic upgrades would have taken 17.7 GB\n" +
			"the last device was done "},
		{much, true, "17.2 GB 削減 (97 %): WAN 経由 500 MB、従来方式では 17.7 GB\n最後の機器: "},
		{more, false, "50 bytes more than classic: 150 bytes came over the WAN"},
		{more, true, "50 bytes 超過: "}, {client.Saving{}, false, "nothing was fetched"}, {client.Saving{}, true, "取得なし"},
	} {
		if got := sumText(c.s, c.japanese); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	want := "fallback: 2 × other\nfallback: 1 × no free place (full)\n"
	if got := fallbackText(much.Fallbacks, false); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := fallbackText(much.Fallbacks, true), "フォールバック: 2 × other\n"; !strings.HasPrefix(got, want) ||
		!strings.Contains(got, "空きスロットなし (full)") {
		t.Errorf("%q, want %q", got, want)
	}
	two := []client.Failure{{Device: "a"}, {Device: "a"}, {Device: "b"}}
	for n, want := range map[int][2]string{0: {"no device tells of a failure", "失敗している機器はありません"},
		2: {"1 device tells of a failure", "1 台の機器が失敗しています"},
		3: {"2 devices tell of failures", "2 台の機器が失敗しています"}} {
		for i, japanese := range []bool{false, true} {
			if got := failedText(two[:n], japanese); got != want[i] {
				t.Errorf("%d failures: %q", n, got)
			}
		}
	}
}

// TestOverviewText: what was counted is said in both languages, one thing as one.
func TestOverviewText(t *testing.T) {
	one := client.Overview{Devices: 1, Silent: 1, DeadMessages: 1, BySite: map[string]int{"Kyoto": 1},
		ByState: map[string]int{"failed": 1}, Traffic: client.Traffic{FromOrigin: 600_000}}
	many := client.Overview{Devices: 2, DeadMessages: 3}
	for _, c := range []struct {
		o        client.Overview
		japanese bool
		want     []string
	}{
		{one, false, []string{"1 device, 1 silent for 1h, 0 not on the load assigned\nstate       1  failed\n",
			"site        1  Kyoto\n1 message of a webhook was given up: ", "traffic: 600 kB from the server, "}},
		{one, true, []string{"機器 1 台、", "\n状態        1  failed\nサイト      1  Kyoto\n", "メッセージ 1 件",
			"サーバから 600 kB"}},
		{many, false, []string{"2 devices, ", "\n3 messages of webhooks were given up: "}},
		{many, true, []string{"機器 2 台、", "メッセージ 3 件"}},
	} {
		got := overviewText(c.o, time.Hour, c.japanese)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%q is not in\n%s", want, got)
			}
		}
		if strings.Count(got, "\n") != 3+len(c.o.BySite)+len(c.o.ByState) {
			t.Errorf("it has %d lines:\n%s", strings.Count(got, "\n"), got)
		}
	}
}
