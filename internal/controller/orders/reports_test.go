package orders

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/order"
	"github.com/peerload/peerload/report"
)

// reportOf is a report of a device, sealed for a carrier.
func (r *rig) reportOf(device, carrier string, at time.Time, said report.Device) order.Reported {
	r.Helper()
	said.Schema = report.Schema
	text, err := json.Marshal(said)
	if err != nil {
		r.Fatal(err)
	}
	sealed, err := order.NewSecret(secretOf(device)).SealReport(device, carrier, at, text)
	if err != nil {
		r.Fatal(err)
	}
	return sealed
}

// TestReports: a carrier hands reports over, each counts as if its device had reported,
// once; what the carrier made, changed, kept for later or got from somebody else does not.
func TestReports(t *testing.T) {
	r := newRig(t)
	carrier, now := r.device(one), r.ctl.Time
	hand := func(all ...order.Reported) (acked map[string]bool) {
		t.Helper()
		packed, err := order.PackReports(all)
		if err != nil {
			t.Fatal(err)
		}
		acks, err := r.orders.Reports(t.Context(), carrier, packed)
		if err != nil {
			t.Fatal(err)
		}
		acked = map[string]bool{}
		for _, a := range acks.Acks {
			for _, sealed := range all {
				if order.NewSecret(secretOf(a.Device)).Acked(sealed.Code, a.Code) {
					acked[a.Device] = true
				}
			}
		}
		if len(acked) != len(acks.Acks) {
			t.Errorf("%d of %d acknowledgements are genuine", len(acked), len(acks.Acks))
		}
		return acked
	}
	state := func(device string) (d report.Device) {
		t.Helper()
		row, err := r.ctl.Device(t.Context(), r.root, device)
		if err != nil {
			t.Fatal(err)
		}
		if row.State != nil {
			d = row.State.Last
		}
		return d
	}
	idle := report.Device{State: report.StateIdle, Active: "L1"}
	first, second := r.reportOf(two, one, now(), idle), r.reportOf(three, one, now(), idle)
	if got := hand(first, second); !got[two] || !got[three] || state(two).Active != "L1" || state(three).Active != "L1" {
		t.Fatalf("taken are %v", got)
	}
	later := now().Add(time.Second)
	r.ahead.Add(int64(2 * time.Second))
	if got := hand(r.reportOf(two, one, later, report.Device{State: report.StateIdle, Active: "L2"})); !got[two] {
		t.Fatal("a later report is not taken")
	}
	forged := r.reportOf(three, one, now(), report.Device{State: report.StateIdle, Active: "L3"})
	forged.Report = json.RawMessage(`{"schema":1,"state":"failed"}`)
	unknown := r.reportOf(three, one, now(), idle)
	unknown.Device = "SEP0000000000FF"
	for name, bad := range map[string]order.Reported{
		"once more":                   first,
		"changed":                     forged,
		"given to another carrier":    r.reportOf(three, two, now(), idle),
		"of a device that is unknown": unknown,
		"of the future":               r.reportOf(three, one, now().Add(2*time.Minute), idle),
		"that the domain refuses":     r.reportOf(three, one, now(), report.Device{State: "No State"}),
	} {
		if got := hand(bad); len(got) != 0 || state(two).Active != "L2" || state(three).Active != "L1" {
			t.Errorf("a report %s is taken", name)
		}
	}
	ahead := r.reportOf(three, one, now().Add(30*time.Second), report.Device{State: report.StateIdle, Active: "L0"})
	hand(ahead)
	r.ahead.Add(int64(time.Second))
	if got := hand(r.reportOf(three, one, now(), idle)); !got[three] || state(three).Active != "L1" {
		t.Errorf("taken after a report of the future: %v", got)
	}
	if got := hand(ahead); len(got) != 0 || state(three).Active != "L1" {
		t.Error("a report of the future is taken over a newer one")
	}
	if _, err := r.orders.Reports(t.Context(), carrier, []byte("x")); !errors.Is(err, domain.ErrInvalid) {
		t.Errorf("no reports: %v", err)
	}
	if _, err := r.orders.Reports(t.Context(), r.root, nil); !errors.Is(err, domain.ErrForbidden) {
		t.Errorf("a person: %v", err)
	}
}

// TestReportsAddress: a device keeps its own address where another one of its site hands
// its report over, and no change of it stands in its history.
func TestReportsAddress(t *testing.T) {
	r := newRig(t)
	carrier, own := r.device(one), r.device(two)
	carrier.From, own.From = "10.0.0.7", "10.0.0.5"
	if err := r.ctl.Report(t.Context(), own, report.Device{Schema: report.Schema, State: report.StateIdle}); err != nil {
		t.Fatal(err)
	}
	r.ahead.Add(int64(2 * time.Second))
	packed, err := order.PackReports([]order.Reported{
		r.reportOf(two, one, r.ctl.Time(), report.Device{State: report.StateIdle, Active: "L1"})})
	if err != nil {
		t.Fatal(err)
	}
	if acks, err := r.orders.Reports(t.Context(), carrier, packed); err != nil || len(acks.Acks) != 1 {
		t.Fatalf("%+v, %v", acks, err)
	}
	row, err := r.ctl.Device(t.Context(), r.root, two)
	if err != nil || row.State.Last.Active != "L1" || row.State.From != own.From {
		t.Errorf("%+v, %v", row.State, err)
	}
}

// TestReportsMeet: where a report by way of a carrier was found to be new, and the device
// has reported by itself before it is written, that of the device stays.
func TestReportsMeet(t *testing.T) {
	r := newRig(t)
	sealed := r.ctl.Time()
	r.ahead.Add(int64(time.Second))
	own, carried := r.device(two), r.device(two)
	carried.Carried = &sealed
	if err := r.ctl.Report(t.Context(), own, report.Device{Schema: report.Schema, State: report.StateIdle,
		Active: "L2"}); err != nil {
		t.Fatal(err)
	}
	err := r.ctl.Report(t.Context(), carried, report.Device{Schema: report.Schema, State: report.StateIdle, Active: "L1"})
	row, got := r.ctl.Device(t.Context(), r.root, two)
	if !errors.Is(err, domain.ErrConflict) || got != nil || row.State.Last.Active != "L2" {
		t.Errorf("%v: the device runs %q, %v", err, row.State.Last.Active, got)
	}
}

// FuzzReport: what is read as a report can be written and read again.
func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"schema":1,"state":"idle","files":[{"file":"a"}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		said, err := parseReport(text)
		if err != nil {
			if !errors.Is(err, domain.ErrInvalid) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		again, err := json.Marshal(said)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseReport(again); err != nil {
			t.Errorf("%s became %s: %v", text, again, err)
		}
	})
}
