package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/internal/lab/site"
	"github.com/peerload/peerload/internal/lab/story"
	"github.com/peerload/peerload/internal/lab/units"
)

// upFlags are the flags of `up`.
type upFlags struct {
	cfg      story.Config
	stories  []string
	file     string
	timeline string
	html     string
	json     bool
	plain    bool
}

func upCommand() *cobra.Command {
	f := &upFlags{cfg: story.Config{Size: 20e6, Site: site.NamespaceConfig{WAN: 10 * units.Mbit, LAN: 100 * units.Mbit}}}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a site, have things happen to it, and report",
		Long: `Run a site of real devices, each in a network namespace of its own, in one or
more subnets behind one WAN. All want one random file. Stories happen to the
site meanwhile. It ends when every device has the file or has failed, and
nothing of it is left.

A story is one line: [at 30% | at 10s | every 5s] DEED [for 20s | for good]
  kill root | kill roots | kill random-parent | kill random | kill device 3
  cut wan | isolate half | isolate all | isolate device 3
  fill disk of 3 | slow device 4 to 1mbit
  start 5 devices late at 100% | wake at once | wake over 60s
A killed device starts again after a second, unless told.`,
		Example: `  peerload-lab up --devices 24 --wan 10mbit --rtt 100ms --html report.html
  peerload-lab up --subnets 3 --devices 48 --story 'at 30% kill root'
  peerload-lab up --story 'at 5s cut wan for 20s' --story 'start 5 devices late at 100%'
  peerload-lab up --stories rough-day.txt --timeline run.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fl := cmd.Flags()
	fl.IntVar(&f.cfg.Site.Devices, "devices", 16, fmt.Sprintf("number of devices, at most %d", story.MaxDevices))
	fl.IntVar(&f.cfg.Site.Subnets, "subnets", 1, "number of subnets among which the devices are divided")
	fl.Var(&f.cfg.Site.WAN, "wan", "rate of the WAN, each way")
	fl.Var(&f.cfg.Site.LAN, "lan", "rate of every device's port, each way")
	longLinkFlags(fl, &f.cfg.Site.RTT, &f.cfg.Site.Jitter, &f.cfg.Site.Loss)
	fl.Var(&f.cfg.Size, "size", "size of the file")
	fl.BoolVar(&f.cfg.TFTP, "tftp", false, "the origin is TFTP instead of HTTP")
	fl.StringArrayVar(&f.stories, "story", nil, "what happens, such as 'at 30% kill root'; may be repeated")
	fl.StringVar(&f.file, "stories", "", "file with one story a line")
	fl.Uint64Var(&f.cfg.Seed, "seed", 1, "chooses whom a story means and who wakes when")
	fl.StringVar(&f.html, "html", "", "write a report to this file, for a browser")
	fl.StringVar(&f.timeline, "timeline", "", "write what happens to this file, as JSON lines")
	fl.DurationVar(&f.cfg.Timeout, "timeout", 0, "end of the run (0: two minutes, ten times the ideal and the stories)")
	fl.StringVar(&f.cfg.Base, "state", "", "where the devices keep their files (default: tmpfs if it has the room)")
	fl.StringVar(&f.cfg.Logs, "keep-logs", "", "directory for the devices' output and log")
	fl.StringSliceVar(&f.cfg.Args, "device-arg", nil, "a further argument for every device")
	fl.StringVar(&f.cfg.Product, "peerload", "", "the program peerload (default: beside this one, else built)")
	fl.BoolVar(&f.json, "json", false, "the result as one JSON object and nothing else")
	fl.BoolVar(&f.plain, "plain", false, "lines instead of the live picture")
	return cmd
}

// run runs the site. In the namespaces it is this program again.
func (f *upFlags) run(ctx context.Context, out io.Writer) error {
	if err := f.readStories(); err != nil {
		return err
	}
	if err := f.cfg.Validate(); err != nil {
		return err
	}
	if site.Isolated() {
		return f.inside(ctx, out)
	}
	return isolate(ctx, program{"peerload", f.cfg.Product})
}

func (f *upFlags) readStories() error {
	if f.file != "" {
		file, err := os.Open(f.file)
		if err != nil {
			return err
		}
		defer file.Close()
		if f.cfg.Stories, err = story.Read(file); err != nil {
			return fmt.Errorf("%s: %w", f.file, err)
		}
	}
	for _, text := range f.stories {
		s, err := story.Parse(text)
		if err != nil {
			return err
		}
		f.cfg.Stories = append(f.cfg.Stories, s)
	}
	return nil
}

func (f *upFlags) inside(ctx context.Context, out io.Writer) error {
	// Both files first, so that an error shows before the run.
	var files [2]*os.File
	for i, path := range []string{f.timeline, f.html} {
		if path == "" {
			continue
		}
		file, err := os.Create(path)
		if err != nil {
			return err
		}
		defer file.Close()
		files[i] = file
	}
	if files[0] != nil {
		f.cfg.Timeline = files[0]
	}
	r, err := f.show(ctx, out, files[1])
	if r == nil {
		return err
	}
	if f.json {
		err = errors.Join(err, json.NewEncoder(out).Encode(r))
	} else {
		r.Text(out)
	}
	switch {
	case err != nil:
		return &statusError{status: exitUsage, err: err}
	case !r.OK():
		return &statusError{status: exitIncomplete}
	}
	return nil
}

// show runs the site and shows it, and writes the report.
func (f *upFlags) show(ctx context.Context, out io.Writer, html *os.File) (_ *story.Result, err error) {
	screen := screen(f.json || f.plain)
	if screen == nil && !f.json {
		f.cfg.OnMark = func(m story.Mark) { fmt.Fprintln(out, m) }
	}
	up, err := story.New(f.cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, up.Close()) }()
	if screen != nil {
		stop := draw(screen, up)
		defer stop()
	}
	r, err := up.Run(ctx)
	if html != nil {
		err = errors.Join(err, up.WriteHTML(html, r), html.Close())
	}
	return r, err
}
