package store

import "github.com/peerload/peerload/internal/controller/domain"

var sentOrders = schema[domain.SentOrder, domain.SentOrderFilter]{
	name: "sent_orders",
	columns: []column[domain.SentOrder]{
		{"kind", func(o domain.SentOrder) any { return o.Kind }},
		{"expires", func(o domain.SentOrder) any { return micros(o.Expires) }},
		{"cancelled", func(o domain.SentOrder) any { return micros(o.Cancelled) }},
	},
	where: func(f domain.SentOrderFilter) []condition {
		c := within(equal(nil, "kind", f.Kind), "expires > ? AND cancelled = 0", f.OpenAt)
		if has, ok := ofRealm("device", f.Realm); ok {
			c = append(c, condition{sql: "id IN (SELECT sent_order FROM order_devices WHERE " + has.sql + ")", args: has.args})
		}
		return within(c, "expires <= ?", f.ExpiredBy)
	},
}

var orderDevices = schema[domain.OrderDevice, domain.OrderDeviceFilter]{
	name: "order_devices",
	columns: []column[domain.OrderDevice]{
		{"sent_order", func(d domain.OrderDevice) any { return d.Order }},
		{"device", func(d domain.OrderDevice) any { return d.Device }},
		{"site", func(d domain.OrderDevice) any { return d.Site }},
		{"standing", func(d domain.OrderDevice) any { return d.Standing }},
	},
	where: func(f domain.OrderDeviceFilter) []condition {
		c := equal(nil, "sent_order", f.Order)
		c = equal(c, "device", f.Device)
		c = equal(c, "site", f.Site)
		c = inRealm(c, "device", f.Realm)
		return equal(c, "standing", f.Standing)
	},
}
