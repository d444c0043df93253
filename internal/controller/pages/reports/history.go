package reports

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/report"
)

// kinds are those of entries of the history.
var kinds = []string{"state", "load", "file", "file-set", "failure", "restart", "address", "known"}

// history is what happened to all devices, the latest first.
func history(v *frame.Visit) error {
	q := url.Values{}
	for _, name := range []string{"kind", "site"} {
		if is := v.Query(name); is != "" {
			q.Set(name, is)
		}
	}
	for name, later := range map[string]int{"since": 0, "before": 1} {
		// A day that is the last one counts as a whole.
		if day, ok := frame.Moment(v.Query(name)); ok {
			q.Set(name, day.AddDate(0, 0, later).Format(time.RFC3339))
		}
	}
	rows, err := frame.Read[client.HistoryEntry](v, "/history", q, 0)
	if err != nil {
		return err
	}
	site, err := siteField(v)
	if err != nil {
		return err
	}
	of := every(v)
	for _, k := range kinds {
		of = append(of, frame.Option{Value: k, Label: v.T("history " + k)})
	}
	p := frame.Listing{Title: v.T("History"), Tabs: Tabs(v), Pages: frame.PagesOf(rows),
		Filters: []frame.Field{site,
			{Name: "kind", Label: v.T("What happened"), Kind: "select", Value: v.Query("kind"), Options: of},
			{Name: "since", Label: v.T("From this day on"), Kind: "date", Value: v.Query("since")},
			{Name: "before", Label: v.T("Up to this day"), Kind: "date", Value: v.Query("before")}},
		Empty: v.T("No such entry."),
		Table: frame.Table{Head: []string{v.T("Device"), v.T("When"), v.T("What happened"), v.T("In detail")}}}
	for _, e := range rows.Items {
		what := frame.Text(v.T("history " + e.Kind))
		if e.Kind == "failure" {
			what.State = "failed"
		}
		p.Table.Rows = append(p.Table.Rows, []frame.Cell{frame.Link(e.Device, "devices", e.Device), frame.Time(e.At), what,
			frame.Text(Told(v, e))})
	}
	return v.Show("listing", p)
}

// Told is what an entry of the history says, for people.
func Told(v *frame.Visit, e client.HistoryEntry) string {
	from, to := e.Old, e.New
	if e.Kind == "state" || e.Kind == "file-set" && to != e.Load {
		from, to = stateWord(v, from), stateWord(v, to)
	}
	if e.Kind == "file" && slices.Contains(sources, to) {
		to = wording.Say(v.JA, "source "+to)
	}
	var said []string
	say := func(text string) {
		if text != "" {
			said = append(said, text)
		}
	}
	switch {
	case from != "" && to != "":
		say(from + " → " + to)
	case from != "" || to != "":
		say(from + to)
	}
	if e.Load != e.New {
		say(e.Load)
	}
	if e.File != e.Load {
		say(e.File)
	}
	if e.Reason != "" {
		say(wording.Why(v.JA, e.Reason, ""))
	}
	say(e.Message)
	if f := e.Final; f != nil {
		say(v.T("%s from servers, %s from peers, %s held before; %s to peers", frame.Bytes(f.BytesFromOrigin),
			frame.Bytes(f.BytesFromPeers), frame.Bytes(f.BytesFromCache), frame.Bytes(f.BytesToPeers)))
	}
	return strings.Join(said, " · ")
}

// sources are where files come from.
var sources = []string{report.SourceOrigin, report.SourcePeer, report.SourceCache}

// states are those that have words.
var states = []string{report.StateIdle, report.StateDownloading, report.StateReady, report.StateInstalling,
	report.StateRebooting, report.StateTrial, report.StateRolledBack, report.StateFailed}

// stateWord is a state in words, or the text itself if it is none.
func stateWord(v *frame.Visit, is string) string {
	for _, s := range states {
		if s == is {
			return wording.Say(v.JA, "state "+s)
		}
	}
	if is == "unknown" {
		return v.T("not heard of")
	}
	return is
}
