package teller

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/peerload/peerload/internal/live"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
)

const self = "SEP000000000001"

// rig is a teller whose device stands as phase says.
func rig() (*Teller, *Phase) {
	p := &Phase{Load: "phone-2", State: report.StateDownloading, Address: "10.0.0.1:4051"}
	return New(self, func() Phase { return *p }), p
}

func event(kind, file string, bytes int64, source string) report.Event {
	return report.Event{Event: kind, File: file, Bytes: bytes, Size: 1000, Source: source, Role: report.RoleLeaf,
		Root: "10.0.0.9:4051", Parent: "10.0.0.2:4051", Reason: "root-placed"}
}

// told is the next batch, unpacked.
func told(t *testing.T, from *Teller) []live.State {
	t.Helper()
	b, _ := from.Batch()
	if b == nil {
		return nil
	}
	states, err := live.Unpack(b)
	if err != nil {
		t.Fatal(err)
	}
	return states
}

// TestOwn: what the device does is told once, as it has become, and nothing while
// nothing changes; what has come from the server is told apart.
func TestOwn(t *testing.T) {
	d, phase := rig()
	if b, next := d.Batch(); b != nil || next != Seldom {
		t.Fatalf("told %x after %v to a controller that does not want it", b, next)
	}
	d.Watch(order.Watch{Rate: 1000})
	d.Take(event(report.KindStart, "a.bin", 0, ""))
	d.Take(event(report.KindProgress, "a.bin", 300, report.SourceOrigin))
	d.Take(event(report.KindProgress, "a.bin", 700, report.SourcePeer))
	d.Take(event(report.KindRole, "a.bin", 700, report.SourcePeer))
	file := live.File{Name: "a.bin", Size: 1000, Have: 700, WAN: 300, Role: "leaf", Source: "peer", Reason: "root-placed",
		Root: "10.0.0.9", Parents: []string{"10.0.0.2"}}
	want := []live.State{{Device: self, Address: "10.0.0.1", Load: "phone-2", Phase: "downloading",
		Files: []live.File{file}, Fresh: true}}
	if got := told(t, d); !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if got := told(t, d); got != nil {
		t.Errorf("nothing has changed, and it tells %+v", got)
	}
	d.Take(event(report.KindLog, "a.bin", 900, report.SourcePeer))
	if got := told(t, d); got != nil {
		t.Errorf("a line of the console is told: %+v", got)
	}
	d.Take(report.Event{Event: report.KindCommitted, File: "a.bin", Final: &report.Final{Size: 1000, BytesFromOrigin: 250,
		Source: "peer", Role: "leaf"}})
	d.Take(event(report.KindProgress, "a.bin", 1000, report.SourcePeer)) // it goes on serving
	phase.State = report.StateIdle
	got := told(t, d)
	if len(got) != 1 || len(got[0].Files) != 1 || got[0].Phase != "idle" || got[0].Files[0].End != live.EndDone ||
		got[0].Files[0].Have != 1000 || got[0].Files[0].WAN != 250 {
		t.Errorf("%+v", got)
	}
	// A controller that has forgotten needs what is at work, and how the device stands. What
	// has ended just now it may have taken, and shown nobody.
	d.Watch(order.Watch{Again: true})
	if got := told(t, d); len(got) != 1 || len(got[0].Files) != 1 || got[0].Files[0].End != live.EndDone {
		t.Errorf("%+v", got)
	}
	for range late {
		if got := told(t, d); got != nil {
			t.Errorf("%+v", got)
		}
	}
	d.Watch(order.Watch{Again: true})
	if got := told(t, d); len(got) != 1 || len(got[0].Files) != 0 {
		t.Errorf("long after its end: %+v", got)
	}
	// Another load: its files begin anew, and the old ones are not told of any more.
	phase.Load, phase.State = "phone-3", report.StateDownloading
	d.Take(event(report.KindStart, "a.bin", 0, ""))
	d.Take(event(report.KindProgress, "a.bin", 10, report.SourcePeer))
	got = told(t, d)
	if len(got) != 1 || got[0].Load != "phone-3" || len(got[0].Files) != 1 || got[0].Files[0].Have != 10 {
		t.Errorf("%+v", got)
	}
	d.Take(report.Event{Event: report.KindFailed, File: "a.bin", Reason: "disk"})
	if got = told(t, d); got[0].Files[0].End != live.EndFailed || got[0].Files[0].Reason != "disk" {
		t.Errorf("%+v", got)
	}
}

