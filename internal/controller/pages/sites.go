package pages

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// search is what a list is asked for by its text.
func search(v *frame.Visit) url.Values {
	q := url.Values{}
	if is := v.Query("text"); is != "" {
		q.Set("text", is)
	}
	return q
}

func siteList(v *frame.Visit) error {
	rows, err := frame.Read[client.Site](v, "/sites", search(v), 0)
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Sites"), Pages: frame.PagesOf(rows), Search: v.T("Name or note"),
		Actions: only(v.MayAll("devices"), action{Text: v.T("New site"), Path: "/sites/new"}),
		Empty:   v.T("No site yet. A site is a place with devices behind one line: make one, with its networks."),
		Table: table{Head: []string{v.T("Site"), v.T("Devices"), v.T("Run their load"), v.T("On the way"), v.T("Failed"),
			v.T("Silent"), v.T("Over its line"), v.T("Saved")}}}
	for _, s := range rows.Items {
		c := s.Counts
		if c == nil {
			c = &client.SiteCounts{}
		}
		failed := num(c.Failed)
		if c.Failed > 0 {
			failed.State = "failed"
		}
		p.Table.Rows = append(p.Table.Rows, []cell{link(s.Name, "sites", s.Name), num(c.Devices), num(c.Done), num(c.Running),
			failed, num(c.Silent), text(frame.Bytes(c.WANBytes)), text(frame.Bytes(c.SavedBytes))})
	}
	return v.Show("listing", p)
}

// rateText is a number of bytes a second for people, "" for none.
func rateText(n int64) string {
	if n == 0 {
		return ""
	}
	return frame.Bytes(n) + "/s"
}

func siteThing(v *frame.Visit) error {
	s, err := v.API.Sites.Get(v.Context(), v.Path("site"))
	if err != nil {
		return err
	}
	live := frame.At("sites", s.Name, "live")
	p := thing{Title: s.Name, Intro: s.Note, Actions: only(v.Leads(live), action{Text: v.T("Live"), Path: live})}
	p.Actions = append(p.Actions, action{Text: v.T("What an upgrade would take"), Path: frame.At("sites", s.Name, "plan"),
		Second: true})
	p.Actions = append(p.Actions, action{Text: v.T("Devices"), Path: "/devices?" + query("site", s.Name), Second: true})
	p.Actions = append(p.Actions, only(v.May("devices"), action{Text: v.T("Change"), Second: true,
		Path: frame.At("sites", s.Name, "edit")})...)
	p.Actions = append(p.Actions, only(v.MayAll("devices"), action{Text: v.T("Delete"), Danger: true,
		Path: frame.At("sites", s.Name, "delete")})...)
	p.Know(v.T("Time zone"), text(s.TimeZone))
	p.Know(v.T("Networks"), text(strings.Join(s.Networks, ", ")))
	p.Know(v.T("Rate of its line"), text(rateText(s.WANRate)))
	p.Know(v.T("When devices may be upgraded"), text(s.Window))
	if s.Limits.Transfers > 0 {
		p.Know(v.T("Files under way at most"), text(strconv.Itoa(s.Limits.Transfers)))
	}
	p.Know(v.T("Bytes a second from the controller at most"), text(rateText(s.Limits.Rate)))
	if c := s.Counts; c != nil {
		p.Know(v.T("Devices"), text(v.T("%d; run their load: %d, on the way: %d, failed: %d, silent: %d", c.Devices,
			c.Done, c.Running, c.Failed, c.Silent)))
		p.Know(v.T("Over its line"), text(frame.Bytes(c.WANBytes)))
		p.Know(v.T("Saved"), text(frame.Bytes(c.SavedBytes)))
	}
	saved, err := v.API.Savings(v.Context(), client.SavingQuery{Site: s.Name, By: []string{"month"}})
	if err != nil {
		return err
	}
	months := table{Title: v.T("Saved by month"), Head: []string{v.T("Month"), v.T("Over its line"),
		v.T("The classic way"),
		v.T("Saved")}}
	for _, m := range saved.Rows {
		months.Rows = append(months.Rows, []cell{text(m.Month), text(frame.Bytes(m.FromOrigin)),
			text(frame.Bytes(m.Classic)), text(frame.Bytes(m.Saved))})
	}
	if len(months.Rows) > 0 {
		p.Tables = append(p.Tables, months)
	}
	return v.Show("thing", p)
}

