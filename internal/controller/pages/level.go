package pages

import (
	"net/http"
	"slices"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// target is the level that a page is about: its kind and its name are in the path.
func target(v *frame.Visit) (client.Target, string, error) {
	t := client.Target{Level: v.Path("level"), Name: v.Path("name")}
	back := "/enterprise"
	switch t.Level {
	case "enterprise":
		t.Name = ""
	case "device", "profile", "model":
		back = frame.At(t.Level+"s", t.Name)
	default:
		return t, "", &client.Error{Status: http.StatusNotFound, Kind: client.NotFound, Detail: "there is no such level"}
	}
	return t, back, nil
}

// levelPath is the path of a page about a level.
func levelPath(what string, t client.Target) string {
	if t.Level == "enterprise" {
		return "/" + what + "/enterprise"
	}
	return frame.At(what, t.Level, t.Name)
}

// where says which level it is, in words.
func where(v *frame.Visit, t client.Target) string {
	switch t.Level {
	case "device":
		return v.T("device %s", t.Name)
	case "profile":
		return v.T("profile %s", t.Name)
	case "model":
		return v.T("model %s", t.Name)
	}
	return v.T("the enterprise")
}

// notSet is what a field says of a setting that the level leaves to others.
const notSet = "-"

// settings are the settings of one level, to be changed.
func settings(v *frame.Visit) error {
	t, back, err := target(v)
	if err != nil {
		return err
	}
	now, err := v.API.Settings(v.Context(), t)
	if err != nil {
		return err
	}
	f := frame.Form{Title: v.T("Settings of %s", where(v, t)), Action: levelPath("settings", t), Back: back,
		Intro: v.Sentences(v.T("A setting that is not set here is left to the levels below."),
			v.T("Before anything is changed, you see which devices it touches.")),
		Button: v.T("Show what it touches"), Hidden: frame.VersionField(now.Version)}
	for _, s := range now.Settings {
		f.Fields = append(f.Fields, settingFields(v, s)...)
	}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	return changeSettings(v, t, f, now)
}

// settingFields are the fields of one setting.
func settingFields(v *frame.Visit, s client.LevelSetting) []frame.Field {
	label, help := s.Label, s.Help
	if v.JA {
		label, help = s.LabelJA, s.HelpJA
	}
	if s.Effective != nil {
		help = v.Sentences(help, v.T("In effect: %s, from %s.", frame.SettingValue(v.JA, s.Name, s.Effective.Value),
			levelWord(v, s.Effective.Level)))
	}
	f := frame.Field{Name: s.Name, Label: label, Help: help}
	if len(s.Choices) > 0 || s.Kind == "switch" {
		words := s.Choices
		if s.Kind == "switch" {
			words = []string{"on", "off"}
		}
		f.Kind, f.Value = "select", notSet
		f.Options = []frame.Option{{Value: notSet, Label: v.T("not set here")}}
		for _, w := range words {
			f.Options = append(f.Options, frame.Option{Value: w, Label: frame.SettingValue(v.JA, s.Name, w)})
		}
		if s.Value != nil {
			f.Value = *s.Value
		}
		return []frame.Field{f}
	}
	tick := frame.Field{Name: "set-" + s.Name, Kind: "check", Label: v.T("set here: %s", label)}
	if s.Value != nil {
		f.Value, tick.Value = *s.Value, "on"
	}
	return []frame.Field{f, tick}
}

// changeSettings asks for what the form says otherwise than it was.
func changeSettings(v *frame.Visit, t client.Target, f frame.Form, now client.LevelSettings) error {
	change := client.SettingsChange{Set: map[string]string{}}
	for _, s := range now.Settings {
		if !v.R.PostForm.Has(s.Name) {
			continue // a form from before there was this setting
		}
		is := v.Form(s.Name)
		set := is != notSet
		if len(s.Choices) == 0 && s.Kind != "switch" {
			set = v.Form("set-"+s.Name) == "on" || is != "" && (s.Value == nil || is != *s.Value)
		}
		switch {
		case set && (s.Value == nil || *s.Value != is):
			change.Set[s.Name] = is
		case !set && s.Value != nil:
			change.Unset = append(change.Unset, s.Name)
		}
	}
	if len(change.Set) == 0 && len(change.Unset) == 0 {
		v.Say(v.T("Nothing was changed: the form says what was there."), "")
		return v.Go(f.Back)
	}
	o := client.Order{Target: &t, Settings: &change}
	if read := frame.VersionOf(v); read != client.AnyVersion {
		o.Version = &read
	}
	if err := v.Ask(o, f.Title, f.Back, false); err != nil {
		return v.Again(f, err)
	}
	return nil
}

// assign is the form by which a level gets a load or a release.
func assign(v *frame.Visit) error {
	t, back, err := target(v)
	if err != nil {
		return err
	}
	loads, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return err
	}
	f := frame.Form{Title: v.T("Assign a load to %s", where(v, t)), Action: levelPath("assign", t), Back: back,
		Intro: v.Sentences(v.T("Devices fetch it at their next check-in."),
			v.T("A rollout does it step by step, and stops by itself if devices fail.")),
		Button: v.T("Show what it touches"),
		Fields: []frame.Field{
			{Name: "load", Label: v.T("Load"), Kind: "select", Options: slices.Concat(frame.NoOption(v), loads),
				Value: v.Query("load")},
			{Name: "release", Label: v.T("or release"), Kind: "select", Options: slices.Concat(frame.NoOption(v), releases),
				Value: v.Query("release"), Help: v.T("A release has the loads of several models under one name.")},
		}}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	load, release := v.Form("load"), v.Form("release")
	o := client.Order{Target: &t}
	switch {
	case load != "" && release != "":
		f.Fields[1].Error = v.T("Choose a load or a release, not both.")
		f.Fill(v)
		v.Status(http.StatusUnprocessableEntity)
		return v.Show("form", f)
	case release != "":
		o.Release = &release
	default:
		o.Load = &load
	}
	what := v.T("Assign %s to %s", load+release, where(v, t))
	if load+release == "" {
		what = v.T("Assign nothing any more to %s", where(v, t))
	}
	if err := v.Ask(o, what, back, false); err != nil {
		return v.Again(f, err)
	}
	return nil
}

