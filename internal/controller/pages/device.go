package pages

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/pages/reports"
	"github.com/peerload/peerload/internal/device/wording"
	"github.com/peerload/peerload/report"
)

// historyRows is how much of its history the page of a device shows.
const historyRows = 25

// devicePage is what a device does and why, and what it should.
type devicePage struct {
	deviceRow
	// Says tells in sentences what it does, and why.
	Says    []string
	Desired client.Desired
	// State is the latest known state, nil for a device that was never heard of.
	State   *client.DeviceState
	History []client.HistoryEntry
	Orders  []string
}

// Told is what an entry of the history says.
func (devicePage) Told(v *frame.Visit, e client.HistoryEntry) string { return reports.Told(v, e) }

// stateWord is a state of a device in words.
func stateWord(v *frame.Visit, state string) string {
	if state == "unknown" {
		return v.T("not heard of")
	}
	return wording.Say(v.JA, "state "+state)
}

func device(v *frame.Visit) error {
	d, err := v.API.Devices.Get(v.Context(), v.Path("device"))
	if err != nil {
		return err
	}
	p := devicePage{deviceRow: rowOf(v, d), State: d.State}
	if p.Desired, err = v.API.Desired(v.Context(), d.Name); err != nil {
		return err
	}
	p.History, err = frame.All(v, v.API.History, client.Filter{Device: d.Name, Limit: historyRows})
	if err != nil {
		return err
	}
	p.Says = p.sentences(v)
	return v.Show("device", p)
}

// levelWord says whose value it is, in words.
func levelWord(v *frame.Visit, level string) string {
	switch level {
	case "device":
		return v.T("this device")
	case "profile":
		return v.T("its profile")
	case "model":
		return v.T("its model")
	case "enterprise":
		return v.T("the enterprise")
	}
	return v.T("the default")
}

// sentences tell what the device does, and why.
func (p devicePage) sentences(v *frame.Visit) (says []string) {
	say := func(en string, args ...any) { says = append(says, v.T(en, args...)) }
	l := p.Last
	if p.State == nil || p.State.Reported.IsZero() {
		say("It has not reported yet: it must be switched on, and find this controller.")
	} else if v.Now().Sub(p.State.LastSeen) > silentAfter {
		say("It has been silent for %s.", frame.Span(v.JA, v.Now().Sub(p.State.LastSeen)))
	}
	want := p.Desired.Load
	switch {
	case want.Load == "" && want.Held != "":
		say("It is handed no load for now: %s.", want.Held)
	case want.Load == "":
		say("No level assigns it a load: it keeps what it has.")
	case want.Load == l.Active:
		say("It runs %s, as %s says.", want.Load, levelWord(v, want.Level))
	case l.Active == "":
		say("It should run %s, as %s says.", want.Load, levelWord(v, want.Level))
	default:
		say("It runs %s and should run %s, as %s says.", l.Active, want.Load, levelWord(v, want.Level))
	}
	if want.Via != "" {
		say("It is handed %s first, because what it runs does not lead there at once.", want.Via)
	}
	if want.Warning != "" {
		say("Warning: %s", want.Warning)
	}
	return append(says, doing(v, l)...)
}

// doing tells what the device does now, and from whom it gets its bytes.
func doing(v *frame.Visit, l report.Device) (says []string) {
	say := func(en string, args ...any) { says = append(says, v.T(en, args...)) }
	switch l.State {
	case report.StateDownloading:
		say("It downloads %s: %d %% are there.", l.Wanted, l.Percent)
	case report.StateReady:
		say("It has %s, and waits until it may install it.", l.Wanted)
	case report.StateInstalling, report.StateRebooting, report.StateTrial:
		say("It is at: %s.", stateWord(v, l.State))
	case report.StateRolledBack:
		say("The new load did not work: it went back to %s.", l.Active)
	case report.StateFailed:
		say("Its upgrade failed.")
	}
	if l.State == report.StateFailed || l.State == report.StateRolledBack {
		say("What to do: mend the cause, then order a retry. It goes on running %s meanwhile.", cmp.Or(l.Active, "?"))
	}
	if l.Reason != "" {
		say("Why: %s", wording.Why(v.JA, l.Reason, l.Message))
	}
	switch l.Role {
	case report.RoleRoot:
		say("It is the root: it downloads from the server, for its subnet.")
	case report.RoleParent, report.RoleLeaf:
		if l.Parent != "" {
			say("It gets its bytes from its parent %s.", l.Parent)
		}
	case report.RoleClassic:
		say("It downloads from the server by itself, and does not share.")
	}
	if len(l.Children) > 0 {
		say("It passes them on to %s.", strings.Join(l.Children, ", "))
	}
	if l.Sharing == "off" {
		say("Peer sharing is off: %s says so.", levelWord(v, l.SharingFrom))
	}
	return says
}

