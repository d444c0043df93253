package bench

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/lab/site"
)

// TestPage writes the page of a comparison: it needs nothing from
// outside, shows every row, and believes no text to be HTML. With
// PEERLOAD_KEEP_HTML=FILE the page is kept, to be looked at.
func TestPage(t *testing.T) {
	scenarios := Scenarios()[:2]
	row := func(scenario Scenario, devices int, name string, ratio, wan float64) Row {
		return Row{
			Event: "row", Scenario: scenario.Name, Devices: devices, Method: name, MeasuredDevices: devices,
			Size:   int64(scenario.Size),
			BoundS: 4, LastS: 4 * ratio, MedianS: 4 * ratio, P99S: 4 * ratio, Ratio: ratio, WANRatio: wan, BusiestRatio: 1.5,
			CPUS: 3,
			Ours: strings.HasPrefix(name, "Peerload"),
		}
	}
	b := Page{
		Scenarios: scenarios, Command: "peerload-lab bench compare", Took: 90 * time.Second,
		Machine: Machine{Processors: 2, Load: "0.5", Kind: site.KindNamespace, Procs: 1, Runs: 1},
		Skipped: [][2]string{{"uftp", "it is <not> installed"}},
	}
	for _, scenario := range scenarios {
		for _, n := range scenario.Devices {
			b.Rows = append(b.Rows, row(scenario, n, httpEach, float64(n)*1.05, float64(n)), row(scenario, n, twoTrees, 1.08, 1))
		}
	}
	b.Rows[4].Computed = true
	b.Rows[5].WANHeaders = true
	b.Rows[6].Failed = "3 of 16 </script><b>devices</b>"
	var page strings.Builder
	if err := b.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	text := page.String()
	if name := os.Getenv("PEERLOAD_KEEP_HTML"); name != "" {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		"~105 × bound; wan20, 100 devices", "wan2 <small>", "1.00*", "it is &lt;not&gt; installed", "1m30s",
		"100 devices</h2>", `<td class="n heat1">1.08</td>`, `<td class="n heat5">~105</td>`,
		"failed: 3 of 16 &lt;/script&gt;&lt;b&gt;",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(text, "<b>devices") || strings.Count(text, "</script>") != 2 {
		t.Error("the text of a failure became part of the page")
	}
	if refs := regexp.MustCompile(`(src|href)=|url\(|@import|fetch\(`).FindAllString(text, -1); len(refs) > 0 {
		t.Errorf("the page loads something: %v", refs)
	}
	data := regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`).FindStringSubmatch(text)
	var charts []chartSite
	if len(data) != 2 || json.Unmarshal([]byte(data[1]), &charts) != nil || len(charts) != 2 {
		t.Fatalf("the charts' data: %d sites", len(charts))
	}
	for i, c := range charts {
		if c.Name != scenarios[i].Name || len(c.Ways) != 2 || len(c.Ways[0].Rows) != 3 || c.Ways[0].Ours || !c.Ways[1].Ours {
			t.Errorf("site %d: %+v", i, c)
		}
	}
	if r := charts[0].Ways[0].Rows[2]; !r.Computed || r.RatioText != "~105" || r.Devices != 100 || r.WAN != 100 {
		t.Errorf("a computed row: %+v", r)
	}
	if r := charts[1].Ways[0].Rows[0]; !r.Failed || !strings.Contains(r.Tip, "3 of 16") {
		t.Errorf("a failed row: %+v", r)
	}
	// A run that was interrupted before its first row.
	if err := (Page{Scenarios: scenarios}).WriteHTML(&page); err != nil {
		t.Error(err)
	}
}

func TestHeat(t *testing.T) {
	for ratio, want := range map[float64]int{1: 1, 1.25: 1, 1.3: 2, 3: 0, 6: 3, 16: 4, 104: 5} {
		if got := heat(ratio); got != want {
			t.Errorf("%v: %d, want %d", ratio, got, want)
		}
	}
}
