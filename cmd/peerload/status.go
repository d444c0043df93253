package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/agent"
	"github.com/peerload/peerload/report"
)

// nameOf is a file's name for people: the URL's last part.
func nameOf(u *url.URL) string { return path.Base(u.Path) }

// reasonOf is the code of an error in a report.
func reasonOf(err error) string {
	var e *agent.Error
	if errors.As(err, &e) {
		return e.Reason.String()
	}
	if errors.As(err, new(stopped)) {
		return "stopped"
	}
	switch exitCode(err, false) {
	case exitTrust:
		return "trust"
	case exitDisk:
		return "disk"
	case exitVerify:
		return "digest-mismatch"
	}
	return "refused"
}

// processes reads what this device's processes told.
func processes(flag string) ([]agent.ProcessStatus, error) {
	dir, err := stateDir(flag)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "status")); errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("nothing has run with the state directory %s: name the right one with --state", dir)
	}
	s, err := agent.OpenState(dir)
	if err != nil {
		return nil, err
	}
	ps, err := s.Processes()
	if err == nil && len(ps) == 0 {
		return nil, usagef("nothing is on record in the state directory %s: no run has told of itself, or its status files are damaged", dir)
	}
	return ps, err
}

func statusCommand() *cobra.Command {
	var state string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show what this device does now, per file",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ps, err := processes(state)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(map[string]any{"schema": report.Schema, "processes": ps})
			}
			for _, p := range ps {
				printProcess(p)
			}
			return nil
		},
	}
	stateFlag(cmd.Flags(), &state)
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func printProcess(p agent.ProcessStatus) {
	state := "ended"
	if p.Running {
		state = "running"
	} else if !p.Ended {
		state = "died"
	}
	tell(os.Stdout, "process %d %s, device %s at %s, since %s", p.PID, state, p.Device, orDash(p.Address), clock(p.Started))
	for _, f := range p.Files {
		what := fmt.Sprintf("%3d %%", f.Percent)
		switch {
		case f.Failed:
			what = "failed: " + f.Reason
		case f.Done:
			what = "done"
		}
		tell(os.Stdout, "  %-24s %-8s role %-8s source %-7s parent %-21s root %-21s children %d",
			f.File, what, orDash(f.Role), orDash(f.Source), orDash(f.Parent), orDash(f.Root), len(f.Children))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func explainCommand() *cobra.Command {
	var state, file string
	cmd := &cobra.Command{
		Use: "explain [FILE]", Short: "Say why: this root, this parent, this source",
		Long: "Explain tells, for each file of the last run, where its bytes come from and every\ndecision that led there.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				file = args[0]
			}
			ps, err := processes(state)
			if err != nil {
				return err
			}
			for _, p := range ps {
				for _, f := range p.Files {
					if file == "" || f.File == file {
						explainFile(f)
						if file != "" {
							return nil
						}
					}
				}
				if file == "" && len(p.Files) > 0 {
					return nil
				}
			}
			if file != "" {
				return usagef("no run of this device knows a file %q; `peerload status` lists them", file)
			}
			return nil
		},
	}
	stateFlag(cmd.Flags(), &state)
	return cmd
}

// explainFile answers the question of whoever stands before the device.
func explainFile(f *agent.FileStatus) {
	tell(os.Stdout, "%s", f.File)
	tell(os.Stdout, "  %s", because(f))
	for _, d := range f.Decisions {
		reason := ""
		if d.Reason != "" && d.Reason != "none" {
			reason = " [" + d.Reason + "]"
		}
		tell(os.Stdout, "  %s %-9s%s %s", clock(d.Time), d.Event, reason, d.Message)
	}
}

// because says in one sentence where the bytes come from and why.
func because(f *agent.FileStatus) string {
	why := ""
	for _, d := range f.Decisions {
		switch d.Event {
		case report.KindRole, report.KindSource, report.KindParent, report.KindFallback:
			why = d.Reason
		}
	}
	comes := "comes"
	if f.Done {
		comes = "came"
	}
	switch {
	case f.Failed:
		return "It failed: " + f.Message
	case f.Role == report.RoleClassic:
		return "It " + comes + " from the server because sharing is off for this run (peers-off)."
	case f.Source == report.SourceOrigin && f.Role == report.RoleRoot:
		return "It " + comes + " from the server because this device is the root of the file: it downloads once for the whole subnet (" + rootWhy(f) + ")."
	case f.Source == report.SourceOrigin:
		return "It " + comes + " from the server, within the subnet's budget, because the peers failed (" + why + ")."
	case f.Source == report.SourcePeer:
		return fmt.Sprintf("It %s from a peer, %s, placed there by the root %s.", comes, orDash(f.Parent), orDash(f.Root))
	case f.Source == report.SourceCache && f.Done:
		return "It was held before."
	}
	return "No byte has come yet; the last decision was " + orDash(why) + "."
}

// rootWhy is the reason of the last election that this device won.
func rootWhy(f *agent.FileStatus) string {
	for i := len(f.Decisions) - 1; i >= 0; i-- {
		if d := f.Decisions[i]; d.Event == report.KindRole {
			return d.Reason
		}
	}
	return "alone"
}
