package pages

import (
	"cmp"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

const (
	// maxTable bounds the file of a table: as many bytes as the API takes.
	maxTable = 8 << 20
	// planRows bounds the rows of a plan that are shown; all with a problem come first.
	planRows = 500
)

// bulkPage is where tables are brought, with the changes so far.
type bulkPage struct {
	Jobs      []client.Job
	Templates []client.Template
	Options   map[string]bool
	Problem   *frame.Problem
}

// bulkOptions are how a table is treated, by the names of their fields.
var bulkOptions = []string{"create", "skip_bad", "any_model"}

func bulk(v *frame.Visit) error { return showBulk(v, nil) }

func showBulk(v *frame.Visit, problem *frame.Problem) error {
	p := bulkPage{Problem: problem, Options: map[string]bool{}}
	for _, name := range bulkOptions {
		p.Options[name] = v.R.Method == "POST" && v.R.PostFormValue(name) != ""
	}
	jobs, err := frame.All(v, v.API.Jobs, client.Filter{})
	if err != nil {
		return err
	}
	slices.Reverse(jobs)
	p.Jobs = jobs[:min(len(jobs), frame.PageRows)]
	if p.Templates, err = frame.All(v, v.API.Templates, client.Filter{Limit: frame.Choices}); err != nil {
		return err
	}
	return v.Show("bulk", p)
}

// tablePlan is what a table, or a query, would do, line by line.
type tablePlan struct {
	client.JobPlan
	File, Table string
	Options     []string
	// Hidden come back as they are when the plan is carried out.
	Hidden map[string]string
	// More counts the rows that are not shown.
	More int
	// Else is why the plan is shown again: it is another one by now.
	Else string
}

// Back is where whoever does not want the plan goes.
func (p tablePlan) Back() string {
	if p.Hidden["by"] == byQuery {
		return "/bulk/query"
	}
	return "/bulk"
}

// Wrong reports whether nothing would be written, for a row that is wrong.
func (p tablePlan) Wrong() bool {
	return p.Counts.Refused > 0 && !slices.Contains(p.Options, "skip_bad")
}

// jobRequest is what the form says of a table.
func jobRequest(v *frame.Visit, name string, b []byte) (r client.JobRequest, err error) {
	at, ok := frame.Moment(v.Form("at"))
	if v.Form("at") != "" && !ok {
		return r, frame.WrongField("at", v.T("Write a date and a time."))
	}
	on := func(name string) bool { return v.R.PostFormValue(name) != "" }
	return client.JobRequest{Name: name, Table: b, Template: v.Form("template"), At: at,
		JobOptions: client.JobOptions{Create: on("create"), SkipBad: on("skip_bad"), AnyModel: on("any_model")}}, nil
}

// planBulk says what would become of each line of a table.
func planBulk(v *frame.Visit) error {
	b, name, err := v.File("table", maxTable)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		v.Status(422)
		return showBulk(v, &frame.Problem{Title: v.T("Choose a table: a CSV or xlsx file with a line for each device.")})
	}
	var plan client.JobPlan
	r, err := jobRequest(v, name, b)
	if err == nil {
		plan, err = v.API.PlanJob(v.Context(), r)
	}
	if problem, ok := v.Wrong(err); ok {
		v.Status(problem.Status)
		return showBulk(v, &problem)
	}
	if err != nil {
		return err
	}
	return showPlan(v, tablePlan{JobPlan: plan, File: name, Table: base64.StdEncoding.EncodeToString(b),
		Hidden: map[string]string{"file": name, "template": v.Form("template"), "at": v.Form("at"), "shown": plan.Shown}})
}

// showPlan shows what a job would do, and asks before it is made.
func showPlan(v *frame.Visit, p tablePlan) error {
	for _, name := range bulkOptions {
		if v.R.PostFormValue(name) != "" {
			p.Options = append(p.Options, name)
		}
	}
	slices.SortStableFunc(p.Rows, func(a, b client.JobRow) int { return wrongFirst(b) - wrongFirst(a) })
	if len(p.Rows) > planRows {
		p.More, p.Rows = len(p.Rows)-planRows, p.Rows[:planRows]
	}
	return v.Show("bulk-plan", p)
}

