package pages

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// orderKinds are what devices can be told.
var orderKinds = []string{"check-in", "retry", "forget-failure", "update-settings", "restart", "reset-together",
	"collect-log"}

// orderFinds are the parameters by which an order finds devices: those of their list, a
// rollout or one of its waves, or all.
var orderFinds = []string{"site", "model", "profile", "state", "active", "text", "no_profile", "origin", "load",
	"release", "failed", "silent_s", "rollout", "wave", "all"}

// orderSays are the other parameters of an order.
var orderSays = []string{"device", "csrf", "kind", "life", "at", "lines"}

// orderToAll is where an order to all devices begins.
const orderToAll = "/orders/new?all=yes"

// manyOrders bounds the orders that the list looks at: the latest come last.
const manyOrders = 2000

func orderList(v *frame.Visit) error {
	all, err := frame.All(v, v.API.Orders, client.Filter{Limit: manyOrders, Open: v.Query("open") != ""})
	if err != nil {
		return err
	}
	p := listing{Title: v.T("Orders"),
		Tabs:    []tab{{Text: v.T("all"), Path: "/orders"}, {Text: v.T("still open"), Path: "/orders?open=true"}},
		Actions: only(v.May("devices"), action{Text: v.T("Order to devices"), Path: orderToAll}),
		Empty:   v.T("No order yet. An order tells devices to do something now: to check in, to try again, to restart."),
		Table: table{Head: []string{v.T("Order"), v.T("Sent"), v.T("By"), v.T("Devices"), v.T("Waiting"), v.T("Done"),
			v.T("State")}}}
	for _, o := range slices.Backward(all) {
		p.Table.Rows = append(p.Table.Rows, []cell{link(v.T("order "+o.Kind), "orders", o.ID), moment(o.Issued), text(o.By),
			num(o.Devices), num(o.Standings["waiting"]), num(o.Standings["done"]), orderState(v, o)})
		if len(p.Table.Rows) == 2*frame.PageRows {
			break
		}
	}
	return v.Show("listing", p)
}

func orderState(v *frame.Visit, o client.OrderState) cell {
	switch {
	case !o.Cancelled.IsZero():
		return cell{Text: v.T("answer cancelled"), State: "cancelled"}
	case o.Expires.Before(v.Now()):
		return cell{Text: v.T("over"), State: "unknown"}
	}
	return cell{Text: v.T("still open"), State: "running"}
}

func orderThing(v *frame.Visit) error {
	o, err := v.API.Order(v.Context(), v.Path("order"))
	if err != nil {
		return err
	}
	rows, err := frame.Read[client.OrderDevice](v, frame.At("orders", o.ID)+"/devices", url.Values{}, 0)
	if err != nil {
		return err
	}
	p := thing{Title: v.T("order " + o.Kind), Actions: only(v.May("devices") && o.Standings["waiting"] > 0 &&
		o.Cancelled.IsZero(), action{Text: v.T("Take it back"), Path: frame.At("orders", o.ID, "cancel"), Danger: true})}
	p.Know(v.T("State"), orderState(v, o))
	p.Know(v.T("Sent"), moment(o.Issued), text(v.T("by %s", o.By)))
	p.Know(v.T("Holds until"), moment(o.Expires))
	if !o.Moment.IsZero() {
		p.Know(v.T("At the moment"), moment(o.Moment))
	}
	t := table{Title: v.T("Answers"), Head: []string{v.T("Device"), v.T("Site"), v.T("Answer"), v.T("Text"), v.T("When")}}
	for _, d := range rows.Items {
		when := cell{}
		if !d.Answered.IsZero() {
			when = moment(d.Answered)
		}
		t.Rows = append(t.Rows, []cell{link(d.Device, "devices", d.Device), text(d.Site),
			{Text: v.T("answer " + d.Standing), State: d.Standing}, text(d.Text), when})
	}
	p.Tables = append(p.Tables, t)
	p.Pages = frame.PagesOf(rows)
	return v.Show("thing", p)
}

func cancelOrder(v *frame.Visit) error {
	o, err := v.API.Order(v.Context(), v.Path("order"))
	if err != nil {
		return err
	}
	path := frame.At("orders", o.ID)
	return frame.Sure(v, v.T("Take the order back"),
		v.T("%d {device has|devices have} not answered. One that has got it may still carry it out.",
			o.Standings["waiting"]), path, path,
		func() error { _, err := v.API.CancelOrder(v.Context(), o.ID); return err })
}

