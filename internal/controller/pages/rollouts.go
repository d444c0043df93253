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
	"github.com/peerload/peerload/internal/controller/pages/frame"
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
	w.Share = max(0, w.Failed-w.Forgiven) * 100 / max(w.Devices, 1)
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
			return verb == "approve" && own || verb == "next" && r.Open >= len(r.Waves) || verb == "edit" && !guided(r)
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

// rolloutForm is the guided form of a draft.
func rolloutForm(v *frame.Visit) (f frame.Form, err error) {
	loads, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return f, err
	}
	models, sites, profiles, err := frame.DeviceOptions(v)
	if err != nil {
		return f, err
	}
	every := []frame.Option{{Value: "", Label: v.T("all")}}
	return frame.Form{Title: v.T("New rollout"), Action: "/rollouts/new", Back: "/rollouts",
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
			{Name: "waves", Label: v.T("Waves, in percent of the devices"), Value: "5 25 100",
				Help: v.T("One number for each wave, the waves before it included. The last wave takes all that are left.")},
			{Name: "opener", Label: v.T("What opens the next wave"), Kind: "select", Value: "success", Options: []frame.Option{
				{Value: "success", Label: v.T("enough devices are done, for long enough")},
				{Value: "person", Label: v.T("a person")}}},
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
		}}, nil
}

func newRollout(v *frame.Visit) error {
	f, err := rolloutForm(v)
	if err != nil {
		return err
	}
	if v.R.Method == http.MethodGet {
		for i, is := range f.Fields {
			if said := v.Query(is.Name); said != "" {
				f.Fields[i].Value = said
			}
		}
		return v.Show("form", f)
	}
	change, wrong, text := rolloutChange(v)
	if wrong != "" {
		f.Fill(v)
		for i := range f.Fields {
			if f.Fields[i].Name == wrong {
				f.Fields[i].Error = text
			}
		}
		v.Status(http.StatusUnprocessableEntity)
		return v.Show("form", f)
	}
	r, err := v.API.CreateRollout(v.Context(), v.Form("id"), change)
	if err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("The draft is made. Look at what it would do, and start it."), "")
	return v.Go(frame.At("rollouts", r.ID))
}

// editRollout changes a draft.
func editRollout(v *frame.Visit) error {
	r, err := v.API.Rollout(v.Context(), v.Path("rollout"))
	if err != nil {
		return err
	}
	f, err := rolloutForm(v)
	if err != nil {
		return err
	}
	path := frame.At("rollouts", r.ID)
	f.Title, f.Action, f.Back, f.Button = v.T("Change %s", r.ID), path+"/order/edit", path, v.T("Save")
	f.Fields, f.Hidden = f.Fields[1:], frame.VersionField(r.Version)
	fillDraft(&f, r)
	return frame.Save(v, f, func() (string, error) {
		change, wrong, text := rolloutChange(v)
		if wrong != "" {
			return "", frame.WrongField(wrong, text)
		}
		// What the form does not have stays as it is.
		p, was := change.Plan, r.Plan
		p.Silence, p.Lost, p.Longest, p.Retry = was.Silence, was.Lost, was.Longest, was.Retry
		p.DownloadAnytime, p.Valid, p.Deadline, p.AskEvery = was.DownloadAnytime, was.Valid, was.Deadline, was.AskEvery
		_, err := v.API.UpdateRollout(v.Context(), r.ID, change, frame.VersionOf(v))
		return path, err
	})
}

// fillDraft puts a draft into its form.
func fillDraft(f *frame.Form, r client.Rollout) {
	is := map[string]string{"release": r.Ask.Release, "load": r.Ask.Load, "site": r.Ask.Target.Site,
		"profile": r.Ask.Target.Profile, "model": r.Ask.Target.Model, "max_failed": strconv.Itoa(r.Plan.MaxFailed),
		"windows": strings.Join(r.Plan.Windows, "; ")}
	var percents []string
	for _, w := range r.Plan.Waves {
		percents = append(percents, strconv.Itoa(w.Percent))
	}
	is["waves"] = strings.Join(percents, " ")
	if len(r.Plan.Waves) > 0 {
		w := r.Plan.Waves[0]
		is["opener"], is["soak"] = w.Opener, w.Soak
		if w.Success > 0 {
			is["success"] = strconv.Itoa(w.Success)
		}
	}
	if r.Plan.MaxFailedShare != nil {
		is["max_failed_share"] = strconv.Itoa(*r.Plan.MaxFailedShare)
	}
	if !r.Plan.Start.IsZero() {
		is["start"] = r.Plan.Start.UTC().Format("2006-01-02T15:04")
	}
	for name, on := range map[string]bool{"approval": r.Plan.Approval, "leave_out": r.Plan.LeaveOut} {
		if on {
			is[name] = "on"
		}
	}
	for i, field := range f.Fields {
		if value, ok := is[field.Name]; ok {
			f.Fields[i].Value = value
		}
	}
}

// guided reports whether the form can say all that a draft says.
func guided(r client.Rollout) bool {
	t := r.Ask.Target
	for _, w := range r.Plan.Waves {
		if w.Percent == 0 || w.Opener == "external" {
			return false
		}
	}
	return t.Text == "" && len(t.Devices) == 0 && t.Percent == 0 && r.Ask.Check == "" && len(r.Plan.Retry.Reasons) == 0 &&
		r.Plan.Deadline.IsZero() && !r.Plan.DownloadAnytime && (r.Plan.Silence.Rule == "" || r.Plan.Silence.Rule == "wait")
}

