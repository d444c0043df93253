package pages

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/pages/words"
)

// configTabs are the pages of settings.
func configTabs(v *frame.Visit) []tab {
	return []tab{
		{Text: v.T("Profiles"), Path: "/profiles"},
		{Text: v.T("Enterprise"), Path: "/enterprise"},
		{Text: v.T("Models"), Path: "/models"},
		{Text: v.T("Templates"), Path: "/templates"}}
}

// assigned is a load or a release in a cell.
func assigned(v *frame.Visit, a client.Assignment) cell {
	switch {
	case a.Release != "":
		return link(v.T("release %s", a.Release), "releases", a.Release)
	case a.Load != "":
		return link(a.Load, "loads", a.Load)
	}
	return text(v.T("none"))
}

// setHere are the settings of a level in a table.
func setHere(v *frame.Visit, set map[string]string) (table, error) {
	t := table{Title: v.T("Settings that are set here"), Head: []string{v.T("Setting"), v.T("Value")}}
	labels, err := settingLabels(v)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		t.Rows = append(t.Rows, []cell{text(labelled(labels, name)), text(frame.SettingValue(v.JA, name, set[name]))})
	}
	return t, err
}

// labelled is a setting by its label, with the name by which it is set.
func labelled(labels map[string]string, name string) string {
	if label := labels[name]; label != "" {
		return label + " (" + name + ")"
	}
	return name
}

// levelActions are what can be done at a level.
func levelActions(v *frame.Visit, t client.Target, may bool, a client.Assignment) []action {
	all := []action{{Text: v.T("Settings"), Path: levelPath("settings", t)},
		{Text: v.T("Assign a load"), Path: levelPath("assign", t), Second: true},
		{Text: v.T("File sets"), Path: levelPath("sets", t), Second: true}}
	if a.HasPrevious {
		all = append(all, action{Text: v.T("Assign what it had before"), Path: levelPath("rollback", t), Second: true})
	}
	return only(may, all...)
}

func profileList(v *frame.Visit) error {
	rows, err := frame.Read[client.Profile](v, "/profiles", search(v), 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Profiles"), Tabs: configTabs(v), Pages: frame.PagesOf(rows),
		Search:  v.T("Name or description"),
		Actions: only(v.MayAll("devices"), action{Text: v.T("New profile"), Path: "/profiles/new"}),
		Empty:   v.T("No profile yet. A profile has settings and a load for many devices."),
		Table:   table{Head: []string{v.T("Profile"), v.T("Description"), v.T("Settings that are set here"), v.T("Load")}}}
	labels, err := settingLabels(v)
	if err != nil {
		return err
	}
	for _, r := range rows.Items {
		var set []string
		for _, name := range slices.Sorted(maps.Keys(r.Settings)) {
			set = append(set, labelled(labels, name))
		}
		p.Table.Rows = append(p.Table.Rows, []cell{link(r.Name, "profiles", r.Name), text(r.Description),
			text(strings.Join(set, ", ")), assigned(v, r.Load)})
	}
	return v.Show("listing", p)
}

func profileThing(v *frame.Visit) error {
	r, err := v.API.Profiles.Get(v.Context(), v.Path("profile"))
	if err != nil {
		return err
	}
	t := client.Target{Level: "profile", Name: r.Name}
	p := thing{Title: r.Name, Intro: r.Description, Tabs: configTabs(v),
		Actions: levelActions(v, t, v.MayAll("devices"), r.Load)}
	p.Actions = append(p.Actions, only(v.MayAll("devices"),
		action{Text: v.T("Change"), Path: frame.At("profiles", r.Name, "edit"), Second: true},
		action{Text: v.T("Delete"), Path: frame.At("profiles", r.Name, "delete"), Danger: true})...)
	p.Know(v.T("Load"), assigned(v, r.Load))
	p.Know(v.T("File sets"), text(strings.Join(r.FileSets, ", ")))
	p.Know(v.T("Devices"), cell{Text: v.T("Devices of this profile"), Link: "/devices?" + query("profile", r.Name)})
	here, err := setHere(v, r.Settings)
	if err != nil {
		return err
	}
	p.Tables = append(p.Tables, here)
	return v.Show("thing", p)
}

func newProfile(v *frame.Visit) error {
	f := frame.Form{Title: v.T("New profile"), Action: "/profiles/new", Button: v.T("Make the profile"), Back: "/profiles",
		Fields: []frame.Field{{Name: "name", Label: v.T("Name"), Required: true},
			{Name: "description", Label: v.T("Description")}}}
	return frame.Save(v, f, func() (string, error) {
		description := v.Form("description")
		r, err := v.API.Profiles.Create(v.Context(), v.Form("name"), client.ProfileChange{Description: &description})
		return frame.At("profiles", r.Name), err
	})
}