// rollBack assigns again what a level had before.
func rollBack(v *frame.Visit) error {
	t, back, err := target(v)
	if err != nil {
		return err
	}
	what := v.T("Assign again what %s had before", where(v, t))
	return v.Ask(client.Order{Target: &t, RollBack: true}, what, back, false)
}

// levelSets changes the file sets of a level.
func levelSets(v *frame.Visit) error {
	t, back, err := target(v)
	if err != nil {
		return err
	}
	sets, err := frame.All(v, v.API.FileSets, client.Filter{Limit: frame.Choices})
	if err != nil {
		return err
	}
	var options []frame.Option
	for _, s := range sets {
		options = append(options, frame.Option{Value: s.Name, Label: s.Name + " (" + s.Directory + ")"})
	}
	f := frame.Form{Title: v.T("File sets of %s", where(v, t)), Action: levelPath("sets", t), Back: back,
		Button: v.T("Show what it touches"), Fields: []frame.Field{
			{Name: "assign", Label: v.T("Assign"), Kind: "select", Options: slices.Concat(frame.NoOption(v), options)},
			{Name: "unassign", Label: v.T("Assign no more"), Kind: "select", Options: slices.Concat(frame.NoOption(v), options)},
		}}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	change := client.FileSetChange{}
	if is := v.Form("assign"); is != "" {
		change.Assign = []string{is}
	}
	if is := v.Form("unassign"); is != "" {
		change.Unassign = []string{is}
	}
	if err := v.Ask(client.Order{Target: &t, FileSets: &change}, f.Title, back, false); err != nil {
		return v.Again(f, err)
	}
	return nil
}

// undo takes back a change by its entry in the audit log.
func undo(v *frame.Visit) error {
	id := v.Path("id")
	return v.Ask(client.Order{Undo: id}, v.T("Take back the change %s", id), "/audit", true)
}
