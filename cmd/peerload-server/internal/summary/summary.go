// Package summary has the commands that tell who failed and what was saved.
//
// What lives here: their flags, and what people read. What must not: what counts as
// failed or saved, which the controller says.
//
// Read Failures, then Savings, then Overview.
package summary

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/cli/strict"
	"github.com/peerload/peerload/internal/controller/console"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/internal/terminal"
)

// Failures is the command "report failures".
func Failures(conn *console.Flags) *cobra.Command {
	var f client.Filter
	var format console.Format
	cmd := &cobra.Command{Use: "failures", Args: cobra.NoArgs,
		Short: "Which devices failed, at what, why, and since when",
		Long: `Which devices tell that their last upgrade, or a file set, did not succeed: at
what, why, and since when. Below each are the last lines of the hook that failed. A
device that works again is not told of any more; "report history --kind failure" has
what was.`,
		Example: "  peerload-server report failures --site Kyoto\n  peerload-server report failures -o csv > failures.csv",
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			items, err := console.Collect(c.Failures.List(cmd.Context(), f))
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			if err := console.Print(conn, &format, cmd, "failure", items, failureColumns(japanese),
				hookLines); err != nil || !format.People(conn) {
				return err
			}
			return console.PrintLines(cmd.OutOrStdout(), "%s\n", failedText(items, japanese))
		})}
	console.SiteFlag(cmd, &f.Site, "of devices of this site")
	cmd.Flags().StringVar(&f.About, "load", "", "of devices that run this load, or are to run it")
	format.Add(cmd)
	return cmd
}

func failureColumns(japanese bool) []console.Column[client.Failure] {
	return []console.Column[client.Failure]{
		{Name: "DEVICE", Text: func(f client.Failure) string { return f.Device }},
		{Name: "MODEL", Wide: true, Text: func(f client.Failure) string { return f.Model }},
		{Name: "DESCRIPTION", Wide: true, Text: func(f client.Failure) string { return f.Description }},
		{Name: "SITE", Text: func(f client.Failure) string { return f.Site }},
		{Name: "LOAD", Text: func(f client.Failure) string { return f.Load }},
		{Name: "DIRECTORY", Wide: true, Text: func(f client.Failure) string { return f.Directory }},
		{Name: "ROLLOUT", Wide: true, Text: func(f client.Failure) string { return f.Rollout }},
		{Name: "STATE", Text: func(f client.Failure) string { return wording.Say(japanese, "state "+f.State) },
			Data: func(f client.Failure) string { return f.State }},
		{Name: "PHASE", Text: func(f client.Failure) string { return phaseText(f.Phase, japanese) },
			Data: func(f client.Failure) string { return f.Phase }},
		{Name: "REASON", Text: func(f client.Failure) string { return wording.Why(japanese, f.Reason, "") }},
		{Name: "MESSAGE", Wide: true, Text: func(f client.Failure) string { return f.Message }},
		{Name: "OUTPUT", Wide: true, Text: func(f client.Failure) string { return f.Output }},
		{Name: "SINCE", Text: func(f client.Failure) string { return console.When(f.Since) },
			Data: func(f client.Failure) string { return console.TimeData(f.Since) }},
		{Name: "SEEN", Wide: true, Text: func(f client.Failure) string { return console.When(f.Seen) },
			Data: func(f client.Failure) string { return console.TimeData(f.Seen) }},
	}
}

// phaseText is a phase for people, "" for none.
func phaseText(phase string, japanese bool) string {
	if phase == "" {
		return ""
	}
	return wording.Say(japanese, "phase "+phase)
}

// hookLines are the last lines of the hook, each by itself.
func hookLines(f client.Failure) []string {
	if f.Output == "" {
		return nil
	}
	lines := strings.Split(f.Output, "\n")
	for i, l := range lines {
		lines[i] = "| " + l
	}
	return lines
}

