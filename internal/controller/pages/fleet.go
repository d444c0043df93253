package pages

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
	"github.com/peerload/peerload/report"
)

// sortedRows bounds the devices that are sorted by something else than their names,
// the order that the API has.
const sortedRows = 1000

// column is one of the list of devices.
type column struct {
	Name string
	// usual ones are shown unless somebody chooses.
	usual bool
	// by compares for sorting.
	by func(a, b client.Device) int
}

// columns in their order; the name of the device comes before them.
var columns = []column{
	{"description", true, func(a, b client.Device) int { return strings.Compare(a.Description, b.Description) }},
	{"model", true, func(a, b client.Device) int { return strings.Compare(a.Model, b.Model) }},
	{"site", true, func(a, b client.Device) int { return strings.Compare(siteOf(a), siteOf(b)) }},
	{"profile", true, func(a, b client.Device) int { return strings.Compare(a.Profile, b.Profile) }},
	{"state", true, func(a, b client.Device) int { return strings.Compare(stateOf(a), stateOf(b)) }},
	{"active", true, func(a, b client.Device) int { return strings.Compare(last(a).Active, last(b).Active) }},
	{"wanted", false, func(a, b client.Device) int { return strings.Compare(last(a).Wanted, last(b).Wanted) }},
	{"sharing", false, func(a, b client.Device) int { return strings.Compare(last(a).Sharing, last(b).Sharing) }},
	{"role", false, func(a, b client.Device) int { return strings.Compare(last(a).Role, last(b).Role) }},
	{"address", false, func(a, b client.Device) int { return strings.Compare(last(a).Address, last(b).Address) }},
	{"program", false, func(a, b client.Device) int { return strings.Compare(last(a).Program, last(b).Program) }},
	{"seen", true, func(a, b client.Device) int { return seen(a).Compare(seen(b)) }},
}

func last(d client.Device) report.Device {
	if d.State == nil {
		return report.Device{}
	}
	return d.State.Last
}

// stateOf is the state that a device has last reported.
func stateOf(d client.Device) string { return cmp.Or(last(d).State, "unknown") }

func seen(d client.Device) time.Time {
	if d.State == nil {
		return time.Time{}
	}
	return d.State.LastSeen
}

// siteOf is the site that a device belongs to.
func siteOf(d client.Device) string {
	if d.Site == "" && d.State != nil {
		return d.State.Site
	}
	return d.Site
}

// deviceRow is a device as lists show it.
type deviceRow struct {
	client.Device
	Last     report.Device
	In, Said string
	Seen     time.Time
}

func rowOf(v *frame.Visit, d client.Device) deviceRow {
	return deviceRow{Device: d, Last: last(d), In: siteOf(d), Said: stateWord(v, stateOf(d)), Seen: seen(d)}
}

// fleetPage is the list of devices.
type fleetPage struct {
	frame.Rows[client.Device]
	Devices []deviceRow
	Columns []column
	Shown   []string
	Sort    string
	Down    bool
	// Cut says that there were more devices than are sorted.
	Cut bool
	// Before and After are pages of a sorted list, 0 for none.
	Before, After int
	Filters       []frame.Field
	Filtered      bool
	// OrderAll is where an order to all that match begins.
	OrderAll string
	export   url.Values
}

// filterNames are the parameters of the address that find devices.
var filterNames = []string{"text", "model", "site", "profile", "state", "active", "no_profile", "origin", "load",
	"release", "failed", "silent"}

// deviceQuery is what the API is asked for.
func deviceQuery(v *frame.Visit) url.Values {
	q := url.Values{}
	for _, name := range filterNames {
		if is := v.Query(name); is != "" && name != "silent" {
			q.Set(name, is)
		}
	}
	if v.Query("silent") != "" {
		q.Set("silent_s", strconv.Itoa(int(silentAfter/time.Second)))
	}
	return q
}

func fleet(v *frame.Visit) error {
	p := fleetPage{Columns: columns, Sort: v.Query("sort"), Down: v.Query("down") != "", Shown: v.R.URL.Query()["col"]}
	if len(p.Shown) == 0 {
		for _, c := range columns {
			if c.usual {
				p.Shown = append(p.Shown, c.Name)
			}
		}
	}
	q, err := deviceQuery(v), error(nil)
	p.Filtered = len(q) > 0
	if p.OrderAll = "/orders/new?" + q.Encode(); !p.Filtered {
		p.OrderAll = orderToAll
	}
	by := slices.IndexFunc(columns, func(c column) bool { return c.Name == p.Sort })
	if by < 0 && !p.Down {
		p.Rows, err = frame.Read[client.Device](v, "/devices", q, 0)
	} else {
		err = p.sorted(v, q, by)
	}
	if err != nil {
		return err
	}
	for _, d := range p.Items {
		p.Devices = append(p.Devices, rowOf(v, d))
	}
	if p.Filters, err = fleetFilters(v); err != nil {
		return err
	}
	p.export = url.Values{}
	for _, name := range findNames {
		if is := v.Query(name); is != "" {
			p.export.Set(name, is)
		}
	}
	return v.Show("fleet", p)
}

