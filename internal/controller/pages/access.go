package pages

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// accessTabs are the pages of who may do what.
func accessTabs(v *frame.Visit) []tab {
	return []tab{
		{Text: v.T("Users"), Path: "/users"},
		{Text: v.T("Tokens"), Path: "/tokens"},
		{Text: v.T("Enrolment"), Path: "/enrolments"},
		{Text: v.T("Webhooks"), Path: "/webhooks"}, {Text: v.T("Keys"), Path: "/trust"}}
}

func roleOptions(v *frame.Visit) (out []frame.Option) {
	for _, role := range []string{"viewer", "operator", "admin"} {
		out = append(out, frame.Option{Value: role, Label: v.T("role " + role)})
	}
	return out
}

func userList(v *frame.Visit) error {
	rows, err := frame.Read[client.User](v, "/users", search(v), 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Users"), Tabs: accessTabs(v), Pages: frame.PagesOf(rows), Search: v.T("Name or full name"),
		Actions: only(v.MayAll("access"), action{Text: v.T("New user"), Path: "/users/new"}), Empty: v.T("No such user."),
		Table: table{Head: []string{v.T("User"), v.T("Full name"), v.T("Role"), v.T("Sites"), v.T("State"),
			v.T("Last sign-in")}}}
	for _, u := range rows.Items {
		state := cell{Text: v.T("may sign in"), State: "ok"}
		if u.Disabled {
			state = cell{Text: v.T("disabled"), State: "cancelled"}
		}
		role := u.Role
		if role != "" {
			role = v.T("role " + role)
		}
		p.Table.Rows = append(p.Table.Rows, []cell{link(u.Name, "users", u.Name), text(u.FullName), text(role),
			text(strings.Join(u.Sites, ", ")), state, moment(u.LastLogin)})
	}
	return v.Show("listing", p)
}

func userThing(v *frame.Visit) error {
	u, err := v.API.Users.Get(v.Context(), v.Path("user"))
	if err != nil {
		return err
	}
	path := frame.At("users", u.Name)
	p := thing{Title: u.Name, Intro: u.FullName, Tabs: accessTabs(v), Actions: only(v.MayAll("access"),
		action{Text: v.T("Change"), Path: path + "/edit"},
		action{Text: v.T("End all sessions"), Path: path + "/sign-out", Second: true},
		action{Text: v.T("Delete"), Path: path + "/delete", Danger: true})}
	if u.Role != "" {
		p.Know(v.T("Role"), text(v.T("role "+u.Role)))
	}
	p.Know(v.T("Sites"), text(strings.Join(u.Sites, ", ")))
	p.Know(v.T("Signs in at"), text(u.Issuer))
	if u.Disabled {
		p.Know(v.T("State"), cell{Text: v.T("disabled"), State: "cancelled"})
	}
	p.Know(v.T("Last sign-in"), moment(u.LastLogin))
	p.Know(v.T("What this user has done"), cell{Text: v.T("Audit log"), Link: "/audit?" + query("actor", u.Name)})
	return v.Show("thing", p)
}

// userFields are those of a user.
func userFields(v *frame.Visit, u client.User) ([]frame.Field, error) {
	sites, err := frame.SiteOptions(v)
	if err != nil {
		return nil, err
	}
	disabled := ""
	if u.Disabled {
		disabled = "on"
	}
	fields := []frame.Field{{Name: "full_name", Label: v.T("Full name"), Value: u.FullName},
		{Name: "role", Label: v.T("Role"), Kind: "select", Options: roleOptions(v), Value: u.Role},
		{Name: "sites", Label: v.T("Only these sites"), Kind: "select", Many: true, Options: sites, Values: u.Sites,
			Help: v.T("None chosen: all of the fleet. An administrator has no limit.")},
		{Name: "password", Label: v.T("Password, at least 10 characters"), Kind: "password", Auto: "new-password"},
		{Name: "disabled", Label: v.T("Disabled: cannot sign in, and tokens are void"), Kind: "check", Value: disabled}}
	if u.Issuer != "" { // role and password are the issuer's
		fields = []frame.Field{fields[0], fields[4]}
	}
	return fields, nil
}