// failedText counts devices in words.
func failedText(items []client.Failure, japanese bool) string {
	devices := map[string]bool{}
	for _, f := range items {
		devices[f.Device] = true
	}
	switch n := len(devices); {
	case japanese && n == 0:
		return "失敗している機器はありません"
	case japanese:
		return fmt.Sprintf("%d 台の機器が失敗しています", n)
	case n == 0:
		return "no device tells of a failure"
	default:
		return wording.Fill("%d {device tells of a failure|devices tell of failures}", n)
	}
}

// Savings is the command "report savings".
func Savings(conn *console.Flags) *cobra.Command {
	var q client.SavingQuery
	var format console.Format
	cmd := &cobra.Command{Use: "savings", Args: cobra.NoArgs,
		Short: "What sharing has saved: bytes over the WAN beside those of classic upgrades",
		Long: `What sharing among peers has saved. WAN are the bytes that devices fetched from
servers; CLASSIC those that they would have fetched if each had done so by itself.
What a device held before counts for neither. LAST is when the last device had its
load, FALLBACKS how often a source was given up. A load in several releases counts in
the row of each, and once in the sum.`,
		Example: "  peerload-server report savings --by site,month\n" +
			"  peerload-server report savings --release '9.4(2)' --since 2026-10 -o csv",
		RunE: conn.With(func(cmd *cobra.Command, _ []string, c *console.Connection) error {
			s, err := c.Savings(cmd.Context(), q)
			if err != nil {
				return err
			}
			japanese := terminal.Japanese(os.Getenv)
			if err := console.Print(conn, &format, cmd, "saving", s.Rows, savingColumns(q.By, japanese),
				nil); err != nil || !format.People(conn) {
				return err
			}
			return console.PrintLines(cmd.OutOrStdout(), "%s\n%s", sumText(s.Total, japanese),
				fallbackText(s.Total.Fallbacks, japanese))
		})}
	f := cmd.Flags()
	f.StringSliceVar(&q.By, "by", []string{"load"}, "one row for each: site, load, release or month, or several of them")
	console.SiteFlag(cmd, &q.Site, "by devices of this site")
	f.StringVar(&q.Load, "load", "", "of this load or file set")
	f.StringVar(&q.Release, "release", "", "of the loads of this release")
	f.StringVar(&q.Since, "since", "", "from this month on, such as 2026-11")
	f.StringVar(&q.Until, "until", "", "up to this month")
	strict.Values(cmd, "by", "site", "load", "release", "month")
	format.Add(cmd)
	return cmd
}

func savingColumns(by []string, japanese bool) []console.Column[client.Saving] {
	columns := []console.Column[client.Saving]{}
	for _, g := range []struct {
		by   string
		text func(client.Saving) string
	}{{"month", func(s client.Saving) string { return s.Month }}, {"site", func(s client.Saving) string { return s.Site }},
		{"release", func(s client.Saving) string { return s.Release }},
		{"load", func(s client.Saving) string { return s.Load }}} {
		if slices.Contains(by, g.by) {
			columns = append(columns, console.Column[client.Saving]{Name: strings.ToUpper(g.by), Text: g.text})
		}
	}
	number := func(name string, wide bool, of func(client.Saving) int) console.Column[client.Saving] {
		return console.Column[client.Saving]{Name: name, Wide: wide,
			Text: func(s client.Saving) string { return strconv.Itoa(of(s)) }}
	}
	size := func(name string, wide bool, of func(client.Saving) int64) console.Column[client.Saving] {
		return console.Column[client.Saving]{Name: name, Wide: wide,
			Text: func(s client.Saving) string { return terminal.Bytes(of(s)) },
			Data: func(s client.Saving) string { return strconv.FormatInt(of(s), 10) }}
	}
	return append(columns,
		number("DONE", false, func(s client.Saving) int { return s.Done }),
		number("FAILED", false, func(s client.Saving) int { return s.Failed }),
		size("WAN", false, func(s client.Saving) int64 { return s.FromOrigin }),
		size("CLASSIC", false, func(s client.Saving) int64 { return s.Classic }),
		size("PEERS", true, func(s client.Saving) int64 { return s.FromPeers }),
		size("HELD", true, func(s client.Saving) int64 { return s.FromCache }),
		console.Column[client.Saving]{Name: "SAVED",
			Text: func(s client.Saving) string { return savedText(s, japanese) },
			Data: func(s client.Saving) string { return strconv.FormatInt(s.Saved, 10) }},
		console.Column[client.Saving]{Name: "LAST", Text: func(s client.Saving) string { return console.When(s.Last) },
			Data: func(s client.Saving) string { return console.TimeData(s.Last) }},
		console.Column[client.Saving]{Name: "LAST-DEVICE", Wide: true,
			Text: func(s client.Saving) string { return s.LastDevice }},
		number("FALLBACKS", false, func(s client.Saving) int { return fallbacks(s.Fallbacks) }),
		console.Column[client.Saving]{Name: "REASONS", Wide: true,
			Text: func(s client.Saving) string { return strings.Join(reasons(s.Fallbacks, japanese), "; ") }})
}

