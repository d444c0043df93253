package drafts

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/device/reason"
)

// form is the guided form of a draft.
func form(v *frame.Visit) (f frame.Form, err error) {
	loads, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return f, err
	}
	models, sites, profiles, err := frame.DeviceOptions(v)
	if err != nil {
		return f, err
	}
	every := []frame.Option{{Value: "", Label: v.T("all")}}
	f = frame.Form{Title: v.T("New rollout"), Action: "/rollouts/new", Back: "/rollouts",
		Intro: v.Sentences(v.T("This makes a draft, which touches no device."),
			v.T("Before you start it, you see who is touched and how long each site will take.")),
		Button: v.T("Make the draft"), Fields: []frame.Field{
			{Name: "id", Label: v.T("Name of the rollout"), Required: true, Help: v.T("For example autumn-2026.")},
			{Name: "release", Label: v.T("Release to bring"), Kind: "select",
				Options: slices.Concat(frame.NoOption(v), releases)},
			{Name: "load", Label: v.T("or load"), Kind: "select", Options: slices.Concat(frame.NoOption(v), loads)},
			{Name: "site", Label: v.T("Only this site"), Kind: "select", Options: slices.Concat(every, sites)},
			{Name: "profile", Label: v.T("Only this profile"), Kind: "select", Options: slices.Concat(every, profiles)},
			{Name: "model", Label: v.T("Only this model"), Kind: "select", Options: slices.Concat(every, models)},
			{Name: "text", Label: v.T("Only those whose name or description has"), Rare: true},
			{Name: "devices", Label: v.T("Only these devices"), Kind: "area", Rare: true, Help: v.T("One in a line.")},
			{Name: "percent", Label: v.T("Of them so many of a hundred"), Kind: "number", Rare: true,
				Help: v.T("Empty: all. A later rollout with more has all devices of this one.")},
		}}
	f.Fields = append(f.Fields, PlanFields(v)...)
	f.Fields = append(f.Fields, frame.Field{Name: "check", Label: v.T("URL of the external check"), Kind: "url",
		Rare: true,
		Help: v.T("It is asked before the next wave opens, where that is chosen above.")})
	return f, nil
}

// PlanFields are the fields of a plan.
func PlanFields(v *frame.Visit) []frame.Field {
	return slices.Concat(waveFields(v), ruleFields(v))
}

func waveFields(v *frame.Visit) []frame.Field {
	return []frame.Field{
		{Name: "waves", Label: v.T("Waves, in percent of the devices"), Kind: "area", Value: "5 25 100",
			Help: v.Sentences(
				v.T("One number for each wave, the waves before it included. The last wave takes all that are left."),
				v.T("A line may name what a wave has: sites: Kyoto, Nara or devices: SEP001122334455."),
				v.T("Behind a semicolon it may say its own rule: 5; soak=2h success=100 by=person."))},
		{Name: "opener", Label: v.T("What opens the next wave"), Kind: "select", Value: "success", Options: []frame.Option{
			{Value: "success", Label: v.T("enough devices done, for long enough")},
			{Value: "person", Label: v.T("a person")},
			{Value: "external", Label: v.T("then an external check, too")}}},
		{Name: "success", Label: v.T("Devices of a wave that must be done, of a hundred"), Kind: "number", Value: "95"},
		{Name: "soak", Label: v.T("for how long"), Value: "1h", Help: v.T("For example 30m or 24h.")},
		{Name: "max_failed_share", Label: v.T("Failed devices of a wave that pause it, of a hundred"), Kind: "number",
			Value: "1", Help: v.T("0: no share pauses it.")},
		{Name: "max_failed", Label: v.T("Failed devices in all that pause it"), Kind: "number", Value: "0",
			Help: v.T("0: no count pauses it.")},
		{Name: "windows", Label: v.T("When devices may work"),
			Help: v.T("By the clock of their site, for example 22:00-05:00. Empty: at any time.")},
		{Name: "start", Label: v.T("Begins at (UTC)"), Kind: "datetime-local",
			Help: v.T("Empty: as soon as it is started.")},
		{Name: "approval", Label: v.T("A second person must approve it"), Kind: "check"},
		{Name: "leave_out", Label: v.T("Leave out devices that cannot take part"), Kind: "check",
			Help: v.T("Without this, one such device refuses the start.")},
	}
}

