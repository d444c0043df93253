// Package draft reads drafts of rollouts from a command line: which devices, which
// load, and the plan, from flags and from a file.
//
// What lives here: the flags and what they mean. What must not: calls of the API,
// and output. Read Flags.Change and parseWave.
package draft

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
)

// Flags are those of a draft of a rollout.
type Flags struct {
	target                         client.RolloutTarget
	plan                           client.RolloutPlan
	release, load, check           string
	file, silence, start, deadline string
	waves                          []string
	share                          int
	retry                          client.RolloutRetry
}

// Add adds the flags of a draft.
func (f *Flags) Add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.release, "release", "", "the release to bring: each device gets the load that is for its model")
	s.StringVar(&f.load, "load", "", "the load to bring, instead of a release")
	s.BoolVar(&f.target.All, "all", false, "all devices")
	s.StringVar(&f.target.Site, "site", "", "devices that belong to this site")
	s.StringVar(&f.target.Profile, "profile", "", "devices of this profile")
	s.StringVar(&f.target.Model, "model", "", "devices of this model")
	s.StringVar(&f.target.Text, "text", "", "devices with this in their name or description")
	s.StringSliceVar(&f.target.Devices, "device", nil, "these devices, repeated or with commas")
	s.IntVar(&f.target.Percent, "percent", 0, "so many of a hundred of them; more has all devices of fewer")
	f.AddPlan(cmd)
	s.StringVar(&f.check, "check", "", `URL of the external check, which waves by=external ask; "" for none`)
}

// AddPlan adds the flags of a plan.
func (f *Flags) AddPlan(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.file, "plan", "", "JSON file with the plan as the API has it; flags change parts of it")
	s.StringArrayVar(&f.waves, "wave", nil, "a wave, repeated in their order: 5%, sites:A,B or devices:A,B, and "+
		"behind a space soak=1h, success=95 (of a hundred), by=person or by=external; the last has all that are left")
	s.IntVar(&f.plan.MaxFailed, "max-failed", 0, "so many failed devices pause it; 0: no count does")
	s.IntVar(&f.share, "max-failed-share", 1, "so many of a hundred failed devices of a wave pause it; 0: no share does")
	s.StringVar(&f.silence, "silence", "",
		"devices that are not heard of: wait, or ignore:48h or fail:48h for after which time")
	s.StringVar(&f.plan.Lost, "lost", "", "after how long without a word a device fails that has begun (default 24h)")
	s.StringVar(&f.plan.Longest, "longest", "", "after how long a device fails that does not get there")
	s.StringSliceVar(&f.retry.Reasons, "retry", nil, "reasons of failures that are tried again, such as "+
		"origin-unreachable, parent-lost or disk")
	s.IntVar(&f.retry.Times, "retry-times", 3, "how often, with --retry")
	s.StringVar(&f.retry.BackOff, "retry-after", "15m", "the wait before, with --retry; it doubles")
	s.StringVar(&f.retry.MaxBackOff, "retry-most", "", "up to this wait; default: it does not double")
	s.StringSliceVar(&f.plan.Windows, "window", nil,
		`when devices may work, by the clock of their site: 22:00-05:00 or "mon-fri 22:00-05:00"`)
	s.BoolVar(&f.plan.DownloadAnytime, "download-anytime", false, "windows hold for the activation alone")
	s.StringVar(&f.plan.Valid, "valid", "", "how long what a device is handed holds at most (default 24h)")
	s.StringVar(&f.start, "start-at", "", "when the first wave opens, such as 2026-03-01T22:00:00+09:00")
	s.StringVar(&f.deadline, "deadline", "", "after that nothing is handed out")
	s.BoolVar(&f.plan.Approval, "approval", false, "a second person must approve it")
	s.BoolVar(&f.plan.LeaveOut, "leave-out", false,
		"leave out devices that cannot take part, instead of refusing the start")
	s.StringVar(&f.plan.AskEvery, "ask-every", "", "how often the external check is asked (default 1m)")
}

// Change is what the flags say of a draft; what was not given stays.
func (f *Flags) Change(cmd *cobra.Command, before *client.RolloutPlan) (c client.RolloutChange, err error) {
	c.Release, c.Load, c.Check = optional(cmd, "release"), optional(cmd, "load"), optional(cmd, "check")
	if given(cmd, "all", "site", "profile", "model", "text", "device", "percent") {
		c.Target = &f.target
	}
	c.Plan, err = f.Plan(cmd, before)
	return c, err
}