// userChange reads the form of a user.
func userChange(v *frame.Visit, issuer bool) (c client.UserChange) {
	name, disabled := v.Form("full_name"), v.Form("disabled") == "on"
	c.FullName, c.Disabled = &name, &disabled
	if issuer {
		return c
	}
	role, sites := v.Form("role"), v.R.PostForm["sites"]
	if sites == nil {
		sites = []string{}
	}
	c.Role, c.Sites = &role, &sites
	if pw := v.R.PostFormValue("password"); pw != "" {
		c.Password = &pw
	}
	return c
}

func newUser(v *frame.Visit) error {
	fields, err := userFields(v, client.User{Role: "viewer"})
	if err != nil {
		return err
	}
	fields[3].Required = true
	f := frame.Form{Title: v.T("New user"), Action: "/users/new", Back: "/users", Button: v.T("Make the user"),
		Fields: append([]frame.Field{{Name: "name", Label: v.T("Name"), Required: true}}, fields[:4]...)}
	return frame.Save(v, f, func() (string, error) {
		c := userChange(v, false)
		c.Disabled = nil
		u, err := v.API.Users.Create(v.Context(), v.Form("name"), c)
		return frame.At("users", u.Name), err
	})
}

func editUser(v *frame.Visit) error {
	u, err := v.API.Users.Get(v.Context(), v.Path("user"))
	if err != nil {
		return err
	}
	fields, err := userFields(v, u)
	if err != nil {
		return err
	}
	path := frame.At("users", u.Name)
	f := frame.Form{Title: v.T("Change %s", u.Name), Action: path + "/edit", Back: path, Button: v.T("Save"),
		Intro: v.T("A new password ends all sessions of the user."), Hidden: frame.VersionField(u.Version), Fields: fields}
	return frame.Save(v, f, func() (string, error) {
		_, err := v.API.Users.Update(v.Context(), u.Name, userChange(v, u.Issuer != ""), frame.VersionOf(v))
		return path, err
	})
}

func deleteUser(v *frame.Visit) error {
	name := v.Path("user")
	return frame.Sure(v, v.T("Delete the user %s", name), v.T("Sessions and tokens of the user end at once."),
		frame.At("users", name), "/users",
		func() error { return v.API.Users.Delete(v.Context(), name, client.AnyVersion) })
}

func endSessions(v *frame.Visit) error {
	path := frame.At("users", v.Path("user"))
	return frame.Sure(v, v.T("End all sessions of %s", v.Path("user")),
		v.T("Browsers and command lines must sign in again. Tokens stay."),
		path, path, func() error { return v.API.EndSessions(v.Context(), v.Path("user")) })
}

// shownOnce shows a secret that is shown once.
func shownOnce(v *frame.Visit, title, secret, back string) error {
	return v.Show("secret", struct{ Title, Secret, Back string }{title, secret, back})
}

func tokenList(v *frame.Visit) error {
	q := search(v)
	if v.MayAll("access") {
		q.Set("user", "*")
	}
	rows, err := frame.Read[client.Token](v, "/tokens", q, 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Tokens"), Pages: frame.PagesOf(rows), Actions: []action{{Text: v.T("New token"),
		Path: "/tokens/new"}},
		Intro: v.T("A token lets a program act for its user, within its role and scopes, until it expires."),
		Empty: v.T("No token yet."), Table: table{Head: []string{v.T("Token"), v.T("User"), v.T("Role"), v.T("Scopes"),
			v.T("Expires"), v.T("Last used"), v.T("Revoke")}}}
	if v.May("access") {
		p.Tabs = accessTabs(v)
	}
	for _, t := range rows.Items {
		p.Table.Rows = append(p.Table.Rows, []cell{text(t.Name), text(t.User), text(v.T("role " + t.Role)),
			text(strings.Join(t.Scopes, ", ")), moment(t.Expires), moment(t.LastUsed),
			{Text: v.T("Revoke"), Link: frame.At("tokens", t.ID, "delete")}})
	}
	return v.Show("listing", p)
}