// TestCarrier: a carrier tells of its followers no more bytes than it may, and forgets
// none of them; what was lost on the way comes again.
func TestCarrier(t *testing.T) {
	d, _ := rig()
	d.Watch(order.Watch{Rate: 500})
	<-d.Woken()
	put := func(i int, have int64) {
		s := live.State{Device: fmt.Sprintf("SEP00112233%04X", i), Load: "phone-2", Files: []live.File{{Name: "a.bin",
			Size: 1000, Have: have, Parents: []string{fmt.Sprintf("10.0.%d.%d", i/250, i%250)}}}}
		text, err := json.Marshal(s)
		if err != nil || !d.Put(text) {
			t.Fatalf("%s: %v", text, err)
		}
	}
	const devices = 400
	for i := range devices {
		put(i, 1)
		put(i, 2)
	}
	var all live.Picture
	bytes, seconds, lost := 0, 0.0, false
	for all.Len() <= devices {
		b, next := d.Batch()
		if b == nil {
			t.Fatalf("only %d devices were told of", all.Len())
		}
		bytes, seconds = bytes+len(b), seconds+next.Seconds()
		if !lost {
			lost = true
			d.Lost(b)
			continue
		}
		states, err := live.Unpack(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			all.Apply(s)
		}
	}
	if rate := float64(bytes) / seconds; rate > 1.3*500 {
		t.Errorf("%.0f bytes a second", rate)
	}
	for _, s := range all.All() {
		if s.Device != self && s.Files[0].Have != 2 {
			t.Errorf("%+v", s)
		}
	}
	for _, bad := range []string{"", "{", `{"d":""}`, `{"d":"x","f":[{"n":"","h":-1}]}`} {
		if d.Put([]byte(bad)) {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestEndedLately: a controller that was killed is told once more of followers that had
// ended just before, and of no others.
func TestEndedLately(t *testing.T) {
	d, _ := rig()
	d.Watch(order.Watch{Rate: 4000})
	put := func(i int, have int64, end string) {
		s := live.State{Device: fmt.Sprintf("SEP00112233%04X", i), Load: "phone-2",
			Files: []live.File{{Name: "a.bin", Size: 1000, Have: have, End: end}}}
		text, err := json.Marshal(s)
		if err != nil || !d.Put(text) {
			t.Fatalf("%s: %v", text, err)
		}
	}
	put(1, 1000, live.EndDone)
	told(t, d)
	for range late {
		told(t, d)
	}
	put(2, 1000, live.EndDone)
	put(3, 400, "")
	told(t, d)
	d.Watch(order.Watch{Rate: 4000, Again: true})
	var again []string
	for _, s := range told(t, d) {
		if len(s.Files) > 0 {
			again = append(again, s.Device)
		}
	}
	slices.Sort(again)
	if want := []string{"SEP001122330002", "SEP001122330003"}; !slices.Equal(again, want) {
		t.Errorf("told again of %v, want %v", again, want)
	}
}

// TestMemory: whatever followers tell, a carrier keeps a bounded part of it, and goes
// on.
func TestMemory(t *testing.T) {
	d, _ := rig()
	d.Watch(order.Watch{})
	var files []live.File
	for i := range live.MaxFiles {
		files = append(files, live.File{Name: fmt.Sprintf("%0200d", i)})
	}
	for i := range 5000 {
		text, err := json.Marshal(live.State{Device: fmt.Sprintf("%012d", i), Files: files})
		if err != nil {
			t.Fatal(err)
		}
		if d.Put(text); d.size > mostBytes || len(d.queue) > live.MaxStates || len(d.changes) != len(d.queue) {
			t.Fatalf("%d bytes, %d devices, %d changes", d.size, len(d.queue), len(d.changes))
		}
	}
	if b, next := d.Batch(); b == nil || next < Seldom {
		t.Errorf("%d bytes, and more in %v", len(b), next)
	}
}

func FuzzPut(f *testing.F) {
	f.Add([]byte(`{"d":"SEP001122334455","f":[{"n":"a","h":5}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, _ := rig()
		d.Watch(order.Watch{Rate: 100})
		d.Put(text)
		for range 3 {
			d.Batch()
		}
	})
}
