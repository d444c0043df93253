package pages

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/internal/controller/pages/reports"
	"github.com/peerload/peerload/internal/controller/pages/words"
)

// auditPage is the audit log.
type auditPage struct {
	frame.Rows[client.AuditEntry]
	Tabs    []tab
	Filters []frame.Field
	PartOf  string
	// settings are their labels, by name.
	settings map[string]string
}

// Did is what an entry says was done, in words.
func (auditPage) Did(v *frame.Visit, action string) string { return did(v, action) }

func did(v *frame.Visit, action string) string {
	if words.Known("did " + action) {
		return v.T("did " + action)
	}
	return action
}

// Named is a field of a change, in words.
func (p auditPage) Named(v *frame.Visit, field string) string {
	if name, ok := strings.CutPrefix(field, "settings."); ok && p.settings[name] != "" {
		return p.settings[name] + " (" + name + ")"
	}
	return fieldName(v, field)
}

// Said is the value that a field had or has, in words; is may be nil.
func (auditPage) Said(v *frame.Visit, field string, is *string) frame.Said {
	if is == nil {
		return frame.Said{}
	}
	return frame.Value(v.JA, field, *is)
}

// fieldName is a field of a change in words, or by its name if it has none.
func fieldName(v *frame.Visit, field string) string {
	if words.Known("field " + field) {
		return v.T("field " + field)
	}
	return strings.TrimPrefix(field, "settings.")
}

// settingLabels are the labels of all settings, by name.
func settingLabels(v *frame.Visit) (map[string]string, error) {
	all, err := v.API.Settings(v.Context(), client.Target{Level: "enterprise"})
	labels := map[string]string{}
	for _, s := range all.Settings {
		if labels[s.Name] = s.Label; v.JA {
			labels[s.Name] = s.LabelJA
		}
	}
	return labels, err
}

// auditNames are the parameters of the address that find entries.
var auditNames = []string{"actor", "action", "target", "site", "part_of"}

func audit(v *frame.Visit) (err error) {
	q, p := url.Values{}, auditPage{PartOf: v.Query("part_of"), Tabs: reports.Tabs(v)}
	if p.settings, err = settingLabels(v); err != nil {
		return err
	}
	for _, name := range auditNames {
		if is := v.Query(name); is != "" {
			q.Set(name, is)
		}
	}
	if day, ok := frame.Moment(v.Query("since")); ok {
		q.Set("since", day.Format(time.RFC3339))
	}
	if p.Rows, err = frame.Read[client.AuditEntry](v, "/audit", q, 0); err != nil {
		return err
	}
	p.Filters = []frame.Field{{Name: "actor", Label: v.T("Who"), Value: v.Query("actor")},
		{Name: "action", Label: v.T("What"), Value: v.Query("action"), Help: v.T("For example settings.change.")},
		{Name: "target", Label: v.T("To what"), Value: v.Query("target"), Help: v.T("For example device SEP001122334455.")},
		{Name: "since", Label: v.T("From this day on"), Kind: "date", Value: v.Query("since")}}
	return v.Show("audit", p)
}

// partedActions begin the actions that stand for a change of many, which have entries of
// their own.
var partedActions = []string{"bulk", "undo", "level.", "site.settings", "site.load", "site.release", "site.file-sets",
	"site.roll-back", "models."}

// Parted reports whether an entry stands for a change of many.
func (auditPage) Parted(e client.AuditEntry) bool {
	return e.PartOf == "" && len(e.Changes) == 0 && begins(e.Action, partedActions)
}

func begins(action string, kinds []string) bool {
	return slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(action, kind) })
}

// Made reports whether an entry is of something new, which had no values before.
func (auditPage) Made(e client.AuditEntry) bool {
	_, verb, _ := strings.Cut(e.Action, ".")
	return slices.Contains([]string{"create", "record", "register", "send"}, verb)
}

