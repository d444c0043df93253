package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/lab/demo"
	"github.com/peerload/peerload/internal/lab/process"
	"github.com/peerload/peerload/internal/lab/units"
	"github.com/peerload/peerload/report"
)

// demoFlags are the flags of `demo`.
type demoFlags struct {
	cfg   demo.Config
	peers string
	json  bool
	plain bool
	open  bool
	board *demo.Board // nil without open
}

func demoCommand() *cobra.Command {
	f := &demoFlags{cfg: demo.Config{WAN: 8 * units.Mbit}}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See a site upgrade through one download",
		Long: `See a site of three models upgrade. Two models share, each its own load of real
boot firmware; one device of a third model is not supported and upgrades the
classic way. Every device is a real peerload process on an address of its own,
behind one slow link. It needs no rights and leaves nothing behind.`,
		Example: `  peerload-lab demo
  peerload-lab demo --open
  peerload-lab demo --peers off
  peerload-lab demo --kill-root 50
  peerload-lab demo --json | tail -n 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&f.cfg.Devices, "devices", 13, "number of devices; the last one is the classic one")
	fl.Var(&f.cfg.WAN, "wan", "rate of the file server's link")
	fl.StringVar(&f.peers, "peers", "on", "off: every device downloads for itself")
	strict.Values(cmd, "peers", "on", "off")
	fl.IntVar(&f.cfg.KillRoot, "kill-root", 0,
		"kill the first model's root when it has so many percent of the largest file")
	fl.BoolVar(&f.json, "json", false, "every event as a line of JSON, the summary last")
	fl.BoolVar(&f.open, "open", false, "show the trees as they grow on a page for a browser, until Ctrl-C")
	fl.BoolVar(&f.plain, "plain", false, "lines instead of the live picture")
	fl.StringVar(&f.cfg.Firmware, "firmware", "", "directory of the firmware (default: the module's, by the go tool)")
	fl.StringVar(&f.cfg.Product, "peerload", "", "the program peerload (default: beside this one, else built)")
	fl.StringVar(&f.cfg.Base, "state", "", "where the devices keep their files (default: tmpfs if it has the room)")
	fl.DurationVar(&f.cfg.Timeout, "timeout", 0, "end of the demo (0: a minute and three times the ideal)")
	return cmd
}

// browse has a browser show a page: that of the variable BROWSER, else that of the desktop.
// It is nil where there is neither. The caller waits for it.
func browse(ctx context.Context, url string) *exec.Cmd {
	words := strings.Fields(os.Getenv("BROWSER"))
	switch {
	case len(words) > 0:
	case runtime.GOOS == "darwin":
		words = []string{"open"}
	case os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "":
		words = []string{"xdg-open"}
	default:
		return nil
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), words[0], append(words[1:], url)...)
	if cmd.Start() != nil {
		return nil
	}
	return cmd
}

// run shows the demo. Whatever happens, the summary comes last.
func (f *demoFlags) run(ctx context.Context, out io.Writer) (err error) {
	if f.open {
		if f.board, err = demo.OpenBoard("demo"); err != nil {
			return err
		}
		defer f.board.Close()
		said := "Open " + f.board.URL + " in a browser on this machine."
		if b := browse(ctx, f.board.URL); b != nil {
			said = "The browser is told to open " + f.board.URL + "."
			go func() { _ = b.Wait() }() // the page is there all the same
		}
		fmt.Fprintln(os.Stderr, said)
		defer func() {
			if ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "The page "+f.board.URL+" stays until Ctrl-C.")
				<-ctx.Done()
			}
		}()
	}
	summary, err := f.show(ctx, out)
	if summary == nil {
		summary = demo.FailedSummary(f.cfg, err)
	}
	if f.json {
		if e := json.NewEncoder(out).Encode(summary); e != nil {
			return e
		}
	} else if err == nil || summary.WANBytes > 0 {
		summary.Text(out)
	}
	switch {
	case err != nil:
		return &statusError{status: exitUsage, err: err}
	case !summary.OK():
		return &statusError{status: exitIncomplete}
	}
	return nil
}

func (f *demoFlags) show(ctx context.Context, out io.Writer) (_ *demo.Summary, err error) {
	f.cfg.Peers = f.peers == "on"
	if err := f.cfg.Validate(); err != nil {
		return nil, err
	}
	tmp, err := process.NewRunDir(os.TempDir(), 0)
	if err != nil {
		return nil, err
	}
	defer tmp.Close()
	f.say(out, "Preparing: the program peerload, real firmware, a signed load for each model.")
	if f.cfg.Product, err = process.FindProgram(ctx, "peerload", f.cfg.Product, tmp.Path); err != nil {
		return nil, err
	}
	if f.cfg.Firmware, err = demo.FirmwareDir(ctx, f.cfg.Firmware); err != nil {
		return nil, err
	}
	screen := screen(f.json || f.plain)
	switch {
	case f.json:
		enc := json.NewEncoder(out)
		f.cfg.OnEvent = func(ev demo.Event) {
			if ev.Event.Event != report.KindLog {
				_ = enc.Encode(ev)
			}
		}
	case screen == nil:
		f.cfg.OnEvent = func(ev demo.Event) {
			if line := demo.Line(ev); line != "" {
				fmt.Fprintln(out, line)
			}
		}
	}
	if tell := f.cfg.OnEvent; f.board != nil {
		f.cfg.OnEvent = func(ev demo.Event) {
			f.board.Take(ev)
			if tell != nil {
				tell(ev)
			}
		}
	}
	d, err := demo.New(f.cfg)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := d.Close(); err == nil {
			err = e
		}
	}()
	f.say(out, d.Intro())
	if screen != nil {
		defer draw(screen, d)()
	}
	return d.Run(ctx)
}

// say tells people what happens; machines get events only.
func (f *demoFlags) say(out io.Writer, text string) {
	if !f.json {
		fmt.Fprintln(out, text)
	}
}