// siteFields are those of a site, with what it has.
func siteFields(v *frame.Visit, s client.Site) []frame.Field {
	number := func(n int64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatInt(n, 10)
	}
	return []frame.Field{
		{Name: "note", Label: v.T("Note"), Value: s.Note},
		{Name: "time_zone", Label: v.T("Time zone"), Value: s.TimeZone, Help: v.T("For example Asia/Tokyo.")},
		{Name: "networks", Label: v.T("Networks"), Kind: "area", Value: strings.Join(s.Networks, "\n"),
			Help: v.T("One in a line, for example 10.1.0.0/16. A device that reports from one belongs to this site.")},
		{Name: "wan_rate", Label: v.T("Rate of its line, bytes a second"), Kind: "number", Value: number(s.WANRate),
			Help: v.T("For predictions. Empty: not known.")},
		{Name: "window", Label: v.T("When devices may be upgraded"), Value: s.Window,
			Help: v.T("For example mon-fri 22:00-05:00. Empty: at any time.")},
		{Name: "transfers", Label: v.T("Files under way at most"), Kind: "number",
			Value: number(int64(s.Limits.Transfers)), Help: v.T("Empty: the server's own limit.")},
		{Name: "rate", Label: v.T("Bytes a second from the controller at most"), Kind: "number",
			Value: number(s.Limits.Rate), Help: v.T("Empty: the server's own limit.")},
	}
}

// siteChange reads the form of a site.
func siteChange(v *frame.Visit) (c client.SiteChange, err error) {
	note, zone, window := v.Form("note"), v.Form("time_zone"), v.Form("window")
	networks := strings.Fields(strings.ReplaceAll(v.Form("networks"), ",", " "))
	c = client.SiteChange{Note: &note, TimeZone: &zone, Window: &window, Networks: &networks}
	numbers := map[string]int64{}
	for _, name := range []string{"wan_rate", "transfers", "rate"} {
		is := v.Form(name)
		n, ok := frame.Int(is)
		if is != "" && (!ok || n < 0) {
			return c, frame.WrongField(name, v.T("This is not a valid number."))
		}
		numbers[name] = n
	}
	wan, transfers, rate := numbers["wan_rate"], int(numbers["transfers"]), numbers["rate"]
	c.WANRate, c.Transfers, c.Rate = &wan, &transfers, &rate
	return c, nil
}

func newSite(v *frame.Visit) error {
	f := frame.Form{Title: v.T("New site"), Action: "/sites/new", Button: v.T("Make the site"), Back: "/sites"}
	f.Fields = append([]frame.Field{{Name: "name", Label: v.T("Name"), Required: true}}, siteFields(v, client.Site{})...)
	return frame.Save(v, f, func() (string, error) {
		c, err := siteChange(v)
		if err != nil {
			return "", err
		}
		s, err := v.API.Sites.Create(v.Context(), v.Form("name"), c)
		return frame.At("sites", s.Name), err
	})
}

func editSite(v *frame.Visit) error {
	s, err := v.API.Sites.Get(v.Context(), v.Path("site"))
	if err != nil {
		return err
	}
	back := frame.At("sites", s.Name)
	f := frame.Form{Title: v.T("Change %s", s.Name), Action: back + "/edit", Button: v.T("Save"), Back: back,
		Hidden: frame.VersionField(s.Version), Fields: siteFields(v, s)}
	return frame.Save(v, f, func() (string, error) {
		c, err := siteChange(v)
		if err != nil {
			return "", err
		}
		if len(v.Who.Sites) > 0 {
			c.Networks = nil // they might take devices of others
		}
		_, err = v.API.Sites.Update(v.Context(), s.Name, c, frame.VersionOf(v))
		return back, err
	})
}

func deleteSite(v *frame.Visit) error {
	name := v.Path("site")
	s, err := v.API.Sites.Get(v.Context(), name)
	if err != nil {
		return err
	}
	n := 0
	if s.Counts != nil {
		n = s.Counts.Devices
	}
	title := v.T("Delete the site %s", name)
	if n > 0 && v.R.Method == http.MethodGet {
		return v.Show("form", frame.Form{Title: title, Back: frame.At("sites", name),
			Intro: v.T("%d {device belongs|devices belong} to it. A site that devices belong to is not deleted.", n)})
	}
	return frame.Sure(v, title, v.T("No device belongs to it."), frame.At("sites", name), "/sites",
		func() error { return v.API.Sites.Delete(v.Context(), name, s.Version) })
}

// query is an address's parameter.
func query(name, is string) string { return url.Values{name: {is}}.Encode() }