// ruleFields are those that few plans change.
func ruleFields(v *frame.Visit) []frame.Field {
	var reasons []frame.Option
	for _, code := range append([]reason.Code{"never-came-back", "took-too-long"}, reason.Failures()...) {
		reasons = append(reasons, frame.Option{Value: string(code), Label: frame.Why(v.JA, string(code), "")})
	}
	all := []frame.Field{
		{Name: "download_anytime", Label: v.T("They may download at any time: the windows hold for the installation alone"),
			Kind: "check"},
		{Name: "silence", Label: v.T("Devices that are not heard of"), Kind: "select", Value: "wait", Options: []frame.Option{
			{Value: "wait", Label: v.T("silence wait")}, {Value: "ignore", Label: v.T("silence ignore")},
			{Value: "fail", Label: v.T("silence fail")}}},
		{Name: "silence_after", Label: v.T("after so long without a word"), Help: v.T("For example 48h.")},
		{Name: "lost", Label: v.T("A device that has begun fails after so long without a word"),
			Help: v.T("Empty: 24h.")},
		{Name: "longest", Label: v.T("A device that does not get there fails after"), Help: v.T("Empty: never.")},
		{Name: "retry_reasons", Label: v.T("Failures that are tried again"), Kind: "select", Many: true, Options: reasons},
		{Name: "retry_times", Label: v.T("how often"), Kind: "number", Help: v.T("Empty: 3 times, if a failure is chosen.")},
		{Name: "back_off", Label: v.T("after a wait of"), Help: v.T("It doubles each time. Empty: 15m.")},
		{Name: "max_back_off", Label: v.T("up to a wait of"), Help: v.T("Empty: it does not double.")},
		{Name: "valid", Label: v.T("What a device is told to do holds at most for"),
			Help: v.Sentences(v.T("So long a device goes on while the controller is away."), v.T("Empty: 24h."))},
		{Name: "deadline", Label: v.T("Ends at (UTC)"), Kind: "datetime-local",
			Help: v.T("After that no device may do anything. Empty: it does not end by itself.")},
		{Name: "ask_every", Label: v.T("The external check is asked every"), Help: v.T("Empty: 1m.")},
	}
	for i := range all {
		all[i].Rare = true
	}
	return all
}

// numeral is a number in a field, "" for none.
func numeral(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// instant is a time in a field, "" for none.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04")
}

// fill puts a draft into its form.
func fill(f *frame.Form, r client.Rollout) {
	p, t := r.Plan, r.Ask.Target
	usual := usualWave(p.Waves)
	is := map[string]string{"release": r.Ask.Release, "load": r.Ask.Load, "site": t.Site, "profile": t.Profile,
		"model": t.Model, "text": t.Text, "devices": strings.Join(t.Devices, "\n"), "percent": numeral(t.Percent),
		"waves": wavesText(p.Waves), "opener": usual.Opener, "success": numeral(usual.Success), "soak": usual.Soak,
		"max_failed": strconv.Itoa(p.MaxFailed), "windows": strings.Join(p.Windows, "; "), "start": instant(p.Start),
		"silence": p.Silence.Rule, "silence_after": p.Silence.After, "lost": p.Lost, "longest": p.Longest,
		"retry_times": numeral(p.Retry.Times), "back_off": p.Retry.BackOff, "max_back_off": p.Retry.MaxBackOff,
		"valid": p.Valid, "deadline": instant(p.Deadline), "ask_every": p.AskEvery, "check": r.Ask.Check}
	if p.MaxFailedShare != nil {
		is["max_failed_share"] = strconv.Itoa(*p.MaxFailedShare)
	}
	for name, on := range map[string]bool{"approval": p.Approval, "leave_out": p.LeaveOut,
		"download_anytime": p.DownloadAnytime} {
		if on {
			is[name] = "on"
		}
	}
	for i, field := range f.Fields {
		if value, ok := is[field.Name]; ok {
			f.Fields[i].Value = value
		}
		if field.Name == "retry_reasons" {
			f.Fields[i].Values = p.Retry.Reasons
		}
	}
}