// rolloutChange reads the form of a draft; wrong is a field that cannot be read, and
// text says why.
func rolloutChange(v *frame.Visit) (c client.RolloutChange, wrong, text string) {
	load, release := v.Form("load"), v.Form("release")
	switch {
	case load == "" && release == "":
		return c, "release", v.T("Choose what it brings: a release or a load.")
	case load != "" && release != "":
		return c, "load", v.T("Choose a load or a release, not both.")
	case load != "":
		c.Load = &load
	default:
		c.Release = &release
	}
	t := client.RolloutTarget{Site: v.Form("site"), Profile: v.Form("profile"), Model: v.Form("model")}
	t.All = t.Site == "" && t.Profile == "" && t.Model == ""
	p := client.RolloutPlan{Approval: v.Form("approval") == "on", LeaveOut: v.Form("leave_out") == "on"}
	numbers := map[string]int64{}
	for _, name := range []string{"success", "max_failed", "max_failed_share"} {
		n, ok := frame.Int(v.Form(name))
		if !ok || n < 0 || n > 1_000_000 {
			return c, name, v.T("This is not a valid number.")
		}
		numbers[name] = n
	}
	share := int(numbers["max_failed_share"])
	p.MaxFailed, p.MaxFailedShare = int(numbers["max_failed"]), &share
	percents := strings.FieldsFunc(v.Form("waves"), func(r rune) bool { return strings.ContainsRune(" ,、%", r) })
	for i, text := range percents {
		n, ok := frame.Int(text)
		if !ok || n < 1 || n > 100 {
			return c, "waves", v.T("Write numbers from 1 to 100, for example 5 25 100.")
		}
		w := client.RolloutWave{Percent: int(n)}
		if i < len(percents)-1 {
			w.Opener, w.Success, w.Soak = v.Form("opener"), int(numbers["success"]), v.Form("soak")
		}
		p.Waves = append(p.Waves, w)
	}
	for window := range strings.SplitSeq(v.Form("windows"), ";") {
		if window = strings.TrimSpace(window); window != "" {
			p.Windows = append(p.Windows, window)
		}
	}
	if is := v.Form("start"); is != "" {
		at, ok := frame.Moment(is)
		if !ok {
			return c, "start", v.T("Write a date and a time.")
		}
		p.Start = at
	}
	c.Target, c.Plan = &t, &p
	return c, "", ""
}

// orderFields are the fields that an order to a rollout takes.
func orderFields(v *frame.Visit, verb, id string) []frame.Field {
	switch verb {
	case "pause", "abort":
		return []frame.Field{{Name: "why", Label: v.T("Why"), Help: v.T("Others read it on this page and in the audit log.")}}
	case "roll-back":
		return []frame.Field{{Name: "id", Label: v.T("Name of the rollout that takes it back"), Required: true,
			Value: id + "-back"}}
	case "replace":
		return []frame.Field{{Name: "from", Label: v.T("Load that gives way"), Required: true},
			{Name: "to", Label: v.T("Load that takes its place"), Required: true}}
	case "retry":
		return []frame.Field{{Name: "devices", Label: v.T("Only these devices"), Kind: "area",
			Help: v.T("One in a line. Empty: all that have failed.")},
			{Name: "reason", Label: v.T("Only those that failed for this reason")}}
	case "skip":
		return []frame.Field{{Name: "devices", Label: v.T("Devices to skip"), Kind: "area", Required: true,
			Help: v.T("One in a line.")}}
	}
	return nil
}

// orderRollout asks before an order is given to a rollout, and says whom it touches.
func orderRollout(v *frame.Visit) error {
	id, verb := v.Path("rollout"), v.Path("verb")
	if !slices.Contains(slices.Concat(slices.Collect(maps.Values(verbs))...), verb) {
		return &client.Error{Status: http.StatusNotFound, Kind: client.NotFound, Detail: "a rollout takes no such order"}
	}
	path := frame.At("rollouts", id)
	o := client.RolloutOrder{Why: v.Form("why"), ID: v.Form("id"), From: v.Form("from"), To: v.Form("to"),
		Reason: v.Form("reason"), Devices: strings.Fields(v.Form("devices"))}
	f := frame.Form{Title: v.T("verb "+verb) + ": " + id, Action: path + "/order/" + verb, Back: path,
		Button: v.T("verb " + verb), Danger: verb == "abort" || verb == "roll-back" || verb == "skip",
		Fields: orderFields(v, verb, id), Intro: v.T("about " + verb)}
	if v.R.Method == http.MethodPost {
		done, err := v.API.OrderRollout(v.Context(), id, verb, o, frame.VersionOf(v), false)
		f.Hidden = map[string]string{"version": v.Form("version")}
		if err != nil {
			return v.Again(f, err)
		}
		v.Say(v.T("Done: %s", f.Title), "")
		if done.Other != nil {
			return v.Go(frame.At("rollouts", done.Other.ID))
		}
		return v.Go(path)
	}
	r, err := v.API.Rollout(v.Context(), id)
	if err != nil {
		return err
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
		said = append(said, v.T("%s devices", strconv.Itoa(len(t.Devices))))
	}
	if len(said) == 0 {
		said = append(said, v.T("all devices"))
	}
	if t.Percent > 0 {
		said = append(said, v.T("%d %% of them", t.Percent))
	}
	return strings.Join(said, ", ")
}