// scopes of tokens.
var scopes = []string{"read", "devices", "loads", "enterprise", "access"}

func newToken(v *frame.Visit) error {
	sites, err := frame.SiteOptions(v)
	if err != nil {
		return err
	}
	var can []frame.Option
	for _, s := range scopes {
		if v.May(s) {
			can = append(can, frame.Option{Value: s, Label: v.T("scope " + s)})
		}
	}
	f := frame.Form{Title: v.T("New token"), Action: "/tokens/new", Back: "/tokens", Button: v.T("Make the token"),
		Fields: []frame.Field{{Name: "name", Label: v.T("Name"), Required: true, Help: v.T("What it is for.")},
			{Name: "role", Label: v.T("Role"), Kind: "select", Options: roleOptions(v), Value: "viewer"},
			{Name: "scopes", Label: v.T("Scopes"), Kind: "select", Many: true, Required: true, Options: can,
				Values: []string{"read"}},
			{Name: "sites", Label: v.T("Only these sites"), Kind: "select", Many: true, Options: sites,
				Help: v.T("None chosen: those of its user.")},
			{Name: "days", Label: v.T("Days until it expires"), Kind: "number", Value: "90"}}}
	return frame.Save(v, f, func() (string, error) {
		days, ok := frame.Int(v.Form("days"))
		if !ok || days < 1 || days > 5*365 {
			return "", frame.WrongField("days", v.T("Write a number of days, five years at most."))
		}
		t, err := v.API.Tokens.Create(v.Context(), v.Form("name"), client.NewToken{Role: v.Form("role"),
			Scopes: v.R.PostForm["scopes"], Sites: v.R.PostForm["sites"], LifeS: days * int64(24*time.Hour/time.Second)})
		if err != nil {
			return "", err
		}
		return "", shownOnce(v, v.T("The token %s", t.Name), t.Secret, "/tokens")
	})
}

func deleteToken(v *frame.Visit) error {
	return frame.Sure(v, v.T("Revoke the token"), v.T("The program that uses it is refused from now on."), "/tokens",
		"/tokens", func() error { return v.API.Tokens.Delete(v.Context(), v.Path("token"), client.AnyVersion) })
}

func enrolmentList(v *frame.Visit) error {
	all, err := frame.All(v, v.API.Enrolments.Lister, client.Filter{})
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Enrolment"), Tabs: accessTabs(v), Empty: v.T("No enrolment token yet."),
		Intro:   v.T("A device enrols with a token or the key of its site, and has an identity of its own then."),
		Actions: only(v.MayAll("access"), action{Text: v.T("New enrolment token"), Path: "/enrolments/new"}),
		Table: table{Head: []string{v.T("Token"), v.T("Kind"), v.T("Site"), v.T("Networks"), v.T("Expires"),
			v.T("Revoke")}}}
	for _, e := range all {
		kind, expires := v.T("%d {use|uses} left", e.Uses), moment(e.Expires)
		if e.SiteKey {
			kind = v.T("key of a site")
		}
		p.Table.Rows = append(p.Table.Rows, []cell{text(e.Name), text(kind), text(e.Site),
			text(strings.Join(e.Networks, ", ")), expires,
			{Text: v.T("Revoke"), Link: frame.At("enrolments", e.ID, "delete")}})
	}
	return v.Show("listing", p)
}