// sorted reads the devices and sorts them; by is a column, -1 for the name.
func (p *fleetPage) sorted(v *frame.Visit, q url.Values, by int) (err error) {
	if p.Rows, err = frame.Read[client.Device](v, "/devices", q, sortedRows); err != nil {
		return err
	}
	p.Cut, p.Next = p.Next != "", ""
	compare := func(a, b client.Device) int { return strings.Compare(a.Name, b.Name) }
	if by >= 0 {
		compare = columns[by].by
	}
	slices.SortStableFunc(p.Items, func(a, b client.Device) int {
		if p.Down {
			return compare(b, a)
		}
		return compare(a, b)
	})
	page := 1
	if n, ok := frame.Int(v.Query("page")); ok && n > 1 && n <= sortedRows {
		page = int(n)
	}
	from := min((page-1)*frame.PageRows, len(p.Items))
	to := min(from+frame.PageRows, len(p.Items))
	if page > 1 {
		p.Before = page - 1
	}
	if to < len(p.Items) {
		p.After = page + 1
	}
	p.Items = p.Items[from:to]
	return nil
}

// SortBy is the address of the list sorted by a column, turned round if it is so
// already.
func (p fleetPage) SortBy(v *frame.Visit, name string) string {
	q := v.R.URL.Query()
	for _, gone := range []string{"after", "page", "down"} {
		q.Del(gone)
	}
	q.Set("sort", name)
	if p.Sort == name && !p.Down {
		q.Set("down", "1")
	}
	return "/devices?" + q.Encode()
}

// Page is the address of a page of a sorted list.
func (p fleetPage) Page(v *frame.Visit, n int) string {
	q := v.R.URL.Query()
	q.Set("page", strconv.Itoa(n))
	return "/devices?" + q.Encode()
}

// Export is the address of a table of those that match.
func (p fleetPage) Export(format string) string {
	q := url.Values{"format": {format}}
	maps.Copy(q, p.export)
	return "/devices/export?" + q.Encode()
}

// Queryable reports whether a bulk change finds the same devices.
func (p fleetPage) Queryable() bool {
	return !slices.ContainsFunc(p.Filters, func(f frame.Field) bool {
		return f.Value != "" && !slices.Contains(findNames, f.Name)
	})
}

// ChangeAll is the address of a change of all that match.
func (p fleetPage) ChangeAll() string { return "/bulk/query?" + p.export.Encode() }

// Narrow reports whether more is asked for than a text.
func (p fleetPage) Narrow() bool {
	return slices.ContainsFunc(p.Filters, func(f frame.Field) bool { return f.Name != "text" && f.Value != "" })
}

// Has reports whether a column is shown.
func (p fleetPage) Has(name string) bool { return slices.Contains(p.Shown, name) }

// Order is how a column is sorted, for screen readers.
func (p fleetPage) Order(name string) string {
	switch {
	case p.Sort != name:
		return "none"
	case p.Down:
		return "descending"
	}
	return "ascending"
}

// deviceStates are the states of devices, in the order of an upgrade.
var deviceStates = []string{report.StateIdle, report.StateDownloading, report.StateReady, report.StateInstalling,
	report.StateRebooting, report.StateTrial, report.StateRolledBack, report.StateFailed, "unknown"}

