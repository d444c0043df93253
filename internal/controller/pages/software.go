package pages

import (
	"net/http"
	"slices"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// softwareTabs are the pages of what devices run.
func softwareTabs(v *frame.Visit) []tab {
	return []tab{
		{Text: v.T("Loads"), Path: "/loads"},
		{Text: v.T("Releases"), Path: "/releases"},
		{Text: v.T("File sets"), Path: "/filesets"}}
}

// loadState says what may be wrong with a load.
func loadState(v *frame.Visit, l client.Load) cell {
	switch {
	case l.Missing:
		return cell{Text: v.T("missing"), State: "failed"}
	case l.Retired:
		return cell{Text: v.T("retired"), State: "cancelled"}
	case !l.Signed:
		return cell{Text: v.T("not signed"), State: "warn"}
	}
	return cell{Text: v.T("signed"), State: "ok"}
}

func loadList(v *frame.Visit) error {
	q := search(v)
	if v.Query("retired") != "" {
		q.Set("retired", "true")
	}
	rows, err := frame.Read[client.Load](v, "/loads", q, 0)
	if err != nil {
		return err
	}
	may := v.MayAll("loads")
	p := listing{Title: v.T("Loads"), Tabs: softwareTabs(v), Pages: frame.PagesOf(rows), Search: v.T("Name"),
		Actions: only(may, action{Text: v.T("Add a load"), Path: "/loads/new"}),
		Empty:   v.T("No load yet. A load has the files that devices of some models run; it is signed when it is added."),
		Table:   table{Head: []string{v.T("Load"), v.T("Version"), v.T("Models"), v.T("Size"), v.T("State"), v.T("Since")}}}
	p.Actions = append(p.Actions, only(may, action{Text: v.T("Register an unsigned load"), Path: "/loads/unsigned",
		Second: true})...)
	p.Actions = append(p.Actions, only(may && len(rows.Items) > 0, action{Text: v.T("Check all"), Path: "/loads/verify",
		Second: true})...)
	for _, l := range rows.Items {
		p.Table.Rows = append(p.Table.Rows, []cell{link(l.Name, "loads", l.Name), text(l.Release),
			text(strings.Join(l.Models, ", ")), text(frame.Bytes(l.Size)), loadState(v, l), moment(l.Created)})
	}
	return v.Show("listing", p)
}

// loadFacts tell of a load, or of a file set.
func loadFacts(v *frame.Visit, p *thing, l client.Load) {
	p.Know(v.T("Version"), text(l.Release))
	p.Know(v.T("Models"), text(strings.Join(l.Models, ", ")))
	p.Know(v.T("Size"), text(frame.Bytes(l.Size)))
	p.Know(v.T("State"), loadState(v, l))
	p.Know(v.T("May be installed from"), text(strings.Join(l.From, ", ")))
	p.Know(v.T("Added"), moment(l.Created))
	files := table{Title: v.T("Files, in the order in which devices fetch them"), Head: []string{v.T("File"), v.T("Size"),
		"SHA-256"}}
	for _, c := range l.Components {
		files.Rows = append(files.Rows, []cell{text(c.Name), text(frame.Bytes(c.Size)), text(c.SHA256)})
	}
	p.Tables = append(p.Tables, files)
}

// retireAction takes out of use, or back.
func retireAction(v *frame.Visit, l client.Load, path string) action {
	if l.Retired {
		return action{Text: v.T("Take back into use"), Path: path + "/retire", Second: true}
	}
	return action{Text: v.T("Retire"), Path: path + "/retire", Danger: true}
}

func loadThing(v *frame.Visit) error {
	l, err := v.API.Load(v.Context(), v.Path("load"))
	if err != nil {
		return err
	}
	path := frame.At("loads", l.Name)
	p := thing{Title: l.Name, Tabs: softwareTabs(v), Actions: only(v.May("devices") && !l.Retired,
		action{Text: v.T("Bring it by a rollout"), Path: "/rollouts/new?" + query("load", l.Name)})}
	p.Actions = append(p.Actions, only(v.MayAll("loads"),
		action{Text: v.T("What it may be installed from"), Path: path + "/from", Second: true}, retireAction(v, l, path))...)
	loadFacts(v, &p, l)
	reach, err := v.API.Reach(v.Context(), l.Name)
	if err != nil {
		return err
	}
	p.Reach = &reach
	p.Know(v.T("Devices"), cell{Text: v.T("Devices that run it"), Link: "/devices?" + query("active", l.Name)},
		cell{Text: v.T("Failures with it"), Link: "/failures?" + query("about", l.Name)})
	return v.Show("thing", p)
}

func retireLoad(v *frame.Visit) error {
	l, err := v.API.Load(v.Context(), v.Path("load"))
	if err != nil {
		return err
	}
	path := frame.At("loads", l.Name)
	return frame.Sure(v, retireAction(v, l, path).Text+": "+l.Name, v.T("A retired load cannot be assigned any more."),
		path, path,
		func() error { _, err := v.API.RetireLoad(v.Context(), l.Name, !l.Retired, l.Version); return err })
}

func loadFrom(v *frame.Visit) error {
	l, err := v.API.Load(v.Context(), v.Path("load"))
	if err != nil {
		return err
	}
	path := frame.At("loads", l.Name)
	f := frame.Form{Title: v.T("What %s may be installed from", l.Name), Action: path + "/from", Back: path,
		Button: v.T("Save"), Hidden: frame.VersionField(l.Version), Fields: []frame.Field{{Name: "from", Kind: "area",
			Label: v.T("Versions"), Value: strings.Join(l.From, "\n"),
			Help: v.T("One in a line; * stands for any text, none for a device that runs no load. Empty: from any.")}}}
	return frame.Save(v, f, func() (string, error) {
		_, err := v.API.SetLoadFrom(v.Context(), l.Name, strings.Fields(v.Form("from")), frame.VersionOf(v))
		return path, err
	})
}

// verifyLoads has every signature and every byte checked.
func verifyLoads(v *frame.Visit) error {
	f := frame.Form{Title: v.T("Check all loads"), Action: "/loads/verify", Back: "/loads", Button: v.T("Check all"),
		Intro: v.T("Every signature and every byte is read: this may take minutes.")}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	all, problem, err := v.API.VerifyLoads(v.Context())
	if err != nil {
		return v.Again(f, err)
	}
	p := listing{Title: v.T("Check of all loads"), Tabs: softwareTabs(v), Intro: v.Refusal(problem),
		Empty: v.T("There is no load to check."), Table: table{Head: []string{v.T("Load"), v.T("State")}}}
	for _, l := range all {
		state := cell{Text: v.T("as signed"), State: "ok"}
		if l.Problem != "" {
			state = cell{Text: v.Refusal(l.Problem), State: "failed"}
		}
		p.Table.Rows = append(p.Table.Rows, []cell{link(l.Name, "loads", l.Name), state})
	}
	return v.Show("listing", p)
}

// replaceField says what becomes of a load, or a file set, whose name is taken.
func replaceField(v *frame.Visit, set bool) frame.Field {
	f := frame.Field{Name: "replace",
		Label: v.T("If its name is assigned in another version, or its version has other files"),
		Kind:  "select", Rare: true, Options: []frame.Option{{Value: "", Label: v.T("refuse this one")},
			{Value: "true", Label: v.T("publish this one in its place")}},
		Help: v.T("Devices that run the other version keep it.")}
	if set {
		f.Label, f.Help = v.T("If its version has other files"), ""
	}
	return f
}

// newLoad is the form of a load, or of a file set, whose files are sent with it.
func newLoad(v *frame.Visit) error {
	models, err := frame.ModelOptions(v)
	if err != nil {
		return err
	}
	sets := strings.HasPrefix(v.R.URL.Path, "/filesets")
	f := frame.Form{Title: v.T("Add a load"), Action: "/loads/new", Back: "/loads", Button: v.T("Sign and publish it"),
		Files: true, Intro: v.T("Devices know a load by its name: give a new version a new name.")}
	if sets {
		f.Title, f.Action, f.Back = v.T("Add a file set"), "/filesets/new", "/filesets"
		f.Intro = v.T("A file set stands beside the load, in a directory of the device.")
	}
	f.Fields = []frame.Field{{Name: "name", Label: v.T("Name"), Required: true},
		{Name: "version", Label: v.T("Version"), Required: true},
		{Name: "model", Label: v.T("Models"), Kind: "select", Many: true, Required: true, Options: models}}
	if sets {
		f.Fields = append(f.Fields, frame.Field{Name: "directory", Label: v.T("Directory"), Required: true,
			Help: v.T("For example ringtones.")})
	} else {
		f.Fields = append(f.Fields, frame.Field{Name: "from", Label: v.T("May be installed from"),
			Help: v.T("Versions that lead to it; * stands for any text. Empty: from any.")})
	}
	f.Fields = append(f.Fields, replaceField(v, sets))
	f.Fields = append(f.Fields, frame.Field{Name: "file", Label: v.T("Files"), Kind: "file", Many: true, Required: true,
		Help: v.T("In the order in which devices fetch them.")})
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	to := "/loads"
	if sets {
		to = "/filesets"
	}
	name, err := v.Upload(to)
	if err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("It is signed and published. Devices get it once it is assigned, or by a rollout."), "")
	return v.Go(frame.At(strings.TrimPrefix(to, "/"), name))
}