func newEnrolment(v *frame.Visit) error {
	sites, profiles, err := frame.PlaceOptions(v)
	if err != nil {
		return err
	}
	f := frame.Form{Title: v.T("New enrolment token"), Action: "/enrolments/new", Back: "/enrolments",
		Button: v.T("Make the token"), Fields: []frame.Field{
			{Name: "name", Label: v.T("Name"), Required: true},
			{Name: "site_key", Label: v.T("Key of a site: for any number of devices"), Kind: "check"},
			{Name: "uses", Label: v.T("Devices that may enrol with it"), Kind: "number", Value: "1"},
			{Name: "site", Label: v.T("Site"), Kind: "select", Options: slices.Concat(frame.NoOption(v), sites)},
			{Name: "profile", Label: v.T("Profile"), Kind: "select", Options: slices.Concat(frame.NoOption(v), profiles)},
			{Name: "networks", Label: v.T("Only from these networks"), Kind: "area",
				Help: v.T("One in a line, for example 10.1.0.0/16.")},
			{Name: "days", Label: v.T("Days until it expires"), Kind: "number",
				Help: v.T("If empty, a week; the key of a site does not expire then.")}}}
	return frame.Save(v, f, func() (string, error) {
		n := client.NewEnrolment{SiteKey: v.Form("site_key") == "on", Site: v.Form("site"), Profile: v.Form("profile"),
			Networks: strings.Fields(v.Form("networks"))}
		if uses, ok := frame.Int(v.Form("uses")); !n.SiteKey {
			if !ok || uses < 1 || uses > 100_000 {
				return "", frame.WrongField("uses", v.T("This is not a valid number."))
			}
			n.Uses = int(uses)
		}
		if is := v.Form("days"); is != "" {
			days, ok := frame.Int(is)
			if !ok || days < 1 || days > 5*365 {
				return "", frame.WrongField("days", v.T("Write a number of days, five years at most."))
			}
			n.LifeS = days * int64(24*time.Hour/time.Second)
		}
		e, err := v.API.Enrolments.Create(v.Context(), v.Form("name"), n)
		if err != nil {
			return "", err
		}
		return "", shownOnce(v, v.T("The token %s", e.Name), e.Secret, "/enrolments")
	})
}

func deleteEnrolment(v *frame.Visit) error {
	return frame.Sure(v, v.T("Revoke the token"), v.T("Devices that have enrolled with it stay; no other can."),
		"/enrolments", "/enrolments", func() error {
			return v.API.Enrolments.Delete(v.Context(), v.Path("enrolment"), client.AnyVersion)
		})
}

func account(v *frame.Visit) error {
	p := thing{Title: v.Who.Name, Actions: []action{{Text: v.T("Change the password"), Path: "/account/password"},
		{Text: v.T("Tokens"), Path: "/tokens", Second: true},
		{Text: v.T("End all my sessions"), Path: "/account/sign-out", Danger: true}}}
	p.Know(v.T("Role"), text(v.T("role "+v.Who.Role)))
	p.Know(v.T("Sites"), text(strings.Join(v.Who.Sites, ", ")))
	if s := v.Who.Session; s != nil {
		p.Know(v.T("Signed in"), moment(s.Created))
		p.Know(v.T("This session ends at (UTC)"), text(s.Expires.UTC().Format("2006-01-02 15:04")))
	}
	return v.Show("thing", p)
}

func changePassword(v *frame.Visit) error {
	f := frame.Form{Title: v.T("Change the password"), Action: "/account/password", Back: "/account", Button: v.T("Save"),
		Intro: v.T("All your sessions end, this one too: you sign in again with the new password."),
		Fields: []frame.Field{{Name: "old_password", Label: v.T("Current password"), Kind: "password", Required: true,
			Auto: "current-password"}, {Name: "new_password", Label: v.T("New password, at least 10 characters"),
			Kind: "password", Required: true, Auto: "new-password"}}}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	in := map[string]string{"old": v.R.PostFormValue("old_password"), "new": v.R.PostFormValue("new_password")}
	if err := v.Call(v.Context(), http.MethodPut, "/session/password", "", in, nil); err != nil {
		if errors.Is(err, client.Unauthenticated) || errors.Is(err, client.Invalid) {
			f.Fields[0].Error = v.T("The current password is wrong, or the new one is too short.")
			v.Status(http.StatusUnprocessableEntity)
			return v.Show("form", f)
		}
		return v.Again(f, err)
	}
	v.Say(v.T("The password is changed. Sign in with the new one."), "")
	return v.Go("/sign-in")
}

func endOwnSessions(v *frame.Visit) error {
	return frame.Sure(v, v.T("End all my sessions"), v.T("Browsers and command lines must sign in again. Tokens stay."),
		"/account",
		"/sign-in", func() error { return v.API.EndSessions(v.Context(), v.Who.Name) })
}
