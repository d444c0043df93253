package serverflags

import (
	"testing"

	"github.com/spf13/pflag"
)

// What is asked for on the command line reaches the request.
func TestServer(t *testing.T) {
	for _, background := range []bool{false, true} {
		var f Flags
		fl := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.Register(fl)
		args := []string{"--origin-connections", "3"}
		if background {
			args = append(args, "--background")
		}
		if err := fl.Parse(args); err != nil {
			t.Fatal(err)
		}
		s, err := f.Server()
		if err != nil || s.Background != background || s.Connections != 3 {
			t.Errorf("%v: background %v, %d connections, %v", args, s.Background, s.Connections, err)
		}
	}
}