// unsignedLoad makes a classic load known whose files somebody else serves.
func unsignedLoad(v *frame.Visit) error {
	models, err := frame.ModelOptions(v)
	if err != nil {
		return err
	}
	f := frame.Form{Title: v.T("Register an unsigned load"), Action: "/loads/unsigned", Back: "/loads",
		Button: v.T("Register it"),
		Intro: v.Sentences(v.T("Its files are on a server already, and nobody signs them."),
			v.T("Devices run it only where the setting for unsigned loads is on.")),
		Fields: []frame.Field{{Name: "name", Label: v.T("Name"), Required: true,
			Help: v.T("That of its .loads file, without the ending.")},
			{Name: "models", Label: v.T("Models"), Kind: "select", Many: true, Required: true, Options: models},
			{Name: "components", Label: v.T("Files"), Kind: "area",
				Help: v.T("One in a line, in the order of the .loads file. Empty: not known.")}}}
	return frame.Save(v, f, func() (string, error) {
		l, err := v.API.RegisterLoad(v.Context(), v.Form("name"), v.R.PostForm["models"],
			strings.Fields(v.Form("components")))
		return frame.At("loads", l.Name), err
	})
}

func releaseList(v *frame.Visit) error {
	rows, err := frame.Read[client.Release](v, "/releases", search(v), 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Releases"), Tabs: softwareTabs(v), Pages: frame.PagesOf(rows), Search: v.T("Name or note"),
		Actions: only(v.MayAll("loads"), action{Text: v.T("New release"), Path: "/releases/new"}),
		Empty:   v.T("No release yet. A release has the loads of several models under one name."),
		Table:   table{Head: []string{v.T("Release"), v.T("Loads"), v.T("Note"), v.T("Since")}}}
	for _, r := range rows.Items {
		p.Table.Rows = append(p.Table.Rows, []cell{link(r.Name, "releases", r.Name), text(strings.Join(r.Loads, ", ")),
			text(r.Note), moment(r.Created)})
	}
	return v.Show("listing", p)
}