func editProfile(v *frame.Visit) error {
	r, err := v.API.Profiles.Get(v.Context(), v.Path("profile"))
	if err != nil {
		return err
	}
	back := frame.At("profiles", r.Name)
	f := frame.Form{Title: v.T("Change %s", r.Name), Action: back + "/edit", Button: v.T("Save"), Back: back,
		Hidden: frame.VersionField(r.Version),
		Fields: []frame.Field{{Name: "description", Label: v.T("Description"), Value: r.Description}}}
	return frame.Save(v, f, func() (string, error) {
		description := v.Form("description")
		_, err := v.API.Profiles.Update(v.Context(), r.Name, client.ProfileChange{Description: &description},
			frame.VersionOf(v))
		return back, err
	})
}

func deleteProfile(v *frame.Visit) error {
	name := v.Path("profile")
	return frame.Sure(v, v.T("Delete the profile %s", name), v.T("A profile that devices have is not deleted."),
		frame.At("profiles", name), "/profiles",
		func() error { return v.API.Profiles.Delete(v.Context(), name, client.AnyVersion) })
}

func enterpriseThing(v *frame.Visit) error {
	e, err := v.API.Enterprise(v.Context())
	if err != nil {
		return err
	}
	may := v.MayAll("enterprise")
	p := thing{Title: v.T("Enterprise"), Tabs: configTabs(v),
		Intro:   v.T("What holds for all devices, unless their profile or they themselves say otherwise."),
		Actions: levelActions(v, client.Target{Level: "enterprise"}, may, e.Load)}
	p.Actions = append(p.Actions, only(may, action{Text: v.T("Registration"), Path: "/enterprise/edit", Second: true})...)
	p.Know(v.T("Load"), assigned(v, e.Load))
	p.Know(v.T("File sets"), text(strings.Join(e.FileSets, ", ")))
	auto := v.T("off: unknown devices stay unknown")
	if e.AutoRegistration {
		auto = v.T("on: a device becomes known when it asks for its file")
	}
	p.Know(v.T("Auto-registration"), text(auto))
	p.Know(v.T("Profile of such devices"), text(e.RegisterProfile))
	here, err := setHere(v, e.Settings)
	if err != nil {
		return err
	}
	p.Tables = append(p.Tables, here)
	return v.Show("thing", p)
}

func editEnterprise(v *frame.Visit) error {
	e, err := v.API.Enterprise(v.Context())
	if err != nil {
		return err
	}
	profiles, err := frame.ProfileOptions(v)
	if err != nil {
		return err
	}
	on := ""
	if e.AutoRegistration {
		on = "on"
	}
	f := frame.Form{Title: v.T("Registration"), Action: "/enterprise/edit", Button: v.T("Save"), Back: "/enterprise",
		Hidden: frame.VersionField(e.Version), Fields: []frame.Field{
			{Name: "auto", Label: v.T("Unknown devices become known when they ask for their file"), Kind: "check", Value: on},
			{Name: "register_profile", Label: v.T("Profile of such devices"), Kind: "select", Value: e.RegisterProfile,
				Options: slices.Concat(frame.NoOption(v), profiles)}}}
	return frame.Save(v, f, func() (string, error) {
		auto, profile := v.Form("auto") == "on", v.Form("register_profile")
		_, err := v.API.UpdateEnterprise(v.Context(), client.EnterpriseChange{AutoRegistration: &auto,
			RegisterProfile: &profile}, frame.VersionOf(v))
		return "/enterprise", err
	})
}

func modelList(v *frame.Visit) error {
	all, err := frame.All(v, v.API.Models, client.Filter{})
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Models"), Tabs: configTabs(v), Empty: v.T("There is no model."),
		Actions: only(v.MayAll("enterprise"), action{Text: v.T("Add a model"), Path: "/models/new"}),
		Table: table{Head: []string{v.T("Model"), v.T("Family"), v.T("Shares"), v.T("Shares with"), v.T("Load"),
			v.T("Kind of row")}}}
	for _, m := range all {
		shares, row := cell{Text: v.T("no")}, text(v.T("built in"))
		if m.CanShare {
			shares = cell{Text: v.T("yes"), State: "ok"}
		}
		if m.Custom {
			row = text(v.T("added"))
		}
		p.Table.Rows = append(p.Table.Rows, []cell{link(m.Name, "models", m.Name), text(family(v, m.Family)), shares,
			text(m.GroupName), assigned(v, m.Load), row})
	}
	return v.Show("listing", p)
}

// family is one of models in words: those that are built in have Japanese ones.
func family(v *frame.Visit, name string) string {
	if words.Known("family " + name) {
		return v.T("family " + name)
	}
	return name
}

