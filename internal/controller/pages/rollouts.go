package pages

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/drafts"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/device/wording"
)

// rolloutList is the list of rollouts.
func rolloutList(v *frame.Visit) error {
	q := url.Values{}
	if is := v.Query("state"); is != "" {
		q.Set("state", is)
	}
	rows, err := frame.Read[client.Rollout](v, "/rollouts", q, 0)
	if err != nil {
		return err
	}
	return v.Show("rollouts", struct {
		frame.Rows[client.Rollout]
		States []string
		State  string
	}{rows, []string{"draft", "awaiting-approval", "scheduled", "running", "paused", "finished", "aborted",
		"rolled-back"}, v.Query("state")})
}

// part is a part of a bar: of so many thousandths, from X on.
type part struct {
	Class string
	X, W  int
}

// wave is a wave as its page shows it.
type wave struct {
	client.RolloutCounts
	client.RolloutWave
	N, Devices int
	// Share is how many of a hundred have failed, by the limit's way of counting.
	Share    int
	Open     bool
	Parts    []part
	Standing []named
}

// named is a count by a word.
type named struct {
	Word string
	N    int
}

// standings are the counts by their words, in the order of a rollout.
func standings(s client.Standings) []named {
	return []named{{"done", s.Done}, {"had", s.Had}, {"began", s.Began}, {"granted", s.Granted}, {"waiting", s.Waiting},
		{"silent", s.Silent}, {"failed", s.Failed}, {"skipped", s.Skipped}}
}

// barClass is how a standing is drawn.
func barClass(standing string) string {
	switch standing {
	case "done", "had":
		return "ok"
	case "began", "granted":
		return "run"
	case "failed":
		return "bad"
	case "silent", "skipped":
		return "warn"
	}
	return "none"
}

func waveOf(r client.Rollout, n int) (w wave) {
	w.N, w.RolloutCounts, w.Open = n+1, r.Waves[n], n < r.Open
	if n < len(r.Plan.Waves) {
		w.RolloutWave = r.Plan.Waves[n]
	}
	all := standings(w.Standings)
	for _, s := range all {
		w.Devices += s.N
		if s.N > 0 {
			w.Standing = append(w.Standing, s)
		}
	}
	x := 0
	for _, s := range all {
		if wide := s.N * 1000 / max(w.Devices, 1); wide > 0 {
			w.Parts = append(w.Parts, part{barClass(s.Word), x, wide})
			x += wide
		}
	}
	w.Share = max(0, w.Failed-w.Acknowledged) * 100 / max(w.Devices, 1)
	return w
}

// rolloutPage is a rollout and how it goes; of a draft, what it would do.
type rolloutPage struct {
	client.Rollout
	Stages []wave
	Limit  int
	Total  int
	Verbs  []string
	Plan   *client.RolloutPreview
	// Unplanned is why a draft cannot be planned, "" if it can.
	Unplanned string
	Percent   int
}

// verbs are the orders that a state takes.
var verbs = map[string][]string{
	"draft":             {"start", "edit"},
	"awaiting-approval": {"approve", "abort"},
	"scheduled":         {"pause", "abort"},
	"running":           {"next", "pause", "abort", "retry", "skip", "replace"},
	"paused":            {"resume", "next", "abort", "retry", "skip", "replace"},
	"finished":          {"roll-back"},
	"aborted":           {"roll-back"},
}

func rollout(v *frame.Visit) error {
	r, err := v.API.Rollout(v.Context(), v.Path("rollout"))
	if err != nil {
		return err
	}
	p := rolloutPage{Rollout: r, Limit: 1}
	if is := r.Plan.MaxFailedShare; is != nil {
		p.Limit = *is
	}
	for n := range r.Waves {
		p.Stages = append(p.Stages, waveOf(r, n))
		p.Total += p.Stages[n].Devices
	}
	p.Percent = (r.Counts.Done + r.Counts.Had) * 100 / max(p.Total, 1)
	if v.May("devices") {
		p.Verbs = slices.DeleteFunc(slices.Clone(verbs[r.State]), func(verb string) bool {
			own := slices.Contains(r.Authors, v.Who.Name)
			return verb == "approve" && own || verb == "next" && r.Open >= len(r.Waves)
		})
	}
	if r.State == "draft" {
		plan, err := v.API.PlanRollout(v.Context(), r.ID)
		var e *client.Error
		switch {
		case err == nil:
			p.Plan = &plan
		case errors.As(err, &e):
			p.Unplanned = e.Error()
		default:
			return err
		}
	}
	return v.Show("rollout", p)
}

func rolloutDevices(v *frame.Visit) error {
	id, q := v.Path("rollout"), url.Values{}
	if is := v.Query("standing"); is != "" {
		q.Set("standing", is)
	}
	rows, err := frame.Read[client.RolloutDevice](v, frame.At("rollouts", id)+"/devices", q, 0)
	if err != nil {
		return err
	}
	return v.Show("rollout-devices", struct {
		frame.Rows[client.RolloutDevice]
		ID, Standing string
		Standings    []string
	}{rows, id, v.Query("standing"), []string{"waiting", "granted", "began", "done", "had", "failed", "skipped",
		"silent"}})
}