func releaseThing(v *frame.Visit) error {
	r, err := v.API.Releases.Get(v.Context(), v.Path("release"))
	if err != nil {
		return err
	}
	path := frame.At("releases", r.Name)
	p := thing{Title: r.Name, Intro: r.Note, Tabs: softwareTabs(v), Actions: only(v.May("devices"),
		action{Text: v.T("Bring it by a rollout"), Path: "/rollouts/new?" + query("release", r.Name)})}
	p.Actions = append(p.Actions, only(v.MayAll("loads"), action{Text: v.T("Change"), Path: path + "/edit", Second: true},
		action{Text: v.T("Delete"), Path: path + "/delete", Danger: true})...)
	t := table{Title: v.T("Loads"), Head: []string{v.T("Load"), v.T("Models"), v.T("State")}}
	for _, name := range r.Loads {
		l, err := v.API.Load(v.Context(), name)
		if err != nil {
			return err
		}
		t.Rows = append(t.Rows, []cell{link(name, "loads", name), text(strings.Join(l.Models, ", ")), loadState(v, l)})
	}
	p.Tables = append(p.Tables, t)
	return v.Show("thing", p)
}

// releaseForm is the form of a release.
func releaseForm(v *frame.Visit, r client.Release) (f frame.Form, err error) {
	loads, _, err := frame.SoftwareOptions(v)
	f = frame.Form{Title: v.T("New release"), Action: "/releases/new", Back: "/releases", Button: v.T("Save"),
		Fields: []frame.Field{{Name: "loads", Label: v.T("Loads"), Kind: "select", Many: true, Options: loads,
			Values: r.Loads,
			Help:   v.T("Each for other models than the others.")}, {Name: "note", Label: v.T("Note"), Value: r.Note}}}
	return f, err
}

