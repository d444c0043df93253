package peerload

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/peerload/peerload/report"
)

// TestInner: package fetch gets each field of a request. Those of Peers and Server are
// converted, which the compiler checks.
func TestInner(t *testing.T) {
	linger := time.Second
	r := Request{URLs: []string{"u"}, Proof: Unsigned(), Output: "o", State: "s", Slots: true, Model: "m", Linger: &linger,
		NoSync: true, Peers: Peers{Address: netip.MustParsePrefix("192.0.2.1/24")}, Server: Server{LimitRate: 1},
		Events: func(report.Event) {}, Warn: func(string) {}}
	given, got := reflect.ValueOf(r), reflect.ValueOf(r.inner())
	for i := range given.NumField() {
		name := given.Type().Field(i).Name
		if given.Field(i).IsZero() {
			t.Errorf("the test gives no %s", name)
		}
		if f := got.FieldByName(name); !f.IsValid() || f.IsZero() {
			t.Errorf("%s does not reach package fetch", name)
		}
	}
	if got.NumField() != given.NumField() {
		t.Errorf("%d fields, and package fetch has %d", given.NumField(), got.NumField())
	}
}