// Undoable reports whether an entry is of a kind that can be taken back. Whether it can
// be now, the page that asks says.
func (auditPage) Undoable(v *frame.Visit, e client.AuditEntry) bool {
	if !v.May("devices") || e.PartOf != "" {
		return false
	}
	return begins(e.Action, []string{"settings.", "load.assign", "load.unassign", "load.roll-back", "release.assign",
		"fileset.", "changes", "device.update", "bulk"})
}

func webhookList(v *frame.Visit) error {
	rows, err := frame.Read[client.Webhook](v, "/webhooks", search(v), 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Webhooks"), Tabs: accessTabs(v), Pages: frame.PagesOf(rows), Empty: v.T("No webhook yet."),
		Intro:   v.T("A webhook tells another program of devices that fail, and of rollouts that change."),
		Actions: only(v.MayAll("access"), action{Text: v.T("New webhook"), Path: "/webhooks/new"}),
		Table: table{Head: []string{v.T("Webhook"), "URL", v.T("Delivered"), v.T("Waiting"), v.T("Given up"),
			v.T("State")}}}
	for _, w := range rows.Items {
		state := cell{Text: v.T("no message yet"), State: "unknown"}
		switch {
		case w.LastError != "":
			state = cell{Text: v.Refusal(w.LastError), State: "failed"}
		case !w.LastSent.IsZero():
			state = cell{Text: v.T("delivers"), State: "ok"}
		}
		p.Table.Rows = append(p.Table.Rows, []cell{link(w.Name, "webhooks", w.Name), text(w.URL), num(int(w.Sent)),
			num(w.Pending), num(w.Dead), state})
	}
	return v.Show("listing", p)
}

func webhookThing(v *frame.Visit) error {
	name := v.Path("webhook")
	all, err := frame.All(v, v.API.Webhooks.Lister, client.Filter{})
	if err != nil {
		return err
	}
	for _, w := range all {
		if w.Name != name {
			continue
		}
		path := frame.At("webhooks", name)
		p := thing{Title: name, Intro: w.URL, Tabs: accessTabs(v), Actions: only(v.MayAll("access"),
			action{Text: v.T("Send a test"), Path: path + "/test"},
			action{Text: v.T("Try again what was given up"), Path: path + "/retry", Second: true},
			action{Text: v.T("Delete"), Path: path + "/delete", Danger: true})}
		var events []string
		for _, e := range w.Events {
			events = append(events, eventWord(v, e))
		}
		p.Know(v.T("Events"), text(strings.Join(events, ", ")))
		p.Know(v.T("Last delivered"), moment(w.LastSent))
		p.Know(v.T("Last error"), text(v.Refusal(w.LastError)))
		messages, err := frame.All(v, v.API.WebhookMessages(name), client.Filter{Limit: frame.PageRows})
		if err != nil {
			return err
		}
		t := table{Title: v.T("Messages that wait or were given up"), Head: []string{v.T("Event"), v.T("Since"), v.T("State"),
			v.T("Tries"), v.T("Last error")}}
		for _, m := range messages {
			state := cell{Text: v.T("waiting"), State: "running"}
			if m.State == "dead" {
				state = cell{Text: v.T("given up"), State: "failed"}
			}
			t.Rows = append(t.Rows, []cell{text(eventWord(v, m.Event)), moment(m.At), state, num(m.Tries),
				text(v.Refusal(m.Error))})
		}
		p.Tables = append(p.Tables, t)
		return v.Show("thing", p)
	}
	return &client.Error{Status: 404, Kind: client.NotFound, Detail: "there is no such webhook"}
}

// eventWord is what a webhook tells of; a kind of a newer controller is its code.
func eventWord(v *frame.Visit, event string) string {
	if !words.Known("event " + event) {
		return event
	}
	return v.T("event " + event)
}

