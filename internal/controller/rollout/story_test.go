package rollout_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/testkit/golden"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestStory tells one rollout from its draft to its end: a release for two sites in
// two zones, a canary that asks an external check, a wave that fails and pauses, a
// mended load, a window across midnight and a change of clocks, a device that is
// never heard of, a restart of the controller, and a roll back.
func TestStory(t *testing.T) {
	d := newDesk(t, time.Date(2026, 10, 23, 12, 0, 0, 0, time.UTC))
	d.places["kyoto"] = rollout.Place{Zone: zone(t, "Asia/Tokyo")}
	d.places["oslo"] = rollout.Place{Zone: zone(t, "Europe/Oslo"), Windows: schedule(t, "23:00-02:30")}
	d.create("spring", springPlan(), append(fleet(4, "kyoto"), fleet(3, "oslo")...)...)
	d.must("spring", rollout.Start{By: "ann"})
	_ = d.try("spring", rollout.Approve{By: "ann"})
	d.must("spring", rollout.Approve{By: "bob"})

	d.upgrade(t, "kyotod00", "old", "new")
	d.checkIn("kyotod01", rests("old"))
	d.wait(90 * time.Minute)
	d.must("spring", rollout.Answer{Asked: 2, Go: true})
	d.upgrade(t, "kyotod01", "old", "new")
	g := d.checkIn("kyotod02", rests("old")).Grant
	d.checkIn("kyotod02", says(rollout.Rejecting, "old", "new", g.Try))
	d.checkIn("kyotod03", rests("old"))
	d.summarise("spring")

	d.must("spring", rollout.Replace{By: "ann", From: "new", To: "new2"})
	if _, err := d.held["spring"].m.Retry(d.now, d.held["spring"].rows["kyotod02"]); err != nil {
		t.Fatal(err)
	}
	d.log("kyotod02 is tried again by hand")
	d.must("spring", rollout.Resume{By: "ann"})
	d.upgrade(t, "kyotod02", "old", "new2")
	d.wait(2 * time.Hour)
	d.log("the controller is restarted")
	d.restart()

	for i := range 2 { // and the third is never heard of
		d.checkIn(fmt.Sprint("oslod0", i), rests("old"))
		d.checkIn(fmt.Sprint("oslod0", i), says(rollout.Fetching, "old", "new2", 1))
	}
	d.wait(28 * time.Hour) // to the evening before the hour that comes twice
	d.checkIn("kyotod03", rests("old"))
	d.checkIn("oslod00", says(rollout.Fetching, "old", "new2", 1))
	d.wait(3 * time.Hour)
	d.checkIn("oslod00", says(rollout.Installing, "new2", "new2", 1))
	d.checkIn("oslod00", rests("new2"))
	d.wait(2 * time.Hour) // and its first 02:30 has passed
	d.checkIn("oslod01", says(rollout.Fetching, "old", "new2", 1))
	d.wait(22 * time.Hour)
	d.checkIn("oslod01", says(rollout.Installing, "new2", "new2", 1))
	d.checkIn("oslod01", rests("new2"))
	d.upgrade(t, "kyotod03", "old", "new2")
	d.wait(10 * time.Hour)
	d.summarise("spring")

	d.undo(t, "spring", "back")
	d.summarise("back")
	golden.Check(t, "story", d.trace.String(), *update)
}

func (d *desk) summarise(id string) { d.log("%s", d.summary(id)) }

// springPlan is a canary, one site, and the rest.
func springPlan() rollout.Plan {
	p := rollout.Default()
	p.Waves = []rollout.Wave{
		{Devices: []string{"kyotod00"}, Gate: rollout.Gate{Opener: rollout.ByExternal, Success: 100, Soak: time.Hour}},
		{Sites: []string{"kyoto"}, Gate: rollout.Gate{Opener: rollout.BySuccess, Success: 60, Soak: 2 * time.Hour}},
		{Percent: 100},
	}
	p.MaxFailedShare, p.AskEvery, p.Approval = 25, 20*time.Minute, true
	p.Silence = rollout.Silence{Rule: rollout.SilencePasses, After: 30 * time.Hour}
	p.DownloadAnytime, p.Valid, p.Lost = true, 20*time.Hour, 48*time.Hour
	return p
}