func fleetFilters(v *frame.Visit) ([]frame.Field, error) {
	some := []frame.Option{{Value: "", Label: v.T("all")}}
	states := slices.Clone(some)
	for _, s := range deviceStates {
		states = append(states, frame.Option{Value: s, Label: stateWord(v, s)})
	}
	o, err := v.API.Overview(v.Context(), "", silentAfter)
	if err != nil {
		return nil, err
	}
	models, loads := slices.Clone(some), slices.Clone(some)
	for _, c := range counts(o.ByModel, o.Devices) {
		models = append(models, frame.Option{Value: c.Name, Label: c.Name})
	}
	for _, c := range counts(o.ByActive, o.Devices) {
		loads = append(loads, frame.Option{Value: c.Name, Label: c.Name})
	}
	sites, profiles, err := frame.PlaceOptions(v)
	if err != nil {
		return nil, err
	}
	assigned, releases, err := frame.SoftwareOptions(v)
	if err != nil {
		return nil, err
	}
	registered := slices.Clone(some)
	for _, r := range []string{"administrator", "auto-registered", "enrolled"} {
		registered = append(registered, frame.Option{Value: r, Label: v.T("registration " + r)})
	}
	yes := slices.Concat(some, []frame.Option{{Value: "true", Label: v.T("only those")}})
	return []frame.Field{
		{Name: "text", Label: v.T("Name or description"), Kind: "search", Value: v.Query("text")},
		{Name: "model", Label: v.T("Model"), Kind: "select", Value: v.Query("model"), Options: models},
		{Name: "site", Label: v.T("Site"), Kind: "select", Value: v.Query("site"), Options: slices.Concat(some, sites)},
		{Name: "profile", Label: v.T("Profile"), Kind: "select", Value: v.Query("profile"),
			Options: slices.Concat(some, profiles)},
		{Name: "state", Label: v.T("State"), Kind: "select", Value: v.Query("state"), Options: states},
		{Name: "active", Label: v.T("Active load"), Kind: "select", Value: v.Query("active"), Options: loads},
		{Name: "no_profile", Label: v.T("Without a profile"), Kind: "select", Value: v.Query("no_profile"), Options: yes},
		{Name: "origin", Label: v.T("Known by"), Kind: "select", Value: v.Query("origin"), Options: registered},
		{Name: "load", Label: v.T("Load assigned to the device itself"), Kind: "select", Value: v.Query("load"),
			Options: slices.Concat(some, assigned)},
		{Name: "release", Label: v.T("Release assigned to the device itself"), Kind: "select", Value: v.Query("release"),
			Options: slices.Concat(some, releases)},
		{Name: "failed", Label: v.T("Failed"), Kind: "select", Value: v.Query("failed"), Options: yes},
		{Name: "silent", Label: v.T("Silent for an hour"), Kind: "select", Value: v.Query("silent"), Options: yes},
	}, nil
}

// exportDevices sends devices as a table.
func exportDevices(v *frame.Visit) error {
	format := v.Query("format")
	kinds := map[string]string{"csv": "text/csv; charset=utf-8",
		"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"}
	if kinds[format] == "" {
		return &client.Error{Status: http.StatusNotFound, Kind: client.NotFound, Detail: "tables are csv or xlsx"}
	}
	v.Guard(v.CSRF()) // it only reads
	out, err := v.API.ExportDevices(v.Context(), client.JobQuery{Text: v.Query("text"), Model: v.Query("model"),
		Profile: v.Query("profile"), Site: v.Query("site")}, format)
	if err != nil {
		return err
	}
	v.W.Header().Set("Content-Type", kinds[format])
	v.W.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="devices.%s"`, format))
	_, _ = v.W.Write(out.Table) // the only error is a browser that is gone
	return nil
}

// newDevice is the form of a device that becomes known.
func newDevice(v *frame.Visit) (f frame.Form, err error) {
	f = frame.Form{Title: v.T("Add a device"), Action: "/devices/new", Button: v.T("Add the device"), Back: "/devices",
		Intro: v.T("Many devices at once: bring a table under Bulk.")}
	models, sites, profiles, err := frame.DeviceOptions(v)
	if err != nil {
		return f, err
	}
	f.Fields = []frame.Field{
		{Name: "name", Label: v.T("MAC address or name"), Required: true, Help: v.T("For example 00:11:22:33:44:55.")},
		{Name: "model", Label: v.T("Model"), Kind: "select", Required: true,
			Options: slices.Concat([]frame.Option{{Value: "", Label: v.T("choose one")}}, models)},
		{Name: "site", Label: v.T("Site"), Kind: "select", Options: slices.Concat(frame.NoOption(v), sites)},
		{Name: "profile", Label: v.T("Profile"), Kind: "select", Options: slices.Concat(frame.NoOption(v), profiles)},
		{Name: "description", Label: v.T("Description")},
	}
	return f, nil
}

func addDevice(v *frame.Visit) error {
	f, err := newDevice(v)
	if err != nil {
		return err
	}
	if v.R.Method == http.MethodGet {
		return v.Show("form", f)
	}
	model, site, profile, description := v.Form("model"), v.Form("site"), v.Form("profile"), v.Form("description")
	d, err := v.API.Devices.Create(v.Context(), v.Form("name"),
		client.DeviceChange{Model: &model, Site: &site, Profile: &profile, Description: &description})
	if err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("The device is known now."), "")
	return v.Go(frame.At("devices", d.Name))
}