func wrongFirst(r client.JobRow) int {
	if r.Problem != "" {
		return 1
	}
	return 0
}

// runBulk carries a table out that was shown.
func runBulk(v *frame.Visit) error {
	if _, _, err := v.File("none", maxTable*2); err != nil {
		return err
	}
	var r client.JobRequest
	if v.Form("by") == byQuery {
		var err error
		if r, err = queryRequest(v); err != nil {
			return err
		}
	} else {
		b, ok := frame.Packed(v.Form("table"))
		if !ok {
			return frame.WrongField("table", "the form is damaged: bring the table again")
		}
		var err error
		if r, err = jobRequest(v, v.Form("file"), b); err != nil {
			return err
		}
	}
	r.Shown = v.Form("shown")
	j, err := v.API.CreateJob(v.Context(), r)
	if errors.Is(err, client.Conflict) {
		return planAgain(v, r, err)
	}
	if problem, ok := v.Wrong(err); ok {
		v.Status(problem.Status)
		return showBulk(v, &problem)
	}
	if err != nil {
		return err
	}
	return v.Go(frame.At("bulk", j.ID))
}

// planAgain shows the plan of a job that would change something else by now than was
// shown.
func planAgain(v *frame.Visit, r client.JobRequest, why error) error {
	plan, err := v.API.PlanJob(v.Context(), r)
	if err != nil {
		return err
	}
	p := tablePlan{JobPlan: plan, File: plan.Name, Table: v.Form("table"), Hidden: map[string]string{}}
	for name := range v.R.PostForm {
		if name != "csrf" && name != "table" && !slices.Contains(bulkOptions, name) {
			p.Hidden[name] = v.R.PostFormValue(name)
		}
	}
	p.Hidden["shown"], p.Else = plan.Shown, why.Error()
	v.Status(http.StatusConflict)
	return showPlan(v, p)
}

// jobPage is a bulk change and how far it is.
type jobPage struct {
	client.Job
	Percent        int
	Runs, Undoable bool
	Rows           frame.Rows[client.JobRow]
	Bad            bool
}

func bulkJob(v *frame.Visit) error {
	j, err := v.API.Job(v.Context(), v.Path("job"))
	if err != nil {
		return err
	}
	p := jobPage{Job: j, Runs: jobRuns(j), Bad: v.Query("bad") != ""}
	p.Percent = j.Verified * 100 / max(j.Steps, 1)
	p.Undoable = v.May("devices") && (j.State == "done" || j.State == "waiting" || j.State == "running")
	q := search(v)
	if p.Bad {
		q.Set("bad", "true")
	}
	if p.Rows, err = frame.Read[client.JobRow](v, frame.At("jobs", j.ID)+"/rows", q, 0); err != nil {
		return err
	}
	return v.Show("bulk-job", p)
}

func undoJob(v *frame.Visit) error {
	j, err := v.API.Job(v.Context(), v.Path("job"))
	if err != nil {
		return err
	}
	path := frame.At("bulk", j.ID)
	changed := j.Counts.Changed + j.Counts.Created
	return frame.Sure(v, v.T("Take back what %s has changed", j.Name),
		v.Sentences(v.T("%d {device gets back what it|devices get back what they} had before.", changed),
			v.T("Those that others have changed since are kept, and told of.")),
		path, path, func() error { _, err := v.API.UndoJob(v.Context(), j.ID, true); return err })
}

