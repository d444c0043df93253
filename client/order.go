package client

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// OrderRequest tells devices to do something now. It names devices, or finds them:
// fields that are "" find all, and all others must match. To find every device All
// must be set. (An Order is a change of what devices should do.)
type OrderRequest struct {
	// Kind is "check-in", "retry", "restart", "reset-together", "collect-log",
	// "update-settings" or "forget-failure".
	Kind string `json:"kind"`
	// Devices in any spelling of their names, at most 10,000.
	Devices []string `json:"devices,omitempty"`
	// Site, Model, Profile, State, Active and Text find devices as a Filter does.
	Site    string `json:"site,omitempty"`
	Model   string `json:"model,omitempty"`
	Profile string `json:"profile,omitempty"`
	State   string `json:"state,omitempty"`
	Active  string `json:"active,omitempty"`
	Text    string `json:"text,omitempty"`
	// So do NoProfile, Registration, Load, Release, Failed and SilentS, how many seconds
	// a device must have been silent.
	NoProfile    bool   `json:"no_profile,omitempty"`
	Registration string `json:"origin,omitempty"`
	Load         string `json:"load,omitempty"`
	Release      string `json:"release,omitempty"`
	Failed       bool   `json:"failed,omitempty"`
	SilentS      int64  `json:"silent_s,omitempty"`
	All          bool   `json:"all,omitempty"`
	// Rollout finds the devices of a rollout, Wave those of one of its waves, from 1; 0
	// means of all.
	Rollout string `json:"rollout,omitempty"`
	Wave    int    `json:"wave,omitempty"`
	// At is the moment of reset-together; zero means in half a minute.
	At time.Time `json:"at,omitzero"`
	// LifeS is for how many seconds it is sent to devices that do not answer; 0 means
	// an hour, and a week is the most.
	LifeS int64 `json:"life_s,omitempty"`
	// Lines of collect-log, 1 to 1,000; 0 means 200.
	Lines int `json:"lines,omitempty"`
}

// SentOrder is an order that was sent to devices.
type SentOrder struct {
	Meta
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// By is who sent it.
	By string `json:"by"`
	// Account is the id of the user behind that, which no other user has or had.
	Account string    `json:"account,omitempty"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Moment is when devices do it, zero for at once.
	Moment time.Time `json:"moment,omitzero"`
	Lines  int       `json:"lines,omitempty"`
	// Devices counts those that it was sent to.
	Devices int `json:"devices"`
	// Cancelled is when somebody cancelled it, zero if nobody did.
	Cancelled time.Time `json:"cancelled,omitzero"`
}

// OrderState is an order, and how many of its devices have which standing: see
// OrderDevice.
type OrderState struct {
	SentOrder
	Standings map[string]int `json:"standings"`
}

// OrderDevice is a device of an order.
type OrderDevice struct {
	Meta
	Order  string `json:"order"`
	Device string `json:"device"`
	// Site that it belonged to when the order was sent.
	Site string `json:"site,omitempty"`
	// Standing is "waiting", "expired" or "cancelled", or what the device has
	// answered: "done", "failed", "refused", "unsupported" or "late".
	Standing string `json:"standing"`
	// Text of the answer: why, or what was asked for.
	Text string `json:"text,omitempty"`
	// Answered is when the answer came.
	Answered time.Time `json:"answered,omitzero"`
}

// SendAnswer says what SendOrder has sent, or would send, and to whom.
type SendAnswer struct {
	DryRun bool      `json:"dry_run"`
	Order  SentOrder `json:"order"`
	Reach  Reach     `json:"reach"`
}

// OrderKey is the public half of the key that orders are signed with.
type OrderKey struct {
	Version int    `json:"version"`
	Public  []byte `json:"public"`
}

// SendOrder sends an order. A dry run sends nothing and says whom it would reach.
func (c *Client) SendOrder(ctx context.Context, o OrderRequest, dryRun bool) (out SendAnswer, err error) {
	r := request{method: http.MethodPost, path: "/orders", version: AnyVersion}
	if dryRun {
		r.query = url.Values{"dry_run": {"true"}}
	}
	err = c.writeTo(ctx, r, o, &out)
	return out, err
}

// Order returns an order that was sent, and how many have answered.
func (c *Client) Order(ctx context.Context, id string) (o OrderState, err error) {
	err = c.get(ctx, at("/orders", id), nil, &o)
	return o, err
}

// OrderDevices lists the devices of an order.
func (c *Client) OrderDevices(id string) Lister[OrderDevice] {
	return Lister[OrderDevice]{c, at("/orders", id, "devices"), true}
}

// CancelOrder takes an order back from devices that have not answered. One that has
// got it meanwhile may still carry it out.
func (c *Client) CancelOrder(ctx context.Context, id string) (o OrderState, err error) {
	err = c.write(ctx, http.MethodPost, at("/orders", id, "cancel"), AnyVersion, nil, &o)
	return o, err
}

// OrderKey returns the key in use.
func (c *Client) OrderKey(ctx context.Context) (k OrderKey, err error) {
	err = c.get(ctx, "/order-key", nil, &k)
	return k, err
}

// RotateOrderKey makes the next key, which the one in use states.
func (c *Client) RotateOrderKey(ctx context.Context) (k OrderKey, err error) {
	err = c.write(ctx, http.MethodPost, "/order-key/rotate", AnyVersion, nil, &k)
	return k, err
}