// Tree are the devices around it: root, parent and children.
func (p devicePage) Tree() bool {
	return p.Last.Root != "" || p.Last.Parent != "" || len(p.Last.Children) > 0
}

// editDevice is the form of what is known of a device.
func editDevice(v *frame.Visit) error {
	d, err := v.API.Devices.Get(v.Context(), v.Path("device"))
	if err != nil {
		return err
	}
	f, err := newDevice(v)
	if err != nil {
		return err
	}
	f.Title, f.Intro, f.Button = v.T("Change %s", d.Name), "", v.T("Save")
	f.Action, f.Back = frame.At("devices", d.Name, "edit"), frame.At("devices", d.Name)
	f.Fields = f.Fields[1:]
	for i, is := range []string{d.Model, d.Site, d.Profile, d.Description} {
		f.Fields[i].Value = is
	}
	if !slices.ContainsFunc(f.Fields[0].Options, func(o frame.Option) bool { return o.Value == d.Model }) {
		f.Fields[0].Options = append(f.Fields[0].Options, frame.Option{Value: d.Model, Label: d.Model})
	}
	if v.R.Method == http.MethodGet {
		f.Hidden = frame.VersionField(d.Version)
		return v.Show("form", f)
	}
	f.Hidden = map[string]string{"version": v.Form("version")}
	model, site, profile, description := v.Form("model"), v.Form("site"), v.Form("profile"), v.Form("description")
	_, err = v.API.Devices.Update(v.Context(), d.Name,
		client.DeviceChange{Model: &model, Site: &site, Profile: &profile, Description: &description}, frame.VersionOf(v))
	if errors.Is(err, client.Conflict) {
		f.Hidden = frame.VersionField(d.Version)
		return v.Beside(f, err)
	}
	if err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("Saved."), "")
	return v.Go(f.Back)
}

// deleteDevice shows what deleting a device would touch.
func deleteDevice(v *frame.Visit) error {
	name := v.Path("device")
	return v.Ask(client.Order{Target: &client.Target{Level: "device", Name: name}, Delete: true},
		v.T("Delete %s and its history", name), "/devices", true)
}

// resetIdentity takes the secret of a device away.
func resetIdentity(v *frame.Visit) error {
	name := v.Path("device")
	f := frame.Form{Title: v.T("Reset the identity of %s", name), Action: frame.At("devices", name, "reset"), Danger: true,
		Intro:  v.T("The device must enrol again before it can report. Its settings and its load stay."),
		Button: v.T("Reset the identity"), Back: frame.At("devices", name)}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	if err := v.API.ResetIdentity(v.Context(), name); err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("It must enrol again."), "")
	return v.Go(f.Back)
}

// failures are what devices tell of that did not succeed.
func failures(v *frame.Visit) error {
	q := url.Values{}
	for _, name := range []string{"site", "about"} {
		if is := v.Query(name); is != "" {
			q.Set(name, is)
		}
	}
	rows, err := frame.Read[client.Failure](v, "/failures", q, 0)
	if err != nil {
		return err
	}
	sites, err := frame.SiteOptions(v)
	if err != nil {
		return err
	}
	all := []frame.Option{{Value: "", Label: v.T("all")}}
	return v.Show("failures", struct {
		frame.Rows[client.Failure]
		Tabs    []tab
		Filters []frame.Field
	}{rows, reports.Tabs(v), []frame.Field{
		{Name: "site", Label: v.T("Site"), Kind: "select", Value: v.Query("site"), Options: slices.Concat(all, sites)},
		{Name: "about", Label: v.T("Load that it runs or is to run"), Value: v.Query("about")}}})
}
