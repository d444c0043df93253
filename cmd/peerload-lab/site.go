package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/lab/measure"
	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/units"
)

// siteFlags are the flags of `site`.
type siteFlags struct {
	cfg    measure.Config
	mode   string
	repeat int
	json   bool
	logs   string
}

// modePeers is the mode in which devices share.
const modePeers = "peers"

func siteCommand() *cobra.Command {
	f := &siteFlags{cfg: measure.Config{WAN: 20 * units.Mbit, LAN: 100 * units.Mbit, Size: 20e6}}
	cmd := &cobra.Command{
		Use:   "site",
		Short: "Measure a site whose devices all fetch one file",
		Long: `Measure a site whose devices all start at the same moment and fetch one random
file, each a real peerload process. Every device's file is read again at the end.

The kind netns makes network namespaces, as root or in a user namespace, and
shapes every port; loopback needs no rights and shapes the server only.`,
		Example: `  peerload-lab site --devices 16 --wan 20mbit --lan 100mbit --size 20MB
  peerload-lab site --kind loopback --devices 12 --kill-root 33
  peerload-lab site --mode classic --devices 16`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&f.cfg.Devices, "devices", 16, "number of devices")
	fl.Var(&f.cfg.WAN, "wan", "rate of the file server's link")
	fl.Var(&f.cfg.LAN, "lan", "rate of every device's port (netns only)")
	longLinkFlags(fl, &f.cfg.RTT, &f.cfg.Jitter, &f.cfg.Loss)
	fl.DurationVar(&f.cfg.Queue, "queue", 0,
		"how long a packet may wait before the WAN (netns only; 0: a round trip and 50 ms)")
	fl.BoolVar(&f.cfg.Beside.Call, "call", false, "a call of others beside it, looked at from 5 s on (netns only)")
	fl.IntVar(&f.cfg.Beside.Downloads, "elsewhere", 0,
		"connections over which others download without end from 2 s on (netns only)")
	fl.Var(&f.cfg.Size, "size", "size of the file")
	fl.StringVar(&f.cfg.Kind, "kind", site.KindNamespace, "netns or loopback")
	fl.StringVar(&f.mode, "mode", modePeers, "peers, or classic: every device downloads by itself")
	strict.Values(cmd, "kind", site.KindNamespace, site.KindLoopback)
	strict.Values(cmd, "mode", modePeers, "classic")
	fl.BoolVar(&f.cfg.TFTP, "tftp", false, "the origin is TFTP instead of HTTP")
	fl.StringVar(&f.cfg.Congestion, "congestion", "",
		"congestion control of the HTTP server's connections, such as bbr, which the product's server asks for")
	fl.IntVar(&f.repeat, "repeat", 1, "number of runs")
	fl.IntSliceVar(&f.cfg.KillRoot, "kill-root", nil, "kill the root when it has so many percent; several: 25,50,75")
	fl.BoolVar(&f.cfg.Restart, "restart", false, "start a killed device again at once")
	fl.DurationVar(&f.cfg.Linger, "linger", 0, "how long a device serves on (0: the product's default)")
	fl.DurationVar(&f.cfg.Timeout, "timeout", 0, "end of a run (0: a minute and ten times the ideal)")
	fl.StringVar(&f.cfg.Base, "state", "", "where the devices keep their files (default: tmpfs if it has the room)")
	fl.StringVar(&f.logs, "keep-logs", "", "directory for the devices' output")
	fl.StringSliceVar(&f.cfg.Args, "device-arg", nil, "a further argument for every device")
	fl.IntVar(&f.cfg.Procs, "device-procs", 1, "GOMAXPROCS of a device; -1 leaves it to the device")
	fl.IntVar(&f.cfg.Late, "late", 0, "further devices that start when all others have the file")
	fl.StringVar(&f.cfg.Product, "peerload", "", "the program peerload (default: beside this one, else built)")
	fl.BoolVar(&f.json, "json", false, "one JSON object for every run")
	return cmd
}

func (f *siteFlags) run(ctx context.Context, out io.Writer) error {
	f.cfg.Peers = f.mode == modePeers
	if err := f.cfg.Validate(); err != nil {
		return err
	}
	if f.repeat < 1 {
		return fmt.Errorf("--repeat is 1 or more, not %d", f.repeat)
	}
	if f.cfg.Kind == site.KindNamespace && !site.Isolated() {
		return isolate(ctx, program{"peerload", f.cfg.Product})
	}
	return withProduct(ctx, &f.cfg.Product, func() error { return f.measure(ctx, out) })
}

func (f *siteFlags) measure(ctx context.Context, out io.Writer) error {
	var results []*measure.Result
	ok := true
	for i := range f.repeat {
		cfg := f.cfg
		if f.logs != "" {
			cfg.Logs = filepath.Join(f.logs, fmt.Sprintf("run%d", i+1))
		}
		r, err := measure.Run(ctx, cfg)
		if err != nil {
			return err
		}
		results, ok = append(results, r), ok && r.OK()
		if f.json {
			if err := json.NewEncoder(out).Encode(r); err != nil {
				return err
			}
		} else {
			r.Text(out)
		}
	}
	if f.repeat > 1 && !f.json {
		measure.TextOfAll(out, results)
	}
	if !ok {
		return &statusError{status: exitIncomplete}
	}
	return nil
}
