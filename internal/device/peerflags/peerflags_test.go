package peerflags

import (
	"net/netip"
	"testing"

	"github.com/spf13/pflag"

	"github.com/peerload/peerload/internal/device/fetch"
)

func TestPeers(t *testing.T) {
	for _, c := range []struct {
		args      []string
		want      fetch.Peers
		byDefault bool
		refused   bool
	}{
		{nil, fetch.Peers{}, true, false},
		{[]string{"--peers", "on"}, fetch.Peers{}, true, false},
		{[]string{"--peers", "off", "--address", "nonsense"}, fetch.Peers{Off: true}, false, false},
		{[]string{"--interface", "eth0"}, fetch.Peers{Interface: "eth0"}, false, false},
		{[]string{"--port", "4052"}, fetch.Peers{Port: 4052}, false, false},
		{[]string{"--address", "192.0.2.1/24"}, fetch.Peers{Address: netip.MustParsePrefix("192.0.2.1/24")}, false, false},
		{[]string{"--address", "nonsense"}, fetch.Peers{}, false, true},
	} {
		var f Flags
		fl := pflag.NewFlagSet("get", pflag.ContinueOnError)
		f.Register(fl)
		if err := fl.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		p, err := f.Peers()
		if p != c.want || f.Default() != c.byDefault || (err != nil) != c.refused {
			t.Errorf("%v: %+v, default %v, %v", c.args, p, f.Default(), err)
		}
	}
}