// orderFields are the fields that an order to a rollout takes.
func orderFields(v *frame.Visit, verb string, r client.Rollout) ([]frame.Field, error) {
	switch verb {
	case "pause", "abort":
		return []frame.Field{{Name: "why", Label: v.T("Why"),
			Help: v.T("Others read it on this page and in the audit log.")}}, nil
	case "roll-back":
		fields := []frame.Field{{Name: "id", Label: v.T("Name of the rollout that takes it back"), Required: true,
			Value: r.ID + "-back"}, {Name: "own", Label: v.T("It goes by a plan of its own"), Kind: "check", Rare: true,
			Help: v.T("Without this all devices go back as soon as they may.")}}
		plan := drafts.PlanFields(v)
		for i := range plan {
			plan[i].Rare = true
		}
		return append(fields, plan...), nil
	case "replace":
		return replaceFields(v, r)
	case "retry":
		reasons := []frame.Option{{Value: "", Label: v.T("any")}}
		for _, code := range slices.Sorted(maps.Keys(r.Reasons)) {
			reasons = append(reasons, frame.Option{Value: code, Label: wording.Why(v.JA, code, "")})
		}
		return []frame.Field{{Name: "devices", Label: v.T("Only these devices"), Kind: "area",
			Help: v.T("One in a line. Empty: all that have failed.")},
			{Name: "reason", Label: v.T("Only those that failed for this reason"), Kind: "select", Options: reasons}}, nil
	case "skip":
		return []frame.Field{{Name: "devices", Label: v.T("Devices to skip"), Kind: "area", Required: true,
			Help: v.T("One in a line.")}}, nil
	}
	return nil, nil
}

// replaceFields let one of the loads that a rollout brings give way to another load.
func replaceFields(v *frame.Visit, r client.Rollout) ([]frame.Field, error) {
	all, _, err := frame.SoftwareOptions(v)
	if err != nil {
		return nil, err
	}
	brought := []string{r.Ask.Load}
	if r.Ask.Release != "" {
		is, err := v.API.Releases.Get(v.Context(), r.Ask.Release)
		if err != nil && !errors.Is(err, client.NotFound) {
			return nil, err
		}
		brought = is.Loads
	}
	var from []frame.Option
	for _, name := range brought {
		for _, was := range r.Replaced {
			if was.From == name {
				name = was.To
			}
		}
		if name != "" {
			from = append(from, frame.Option{Value: name, Label: name})
		}
	}
	if len(from) == 0 { // it takes back another one: devices get what they had
		from = all
	}
	return []frame.Field{{Name: "from", Label: v.T("Load that gives way"), Kind: "select", Required: true, Options: from},
		{Name: "to", Label: v.T("Load that takes its place"), Kind: "select", Required: true, Options: all}}, nil
}

// orderRollout asks before an order is given to a rollout, and says whom it touches.
func orderRollout(v *frame.Visit) error {
	id, verb := v.Path("rollout"), v.Path("verb")
	if !slices.Contains(slices.Concat(slices.Collect(maps.Values(verbs))...), verb) {
		return &client.Error{Status: http.StatusNotFound, Kind: client.NotFound, Detail: "a rollout takes no such order"}
	}
	r, err := v.API.Rollout(v.Context(), id)
	if err != nil {
		return err
	}
	fields, err := orderFields(v, verb, r)
	if err != nil {
		return err
	}
	path := frame.At("rollouts", id)
	o := client.RolloutOrder{Why: v.Form("why"), ID: v.Form("id"), From: v.Form("from"), To: v.Form("to"),
		Reason: v.Form("reason"), Devices: strings.Fields(v.Form("devices"))}
	f := frame.Form{Title: v.T("verb "+verb) + ": " + id, Action: path + "/order/" + verb, Back: path,
		Button: v.T("verb " + verb), Danger: verb == "abort" || verb == "roll-back" || verb == "skip",
		Fields: fields, Intro: v.T("about " + verb)}
	if v.R.Method == http.MethodPost {
		return sendToRollout(v, f, id, verb, o)
	}
	f.Hidden = frame.VersionField(r.Version)
	page := struct {
		frame.Form
		Reach   *client.Reach
		LeftOut map[string]int
		Refused string
	}{Form: f}
	if len(f.Fields) == 0 || verb == "pause" || verb == "abort" {
		v.Guard(v.CSRF()) // a dry run changes nothing
		dry, err := v.API.OrderRollout(v.Context(), id, verb, o, r.Version, true)
		var e *client.Error
		switch {
		case err == nil:
			page.Reach, page.LeftOut = &dry.Reach, dry.LeftOut
		case errors.As(err, &e):
			page.Refused = e.Error()
		default:
			return err
		}
	}
	return v.Show("rollout-order", page)
}

// sendToRollout gives an order to a rollout, and shows what came of it.
func sendToRollout(v *frame.Visit, f frame.Form, id, verb string, o client.RolloutOrder) error {
	f.Hidden = map[string]string{"version": v.Form("version")}
	if v.Form("own") == "on" {
		plan, err := drafts.Plan(v)
		if err != nil {
			return v.Again(f, err)
		}
		o.Plan = &plan
	}
	done, err := v.API.OrderRollout(v.Context(), id, verb, o, frame.VersionOf(v), false)
	if err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("Done: %s", f.Title), "")
	if done.Other != nil {
		return v.Go(frame.At("rollouts", done.Other.ID))
	}
	return v.Go(frame.At("rollouts", id))
}

// TargetText says which devices a rollout is for.
func (p rolloutPage) TargetText(v *frame.Visit) string {
	t := p.Ask.Target
	var said []string
	say := func(en, is string) {
		if is != "" {
			said = append(said, v.T(en, is))
		}
	}
	say("site %s", t.Site)
	say("profile %s", t.Profile)
	say("model %s", t.Model)
	say("named like %s", t.Text)
	if len(t.Devices) > 0 {
		said = append(said, v.T("%s {device|devices}", strconv.Itoa(len(t.Devices))))
	}
	if len(said) == 0 {
		said = append(said, v.T("all devices"))
	}
	if t.Percent > 0 {
		said = append(said, v.T("%d %% of them", t.Percent))
	}
	return strings.Join(said, ", ")
}
