package client

import (
	"context"
	"net/http"
	"time"
)

// User is somebody who may log in.
type User struct {
	Meta
	// Name in lower case: letters, digits and ._- , 1 to 64. That of somebody who
	// signs in at an issuer has an @ in it.
	Name     string `json:"name"`
	FullName string `json:"full_name"`
	// Role is "viewer", "operator" or "admin"; "" for somebody to whom the issuer
	// gives none any more.
	Role string `json:"role"`
	// Sites that the user is limited to; none means all of the fleet.
	Sites []string `json:"sites,omitempty"`
	// Issuer is where the user signs in by OIDC, "" for one with a password.
	Issuer string `json:"issuer,omitempty"`
	// Disabled users cannot log in, and their tokens are void.
	Disabled bool `json:"disabled"`
	// LastLogin is zero if there was none.
	LastLogin time.Time `json:"last_login,omitzero"`
}

// UserChange changes a user; nil fields stay as they are. A new user needs a
// role and a password.
type UserChange struct {
	FullName *string `json:"full_name,omitempty"`
	Role     *string `json:"role,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
	// Sites to limit the user to, a viewer or an operator; none lifts the limit.
	Sites *[]string `json:"sites,omitempty"`
	// Password ends all sessions of the user.
	Password *string `json:"password,omitempty"`
}

// Token is an API token.
type Token struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	User string `json:"user"`
	// Role, Scopes and Sites, as NewToken has them.
	Role    string    `json:"role"`
	Scopes  []string  `json:"scopes"`
	Sites   []string  `json:"sites,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	// LastUsed is zero if it was never used, From is the address that used it
	// last.
	LastUsed time.Time `json:"last_used,omitzero"`
	From     string    `json:"from,omitempty"`
	// Secret is the token that New takes; only Create returns it.
	Secret string `json:"secret,omitempty"`
}

// NewToken asks for an API token.
type NewToken struct {
	// User is the owner of the token; only a shell on the data directory may
	// name another user.
	User string `json:"user,omitempty"`
	// Role is "viewer", "operator" or "admin", at most that of the user.
	Role string `json:"role"`
	// Scopes are "read", "devices", "loads", "enterprise" and "access"; at least
	// one.
	Scopes []string `json:"scopes"`
	// Sites to limit the token to, within those of the user; none means those.
	Sites []string `json:"sites,omitempty"`
	// LifeS is the number of seconds until it expires; 0 means 90 days.
	LifeS int64 `json:"life_s,omitempty"`
}

// Enrolment is a token that lets devices enrol, or the key of a site.
type Enrolment struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// SiteKey says that it is the key of a site: any number of devices.
	SiteKey bool `json:"site_key"`
	// Uses that are left; 0 for a site key.
	Uses int `json:"uses"`
	// Profile and Site that enrolling devices get, Networks that they must come
	// from.
	Profile  string    `json:"profile"`
	Site     string    `json:"site"`
	Networks []string  `json:"networks"`
	Created  time.Time `json:"created"`
	// Expires is zero for never.
	Expires time.Time `json:"expires,omitzero"`
	// Secret is what devices enrol with; only Create returns it.
	Secret string `json:"secret,omitempty"`
}

// NewEnrolment asks for an enrolment token or the key of a site.
type NewEnrolment struct {
	SiteKey bool `json:"site_key,omitempty"`
	// Uses is how many devices may enrol with it; 0 means 1. Not for a site
	// key.
	Uses    int    `json:"uses,omitempty"`
	Profile string `json:"profile,omitempty"`
	Site    string `json:"site,omitempty"`
	// Networks are prefixes that devices must come from; none means all.
	Networks []string `json:"networks,omitempty"`
	// LifeS is the number of seconds until it expires; 0 means a week, and for
	// a site key never.
	LifeS int64 `json:"life_s,omitempty"`
}

// Webhook says who is told of failures and rollouts.
type Webhook struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// Events are "device.failed" and "rollout.changed", or one of them.
	Events    []string `json:"events"`
	AllowHTTP bool     `json:"allow_http,omitempty"`
	// Secret signs the messages; only Create returns it.
	Secret string `json:"secret,omitempty"`
	// By is who made it.
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	// Pending counts messages that are tried or tried again, Dead those that were given
	// up, Sent those that were delivered, Dropped those that were not even kept.
	Pending int   `json:"pending"`
	Dead    int   `json:"dead"`
	Sent    int64 `json:"sent"`
	Dropped int64 `json:"dropped"`
	// LastSent is when a message was last delivered, LastTried when one was last tried,
	// and LastError why it was not delivered, "" if it was.
	LastSent  time.Time `json:"last_sent,omitzero"`
	LastTried time.Time `json:"last_tried,omitzero"`
	LastError string    `json:"last_error,omitempty"`
}

// NewWebhook asks for a webhook.
type NewWebhook struct {
	URL string `json:"url"`
	// Events are all if there are none.
	Events []string `json:"events,omitempty"`
	// AllowHTTP takes a URL of http, over which whoever is on the way can read.
	AllowHTTP bool `json:"allow_http,omitempty"`
}

// WebhookMessage is a message that waits or was given up.
type WebhookMessage struct {
	ID      string    `json:"id"`
	Webhook string    `json:"webhook"`
	Event   string    `json:"event"`
	At      time.Time `json:"at"`
	Body    string    `json:"body"`
	// State is "pending" or "dead".
	State string `json:"state"`
	// Tries counts them, Next is when the next is due, Error why the last failed.
	Tries int       `json:"tries"`
	Next  time.Time `json:"next,omitzero"`
	Error string    `json:"error,omitempty"`
}

// WebhookMessages lists the messages of a webhook that wait or were given up, the
// oldest first; State of the filter is one of a message.
func (c *Client) WebhookMessages(name string) Lister[WebhookMessage] {
	return Lister[WebhookMessage]{c, at("/webhooks", name) + "/messages", true}
}

// TestWebhook sends a message at once. failure is why it was not taken, "" if it was.
func (c *Client) TestWebhook(ctx context.Context, name string) (failure string, err error) {
	var out struct {
		OK    bool   `json:"ok"`
		Error string `json:"error,omitempty"`
	}
	err = c.write(ctx, http.MethodPost, at("/webhooks", name)+"/test", AnyVersion, nil, &out)
	if err == nil && !out.OK && out.Error == "" {
		out.Error = "the controller does not say why"
	}
	return out.Error, err
}

// RetryWebhook tries the messages of a webhook anew that were given up, and returns how
// many.
func (c *Client) RetryWebhook(ctx context.Context, name string) (int, error) {
	var out struct {
		Messages int `json:"messages"`
	}
	err := c.write(ctx, http.MethodPost, at("/webhooks", name)+"/retry", AnyVersion, nil, &out)
	return out.Messages, err
}