// orderTo is an order to the devices that parameters name or find.
func orderTo(q url.Values) (o client.OrderRequest, err error) {
	nobody := &client.Error{Status: http.StatusUnprocessableEntity, Kind: client.Invalid,
		Detail: "no device is selected: go back, and select those that the order is for"}
	for name := range q { // to pass over a condition would be to reach more devices
		if !slices.Contains(orderFinds, name) && !slices.Contains(orderSays, name) {
			return o, &client.Error{Status: http.StatusUnprocessableEntity, Kind: client.Invalid,
				Detail: "an order cannot be sent to devices by these conditions: select them one by one"}
		}
	}
	o = client.OrderRequest{Kind: "check-in", Devices: q["device"], Site: q.Get("site"), Model: q.Get("model"),
		Profile: q.Get("profile"), State: q.Get("state"), Active: q.Get("active"), Text: q.Get("text"),
		NoProfile: q.Get("no_profile") != "", Registration: q.Get("origin"), Load: q.Get("load"),
		Release: q.Get("release"), Failed: q.Get("failed") != "", Rollout: q.Get("rollout")}
	if is := q.Get("wave"); is != "" {
		n, ok := frame.Int(is)
		if !ok || n < 1 || n > 100 {
			return o, &client.Error{Status: http.StatusUnprocessableEntity, Kind: client.Invalid,
				Detail: "the wave is a number from 1: go back to the rollout, and select one"}
		}
		o.Wave = int(n)
	}
	if is := q.Get("silent_s"); is != "" {
		n, ok := frame.Int(is)
		if !ok || n < 1 {
			return o, nobody
		}
		o.SilentS = n
	}
	// To all devices only if that is said: nothing that was selected is not everything.
	o.All = q.Get("all") != ""
	some := len(o.Devices) > 0 || slices.ContainsFunc(orderFinds, func(name string) bool {
		return name != "all" && name != "wave" && q.Get(name) != ""
	})
	if some == o.All {
		return o, nobody
	}
	return o, nil
}

// newOrder is the form of an order; the address says to which devices.
func newOrder(v *frame.Visit) error {
	q := v.R.URL.Query()
	if v.R.Method == http.MethodPost {
		q = v.R.PostForm
	}
	o, err := orderTo(q)
	if err != nil {
		return err
	}
	f := frame.Form{Title: v.T("Order to devices"), Action: "/orders/new", Back: "/devices", Button: v.T("Send the order")}
	var kinds []frame.Option
	for _, k := range orderKinds {
		kinds = append(kinds, frame.Option{Value: k, Label: v.T("order " + k)})
	}
	f.Fields = []frame.Field{{Name: "kind", Label: v.T("What they are to do"), Kind: "select", Options: kinds,
		Value: "check-in"}, {Name: "life", Label: v.T("Holds for so many minutes"), Kind: "number", Value: "60"},
		{Name: "at", Label: v.T("At the moment (UTC)"), Kind: "datetime-local",
			Help: v.T("Of the restart at one moment. Empty: in half a minute.")},
		{Name: "lines", Label: v.T("Lines of the log"), Kind: "number", Value: "200", Help: v.T("Of the order for the log.")}}
	page := struct {
		frame.Form
		Reach   *client.Reach
		Devices []string
		Query   map[string]string
		Refused string
	}{Form: f, Devices: o.Devices, Query: map[string]string{}}
	for _, name := range orderFinds {
		page.Query[name] = q.Get(name)
	}
	if v.R.Method == http.MethodPost {
		return sendOrder(v, o, f)
	}
	v.Guard(v.CSRF()) // a dry run changes nothing
	dry, err := v.API.SendOrder(v.Context(), o, true)
	if err != nil {
		return err
	}
	page.Reach = &dry.Reach
	return v.Show("order", page)
}

func sendOrder(v *frame.Visit, o client.OrderRequest, f frame.Form) error {
	f.Hidden = map[string]string{}
	if len(o.Devices) > 0 {
		f.Hidden["device"] = strings.Join(o.Devices, " ")
	}
	for _, name := range orderFinds {
		if is := v.Form(name); is != "" {
			f.Hidden[name] = is
		}
	}
	o.Kind = v.Form("kind")
	life, ok := frame.Int(v.Form("life"))
	if !ok || life < 1 || life > 7*24*60 {
		return v.Again(f, frame.WrongField("life", v.T("Write a number of minutes, a week at most.")))
	}
	o.LifeS = life * int64(time.Minute/time.Second)
	if o.Kind == "reset-together" && v.Form("at") != "" {
		if o.At, ok = frame.Moment(v.Form("at")); !ok {
			return v.Again(f, frame.WrongField("at", v.T("Write a date and a time.")))
		}
	}
	if o.Kind == "collect-log" {
		lines, ok := frame.Int(v.Form("lines"))
		if !ok || lines < 1 || lines > 1000 {
			return v.Again(f, frame.WrongField("lines", v.T("Write a number from 1 to 1000.")))
		}
		o.Lines = int(lines)
	}
	if len(o.Devices) == 1 {
		o.Devices = strings.Fields(o.Devices[0]) // as the form has them that was shown again
	}
	sent, err := v.API.SendOrder(v.Context(), o, false)
	if err != nil {
		return v.Again(f, err)
	}
	v.Say(v.T("The order is on its way to %d {device|devices}.", sent.Order.Devices), "")
	return v.Go(frame.At("orders", sent.Order.ID))
}