// Plan is the plan that the flags say, beginning with the one before; nil if they
// say nothing of it.
func (f *Flags) Plan(cmd *cobra.Command, before *client.RolloutPlan) (*client.RolloutPlan, error) {
	p := client.RolloutPlan{}
	if before != nil {
		p = *before
	}
	said := f.file != ""
	if said {
		var err error
		if p, err = readPlan(f.file); err != nil {
			return nil, err
		}
	}
	for _, field := range f.fields(&p) {
		if !given(cmd, field.flag) {
			continue
		}
		said = true
		if err := field.set(); err != nil {
			return nil, err
		}
	}
	if !said {
		return nil, nil
	}
	return &p, nil
}

// field is what a flag sets of a plan.
type field struct {
	flag string
	set  func() error
}

// to is a field that gets a value.
func to[T any](flag string, at, value *T) field {
	return field{flag, func() error { *at = *value; return nil }}
}

func (f *Flags) fields(p *client.RolloutPlan) []field {
	given, share := &f.plan, &f.share
	return []field{
		{"wave", func() (err error) { p.Waves, err = parseWaves(f.waves); return err }},
		to("max-failed", &p.MaxFailed, &given.MaxFailed), to("max-failed-share", &p.MaxFailedShare, &share),
		{"silence", func() error {
			rule, after, _ := strings.Cut(f.silence, ":")
			if rule != "wait" && rule != "ignore" && rule != "fail" {
				return fmt.Errorf("--silence %.60q is none of wait, ignore:48h and fail:48h", f.silence)
			}
			p.Silence.Rule, p.Silence.After = rule, after
			return nil
		}},
		to("lost", &p.Lost, &given.Lost), to("longest", &p.Longest, &given.Longest), to("retry", &p.Retry, &f.retry),
		to("window", &p.Windows, &given.Windows), to("download-anytime", &p.DownloadAnytime, &given.DownloadAnytime),
		to("valid", &p.Valid, &given.Valid),
		{"start-at", func() (err error) { p.Start, err = parseTime("--start-at", f.start); return err }},
		{"deadline", func() (err error) { p.Deadline, err = parseTime("--deadline", f.deadline); return err }},
		to("approval", &p.Approval, &given.Approval), to("leave-out", &p.LeaveOut, &given.LeaveOut),
		to("ask-every", &p.AskEvery, &given.AskEvery),
	}
}

// maxPlan bounds the file of a plan, in bytes.
const maxPlan = 1 << 20

// readPlan reads the file of a plan.
func readPlan(name string) (p client.RolloutPlan, err error) {
	f, err := os.Open(name)
	if err != nil {
		return p, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPlan+1))
	switch {
	case err != nil:
		return p, err
	case len(b) > maxPlan:
		return p, fmt.Errorf("--plan %s has more than %d bytes: a plan is smaller", name, maxPlan)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("--plan %s is no plan in JSON: %w; write it as the API has it, or as "+
			"\"peerload-server rollout status ROLLOUT --json\" shows it", name, err)
	}
	return p, nil
}

// parseTime reads a time; "" is none.
func parseTime(flag, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil && text != "" {
		return t, fmt.Errorf("%s %q is no time such as 2026-03-01T22:00:00+09:00", flag, text)
	}
	return t, nil
}

// parseWaves reads waves. What no wave takes is in a last one.
func parseWaves(texts []string) (all []client.RolloutWave, err error) {
	for _, text := range texts {
		w, err := parseWave(text)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	if n := len(all); n == 0 || all[n-1].Percent != 100 {
		all = append(all, client.RolloutWave{Percent: 100})
	}
	return all, nil
}

// parseWave reads a wave: whom it takes, and behind spaces what opens the next.
func parseWave(text string) (w client.RolloutWave, err error) {
	bad := fmt.Errorf(
		`--wave %q is none such as "5%% soak=1h", "sites:Kyoto,Nara by=person" or "devices:SEP001122334455"`, text)
	words := strings.Fields(text)
	if len(words) == 0 {
		return w, bad
	}
	what, names, named := strings.Cut(words[0], ":")
	number, percent := strings.CutSuffix(words[0], "%")
	switch {
	case percent:
		if w.Percent, err = strconv.Atoi(number); err != nil {
			return w, bad
		}
	case named && what == "sites":
		w.Sites = strings.Split(names, ",")
	case named && what == "devices":
		w.Devices = strings.Split(names, ",")
	default:
		return w, bad
	}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "soak":
			w.Soak = value
		case "success":
			if w.Success, err = strconv.Atoi(value); err != nil {
				return w, bad
			}
		case "by":
			w.Opener = value
		default:
			return w, bad
		}
	}
	return w, nil
}

// given reports whether any of these flags was given.
func given(cmd *cobra.Command, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return cmd.Flags().Changed(n) })
}

// optional is a flag's value if it was given, else nil.
func optional(cmd *cobra.Command, name string) *string {
	if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
		v := f.Value.String()
		return &v
	}
	return nil
}
