package draft

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
)

// change is what a command line says of a draft.
func change(t *testing.T, before *client.RolloutPlan, args ...string) (client.RolloutChange, error) {
	t.Helper()
	f, out := &Flags{}, client.RolloutChange{}
	cmd := &cobra.Command{Use: "x", SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			out, err = f.Change(cmd, before)
			return err
		}}
	f.Add(cmd)
	cmd.SetArgs(args)
	return out, cmd.Execute()
}

// TestChange: a draft is what its flags and its file say, and what was not given
// stays.
func TestChange(t *testing.T) {
	plan := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(plan, []byte(`{"lost":"2h","waves":[{"percent":100}],"leave_out":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := change(t, nil, "--load", "fw", "--site", "Kyoto", "--percent", "10", "--plan", plan, "--wave",
		"devices:SEP001122334455 soak=1h", "--wave", "20% success=95 by=external", "--silence", "fail:48h", "--retry",
		"origin-unreachable", "--window", "22:00-05:00", "--start-at", "2026-03-01T22:00:00+09:00", "--max-failed-share", "0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"load":"fw","target":{"site":"Kyoto","percent":10},"plan":{"waves":[{"devices":["SEP001122334455"],` +
		`"soak":"1h"},{"percent":20,"opener":"external","success":95},{"percent":100}],"max_failed_share":0,"silence":` +
		`{"rule":"fail","after":"48h"},"lost":"2h","retry":{"reasons":["origin-unreachable"],"times":3,"back_off":"15m"},` +
		`"windows":["22:00-05:00"],"start":"2026-03-01T22:00:00+09:00","leave_out":true}}`
	if string(b) != want {
		t.Errorf("%s\nwant\n%s", b, want)
	}
	if c, err = change(t, nil, "--release", "9.4(2)", "--all"); err != nil || c.Plan != nil || c.Load != nil {
		t.Errorf("%+v, %v", c, err)
	}
	before := &client.RolloutPlan{Lost: "3h", Approval: true}
	if c, err = change(t, before, "--max-failed", "3"); err != nil || c.Plan.Lost != "3h" || !c.Plan.Approval ||
		c.Plan.MaxFailed != 3 || c.Target != nil {
		t.Errorf("%+v, %v", c.Plan, err)
	}
}

// TestRefused: what cannot be meant is refused with what to write.
func TestRefused(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big.json")
	if err := os.WriteFile(big, []byte(strings.Repeat(" ", maxPlan+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--wave", ""}, {"--wave", "x%"}, {"--wave", "5"}, {"--wave", "sites"},
		{"--wave", "5% colour=red"}, {"--wave", "5% success=x"}, {"--plan", big}, {"--plan", os.DevNull},
		{"--deadline", "noon"}, {"--silence", "shout"}, {"--percent", "x"}} {
		if _, err := change(t, nil, args...); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

// FuzzWave: of whatever is read as a wave the last takes what is left, and none
// takes both devices and sites.
func FuzzWave(f *testing.F) {
	for _, seed := range []string{"5% soak=1h", "sites:Kyoto,Nara by=person", "devices:SEP001122334455 success=90", "%",
		":"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseWaves([]string{text})
		if err != nil {
			return
		}
		if n := len(all); n > 2 || all[n-1].Percent != 100 || len(all[0].Devices) > 0 && len(all[0].Sites) > 0 {
			t.Errorf("%q is %+v", text, all)
		}
	})
}