// changesText is what was changed, for people.
func changesText(v *frame.Visit, changes []client.FieldChange) string {
	var out []string
	say := func(field string, is *string) string {
		if is == nil {
			return v.T("not set")
		}
		if said := frame.Value(v.JA, field, *is); said.Code != "" {
			return said.Text
		}
		return strconv.Quote(*is)
	}
	for _, c := range changes {
		out = append(out, fieldName(v, c.Field)+": "+say(c.Field, c.Old)+" → "+say(c.Field, c.New))
	}
	return strings.Join(out, ", ")
}

// Changed is what a row of a plan or a job changes.
func (tablePlan) Changed(v *frame.Visit, r client.JobRow) string { return changesText(v, r.Changes) }

// Changed is what a row of a plan or a job changes.
func (jobPage) Changed(v *frame.Visit, r client.JobRow) string { return changesText(v, r.Changes) }

// byQuery says in a form that a query finds the devices of a job, and no table.
const byQuery = "query"

// setFields are the fields of what each of many devices gets.
func setFields(v *frame.Visit, is client.DeviceChange) (fields []frame.Field, err error) {
	models, sites, profiles, err := frame.DeviceOptions(v)
	if err != nil {
		return nil, err
	}
	loads, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return nil, err
	}
	pick := func(name, label string, now *string, options ...[]frame.Option) {
		f := frame.Field{Name: name, Label: label, Kind: "select", Value: notSet,
			Options: slices.Concat([]frame.Option{{Value: notSet, Label: v.T("left as it is")}}, slices.Concat(options...))}
		if now != nil {
			f.Value = *now
		}
		fields = append(fields, f)
	}
	pick("set_model", v.T("New model"), is.Model, models)
	pick("set_site", v.T("New site"), is.Site, frame.NoOption(v), sites)
	pick("set_profile", v.T("New profile"), is.Profile, frame.NoOption(v), profiles)
	pick("set_load", v.T("Load at the level of the device"), is.Load, frame.NoOption(v), loads)
	pick("set_release", v.T("or release"), is.Release, frame.NoOption(v), releases)
	description := frame.Field{Name: "set_description", Label: v.T("New description"),
		Help: v.T("Empty: left as it is.")}
	if is.Description != nil {
		description.Value = *is.Description
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(is.Settings.Set)) {
		lines = append(lines, name+"="+is.Settings.Set[name])
	}
	for _, name := range is.Settings.Unset {
		lines = append(lines, "-"+name)
	}
	return append(fields, description, frame.Field{Name: "set_settings", Label: v.T("Settings of each device"),
		Kind: "area", Value: strings.Join(lines, "\n"),
		Help: v.T("One in a line: wan-limit=200k sets one, -wan-limit leaves it to the levels below.")}), nil
}

// setOf reads the fields of what each of many devices gets.
func setOf(v *frame.Visit) (c client.DeviceChange, err error) {
	for name, field := range map[string]**string{"set_model": &c.Model, "set_site": &c.Site, "set_profile": &c.Profile,
		"set_load": &c.Load, "set_release": &c.Release} {
		if is := v.Form(name); v.R.PostForm.Has(name) && is != notSet {
			*field = &is
		}
	}
	if is := v.Form("set_description"); is != "" {
		c.Description = &is
	}
	for line := range strings.Lines(v.Form("set_settings")) {
		line = strings.TrimSpace(line)
		name, value, set := strings.Cut(line, "=")
		unset, away := strings.CutPrefix(line, "-")
		switch {
		case line == "":
		case away && !set:
			c.Settings.Unset = append(c.Settings.Unset, unset)
		case set && name != "":
			if c.Settings.Set == nil {
				c.Settings.Set = map[string]string{}
			}
			c.Settings.Set[strings.TrimSpace(name)] = strings.TrimSpace(value)
		default:
			return c, frame.WrongField("set_settings", v.T("This line is neither name=value nor -name: %s", line))
		}
	}
	return c, nil
}

// findNames are the fields that find the devices of a query.
var findNames = []string{"text", "model", "site", "profile"}