func newRelease(v *frame.Visit) error {
	f, err := releaseForm(v, client.Release{})
	if err != nil {
		return err
	}
	f.Fields = slices.Insert(f.Fields, 0, frame.Field{Name: "name", Label: v.T("Name"), Required: true,
		Help: v.T("For example 9.4(2).")})
	return frame.Save(v, f, func() (string, error) {
		note, loads := v.Form("note"), v.R.PostForm["loads"]
		r, err := v.API.Releases.Create(v.Context(), v.Form("name"), client.ReleaseChange{Note: &note, Loads: &loads})
		return frame.At("releases", r.Name), err
	})
}

func editRelease(v *frame.Visit) error {
	r, err := v.API.Releases.Get(v.Context(), v.Path("release"))
	if err != nil {
		return err
	}
	f, err := releaseForm(v, r)
	if err != nil {
		return err
	}
	path := frame.At("releases", r.Name)
	f.Title, f.Action, f.Back, f.Hidden = v.T("Change %s", r.Name), path+"/edit", path, frame.VersionField(r.Version)
	return frame.Save(v, f, func() (string, error) {
		note, loads := v.Form("note"), v.R.PostForm["loads"]
		change := client.ReleaseChange{Note: &note}
		if !slices.Equal(slices.Sorted(slices.Values(loads)), slices.Sorted(slices.Values(r.Loads))) {
			change.Loads = &loads
		}
		_, err := v.API.Releases.Update(v.Context(), r.Name, change, frame.VersionOf(v))
		return path, err
	})
}

func deleteRelease(v *frame.Visit) error {
	name := v.Path("release")
	return frame.Sure(v, v.T("Delete the release %s", name),
		v.T("Its loads stay. A release that is assigned is not deleted."),
		frame.At("releases", name), "/releases",
		func() error { return v.API.Releases.Delete(v.Context(), name, client.AnyVersion) })
}

func setList(v *frame.Visit) error {
	rows, err := frame.Read[client.FileSet](v, "/filesets", search(v), 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("File sets"), Tabs: softwareTabs(v), Pages: frame.PagesOf(rows),
		Search:  v.T("Name or directory"),
		Actions: only(v.MayAll("loads"), action{Text: v.T("Add a file set"), Path: "/filesets/new"}),
		Empty:   v.T("No file set yet. A file set has files beside the load: ring tones, locales."),
		Table: table{Head: []string{v.T("File set"), v.T("Directory"), v.T("Version"), v.T("Models"), v.T("Size"),
			v.T("State")}}}
	for _, s := range rows.Items {
		p.Table.Rows = append(p.Table.Rows, []cell{link(s.Name, "filesets", s.Name), text(s.Directory), text(s.Release),
			text(strings.Join(s.Models, ", ")), text(frame.Bytes(s.Size)), loadState(v, s.Load)})
	}
	return v.Show("listing", p)
}

func setThing(v *frame.Visit) error {
	s, err := v.API.FileSet(v.Context(), v.Path("fileset"))
	if err != nil {
		return err
	}
	path := frame.At("filesets", s.Name)
	p := thing{Title: s.Name, Tabs: softwareTabs(v), Actions: only(v.MayAll("loads"), retireAction(v, s.Load, path))}
	p.Know(v.T("Directory"), text(s.Directory))
	loadFacts(v, &p, s.Load)
	reach, err := v.API.Reach(v.Context(), s.Name)
	if err != nil {
		return err
	}
	p.Reach = &reach
	return v.Show("thing", p)
}

func retireSet(v *frame.Visit) error {
	s, err := v.API.FileSet(v.Context(), v.Path("fileset"))
	if err != nil {
		return err
	}
	path := frame.At("filesets", s.Name)
	return frame.Sure(v, retireAction(v, s.Load, path).Text+": "+s.Name,
		v.T("A retired file set cannot be assigned any more."), path, path,
		func() error { _, err := v.API.RetireFileSet(v.Context(), s.Name, !s.Retired, s.Version); return err })
}
