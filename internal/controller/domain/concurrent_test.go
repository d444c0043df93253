package domain_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/policy"
	"github.com/peerload/peerload/report"
)

// TestAtTheSameTime: devices report while administrators change what holds for
// them; nothing is lost and nobody is in anybody's way.
func TestAtTheSameTime(t *testing.T) {
	r := newRig(t)
	const devices, each = 6, 8
	var actors []domain.Actor
	for i := range devices {
		actors = append(actors, r.enrol(fmt.Sprintf("SEP%012X", i+1)))
	}
	var wg sync.WaitGroup
	for i, a := range actors {
		wg.Go(func() {
			for n := range each {
				err := r.Report(r.ctx, a, report.Device{State: "idle", Boot: fmt.Sprint(n), Files: []report.Final{{File: "f", BytesFromPeers: 1}}})
				if err != nil {
					t.Errorf("report of %s: %v", a.Name, err)
				}
			}
		})
		wg.Go(func() {
			for n := range each {
				value := []string{policy.On, policy.Off}[(n+i)%2]
				if _, err := r.ChangeSettings(r.ctx, r.admin, domain.DeviceTarget(a.Name), set(policy.PeerSharing, value), 0); err != nil {
					t.Error(err)
				}
				if _, err := r.Devices(r.ctx, r.admin, domain.DeviceFilter{}, domain.Page{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	o, err := r.Overview(r.ctx, r.admin, time.Hour)
	if err != nil || o.Traffic.FromPeers != devices*each {
		t.Errorf("%+v, %v", o, err)
	}
	l, err := r.Audit(r.ctx, r.admin, domain.AuditFilter{Action: "settings.change"}, domain.Page{})
	if err != nil || l.Total != devices*each {
		t.Errorf("%d entries of the audit log, %v", l.Total, err)
	}
}

// BenchmarkReport is one report of a device that changes nothing, taken into a
// database on disk with full synchronization.
func BenchmarkReport(b *testing.B) {
	r := newRig(b)
	a := r.enrol(phone1)
	for b.Loop() {
		if err := r.Report(r.ctx, a, report.Device{State: "idle"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProvision is the answer to one device that asks for its file.
func BenchmarkProvision(b *testing.B) {
	r := newRig(b)
	r.enrol(phone1)
	for b.Loop() {
		if _, err := r.Provision(r.ctx, phone1, "", "10.0.0.1"); err != nil {
			b.Fatal(err)
		}
	}
}