// queryRequest is what a form says of the devices that a query finds.
func queryRequest(v *frame.Visit) (r client.JobRequest, err error) {
	if r, err = jobRequest(v, v.Form("name"), nil); err != nil {
		return r, err
	}
	r.Query = &client.JobQuery{Text: v.Form("text"), Model: v.Form("model"), Site: v.Form("site"),
		Profile: v.Form("profile")}
	r.Set, err = setOf(v)
	return r, err
}

// bulkQuery changes all devices that a query finds; the address may say which.
func bulkQuery(v *frame.Visit) error {
	f := frame.Form{Title: v.T("Change all devices that match"), Action: "/bulk/query", Back: "/bulk",
		Button: v.T("Show the plan"), Intro: v.T("Nothing is changed before you have seen the plan.")}
	set, err := setFields(v, client.DeviceChange{})
	if err != nil {
		return err
	}
	all := []frame.Option{{Value: "", Label: v.T("all")}}
	for i, name := range []string{"set_model", "set_site", "set_profile"} {
		find := findNames[i+1]
		some := slices.DeleteFunc(slices.Clone(set[i].Options),
			func(o frame.Option) bool { return o.Value == notSet || o.Value == "" })
		label := map[string]string{"set_model": v.T("Devices of the model"), "set_site": v.T("Devices of the site"),
			"set_profile": v.T("Devices of the profile")}[name]
		f.Fields = append(f.Fields, frame.Field{Name: find, Label: label, Kind: "select", Value: v.Query(find),
			Options: slices.Concat(all, some)})
	}
	f.Fields = append(f.Fields, frame.Field{Name: "text", Label: v.T("Whose name or description has"),
		Value: v.Query("text")})
	f.Fields = append(f.Fields, set...)
	f.Fields = append(f.Fields, frame.Field{Name: "at", Label: v.T("Begins at (UTC)"), Kind: "datetime-local",
		Help: v.T("Empty: at once.")})
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	r, err := queryRequest(v)
	if err == nil && len(said(v, r.Set, nil)) == 0 {
		err = frame.WrongField("set_model", v.T("Choose something to change: a value below, or a setting."))
	}
	if err != nil {
		return v.Again(f, err)
	}
	plan, err := v.API.PlanJob(v.Context(), r)
	if err != nil {
		return v.Again(f, err)
	}
	hidden := map[string]string{"by": byQuery, "shown": plan.Shown}
	for name := range v.R.PostForm {
		if name != "csrf" {
			hidden[name] = v.R.PostFormValue(name)
		}
	}
	return showPlan(v, tablePlan{JobPlan: plan, File: plan.Name, Hidden: hidden})
}

// templateList are the values for devices of which a table says nothing else.
func templateList(v *frame.Visit) error {
	all, err := frame.All(v, v.API.Templates, client.Filter{Limit: frame.Choices})
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Templates"), Tabs: configTabs(v),
		Actions: only(v.MayAll("devices"), action{Text: v.T("New template"), Path: "/templates/new"}),
		Empty:   v.T("No template yet. A template has values for the devices of a table that leaves them open."),
		Table:   table{Head: []string{v.T("Template"), v.T("Note"), v.T("What it says"), v.T("Since")}}}
	labels, err := settingLabels(v)
	if err != nil {
		return err
	}
	for _, t := range all {
		p.Table.Rows = append(p.Table.Rows, []cell{link(t.Name, "templates", t.Name), text(t.Note),
			text(strings.Join(said(v, t.Change, labels).lines(), ", ")), moment(t.Changed)})
	}
	return v.Show("listing", p)
}

// parts are what a change of a device says: names and values.
type parts [][2]string

func (p parts) lines() (all []string) {
	for _, is := range p {
		all = append(all, is[0]+": "+is[1])
	}
	return all
}

