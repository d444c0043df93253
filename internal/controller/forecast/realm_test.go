package forecast_test

import (
	"testing"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/forecast"
	"github.com/peerload/peerload/internal/testkit/realmsuite"
)

// TestRealm: who is limited to a site plans that alone, and learns nothing of
// others.
func TestRealm(t *testing.T) {
	f := realmsuite.New(t)
	realmsuite.Add(f.Samples, forecast.Ask{}, forecast.Ask{Load: "ab"}, forecast.Ask{Release: "9.4"})
	realmsuite.Run(t, f, func(cfg domain.Config) any {
		ctl, err := domain.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return forecast.New(ctl)
	}, "Census", "Plans")
}