func newWebhook(v *frame.Visit) error {
	f := frame.Form{Title: v.T("New webhook"), Action: "/webhooks/new", Back: "/webhooks", Button: v.T("Make the webhook"),
		Fields: []frame.Field{{Name: "name", Label: v.T("Name"), Required: true},
			{Name: "url", Label: "URL", Kind: "url", Required: true,
				Help: v.T("For example https://hooks.example.com/peerload.")},
			{Name: "failed", Label: v.T("Tell of devices that fail"), Kind: "check", Value: "on"},
			{Name: "changed", Label: v.T("Tell of rollouts that change"), Kind: "check", Value: "on"},
			{Name: "allow_http", Label: v.T("Allow http, over which whoever is on the way can read"), Kind: "check"}}}
	return frame.Save(v, f, func() (string, error) {
		n := client.NewWebhook{URL: v.Form("url"), AllowHTTP: v.Form("allow_http") == "on"}
		if v.Form("failed") == "on" {
			n.Events = append(n.Events, "device.failed")
		}
		if v.Form("changed") == "on" {
			n.Events = append(n.Events, "rollout.changed")
		}
		w, err := v.API.Webhooks.Create(v.Context(), v.Form("name"), n)
		if err != nil {
			return "", err
		}
		return "", shownOnce(v, v.T("The secret that signs messages of %s", w.Name), w.Secret, "/webhooks")
	})
}

func testWebhook(v *frame.Visit) error {
	path := frame.At("webhooks", v.Path("webhook"))
	return frame.Sure(v, v.T("Send a test"), v.T("One message is sent at once."), path, path, func() error {
		failure, err := v.API.TestWebhook(v.Context(), v.Path("webhook"))
		if err == nil && failure != "" {
			err = &client.Error{Status: 409, Kind: client.Refused, Detail: failure}
		}
		return err
	})
}

func retryWebhook(v *frame.Visit) error {
	path := frame.At("webhooks", v.Path("webhook"))
	return frame.Sure(v, v.T("Try again what was given up"), v.T("Messages that were given up are tried anew."), path,
		path, func() error { _, err := v.API.RetryWebhook(v.Context(), v.Path("webhook")); return err })
}

func deleteWebhook(v *frame.Visit) error {
	name := v.Path("webhook")
	return frame.Sure(v, v.T("Delete the webhook %s", name), v.T("Messages that wait are dropped."),
		frame.At("webhooks", name), "/webhooks",
		func() error { return v.API.Webhooks.Delete(v.Context(), name, client.AnyVersion) })
}

// trustPage has the keys, and when the root of trust expires.
func trustPage(v *frame.Visit) error {
	p := thing{Title: v.T("Keys"), Tabs: accessTabs(v),
		Intro: v.T("Devices accept what these keys sign. The root key signs only the other keys: keep it offline.")}
	may := v.MayAll("access")
	expires, version, err := rootExpiry(v)
	if err != nil {
		return err
	}
	if version > 0 {
		p.Know(v.T("Root of trust"), text(v.T("version %d", version)))
		state := cell{Text: v.T("far away"), State: "ok"}
		if expires.Sub(v.Now()) < rootSoon {
			state = cell{Text: v.T("soon: put the root key back, and run peerload-server load refresh"), State: "warn"}
		}
		p.Know(v.T("It expires at (UTC)"), text(expires.UTC().Format("2006-01-02 15:04")), state)
		for _, role := range []string{"targets", "snapshot", "timestamp", "root"} {
			p.Actions = append(p.Actions, only(may, action{Text: v.T("New key of %s", role), Second: true,
				Path: frame.At("trust", role, "rotate")})...)
		}
	} else {
		p.Know(v.T("Root of trust"), text(v.T("made when the first load is added")))
	}
	key, err := v.API.OrderKey(v.Context())
	if err != nil {
		return err
	}
	p.Know(v.T("Key of orders"), text(v.T("version %d", key.Version)))
	p.Actions = append(p.Actions, only(may, action{Text: v.T("New key of orders"), Path: "/trust/orders/rotate",
		Second: true})...)
	return v.Show("thing", p)
}

func rotateKey(v *frame.Visit) error {
	role := v.Path("role")
	return frame.Sure(v, v.T("New key of %s", role),
		v.T("All devices follow by themselves: those that share as well as those that do not."),
		"/trust", "/trust", func() error {
			if role == "orders" {
				_, err := v.API.RotateOrderKey(v.Context())
				return err
			}
			return v.API.RotateKey(v.Context(), role)
		})
}