func modelThing(v *frame.Visit) error {
	m, err := v.API.Model(v.Context(), v.Path("model"))
	if err != nil {
		return err
	}
	t := client.Target{Level: "model", Name: m.Name}
	p := thing{Title: m.Name, Tabs: configTabs(v), Actions: only(v.MayAll("enterprise"),
		action{Text: v.T("Assign a load"), Path: levelPath("assign", t)})}
	if m.Load.HasPrevious {
		p.Actions = append(p.Actions, only(v.MayAll("enterprise"), action{Text: v.T("Assign what it had before"),
			Second: true,
			Path:   levelPath("rollback", t)})...)
	}
	if m.Custom {
		p.Actions = append(p.Actions, only(v.MayAll("enterprise"), action{Text: v.T("Delete"), Danger: true,
			Path: frame.At("models", m.Name, "delete")})...)
	}
	if !m.Known {
		p.Intro = v.T("No table has this model: a device reports it.")
	}
	p.Know(v.T("Family"), text(family(v, m.Family)))
	p.Know(v.T("Also written"), text(strings.Join(m.Aliases, ", ")))
	p.Know(v.T("Shares with"), text(m.GroupName))
	p.Know(v.T("Name in provisioning files"), text(cmp.Or(m.Provision, m.Name)))
	if m.TypeNumber != 0 {
		p.Know(v.T("Type number in provisioning files"), text(strconv.Itoa(m.TypeNumber)))
	}
	if m.DefaultLoad != "" {
		p.Know(v.T("Load where nothing else assigns one"), link(m.DefaultLoad, "loads", m.DefaultLoad))
	}
	p.Know(v.T("Load"), assigned(v, m.Load))
	p.Know(v.T("Devices"), cell{Text: v.T("Devices of this model"), Link: "/devices?" + query("model", m.Name)})
	labels, err := settingLabels(v)
	if err != nil {
		return err
	}
	s := table{Title: v.T("Settings"), Head: []string{v.T("Setting"), v.T("Default"), v.T("Has no effect because")}}
	for _, is := range m.Settings {
		s.Rows = append(s.Rows, []cell{text(labelled(labels, is.Name)), text(frame.SettingValue(v.JA, is.Name, is.Default)),
			text(lacking(v, m, is))})
	}
	p.Tables = append(p.Tables, s)
	return v.Show("thing", p)
}

// lacking is why a setting has no effect on a model, in the reader's language.
func lacking(v *frame.Visit, m client.Model, is client.ModelSetting) string {
	switch {
	case is.Lacking == "":
		return ""
	case slices.Contains(m.Lacks, is.Name):
		return v.T("the model does not have it")
	default:
		return v.T("the model cannot share")
	}
}

func newModel(v *frame.Visit) error {
	f := frame.Form{Title: v.T("Add a model"), Action: "/models/new", Button: v.T("Add a model"), Back: "/models",
		Fields: []frame.Field{{Name: "name", Label: v.T("Name"), Required: true, Help: v.T("As devices report it.")},
			{Name: "family", Label: v.T("Family"), Required: true, Help: v.T("For example camera.")},
			{Name: "group", Label: v.T("Shares with"),
				Help: v.T("Models of one group share with each other. Empty: this model alone.")},
			{Name: "can_share", Label: v.T("It can share with its peers"), Kind: "check", Value: "on"},
			{Name: "aliases", Label: v.T("Also written"), Kind: "area", Rare: true, Help: v.T("Names, one in a line.")},
			{Name: "provision", Label: v.T("Name in provisioning files"), Rare: true, Help: v.T("Empty: the name above.")},
			{Name: "type_number", Label: v.T("Type number in provisioning files"), Kind: "number", Rare: true},
			{Name: "default_load", Label: v.T("Load where nothing else assigns one"), Rare: true},
			{Name: "defaults", Label: v.T("Settings where no level sets them"), Kind: "area", Rare: true,
				Help: v.T("One in a line: name=value.")},
			{Name: "lacks", Label: v.T("Settings that it does not have"), Kind: "area", Rare: true,
				Help: v.T("Their names, one in a line.")}}}
	return frame.Save(v, f, func() (string, error) {
		row, err := modelRow(v)
		if err != nil {
			return "", err
		}
		_, err = v.API.PutModels(v.Context(), []client.ModelRow{row})
		return frame.At("models", row.Name), err
	})
}

// modelRow reads the form of a model.
func modelRow(v *frame.Visit) (row client.ModelRow, err error) {
	row = client.ModelRow{Name: v.Form("name"), Family: v.Form("family"), Group: v.Form("group"),
		CanShare: v.Form("can_share") == "on", Provision: v.Form("provision"), DefaultLoad: v.Form("default_load"),
		Lacks: strings.Fields(v.Form("lacks")), Defaults: map[string]string{}}
	for line := range strings.Lines(v.Form("aliases")) {
		if is := strings.TrimSpace(line); is != "" {
			row.Aliases = append(row.Aliases, is)
		}
	}
	if is := v.Form("type_number"); is != "" {
		n, ok := frame.Int(is)
		if !ok {
			return row, frame.WrongField("type_number", v.T("This is none: %s", is))
		}
		row.TypeNumber = int(n)
	}
	for line := range strings.Lines(v.Form("defaults")) {
		name, is, ok := strings.Cut(line, "=")
		if !ok && strings.TrimSpace(line) != "" {
			return row, frame.WrongField("defaults", v.T("This line is not name=value: %s", line))
		}
		if ok {
			row.Defaults[strings.TrimSpace(name)] = strings.TrimSpace(is)
		}
	}
	return row, nil
}

func deleteModel(v *frame.Visit) error {
	name := v.Path("model")
	return frame.Sure(v, v.T("Delete the added row of %s", name),
		v.T("A row that is built in holds again, if there is one. Devices of this model keep what they run."),
		frame.At("models", name), "/models", func() error { return v.API.DeleteModel(v.Context(), name) })
}