// said is what a change of a device says, for people; labels are those of settings.
func said(v *frame.Visit, c client.DeviceChange, labels map[string]string) (all parts) {
	for _, is := range []struct {
		name  string
		value *string
	}{{v.T("Model"), c.Model}, {v.T("Site"), c.Site}, {v.T("Profile"), c.Profile}, {v.T("Load"), c.Load},
		{v.T("Release"), c.Release}, {v.T("Description"), c.Description}} {
		if is.value != nil {
			all = append(all, [2]string{is.name, cmp.Or(*is.value, v.T("none"))})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Settings.Set)) {
		all = append(all, [2]string{labelled(labels, name), frame.SettingValue(v.JA, name, c.Settings.Set[name])})
	}
	for _, name := range c.Settings.Unset {
		all = append(all, [2]string{labelled(labels, name), v.T("not set")})
	}
	return all
}

// template is the one that the path names.
func template(v *frame.Visit) (t client.Template, err error) {
	return namedTemplate(v, v.Path("template"))
}

func namedTemplate(v *frame.Visit, name string) (t client.Template, err error) {
	all, err := frame.All(v, v.API.Templates, client.Filter{})
	for _, t := range all {
		if t.Name == name {
			return t, nil
		}
	}
	if err == nil {
		err = &client.Error{Status: http.StatusNotFound, Kind: client.NotFound, Detail: "there is no such template"}
	}
	return t, err
}

func templateThing(v *frame.Visit) error {
	t, err := template(v)
	if err != nil {
		return err
	}
	path := frame.At("templates", t.Name)
	p := thing{Title: t.Name, Intro: t.Note, Tabs: configTabs(v), Actions: only(v.MayAll("devices"),
		action{Text: v.T("Change"), Path: path + "/edit", Second: true},
		action{Text: v.T("Delete"), Path: path + "/delete", Danger: true})}
	labels, err := settingLabels(v)
	if err != nil {
		return err
	}
	for _, is := range said(v, t.Change, labels) {
		p.Know(is[0], text(is[1]))
	}
	return v.Show("thing", p)
}

// saveTemplate shows the form of a template, and saves it when it was sent.
func saveTemplate(v *frame.Visit, f frame.Form, t client.Template) error {
	set, err := setFields(v, t.Change)
	if err != nil {
		return err
	}
	f.Button, f.Intro = v.T("Save"), v.T("A table's own values come first, then those of its template.")
	f.Fields = append(f.Fields, frame.Field{Name: "note", Label: v.T("Note"), Value: t.Note})
	f.Fields = append(f.Fields, set...)
	return frame.Save(v, f, func() (string, error) {
		change, err := setOf(v)
		if err != nil {
			return "", err
		}
		name := cmp.Or(t.Name, v.Form("name"))
		if t.Name == "" {
			if _, err := namedTemplate(v, name); err == nil {
				return "", frame.WrongField("name", v.T("There is a template of this name: change that, or choose another name."))
			}
		}
		read := frame.VersionOf(v)
		if t.Name == "" {
			read = client.Unwritten
		}
		_, err = v.API.PutTemplate(v.Context(), name, v.Form("note"), change, read)
		return frame.At("templates", name), err
	})
}

func newTemplate(v *frame.Visit) error {
	return saveTemplate(v, frame.Form{Title: v.T("New template"), Action: "/templates/new", Back: "/templates",
		Fields: []frame.Field{{Name: "name", Label: v.T("Name"), Required: true}}}, client.Template{})
}

func editTemplate(v *frame.Visit) error {
	t, err := template(v)
	if err != nil {
		return err
	}
	path := frame.At("templates", t.Name)
	return saveTemplate(v, frame.Form{Title: v.T("Change %s", t.Name), Action: path + "/edit", Back: path,
		Hidden: frame.VersionField(t.Version)}, t)
}

func deleteTemplate(v *frame.Visit) error {
	name := v.Path("template")
	return frame.Sure(v, v.T("Delete the template %s", name), v.T("Changes that were made with it stay as they are."),
		frame.At("templates", name), "/templates", func() error { return v.API.DeleteTemplate(v.Context(), name) })
}