// savedText says what was saved, in words: 17.2 GB saved, 97 %.
func savedText(s client.Saving, japanese bool) string {
	switch {
	case s.SavedPercent == nil && japanese:
		return "取得なし"
	case s.SavedPercent == nil:
		return "nothing was fetched"
	case s.Saved < 0 && japanese:
		return terminal.Bytes(-s.Saved) + " 超過"
	case s.Saved < 0:
		return terminal.Bytes(-s.Saved) + " more than classic"
	case japanese:
		return fmt.Sprintf("%s 削減 (%d %%)", terminal.Bytes(s.Saved), *s.SavedPercent)
	}
	return fmt.Sprintf("%s saved, %d %%", terminal.Bytes(s.Saved), *s.SavedPercent)
}

// sumText says it of all, and when the last device was done.
func sumText(s client.Saving, japanese bool) string {
	text, last := savedText(s, japanese), ""
	if japanese {
		if s.SavedPercent != nil {
			text += fmt.Sprintf(": WAN 経由 %s、従来方式では %s", terminal.Bytes(s.FromOrigin), terminal.Bytes(s.Classic))
		}
		if !s.Last.IsZero() {
			last = fmt.Sprintf("\n最後の機器: %s (%s)", console.When(s.Last), terminal.Printable(s.LastDevice))
		}
		return text + last
	}
	if s.SavedPercent != nil {
		text += fmt.Sprintf(": %s came over the WAN, where classic upgrades would have taken %s",
			terminal.Bytes(s.FromOrigin), terminal.Bytes(s.Classic))
	}
	if !s.Last.IsZero() {
		last = fmt.Sprintf("\nthe last device was done %s: %s", console.When(s.Last), terminal.Printable(s.LastDevice))
	}
	return text + last
}

func fallbacks(by map[string]int) (n int) {
	for _, k := range by {
		n += k
	}
	return n
}

// reasons are fallbacks in words, the most frequent first.
func reasons(by map[string]int, japanese bool) (all []string) {
	codes := slices.Sorted(maps.Keys(by))
	slices.SortStableFunc(codes, func(a, b string) int { return by[b] - by[a] })
	for _, code := range codes {
		all = append(all, fmt.Sprintf("%d × %s", by[code], wording.Why(japanese, code, "")))
	}
	return all
}

// fallbackText lists why sources were given up, one reason a line; "" for none.
func fallbackText(by map[string]int, japanese bool) string {
	text := ""
	for _, r := range reasons(by, japanese) {
		before := "fallback: "
		if japanese {
			before = "フォールバック: "
		}
		text += before + terminal.Printable(r) + "\n"
	}
	return text
}
